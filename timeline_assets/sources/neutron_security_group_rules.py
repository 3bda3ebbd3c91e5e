"""Security group rules of the network service: one row is one rule; it has no name, and its message says what it
allows.

From ``GET /v2.0/security-group-rules``, whole every 10 seconds while there are no more than 2 000, else what changed
and the whole every 5 minutes, or, where the service cannot say what changed, the whole with pauses. Times are the
service's, to the second; a deletion lies between two scans, and of several changes between two polls only the sum is
seen (the message bus has each). A rule never changes: it is made and deleted. One that lived for less than the time
between two polls is on the message bus alone.
"""

from __future__ import annotations

import polars as pl

from timeline_assets.normalize.claims import edge_since, together
from timeline_assets.normalize.facts import decode, filled, related
from timeline_assets.sources import neutron
from timeline_assets.sources.base import Fetched, Reader, Shape, Source, Span
from timeline_assets.sources.neutron import COMMON, born, field

RECORD = pl.Struct(
    {
        **COMMON,
        "security_group_id": pl.String,
        "direction": pl.String,
        "ethertype": pl.String,
        "protocol": pl.String,
        "port_range_min": pl.Int64,
        "port_range_max": pl.Int64,
        "remote_ip_prefix": pl.String,
        "remote_group_id": pl.String,
        "description": pl.String,
    }
)
TRACKED = ("description",)


def fetch(reader: Reader, span: Span) -> Fetched:
    """All rules of all projects."""
    return neutron.fetch(reader, span, "/security-group-rules")


def normalize(observations: pl.LazyFrame) -> pl.LazyFrame:
    """``security_group_rule.create.end``, ``security_group_rule.update.end``, ``security_group_rule.delete.end``."""
    return neutron.normalize(
        observations,
        RECORD,
        resource_type="security_group_rule",
        events="security_group_rule",
        tracked=TRACKED,
        name=pl.lit(None, pl.String),
        message=allows(),
        related=related(("security_group", field("security_group_id"), "container")),
    )


def evidence(observations: pl.LazyFrame) -> pl.LazyFrame:
    """A rule exists since it was created, has been its owner's since, and never leaves its group."""
    frame = decode(observations, RECORD)
    return together(
        *neutron.standing(frame, "security_group_rule", name=pl.lit(None, pl.String)),
        edge_since(frame, "security_group_rule", "of_group", "security_group", field("security_group_id"), at=born()),
    )


def allows() -> pl.Expr:
    """``ingress IPv4 tcp 443 from 10.0.0.0/8``: the rule in a line; ``any`` where it leaves a thing open."""
    low, high = field("port_range_min").cast(pl.String), field("port_range_max").cast(pl.String)
    ports = pl.when(low.is_null() | (low == high)).then(high).otherwise(pl.concat_str(low, pl.lit("-"), high))
    remote = pl.coalesce(
        filled(field("remote_ip_prefix")), pl.lit("group ") + filled(field("remote_group_id")), pl.lit("anywhere")
    )
    towards = pl.when(field("direction") == "egress").then(pl.lit("to")).otherwise(pl.lit("from"))
    protocol = filled(field("protocol")).fill_null("any")
    parts = (field("direction"), field("ethertype"), protocol, ports, towards, remote)
    return pl.concat_str(*parts, separator=" ", ignore_nulls=True)


SOURCE = Source(
    name="neutron_security_group_rules",
    service="network",
    shape=Shape.MUTABLE,
    resource_type="security_group_rule",
    fetch=fetch,
    normalize=normalize,
    evidence=evidence,
    description=__doc__,
    tracked=TRACKED,
)
