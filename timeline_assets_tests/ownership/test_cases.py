"""Whose event is it: the cases of the design by their numbers, on records in the services' own shapes, all the way.

A and B are projects of D1, A2 is called like A in D2, ADM is the operators' project, SVC the services'. Cases 9, 19 and
21, and what 7 and 24 mean for those who are only affected, are in ``test_cases_affected.py``.
"""

from __future__ import annotations

import pytest

from timeline_assets_tests.ownership.world import (
    World,
    action,
    domain,
    migration,
    network,
    port,
    project,
    role,
    router,
    server,
    user,
    volume,
)

TENANTS = [project("A"), project("B"), project("A2", "D2", called="A"), project("ADM", "D0"), project("SVC", "D0")]
DOMAINS = [domain("D0", called="Default"), domain("D1", called="acme"), domain("D2", called="globex")]
SVC = [role("service", "nova", "SVC"), role("admin", "nova", "SVC"), role("service", "octavia", "SVC")]

REBOOT, CREATED, UPDATED = "compute.instance.reboot.end", "port.create.end", "port.update.end"
ALARM = {"event_type": "alarm", "resource_type": "alarm", "resource_id": "alarm-1"}


@pytest.fixture
def world(world: World) -> World:
    """The tenants are known, and looked at again later."""
    for seconds in (-7200, -10):
        world.look(seconds, keystone_projects=TENANTS, keystone_domains=DOMAINS, keystone_role_assignments=SVC)
    return world


def test_1_a_name_that_two_projects_have_proves_nothing(world):
    world.hear(0, **ALARM, named_type="project", named_name="A")
    assert world.owners("alarm-1") == [("unmapped.alarm", "AMBIGUOUS_NAME")]
    assert world.tenants("alarm-1") == []
    assert world.rows("select reason, candidates::text from timeline.quarantine") == [
        ("AMBIGUOUS_NAME", '[{"id": "A", "type": "project"}, {"id": "A2", "type": "project"}]')
    ]
    world.hear(0, **ALARM, payload_project_id="A2", road_source="listing")
    assert world.owners("alarm-1") == [("unmapped.alarm", "A2")]
    assert world.tenants("alarm-1") == [("unmapped.alarm", "A2")]


def test_2_with_the_id_it_is_that_project_and_no_other(world):
    world.hear(0, **ALARM, payload_project_id="A2", named_type="project", named_name="A")
    assert world.owners("alarm-1") == [("unmapped.alarm", "A2")]
    assert world.tenants("alarm-1") == [("unmapped.alarm", "A2")]


def test_3_a_server_and_then_its_project_deleted_before_anybody_looked(world):
    gone = server("s", "A", status="DELETED", **{"OS-SRV-USG:terminated_at": "2026-11-22T10:00:20.000000"})
    rest = [p for p in TENANTS if p["id"] != "A"]
    world.look(40, keystone_projects=rest)
    world.look(50, keystone_projects=rest)
    world.look(60, nova_servers=[gone], nova_instance_actions=[action("s", "req-1", 10, user="u", project="A")])
    assert world.owners("s") == [(REBOOT, "A"), ("compute.instance.delete.end", "A")]
    assert world.tenants("s") == world.owners("s")


def test_5_a_project_renamed_is_the_same_project(world):
    renamed = [project("A", called="A-new") if p["id"] == "A" else p for p in TENANTS]
    world.look(0, keystone_projects=TENANTS, nova_servers=[server("s", "A")],
               nova_instance_actions=[action("s", "req-1", -5, user="u", project="A")])  # fmt: skip
    world.look(10, keystone_projects=renamed)
    world.look(20, nova_instance_actions=[action("s", "req-2", 15, user="u", project="A")])
    assert world.owners("s") == [(REBOOT, "A")] * 2
    assert world.rows("select resource_name from timeline.events where resource_id = 'A'") == [("A-new",)]
    names = "select name, recorded_to is null from topology.resources where resource_id = 'A' and valid_to is null"
    assert (("A-new", True)) in world.rows(names)


def test_6_a_project_seems_to_have_moved_to_another_domain(world):
    moved = [project("A", "D2") if p["id"] == "A" else p for p in TENANTS]
    world.look(0, keystone_projects=TENANTS, nova_servers=[server("s", "A")],
               nova_instance_actions=[action("s", "req-1", -30, user="u", project="A")])  # fmt: skip
    world.look(10, keystone_projects=moved)
    world.look(30, keystone_projects=moved, nova_instance_actions=[action("s", "req-2", 20, user="u", project="A")])
    assert world.rows("select resource_id, domain_ids from topology.conflicts where recorded_to is null") == [
        ("A", ["D1", "D2"])
    ]
    assert world.owners("s") == [(REBOOT, "A"), (REBOOT, "CONFLICT")]
    assert world.owners("A") == [("identity.project.updated", "CONFLICT")], "nor does either domain hear of it"
    assert world.tenants("s") == [(REBOOT, "A")]


