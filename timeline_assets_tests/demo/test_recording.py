"""Recordings read, and what the one that ships has in it."""

from __future__ import annotations

import gzip
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from timeline_assets.demo import RECORDING
from timeline_assets.demo.record import ACTIONS, LISTINGS, MICROVERSIONS
from timeline_assets.demo.recording import read
from timeline_assets.errors import ConfigurationError
from timeline_assets.raw.scrub import scrub
from timeline_assets.sources import SOURCES

HEAD = {"format": 1, "recorded_from": "2026-11-22T10:00:00Z"}
TAIL = {"recorded_to": "2026-11-22T10:05:00Z"}


def at(minute: int, key: str, record: dict | None, listing: str = "things") -> dict:
    return {"at": f"2026-11-22T10:{minute:02}:00Z", "listing": listing, "key": key, "record": record}


def written(path: Path, *lines: dict) -> Path:
    path.write_bytes(gzip.compress("".join(json.dumps(line) + "\n" for line in lines).encode()))
    return path


def moment(minute: float) -> datetime:
    return datetime(2026, 11, 22, 10, tzinfo=UTC) + timedelta(minutes=minute)


# Reading ------------------------------------------------------------------------------------------------------------


def test_a_listing_shows_what_it_did_at_that_instant(tmp_path):
    one, two, three = {"n": 1}, {"n": 2}, {"n": 3}
    lines = [at(0, "a", one), at(0, "b", one), at(1, "a", two), at(2, "b", None), at(3, "c", three), at(4, "b", two)]
    recording = read(written(tmp_path / "r.gz", HEAD, *lines, TAIL))
    shown = {minute: recording.records("things", moment(minute)) for minute in (-9, 0, 0.99, 1, 2, 3, 4, 99)}
    assert shown == {
        -9: [one, one],  # what it showed first has been there for all of it
        0: [one, one],
        0.99: [one, one],
        1: [two, one],
        2: [two],
        3: [two, three],
        4: [two, two, three],
        99: [two, two, three],
    }
    assert recording.records("nothing", moment(1)) == []


def test_every_time_moves_by_whole_seconds_and_keeps_its_form(tmp_path):
    record = {
        "nova": "2026-11-22T10:04:59Z",
        "cinder": "2026-11-22T10:04:59.123456",
        "old": {"list": ["2026-11-22 10:04:59", "2026-11-22T10:04:59+00:00"]},
        "text": "at 2026-11-22T10:04:59Z",
        "name": "2026-11-22",
        "never": "2026-11-22T99:99:99Z",
        "for ever": "9999-12-31T23:59:59Z",
        "none": None,
        "number": 20261122,
    }
    recording = read(written(tmp_path / "r.gz", HEAD, at(0, "a", record), TAIL))
    moved = recording.shifted(timedelta(days=9, seconds=2, milliseconds=900))
    assert moved.records("things", moved.began_at) == [
        record
        | {
            "nova": "2026-12-01T10:05:01Z",
            "cinder": "2026-12-01T10:05:01.123456",
            "old": {"list": ["2026-12-01 10:05:01", "2026-12-01T10:05:01+00:00"]},
        }
    ]
    assert (moved.began_at, moved.ended_at) == tuple(moment(m) + timedelta(days=9, seconds=2) for m in (0, 5))
    assert recording.records("things", recording.began_at) == [record]


@pytest.mark.parametrize(
    ("spoil", "what"),
    [
        (lambda path: path.unlink(), "No such file"),
        (lambda path: path.write_bytes(path.read_bytes()[:-20]), "no whole recording"),
        (lambda path: path.write_bytes(b"{}"), "no whole recording"),
        (written, "no whole recording"),
        (lambda path: written(path, HEAD | {"format": 9}, TAIL), "format is 9, not 1"),
        (lambda path: written(path, HEAD, at(0, "a", {})), "recorded_to"),
        (lambda path: written(path, HEAD, {"at": "x"}, TAIL), "no whole recording"),
        (lambda path: path.write_bytes(gzip.compress(b"[1]\n2\n")), "no whole recording"),
    ],
)
def test_what_is_no_whole_recording_is_refused_by_name(tmp_path, spoil, what):
    path = written(tmp_path / "r.gz", HEAD, at(0, "a", {}), TAIL)
    spoil(path)
    with pytest.raises(ConfigurationError, match=what) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert caught.value.remedy


