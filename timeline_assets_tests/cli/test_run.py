"""`timeline harvest` and `rebuild`: what is asked for, what is refused, what is reported."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime

import pytest

from timeline_assets.cli import run
from timeline_assets.errors import SourceError
from timeline_assets.raw.windows import Window
from timeline_assets.wiring import runs
from timeline_assets.wiring.runs import Progress, Result

HOUR = Window(datetime(2026, 11, 22, 10, tzinfo=UTC))


@pytest.fixture
def asked(monkeypatch):
    """What was handed to the wiring; `asked.results` is what it answers."""

    class Asked:
        results: list[Result] = []  # noqa: RUF012 - each test's own class
        calls: list[dict] = []  # noqa: RUF012

        def harvest(self, _settings, _pipeline, clouds, sources, *rest) -> list[Result]:
            windows, on_progress = rest
            for number, window in enumerate(windows):
                on_progress(Progress("raw", clouds[0], "nova_servers", window, number))
            self.calls.append({"clouds": clouds, "sources": sources, "windows": [w.key for w in windows]})
            return self.results

        def rebuild(self, _settings, _pipeline, clouds, _on_progress) -> list[Result]:
            self.calls.append({"clouds": clouds})
            return self.results

    asked = Asked()
    asked.calls = []
    monkeypatch.setattr(runs, "harvest_windows", asked.harvest)
    monkeypatch.setattr(runs, "rebuild", asked.rebuild)
    return asked


def result(source: str = "nova_servers", **more) -> Result:
    return Result("north", source, windows=1, new=3, updated=2, unchanged=1400, events=5, quarantined=1, **more)


def test_a_harvest_reports_per_source(on_database, asked):
    asked.results = [result(), result("keystone_users")]
    ran = on_database("harvest", "--since", "2h")
    assert ran.code == 0, ran.err
    assert [re.split(r"\s{2,}", line) for line in ran.lines] == [
        ["source", "hours", "records", "new", "updated", "unchanged", "events", "quarantined", "gaps"],
        ["nova_servers", "1", "1,405", "3", "2", "1,400", "5", "1"],
        ["keystone_users", "1", "1,405", "3", "2", "1,400", "5", "1"],
    ]
    assert re.fullmatch(r"Harvesting 3 hours of \d+ sources of north …\n", ran.err)
    [call] = asked.calls
    assert call["clouds"] == ["north"] and call["sources"] is None and len(call["windows"]) == 3


def test_without_a_terminal_progress_is_lines(on_database, asked, monkeypatch):
    monkeypatch.setattr(run, "LINE_SECONDS", 0)
    arguments = ["harvest", "--since", "1h", "--source", "nova_servers"]
    said = on_database(*arguments).err.splitlines()
    assert said[0] == "Harvesting 2 hours of 1 source of north …"
    assert [line.rsplit(" ", 1)[0] for line in said[1:]] == [
        f"harvesting: raw: {number} of 2 done; north nova_servers" for number in (1, 2)
    ]
    assert on_database(*arguments, "--json").err == ""


def test_a_span_becomes_the_hours_that_it_touches(on_database, asked, tmp_path):
    (tmp_path / "timeline.toml").write_text("[harvest]\nstart = 2026-01-01T00:00:00Z\n")
    arguments = ["--since", "2026-03-01T10:30", "--until", "2026-03-01T12:00", "--source", "nova_servers"]
    assert on_database("harvest", *arguments).code == 0
    assert asked.calls == [
        {"clouds": ["north"], "sources": ["nova_servers"], "windows": ["2026-03-01-10:00", "2026-03-01-11:00"]}
    ]


def test_a_gap_is_named_and_ends_with_its_own_code(on_database, asked):
    error = SourceError("north: no answer", code="unreachable", remedy="Check the address.")
    asked.results = [result(gaps={HOUR: error})]
    ran = on_database("harvest", "--since", "1h")
    assert ran.code == 4
    assert ran.lines[-1] == (
        "gap: north nova_servers 2026-11-22-10:00: unreachable: north: no answer. Check the address."
    )
    ran = on_database("harvest", "--since", "1h", "--json")
    assert ran.code == 4
    [row] = json.loads(ran.out)
    assert row["windows"] == 1 and row["unchanged"] == 1400
    assert row["gaps"] == {"2026-11-22-10:00": {"reason": "unreachable", "detail": "north: no answer"}}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Missing option '--since'"),
        (["--since", "2999-01-01"], "lies in the future"),
        (["--since", "1h", "--until", "2h"], "is not after --since"),
        (["--since", "soon"], "--since 'soon' is no time"),
        (["--since", "90d"], "is before the first window"),
        (["--since", "1h", "--source", "nova_servres"], "there is no source 'nova_servres'"),
        (["--since", "1h", "--cloud", "south"], "there is no cloud 'south'"),
    ],
)
def test_what_cannot_be_harvested_is_refused_before_anything_is_asked(on_database, asked, arguments, said):
    ran = on_database("harvest", *arguments)
    assert (ran.code, ran.out, asked.calls) == (2, "", [])
    assert said in ran.err


def test_an_unknown_name_lists_the_known(on_database, asked):
    assert "Sources: keystone_domains," in on_database("harvest", "--since", "1h", "--source", "x").err
    assert "Configured clouds: north." in on_database("harvest", "--since", "1h", "--cloud", "x").err


def test_a_rebuild_reports_like_a_harvest(on_database, asked):
    asked.results = [result()]
    ran = on_database("rebuild", "--from", "raw")
    assert ran.code == 0
    assert [line.split() for line in ran.lines] == [
        ["source", "hours", "events", "quarantined"],
        ["nova_servers", "1", "5", "1"],
    ]
    assert asked.calls == [{"clouds": ["north"]}]
    assert on_database("rebuild", "--from", "scratch").code == 2


def test_the_demo_is_no_cloud_to_record(timeline, tmp_path):
    ran = timeline("--demo", "record", str(tmp_path / "x.jsonl.gz"))
    assert ran.code == 2
    assert "the demo is a recording already" in ran.err
    assert not (tmp_path / "x.jsonl.gz").exists()
