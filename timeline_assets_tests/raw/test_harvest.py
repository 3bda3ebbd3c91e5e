"""What a harvest stores, window by window: nothing lost, nothing doubled, whatever happens on the way."""

from __future__ import annotations

import json
import re
import tempfile
import threading
from contextlib import contextmanager
from datetime import timedelta

import polars as pl
import psycopg
import pytest

from timeline_assets.errors import ConfigurationError, SourceError
from timeline_assets.normalize.schema import OBSERVATION
from timeline_assets.raw import coverage
from timeline_assets.raw import harvest as module
from timeline_assets.raw.harvest import changed, fetch, harvest, latest, poll
from timeline_assets.raw.scratch import ScratchError
from timeline_assets.raw.seal import Orphans, collect_orphans
from timeline_assets.raw.store import RawStore, RawStoreError
from timeline_assets.sources.base import Record, Shape
from timeline_assets_tests.raw.telling import Clock, Cloud, at, covered, failing, full_disk, hour, rows, stored, told

LATEST = "select key, body, gone_at, missing_since from raw.latest where cloud = %s order by key"


def run(pipeline, cloud: Cloud, window="10", **more):
    return harvest(pipeline, "east", cloud.source(), hour(window), reader=cloud, clock=cloud.clock, **more)


# One harvest after the other


def test_new_and_changed_records_are_stored_with_what_was_before(pipeline, things):
    cloud = things(Shape.MUTABLE)
    cloud.put("a", at("10:01"), n=1)
    cloud.put("b", at("10:02"), n=1)
    first = run(pipeline, cloud)
    assert (first.seen, first.new, first.updated, first.unchanged) == (2, 2, 0, 0)
    assert first.windows == (hour("10"),)
    cloud.clock.tick(seconds=60)
    cloud.put("b", at("10:05:30"), n=2)
    second = run(pipeline, cloud)
    assert (second.seen, second.new, second.updated, second.unchanged) == (2, 0, 1, 1)
    assert told(pipeline) == [
        ("22 10", "seen", "a", 1, None),
        ("22 10", "seen", "b", 1, None),
        ("22 10", "seen", "b", 2, 1),
    ]
    observed = stored(pipeline).sort("observed_at", "key")
    assert observed["observed_at"].to_list() == [at("10:05"), at("10:05"), at("10:06")]
    assert observed["seen_from"].to_list() == [None, None, at("10:05")]
    assert observed["cursor_at"].to_list() == [at("10:01"), at("10:02"), at("10:05:30")]
    assert observed["source"].unique().to_list() == ["things"]
    refs = dict(zip(observed["key"], observed["raw_ref"], strict=True))
    assert rows(pipeline, "select key, raw_ref from raw.latest order by key") == sorted(refs.items())
    paths = rows(pipeline, "select path, rows from raw.attempts order by attempt_id")
    assert [(f"{path}#0", n) for path, n in paths][1] == (refs["b"], 1)
    assert paths[0][0].startswith("east/things/2026/11/22/10/")


def test_nothing_new_stores_nothing(pipeline, things):
    cloud = things(Shape.MUTABLE)
    cloud.put("a", at("10:01"), n=1)
    run(pipeline, cloud)
    before = rows(pipeline, "select xmin::text, * from raw.latest"), rows(pipeline, "select * from raw.attempts")
    cloud.clock.tick(seconds=10)
    again = run(pipeline, cloud)
    assert (again.new, again.updated, again.unchanged, again.windows) == (0, 0, 1, ())
    assert before == (
        rows(pipeline, "select xmin::text, * from raw.latest"),
        rows(pipeline, "select * from raw.attempts"),
    )
    assert rows(pipeline, "select last_attempt_at, read_to, requests from raw.scans") == [
        (at("10:05:10"), at("10:05:08"), 2)
    ]


