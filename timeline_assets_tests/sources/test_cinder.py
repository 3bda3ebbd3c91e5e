"""What is particular to Cinder: who owned what can change hands, what a status tells, and when a list is read whole."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import polars as pl
import pytest

from timeline_assets.errors import SourceError
from timeline_assets.sources import cinder, cinder_backups, cinder_snapshots, cinder_transfers, cinder_volumes
from timeline_assets.sources.base import Span
from timeline_assets.topology.intervals import believe
from timeline_assets_tests.sources.looks import at, looks, prove, recorded, tell, told_at

PATH = "volume/v3/volumes/detail"
GIVER, TAKER = "giver", "taker"
NOW = at(300)
SPAN = Span(at(-600), at(3600), NOW, is_open=True)
OWNER, BACKEND = cinder_volumes.OWNER, cinder_volumes.BACKEND
VOLUMES, SNAPSHOTS, BACKUPS = cinder_volumes.SOURCE, cinder_snapshots.SOURCE, cinder_backups.SOURCE


def volume(**more: Any) -> dict[str, Any]:
    """An available volume of the giver's, made long ago."""
    steady = {
        "id": "v1",
        "name": "data",
        "status": "available",
        "size": 1,
        "attachments": [],
        "metadata": {},
        "created_at": told_at(-3600),
        "updated_at": told_at(-3500),
        OWNER: GIVER,
        BACKEND: "controller@file1#file1",
    }
    return recorded(VOLUMES, "volumes") | steady | more


def attachment(number: int, attached: int = 0) -> dict[str, Any]:
    return {"attachment_id": f"a{number}", "server_id": f"s{number}", "attached_at": told_at(attached)}


def snapshot(**more: Any) -> dict[str, Any]:
    steady = {
        "id": "n1",
        "volume_id": "v1",
        "status": "available",
        "created_at": told_at(-600),
        "updated_at": told_at(-590),
        cinder_snapshots.OWNER: GIVER,
        cinder_snapshots.PROGRESS: "100%",
    }
    return recorded(SNAPSHOTS, "snapshots") | steady | more


def backup(**more: Any) -> dict[str, Any]:
    steady = {
        "id": "b1",
        "volume_id": "v1",
        "status": "available",
        "created_at": told_at(-600),
        "updated_at": told_at(-590),
        cinder_backups.OWNER: GIVER,
    }
    return recorded(BACKUPS, "backups") | steady | more


def owned(claims: pl.DataFrame) -> list[tuple[Any, ...]]:
    """Whose it was: (project, from, until, how it ended)."""
    rows = believe(claims).ownership.sort("valid_from").select("project_id", "valid_from", "valid_to", "ending")
    return rows.rows()


def types(frame: pl.DataFrame) -> list[str]:
    return frame["event_type"].to_list()


# Who owned it -------------------------------------------------------------------------------------------------------


def test_an_acceptance_between_two_scans_is_nobodys_while_it_is_not_known_whose():
    found = looks(VOLUMES, (10, [volume()]), (20, [volume()]), (30, [volume(**{OWNER: TAKER})]))
    facts = tell(VOLUMES, found)
    assert types(facts) == ["volume.create.end", "volume.transfer.accept.end"]
    assert facts["payload_project_id"].to_list() == [None, GIVER]
    accepted = facts.row(1, named=True)
    assert (accepted["occurred_from"], accepted["occurred_to"]) == (at(20), at(30))
    assert accepted["changes"] == f'[{{"path":"{OWNER}","old":"{GIVER}","new":"{TAKER}"}}]'
    assert owned(prove(VOLUMES, found)) == [(GIVER, at(10), at(20), "changed"), (TAKER, at(30), None, None)]


