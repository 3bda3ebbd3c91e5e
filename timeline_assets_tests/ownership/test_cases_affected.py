"""The cases of ownership in which an event concerns more tenants than one, and who may read what of it.

Each goes the whole way: from records in the services' own shapes to the rows that a tenant's login selects.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from psycopg import sql

from timeline_assets.sources import (
    cinder_backups,
    cinder_snapshots,
    cinder_volumes,
    keystone_projects,
    neutron_networks,
    neutron_ports,
    nova_servers,
    nova_services,
)
from timeline_assets.store.access import Scope
from timeline_assets.timeline.explain import explain
from timeline_assets.timeline.verify import verify
from timeline_assets.timeline.write import retract
from timeline_assets_tests.making import CLOUD, claims, facts
from timeline_assets_tests.ownership.cloud import (
    BACKEND,
    HOST,
    OTHER_HOST,
    Cloud,
    backup,
    network,
    port,
    project,
    server,
    service,
    snapshot,
    volume,
)
from timeline_assets_tests.sources.looks import at

A, B = Scope("project", CLOUD, "A"), Scope("project", CLOUD, "B")
PROVIDER, SECURITY = Scope("provider"), Scope("security")
BRIEF = "event_type, relation, resource_type, related, title, actor_label"
DOWN = "event_type = 'compute.service.down'"


@pytest.fixture
def cloud(database, postgres, tmp_path: Path) -> Cloud:
    """A and B of the domain D1, C of D2, and the services' project."""
    cloud = Cloud.on(database, tmp_path, postgres.logins)
    everybody = [project("A"), project("B"), project("C", domain="D2"), project("SVC", domain="default")]
    cloud.told(keystone_projects.SOURCE, (0, everybody))
    return cloud


def affected(kind: str, *ids: str) -> list[dict[str, str]]:
    return [{"id": id, "role": "affected", "type": kind} for id in ids]


# 19: a host goes down -------------------------------------------------------------------------------------------------

SERVERS = [server("a1", "A"), server("a2", "A"), server("b1", "B"), server("c1", "C", host=OTHER_HOST)]
SERVERS += [server("svc1", "SVC")]


def host_down(cloud: Cloud, **more: Any) -> None:
    cloud.happen(cloud.told(nova_services.SOURCE, (0, [service()]), (10, [service()]), (20, [service("down", **more)])))


def test_19_host_down(cloud):
    cloud.told(nova_servers.SOURCE, (0, SERVERS))
    host_down(cloud)
    for tenant, related in (("A", affected("server", "a1", "a2")), ("B", affected("server", "b1"))):
        (row,) = cloud.rows(tenant, where=DOWN)
        ids = {row.pop("event_id"), row.pop("recorded_at")}
        assert str(row.pop("resource_id")) in {str(id) for id in ids}
        assert row == {
            "cloud": CLOUD,
            "region": None,
            "tenant_domain_id": "D1",
            "tenant_project_id": tenant,
            "relation": "affected",
            "visibility": "operational",
            "event_type": "compute.service.down",
            "category": "provider",
            "severity": 4,
            "outcome": "unknown",
            "phase": "state",
            "occurred_at": at(0),
            "occurred_from": at(0),
            "occurred_to": at(60),
            "time_precision": "interval",
            "ended_at": None,
            "resource_type": "host",
            "resource_name": None,
            "related": related,
            "changes": [],
            "actor_user_id": None,
            "actor_label": "unknown",
            "request_id": None,
            "title": "The host of your servers went down",
            "message": None,
        }
        seen = cloud.text(Scope("project", CLOUD, tenant))
        other = "b1" if tenant == "A" else "a1"
        for secret in (HOST, "nova-compute", f'"{other}"', '"svc1"', '"c1"', "forced", f"name-of-{other}"):
            assert secret not in seen
    assert cloud.rows("C", where=DOWN) == []
    assert cloud.rows("SVC", where=DOWN) == []
    (full,) = cloud.ask(f"select owner_scope, host, resource_name from timeline.events where {DOWN}", PROVIDER)
    assert full == {"owner_scope": "provider", "host": HOST, "resource_name": f"nova-compute@{HOST}"}


