"""One fact, several roads: what each road said is merged into one event, in whatever order they arrived.

An event that came on one road is just that fact. From the second road on, what each said is kept
(`timeline.contributions`) and the event is computed from all of them: per column the first road, in a fixed order,
that says anything. The order is the fact's own source first, then the roads by name; for the columns of time the most
precise road comes first.
"""

from __future__ import annotations

import polars as pl

from timeline_assets.normalize.schema import FACT

ROAD = ("event_id", "road_source", "road_key")
TIMES = ("occurred_at", "occurred_from", "occurred_to", "time_precision")
PRECISION = {"exact": 0, "second": 1, "interval": 2}

#: A fact with its witnesses (JSON text) and the number of roads it came on.
WITNESSED = pl.Schema({**FACT, "witnesses": pl.String, "roads": pl.Int16})


def newest_per_road(facts: pl.DataFrame) -> pl.DataFrame:
    """Of each event and road the newest observation; `raw_ref` breaks ties, so the order of rows decides nothing."""
    return facts.sort("observed_at", "raw_ref", descending=True, nulls_last=True).unique(
        ROAD, keep="first", maintain_order=True
    )


def witness_alone(facts: pl.DataFrame) -> pl.DataFrame:
    """Events that came on one road: the fact, with itself as its only witness."""
    return facts.with_columns(witnesses=pl.concat_str(pl.lit("["), _witness(), pl.lit("]")), roads=pl.lit(1, pl.Int16))


def merge(contributions: pl.DataFrame) -> pl.DataFrame:
    """One row an event from what each of its roads said (FACT columns, newest per road); see the module's text."""
    ranked = contributions.with_columns(
        _own=pl.col("road_source") != pl.col("source"),
        _precision=pl.col("time_precision").replace_strict(PRECISION, default=3, return_dtype=pl.Int8),
    )
    order = ("event_id", "_own", "road_source", "road_key")
    said = [c for c in FACT.names() if c not in ("event_id", *TIMES)]
    first = (
        ranked.sort(order)
        .group_by("event_id", maintain_order=True)
        .agg(
            pl.col(said).drop_nulls().first(),
            witnesses=pl.concat_str(pl.lit("["), _witness().sort().str.join(","), pl.lit("]")),
            roads=pl.len().cast(pl.Int16),
        )
    )
    times = (
        ranked.sort("event_id", "_precision", *order[1:])
        .group_by("event_id", maintain_order=True)
        .agg(pl.col(TIMES).first())
    )
    return first.join(times, on="event_id").select(WITNESSED.names())


def _witness() -> pl.Expr:
    return pl.struct(
        source="road_source",
        key="road_key",
        observed_at=pl.col("observed_at").dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ"),
    ).struct.json_encode()
