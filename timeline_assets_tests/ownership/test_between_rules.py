"""Where two rules meet, or evidence comes in another order: more cases, each with the reason for its answer."""

from __future__ import annotations

import json

import pytest

from timeline_assets.timeline.write import Written
from timeline_assets_tests.making import claims
from timeline_assets_tests.ownership.world import (
    World,
    action,
    backup,
    domain,
    message,
    port,
    project,
    role,
    router,
    server,
    snapshot,
    volume,
)

TENANTS = [project("A"), project("B"), project("A2", "D2", called="A"), project("SVC", "D0")]
DOMAINS = [domain("D0", called="Default"), domain("D1", called="acme"), domain("D2", called="globex")]
REBOOT = "compute.instance.reboot.end"
FAILED = {"event_type": "volume.error", "resource_type": "volume"}
S1, S2 = "0d2c5b2e-6a0f-4f6e-9a52-2f8e1f0c1a01", "0d2c5b2e-6a0f-4f6e-9a52-2f8e1f0c1a02"
P1 = "0d2c5b2e6a0f4f6e9a522f8e1f0c1a03"
FAR_DAY = 3 * 24 * 3600


@pytest.fixture
def world(world: World) -> World:
    world.look(-7200, keystone_projects=TENANTS, keystone_domains=DOMAINS)
    return world


def reboots(world: World, *servers: tuple[str, str], request: str = "req-1", seconds: int = 0, **more) -> None:
    """Servers of these owners, each rebooted by the same request."""
    world.look(seconds, nova_servers=[server(name, owner) for name, owner in servers])
    for name, _ in servers:
        world.hear(seconds, event_type=REBOOT, resource_type="server", resource_id=name, source_key=name,
                   **{"request_id": request, **more})  # fmt: skip


# --------------------------------------------------------------------------------------------------- the same request


def test_an_unknown_volume_in_a_request_on_as_server_is_as(world):
    """The global id crosses services; what is concluded from it is of medium confidence."""
    reboots(world, ("s", "A"), global_request_id="req-g")
    world.hear(1, **FAILED, resource_id="v", global_request_id="req-g")
    assert world.owners("v") == [("volume.error", "A")]
    assert world.rules("v") == [("request_sibling", "medium")]


def test_a_sibling_that_comes_later_releases_what_waited(world):
    """Which of the two was read first must not matter."""
    world.hear(1, **FAILED, resource_id="v", global_request_id="req-g")
    assert world.owners("v") == [("volume.error", "NO_EVIDENCE")]
    reboots(world, ("s", "A"), global_request_id="req-g")
    assert world.owners("v") == [("volume.error", "A")]
    assert world.tenants("v") == [("volume.error", "A")]


def test_siblings_are_found_within_one_reading(world):
    """Both are in the same frame, in either order of rows."""
    world.look(0, nova_servers=[server("s", "A")])
    told = message(1, **FAILED, resource_id="v", global_request_id="req-g", source_key="v")
    beside = message(2, event_type=REBOOT, resource_type="server", resource_id="s", global_request_id="req-g")
    world.resolve(told.vstack(beside))
    assert world.owners("v") == [("volume.error", "A")]


def test_siblings_of_two_owners_decide_nothing(world):
    """An operator's request on servers of A and of B says of neither whose the volume is."""
    reboots(world, ("s", "A"), ("t", "B"), global_request_id="req-g")
    world.hear(1, **FAILED, resource_id="v", global_request_id="req-g")
    assert world.owners("v") == [("volume.error", "NO_EVIDENCE")]


def test_a_second_owner_takes_back_what_the_first_sibling_gave(world):
    """Otherwise the answer would hang on which sibling was read first."""
    reboots(world, ("s", "A"), global_request_id="req-g")
    world.hear(1, **FAILED, resource_id="v", global_request_id="req-g")
    reboots(world, ("t", "B"), global_request_id="req-g", seconds=2)
    assert world.owners("v") == [("volume.error", "NO_EVIDENCE")]
    assert world.tenants("v") == []
    said = """select a.version, a.rule, a.owner_project_id from timeline.attributions a
        join timeline.events e using (event_id) where e.resource_id = 'v' order by a.version"""
    assert world.rows(said) == [(1, "request_sibling", "A"), (2, "none", None)]