def test_a_creation_is_the_project_that_was_seen_at_it_whoever_has_it_next():
    made = {"created_at": told_at(8), "updated_at": None, "status": "creating", BACKEND: None}
    found = looks(
        VOLUMES,
        (10, [volume(**made)]),
        (20, [volume(created_at=told_at(8), updated_at=told_at(12), **{OWNER: TAKER})]),
    )
    begun, ended = tell(VOLUMES, found[:1]), tell(VOLUMES, found[1:]).filter(event_type="volume.create.end")
    assert begun.select("event_type", "outcome", "ended_at").rows() == [("volume.create.start", "pending", None)]
    assert ended.select("outcome", "ended_at").rows() == [("success", at(12))]
    assert begun["event_id"].item() == ended["event_id"].item()
    assert (begun["payload_project_id"].item(), ended["payload_project_id"].item()) == (GIVER, GIVER)
    assert owned(prove(VOLUMES, found)) == [(GIVER, at(8), at(10), "changed"), (TAKER, at(20), None, None)]


@pytest.mark.parametrize(
    ("status", "backend", "is_proven"),
    [
        ("creating", None, True),
        ("downloading", "controller@file1#file1", True),
        ("error", None, True),
        ("error", "controller@file1#file1", False),
        ("available", "controller@file1#file1", False),
        ("in-use", "controller@file1#file1", False),
    ],
)
def test_a_creation_is_proven_only_of_what_cannot_have_been_offered_yet(status, backend, is_proven):
    found = looks(VOLUMES, (10, [volume(created_at=told_at(8), status=status, **{BACKEND: backend})]))
    assert tell(VOLUMES, found)["payload_project_id"].item() == (GIVER if is_proven else None)
    assert owned(prove(VOLUMES, found)) == [(GIVER, at(8 if is_proven else 10), None, None)]


def test_an_attached_volume_has_been_its_owners_since_it_was_attached():
    attached = volume(status="in-use", attachments=[attachment(1, -300), attachment(2, -200)])
    found = looks(VOLUMES, (10, [attached]))
    assert owned(prove(VOLUMES, found)) == [(GIVER, at(-300), None, None)]
    facts = tell(VOLUMES, found).filter(event_type="volume.attach.end")
    assert facts.select("occurred_at", "payload_project_id", "source_version", "related").rows() == [
        (at(-300), GIVER, "attach:a1", '[{"type":"server","id":"s1","role":"related"}]'),
        (at(-200), GIVER, "attach:a2", '[{"type":"server","id":"s2","role":"related"}]'),
    ]


def test_each_attachment_begins_and_ends_once():
    one, two = attachment(1, -300), attachment(2, 25)
    found = looks(
        VOLUMES,
        (10, [volume(status="in-use", attachments=[one])]),
        (20, [volume(status="detaching", attachments=[one])]),
        (30, [volume(status="in-use", attachments=[two], updated_at=told_at(26))]),
    )
    facts = tell(VOLUMES, found).filter(pl.col("event_type") != "volume.create.end")
    assert facts.select("event_type", "source_version", "occurred_at", "occurred_from", "occurred_to").rows() == [
        ("volume.attach.end", "attach:a1", at(-300), at(-300), at(-299)),
        ("volume.attach.end", "attach:a2", at(25), at(25), at(26)),
        ("volume.detach.end", "detach:a1", at(26), at(20), at(30)),
    ]
    assert facts["payload_project_id"].to_list() == [GIVER, GIVER, GIVER]
    edges = believe(prove(VOLUMES, found)).edges.filter(relation="attached").sort("to_id")
    assert edges.select("to_id", "valid_from", "valid_to").rows() == [
        ("s1", at(-300), at(30)),
        ("s2", at(25), None),
    ]


def test_a_snapshot_goes_with_its_volume_at_the_time_it_tells():
    handed_over = snapshot(updated_at=told_at(17), **{cinder_snapshots.OWNER: TAKER})
    found = looks(SNAPSHOTS, (10, [snapshot()]), (20, [handed_over]))
    assert owned(prove(SNAPSHOTS, found)) == [(GIVER, at(10), at(17), "dated"), (TAKER, at(17), None, None)]
    assert types(tell(SNAPSHOTS, found)) == ["snapshot.create.end"]


