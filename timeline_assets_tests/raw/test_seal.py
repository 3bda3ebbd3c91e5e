"""Compacting and retiring raw files: every row and every reference stays true, and a kill loses nothing."""

from __future__ import annotations

from datetime import timedelta

import pytest

from timeline_assets.raw import seal as module
from timeline_assets.raw.harvest import harvest, latest
from timeline_assets.raw.seal import Orphans, collect_orphans, due_to_seal, find, retire, seal
from timeline_assets.raw.store import RawStore, derived_path
from timeline_assets.sources.base import Shape
from timeline_assets_tests.raw.telling import at, covered, hour, rows, stored, told
from timeline_assets_tests.raw.test_harvest import LATEST, killed

ALIVE = "select attempt_id, rows, sealed_from from raw.attempts where replaced_by is null order by attempt_id"


def run(pipeline, cloud, window="10"):
    return harvest(pipeline, "east", cloud.source(), hour(window), reader=cloud, clock=cloud.clock)


def resolve(pipeline) -> None:
    """What the stages behind note when they are done; facts and evidence are here the observations' references."""
    for attempt_id, path in rows(pipeline, "select attempt_id, path from raw.attempts where resolved_at is null"):
        kept = pipeline.raw.scan([path])
        facts, evidence = (derived_path(path, kind, "1") for kind in ("facts", "evidence"))
        pipeline.raw.write(facts, kept.select("raw_ref", source_key="key"))
        pipeline.raw.write(evidence, kept.select("raw_ref", resource_id="key"))
        rows(
            pipeline,
            """update raw.attempts set facts_path = %s, evidence_path = %s, normalizer = '1', normalized_at = now(),
            absorbed_at = now(), resolved_at = now() where attempt_id = %s returning 1""",
            *(facts, evidence, attempt_id),
        )


@pytest.fixture
def proven(pipeline, things):
    """A cloud whose window 10 is proven with three attempts: a and b, then b changed, then c."""
    cloud = things(Shape.MUTABLE)
    cloud.put("a", at("10:01"), n=1)
    cloud.put("b", at("10:01"), n=1)
    run(pipeline, cloud)
    cloud.clock.now = at("10:30")
    cloud.put("b", at("10:20"), n=2)
    run(pipeline, cloud)
    cloud.clock.now = at("11:00:10")
    cloud.put("c", at("10:59"), n=1)
    run(pipeline, cloud)
    cloud.clock.now = at("11:15")
    assert run(pipeline, cloud).status == "proven"
    return cloud


def test_a_proven_window_becomes_one_file_with_the_same_rows(pipeline, proven):
    resolve(pipeline)
    before = stored(pipeline)
    ids = [row[0] for row in rows(pipeline, ALIVE)]
    assert due_to_seal(pipeline, "east") == [("things", hour("10"))]
    sealed = seal(pipeline, "east", proven.source(), hour("10"))
    assert (sealed.before, sealed.after, sealed.rows) == (3, 1, 4)
    assert stored(pipeline).equals(before)
    ((attempt_id, count, sealed_from),) = rows(pipeline, ALIVE)
    assert (count, sealed_from) == (4, ids)
    assert {
        row[0] for row in rows(pipeline, "select replaced_by from raw.attempts where attempt_id <> %s", attempt_id)
    } == {attempt_id}
    assert rows(pipeline, "select count(*) from raw.attempts where resolved_at is null") == [(0,)]
    facts, evidence = rows(pipeline, "select facts_path, evidence_path from raw.attempts where replaced_by is null")[0]
    refs = before["raw_ref"].to_list()
    assert pipeline.raw.scan_facts([facts]).collect()["raw_ref"].to_list() == refs
    assert pipeline.raw.scan_evidence([evidence]).collect()["resource_id"].to_list() == ["a", "b", "b", "c"]
    files = {path for path, _ in pipeline.raw.files()}
    assert files == {rows(pipeline, "select path from raw.attempts where replaced_by is null")[0][0], facts, evidence}
    assert due_to_seal(pipeline, "east") == []
    again = seal(pipeline, "east", proven.source(), hour("10"))
    assert (again.before, again.after) == (1, 1)


def test_a_reference_leads_to_its_record_before_and_after(pipeline, proven):
    resolve(pipeline)
    refs = stored(pipeline).select("raw_ref", "key", "body").rows()
    for _ in range(2):
        assert [(ref, find(pipeline, ref)["key"], find(pipeline, ref)["body"]) for ref, _, _ in refs] == refs
        seal(pipeline, "east", proven.source(), hour("10"))
    assert find(pipeline, refs[0][0].replace("#0", "#9")) is None


