"""Times as people type them."""

from datetime import UTC, datetime

import pytest

from timeline_assets.cli.instants import instant, span
from timeline_assets.errors import ConfigurationError

NOW = datetime(2026, 11, 22, 15, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("now", "2026-11-22T15:30"),
        ("today", "2026-11-22T00:00"),
        ("yesterday", "2026-11-21T00:00"),
        ("90s", "2026-11-22T15:28:30"),
        ("15m", "2026-11-22T15:15"),
        ("15 min", "2026-11-22T15:15"),
        ("2h", "2026-11-22T13:30"),
        ("2H ago", "2026-11-22T13:30"),
        ("1.5d", "2026-11-21T03:30"),
        ("1w", "2026-11-15T15:30"),
        ("2026-11-20", "2026-11-20T00:00"),
        ("2026-11-20T10:15", "2026-11-20T10:15"),
        ("2026-11-20 10:15:30", "2026-11-20T10:15:30"),
        ("2026-11-20T10:15Z", "2026-11-20T10:15"),
        ("2026-11-20T10:15+01:00", "2026-11-20T09:15"),
    ],
)
def test_an_instant(text, expected):
    assert instant(text, option="--since", now=NOW) == datetime.fromisoformat(expected).replace(tzinfo=UTC)


@pytest.mark.parametrize("text", ["", "soon", "2026-13-01", "h", "-2h", "2 fortnights", "99999999999999w"])
def test_what_is_no_time_names_its_option(text):
    with pytest.raises(ConfigurationError) as error:
        instant(text, option="--until", now=NOW)
    assert str(error.value) == f"--until {text!r} is no time"
    assert "90m, 2h, 1d" in error.value.remedy


def test_a_span_ends_now_unless_said_otherwise():
    assert span("2h", None, now=NOW) == (instant("2h", option="", now=NOW), NOW)
    assert span("2h", "1h", now=NOW)[1] == instant("1h", option="", now=NOW)


@pytest.mark.parametrize(
    ("since", "until", "said"),
    [
        ("1h", "2h", "--until 2026-11-22 13:30 is not after --since 2026-11-22 14:30 UTC"),
        ("1h", "1h", "--until 2026-11-22 14:30 is not after --since 2026-11-22 14:30 UTC"),
        ("2026-11-22T16:00", None, "--since 2026-11-22 16:00 UTC lies in the future; now it is 2026-11-22 15:30 UTC"),
    ],
)
def test_a_span_that_cannot_be(since, until, said):
    with pytest.raises(ConfigurationError) as error:
        span(since, until, now=NOW)
    assert str(error.value) == said


def test_what_has_not_happened_is_refused_where_it_is_to_be_read():
    assert span("1h", "2999-01-01", now=NOW)[1].year == 2999
    assert span("1h", "2026-11-22T16:00", now=NOW, is_past=True)[1] > NOW
    with pytest.raises(ConfigurationError) as error:
        span("1h", "2999-01-01", now=NOW, is_past=True)
    assert str(error.value) == "--until 2999-01-01 00:00 UTC lies in the future; now it is 2026-11-22 15:30 UTC"
