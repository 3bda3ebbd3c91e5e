"""Networks of the network service: one row is one network as it stood.

From ``GET /v2.0/networks``, whole every 10 seconds while there are no more than 2 000, else what changed and the
whole every 5 minutes, or, where the service cannot say what changed, the whole with pauses. Times are the service's,
to the second; a deletion lies between two scans, and of several changes between two polls only the sum is seen (the
message bus has each). A network's revision also moves when a subnet comes or goes.
"""

from __future__ import annotations

import polars as pl

from timeline_assets.normalize.claims import together
from timeline_assets.normalize.facts import decode
from timeline_assets.sources import neutron
from timeline_assets.sources.base import Fetched, Reader, Shape, Source, Span
from timeline_assets.sources.neutron import COMMON

RECORD = pl.Struct(
    {
        **COMMON,
        "name": pl.String,
        "description": pl.String,
        "status": pl.String,
        "admin_state_up": pl.Boolean,
        "shared": pl.Boolean,
        "router:external": pl.Boolean,
        "port_security_enabled": pl.Boolean,
        "mtu": pl.Int64,
        "qos_policy_id": pl.String,
        "dns_domain": pl.String,
        "subnets": pl.List(pl.String),
        "tags": pl.List(pl.String),
    }
)
TRACKED = (
    "admin_state_up",
    "description",
    "dns_domain",
    "mtu",
    "name",
    "port_security_enabled",
    "qos_policy_id",
    "router:external",
    "shared",
    "status",
    "subnets",
    "tags",
)


def fetch(reader: Reader, span: Span) -> Fetched:
    """All networks of all projects."""
    return neutron.fetch(reader, span, "/networks", admins_field="provider:network_type")


def normalize(observations: pl.LazyFrame) -> pl.LazyFrame:
    """``network.create.end``, ``network.update.end``, ``network.delete.end``."""
    return neutron.normalize(observations, RECORD, resource_type="network", events="network", tracked=TRACKED)


def evidence(observations: pl.LazyFrame) -> pl.LazyFrame:
    """A network exists since it was created and has been its owner's since."""
    return together(*neutron.standing(decode(observations, RECORD), "network"))


SOURCE = Source(
    name="neutron_networks",
    service="network",
    shape=Shape.MUTABLE,
    resource_type="network",
    fetch=fetch,
    normalize=normalize,
    evidence=evidence,
    description=__doc__,
    tracked=TRACKED,
)