@pytest.mark.parametrize("more", [{"name": "renamed"}, {"status": "deleting"}, {"metadata": {"a": "b"}}])
def test_a_snapshot_that_changed_otherwise_too_does_not_tell_when_it_went(more):
    handed_over = snapshot(updated_at=told_at(17), **{cinder_snapshots.OWNER: TAKER}, **more)
    found = looks(SNAPSHOTS, (10, [snapshot()]), (20, [handed_over]))
    assert owned(prove(SNAPSHOTS, found)) == [(GIVER, at(10), at(10), "changed"), (TAKER, at(20), None, None)]


def test_a_change_of_a_snapshot_proves_no_more_than_who_has_it():
    found = looks(SNAPSHOTS, (10, [snapshot()]), (20, [snapshot(updated_at=told_at(17))]))
    assert set(prove(SNAPSHOTS, found)["claim"]) == {"created", "seen", "owner", "edge_since"}


@pytest.mark.parametrize(
    ("status", "progress", "is_proven"),
    [("creating", "0%", True), ("error", "0%", True), ("error", "100%", False), ("available", "100%", False)],
)
def test_a_snapshot_that_never_was_available_is_its_makers(status, progress, is_proven):
    found = looks(SNAPSHOTS, (10, [snapshot(status=status, **{cinder_snapshots.PROGRESS: progress})]))
    assert tell(SNAPSHOTS, found)["payload_project_id"].item() == (GIVER if is_proven else None)
    assert owned(prove(SNAPSHOTS, found)) == [(GIVER, at(-600 if is_proven else 10), None, None)]


def test_a_backup_stays_with_its_maker_from_the_beginning():
    found = looks(BACKUPS, (10, [backup()]), (20, [backup()]), (30, []), (40, []))
    assert tell(BACKUPS, found).select("event_type", "payload_project_id").rows() == [
        ("backup.create.end", GIVER),
        ("backup.delete.end", GIVER),
    ]
    assert owned(prove(BACKUPS, found)) == [(GIVER, at(-600), at(30), "gone")]


def test_an_offer_proves_whose_the_volume_was_when_it_was_made():
    source = cinder_transfers.SOURCE
    offer = recorded(source, "transfers") | {"id": "t1", "volume_id": "v1", "created_at": told_at(4)}
    found = looks(source, (10, [offer | {"source_project_id": GIVER}]), (20, []), (30, []))
    facts = tell(source, found)
    assert facts.select("event_type", "resource_id", "occurred_at", "payload_project_id").rows() == [
        ("volume.transfer.create.end", "v1", at(4), GIVER)
    ]
    of_volume = prove(source, found).filter(resource_type="volume")
    assert of_volume.select("resource_id", "claim", "at_from", "at", "project_id").rows() == [
        ("v1", "owner", None, at(4), GIVER)
    ]


@pytest.mark.parametrize(
    ("owner", "told"), [(GIVER, "volume.transfer.delete.end"), (TAKER, "volume.transfer.accept.end")]
)
def test_the_volume_tells_whether_an_offer_was_withdrawn_or_taken(owner, told):
    found = looks(VOLUMES, (10, [volume(status="awaiting-transfer")]), (20, [volume(**{OWNER: owner})]))
    assert types(tell(VOLUMES, found)) == ["volume.create.end", told]


