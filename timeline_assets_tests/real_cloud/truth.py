"""Whose everything really was: from the ledger and from what the operator saw in the cloud, never from the product."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from timeline_assets_tests.cloud.actor import Actor, Owner
from timeline_assets_tests.cloud.ledger import Action

#: What the operator lists: kind, service, path, the key of the list, the field that names the owner.
LISTS = (
    ("network", "network", "/v2.0/networks", "networks", "project_id"),
    ("subnet", "network", "/v2.0/subnets", "subnets", "project_id"),
    ("port", "network", "/v2.0/ports", "ports", "project_id"),
    ("router", "network", "/v2.0/routers", "routers", "project_id"),
    ("floating_ip", "network", "/v2.0/floatingips", "floatingips", "project_id"),
    ("security_group", "network", "/v2.0/security-groups", "security_groups", "project_id"),
    ("security_group_rule", "network", "/v2.0/security-group-rules", "security_group_rules", "project_id"),
    ("volume", "block-storage", "/volumes/detail?all_tenants=1", "volumes", "os-vol-tenant-attr:tenant_id"),
)

#: Before the id of what a resource without an owner of its own hangs on.
OF = "of/"


def look(operator: Actor) -> dict[str, str]:
    """``kind/id`` → its owner now: a project, or `OF` and an id for what hangs on another's."""
    seen = {}
    for kind, service, path, key, owner in LISTS:
        for row in operator.get(service, path)[key]:
            seen[f"{kind}/{row['id']}"] = row[owner] or OF + row["device_id"]
    return seen


@dataclass(frozen=True)
class Change:
    """A resource went from one project to another, some time in between."""

    earliest: datetime
    latest: datetime
    giver: str
    taker: str


@dataclass(frozen=True)
class Truth:
    """`first` is each resource's first owner by id, `changes` what changed hands, `living` what was left at the end."""

    first: Mapping[str, Owner]
    changes: Mapping[str, Change]
    living: frozenset[str]

    @classmethod
    def of(cls, seen: Sequence[Mapping[str, str]], deeds: Sequence[Action]) -> Truth:
        """From what was seen, oldest first, and from the ledger."""
        first: dict[str, Owner] = {}
        hanging: dict[str, str] = {}
        for name, owner in (item for glance in seen for item in glance.items()):
            resource_id = name.partition("/")[2]
            if owner.startswith(OF):
                hanging.setdefault(resource_id, owner.removeprefix(OF))
            else:
                first.setdefault(resource_id, Owner("project", owner))
        for deed in deeds:
            if resource_id := _owned_since(deed):
                first[resource_id] = Owner(deed.owner_scope, deed.owner_project_id, deed.owner_domain_id)
        first |= {resource_id: first[on] for resource_id, on in hanging.items() if on in first}
        living = frozenset(name.partition("/")[2] for name in seen[-1])
        return cls(first, _changes(deeds), living)

    def owners(self, resource_id: str, earliest: datetime, latest: datetime) -> set[str | None]:
        """The projects that owned it at some moment of that time; None for what no project owns. Empty: unknown."""
        if resource_id not in self.first:
            return set()
        if change := self.changes.get(resource_id):
            before, after = {change.giver}, {change.taker}
            return (before if earliest <= change.latest else set()) | (after if latest >= change.earliest else set())
        return {self.first[resource_id].project_id}

    def foreign_to(self, project_id: str) -> set[str]:
        """Ids of what was never that project's, and of the projects whose it was."""
        others = {owner.project_id for owner in self.first.values()} - {project_id, None}
        parties = {resource_id: {change.giver, change.taker} for resource_id, change in self.changes.items()}
        return others | {
            resource_id
            for resource_id, owner in self.first.items()
            if owner.project_id in others and project_id not in parties.get(resource_id, ())
        }


def _owned_since(deed: Action) -> str | None:
    """The id of what a deed shows to be its owner's from the beginning."""
    match deed.op.split("."):
        case "role_assignment", _:
            return assignment_of(deed)
        case "backup", "restore":
            return deed.details["volume_id"]
        case (_, "create") | ("service", _):
            return deed.resource_id
    return None


def _changes(deeds: Sequence[Action]) -> dict[str, Change]:
    """Volumes that were given away; their snapshots go with them, their backups stay."""
    changes = {}
    for deed in deeds:
        if deed.op == "volume_transfer.accept":
            volume_id = deed.details["volume_id"]
            change = Change(deed.t, deed.latest, deed.owner_project_id, deed.details["to_project_id"])
            changes[volume_id] = change
            snapshots = (d for d in deeds if d.op == "snapshot.create" and d.details["volume_id"] == volume_id)
            changes |= {snapshot.resource_id: change for snapshot in snapshots}
    return changes


def assignment_of(deed: Action) -> str:
    """The key of a role assignment, which has no id: role, user, project."""
    details = deed.details
    return f"{details['role_id']}/user/{details['user_id']}/project/{details['project_id']}"