def test_a_record_lies_in_the_window_of_its_own_time_and_reopens_it(pipeline, things):
    cloud = things(Shape.MUTABLE)
    cloud.clock.now = at("09:30")
    run(pipeline, cloud, "09")
    cloud.clock.now = at("10:00:05")
    run(pipeline, cloud, "09")
    cloud.clock.now = at("10:11")
    assert run(pipeline, cloud, "09").status == "proven"
    cloud.put("late", at("09:59"), n=1)
    cloud.put("now", at("10:10"), n=1)
    cloud.put("ancient", at("10:00") - timedelta(days=400), n=1)
    cloud.put("early", at("23:00"), n=1)  # a clock far ahead, but not a day
    found = run(pipeline, cloud, "10")
    assert told(pipeline) == [
        ("20 10", "seen", "ancient", 1, None),
        ("22 09", "seen", "late", 1, None),
        ("22 10", "seen", "early", 1, None),
        ("22 10", "seen", "now", 1, None),
    ]
    assert [window.key for window in found.windows] == ["2026-11-20-10:00", "2026-11-22-09:00", "2026-11-22-10:00"]
    assert covered(pipeline) == {
        "20 10": ("unknown", "never_read", 1),
        "22 09": ("settling", None, 1),
        "22 10": ("open", None, 2),
    }
    cloud.clock.tick(minutes=1)
    assert run(pipeline, cloud, "09").status == "proven"


def test_what_the_source_forgets_is_not_forgotten(pipeline, things):
    cloud = things(Shape.LOG)
    cloud.put("a", at("10:01"), n=1)
    run(pipeline, cloud)
    cloud.bodies.clear()
    cloud.is_complete = True
    for _ in range(3):
        cloud.clock.tick(seconds=10)
        assert run(pipeline, cloud).gone == 0
    assert told(pipeline) == [("22 10", "seen", "a", 1, None)]
    assert rows(pipeline, LATEST, "east") == [("a", rows(pipeline, LATEST, "east")[0][1], None, None)]


@pytest.mark.parametrize("shape", [Shape.SNAPSHOT, Shape.MUTABLE])
def test_a_record_is_gone_when_two_complete_scans_in_a_row_lack_it(pipeline, things, shape):
    cloud = things(shape)
    cloud.is_complete = True
    cloud.takes = timedelta(seconds=2)
    cloud.put("a", n=1)
    cloud.put("b", n=1)
    run(pipeline, cloud)  # 10:05:00 to 10:05:02
    cloud.clock.now = at("10:05:10")
    run(pipeline, cloud)
    del cloud.bodies["b"]
    cloud.clock.now = at("10:05:20")
    assert run(pipeline, cloud).gone == 0
    assert rows(
        pipeline, "select key, missing_from, missing_since from raw.latest where missing_since is not null"
    ) == [("b", at("10:05:10"), at("10:05:22"))]
    cloud.clock.now = at("10:05:30")
    assert run(pipeline, cloud).gone == 1
    gone = stored(pipeline).filter(op="gone").row(0, named=True)
    assert (gone["key"], gone["seen_from"], gone["observed_at"]) == ("b", at("10:05:10"), at("10:05:22"))
    assert gone["cursor_at"] == at("10:05:32")
    assert json.loads(gone["body"]) == {"id": "b", "n": 1}
    assert [row[2] for row in rows(pipeline, LATEST, "east")] == [None, at("10:05:22")]
    cloud.clock.now = at("10:05:40")
    assert run(pipeline, cloud).gone == 0  # once


def test_scans_that_fail_or_are_not_whole_do_not_count_and_one_that_has_it_clears_the_mark(pipeline, things):
    cloud = things(Shape.SNAPSHOT)
    cloud.put("a", n=1)

    def scan(*, has: bool, **how) -> int:
        cloud.clock.tick(seconds=10)
        if has:
            cloud.put("a", n=1)
        else:
            cloud.bodies.clear()
        for name, value in {"error": None, "gap": None, "is_complete": None, **how}.items():
            setattr(cloud, name, value)
        return run(pipeline, cloud, is_raising=False).gone

    assert scan(has=True) == 0
    assert scan(has=False) == 0
    assert scan(has=False, error=failing()) == 0
    assert scan(has=False, gap="scope_too_small") == 0
    assert scan(has=False, is_complete=False) == 0
    assert scan(has=True) == 0
    assert scan(has=False) == 0
    assert rows(pipeline, "select missing_since from raw.latest") == [(cloud.clock.now,)]
    assert scan(has=False) == 1