def test_19_every_time_in_an_affected_row_is_a_whole_minute_and_its_id_is_its_own(cloud):
    cloud.told(nova_servers.SOURCE, (0, SERVERS))
    host_down(cloud)
    times = "select {} as t from timeline.{} where relation = 'affected'"
    for tenant in (A, B):
        for column in ("occurred_at", "occurred_from", "occurred_to", "recorded_at"):
            assert {
                row["t"].second + row["t"].microsecond
                for row in cloud.ask(times.format(column, "tenant_events"), tenant)
            } == {0}
        news = cloud.ask(
            "select changed_at as t from timeline.tenant_changes c where exists (select from timeline.tenant_events t"
            " where t.event_id = c.event_id and t.relation = 'affected')",
            tenant,
        )
        assert [row["t"].second + row["t"].microsecond for row in news] == [0]
    ids = {cloud.ask(f"select event_id from timeline.tenant_events where {DOWN}", who)[0]["event_id"] for who in (A, B)}
    (event,) = cloud.ask(f"select event_id from timeline.events where {DOWN}", PROVIDER)
    assert len(ids | {event["event_id"]}) == 3


def test_19_each_affected_row_has_an_attribution_of_the_rule_fan_out_with_its_path(cloud):
    cloud.told(nova_servers.SOURCE, (0, SERVERS))
    host_down(cloud)
    found = cloud.ask(
        """select a.owner_project_id, a.rule, a.confidence, a.path #>> '{0,id}' as through,
            a.evidence ->> 'event_id' = f.event_id::text as is_of_event
        from timeline.affected f join timeline.attributions a on a.event_id = f.affected_id and a.version = f.version
        order by 1""",
        PROVIDER,
    )
    expected = {"rule": "fan_out", "confidence": "high", "through": HOST, "is_of_event": True}
    assert found == [{"owner_project_id": tenant, **expected} for tenant in "AB"]


def test_19_the_id_in_a_tenants_row_leads_the_provider_to_the_event(cloud):
    cloud.told(nova_servers.SOURCE, (0, SERVERS))
    host_down(cloud)
    (row,) = cloud.rows("B", "event_id", DOWN)
    with cloud.database.connect("provider") as connection:
        found = explain(connection, str(row["event_id"]))
    assert (found.event["event_type"], found.event["host"]) == ("compute.service.down", HOST)


def test_19_another_service_of_the_host_concerns_nobody(cloud):
    cloud.told(nova_servers.SOURCE, (0, SERVERS))
    scheduler = [service(state, binary="nova-scheduler") for state in ("up", "up", "down")]
    cloud.happen(cloud.told(nova_services.SOURCE, *((10 * n, [row]) for n, row in enumerate(scheduler))))
    assert cloud.rows("A") == []


def test_19_disabled_and_enabled_are_told_as_well(cloud):
    cloud.told(nova_servers.SOURCE, (0, SERVERS))
    off = service(status="disabled", disabled_reason="secret plan")
    cloud.happen(cloud.told(nova_services.SOURCE, (0, [service()]), (20, [off]), (40, [service()])))
    assert [(row["event_type"], row["title"]) for row in cloud.rows("A", "event_type, title")] == [
        ("compute.service.disable", "The host of your servers was taken out of service"),
        ("compute.service.enable", "The host of your servers was put into service"),
    ]
    assert "secret plan" not in cloud.text(A)


def test_19_nothing_is_told_of_the_past(cloud):
    """The servers were seen on the host only after it had gone down: where they were before is not known."""
    host_down(cloud)
    cloud.told(nova_servers.SOURCE, (30, SERVERS))
    cloud.happen()
    assert cloud.rows("A", where=DOWN) == []


def moved(id: str, *, claim: str, second: float, host: str = HOST) -> Any:
    """A dated record of when a server came to a host or left it."""
    return claims(
        {
            "resource_id": id,
            "claim": claim,
            "at": at(second),
            "relation": "runs_on",
            "to_type": "host",
            "to_ids": [host],
            "source": "nova_migrations",
        }
    )