def test_7_a_port_of_b_on_as_network_is_bs_and_the_network_as(world):
    shared = network("net", "A", shared=True)
    mine = port("p", "B", network_id="net")
    world.look(0, neutron_networks=[shared], neutron_ports=[mine])
    world.look(30, neutron_networks=[shared | {"name": "net-2", "revision_number": 9}],
               neutron_ports=[mine | {"status": "DOWN", "revision_number": 9}])  # fmt: skip
    assert world.owners("p") == [(CREATED, "B"), (UPDATED, "B")]
    assert world.owners("net") == [("network.create.end", "A"), ("network.update.end", "A")]
    assert world.tenants("p") == [(CREATED, "B"), (UPDATED, "B")]


def test_11_the_operator_acts_on_as_server(world):
    world.look(0, nova_servers=[server("s", "A")], keystone_users=[user("root", "D0")],
               nova_instance_actions=[action("s", "req-1", -30, user="root", project="ADM")])  # fmt: skip
    assert world.owners("s") == [(REBOOT, "A")]
    assert world.tenants("s") == [(REBOOT, "A")]
    assert world.labels("s") == [("provider operator", None)]


def test_12_the_operator_moves_as_server(world):
    world.look(0, nova_servers=[server("s", "A")], nova_migrations=[migration("s", "live-migration", -30, by="ADM")])
    assert world.owners("s") == [("compute.migration.live_migration.end", "A")]
    assert world.tenants("s") == [("compute.migration.live_migration.end", "A")]
    seen = world.rows("select row_to_json(t)::text from timeline.tenant_events t where resource_id = 's'")
    hidden = [word for word in ("compute1", "compute2", "ADM") if word in seen[0][0]]
    assert hidden == []


def test_13_a_service_binds_as_port(world):
    mine = port("p", "A", revision_number=1)
    world.look(0, neutron_ports=[mine])
    world.look(20, neutron_ports=[mine | {"device_id": "s", "device_owner": "compute:nova", "revision_number": 2}])
    world.hear(21, event_type=UPDATED, resource_type="port", resource_id="p", payload_project_id="A",
               source="neutron_ports", source_key="p", source_version="2", road_source="bus",
               actor_user_id="nova", actor_project_id="SVC")  # fmt: skip
    assert world.owners("p") == [(CREATED, "A"), (UPDATED, "A")]
    assert world.labels("p")[-1] == ("service", None)
    assert world.rows("select on_behalf_of_user_id from timeline.events where event_type = 'port.update.end'") == [
        (None,)
    ]


def test_15_a_federated_user_is_not_the_owner_of_what_he_acts_on(world):
    world.look(0, nova_servers=[server("s", "A")])
    world.hear(5, event_type=REBOOT, resource_type="server", resource_id="s", actor_user_id="idp-1:7f3a",
               actor_domain_id="Federated", actor_kind="federated")  # fmt: skip
    assert world.owners("s") == [(REBOOT, "A")]
    told = "select owner_domain_id, actor_user_id, actor_kind from timeline.events where resource_id = 's'"
    assert world.rows(told) == [("D1", "idp-1:7f3a", "federated")]


@pytest.mark.parametrize("kind", ["trust", "app_credential"])
def test_16_who_acts_by_delegation_acts_on_the_stacks_project(world, kind):
    world.look(0, nova_servers=[server("s", "A")])
    world.hear(5, event_type=REBOOT, resource_type="server", resource_id="s", actor_user_id="stack-user",
               actor_project_id="heat-stacks", actor_kind=kind, on_behalf_of_user_id="trustor")  # fmt: skip
    assert world.owners("s") == [(REBOOT, "A")]
    assert world.rows("select on_behalf_of_user_id, owner_project_id from timeline.events where resource_id = 's'") == [
        ("trustor", "A")
    ]


def test_17_what_is_a_nested_projects_is_not_its_parents(world):
    world.look(0, keystone_projects=[*TENANTS, project("A.child", parent="A")], nova_servers=[server("s", "A.child")],
               nova_instance_actions=[action("s", "req-1", -5, user="u", project="A")])  # fmt: skip
    assert world.owners("s") == [(REBOOT, "A.child")]
    assert world.tenants("s") == [(REBOOT, "A.child")]


def test_18_the_rows_of_a_domains_projects_carry_the_domain(world):
    servers = [server("a", "A"), server("b", "B"), server("c", "A2")]
    done = [action(s["id"], f"req-{s['id']}", -5, user="u", project="A") for s in servers]
    world.look(0, nova_servers=servers, nova_instance_actions=done)
    of_d1 = "select tenant_project_id from timeline.tenant_events where tenant_domain_id = %(d)s order by 1"
    assert world.rows(of_d1, d="D1") == [("A",), ("B",)]
    assert world.rows(of_d1, d="D2") == [("A2",)]


