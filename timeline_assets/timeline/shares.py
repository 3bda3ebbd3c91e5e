"""The tenants that have a row of an event beside its owner: those it affected, and the one to whom its target went."""

from __future__ import annotations

import json

import polars as pl
import psycopg

from timeline_assets.normalize.registry import REGISTRY, titled
from timeline_assets.ownership.fan_out import affected_id
from timeline_assets.ownership.topology import Topology
from timeline_assets.timeline.redact import OPERATOR, actor_label

#: One row of a tenant other than the owner. `event_id` is the event's, `row_id` the tenant's row's; `kind`,
#: `confidence` and `path` are of `affected` rows alone.
SHARES = pl.Schema(
    {
        "event_id": pl.String,
        "row_id": pl.String,
        **dict.fromkeys(("relation", "tenant_domain_id", "tenant_project_id", "kind", "title", "related"), pl.String),
        **dict.fromkeys(("actor_label", "actor_user_id", "request_id", "confidence", "path"), pl.String),
    }
)


def affected_shares(connection: psycopg.Connection, rows: pl.DataFrame, affected: pl.DataFrame) -> pl.DataFrame:
    """The rows (:data:`SHARES`) of those whom events (`row`, `event_id`, `actor_*`) affected, each under its own id."""
    if affected.is_empty():
        return pl.DataFrame(schema=SHARES)
    (secret,) = connection.execute("select secret from access.secrets where name = 'affected'").fetchone()
    # who did it is somebody of the owner's or the provider's, never of a tenant that is only affected
    label = (
        pl.when(pl.col("actor_kind").is_in(["service", "system"]))
        .then("actor_kind")
        .when(pl.col("actor_user_id").is_null() & pl.col("actor_project_id").is_null())
        .then(pl.lit("unknown"))
        .otherwise(pl.lit(OPERATOR))
    )
    shares = affected.join(rows.select("row", "event_id", actor_label=label), on="row")
    ids = [affected_id(secret, *pair) for pair in shares.select("event_id", "tenant_project_id").iter_rows()]
    return shares.with_columns(
        pl.Series("row_id", ids, pl.String), relation=pl.lit("affected"), actor_user_id=None, request_id=None
    ).match_to_schema(SHARES, extra_columns="ignore", missing_columns="raise")


def with_giver_titles(rows: pl.DataFrame) -> pl.DataFrame:
    """Rows with `tenant_title`: what the giver reads of an event by which its resource went to another."""
    return (
        rows.join(_handovers(), on="event_type", how="left", maintain_order="left")
        .with_columns(tenant_title=titled(pl.col("left")))
        .drop("taken_path", "left", "arrived")
    )


def taken_shares(rows: pl.DataFrame, topology: Topology) -> pl.DataFrame:
    """The rows (:data:`SHARES`) of the tenants to whom the targets of events went, redacted as for their owner."""
    given = rows.filter(owner_scope="project").join(_handovers(), on="event_type")
    if given.is_empty():
        return pl.DataFrame(schema=SHARES)
    takers = [_new(*change) for change in given.select("changes", "taken_path").iter_rows()]
    taken = (
        given.with_columns(pl.Series("project_id", takers, pl.String))
        .filter(
            pl.col("project_id").is_not_null()
            & (pl.col("project_id") != pl.col("owner_project_id"))
            & ~topology.is_service_project("project_id")
        )
        .drop("project_domain_id", "tenant_related")
    )
    taken = topology.with_domains(taken).with_columns(
        owner_project_id="project_id", owner_domain_id="project_domain_id"
    )
    is_shown = pl.col("actor_label") == "user"
    return (
        topology.with_tenant_related(taken)
        .with_columns(actor_label=actor_label())
        .select(
            "event_id",
            "actor_label",
            row_id="event_id",
            relation=pl.lit("owner"),
            tenant_domain_id="owner_domain_id",
            tenant_project_id="owner_project_id",
            kind=pl.lit(None, pl.String),
            title=titled(pl.col("arrived")),
            related="tenant_related",
            actor_user_id=pl.when(is_shown).then("actor_user_id"),
            request_id=pl.when(is_shown).then("request_id"),
            confidence=pl.lit(None, pl.String),
            path=pl.lit(None, pl.String),
        )
        .select(SHARES.names())
    )


def _handovers() -> pl.DataFrame:
    found = [(t.name, t.handover.path, t.handover.left, t.handover.arrived) for t in REGISTRY.values() if t.handover]
    return pl.DataFrame(
        found, schema=dict.fromkeys(("event_type", "taken_path", "left", "arrived"), pl.String), orient="row"
    )


def _new(changes: str, path: str) -> str | None:
    return next((change["new"] or None for change in json.loads(changes) if change["path"] == path), None)