# What a status tells ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("before", "after", "told"),
    [
        ("available", "error", ["volume.error"]),
        ("deleting", "error_deleting", ["volume.delete.error"]),
        ("extending", "error_extending", ["volume.resize.error"]),
        ("restoring-backup", "error_restoring", ["volume.restore.error"]),
        ("backing-up", "error_backing-up", []),
        ("creating", "error", []),
        ("available", "reserved", []),
        ("backing-up", "available", []),
        ("error", "error", []),
    ],
)
def test_failures_of_a_volume(before, after, told):
    found = looks(VOLUMES, (10, [volume(status=before)]), (20, [volume(status=after, updated_at=told_at(15))]))
    facts = tell(VOLUMES, found).filter(~pl.col("event_type").str.starts_with("volume.create"))
    assert types(facts) == told
    assert facts["outcome"].to_list() == ["failure"] * len(told)


def test_what_a_restore_changes_is_no_change_of_its_own():
    restored = volume(metadata={"src_backup_id": "b1"}, bootable="true", updated_at=told_at(25))
    found = looks(VOLUMES, (10, [volume()]), (20, [volume(status="restoring-backup")]), (30, [restored]))
    assert types(tell(VOLUMES, found)) == ["volume.create.end"]


def test_a_restore_is_one_span_however_long_it_takes():
    running = backup(status="restoring", updated_at=told_at(14))
    found = looks(
        BACKUPS,
        (10, [backup()]),
        (20, [running]),
        (30, [running]),
        (40, [backup(updated_at=told_at(36))]),
        (50, [backup(status="restoring", updated_at=told_at(44))]),
    )
    by_look = [
        tell(BACKUPS, found[number : number + 1]).filter(pl.col("event_type").str.contains("restore"))
        for number in range(1, 4)
    ]
    assert [frame.select("event_type", "occurred_at", "ended_at", "outcome").row(0) for frame in by_look] == [
        ("backup.restore.start", at(14), None, "pending"),
        ("backup.restore.end", at(14), at(36), "unknown"),
        ("backup.restore.start", at(44), None, "pending"),
    ]
    ids = [frame["event_id"].item() for frame in by_look]
    assert ids[0] == ids[1] != ids[2]


def test_a_deletion_lies_after_the_last_sign_of_life():
    found = looks(VOLUMES, (10, [volume(status="deleting", updated_at=told_at(16))]), (20, []), (30, []))
    facts = tell(VOLUMES, found).filter(event_type="volume.delete.end")
    columns = ("occurred_at", "occurred_from", "occurred_to", "time_precision", "payload_project_id", "phase")
    assert facts.select(columns).rows() == [(at(18), at(16), at(20), "interval", None, "end")]


# What is asked ------------------------------------------------------------------------------------------------------


def test_a_short_list_is_read_whole_and_a_long_one_every_minute(cloud, reading):
    rows = [volume(id=f"v{number}") for number in range(3)]
    cloud.answers[PATH] = {"volumes": rows}
    read = []
    for rows_before, seconds in (
        (None, 0),
        (cinder.SHORT_LIST, 5),
        (cinder.SHORT_LIST + 1, 5),
        (cinder.SHORT_LIST + 1, 60),
    ):
        memory = {} if rows_before is None else {"rows": rows_before, "swept_at": NOW.isoformat()}
        now = NOW + timedelta(seconds=seconds)
        cloud.requests.clear()
        fetched = cinder_volumes.fetch(reading(cursor=memory), Span(SPAN.start, SPAN.end, now, is_open=True))
        assert len(list(fetched.records)) == 3
        asked = cloud.asked(PATH)[0].query
        assert asked["all_tenants"] == ["1"]
        read.append((fetched.is_complete, asked.get("updated_at")))
    assert read == [(True, None), (True, None), (False, ["gte:2026-11-22T09:50:00"]), (True, None)]


def test_a_cloud_that_hides_the_owner_is_a_gap_and_no_empty_list(cloud, reading):
    hidden = {name: value for name, value in volume().items() if name != OWNER}
    cloud.answers[PATH] = {"volumes": [volume(), hidden]}
    with pytest.raises(SourceError) as caught:
        cinder_volumes.fetch(reading(), SPAN)
    assert caught.value.code == "scope_too_small"
