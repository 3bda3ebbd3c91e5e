"""Services of the compute control plane: one row is one service on one host as it stood.

From ``GET /os-services``, whole, every few seconds, compared scan by scan: a service that went down or came up, was
disabled, enabled or forced down. Everything between two scans is missed. `updated_at` is a heartbeat: it is left out,
or every look at an idle cloud would find something new. A service of a cell that does not answer comes without a
state: nothing is told of it, and the server listings are a gap for that while. For the provider only.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from timeline_assets.normalize.claims import edge, existence, together
from timeline_assets.normalize.facts import changes, decode, facts, filled, lifecycle, related
from timeline_assets.sources.base import Fetched, Reader, Shape, Source, Span
from timeline_assets.sources.nova import SERVICE, now, was
from timeline_assets.sources.openstack import records

PATH = "/os-services"
MICROVERSION = "2.69"

RECORD = pl.Struct(
    {
        "id": pl.String,
        "binary": pl.String,
        "host": pl.String,
        "zone": pl.String,
        "status": pl.String,
        "state": pl.String,
        "forced_down": pl.Boolean,
        "disabled_reason": pl.String,
    }
)
SWITCHED = {"disabled": "disable", "enabled": "enable"}
#: The service without which the servers of its host cannot be managed; the others only happen to run on one.
OF_SERVERS = "nova-compute"
TRACKED = ("state", "status", "forced_down", "disabled_reason", "zone")


def fetch(reader: Reader, span: Span) -> Fetched:
    """All services of all cells."""
    reader.require_scope()
    rows = reader.rows(SERVICE, PATH, "services", {"limit": None}, microversion=MICROVERSION)
    found, malformed = records(_without_heartbeat(row) for row in rows)
    return Fetched(found, True, reader.read_to(span.now), reader.requests, malformed=malformed)


def normalize(observations: pl.LazyFrame) -> pl.LazyFrame:
    """``compute.service.down`` and ``.up`` where the state changed, ``.disable`` and ``.enable`` where it was switched,
    else ``.update``; ``.create`` and ``.delete``."""
    told = lifecycle(decode(observations, RECORD), changes=changes(RECORD, TRACKED)).filter(
        pl.when(pl.col("life") == "updated").then(_is_known(now("status")) & _is_known(was("status"))).otherwise(True)
    )
    turned = now("state").ne_missing(was("state"))
    switched = now("status").ne_missing(was("status"))
    verb = (
        pl.when(pl.col("life") == "created")
        .then(pl.lit("create"))
        .when(pl.col("life") == "deleted")
        .then(pl.lit("delete"))
        .when(turned & now("state").is_in(["up", "down"]))
        .then(now("state"))
        .when(switched & now("status").is_in(list(SWITCHED)))
        .then(now("status").replace_strict(SWITCHED, default=None))
        .otherwise(pl.lit("update"))
    )
    return facts(
        told,
        event_type=pl.lit("compute.service.") + verb,
        phase="state",
        outcome="unknown",
        resource_type="service",
        resource_id=pl.col("key"),
        resource_name=_name(),
        related=related(("host", now("host"), "host")),
        host=filled(now("host")),
        availability_zone=filled(now("zone")),
        message=filled(now("disabled_reason")),
    )


def evidence(observations: pl.LazyFrame) -> pl.LazyFrame:
    """A service exists and runs on its host; a compute service serves the servers there."""
    frame = decode(observations, RECORD)
    return together(
        existence(frame, "service", name=_name()),
        edge(frame, "service", "runs_on", "host", now("host")),
        edge(frame.filter(now("binary") == OF_SERVERS), "service", "serves", "host", now("host")),
    )


def _without_heartbeat(row: Any) -> Any:
    return {name: value for name, value in row.items() if name != "updated_at"} if isinstance(row, dict) else row


def _name() -> pl.Expr:
    return pl.concat_str(now("binary"), pl.lit("@"), now("host"))


def _is_known(status: pl.Expr) -> pl.Expr:
    """A service of a cell that does not answer is listed with the status UNKNOWN and without a state."""
    return (status != "UNKNOWN").fill_null(True)


SOURCE = Source(
    name="nova_services",
    service=SERVICE,
    shape=Shape.SNAPSHOT,
    resource_type="service",
    fetch=fetch,
    normalize=normalize,
    evidence=evidence,
    description=__doc__,
    tracked=tuple(sorted(TRACKED)),
    microversion=MICROVERSION,
)
