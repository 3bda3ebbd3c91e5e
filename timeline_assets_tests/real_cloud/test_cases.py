"""Whose event is it: the cases of the design that listings of a real cloud can show, by their numbers."""

from __future__ import annotations

import json

import polars as pl
import pytest

from timeline_assets_tests.cloud.ledger import Action
from timeline_assets_tests.real_cloud.home import Home
from timeline_assets_tests.real_cloud.story import Story, events_of

pytestmark = pytest.mark.cloud


def about(story: Story, resource_id: str, event_type: str | None = None) -> pl.DataFrame:
    found = story.events.filter(resource_id=resource_id)
    return found if event_type is None else found.filter(event_type=event_type)


def owners(events: pl.DataFrame) -> set[str | None]:
    return set(events["owner_project_id"])


def affected(story: Story, event_id: str) -> dict[str, set[str]]:
    """Whom an event concerned beside its owner: project → its resources that it concerned."""
    rows = story.home.rows(
        """select tenant_project_id, related::text from timeline.affected
        where event_id::text = %(id)s and is_current""",
        id=event_id,
    )
    return {project: {one["id"] for one in json.loads(related)} for project, related in rows.iter_rows()}


def labels(story: Story, event_ids: pl.Series) -> list[tuple]:
    """What the tenants' rows of events say of who did it: label, user, request."""
    return story.home.rows(
        """select actor_label, actor_user_id, request_id from timeline.tenant_events
        where event_id::text = any(%(ids)s) order by 1, 2, 3""",
        ids=event_ids.to_list(),
    ).rows()


def test_3_a_server_and_then_its_project_deleted(story, late: Home):
    """Its events stay its project's, for those who watched and for those who look afterwards."""
    deleted = story.one("server.delete", resource_name="lab-1")
    gone = story.one("project.delete", resource_name="lab")
    assert deleted.t < gone.t
    watched = about(story, deleted.resource_id)
    assert set(watched["event_type"]) >= {"compute.instance.create.end", "compute.instance.delete.end"}
    assert owners(watched) == {gone.resource_id}
    afterwards = events_of(late).filter(resource_id=deleted.resource_id)
    assert set(afterwards["event_type"]) >= {"compute.instance.create.end", "compute.instance.delete.end"}
    assert owners(afterwards) == {gone.resource_id}


def test_5_a_project_renamed(story):
    """One id throughout; each event shows the name as it was then, the current one is at hand."""
    project = story.one("project.create", resource_name="lab").resource_id
    names = about(story, project).sort("occurred_at").select("event_type", "resource_name").rows()
    assert names == [
        ("identity.project.created", "lab"),
        ("identity.project.updated", "laboratory"),
        ("identity.project.deleted", "laboratory"),
    ]
    server = about(story, story.one("server.create", resource_name="lab-1").resource_id)
    renamed = story.one("project.update", resource_id=project)
    assert server.filter(pl.col("occurred_at") < renamed.t).height
    assert server.filter(pl.col("occurred_at") > renamed.t).height
    assert owners(server) == {project}
    current = story.home.rows(
        """select distinct name from topology.resources where resource_type = 'project' and resource_id = %(id)s
        and recorded_to is null and name is not null order by 1""",
        id=project,
    )
    assert current["name"].to_list() == ["lab", "laboratory"]


def test_7_a_port_of_a_guest_on_a_shared_network(story):
    """The port is its guest's, the network its owner's; neither sees the other's. What the network's owner changes on
    the network concerns the guest too, who reads of its own port and of nothing else."""
    port = story.one("port.create", resource_name="guest-port")
    network = story.one("network.update", resource_name="private", resource_id=port.details["network_id"])
    assert port.owner_project_id != network.owner_project_id
    assert set(about(story, port.resource_id)["event_type"]) >= {"port.create.end", "port.update.end"}
    assert owners(about(story, port.resource_id)) == {port.owner_project_id}
    assert owners(about(story, network.resource_id, "network.update.end")) == {network.owner_project_id}
    of_guest = story.home.rows(
        """select related::text from timeline.tenant_events where resource_id = %(port)s""", port=port.resource_id
    )
    assert [json.loads(text) for text in of_guest["related"]] == [[]] * of_guest.height
    renamed = about(story, network.resource_id, "network.update.end").filter(
        pl.col("changes").str.contains("private-renamed")
    )
    assert affected(story, renamed["event_id"].item()) == {port.owner_project_id: {port.resource_id}}