def test_19_a_late_dated_record_adds_a_row_and_another_takes_one_back_by_its_id_alone(cloud):
    cloud.told(nova_servers.SOURCE, (0, SERVERS))
    host_down(cloud)
    (before,) = cloud.rows("B", "event_id", DOWN)
    # c1 had just come, b1 had just left
    cloud.learn(moved("c1", claim="edge_since", second=5))
    cloud.learn(moved("b1", claim="edge_until", second=5))
    done = cloud.happen()
    assert done.reopened == 1, "the host's event, and no other"
    assert [row["related"] for row in cloud.rows("C", "related", DOWN)] == [affected("server", "c1")]
    assert cloud.rows("B", where=DOWN) == []
    news = "select operation, event_id, visibility, changed_at from timeline.tenant_changes order by sequence"
    upsert, retract = cloud.ask(news, B)
    assert (upsert["operation"], retract["operation"]) == ("upsert", "retract")
    assert retract["event_id"] == upsert["event_id"] == before["event_id"]
    assert retract["changed_at"].second == 0
    assert [row["related"] for row in cloud.rows("A", "related", DOWN)] == [affected("server", "a1", "a2")]
    versions = cloud.ask(
        """select a.version, a.owner_scope from timeline.attributions a join timeline.affected f
        on f.affected_id = a.event_id where f.tenant_project_id = 'B' order by 1""",
        PROVIDER,
    )
    assert versions == [{"version": 1, "owner_scope": "project"}, {"version": 2, "owner_scope": "provider"}]
    assert cloud.happen().reopened == 0


def test_19_a_server_that_comes_later_opens_nothing_again(cloud):
    cloud.told(nova_servers.SOURCE, (0, SERVERS))
    host_down(cloud)
    cloud.told(nova_servers.SOURCE, (40, [*SERVERS, server("a3", "A", created="2026-11-22T10:00:30Z")]))
    assert cloud.happen().reopened == 0


def test_19_the_same_records_give_the_same_rows_whatever_came_first(cloud):
    """And ids that stay: what is resolved again is the row that was there."""
    down = cloud.told(nova_services.SOURCE, (0, [service()]), (10, [service()]), (20, [service("down")]))
    cloud.happen(down)
    assert cloud.rows("A", where=DOWN) == []
    cloud.told(nova_servers.SOURCE, (0, SERVERS))
    cloud.happen()
    late = [cloud.rows(tenant, where=DOWN) for tenant in "ABC"]
    assert [len(rows) for rows in late] == [1, 1, 0]
    assert cloud.happen(down).written.tenant_upserts == 0
    assert [cloud.rows(tenant, where=DOWN) for tenant in "ABC"] == late


# 21: a storage backend fails ------------------------------------------------------------------------------------------


def test_21_backend_error(cloud):
    """A volume of A on it is attached to a server of A, one of B to a server of B; C's volume lies elsewhere."""
    elsewhere = {cinder_volumes.BACKEND: "controller@other#pool"}
    volumes = [
        volume("va", "A", attached_to=["a1"]),
        volume("vb", "B", attached_to=["b1"]),
        volume("vc", "C", **elsewhere),
    ]
    cloud.told(nova_servers.SOURCE, (0, SERVERS))
    cloud.told(cinder_volumes.SOURCE, (0, volumes))
    failed = {"event_type": "volume.backend.error", "resource_type": "backend", "resource_id": BACKEND}
    cloud.happen(facts({**failed, "source": "cinder_services", "occurred_at": at(20), "message": f"{BACKEND} lost"}))
    for tenant, own in (("A", ("a1", "va")), ("B", ("b1", "vb"))):
        (row,) = cloud.rows(tenant, BRIEF, "relation = 'affected'")
        assert row == {
            "event_type": "volume.backend.error",
            "relation": "affected",
            "resource_type": "backend",
            "related": affected("server", own[0]) + affected("volume", own[1]),
            "title": "The storage of your volumes failed",
            "actor_label": "unknown",
        }
        assert BACKEND not in cloud.text(Scope("project", CLOUD, tenant))
    assert cloud.rows("C", where="relation = 'affected'") == []


def test_21_what_changed_hands_since_is_told_to_whom_it_was_then(cloud):
    """A volume can change hands: the event before the transfer is the giver's, and stays so when the taker is seen."""
    cloud.told(cinder_volumes.SOURCE, (0, [volume("v", "A")]), (30, [volume("v", "A")]), (60, [volume("v", "B")]))
    failed = {"event_type": "volume.backend.error", "resource_type": "backend", "resource_id": BACKEND}
    cloud.happen(facts({**failed, "occurred_at": at(20)}, {**failed, "source_key": "2", "occurred_at": at(90)}))
    where = "event_type = 'volume.backend.error'"
    assert [row["related"] for row in cloud.rows("A", "related", where)] == [affected("volume", "v")]
    assert [row["occurred_at"] for row in cloud.rows("A", "occurred_at", where)] == [at(0)]
    assert [row["occurred_at"] for row in cloud.rows("B", "occurred_at", where)] == [at(60)]