def test_a_services_own_sibling_counts_as_another_owner(world):
    """The unknown thing may be the service's, which a tenant must not be shown."""
    world.look(-10, keystone_role_assignments=[role("service", "octavia", "SVC")])
    reboots(world, ("s", "A"), ("amphora", "SVC"), global_request_id="req-g")
    world.hear(1, **FAILED, resource_id="v", global_request_id="req-g")
    assert world.owners("v") == [("volume.error", "NO_EVIDENCE")]


def test_a_request_id_is_one_services_own(world):
    """Only the global id means the same in another service."""
    reboots(world, ("s", "A"), request="req-1")
    world.hear(1, **FAILED, resource_id="v", request_id="req-1")
    world.hear(2, event_type="compute.instance.error", resource_type="server", resource_id="x", request_id="req-1")
    assert world.owners("v") == [("volume.error", "NO_EVIDENCE")]
    assert world.owners("x") == [("compute.instance.error", "A")]


def test_an_id_that_a_client_sends_again_days_later_is_another_request(world):
    """Clients choose global ids; one that is used for ever proves nothing."""
    reboots(world, ("s", "A"), global_request_id="req-g")
    world.hear(FAR_DAY, **FAILED, resource_id="v", global_request_id="req-g")
    assert world.owners("v") == [("volume.error", "NO_EVIDENCE")]


def test_what_was_concluded_from_a_sibling_proves_nothing_to_the_next(world):
    """s gives to v by the global id; v gives nothing on to w by its own."""
    reboots(world, ("s", "A"), global_request_id="req-g")
    world.hear(1, **FAILED, resource_id="v", global_request_id="req-g", request_id="req-2")
    world.hear(2, **FAILED, resource_id="w", request_id="req-2")
    assert world.owners("v") == [("volume.error", "A")]
    assert world.owners("w") == [("volume.error", "NO_EVIDENCE")]


def test_a_volume_between_two_owners_is_not_settled_by_a_sibling(world):
    """A conclusion from beside the resource does not settle a handover."""
    world.look(-20, cinder_volumes=[volume("v", "A")])
    world.look(20, cinder_volumes=[volume("v", "B")])
    reboots(world, ("s", "A"), global_request_id="req-g")
    world.hear(1, **FAILED, resource_id="v", global_request_id="req-g")
    assert [owner for event, owner in world.owners("v") if event == "volume.error"] == ["INTERVAL_OVERLAP"]


def test_a_volume_before_its_first_sight_is_told_by_its_sibling(world):
    """There the topology only lacks evidence, and a request is some."""
    world.look(20, cinder_volumes=[volume("v", "B")])
    reboots(world, ("s", "A"), global_request_id="req-g")
    world.hear(1, **FAILED, resource_id="v", global_request_id="req-g")
    assert [owner for event, owner in world.owners("v") if event == "volume.error"] == ["A"]


def test_once_its_own_evidence_is_there_the_sibling_is_not_asked(world):
    """The earlier rule names the owner of the resource itself."""
    world.hear(1, event_type=REBOOT, resource_type="server", resource_id="t", global_request_id="req-g")
    reboots(world, ("s", "A"), global_request_id="req-g")
    assert world.owners("t") == [(REBOOT, "A")]
    world.look(10, nova_servers=[server("s", "A"), server("t", "B")])
    assert world.owners("t") == [(REBOOT, "B")]
    assert world.rules("t") == [("resource_interval", "high")]


# ------------------------------------------------------------------------------------------------- the request's path


