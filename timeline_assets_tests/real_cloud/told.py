"""Deed by deed, what the timeline has to tell: the one table from the ledger's words to events.

`TOLD` has a line for every kind of deed (`kind_of`) that a listing can show, with every event that it makes. `UNTOLD`
has those that no listing shows, `BESIDE` the events that no deed of the ledger names; both say why. A kind, or an
event, that is in none of them fails a test.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from timeline_assets_tests.cloud.ledger import Action
from timeline_assets_tests.real_cloud.truth import assignment_of

#: Two deeds on one thing within this time may lie between the same two readings, which then show their sum.
ONE_READING = timedelta(seconds=90)
#: Deeds of a run whose name ends so are far apart: each has to be told by itself.
ONE_BY_ONE = "one-by-one"

#: What was made, by its id.
Made = Mapping[str, Action]


@dataclass(frozen=True)
class Told:
    """One event that a deed makes: exactly one, found by what identifies it.

    Attributes:
        event_type: its type; one that ends in a dot is a span's, and ends as the deed did: ``end`` or ``error``.
        by: ``request`` (it carries the request's id), ``resource`` (no other event of this type is about that
            resource), ``change`` (it names the change to the values asked for), ``time`` (the type comes more than
            once, its bounds have to meet the deed's).
        precision: of its time: ``second``; ``interval`` where two readings were compared; ``estimate`` for an interval
            that is wider than that and whose best estimate is right to the second; ``dated`` to the second where
            nothing else changed between two readings, else an interval.
        has_actor: whether the listing says who did it; else the event must not name anybody.
        of: the id of the resource that it is about.
        changes: path → new value, to find it by.
        may_hide: whether another deed close by can hide it, because only readings that lie between them show it.
    """

    event_type: str
    by: str = "resource"
    precision: str = "interval"
    has_actor: bool = False
    of: Callable[[Action, Made], str] = lambda deed, made: deed.resource_id
    changes: Callable[[Action], Mapping[str, Any]] = lambda deed: deed.details
    may_hide: bool = False

    def among(self, events: pl.DataFrame, deed: Action, made: Made) -> pl.DataFrame:
        """The events that tell of the deed."""
        outcome = "error" if deed.result == "failed" else "end"
        event_type = self.event_type + outcome if self.event_type.endswith(".") else self.event_type
        found = events.filter(resource_id=self.of(deed, made), event_type=event_type)
        match self.by:
            case "request":
                return found.filter(request_id=deed.request_id)
            case "change":
                asked = self.changes(deed).items()
                return found.filter([asked <= _new_values(text).items() for text in found["changes"]])
            case "time":
                return found.filter(pl.col("occurred_to") >= whole(deed.t), pl.col("occurred_from") <= deed.latest)
        return found

    def is_hidden(self, deed: Action, deeds: Iterable[Action], made: Made) -> bool:
        """Whether the deed may be missing: something else happened to the same thing before it can have been read."""
        if not self.may_hide or deed.run.endswith(ONE_BY_ONE):
            return False
        things = {deed.resource_id, self.of(deed, made)}
        return any(
            other is not deed
            and things & {other.resource_id, other.details.get("volume_id")}
            and other.result != "refused"
            and abs(other.t - deed.latest) < ONE_READING
            for other in deeds
        )


def whole(instant: datetime) -> datetime:
    """As services write it: whole seconds, the fraction cut off."""
    return instant.replace(microsecond=0)


def kind_of(deed: Action, made: Made) -> str:
    """The deed's line in the table."""
    if deed.result == "refused":
        return f"{deed.op}, refused"
    if deed.op == "server.delete" and made[deed.resource_id].result == "failed":
        return f"{deed.op}, of one that never had a host"
    return deed.op


def _new_values(changes: str) -> dict[str, Any]:
    return {change["path"]: change["new"] for change in json.loads(changes)}


def _port(deed: Action, made: Made) -> str:
    return deed.details["port_id"]


def _volume(deed: Action, made: Made) -> str:
    return deed.details["volume_id"]


def _offered(deed: Action, made: Made) -> str:
    return made[deed.resource_id].details["volume_id"]


def _assignment(deed: Action, made: Made) -> str:
    return assignment_of(deed)


def _action(span: str, *more: Told) -> tuple[Told, ...]:
    """What Nova keeps an action of: request and actor are known."""
    return (Told(f"compute.instance.{span}.", "request", "second", has_actor=True), *more)


def _move(kind: str) -> Told:
    return Told(f"compute.migration.{kind}.", "resource", "second", has_actor=True)


def _life(resource: str, events: str = "", *, updates: str = "dated") -> dict[str, tuple[Told, ...]]:
    """Creation (dated by the service), changes and deletion of what is listed whole."""
    events = events or resource
    return {
        f"{resource}.create": (Told(f"{events}.create.end", precision="second"),),
        f"{resource}.update": (Told(f"{events}.update.end", "change", updates),),
        f"{resource}.delete": (Told(f"{events}.delete.end"),),
    }


def _tenant(resource: str) -> dict[str, tuple[Told, ...]]:
    """What Keystone has: without any time."""
    verbs = {"create": "resource", "update": "change", "delete": "resource"}
    return {f"{resource}.{verb}": (Told(f"identity.{resource}.{verb}d", by),) for verb, by in verbs.items()}


TOLD: dict[str, tuple[Told, ...]] = {
    **_tenant("domain"),
    **_tenant("project"),
    **_tenant("user"),
    "role_assignment.grant": (Told("identity.role_assignment.created", of=_assignment),),
    "role_assignment.revoke": (Told("identity.role_assignment.deleted", of=_assignment),),
    # compute
    "server.create": _action("create"),
    "server.delete": _action("delete"),
    "server.delete, of one that never had a host": (Told("compute.instance.delete.end", precision="second"),),
    "server.update": (Told("compute.instance.update", "change", "estimate"),),
    "server.reboot": _action("reboot"),
    "server.stop": _action("power_off"),
    "server.start": _action("power_on"),
    "server.pause": _action("pause"),
    "server.unpause": _action("unpause"),
    "server.lock": _action("lock"),
    "server.unlock": _action("unlock"),
    "server.resize": _action("resize", _move("resize")),
    "server.confirm_resize": _action("resize.confirm"),
    "server.create_image": _action("snapshot"),
    "server.migrate": _action("migrate", _move("cold_migration")),
    "server.live_migrate": _action("live_migration", _move("live_migration")),
    "server.attach_volume": _action("volume_attach", Told("volume.attach.end", "time", "second", of=_volume)),
    "server.detach_volume": _action("volume_detach", Told("volume.detach.end", "time", of=_volume)),
    "service.force_down": (Told("compute.service.down", "change", changes=lambda deed: {"forced_down": True}),),
    "service.force_up": (Told("compute.service.up", "change", changes=lambda deed: {"forced_down": False}),),
    # block storage
    **_life("volume", updates="interval"),
    "volume.create": (Told("volume.create.", precision="second"),),
    "volume.extend": (
        Told("volume.resize.end", "change", changes=lambda deed: {"size": deed.details["new_size"]}, may_hide=True),
    ),
    **_life("snapshot", updates="interval"),
    "snapshot.create": (Told("snapshot.create.", precision="second"),),
    **_life("backup", updates="interval"),
    "backup.create": (Told("backup.create.", precision="second"),),
    "backup.restore": (
        Told("backup.restore.", precision="second", may_hide=True),
        Told("volume.create.", precision="second", of=_volume),
    ),
    "volume_transfer.create": (Told("volume.transfer.create.end", precision="second", of=_volume, may_hide=True),),
    "volume_transfer.accept": (Told("volume.transfer.accept.end", of=_volume),),
    "volume_transfer.delete": (Told("volume.transfer.delete.end", of=_offered),),
    # network
    **_life("network"),
    **_life("subnet"),
    **_life("port"),
    **_life("router"),
    "router.add_interface": (Told("port.create.end", precision="second", of=_port),),
    "router.remove_interface": (Told("port.delete.end", of=_port),),
    **_life("security_group"),
    "security_group_rule.create": (Told("security_group_rule.create.end", precision="second", may_hide=True),),
    "security_group_rule.delete": (Told("security_group_rule.delete.end", may_hide=True),),
    **_life("floating_ip", "floatingip"),
    "floating_ip.associate": (Told("floatingip.update.end", "change", "dated", may_hide=True),),
    "floating_ip.disassociate": (Told("floatingip.update.end", "change", "dated", may_hide=True),),
}

#: Kinds of deeds that must leave nothing, and why.
UNTOLD = {
    "flavor.create": "no source lists flavors",
    "image.create": "no source lists images",
    "quota.update": "limits are no part of any listing",
    "rbac_policy.create": "no source lists policies; the network itself does not change",
    "role.create": "no source lists roles",
    "server.create, refused": "what was refused did not happen",
    "user.log_in, refused": "only the message bus tells of log-ins",
    "volume.create, refused": "what was refused did not happen",
    "volume_type.create": "no source lists volume types",
}

#: Events that no deed names, and whose doing they are.
BESIDE = {
    "compute.instance.update": "the hypervisor: a power state that changed by itself",
    "compute.service.disable": "the operator: switched in the same call, seen before the state",
    "compute.service.down": "a busy machine: a heartbeat was late",
    "compute.service.enable": "the operator: switched in the same call, seen before the state",
    "compute.service.up": "a busy machine: a heartbeat came after all",
    "compute.service.update": "an operator's reason, or a heartbeat",
    "floatingip.update.end": "the agent: its status followed its port",
    "identity.role_assignment.deleted": "Keystone: with the user or the project",
    "network.update.end": "Neutron: a subnet came or went",
    "port.create.end": "Nova and Neutron: ports of servers, gateways and floating IPs",
    "port.delete.end": "Nova and Neutron: the same ports, when their device goes",
    "port.update.end": "Nova and the agents: bound, up, down",
    "router.update.end": "Neutron: its gateway came up",
    "security_group.create.end": "Neutron: the default group, at the project's first call",
    "security_group_rule.create.end": "Neutron: the rules that every group begins with",
    "security_group_rule.delete.end": "Neutron: the rules of a group that is deleted",
    "volume.attach.end": "Nova: attached again where its server moved",
    "volume.create.end": "Cinder: a copy of a volume in use, to back up from",
    "volume.delete.end": "Cinder: that copy",
    "volume.detach.end": "Nova: detached where its server moved from, or was deleted",
    "volume.update.end": "Cinder: bootable, or metadata, by what was written to it",
}