def test_9_a_volume_given_away(story):
    """Before, its giver's; after, its taker's; its snapshot goes with it, its backup stays."""
    accept = story.one("volume_transfer.accept")
    giver, taker = accept.owner_project_id, accept.details["to_project_id"]
    snapshot = story.one("snapshot.create", resource_name="handover-snapshot").resource_id
    backup = story.one("backup.create", resource_name="handover-backup").resource_id
    for thing in (accept.details["volume_id"], snapshot):
        before = about(story, thing).filter(pl.col("occurred_to") < accept.t)
        after = about(story, thing).filter(pl.col("occurred_from") > accept.latest)
        assert before.height
        assert owners(before) <= {giver, None}
        assert owners(after) <= {taker, None}
    assert set(about(story, backup)["event_type"]) == {"backup.create.end", "backup.delete.end"}
    assert owners(about(story, backup)) == {giver}
    held = story.home.rows(
        """select resource_id, project_id from topology.ownership where recorded_to is null and valid_to is null
        and resource_id = any(%(ids)s) order by 1""",
        ids=[accept.details["volume_id"], snapshot],
    )
    assert set(held["project_id"]) == {taker}


def test_9_the_transfer_itself_names_neither_to_the_other(story):
    accept = story.one("volume_transfer.accept")
    (event,) = about(story, accept.details["volume_id"], "volume.transfer.accept.end").iter_rows(named=True)
    rows = story.home.rows(
        """select tenant_project_id, row_to_json(t)::text as row from timeline.tenant_events t
        where event_id::text = %(id)s""",
        id=event["event_id"],
    )
    parties = {accept.owner_project_id, accept.details["to_project_id"]}
    assert sorted(rows["tenant_project_id"]) == sorted(parties)
    for project, row in rows.iter_rows():
        assert not [other for other in parties - {project} if other in row]


def operators(story: Story, op: str) -> Action:
    """What the operator did to a tenant's server."""
    (deed,) = [d for d in story.of_kind(op) if d.who.startswith("admin@")]
    assert deed.actor_project_id != deed.owner_project_id
    return deed


@pytest.mark.parametrize("op", ["server.reboot", "server.stop", "server.start", "server.migrate"])
def test_11_the_operator_acts_on_a_tenants_server(story, op):
    """It is the tenant's event; the tenant sees that the provider did it, and not who."""
    deed = operators(story, op)
    event = story.events.filter(request_id=deed.request_id, resource_id=deed.resource_id)
    assert owners(event) == {deed.owner_project_id}
    assert event["actor_user_id"].to_list() == [deed.actor_user_id]
    assert labels(story, event["event_id"]) == [("provider operator", None, None)]


def test_12_the_operator_moves_a_tenants_server(story):
    """The provider sees the hosts; the tenant sees the move and no host."""
    deed = operators(story, "server.live_migrate")
    moved = story.events.filter(
        pl.col("event_type").is_in(["compute.instance.live_migration.end", "compute.migration.live_migration.end"]),
        resource_id=deed.resource_id,
    )
    assert moved.height == 2
    assert owners(moved) == {deed.owner_project_id}
    (changes,) = moved.filter(pl.col("changes") != "[]")["changes"]
    (change,) = json.loads(changes)
    assert {change["old"], change["new"]} == {"compute1", "compute2"}
    rows = story.home.rows(
        "select row_to_json(t)::text as row from timeline.tenant_events t where event_id::text = any(%(ids)s)",
        ids=moved["event_id"].to_list(),
    )
    assert rows.height == 2
    assert [row for row in rows["row"] if "compute1" in row or "compute2" in row] == []


