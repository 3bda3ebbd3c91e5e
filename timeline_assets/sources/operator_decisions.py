"""What a person decided about an event: one row is one decision, landed by ``timeline quarantine`` before it acts.

Nobody is asked for it: it comes from here, and lies in the raw store so that a rebuild has it, with who decided, when
and why. A decision is itself an event, about the event that it decides: the newest one counts (`ownership.decisions`).
"""

from __future__ import annotations

import polars as pl

from timeline_assets.errors import SourceError
from timeline_assets.normalize.facts import decode, facts, instant
from timeline_assets.normalize.registry.decisions import RELEASED, TAKEN_BACK
from timeline_assets.normalize.schema import EVIDENCE
from timeline_assets.sources.base import Fetched, Reader, Shape, Source, Span

RECORD = pl.Struct(
    {
        "event_id": pl.String,
        "project_id": pl.String,
        "why": pl.String,
        "decided_by": pl.String,
        "decided_at": pl.String,
    }
)


def fetch(reader: Reader, span: Span) -> Fetched:
    """Raises :class:`SourceError`: there is nobody to ask."""
    raise SourceError("decisions are landed, not fetched", code="not_fetched", remedy="timeline quarantine --help")


def normalize(observations: pl.LazyFrame) -> pl.LazyFrame:
    """``timeline.event.release`` to a project, or ``.take_back`` where the decision names none; by whom and why."""
    required = ("event_id", "why", "decided_by", "decided_at")
    now = pl.col("now").struct
    frame = decode(observations, RECORD, required=required).with_columns(_at=instant(now.field("decided_at")))
    return facts(
        frame,
        source_key=now.field("event_id"),
        source_version=now.field("decided_at"),
        road_key=now.field("event_id"),
        event_type=pl.when(now.field("project_id").is_null()).then(pl.lit(TAKEN_BACK)).otherwise(pl.lit(RELEASED)),
        occurred_at=pl.col("_at"),
        occurred_from=pl.col("_at"),
        occurred_to=pl.col("_at"),
        time_precision="exact",
        resource_type="event",
        resource_id=now.field("event_id"),
        resource_name=now.field("event_id"),
        target_project_id=now.field("project_id"),
        actor_user_id=now.field("decided_by"),
        actor_kind="human",
        message=now.field("why"),
    )


def evidence(observations: pl.LazyFrame) -> pl.LazyFrame:
    """Nothing: a decision proves nothing about a resource."""
    return pl.LazyFrame(schema=EVIDENCE)


SOURCE = Source(
    name="operator_decisions",
    service="timeline",
    shape=Shape.STREAM,
    resource_type="event",
    fetch=fetch,
    normalize=normalize,
    evidence=evidence,
    description=__doc__,
)