def test_what_has_not_reached_the_timeline_or_is_not_proven_is_not_sealed(pipeline, proven):
    assert due_to_seal(pipeline, "east") == []
    assert seal(pipeline, "east", proven.source(), hour("10")).after == 3
    resolve(pipeline)
    proven.put("late", at("10:30"), n=1)
    run(pipeline, proven, "11")  # re-opens it
    resolve(pipeline)
    assert seal(pipeline, "east", proven.source(), hour("10")).after == 4
    assert len(rows(pipeline, ALIVE)) == 4


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("step", [(RawStore, "write"), (module, "_replace"), (module, "_remove_files")])
def test_a_kill_while_sealing_loses_nothing(pipeline, proven, monkeypatch, step, when):
    resolve(pipeline)
    before = stored(pipeline)
    with killed(monkeypatch, *step, when):
        seal(pipeline, "east", proven.source(), hour("10"))
    assert stored(pipeline).equals(before)
    seal(pipeline, "east", proven.source(), hour("10"))
    assert stored(pipeline).equals(before)
    assert len(rows(pipeline, ALIVE)) == 1
    orphans = collect_orphans(pipeline, at("10:00") + timedelta(days=9999))
    assert stored(pipeline).equals(before)
    # what was compacted and never committed is nobody's
    assert len(list(pipeline.raw.files())) == 3 + orphans.unknown


def test_orphans_are_collected_only_when_they_are_old(pipeline, proven):
    unfinished = "east/things/2026/11/22/10/.unfinished.parquet"
    pipeline.raw.write(unfinished, stored(pipeline).lazy())
    newest = max(changed_at for _, changed_at in pipeline.raw.files())
    assert collect_orphans(pipeline, newest + timedelta(hours=23)) == Orphans()
    assert collect_orphans(pipeline, newest + timedelta(hours=25)) == Orphans((unfinished,))
    assert collect_orphans(pipeline, newest + timedelta(hours=25)) == Orphans()


def test_what_this_database_does_not_know_is_left(pipeline, proven):
    """Another installation's files in the same place, or those of a database that was restored from a backup."""
    resolve(pipeline)
    files = sorted(path for path, _ in pipeline.raw.files())
    rows(pipeline, "delete from raw.attempts where attempt_id > (select min(attempt_id) from raw.attempts) returning 1")
    later = at("10:00") + timedelta(days=9999)
    assert collect_orphans(pipeline, later) == Orphans(unknown=6)
    assert sorted(path for path, _ in pipeline.raw.files()) == files


def test_what_was_replaced_or_made_anew_under_another_name_is_collected(pipeline, proven, monkeypatch):
    resolve(pipeline)
    with killed(monkeypatch, module, "_remove_files", "before"):
        seal(pipeline, "east", proven.source(), hour("10"))
    ((path, facts),) = rows(pipeline, "select path, facts_path from raw.attempts where replaced_by is null")
    replaced = sorted(
        found
        for three in rows(pipeline, "select path, facts_path, evidence_path from raw.attempts where replaced_by > 0")
        for found in three
    )
    newer = derived_path(path, "facts", "2")
    pipeline.raw.write(newer, pipeline.raw.scan_facts([facts]))
    rows(pipeline, "update raw.attempts set facts_path = %s where path = %s returning 1", newer, path)
    before = stored(pipeline)
    found = collect_orphans(pipeline, at("10:00") + timedelta(days=9999))
    assert (sorted(found.removed), found.unknown) == (sorted([*replaced, facts]), 0)
    assert stored(pipeline).equals(before)
    assert len(list(pipeline.raw.files())) == 3


def test_a_kill_while_retiring_leaves_no_file_behind(pipeline, things, monkeypatch):
    cloud = things(Shape.LOG)
    cloud.put("a", at("10:01"), n=1)
    run(pipeline, cloud)
    rows(pipeline, "update raw.latest set gone_at = now() returning 1")
    resolve(pipeline)
    later = at("11:00") + timedelta(days=9999)
    with killed(monkeypatch, module, "_remove_files", "before"):
        retire(pipeline, "east", cloud.source(), later)
    assert len(list(pipeline.raw.files())) == 3
    retire(pipeline, "east", cloud.source(), later)
    assert list(pipeline.raw.files()) == []
    assert rows(pipeline, "select * from raw.attempts") == []