@pytest.mark.parametrize(
    "unreadable",
    [
        Record("a", {"id": "a", "n": 1}, at("23:00") + timedelta(days=1)),
        Record("a", {"id": "a", "n": 1}, "yesterday"),
        Record("a", ["a"]),
        Record("a", {"n": float("nan")}),
    ],
    ids=["in the future", "no time", "no object", "no JSON"],
)
def test_a_record_that_is_listed_and_cannot_be_read_is_there(pipeline, things, unreadable):
    cloud = things(Shape.SNAPSHOT)
    cloud.put("a", n=1)
    cloud.put("b", n=1)
    run(pipeline, cloud)
    cloud.bodies.clear()
    cloud.more = [unreadable]
    for _ in range(2):
        cloud.clock.tick(seconds=10)
        run(pipeline, cloud)
    assert [row for row in told(pipeline) if row[1] == "gone"] == [("22 10", "gone", "b", 1, 1)]
    assert rows(pipeline, "select key, missing_since from raw.latest where gone_at is null") == [("a", None)]


@pytest.mark.parametrize("shape", [Shape.SNAPSHOT, Shape.MUTABLE])
def test_an_answer_that_does_not_say_which_record_it_is_may_be_any(pipeline, things, shape):
    cloud = things(shape)
    cloud.is_complete = True
    cloud.put("a", n=1)
    run(pipeline, cloud)
    body = cloud.bodies.pop("a")
    cloud.malformed = [("no id", '{"n": 1}')]
    for _ in range(3):
        cloud.clock.tick(seconds=10)
        assert run(pipeline, cloud).gone == 0
    detail = "1 answers do not say which record they are: nothing is proven to be missing"
    assert rows(pipeline, "select reason, detail, failures, last_complete_at from raw.scans") == [
        ("keyless_answers", detail, 0, at("10:05"))
    ]
    expected = ("gap", "keyless_answers") if shape is Shape.SNAPSHOT else ("open", None)
    assert covered(pipeline)["22 10"][:2] == expected
    cloud.malformed, cloud.bodies["a"] = [], body
    cloud.clock.tick(seconds=10)
    run(pipeline, cloud)
    assert [row[1] for row in told(pipeline)] == ["seen"]
    assert rows(pipeline, "select reason, detail from raw.scans") == [(None, None)]


def test_a_record_that_comes_back_is_new(pipeline, things):
    cloud = things(Shape.SNAPSHOT)
    cloud.put("a", n=1)
    run(pipeline, cloud)
    body = cloud.bodies.pop("a")
    for _ in range(2):
        cloud.clock.tick(seconds=10)
        run(pipeline, cloud)
    cloud.bodies["a"] = body
    cloud.clock.tick(seconds=10)
    back = run(pipeline, cloud)
    assert (back.new, back.updated) == (1, 0)
    assert told(pipeline) == [
        ("22 10", "gone", "a", 1, 1),
        ("22 10", "seen", "a", 1, None),
        ("22 10", "seen", "a", 1, None),
    ]
    assert stored(pipeline)["seen_from"].to_list()[-1] == at("10:05:20")  # the last scan that lacked it
    assert [row[2] for row in rows(pipeline, LATEST, "east")] == [None]


def test_what_changes_in_a_scan_changed_since_the_scan_before_was_begun(pipeline, things):
    cloud = things(Shape.SNAPSHOT)
    cloud.takes = timedelta(seconds=4)
    cloud.put("a", n=1)
    run(pipeline, cloud)  # the very first: nothing is known of before
    cloud.clock.now = at("10:05:10")
    cloud.put("b", n=1)
    run(pipeline, cloud)
    cloud.clock.now = at("10:05:20")
    cloud.put("a", n=2)
    run(pipeline, cloud)
    assert stored(pipeline).select("key", "seen_from", "observed_at").rows() == [
        ("a", None, at("10:05:04")),
        ("b", at("10:05:00"), at("10:05:14")),
        ("a", at("10:05:10"), at("10:05:24")),
    ]