def test_13_a_service_binds_a_tenants_port(story):
    """Nova's own port of a server, and what Nova does to a tenant's: the tenant's, never the service project's."""
    ports = [deed.resource_id for deed in story.of_kind("port.create") if deed.resource_name == "web-1-port"]
    bound = story.events.filter(pl.col("resource_id").is_in(ports), event_type="port.update.end").filter(
        pl.col("changes").str.contains('"path": "device_id"', literal=True)
    )
    assert bound.height
    mine = {deed.resource_id: deed.owner_project_id for deed in story.of_kind("port.create")}
    assert [(e["owner_project_id"], e["actor_user_id"]) for e in bound.iter_rows(named=True)] == [
        (mine[e["resource_id"]], None) for e in bound.iter_rows(named=True)
    ]


def test_17_what_is_a_nested_projects_is_not_its_parents(story):
    lab = story.one("project.create", resource_name="lab")
    parent = lab.details["parent_id"]
    of_lab = story.events.filter(owner_project_id=lab.resource_id)
    assert set(of_lab["resource_type"]) >= {"project", "server", "volume", "role_assignment"}
    seen = story.home.rows(
        """select count(*) from timeline.tenant_events
        where tenant_project_id = %(parent)s and event_id::text = any(%(ids)s)""",
        parent=parent,
        ids=of_lab["event_id"].to_list(),
    )
    assert seen.item() == 0


def test_19_a_host_goes_down(story):
    """The provider reads of the host; each tenant of its own servers there, to the minute, without host or number."""
    down = story.events.filter(event_type="compute.service.down").filter(
        pl.col("changes").str.contains('"path": "forced_down"')
    )
    (event,) = down.iter_rows(named=True)
    assert (event["owner_scope"], event["host"]) == ("provider", "compute2")
    expected: dict[str, set[str]] = {}
    for server in story.on_lost_host:
        expected.setdefault(story.truth.first[server].project_id, set()).add(server)
    assert expected, "nobody had a server on the host: this proves nothing"
    assert affected(story, event["event_id"]) == expected
    rows = story.home.rows(
        """select t.tenant_project_id, t.occurred_at, row_to_json(t)::text as row from timeline.tenant_events t
        join timeline.affected a on a.affected_id = t.event_id where a.event_id::text = %(id)s""",
        id=event["event_id"],
    )
    assert sorted(rows["tenant_project_id"]) == sorted(expected)
    for project, at, row in rows.iter_rows():
        foreign = set().union(*expected.values(), expected) - expected[project] - {project}
        assert not [word for word in (*foreign, "compute2", event["event_id"]) if word in row]
        assert at == event["occurred_at"].replace(second=0, microsecond=0)


def test_22_a_routers_gateway_port_is_the_routers_owners(story):
    """Neutron gives such a port no project: the empty one never becomes a tenant."""
    made = [deed for deed in story.of_kind("router.create") if "external_gateway_info" in deed.details]
    routers = {deed.resource_id: deed.owner_project_id for deed in made}
    ports = story.events.filter(event_type="port.create.end", rule="containment")
    on_routers = {
        (event["resource_id"], router): event["owner_project_id"]
        for event in ports.iter_rows(named=True)
        for router in routers
        if router in event["related"]
    }
    assert {router for _, router in on_routers} == set(routers)
    assert [owner for (_, router), owner in on_routers.items() if owner != routers[router]] == []
    assert story.events.filter(owner_project_id="").rows() == []


def test_28_one_call_that_makes_ports_of_two_tenants(story):
    ports = [deed for deed in story.of_kind("port.create") if deed.resource_name == "operators-port"]
    assert len({port.request_id for port in ports}) == 1
    assert len({port.owner_project_id for port in ports}) == 2
    for port in ports:
        created = about(story, port.resource_id, "port.create.end")
        assert created["owner_project_id"].to_list() == [port.owner_project_id]
