"""Event types of the network service, by the names they have on its message bus."""

from __future__ import annotations

from timeline_assets.normalize.registry import EventType


def _life(events: str, what: str, *, category: str = "network", made: int = 1, gone: int = 3) -> tuple[EventType, ...]:
    """Creation, change and deletion of one kind of resource, `what` it is called, with its name if it has one."""
    return (
        EventType(f"{events}.create.end", category, f"{what} created", made),
        EventType(f"{events}.update.end", category, f"{what} changed", made),
        EventType(f"{events}.delete.end", category, f"{what} deleted", gone),
    )


TYPES: tuple[EventType, ...] = (
    *_life("network", "Network {name}"),
    *_life("subnet", "Subnet {name}"),
    *_life("port", "Port {name}", gone=2),
    *_life("router", "Router {name}"),
    *_life("floatingip", "Floating IP {name}", gone=2),
    *_life("security_group", "Security group {name}", category="security", made=2),
    *_life("security_group_rule", "Security group rule", category="security", made=3),
)
