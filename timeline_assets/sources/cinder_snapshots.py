"""Snapshots of volumes: one row is one snapshot as it stood.

From ``GET /snapshots/detail?all_tenants=1`` of the block storage service, whole every few seconds (beyond 2000
snapshots: whole every minute, and in between what was updated), compared scan by scan. Missing: what came and went
between two scans, and who did it.

A snapshot goes with its volume when that is handed over, unless the giver keeps the snapshots back. That is part of
the volume's own event and none of the snapshot's; here it is evidence only, and well dated: the acceptance moves a
snapshot's `updated_at`, though not its volume's. Only an available snapshot goes along: one that was seen while it was
being made, or failed at it, has been its owner's since its creation.
"""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from timeline_assets.normalize.claims import GONE, SEEN, edge_since, existence, owner, owner_since, together
from timeline_assets.normalize.facts import changes, decode, facts, filled, instant, related
from timeline_assets.sources import cinder
from timeline_assets.sources.base import Fetched, Reader, Shape, Source, Span
from timeline_assets.sources.cinder import at_scan, change_of_status, compared, is_first, now, was

OWNER = "os-extended-snapshot-attributes:project_id"
PROGRESS = "os-extended-snapshot-attributes:progress"

RECORD = pl.Struct(
    {
        "id": pl.String,
        "name": pl.String,
        "description": pl.String,
        "status": pl.String,
        "size": pl.Int64,
        "volume_id": pl.String,
        "created_at": pl.String,
        "updated_at": pl.String,
        OWNER: pl.String,
        PROGRESS: pl.String,
    }
)

#: Being made.
PENDING = ("creating",)
TRACKED = ("name", "description")


def fetch(reader: Reader, span: Span) -> Fetched:
    """All snapshots of all projects, or those updated in the span."""
    return cinder.fetch(reader, span, "/snapshots/detail", "snapshots", owner=OWNER)


def normalize(observations: pl.LazyFrame) -> pl.LazyFrame:
    """Creation (a span), deletion, changes and failures of snapshots."""
    frame = decode(observations, RECORD)
    settled = frame.filter(SEEN & ~is_first() & ~was("status").is_in(list(PENDING)))
    updated = settled.with_columns(changes=changes(RECORD, TRACKED, verbatim=("metadata",)))
    return pl.concat(
        [
            _facts(
                cinder.creations(frame, PENDING),
                event_type=pl.concat_str(pl.lit("snapshot.create."), pl.col("phase")),
                source_version="create",
                payload_project_id=filled(cinder.owner_from_creation(OWNER, _was_never_available)),
            ),
            _facts(
                compared(frame.filter(GONE)),
                event_type="snapshot.delete.end",
                source_version="deleted",
                phase="end",
            ),
            _facts(
                compared(updated.filter(pl.col("changes") != "[]")),
                event_type="snapshot.update.end",
                source_version=at_scan("update"),
                phase="end",
            ),
            _facts(
                cinder.failures(frame, PENDING, RECORD),
                event_type=now("status").replace_strict(
                    {"error_deleting": "snapshot.delete.error"}, default="snapshot.error"
                ),
                source_version=change_of_status(),
                phase="error",
                outcome="failure",
            ),
        ]
    )


def _was_never_available(field: cinder.Field) -> pl.Expr:
    """Whether a version is from before the snapshot could be handed over: being made, or failed while it was."""
    has_failed_at_once = (field("status") == "error") & (field(PROGRESS) == "0%")
    return field("status").is_in(list(PENDING)) | has_failed_at_once


def _facts(frame: pl.LazyFrame, **columns: pl.Expr | str) -> pl.LazyFrame:
    return facts(
        frame,
        resource_type="snapshot",
        resource_id=pl.col("key"),
        resource_name=filled(now("name")),
        related=related(("volume", now("volume_id"), "container")),
        **columns,
    )


def evidence(observations: pl.LazyFrame) -> pl.LazyFrame:
    """Existence, the owner as far as it is proven, and the volume it is of."""
    frame = decode(observations, RECORD)
    created, updated = instant(now("created_at")), instant(now("updated_at"))
    pending = frame.filter(_was_never_available(now))
    has_moved = updated.is_between(pl.col("seen_from"), pl.col("observed_at"), closed="right")
    # Another change in the meantime would have moved it, too.
    is_alone = (changes(RECORD, (*TRACKED, "status"), verbatim=("metadata",)) == "[]") & has_moved
    handed_over = frame.filter(SEEN & (was(OWNER) != now(OWNER)) & is_alone)
    return together(
        existence(frame, "snapshot", created_at="created_at"),
        owner(frame, "snapshot", project_id=now(OWNER)),
        owner_since(pending, "snapshot", at=created, project_id=now(OWNER)),
        owner_since(handed_over, "snapshot", at=updated, project_id=now(OWNER)),
        edge_since(frame, "snapshot", "of_volume", "volume", now("volume_id"), at=created),
    )


SOURCE = Source(
    name="cinder_snapshots",
    service=cinder.SERVICE,
    shape=Shape.SNAPSHOT,
    resource_type="snapshot",
    fetch=fetch,
    normalize=normalize,
    evidence=evidence,
    description=__doc__,
    interval=timedelta(seconds=5),
    tracked=tuple(sorted((*TRACKED, "metadata", "status", OWNER))),
    microversion=cinder.MICROVERSION,
)