# 7: a shared network --------------------------------------------------------------------------------------------------


def test_07_shared_network_of_A_with_a_port_of_B(cloud):
    """The port's change is B's alone; the network's is A's, and B is told that a network it shares was changed."""
    cloud.told(neutron_networks.SOURCE, (0, [network("net", "A")]))
    touched = {"updated_at": "2026-11-22T10:00:15Z", "revision_number": 2}
    ports = [port("pb", "B", on="net"), port("pa", "A", on="net")]
    cloud.happen(
        cloud.told(neutron_ports.SOURCE, (0, ports), (20, [{**ports[0], **touched, "name": "renamed"}, ports[1]])),
        cloud.told(
            neutron_networks.SOURCE, (0, [network("net", "A")]), (20, [network("net", "A", **touched, mtu=1400)])
        ),
    )
    changed = "event_type in ('port.update.end', 'network.update.end')"
    assert cloud.rows("B", BRIEF, changed) == [
        {
            "event_type": "network.update.end",
            "relation": "affected",
            "resource_type": "network",
            "related": affected("port", "pb"),
            "title": "A network that you share was changed",
            "actor_label": "unknown",
        },
        {
            "event_type": "port.update.end",
            "relation": "owner",
            "resource_type": "port",
            "related": [],
            "title": "Port renamed changed",
            "actor_label": "unknown",
        },
    ]
    (owned,) = cloud.rows("A", "event_type, relation, resource_id, changes", changed)
    assert owned == {
        "event_type": "network.update.end",
        "relation": "owner",
        "resource_id": "net",
        "changes": [{"new": 1400, "old": owned["changes"][0]["old"], "path": "mtu"}],
    }
    seen = cloud.text(B)
    assert not [secret for secret in ("name-of-net", "name-of-pa", '"A"', "user-of-A") if secret in seen]


def test_07_who_changed_it_is_nobody_that_the_others_may_know(cloud):
    cloud.told(neutron_networks.SOURCE, (0, [network("net", "A")]))
    cloud.told(neutron_ports.SOURCE, (0, [port("pb", "B", on="net")]))
    change = {"event_type": "network.update.end", "resource_type": "network", "resource_id": "net"}
    by_a = {"actor_user_id": "alice", "actor_project_id": "A", "actor_domain_id": "D1", "request_id": "req-secret"}
    cloud.happen(facts({**change, **by_a, "payload_project_id": "A", "occurred_at": at(30), "actor_kind": "human"}))
    (theirs,) = cloud.rows("B", "actor_label, actor_user_id, request_id", "event_type = 'network.update.end'")
    assert theirs == {"actor_label": "provider operator", "actor_user_id": None, "request_id": None}
    (own,) = cloud.rows("A", "actor_label, actor_user_id, request_id", "event_type = 'network.update.end'")
    assert own == {"actor_label": "user", "actor_user_id": "alice", "request_id": "req-secret"}


# 9: a volume changes hands --------------------------------------------------------------------------------------------

ACCEPTED = "event_type = 'volume.transfer.accept.end'"


def hand_over(cloud: Cloud) -> None:
    """v goes from A to B between 20 and 30; so does its snapshot; its backup stays. Each is deleted at about 50."""
    at_b = {"updated_at": "2026-11-22T10:00:25.000000"}
    told = [
        cloud.told(
            cinder_volumes.SOURCE,
            (10, [volume("v", "A")]),
            (20, [volume("v", "A", name="renamed")]),
            (30, [volume("v", "B", name="renamed")]),
            (40, [volume("v", "B", name="renamed", size=2)]),
        ),
        cloud.told(
            cinder_snapshots.SOURCE,
            (10, [snapshot("n", "A", of="v")]),
            (20, [snapshot("n", "A", of="v")]),
            (30, [snapshot("n", "B", of="v", **at_b)]),
            (50, []),
            (60, []),
        ),
        cloud.told(
            cinder_backups.SOURCE,
            (10, [backup("k", "A", of="v")]),
            (20, [backup("k", "A", of="v")]),
            (30, [backup("k", "A", of="v")]),
            (50, []),
            (60, []),
        ),
    ]
    cloud.happen(*told)