def test_what_ended_is_forgotten_with_the_timeline_though_no_listing_ever_lacked_it(pipeline, things):
    cloud = things(Shape.MUTABLE)
    cloud.is_complete = False
    is_over = lambda body: body.str.json_path_match("$.status") == "DELETED"  # noqa: E731
    source = cloud.source(is_over=is_over)
    cloud.put("alive", at("10:01"), n=1, status="ACTIVE")
    cloud.put("dead", at("10:02"), n=1, status="DELETED")
    cloud.put("back", at("10:02"), n=1, status="DELETED")
    harvest(pipeline, "east", source, hour("10"), reader=cloud, clock=cloud.clock)
    cloud.clock.tick(seconds=10)
    cloud.put("back", at("10:04"), n=2, status="ACTIVE")
    harvest(pipeline, "east", source, hour("10"), reader=cloud, clock=cloud.clock)
    assert rows(pipeline, "select key, ended_at from raw.latest order by key") == [
        ("alive", None),
        ("back", None),
        ("dead", at("10:02")),
    ]
    assert latest(pipeline, "east", "things")["key"].to_list() == ["alive", "back", "dead"]
    assert latest(pipeline, "east", "things", since=at("10:02"))["key"].to_list() == ["alive", "back", "dead"]
    assert latest(pipeline, "east", "things", since=at("10:03"))["key"].to_list() == ["alive", "back"]
    resolve(pipeline)
    settings = pipeline.settings.retention
    lifetime = timedelta(days=settings.timeline_days + settings.raw_extra_days)
    retire(pipeline, "east", source, at("10:59") + lifetime)
    assert len(rows(pipeline, "select key from raw.latest")) == 3
    retire(pipeline, "east", source, at("11:00") + lifetime)
    assert rows(pipeline, "select key from raw.latest order by key") == [("alive",), ("back",)]
    assert told(pipeline) == [("22 10", "seen", "alive", 1, None), ("22 10", "seen", "back", 2, 1)]


def test_retirement_keeps_the_newest_record_of_every_live_key(pipeline, things):
    cloud = things(Shape.SNAPSHOT)
    for key in "abc":
        cloud.put(key, n=1)
    run(pipeline, cloud)  # 10:05
    cloud.clock.tick(seconds=10)
    cloud.put("b", n=2)
    run(pipeline, cloud)
    del cloud.bodies["c"]
    for _ in range(2):
        cloud.clock.tick(seconds=10)
        run(pipeline, cloud)
    cloud.clock.now = at("12:00")
    cloud.put("b", n=3)
    run(pipeline, cloud, "12")
    resolve(pipeline)
    settings = pipeline.settings.retention
    lifetime = timedelta(days=settings.timeline_days + settings.raw_extra_days)
    refs = dict(stored(pipeline).filter(op="seen").select("key", "raw_ref").rows())

    assert retire(pipeline, "east", cloud.source(), at("10:59") + lifetime).before == 0
    assert len(told(pipeline)) == 6
    retired = retire(pipeline, "east", cloud.source(), at("11:00") + lifetime)
    assert (retired.before, retired.after, retired.rows) == (3, 1, 1)
    assert told(pipeline) == [("22 10", "seen", "a", 1, None), ("22 12", "seen", "b", 3, 2)]
    assert find(pipeline, refs["a"])["key"] == "a"
    assert find(pipeline, refs["c"]) is None
    assert [row[0] for row in rows(pipeline, LATEST, "east")] == ["a", "b"]
    assert "22 10" not in covered(pipeline)
    assert rows(pipeline, "select count(*) from raw.attempts") == [(2,)]
    again = retire(pipeline, "east", cloud.source(), at("12:00") + lifetime)
    assert (again.before, again.after) == (1, 1)  # nothing more to take out of it
    assert len(list(pipeline.raw.files())) == 6

    cloud.clock.now = at("12:10")
    cloud.bodies.clear()
    for _ in range(2):
        cloud.clock.tick(seconds=10)
        run(pipeline, cloud, "12")
    resolve(pipeline)
    retire(pipeline, "east", cloud.source(), at("13:00") + lifetime)
    assert list(pipeline.raw.files()) == []
    assert rows(pipeline, "select count(*) from raw.attempts") == [(0,)]
    assert rows(pipeline, "select key from raw.latest") == []


def test_what_has_not_reached_the_timeline_is_not_retired(pipeline, things):
    cloud = things(Shape.MUTABLE)
    cloud.put("a", at("10:01"), n=1)
    run(pipeline, cloud)
    cloud.put("a", at("10:04"), n=2)
    run(pipeline, cloud)
    before = stored(pipeline)
    retire(pipeline, "east", cloud.source(), at("10:00") + timedelta(days=9999))
    assert stored(pipeline).equals(before)