def test_an_older_observation_never_replaces_a_newer_one(pipeline, things, clock):
    old, new = things(Shape.MUTABLE), things(Shape.MUTABLE)
    old.put("a", at("10:01"), n=1)
    old.put("only", at("10:01"), n=1)
    fetched = fetch(pipeline, "east", old.source(), hour("10"), old, clock=clock)
    clock.tick(seconds=30)
    new.put("a", at("10:05:10"), n=2)
    run(pipeline, new)
    late = run(pipeline, old, fetched=fetched)
    assert (late.new, late.updated, late.unchanged) == (1, 0, 1)
    assert told(pipeline) == [("22 10", "seen", "a", 2, None), ("22 10", "seen", "only", 1, None)]
    assert [json.loads(body)["n"] for _, body, *_ in rows(pipeline, LATEST, "east")] == [2, 1]


def test_a_record_seen_after_a_scan_began_is_not_missing_from_it(pipeline, things, clock):
    whole, part = things(Shape.MUTABLE), things(Shape.MUTABLE)
    whole.is_complete = True
    fetched = fetch(pipeline, "east", whole.source(), hour("10"), whole, clock=clock)
    clock.tick(seconds=5)
    part.put("a", at("10:05:03"), n=1)
    run(pipeline, part)
    run(pipeline, whole, fetched=fetched)
    assert rows(pipeline, LATEST, "east") == [("a", rows(pipeline, LATEST, "east")[0][1], None, None)]
    clock.tick(seconds=5)
    run(pipeline, whole)
    assert rows(pipeline, "select missing_from, missing_since from raw.latest") == [(at("10:05:05"), at("10:05:10"))]


def test_of_several_answers_about_one_record_the_newest_counts(pipeline, things):
    cloud = things(Shape.MUTABLE)
    for minute, n in ((3, 3), (1, 1), (2, 2)):
        cloud.more.append(Record("a", {"n": n}, at(f"10:0{minute}")))
    cloud.more.append(Record("a", {"n": 4}, at("10:03")))
    found = run(pipeline, cloud)
    assert (found.seen, found.new) == (1, 1)
    assert told(pipeline) == [("22 10", "seen", "a", 4, None)]


def test_a_listing_of_many_chunks(pipeline, things):
    cloud = things(Shape.SNAPSHOT)
    for number in range(2500):
        cloud.put(f"{number:04d}", n=number)
    cloud.more.append(Record("0001", {"id": "0001", "n": 1}))  # a page that moved: told again in another chunk
    found = run(pipeline, cloud)
    assert (found.seen, found.new) == (2500, 2500)
    assert rows(pipeline, "select rows from raw.attempts order by attempt_id") == [(1000,), (1000,), (500,)]
    cloud.bodies = {key: body for key, body in cloud.bodies.items() if key < "2000"}
    cloud.clock.tick(seconds=10)
    run(pipeline, cloud)
    cloud.clock.tick(seconds=10)
    assert run(pipeline, cloud).gone == 500
    assert rows(pipeline, "select count(*) from raw.latest where gone_at is null") == [(2000,)]


# Bad records