def test_22_a_gateway_port_is_its_routers_owners(world):
    gateway = port("p", "", device="r", device_owner="network:router_gateway")
    world.look(0, neutron_routers=[router("r", "A")], neutron_ports=[gateway])
    assert world.owners("p") == [(CREATED, "A")]
    assert world.rules("p") == [("containment", "high")]
    assert world.rows("select count(*) from timeline.tenant_events where tenant_project_id = ''") == [(0,)]


def test_23_an_interface_whose_router_was_deleted_before_anybody_looked(world):
    interface = port("p", "", device="r", device_owner="network:router_ha_interface")
    world.look(0, neutron_ports=[interface])
    assert world.owners("p") == [(CREATED, "TOPOLOGY_GAP")]
    done = world.look(30, neutron_routers=[router("r", "A")])  # as a backfill of the bus would tell
    assert done.written.released == 1
    assert world.owners("p") == [(CREATED, "A")]


def test_24_an_amphoras_server_is_the_providers(world):
    world.look(0, nova_servers=[server("amphora", "SVC")],
               nova_instance_actions=[action("amphora", "req-1", -5, user="octavia", project="SVC")])  # fmt: skip
    assert world.owners("amphora") == [(REBOOT, "provider")]
    assert world.tenants("amphora") == []


def test_25_a_message_of_cinder_is_the_owner_of_its_resource_at_the_time(world):
    world.look(-60, cinder_volumes=[volume("v", "A")])
    world.look(0, cinder_volumes=[volume("v", "B")])
    said = {"event_type": "volume.error", "resource_type": "volume", "resource_id": "v"}
    world.hear(-61 + 1, **said, source_key="m1")
    world.hear(20, **said, source_key="m2")
    owners = [owner for event, owner in world.owners("v") if event == "volume.error"]
    assert owners == ["A", "B"]
    actors = world.rows("select actor_user_id, actor_kind from timeline.events where event_type = 'volume.error'")
    assert actors == [(None, "unknown")] * 2


def test_26_a_message_about_what_was_never_seen(world):
    world.hear(0, event_type="volume.error", resource_type="volume", resource_id="unheard-of")
    assert world.owners("unheard-of") == [("volume.error", "NO_EVIDENCE")]


def test_28_one_request_makes_ports_of_a_and_of_b(world):
    ports = [port("p1", "A"), port("p2", "B"), port("p3", "A")]
    for number, made in enumerate(ports):
        world.hear(number, event_type=CREATED, resource_type="port", resource_id=made["id"], request_id="req-bulk",
                   payload_project_id=made["project_id"], actor_project_id="ADM", actor_user_id="root")  # fmt: skip
    assert world.owners() == [(CREATED, "A"), (CREATED, "B"), (CREATED, "A")]
    assert world.tenants() == world.owners()


def test_29_what_nova_does_by_itself(world):
    world.look(0, nova_servers=[server("s", "A")],
               nova_instance_actions=[action("s", "req-1", -5, user=None, project=None)])  # fmt: skip
    assert world.owners("s") == [(REBOOT, "A")]
    assert world.labels("s") == [("system", None)]


def test_30_the_topology_comes_after_the_event(world):
    world.look(0, nova_instance_actions=[action("s", "req-1", -5, user="u", project="B")])
    assert world.owners("s") == [(REBOOT, "NO_EVIDENCE")]
    world.look(10, nova_servers=[server("s", "A")])
    assert world.owners("s") == [(REBOOT, "A")]
    versions = "select version, owner_scope, owner_project_id, rule from timeline.attributions order by version"
    assert world.rows(versions) == [
        (1, "quarantine", None, "none"),
        (2, "project", "A", "resource_interval"),
    ]


def test_32_masakari_moves_a_server(world):
    world.look(0, nova_servers=[server("s", "A")])
    world.hear(5, event_type="vmove", resource_type="server", resource_id="s", actor_kind="system")
    assert world.owners("s") == [("unmapped.vmove", "A")]


@pytest.mark.parametrize("outcome", ["success", "failure"])
def test_34_a_log_in_is_the_users_domains(world, outcome):
    said = {"event_type": "identity.authenticate", "resource_type": "user", "outcome": outcome}
    world.look(0, keystone_users=[user("alice", "D1")])
    world.hear(1, **said, resource_id="alice")
    world.hear(2, **said, resource_id="nobody", target_domain_id="D2")
    world.hear(3, **said, resource_id="stranger")
    assert [owner for event, owner in world.owners() if event == "identity.authenticate"] == [
        "domain D1", "domain D2", "provider",
    ]  # fmt: skip
    seen = "select distinct visibility from timeline.tenant_events where event_type = 'identity.authenticate'"
    assert world.rows(seen) == [("security",)]
    world.look(10, keystone_users=[user("alice", "D1"), user("stranger", "D2")])
    assert world.owners("stranger")[0] == ("identity.authenticate", "domain D2"), "once its domain is known"
