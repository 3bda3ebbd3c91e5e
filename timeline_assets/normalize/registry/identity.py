"""Event types of the identity service, by the names they have on its message bus."""

from __future__ import annotations

from timeline_assets.normalize.registry import EventType


def _life(kind: str, what: str) -> tuple[EventType, ...]:
    """Creation, change and deletion of a project, domain or user: each is its own tenant, or a tenant's."""
    return (
        EventType(f"identity.{kind}.created", "tenant", f"{what} {{name}} created", target=kind),
        EventType(f"identity.{kind}.updated", "tenant", f"{what} {{name}} changed", target=kind),
        EventType(f"identity.{kind}.deleted", "tenant", f"{what} {{name}} deleted", 3, target=kind),
    )


# The target of a grant is the project or domain it is held on; one on the whole system is the provider's.
_GRANT = {"category": "security", "severity": 3, "visibility": "security", "target": "project"}

TYPES: tuple[EventType, ...] = (
    *_life("domain", "Domain"),
    *_life("project", "Project"),
    *_life("user", "User"),
    EventType("identity.role_assignment.created", title="Role {name} granted", **_GRANT),
    EventType("identity.role_assignment.deleted", title="Role {name} revoked", **_GRANT),
    # It names no project, whatever came of it: it is filed by the user's domain.
    EventType("identity.authenticate", "security", "Log-in of {name}", visibility="security", target="user"),
)
