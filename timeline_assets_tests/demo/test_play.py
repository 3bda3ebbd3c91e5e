"""The replay's clock, and the file that tells of it."""

from __future__ import annotations

import stat
from dataclasses import replace
from datetime import timedelta

import pytest

from timeline_assets.demo import play as plays
from timeline_assets.demo.play import Play
from timeline_assets.errors import TimelineError
from timeline_assets_tests.demo.conftest import START

PLAY = Play("http://127.0.0.1:1234", "secret", "abc", lead_seconds=300, catch_up_seconds=60)
ASKED = replace(PLAY, asked_at=START)


def seconds(amount: float) -> timedelta:
    return timedelta(seconds=amount)


@pytest.mark.parametrize("later", [0, 1, 3600, 86400])
def test_before_the_first_question_it_stays_behind_by_the_recording_s_length(later):
    ours = START + seconds(later)
    assert PLAY.now(ours) == ours - seconds(300)


@pytest.mark.parametrize(
    ("since_asked", "behind"), [(0, 300), (6, 270), (30, 150), (59, 5), (60, 0), (61, 0), (86400 * 365, 0)]
)
def test_from_the_first_question_on_it_catches_up_within_a_minute(since_asked, behind):
    ours = START + seconds(since_asked)
    assert ASKED.now(ours) == ours - seconds(behind)


def test_it_never_runs_back_nor_ahead():
    shown = [ASKED.now(START + seconds(tenth / 10)) for tenth in range(-100, 1000)]
    assert shown == sorted(shown)
    assert all(then <= START + seconds(tenth / 10) for tenth, then in zip(range(-100, 1000), shown, strict=True))


def test_the_first_question_makes_no_leap():
    assert PLAY.now(START) == ASKED.now(START)


def test_our_clock_set_back_does_not_make_it_earlier_than_the_recording():
    assert ASKED.now(START - seconds(1000)) == START - seconds(1300)


def test_it_is_read_as_written_by_its_owner_only(settings):
    assert plays.load(settings) is None
    for play in (PLAY, ASKED):
        plays.save(settings, play)
        assert plays.load(settings) == play
    path = plays.path_of(settings)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in settings.state_dir.iterdir()] == [path.name]


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"asked_at": "soon"}', '{"asked_at": null, "url": "x"}'])
def test_a_file_that_is_none_is_an_error_that_names_it(settings, text):
    plays.path_of(settings).write_text(text)
    with pytest.raises(TimelineError, match=r"recorded-cloud\.json cannot be read") as caught:
        plays.load(settings)
    assert str(settings.state_dir) in caught.value.remedy


def test_nothing_shows_the_password():
    assert "secret" not in repr(PLAY)