def test_09_volume_transferred(cloud):
    hand_over(cloud)
    columns = "event_type, relation, resource_id, title, changes, related"
    row = {"event_type": "volume.transfer.accept.end", "relation": "owner", "resource_id": "v", "changes": []}
    left = {"title": "Volume renamed left for another project (seen between two scans)", "related": []}
    arrived = {"title": "Volume renamed arrived from another project (seen between two scans)", "related": []}
    assert cloud.rows("A", columns, ACCEPTED) == [row | left]
    assert cloud.rows("B", columns, ACCEPTED) == [row | arrived]
    (event,) = cloud.ask(
        f"select owner_scope, owner_project_id, changes from timeline.events where {ACCEPTED}", PROVIDER
    )
    change = {"path": cinder_volumes.OWNER, "old": "A", "new": "B"}
    assert event == {"owner_scope": "project", "owner_project_id": "A", "changes": [change]}


def test_09_before_it_is_the_givers_and_after_it_the_takers(cloud):
    hand_over(cloud)
    lives = "event_type in ('volume.update.end', 'volume.resize.end', 'snapshot.delete.end', 'backup.delete.end')"
    of = {
        tenant: [row["event_type"] for row in cloud.rows(tenant, "event_type, occurred_at", lives)] for tenant in "AB"
    }
    assert of == {
        "A": ["volume.update.end", "backup.delete.end"],
        "B": ["volume.resize.end", "snapshot.delete.end"],
    }


def test_09_neither_learns_of_the_other(cloud):
    hand_over(cloud)
    for me, other in ((A, "B"), (B, "A")):
        seen = cloud.text(me)
        assert f"name-of-{other}" not in seen
        assert f",{other}," not in seen
        assert f'"{other}"' not in seen


def test_09_who_accepted_is_shown_to_the_taker_and_not_to_the_giver(cloud):
    hand_over(cloud)
    accept = {
        "event_type": "volume.transfer.accept.end",
        "resource_type": "volume",
        "resource_id": "v",
        "source_key": "x",
    }
    change = {"path": cinder_volumes.OWNER, "old": "A", "new": "B"}
    bob = {"actor_user_id": "bob", "actor_project_id": "B", "actor_domain_id": "D1", "actor_kind": "human"}
    cloud.happen(facts({**accept, **bob, "payload_project_id": "A", "changes": [change], "occurred_at": at(25)}))
    actor = "actor_label, actor_user_id"
    assert cloud.rows("B", actor, f"{ACCEPTED} and actor_label = 'user'") == [
        {"actor_label": "user", "actor_user_id": "bob"}
    ]
    assert cloud.rows("A", actor, f"{ACCEPTED} and actor_label <> 'unknown'") == [
        {"actor_label": "provider operator", "actor_user_id": None}
    ]


def test_09_a_volume_that_goes_to_the_services_is_told_to_its_giver_alone(cloud):
    cloud.happen(cloud.told(cinder_volumes.SOURCE, (10, [volume("v", "A")]), (30, [volume("v", "SVC")])))
    assert len(cloud.rows("A", where=ACCEPTED)) == 1
    assert cloud.rows("SVC", where=ACCEPTED) == []


# 24: a load balancer's machine ----------------------------------------------------------------------------------------


def test_24_amphora_event_in_the_services_project(cloud):
    """The server is the services'; the load balancer that it works for is A's."""
    cloud.told(nova_servers.SOURCE, (0, [server("amphora-vm", "SVC")]))
    balancer = {"resource_type": "load_balancer", "resource_id": "lb", "source": "octavia_load_balancers"}
    amphora = {"relation": "amphora_of", "to_type": "load_balancer", "to_ids": ["lb"], "source": "octavia_amphorae"}
    cloud.learn(
        claims(
            {**balancer, "claim": "owner_since", "project_id": "A", "at": at(-600)},
            {"resource_id": "amphora-vm", "claim": "edges", "at": at(0), **amphora},
        )
    )
    rebooted = {"resource_id": "amphora-vm", "resource_name": "amphora-1", "host": HOST, "occurred_at": at(30)}
    octavia = {"actor_user_id": "octavia", "actor_project_id": "SVC", "actor_kind": "service", "request_id": "req-1"}
    cloud.happen(facts({**rebooted, **octavia, "outcome": "failure", "event_type": "compute.instance.reboot.error"}))
    (row,) = cloud.rows("A", BRIEF)
    assert row == {
        "event_type": "compute.instance.reboot.error",
        "relation": "affected",
        "resource_type": "load_balancer",
        "related": affected("load_balancer", "lb"),
        "title": "A machine of your load balancer failed at an operation",
        "actor_label": "service",
    }
    assert not [secret for secret in ("amphora-vm", "amphora-1", HOST, "octavia", "req-1") if secret in cloud.text(A)]
    (full,) = cloud.ask("select owner_scope, host, actor_user_id from timeline.events", PROVIDER)
    assert full == {"owner_scope": "provider", "host": HOST, "actor_user_id": "octavia"}