def test_what_is_no_record_is_set_aside_and_in_nobodys_way(pipeline, things):
    cloud = things(Shape.MUTABLE)
    cloud.put("good", at("10:01"), n=1, text="nul \x00 here", big="x" * 1_000_000, auth_token="tok")
    cloud.malformed = [("no id", '{"auth_token": "tok", "x": 1}')]
    cloud.more = [
        Record("list", ["a"], at("10:01")),
        Record("null", None, at("10:01")),
        Record("", {"n": 1}, at("10:01")),
        Record(None, {"n": 2}, at("10:01")),
        Record("nan", {"n": float("nan")}, at("10:01")),
        Record("text", {"n": 1}, "yesterday"),
        Record("naive", {"n": 1}, at("10:01").replace(tzinfo=None)),
        Record("future", {"n": 1}, at("10:06") + timedelta(days=1)),
    ]
    found = run(pipeline, cloud)
    assert (found.seen, found.new, found.set_aside, found.status) == (1, 1, 9, "open")
    aside = rows(pipeline, "select reason, key, seen, body from raw.set_aside where stage = 'harvest' order by 1, 2")
    assert [row[:3] for row in aside] == [
        ("no id", None, 1),
        ("no_key", None, 1),
        ("no_key", None, 1),
        ("not_an_object", "list", 1),
        ("not_an_object", "null", 1),
        ("not_json", "nan", 1),
        ("time_in_future", "future", 1),
        ("time_unreadable", "naive", 1),
        ("time_unreadable", "text", 1),
    ]
    assert aside[0][3] == '{"auth_token":"<scrubbed>","x":1}'
    ((body,),) = rows(pipeline, "select body from raw.latest")
    good = json.loads(body)
    assert (good["text"], len(good["big"]), good["auth_token"]) == ("nul ␀ here", 1_000_000, "<scrubbed>")

    cloud.clock.tick(seconds=10)
    cloud.more = [Record("text", {"n": 1}, at("10:01")), Record("list", ["a"], at("10:01"))]
    cloud.malformed = []
    assert run(pipeline, cloud).set_aside == 1
    assert rows(
        pipeline,
        "select key, seen, resolved_at from raw.set_aside where key in ('list', 'text', 'nan') order by 1",
    ) == [("list", 2, None), ("nan", 1, None), ("text", 1, at("10:05:10"))]


def test_a_source_that_stumbles_becomes_a_gap_and_says_so_without_secrets(pipeline, things):
    cloud = things(Shape.MUTABLE)
    cloud.error = KeyError("password=hunter2")
    with pytest.raises(SourceError, match="KeyError") as caught:
        run(pipeline, cloud)
    assert caught.value.code == "source_failed"
    assert covered(pipeline) == {"22 10": ("gap", "source_failed", 0)}
    everything = rows(pipeline, "select * from raw.scans") + rows(pipeline, "select * from timeline.coverage")
    assert "hunter2" not in f"{everything} {caught.value}"


# Time


@pytest.mark.parametrize("when", ["11", "23"])
def test_a_window_in_the_future_is_refused(pipeline, things, when):
    cloud = things(Shape.MUTABLE)
    with pytest.raises(ConfigurationError, match=f"2026-11-22-{when}:00 lies in the future"):
        run(pipeline, cloud, when)
    assert cloud.spans == []
    assert covered(pipeline) == {}


def test_the_clouds_clock_decides_where_ours_is_wrong(pipeline, things):
    cloud = things(Shape.SNAPSHOT)
    cloud.clock.now = at("11:00:30")
    cloud.clock_skew_seconds = -90.0
    cloud.put("a", n=1)
    run(pipeline, cloud, "11")
    assert stored(pipeline).select("window", "observed_at").rows() == [("22 10", at("10:59:00"))]
    assert covered(pipeline)["22 10"] == ("open", None, 1)


def test_a_past_window_of_a_snapshot_source_is_unknown_without_a_call(pipeline, things):
    cloud = things(Shape.SNAPSHOT)
    cloud.put("a", n=1)
    before_any = run(pipeline, cloud, "08")
    assert (before_any.status, before_any.reason, before_any.seen, before_any.requests) == (
        "unknown",
        "no_history",
        0,
        0,
    )
    run(pipeline, cloud, "10")
    assert run(pipeline, cloud, "09").status == "unknown"
    assert len(cloud.spans) == 1
    assert covered(pipeline) == {
        "22 08": ("unknown", "no_history", 0),
        "22 09": ("unknown", "no_history", 0),
        "22 10": ("open", None, 1),
    }


def test_the_span_is_the_window_widened_and_an_open_window_goes_on_where_it_was_read_to(pipeline, things):
    cloud = things(Shape.MUTABLE)
    run(pipeline, cloud)
    cloud.clock.now = at("10:20")
    run(pipeline, cloud)
    cloud.clock.now = at("11:00:05")
    run(pipeline, cloud)
    cloud.clock.now = at("11:10:05")
    run(pipeline, cloud)
    assert [(span.start, span.end, span.is_open) for span in cloud.spans] == [
        (at("09:55"), at("11:00:30"), True),
        (at("09:59:58"), at("11:00:30"), True),
        (at("10:14:58"), at("11:00:30"), True),
        (at("09:55"), at("11:00:30"), False),
    ]