def test_the_path_names_as_server(world):
    """An audit record knows the path only; the server in it was A's."""
    world.look(0, nova_servers=[server(S1, "A")])
    world.hear(1, event_type="audit", resource_type="api", resource_id="r", request_path=f"/v2.1/servers/{S1}/action")
    assert world.owners("r") == [("unmapped.audit", "A")]
    assert world.rules("r") == [("request_path", "medium")]
    assert world.rows("select path #>> '{0,id}' from timeline.attributions a join timeline.events e using (event_id) "
                      "where e.resource_id = 'r'") == [(S1,)]  # fmt: skip


def test_the_callers_project_in_a_path_is_no_owner(world):
    """Older paths begin with the project that acts."""
    world.look(0, keystone_projects=[*TENANTS, project(P1)])
    world.hear(1, event_type="audit", resource_type="api", resource_id="r", request_path=f"/v3/{P1}/volumes/detail")
    assert world.owners("r") == [("unmapped.audit", "NO_EVIDENCE")]


def test_a_path_with_servers_of_two_projects_decides_nothing(world):
    world.look(0, nova_servers=[server(S1, "A"), server(S2, "B")])
    world.hear(1, event_type="audit", resource_type="api", resource_id="r", request_path=f"/x/{S1}/y/{S2}")
    assert world.owners("r") == [("unmapped.audit", "NO_EVIDENCE")]


def test_the_path_waits_for_the_server_it_names(world):
    """And a second one that turns out to be another's takes the answer back."""
    world.hear(1, event_type="audit", resource_type="api", resource_id="r", request_path=f"/x/{S1}/y/{S2}")
    world.look(10, nova_servers=[server(S1, "A")])
    assert world.owners("r") == [("unmapped.audit", "A")]
    world.look(20, nova_servers=[server(S1, "A"), server(S2, "B")])
    assert world.owners("r") == [("unmapped.audit", "NO_EVIDENCE")]


def test_a_sibling_comes_before_the_path(world):
    """The rules are asked in order: the path is not looked at once the request has an owner."""
    world.look(-1, nova_servers=[server(S1, "B")])
    reboots(world, ("s", "A"), global_request_id="req-g")
    world.hear(1, event_type="audit", resource_type="api", resource_id="r", global_request_id="req-g",
               request_path=f"/v2.1/servers/{S1}")  # fmt: skip
    assert world.owners("r") == [("unmapped.audit", "A")]


# ------------------------------------------------------------------------------------------------------------- names

ALARM = {"event_type": "alarm", "resource_type": "alarm", "resource_id": "r"}
OF_A = {"named_type": "project", "named_name": "A"}


@pytest.mark.parametrize("home", ["D1", "acme"])
def test_a_name_with_its_domain_is_proven_by_scans_on_both_sides(world, home):
    """Until the scan after the event the name may have changed; then only one project had it in that domain."""
    world.hear(1, **ALARM, **OF_A, named_domain=home)
    assert world.owners("r") == [("unmapped.alarm", "AMBIGUOUS_NAME")]
    assert world.look(10, keystone_projects=TENANTS, keystone_domains=DOMAINS).written.released == 1
    assert world.owners("r") == [("unmapped.alarm", "A")]
    assert world.rules("r") == [("qualified_name", "medium")]


def test_a_name_before_the_first_scan_proves_nothing(world):
    world.hear(-9000, **ALARM, **OF_A, named_domain="D1")
    world.look(10, keystone_projects=TENANTS, keystone_domains=DOMAINS)
    assert world.owners("r") == [("unmapped.alarm", "AMBIGUOUS_NAME")]


def test_a_name_that_changed_about_then_proves_nothing(world):
    """The rename lies between two scans, and so does the event."""
    renamed = [project("A", called="A-new") if p["id"] == "A" else p for p in TENANTS]
    world.look(0, keystone_projects=TENANTS, keystone_domains=DOMAINS)
    world.hear(5, **ALARM, **OF_A, named_domain="D1")
    world.look(10, keystone_projects=renamed, keystone_domains=DOMAINS)
    world.look(20, keystone_projects=renamed, keystone_domains=DOMAINS)
    assert world.owners("r") == [("unmapped.alarm", "AMBIGUOUS_NAME")]


