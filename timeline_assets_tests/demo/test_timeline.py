"""The demo's whole timeline: the recorded cloud followed through its play, compared with what was recorded of it.

Our clock is moved by hand, so every run reads the same moments. The play spans the end of an hour; later the closed
hour is read again, as in real life.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from timeline_assets.config import DEMO
from timeline_assets.demo.record import ACTIONS
from timeline_assets.raw.harvest import harvest
from timeline_assets.raw.windows import Window, floor_hour
from timeline_assets.sources import SOURCES

EXPECTED = Path(__file__).parents[1] / "expected" / "demo.jsonl"

#: Whose a record of a listing is.
OWNERS: dict[str, Callable[[dict], str]] = {
    "nova_servers": lambda row: row["tenant_id"],
    "cinder_volumes": lambda row: row["os-vol-tenant-attr:tenant_id"],
    "cinder_snapshots": lambda row: row["os-extended-snapshot-attributes:project_id"],
    "cinder_backups": lambda row: row["os-backup-project-attr:project_id"],
    "neutron_networks": lambda row: row["project_id"],
    "neutron_subnets": lambda row: row["project_id"],
    "neutron_ports": lambda row: row["project_id"],
    "neutron_routers": lambda row: row["project_id"],
    "neutron_floating_ips": lambda row: row["project_id"],
    "neutron_security_groups": lambda row: row["project_id"],
    "neutron_security_group_rules": lambda row: row["project_id"],
    "keystone_projects": lambda row: row["id"],
}


def test_the_timeline_is_the_expected_one(told):
    """Events by source, type and owner; the tests below say for the most part why these."""
    tenants = told.tenants()

    def owner(row: dict) -> str:
        if row["reason"]:
            return f"quarantine: {row['reason']}"
        if row["owner_scope"] == "project":
            return tenants.get(row["owner_project_id"], "a project that was deleted before")
        return row["owner_scope"]

    events = told.rows(
        """select e.source, e.event_type, e.owner_scope, e.owner_project_id, q.reason from timeline.events e
        left join timeline.quarantine q on q.event_id = e.event_id and q.resolved_at is null"""
    )
    found = Counter((row["source"], row["event_type"], owner(row)) for row in events)
    shown = [{"source": s, "event_type": t, "owner": o, "events": n} for (s, t, o), n in sorted(found.items())]
    assert shown == [json.loads(line) for line in EXPECTED.read_text().splitlines()]


def test_every_action_on_a_server_is_told_once_with_its_actor_and_the_servers_owner(told):
    owners = {row["id"]: row["tenant_id"] for _, row in told.ever("nova_servers")}
    actions = told.played.records(ACTIONS, told.played.ended_at)
    assert len(actions) == 325
    expected = sorted(
        (row["instance_uuid"], row["request_id"], row["user_id"], owners[row["instance_uuid"]], row["start_time"][:19])
        for row in actions
    )
    events = told.rows(
        f"select resource_id, request_id, actor_user_id, owner_project_id, occurred_at from timeline.events "
        f"where source = '{ACTIONS}'"
    )
    assert expected == sorted(
        (
            *(row[name] for name in ("resource_id", "request_id", "actor_user_id", "owner_project_id")),
            f"{row['occurred_at']:%Y-%m-%dT%H:%M:%S}",
        )
        for row in events
    )


def test_every_deleted_server_is_told_once(told):
    deleted = {row["id"] for _, row in told.ever("nova_servers") if row["status"] == "DELETED"}
    events = told.rows("select resource_id from timeline.events where event_type = 'compute.instance.delete.end'")
    assert sorted(row["resource_id"] for row in events) == sorted(deleted)


@pytest.mark.parametrize("source", ["neutron_networks", "neutron_ports", "neutron_routers", "neutron_security_groups"])
def test_everything_of_the_network_is_told_when_it_was_made(told, source):
    made = {row["id"]: row["created_at"] for _, row in told.ever(source)}
    events = told.rows(
        f"select resource_id, occurred_at from timeline.events "
        f"where source = '{source}' and event_type like '%.create.end'"
    )
    assert {row["resource_id"]: f"{row['occurred_at']:%Y-%m-%dT%H:%M:%SZ}" for row in events} == made
    assert len(events) == len(made)


def test_no_tenant_sees_what_was_not_its_own(told):
    """Every row of a tenant is of a resource that a listing showed as its own, or that was a part of one; an affected
    row names resources of its own."""
    owned: dict[str, set[str]] = {}
    for listing, owner in OWNERS.items():
        for _, row in told.ever(listing):
            owned.setdefault(row["id"], set()).add(owner(row))
    of_device = {row["id"]: row["device_id"] for _, row in told.ever("neutron_ports") if not row["project_id"]}
    seen = told.rows(
        """select tenant_project_id, resource_type, resource_id, relation from timeline.tenant_events
            where relation = 'owner'
        union all
        select tenant_project_id, r->>'type', r->>'id', relation
            from timeline.tenant_events, jsonb_array_elements(related) r where relation = 'affected'"""
    )
    assert len(seen) > 500
    for row in seen:
        if row["resource_type"] == "role_assignment" or row["tenant_project_id"] is None:
            continue
        resource = of_device.get(row["resource_id"], row["resource_id"])
        assert row["tenant_project_id"] in owned[resource], row


def test_the_volume_that_changed_hands_is_each_ones_for_its_time(told):
    hands: dict[str, list[str]] = {}
    for _, row in sorted(told.ever("cinder_volumes"), key=lambda version: version[0]):
        of = hands.setdefault(row["id"], [])
        if row["os-vol-tenant-attr:tenant_id"] not in of:
            of.append(row["os-vol-tenant-attr:tenant_id"])
    ((volume, (giver, taker)),) = ((volume, of) for volume, of in hands.items() if len(of) > 1)
    tenants = told.tenants()
    assert (tenants[giver], tenants[taker]) == ("acme/production", "globex/production")
    (accepted,) = told.rows(
        "select resource_id, occurred_from, occurred_to from timeline.events "
        "where event_type = 'volume.transfer.accept.end'"
    )
    assert accepted["resource_id"] == volume
    rows = told.rows(
        "select tenant_project_id, occurred_from, occurred_to from timeline.tenant_events "
        f"where resource_id = '{volume}'"
    )
    for row in rows:
        assert row["tenant_project_id"] in (giver, taker)
        if row["tenant_project_id"] == giver:
            assert row["occurred_from"] <= accepted["occurred_to"]
        else:
            assert row["occurred_to"] >= accepted["occurred_from"]


def test_tenants_of_the_same_names_are_apart(told):
    tenants = told.tenants()
    twins = [project for project, name in tenants.items() if name in ("acme/production", "globex/production")]
    rows = told.rows("select tenant_project_id, resource_id, resource_name from timeline.tenant_events")
    of = [{row["resource_id"] for row in rows if row["tenant_project_id"] == twin} for twin in twins]
    names = [{row["resource_name"] for row in rows if row["tenant_project_id"] == twin} for twin in twins]
    assert len(of[0] & of[1]) <= 1  # the volume that changed hands
    assert len(names[0] & names[1]) > 10


def test_nothing_is_dated_after_it_was_read(told):
    late = told.rows(
        "select event_type, occurred_at, observed_at from timeline.events "
        "where occurred_from > observed_at + '1 s'::interval"
    )
    assert late == []
    (last,) = told.rows("select max(occurred_at) as at from timeline.events")
    assert told.played.ended_at - timedelta(minutes=1) < last["at"] <= told.played.ended_at


def test_the_hour_that_ended_is_proven_where_a_source_has_a_history(told):
    hour = floor_hour(told.played.began_at)
    rows = told.rows(f"select source, status, reason from timeline.coverage where window_start = '{hour}'")
    assert {row["source"]: row["status"] for row in rows} == {
        source.name: "unknown" if source.shape == "snapshot" or source.service == "block-storage" else "proven"
        for source in SOURCES
    }


def test_the_cloud_is_quiet_afterwards_and_a_day_later(told):
    before = told.rows("select count(*) as events, max(recorded_at) as last from timeline.events")
    for seconds in (60, 86_400):
        told.clock.wait(seconds)
        assert told.follow() == 0
    window = Window.of(told.clock.now - timedelta(hours=9))
    for source in SOURCES:
        assert harvest(told.pipeline, DEMO, source, window).new == 0
    assert told.rows("select count(*) as events, max(recorded_at) as last from timeline.events") == before