# 17, 18, 34: who reads it ---------------------------------------------------------------------------------------------


def reboots(cloud: Cloud, *owners: str) -> None:
    cloud.happen(facts(*({"source_key": owner, "payload_project_id": owner, "resource_id": owner} for owner in owners)))


def tenants(cloud: Cloud, *scopes: Scope) -> list[str]:
    query = "select distinct tenant_project_id as p from timeline.tenant_events order by 1"
    return [row["p"] for row in cloud.ask(query, *scopes)]


SUBTREE = Scope("subtree", CLOUD, "A")


def with_children(cloud: Cloud, *children: tuple[str, str], second: float = 10) -> list[dict[str, Any]]:
    """A, B, C and, under their parents, `children`: what Keystone lists at that time."""
    rows = [project("A"), project("B"), project("C", domain="D2"), project("SVC", domain="default")]
    rows += [project(child, parent=parent) for child, parent in children]
    cloud.told(keystone_projects.SOURCE, (second, rows))
    return rows


def test_17_nested_projects(cloud):
    with_children(cloud, ("A.child", "A"), ("A.child.child", "A.child"), ("B.child", "B"))
    reboots(cloud, "A", "B", "A.child", "A.child.child", "B.child")
    assert tenants(cloud, A) == ["A"]
    assert tenants(cloud, Scope("project", CLOUD, "A.child")) == ["A.child"]
    assert tenants(cloud, SUBTREE) == ["A", "A.child", "A.child.child"]


def test_17_a_child_that_comes_after_the_grant_is_read_from_then_on(cloud):
    reboots(cloud, "A", "A.child", "A.child.child")
    assert tenants(cloud, SUBTREE) == ["A"]
    with_children(cloud, ("A.child", "A"))
    assert tenants(cloud, SUBTREE) == ["A", "A.child"]
    with_children(cloud, ("A.child", "A"), ("A.child.child", "A.child"), second=20)
    assert tenants(cloud, SUBTREE) == ["A", "A.child", "A.child.child"]


def test_17_a_child_that_moves_to_another_parent_is_no_longer_read_with_what_is_below_it(cloud):
    with_children(cloud, ("A.child", "A"), ("A.child.child", "A.child"))
    reboots(cloud, "A", "A.child", "A.child.child")
    assert tenants(cloud, SUBTREE) == ["A", "A.child", "A.child.child"]
    with_children(cloud, ("A.child", "B"), ("A.child.child", "A.child"), second=20)
    assert tenants(cloud, SUBTREE) == ["A"]
    assert tenants(cloud, Scope("subtree", CLOUD, "B")) == ["A.child", "A.child.child"]


def test_17_what_a_deleted_child_had_is_still_read(cloud):
    rows = [project("A"), project("A.child", parent="A")]
    cloud.told(keystone_projects.SOURCE, (10, rows), (20, rows[:1]), (30, rows[:1]))
    reboots(cloud, "A", "A.child")
    assert tenants(cloud, SUBTREE) == ["A", "A.child"]


def test_18_a_domain_reader_reads_every_project_of_its_domain_and_nothing_of_others(cloud):
    reboots(cloud, "A", "B", "C")
    assert tenants(cloud, Scope("domain", CLOUD, "D1")) == ["A", "B"]
    assert tenants(cloud, Scope("domain", CLOUD, "D2")) == ["C"]
    made = {
        "event_type": "identity.user.created",
        "resource_type": "user",
        "resource_id": "u",
        "target_domain_id": "D1",
    }
    cloud.happen(facts({**made, "source_key": "u"}))
    users = "select tenant_domain_id, tenant_project_id from timeline.tenant_events where resource_type = 'user'"
    assert cloud.ask(users, Scope("domain", CLOUD, "D1")) == [{"tenant_domain_id": "D1", "tenant_project_id": None}]
    assert cloud.ask(users, Scope("domain", CLOUD, "D2")) == []
    assert cloud.ask(users, A) == [], "a domain's own events are not its projects'"