def test_a_name_that_another_project_has_today_was_the_firsts(world):
    """Renamed later, and the name taken over: at the event's time it was A's."""
    world.hear(-5, **ALARM, **OF_A, named_domain="D1")
    world.look(0, keystone_projects=TENANTS, keystone_domains=DOMAINS)
    swapped = [project("A", called="A-new"), project("C", called="A"), *TENANTS[1:]]
    world.look(10, keystone_projects=swapped, keystone_domains=DOMAINS)
    assert world.owners("r") == [("unmapped.alarm", "A")]


@pytest.mark.parametrize(("kind", "called"), [("project", "B"), ("server", "web-1"), ("user", "alice")])
def test_a_bare_name_proves_nothing_even_if_one_thing_alone_has_it(world, kind, called):
    world.look(0, nova_servers=[server("web-1", "A")], keystone_projects=TENANTS)
    world.hear(1, **ALARM, named_type=kind, named_name=called)
    world.look(10, keystone_projects=TENANTS, keystone_domains=DOMAINS)
    assert world.owners("r") == [("unmapped.alarm", "AMBIGUOUS_NAME")]
    assert world.tenants("r") == []


def test_who_gets_the_name_later_becomes_a_candidate(world):
    world.hear(1, **ALARM, **OF_A)
    world.look(10, keystone_projects=[*TENANTS, project("A3", "D0", called="A")])
    (candidates,) = world.rows("select candidates::text from timeline.quarantine")
    assert [item["id"] for item in json.loads(candidates[0])] == ["A", "A2", "A3"]


# -------------------------------------------------------------------------------------------- the record and the rest


def test_a_record_that_names_neither_party_of_a_handover_is_believed_by_nobody(world):
    """The volume went from A to B about then; a record that says C contradicts both."""
    world.look(-20, cinder_volumes=[volume("v", "A")])
    world.look(20, cinder_volumes=[volume("v", "B")])
    world.hear(0, **FAILED, resource_id="v", payload_project_id="SVC", time_precision="second")
    assert [owner for event, owner in world.owners("v") if event == "volume.error"] == ["INTERVAL_OVERLAP"]
    assert world.tenants("v") == [("volume.transfer.accept.end", "A"), ("volume.transfer.accept.end", "B")]


def test_a_record_that_names_a_party_of_a_handover_is_believed(world):
    """It says on which side of the handover it was."""
    world.look(-20, cinder_volumes=[volume("v", "A")])
    world.look(20, cinder_volumes=[volume("v", "B")])
    world.hear(0, **FAILED, resource_id="v", payload_project_id="B", time_precision="second")
    assert [owner for event, owner in world.owners("v") if event == "volume.error"] == ["B"]


def test_a_message_about_the_moment_wins_and_corrects_the_topology(world):
    """The listing has not shown the handover yet; what comes after the message is the taker's, too."""
    world.look(-20, cinder_volumes=[volume("v", "A")])
    world.hear(10, **FAILED, resource_id="v")
    assert world.owners("v")[-1] == ("volume.error", "A")
    world.hear(5, **FAILED, resource_id="v", payload_project_id="B")
    assert world.owners("v")[-2:] == [("volume.error", "B"), ("volume.error", "B")]
    held = "select project_id from topology.ownership where resource_id = 'v' and recorded_to is null"
    assert world.rows(f"{held} and valid_to is null") == [("B",)]


def test_bs_port_on_as_server_is_bs(world):
    """The record names the owner; what the port hangs on is only asked where it does not."""
    world.look(0, nova_servers=[server("s", "A")],
               neutron_ports=[port("p", "B", device="s", device_owner="compute:nova")])  # fmt: skip
    assert world.owners("p") == [("port.create.end", "B")]