# Polling


def test_a_poll_hands_over_what_is_new_and_notes_what_is_not(pipeline, things):
    cloud = things(Shape.SNAPSHOT)

    def polled():
        return poll(pipeline, "east", cloud.source(), hour("10"), cloud, clock=cloud.clock)

    cloud.put("a", n=1)
    first = polled()
    assert first.is_new
    assert rows(pipeline, "select * from raw.scans") == []
    assert list(pipeline.raw.files()) == []
    done = run(pipeline, cloud, fetched=first.fetched)
    assert (done.new, len(cloud.spans)) == (1, 1)

    cloud.clock.tick(seconds=10)
    second = polled()
    assert not second.is_new
    assert (second.harvested.unchanged, second.harvested.status) == (1, "open")
    assert rows(pipeline, "select last_attempt_at, requests from raw.scans") == [(at("10:05:10"), 2)]

    cloud.bodies.clear()
    cloud.clock.tick(seconds=10)
    assert not polled().is_new  # missed once: noted in place
    cloud.clock.tick(seconds=10)
    gone = polled()
    assert gone.is_new
    assert run(pipeline, cloud, fetched=gone.fetched).gone == 1

    cloud.error = failing()
    failed = polled()
    assert (failed.is_new, failed.harvested.status, failed.harvested.reason) == (False, "gap", "unreachable")
    assert covered(pipeline)["22 10"][:2] == ("gap", "unreachable")


def test_other_sources_are_read_from_what_is_known(pipeline, things):
    cloud = things(Shape.SNAPSHOT)
    for key in "abc":
        cloud.put(key, n=1)
    run(pipeline, cloud)
    del cloud.bodies["c"]
    for seconds in (10, 10):
        cloud.clock.tick(seconds=seconds)
        run(pipeline, cloud)
    assert latest(pipeline, "east", "things").rows() == [("a", '{"id":"a","n":1}'), ("b", '{"id":"b","n":1}')]
    assert latest(pipeline, "east", "things", after="a", limit=5)["key"].to_list() == ["b"]
    assert latest(pipeline, "west", "things").is_empty()
    assert changed(pipeline, "east", "things", at("10:05:10"))["key"].to_list() == ["c"]


def test_what_the_source_remembers_is_kept(pipeline, things):
    cloud = things(Shape.MUTABLE)
    cloud.cursor = {"probe": True}
    run(pipeline, cloud)
    cloud.cursor = None
    run(pipeline, cloud)  # says nothing of it
    assert rows(pipeline, "select cursor from raw.scans") == [({"probe": True},)]


def test_a_slow_read_of_a_past_window_does_not_set_back_what_the_source_remembers(pipeline, things):
    follower, backfill = things(Shape.MUTABLE), things(Shape.MUTABLE)
    follower.cursor = backfill.cursor = {"turn": 1}
    run(pipeline, follower)
    slow = fetch(pipeline, "east", backfill.source(), hour("05"), backfill, clock=backfill.clock)
    follower.clock.tick(seconds=10)
    follower.cursor = {"turn": 2}
    run(pipeline, follower)
    run(pipeline, backfill, "05", fetched=slow)
    assert rows(pipeline, "select cursor from raw.scans") == [({"turn": 2},)]


# Interrupted


class Killed(BaseException):
    """What ends a process in the middle of anything."""


@contextmanager
def killed(monkeypatch, owner, name: str, when: str):
    """A kill before or after a step."""
    real = getattr(owner, name)

    def step(*args, **kwargs):
        if when == "before":
            raise Killed
        real(*args, **kwargs)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(owner, name, step)
        with pytest.raises(Killed):
            yield