def test_18_a_domain_reader_reads_what_affected_its_projects(cloud):
    cloud.told(nova_servers.SOURCE, (0, SERVERS))
    host_down(cloud)
    query = f"select tenant_project_id as p from timeline.tenant_events where {DOWN} order by 1"
    assert cloud.ask(query, Scope("domain", CLOUD, "D1")) == [{"p": "A"}, {"p": "B"}]
    assert cloud.ask(query, Scope("domain", CLOUD, "D2")) == []


def test_34_a_log_in_is_read_by_security_alone(cloud):
    log_in = {"event_type": "identity.authenticate", "resource_type": "user", "resource_id": "u", "outcome": "failure"}
    cloud.happen(facts({**log_in, "target_domain_id": "D1", "source_key": "1"}, {**log_in, "source_key": "2"}))
    found = "select owner_scope, owner_domain_id, visibility from timeline.events order by 1"
    assert cloud.ask(found, SECURITY) == [
        {"owner_scope": "domain", "owner_domain_id": "D1", "visibility": "security"},
        {"owner_scope": "provider", "owner_domain_id": None, "visibility": "security"},
    ]
    assert cloud.ask(found, PROVIDER) == []
    for scope in (A, SUBTREE, Scope("domain", CLOUD, "D1")):
        assert cloud.ask("select * from timeline.tenant_events", scope) == []
    assert cloud.ask("select tenant_project_id, tenant_domain_id from timeline.tenant_events", SECURITY) == [
        {"tenant_project_id": None, "tenant_domain_id": "D1"}
    ]


def test_34_a_grant_of_a_role_on_the_project_itself_is_security_s_too(cloud):
    granted = {"event_type": "identity.role_assignment.created", "resource_type": "role_assignment", "resource_id": "g"}
    cloud.happen(facts({**granted, "target_project_id": "A"}))
    assert cloud.rows("A") == []
    assert len(cloud.ask("select * from timeline.tenant_events", SECURITY)) == 1
    assert cloud.ask("select * from timeline.tenant_changes", A) == []


def test_what_verify_asks_of_a_timeline_holds_with_rows_of_others(cloud):
    cloud.told(nova_servers.SOURCE, (0, SERVERS))
    host_down(cloud)
    hand_over(cloud)
    cloud.learn(moved("b1", claim="edge_until", second=5))
    cloud.happen()
    found = verify(cloud.pipeline, CLOUD)
    assert (found.pending, found.faults) == (0, ())
    with cloud.pipeline.connect() as connection:
        connection.execute("update timeline.affected set is_current = not is_current")
    assert len(verify(cloud.pipeline, CLOUD).faults) == 1


def test_what_is_taken_back_takes_the_rows_of_others_with_it(cloud):
    cloud.told(nova_servers.SOURCE, (0, SERVERS))
    host_down(cloud)
    with cloud.pipeline.connect() as connection:
        retract(connection, sql.SQL("true"))
    assert cloud.rows("A") == []
    news = "select operation, changed_at from timeline.tenant_changes order by sequence"
    assert [row["operation"] for row in cloud.ask(news, A)] == ["upsert", "retract"]
    assert {row["changed_at"].second for row in cloud.ask(news, A)} == {0}
    for table in ("affected", "walked"):
        with cloud.pipeline.connect() as connection:
            assert connection.execute(f"select count(*) from timeline.{table}").fetchone() == (0,)
    host_down(cloud)
    assert len(cloud.rows("A", where=DOWN)) == 1, "and it can come again"


def test_19_a_server_that_may_have_left_before_is_not_told_of(cloud):
    """Seen on the host at 12, elsewhere at 30: that it was there throughout 10 to 20 is not proven."""
    left = [server("a1", "A", host=OTHER_HOST), *SERVERS[1:]]
    cloud.told(nova_servers.SOURCE, (0, SERVERS), (12, SERVERS), (30, left))
    host_down(cloud)
    assert [row["related"] for row in cloud.rows("A", "related", DOWN)] == [affected("server", "a2")]