def test_a_snapshot_and_a_backup_are_their_makers_not_their_volumes(world):
    world.look(0, cinder_volumes=[volume("v", "A")], cinder_backups=[backup("k", "v", "B")],
               cinder_snapshots=[snapshot("n", "v", "B", status="creating")])  # fmt: skip
    assert world.owners("k") == [("backup.create.end", "B")]
    assert world.owners("n") == [("snapshot.create.start", "B")]


def test_two_clouds_may_hold_the_same_id(world, learn):
    """What another cloud says of the id says nothing here."""
    elsewhere = {"cloud": "other", "resource_id": "s", "claim": "owner_since", "project_id": "B", "minute": -300}
    learn(claims(elsewhere))
    world.hear(0, event_type=REBOOT, resource_type="server", resource_id="s")
    assert world.owners("s") == [(REBOOT, "NO_EVIDENCE")]


def test_a_server_made_anew_under_the_old_name_is_another(world):
    """Ids decide; that both are called web is of no matter."""
    old = server("s1", "A", name="web", status="DELETED", **{"OS-SRV-USG:terminated_at": "2026-11-22T09:50:00.000000"})
    new = server("s2", "B", name="web")
    world.look(0, nova_servers=[old, new])
    world.look(10, nova_instance_actions=[action("s1", "r1", -900, user="u", project="B"),
                                          action("s2", "r2", -5, user="u", project="A")])  # fmt: skip
    assert world.owners("s1")[0] == (REBOOT, "A")
    assert world.owners("s2") == [(REBOOT, "B")]


# -------------------------------------------------------------------------------------------------- service projects


def test_a_project_of_services_alone_is_the_providers(world):
    """Nobody configured it: its members tell, and one who is an administrator beside is a service still."""
    members = [role("service", "heat", "B"), role("admin", "heat", "B"), role("service", "magnum", "B")]
    world.look(0, keystone_role_assignments=members)
    reboots(world, ("s", "B"))
    assert world.owners("s") == [(REBOOT, "provider")]


def test_one_member_who_is_no_service_makes_it_a_tenant(world):
    world.look(0, keystone_role_assignments=[role("service", "heat", "B"), role("member", "bob", "B")])
    reboots(world, ("s", "B"))
    assert world.owners("s") == [(REBOOT, "B")]


def test_a_role_inherited_from_above_makes_no_member(world):
    """An operator's role on all projects would make a tenant of every service."""
    members = [role("service", "heat", "B"), role("admin", "root", "B", inherited=True)]
    world.look(0, keystone_role_assignments=members)
    reboots(world, ("s", "B"))
    assert world.owners("s") == [(REBOOT, "provider")]


def test_members_that_are_learnt_of_later_take_the_rows_back(world):
    """What was shown to nobody's tenant is the provider's, as if it had been known at once; and the other way."""
    reboots(world, ("s", "B"))
    assert world.tenants("s") == [(REBOOT, "B")]
    world.look(10, keystone_role_assignments=[role("service", "heat", "B")])
    assert (world.owners("s"), world.tenants("s")) == ([(REBOOT, "provider")], [])


def test_a_project_becomes_a_tenants_when_somebody_joins_it(world):
    """As of the event's time: what was before stays the provider's."""
    service = role("service", "heat", "B")
    world.look(0, keystone_role_assignments=[service])
    reboots(world, ("s", "B"), seconds=1)
    world.look(10, keystone_role_assignments=[service, role("member", "bob", "B")])
    reboots(world, ("t", "B"), seconds=20)
    assert (world.owners("s"), world.owners("t")) == ([(REBOOT, "provider")], [(REBOOT, "B")])


# ----------------------------------------------------------------------------------------------------- late evidence


