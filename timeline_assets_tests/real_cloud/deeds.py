"""What the suite does beside the exercise: one change at a time, each far enough from the next to be seen by itself."""

from __future__ import annotations

from timeline_assets_tests.cloud.exercise import DONOR, TWIN, Exercise

SHORT_LIVED = "short-lived"


def one_by_one(exercise: Exercise) -> None:
    """One change of each kind that the exercise leaves out, on a resource that nothing else is done to meanwhile."""
    alice, twin = exercise.actor(DONOR), exercise.actor(TWIN)
    for resource_type, name in (
        ("network", "private"),
        ("subnet", "private-subnet"),
        ("router", "gateway"),
        ("security_group", "web"),
        ("port", "web-1-port"),
        ("volume", "data-1"),
        ("snapshot", "nightly"),
        ("backup", "weekly"),
        ("server", "db-1"),
    ):
        alice.update(exercise.of(DONOR, resource_type, name), name=f"{name}-renamed")
    alice.update(exercise.of(DONOR, "floating_ip", "web-1"), description="renamed")
    twin.update(exercise.of(TWIN, "port", "guest-port"), description="of a guest")

    network = alice.create("network", name=SHORT_LIVED).resource_id
    alice.create("subnet", name=SHORT_LIVED, network_id=network, ip_version=4, cidr="10.9.0.0/24", enable_dhcp=False)
    alice.create("port", name=SHORT_LIVED, network_id=network)
    alice.create("router", name=SHORT_LIVED)
    alice.create("security_group", name=SHORT_LIVED)

    server = exercise.of(DONOR, "server", "web-1")
    alice.act(server, "pause", {"pause": None}, "PAUSED")
    alice.act(server, "unpause", {"unpause": None}, "ACTIVE")
    alice.act(server, "lock", {"lock": {"locked_reason": "change freeze"}})
    alice.act(server, "unlock", {"unlock": None})


def taken_away(exercise: Exercise) -> None:
    """What was made one by one, and that no part of the exercise deletes."""
    for resource_type in ("port", "subnet", "network", "router", "security_group"):
        exercise.actor(DONOR).delete(exercise.of(DONOR, resource_type, SHORT_LIVED))


def in_passing(exercise: Exercise) -> None:
    """A rule that is gone before anybody can have read it."""
    actor = exercise.actor(DONOR)
    group = exercise.of(DONOR, "security_group", "web")
    rule = actor.create(
        "security_group_rule",
        security_group_id=group.resource_id,
        direction="ingress",
        protocol="tcp",
        port_range_min=22,
        port_range_max=22,
        description="for a moment",
    )
    actor.delete(rule)


def after_the_outage(exercise: Exercise) -> None:
    """A sign of life of the service that was away; and an address let go a while before it is deleted."""
    twin = exercise.actor(TWIN)
    twin.update(exercise.of(TWIN, "network", "private"), description="back again")
    twin.update(exercise.of(TWIN, "floating_ip", "web-1"), "disassociate", port_id=None)


def servers_on_lost_host(exercise: Exercise) -> list[str]:
    """Where the operator's next deed will be felt: the ids of the servers on the host that goes down."""
    listed = exercise.operator.get("compute", "/servers/detail?all_tenants=1&host=compute2")
    return [server["id"] for server in listed["servers"]]
