"""Whom an event concerns beside its owner: each tenant whose own resources hung on its target when it happened.

Which edges to follow is the registry's to say (`Affects`). An edge counts if it is known to have been there throughout
the event's bounds, or was only ended by the end of its resource: what is known since the first observation is never
taken for the past. Service projects are nobody who could be concerned, and an owner has the event itself.
"""

from __future__ import annotations

import hashlib
import hmac
import uuid
from dataclasses import dataclass

import polars as pl

from timeline_assets.normalize.registry import REGISTRY, Step
from timeline_assets.normalize.schema import INSTANT
from timeline_assets.ownership.topology import QUESTION, Topology

#: One tenant that one event concerned. `related` names its own resources, `path` the edges that led to them (JSON
#: text); `kind` and `title` are the registry's words for what happened.
AFFECTED = pl.Schema(
    {
        "row": pl.UInt32,
        "tenant_project_id": pl.String,
        "tenant_domain_id": pl.String,
        "kind": pl.String,
        "title": pl.String,
        "related": pl.String,
        "confidence": pl.String,
        "path": pl.String,
    }
)

#: What was passed on the ways from an event, and what would show more of them if it were known.
WALKED = pl.Schema(
    {
        "cloud": pl.String,
        "resource_id": pl.String,
        "event_id": pl.String,
        "occurred_from": INSTANT,
        "occurred_to": INSTANT,
    }
)

#: Where a way has led: a resource during an event's bounds, the edges passed (JSON texts), and whether all of them are
#: proven throughout.
_PLACE = pl.Schema(
    {
        "row": pl.UInt32,
        "resource_type": pl.String,
        "resource_id": pl.String,
        "occurred_from": INSTANT,
        "occurred_to": INSTANT,
        "path": pl.List(pl.String),
        "is_proven": pl.Boolean,
    }
)


@dataclass(frozen=True)
class FannedOut:
    """The answer of :func:`fan_out`: whom the events concerned, and what late evidence would have to be about."""

    affected: pl.DataFrame
    walked: pl.DataFrame


def fan_out(events: pl.DataFrame, topology: Topology) -> FannedOut:
    """Follows the registry's ways from each event whose owner is decided.

    `events` has `row`, `cloud`, `event_id`, `event_type`, `QUESTION`, `owner_scope`, `owner_project_id`.
    """
    kinds = {name: REGISTRY[name].affects for name in events["event_type"].unique() if name in REGISTRY}
    kinds = {name: affects for name, affects in kinds.items() if affects}
    is_for_services = [name for name, affects in kinds.items() if affects.is_for_services]
    concerned = events.filter(
        pl.col("event_type").is_in(list(kinds))
        & (pl.col("owner_scope") != "quarantine")
        & (~pl.col("event_type").is_in(is_for_services) | (pl.col("owner_scope") == "provider"))
    )
    if concerned.is_empty():
        return FannedOut(pl.DataFrame(schema=AFFECTED), pl.DataFrame(schema=WALKED))
    passed, reached = [], []
    for ways in {affects.ways for affects in kinds.values()}:
        group = concerned.filter(pl.col("event_type").is_in([name for name in kinds if kinds[name].ways == ways]))
        for way in ways:
            places = group.select("row", *QUESTION, path=pl.lit([], pl.List(pl.String)), is_proven=True)
            for step in way:
                passed.append(places.select("row", "resource_id"))
                places = _follow(places, step, topology)
                reached.append(places)
    everything = pl.concat(reached).sort("path").unique(["row", "resource_type", "resource_id"], keep="first")
    owned, unsettled = topology.owners_of(everything, "row", "resource_type", "resource_id", "path", "is_proven")
    tenants = _by_tenant(owned, concerned, topology)
    told = pl.DataFrame(
        [(name, affects.kind, affects.title) for name, affects in kinds.items()],
        schema={"event_type": pl.String, "kind": pl.String, "title": pl.String},
        orient="row",
    )
    affected = tenants.join(told, on="event_type", how="left").select(AFFECTED.names()).cast(dict(AFFECTED))
    homeless = affected.filter(pl.col("tenant_domain_id").is_null())
    asked = [
        *passed,
        unsettled.select("row", "resource_id"),
        homeless.select("row", resource_id="tenant_project_id"),
    ]
    events_of = concerned.select("row", "cloud", "event_id", "occurred_from", "occurred_to")
    walked = pl.concat(asked).unique().join(events_of, on="row").select(WALKED.names())
    return FannedOut(affected.sort("row", "tenant_project_id"), walked)


def affected_id(secret: bytes, event_id: str, project_id: str) -> str:
    """The id of an affected row: nobody without the secret can tell which event it is, or whom else that concerned."""
    digest = hmac.new(secret, f"{event_id}/{project_id}".encode(), hashlib.sha256).digest()
    return str(uuid.UUID(bytes=digest[:16], version=4))


def _by_tenant(owned: pl.DataFrame, events: pl.DataFrame, topology: Topology) -> pl.DataFrame:
    """One row an event and tenant, without the event's owner and without services."""
    item = pl.struct(type="resource_type", id="resource_id", role=pl.lit("affected")).struct.json_encode()
    others = (
        owned.join(events.select("row", "event_type", "occurred_from", own="owner_project_id"), on="row")
        .filter(pl.col("owner_project_id").ne_missing(pl.col("own")) & ~topology.is_service_project("owner_project_id"))
        .sort("resource_type", "resource_id")
        .group_by("row", "event_type", project_id="owner_project_id", maintain_order=True)
        .agg(
            related=pl.concat_str(pl.lit("["), item.str.join(","), pl.lit("]")),
            is_proven=(pl.col("is_proven") & pl.col("is_exact")).all(),
            path=pl.col("path").explode().unique(maintain_order=True).str.join(","),
        )
    )
    return topology.with_domains(others).select(
        "row",
        "event_type",
        "related",
        tenant_project_id="project_id",
        tenant_domain_id="project_domain_id",
        confidence=pl.when("is_proven").then(pl.lit("high")).otherwise(pl.lit("medium")),
        path=pl.concat_str(pl.lit("["), "path", pl.lit("]")),
    )


def _follow(places: pl.DataFrame, step: Step, topology: Topology) -> pl.DataFrame:
    """Where the edges of one relation lead from places; what was passed is added to `path`."""
    if places.is_empty():
        return places
    numbered = places.with_columns(_key=pl.int_range(pl.len(), dtype=pl.UInt32))
    edges = topology.edges(numbered, "_key", (step.relation,), backward=step.is_back)
    end = "from" if step.is_back else "to"
    edge = pl.struct(
        type=f"{end}_type", id=f"{end}_id", relation="relation", valid_from="valid_from", valid_to="valid_to"
    ).struct.json_encode()
    return (
        numbered.join(edges, left_on="_key", right_on="row", suffix="_edge")
        .select(
            "row",
            "occurred_from",
            "occurred_to",
            resource_type=f"{end}_type",
            resource_id=f"{end}_id",
            path=pl.col("path").list.concat(pl.concat_list(edge)),
            is_proven=pl.col("is_proven") & pl.col("is_exact"),
        )
        .select(_PLACE.names())
    )