STEPS = [
    (module, "fetch"),
    (module, "_observations"),
    (RawStore, "write_attempt"),
    (module, "remember"),
    (module, "_set_aside"),
    (module, "_gone"),
    (coverage, "record_read"),
    (coverage, "_record_standing"),
    (coverage, "refresh_tenants"),
]
TABLES = (
    """select source, key, sha256, body, cursor_at, observed_at, missing_from, missing_since, gone_at
    from raw.latest where cloud = %s order by key""",
    "select source, key, reason, seen from raw.set_aside where cloud = %s order by key",
    """select source, window_start, status, reason, rows, attempts, proven_to, largest_gap_seconds
    from timeline.coverage where cloud = %s order by 1, 2""",
    "select source, read_to, requests, failures, last_complete_at from raw.scans where cloud = %s",
    "select service, window_start, status from timeline.tenant_coverage where cloud = %s order by 1, 2",
    "select window_start, rows from raw.attempts where cloud = %s order by attempt_id",
)


def story(pipeline, cloud_name: str, interrupt=None) -> list:
    """A source's life of four scans, the last but one of which is interrupted if `interrupt` says so."""
    cloud = Cloud(Shape.SNAPSHOT, Clock(at("10:05")))
    for key in "abc":
        cloud.put(key, n=1)

    def scan():
        harvest(pipeline, cloud_name, cloud.source(), hour("10"), reader=cloud, clock=cloud.clock)

    scan()
    cloud.clock.tick(seconds=10)
    del cloud.bodies["c"]
    scan()
    cloud.clock.tick(seconds=10)
    cloud.put("b", n=2)
    cloud.put("d", n=1)
    cloud.more = [Record("x", None)]
    if interrupt:
        with interrupt:
            scan()
    scan()
    cloud.clock.tick(seconds=10)
    scan()
    return [told(pipeline, cloud_name), *(rows(pipeline, table, cloud_name) for table in TABLES)]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("owner", "name"), STEPS, ids=lambda part: getattr(part, "__name__", part))
def test_a_kill_at_any_step_and_a_retry_leave_what_an_undisturbed_harvest_leaves(
    pipeline, monkeypatch, owner, name, when
):
    undisturbed = story(pipeline, "calm")
    disturbed = story(pipeline, "rough", killed(monkeypatch, owner, name, when))
    assert disturbed == undisturbed
    files = [path for path, _ in pipeline.raw.files("rough")]
    committed = [path for (path,) in rows(pipeline, "select path from raw.attempts where cloud = 'rough'")]
    now = at("10:05") + timedelta(days=20000)
    assert collect_orphans(pipeline, now) == Orphans(unknown=len(set(files) - set(committed)))
    assert story(pipeline, "calm again") == undisturbed


def test_a_failure_keeps_its_reason_and_loses_nothing(pipeline, things):
    cloud = things(Shape.MUTABLE)
    cloud.put("a", at("10:01"), n=1)
    run(pipeline, cloud)
    cloud.error = failing("timeout")
    cloud.clock.tick(seconds=10)
    with pytest.raises(SourceError):
        run(pipeline, cloud)
    assert covered(pipeline) == {"22 10": ("gap", "timeout", 1)}
    assert rows(pipeline, "select failures, reason, read_to from raw.scans") == [(1, "timeout", at("10:04:58"))]
    cloud.error = None
    cloud.put("b", at("10:05:05"), n=1)
    cloud.clock.tick(seconds=10)
    assert run(pipeline, cloud).status == "open"
    assert rows(pipeline, "select failures, reason, detail from raw.scans") == [(0, None, None)]
    assert [row[2] for row in told(pipeline)] == ["a", "b"]
    assert cloud.spans[-1].start == at("09:59:58")  # where the last good read ended, less the overlap


def test_a_raw_store_that_cannot_be_written_is_a_gap_and_nothing_is_stored(pipeline, things, tmp_path):
    (tmp_path / "raw").write_text("a file, no folder")
    cloud = things(Shape.MUTABLE)
    cloud.put("a", at("10:01"), n=1)
    with pytest.raises(RawStoreError, match="there is a file where a folder should be"):
        run(pipeline, cloud)
    assert covered(pipeline) == {"22 10": ("gap", "raw_store_failed", 0)}
    assert rows(pipeline, "select * from raw.latest") == []
    (tmp_path / "raw").unlink()
    assert run(pipeline, cloud).new == 1


