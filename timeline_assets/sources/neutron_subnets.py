"""Subnets of the network service: one row is one subnet as it stood.

From ``GET /v2.0/subnets``, whole every 10 seconds while there are no more than 2 000, else what changed and the whole
every 5 minutes, or, where the service cannot say what changed, the whole with pauses. Times are the service's, to the
second; a deletion lies between two scans, and of several changes between two polls only the sum is seen (the message
bus has each).
"""

from __future__ import annotations

import polars as pl

from timeline_assets.normalize.claims import edge_since, together
from timeline_assets.normalize.facts import decode, related
from timeline_assets.sources import neutron
from timeline_assets.sources.base import Fetched, Reader, Shape, Source, Span
from timeline_assets.sources.neutron import COMMON, born, field

RECORD = pl.Struct(
    {
        **COMMON,
        "name": pl.String,
        "description": pl.String,
        "network_id": pl.String,
        "cidr": pl.String,
        "gateway_ip": pl.String,
        "enable_dhcp": pl.Boolean,
        "allocation_pools": pl.List(pl.Struct({"start": pl.String, "end": pl.String})),
        "dns_nameservers": pl.List(pl.String),
        "host_routes": pl.List(pl.Struct({"destination": pl.String, "nexthop": pl.String})),
        "tags": pl.List(pl.String),
    }
)
TRACKED = (
    "allocation_pools",
    "cidr",
    "description",
    "dns_nameservers",
    "enable_dhcp",
    "gateway_ip",
    "host_routes",
    "name",
    "tags",
)


def fetch(reader: Reader, span: Span) -> Fetched:
    """All subnets of all projects."""
    return neutron.fetch(reader, span, "/subnets")


def normalize(observations: pl.LazyFrame) -> pl.LazyFrame:
    """``subnet.create.end``, ``subnet.update.end``, ``subnet.delete.end``."""
    return neutron.normalize(
        observations,
        RECORD,
        resource_type="subnet",
        events="subnet",
        tracked=TRACKED,
        related=related(("network", field("network_id"), "container")),
    )


def evidence(observations: pl.LazyFrame) -> pl.LazyFrame:
    """A subnet exists since it was created, has been its owner's since, and never leaves its network."""
    frame = decode(observations, RECORD)
    return together(
        *neutron.standing(frame, "subnet"),
        edge_since(frame, "subnet", "on_network", "network", field("network_id"), at=born()),
    )


SOURCE = Source(
    name="neutron_subnets",
    service="network",
    shape=Shape.MUTABLE,
    resource_type="subnet",
    fetch=fetch,
    normalize=normalize,
    evidence=evidence,
    description=__doc__,
    tracked=TRACKED,
)
