"""Event types of the network service, by the names they have on its message bus."""

from __future__ import annotations

from timeline_assets.normalize.registry import Affects, EventType, Step

#: What others hang on a network that is shared with them: ports, floating IPs, the gateways of their routers.
NETWORK = Affects(
    "network",
    "A network that you share was changed",
    ((Step("on_network", is_back=True),), (Step("gateway", is_back=True),)),
)
SUBNET = Affects("subnet", "A subnet that you share was changed", ((Step("in_subnet", is_back=True),),))


def _of_agent(title: str) -> Affects:
    """An agent and the routers that it served."""
    return Affects("agent", title, ((Step("served_by", is_back=True),),))


def _life(
    events: str,
    what: str,
    *,
    category: str = "network",
    made: int = 1,
    gone: int = 3,
    affects: Affects | None = None,
) -> tuple[EventType, ...]:
    """Creation, change and deletion of one kind of resource, `what` it is called, with its name if it has one.

    A change `affects` others than the owner.
    """
    return (
        EventType(f"{events}.create.end", category, f"{what} created", made),
        EventType(f"{events}.update.end", category, f"{what} changed", made, affects=affects),
        EventType(f"{events}.delete.end", category, f"{what} deleted", gone),
    )


TYPES: tuple[EventType, ...] = (
    *_life("network", "Network {name}", affects=NETWORK),
    *_life("subnet", "Subnet {name}", affects=SUBNET),
    *_life("port", "Port {name}", gone=2),
    *_life("router", "Router {name}"),
    *_life("floatingip", "Floating IP {name}", gone=2),
    *_life("security_group", "Security group {name}", category="security", made=2),
    *_life("security_group_rule", "Security group rule", category="security", made=3),
    *(
        EventType(f"network.agent.{verb}", "provider", title, severity, is_provider=True, affects=_of_agent(told))
        for verb, title, severity, told in (
            ("down", "Agent {name} went down", 4, "An agent that serves your routers went down"),
            ("up", "Agent {name} came up", 1, "An agent that serves your routers came up"),
        )
    ),
)
