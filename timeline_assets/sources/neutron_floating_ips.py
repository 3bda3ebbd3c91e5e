"""Floating IPs of the network service: one row is one floating IP as it stood; its address is its name.

From ``GET /v2.0/floatingips``, whole every 10 seconds while there are no more than 2 000, else what changed and the
whole every 5 minutes, or, where the service cannot say what changed, the whole with pauses. Times are the service's,
to the second; a deletion lies between two scans, and of several changes between two polls only the sum is seen (the
message bus has each).
"""

from __future__ import annotations

import polars as pl

from timeline_assets.normalize.claims import edge, edge_since, together
from timeline_assets.normalize.facts import decode, related
from timeline_assets.sources import neutron
from timeline_assets.sources.base import Fetched, Reader, Shape, Source, Span
from timeline_assets.sources.neutron import COMMON, born, field

RECORD = pl.Struct(
    {
        **COMMON,
        "floating_ip_address": pl.String,
        "floating_network_id": pl.String,
        "fixed_ip_address": pl.String,
        "port_id": pl.String,
        "router_id": pl.String,
        "status": pl.String,
        "description": pl.String,
        "qos_policy_id": pl.String,
        "dns_name": pl.String,
        "tags": pl.List(pl.String),
    }
)
TRACKED = (
    "description",
    "dns_name",
    "fixed_ip_address",
    "port_id",
    "qos_policy_id",
    "router_id",
    "status",
    "tags",
)


def fetch(reader: Reader, span: Span) -> Fetched:
    """All floating IPs of all projects."""
    return neutron.fetch(reader, span, "/floatingips")


def normalize(observations: pl.LazyFrame) -> pl.LazyFrame:
    """``floatingip.create.end``, ``floatingip.update.end`` (associated, disassociated), ``floatingip.delete.end``."""
    return neutron.normalize(
        observations,
        RECORD,
        resource_type="floating_ip",
        events="floatingip",
        tracked=TRACKED,
        name=field("floating_ip_address"),
        related=related(("port", field("port_id"), "related"), ("router", field("router_id"), "related")),
    )


def evidence(observations: pl.LazyFrame) -> pl.LazyFrame:
    """A floating IP exists since it was created, has been its owner's since, and leads to a port or to none."""
    frame = decode(observations, RECORD)
    return together(
        *neutron.standing(frame, "floating_ip", name=field("floating_ip_address")),
        edge_since(frame, "floating_ip", "on_network", "network", field("floating_network_id"), at=born()),
        edge(frame, "floating_ip", "floating_port", "port", field("port_id")),
    )


SOURCE = Source(
    name="neutron_floating_ips",
    service="network",
    shape=Shape.MUTABLE,
    resource_type="floating_ip",
    fetch=fetch,
    normalize=normalize,
    evidence=evidence,
    description=__doc__,
    tracked=TRACKED,
)