def test_a_database_that_fails_leaves_no_file(pipeline, things):
    cloud = things(Shape.MUTABLE)
    cloud.put("a", at("10:01"), n=1)
    with pipeline.database.connect("admin") as connection:
        connection.execute("alter table raw.latest add constraint full_disk check (key <> 'a')")
    with pytest.raises(psycopg.errors.CheckViolation):
        run(pipeline, cloud)
    assert list(pipeline.raw.files()) == []


def test_a_temporary_folder_that_is_full_is_a_gap_that_says_so_and_nothing_is_stored(pipeline, things):
    cloud = things(Shape.SNAPSHOT)
    for number in range(2500):
        cloud.put(f"{number:04d}", n=number)
    with full_disk():
        polled = poll(pipeline, "east", cloud.source(), hour("10"), cloud, clock=cloud.clock)
    assert (polled.is_new, polled.harvested.status, polled.harvested.reason) == (
        False,
        "gap",
        "temporary_folder_failed",
    )
    said = f"the temporary folder {tempfile.gettempdir()} cannot be written: "
    assert polled.harvested.detail.startswith(said)
    with full_disk(), pytest.raises(ScratchError, match=re.escape(said)) as caught:
        run(pipeline, cloud)
    assert "TMPDIR" in caught.value.remedy
    assert rows(pipeline, "select failures, reason from raw.scans") == [(2, "temporary_folder_failed")]
    assert rows(pipeline, "select * from raw.latest") == []
    assert run(pipeline, cloud).new == 2500


def test_a_read_that_proves_nothing_is_stored_and_is_a_gap(pipeline, things):
    cloud = things(Shape.MUTABLE)
    cloud.put("a", at("10:01"), n=1)
    cloud.gap = "cell_down"
    found = run(pipeline, cloud)
    assert (found.status, found.reason, found.detail, found.new) == ("gap", "cell_down", "why: cell_down", 1)
    assert covered(pipeline) == {"22 10": ("gap", "cell_down", 1)}
    assert rows(pipeline, "select read_to, reason, failures from raw.scans") == [(None, "cell_down", 1)]
    cloud.gap = None
    assert run(pipeline, cloud).status == "open"
    assert covered(pipeline) == {"22 10": ("open", None, 1)}


def test_two_harvests_of_one_window_at_the_same_time_store_it_once(pipeline, things):
    cloud = things(Shape.MUTABLE)
    for number in range(50):
        cloud.put(f"{number}", at("10:01"), n=number)
    both_fetched = threading.Barrier(2)
    fetched = [fetch(pipeline, "east", cloud.source(), hour("10"), cloud, clock=cloud.clock) for _ in range(2)]
    results, errors = [], []

    def store(own) -> None:
        try:
            both_fetched.wait(timeout=30)
            results.append(run(pipeline, cloud, fetched=own))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=store, args=(own,)) for own in fetched]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sorted(result.new for result in results) == [0, 50]
    assert len(stored(pipeline)) == 50
    assert covered(pipeline) == {"22 10": ("open", None, 50)}


def test_another_writer_is_waited_for(pipeline, things):
    """What the lock is for: the comparison sees what the other has committed, not what it is about to."""
    cloud = things(Shape.MUTABLE)
    cloud.put("a", at("10:01"), n=1)
    results = []
    with pipeline.connect() as other:
        coverage.lock(coverage.Place(other, "east", cloud.source()))
        thread = threading.Thread(target=lambda: results.append(run(pipeline, cloud)))
        thread.start()
        waiting = """select count(*) from pg_locks where locktype = 'advisory' and not granted
            and database = (select oid from pg_database where datname = current_database())"""
        while rows(pipeline, waiting) == [(0,)]:
            assert thread.is_alive()
        assert results == []
        assert rows(pipeline, "select * from raw.attempts") == []
    thread.join()
    assert [result.new for result in results] == [1]


def test_the_frames_columns_are_those_of_an_observation(pipeline, things):
    cloud = things(Shape.SNAPSHOT)
    cloud.put("a", n=1)
    run(pipeline, cloud)
    ((path,),) = rows(pipeline, "select path from raw.attempts")
    assert pl.read_parquet_schema(pipeline.raw._place.address(path)) == dict(OBSERVATION)
