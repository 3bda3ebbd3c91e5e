"""Routers of the network service: one row is one router as it stood.

From ``GET /v2.0/routers``, whole every 10 seconds while there are no more than 2 000, else what changed and the whole
every 5 minutes, or, where the service cannot say what changed, the whole with pauses. Times are the service's, to the
second; a deletion lies between two scans, and of several changes between two polls only the sum is seen (the message
bus has each). A router's interfaces are ports, told by theirs.
"""

from __future__ import annotations

import polars as pl

from timeline_assets.normalize.claims import edge, together
from timeline_assets.normalize.facts import decode, related
from timeline_assets.sources import neutron
from timeline_assets.sources.base import Fetched, Reader, Shape, Source, Span
from timeline_assets.sources.neutron import COMMON, field

RECORD = pl.Struct(
    {
        **COMMON,
        "name": pl.String,
        "description": pl.String,
        "status": pl.String,
        "admin_state_up": pl.Boolean,
        "external_gateway_info": pl.Struct(
            {
                "network_id": pl.String,
                "enable_snat": pl.Boolean,
                "external_fixed_ips": pl.List(pl.Struct({"subnet_id": pl.String, "ip_address": pl.String})),
            }
        ),
        "routes": pl.List(pl.Struct({"destination": pl.String, "nexthop": pl.String})),
        "distributed": pl.Boolean,
        "ha": pl.Boolean,
        "tags": pl.List(pl.String),
    }
)
TRACKED = (
    "admin_state_up",
    "description",
    "distributed",
    "external_gateway_info",
    "ha",
    "name",
    "routes",
    "status",
    "tags",
)


def fetch(reader: Reader, span: Span) -> Fetched:
    """All routers of all projects."""
    return neutron.fetch(reader, span, "/routers")


def normalize(observations: pl.LazyFrame) -> pl.LazyFrame:
    """``router.create.end``, ``router.update.end``, ``router.delete.end``."""
    return neutron.normalize(
        observations,
        RECORD,
        resource_type="router",
        events="router",
        tracked=TRACKED,
        related=related(("network", gateway(), "related")),
    )


def evidence(observations: pl.LazyFrame) -> pl.LazyFrame:
    """A router exists since it was created, has been its owner's since, and its gateway leads to a network."""
    frame = decode(observations, RECORD)
    return together(*neutron.standing(frame, "router"), edge(frame, "router", "gateway", "network", gateway()))


def gateway() -> pl.Expr:
    """The external network a router leads to; null where it has no gateway."""
    return field("external_gateway_info").struct.field("network_id")


SOURCE = Source(
    name="neutron_routers",
    service="network",
    shape=Shape.MUTABLE,
    resource_type="router",
    fetch=fetch,
    normalize=normalize,
    evidence=evidence,
    description=__doc__,
    tracked=TRACKED,
)