def test_a_correction_opens_the_events_of_its_period_and_no_others(world, learn):
    """The volume was B's from the 50th second on: what happened before is not even looked at."""
    world.look(-10, cinder_volumes=[volume("v", "A")])
    for seconds in range(0, 100, 10):
        world.hear(seconds, **FAILED, resource_id="v")
    accepted = {"resource_type": "volume", "resource_id": "v", "claim": "owner_since", "project_id": "B"}
    learn(claims(accepted | {"at": message(50)["occurred_at"][0], "source": "bus"}))
    assert world.resolve().reopened == 5
    errors = [owner for event, owner in world.owners("v") if event == "volume.error"]
    assert errors == ["A"] * 5 + ["B"] * 5


def test_a_dated_verdict_settles_a_project_that_seemed_to_move(world, learn):
    """What a person confirms is a dated claim; what waited for it goes to the project again."""
    moved = [project("A", "D2") if p["id"] == "A" else p for p in TENANTS]
    world.look(0, keystone_projects=TENANTS)
    world.look(10, keystone_projects=moved)
    reboots(world, ("s", "A"), seconds=20)
    assert world.owners("s") == [(REBOOT, "CONFLICT")]
    confirmed = {"resource_type": "project", "resource_id": "A", "claim": "owner_since", "domain_id": "D2"}
    learn(claims(confirmed | {"at": message(15)["occurred_at"][0], "source": "operator_decisions"}))
    world.resolve()
    assert world.owners("s") == [(REBOOT, "A")]
    assert world.rows("select tenant_domain_id from timeline.tenant_events where resource_id = 's'") == [("D2",)]


def test_events_before_a_contradiction_stay_where_they_are(world):
    reboots(world, ("s", "A"), seconds=-60)
    world.look(0, keystone_projects=TENANTS)
    moved = [project("A", "D2") if p["id"] == "A" else p for p in TENANTS]
    done = world.look(10, keystone_projects=moved)
    assert world.owners("s") == [(REBOOT, "A")]
    assert done.reopened == 0


def test_what_decides_two_steps_away_may_come_last(world, learn):
    """A port of an amphora: whose the load balancer is, is learnt of at the end."""
    long_ago = {"at": message(-7200)["occurred_at"][0], "source": "octavia"}
    serves = {"resource_id": "amphora", "claim": "edge_since", "relation": "amphora_of", "to_type": "load_balancer"}
    learn(claims(serves | long_ago | {"to_ids": ["lb"]}))
    world.look(0, neutron_ports=[port("p", "", device="amphora", device_owner="compute:nova")])
    assert world.owners("p") == [("port.create.end", "TOPOLOGY_GAP")]
    owned = {"resource_type": "load_balancer", "resource_id": "lb", "claim": "owner_since", "project_id": "A"}
    learn(claims(owned | long_ago))
    assert world.resolve().reopened == 1
    assert world.owners("p") == [("port.create.end", "A")]


def test_a_container_that_turns_out_to_be_anothers_takes_its_events_along(world, learn):
    """The attribution went through the router; so does its correction."""
    world.look(0, neutron_routers=[router("r", "A")],
               neutron_ports=[port("p", "", device="r", device_owner="network:router_gateway")])  # fmt: skip
    assert world.owners("p") == [("port.create.end", "A")]
    elsewhere = {"resource_type": "router", "resource_id": "r", "claim": "owner_since", "project_id": "B"}
    learn(claims(elsewhere | {"at": message(-7200)["occurred_at"][0], "source": "bus"}))
    world.resolve()
    assert world.owners("p") != [("port.create.end", "A")]


def test_a_repeat_changes_nothing_whatever_rule_decided(world):
    """The whole way again: no new version, no row."""
    reboots(world, ("s", "A"), global_request_id="req-g")
    told = message(1, **FAILED, resource_id="v", global_request_id="req-g")
    named = message(2, **ALARM, **OF_A)
    world.resolve(told, named)
    before = world.rows("select event_id::text, version, rule from timeline.attributions order by 1, 2")
    assert world.resolve(told, named).written == Written(unchanged=2)
    assert world.rows("select event_id::text, version, rule from timeline.attributions order by 1, 2") == before