#: Records that are no longer listed at the end of the one that ships.
GONE = {
    "keystone_domains": 1,
    "keystone_projects": 2,
    "keystone_users": 2,
    "keystone_role_assignments": 4,
    "nova_migrations": 2,
    "cinder_volumes": 25,
    "cinder_snapshots": 6,
    "cinder_backups": 1,
    "cinder_transfers": 1,
    "neutron_ports": 18,
    "neutron_floating_ips": 6,
    "neutron_security_group_rules": 6,
}


# The one that ships --------------------------------------------------------------------------------------------------


@pytest.fixture
def seen(recording):
    """Every record that any listing ever showed, by listing."""

    def seen(listing: str) -> list[dict]:
        return [record for of_key in recording.versions[listing].values() for _, record in of_key if record]

    return seen


def test_it_is_small_and_lasts_some_minutes(recording):
    assert RECORDING.stat().st_size < 200_000
    assert timedelta(minutes=4) < recording.ended_at - recording.began_at < timedelta(minutes=6)


def test_every_listing_is_in_it_with_the_fields_the_sources_ask_for(recording):
    assert set(recording.versions) == {*(listing.name for listing in LISTINGS), ACTIONS}
    assert recording.head["microversions"] == {name: version for name, version in MICROVERSIONS.items() if version}
    assert {source.name for source in SOURCES} <= set(recording.versions)


def test_no_secret_is_in_it(recording):
    for by_key in recording.versions.values():
        for of_key in by_key.values():
            assert all(record == scrub(record) for _, record in of_key if record)


def test_six_tenants_of_three_domains_two_of_them_with_the_same_names(recording):
    def first(listing: str) -> list[dict]:
        return recording.records(listing, recording.began_at)

    domains = {row["id"]: row["name"] for row in first("keystone_domains")}
    projects = {(domains[row["domain_id"]], row["name"]) for row in first("keystone_projects")}
    users = {(domains[row["domain_id"]], row["name"]) for row in first("keystone_users")}
    assert projects - {("Default", name) for name in ("admin", "service", "small")} == {
        ("acme", "production"),
        ("acme", "staging"),
        ("globex", "production"),
        ("globex", "research"),
        ("initech", "batch"),
        ("initech", "web"),
    }
    assert {("acme", "alice"), ("globex", "alice")} <= users


def test_what_is_done_in_it(recording, seen):
    before = {(row["instance_uuid"], row["request_id"]) for row in recording.records(ACTIONS, recording.began_at)}
    actions = recording.records(ACTIONS, recording.ended_at)
    done = Counter(row["action"] for row in actions if (row["instance_uuid"], row["request_id"]) not in before)
    assert done == {
        "create": 25,
        "resize": 12,
        **dict.fromkeys(["confirmResize", "delete", "reboot", "start", "stop"], 7),
        **dict.fromkeys(["attach_volume", "createImage", "detach_volume", "pause", "resume"], 6),
        **dict.fromkeys(["revertResize", "suspend", "unpause"], 6),
        **dict.fromkeys(["lock", "rebuild", "shelve", "unlock", "unshelve"], 5),
        "evacuate": 2,
        "live-migration": 1,
        "migrate": 1,
    }
    owner = "os-vol-tenant-attr:tenant_id"
    owners = {record["id"]: set() for record in seen("cinder_volumes")}
    for record in seen("cinder_volumes"):
        owners[record["id"]].add(record[owner])
    assert sorted(len(of) for of in owners.values())[-2:] == [1, 2]  # one volume changes hands
    assert len(recording.versions["cinder_transfers"]) == 1
    assert {"restoring", "available"} <= {record["status"] for record in seen("cinder_backups")}
    assert "restoring-backup" in {record["status"] for record in seen("cinder_volumes")}
    assert {"up", "down"} == {record["state"] for record in seen("nova_services")}
    assert {"evacuation", "live-migration", "migration", "resize"} == {
        record["migration_type"] for record in seen("nova_migrations")
    }
    gone = {name: sum(of[-1][1] is None for of in by_key.values()) for name, by_key in recording.versions.items()}
    assert {name: count for name, count in gone.items() if count} == GONE
