"""Backups of volumes, and their restores: one row is one backup as it stood.

From ``GET /backups/detail?all_tenants=1`` of the block storage service, whole every few seconds (beyond 2000 backups:
whole every minute, and in between what was updated), compared scan by scan. Missing: what came and went between two
scans, who did it, and to which volume a backup was restored (a volume restored elsewhere names the backup in its
metadata, ``src_backup_id``).

A restore is the time a backup spends in ``restoring``: a span whose identity is the `updated_at` it entered that status
with, because nothing else stays the same from its first sight to its end. A restore between two scans leaves no trace
here. Cinder sets a backup back to ``available`` whether its restore succeeded or not, so its outcome is unknown; where
it failed, the volume shows it (``volume.restore.error``).

A backup never changes hands: it stays with the project that made it, even if its volume is handed over.
"""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from timeline_assets.normalize.claims import GONE, SEEN, edge_since, existence, owner_since, together
from timeline_assets.normalize.facts import changes, decode, facts, filled, instant, related
from timeline_assets.sources import cinder
from timeline_assets.sources.base import Fetched, Reader, Shape, Source, Span
from timeline_assets.sources.cinder import at_scan, change_of_status, compared, dated, is_first, now, was

OWNER = "os-backup-project-attr:project_id"

RECORD = pl.Struct(
    {
        "id": pl.String,
        "name": pl.String,
        "description": pl.String,
        "status": pl.String,
        "size": pl.Int64,
        "volume_id": pl.String,
        "snapshot_id": pl.String,
        "fail_reason": pl.String,
        "created_at": pl.String,
        "updated_at": pl.String,
        OWNER: pl.String,
    }
)

PENDING = ("creating",)
RESTORING = "restoring"
TRACKED = ("name", "description")


def fetch(reader: Reader, span: Span) -> Fetched:
    """All backups of all projects, or those updated in the span."""
    return cinder.fetch(reader, span, "/backups/detail", "backups", owner=OWNER)


def normalize(observations: pl.LazyFrame) -> pl.LazyFrame:
    """Creation and restores (spans), deletion, changes and failures of backups."""
    frame = decode(observations, RECORD)
    settled = frame.filter(SEEN & ~is_first() & ~was("status").is_in(list(PENDING)))
    updated = settled.with_columns(changes=changes(RECORD, TRACKED, verbatim=("metadata",)))
    failures = cinder.failures(frame, PENDING, RECORD).filter(was("status") != RESTORING)
    return pl.concat(
        [
            _facts(
                cinder.creations(frame, PENDING),
                event_type=pl.concat_str(pl.lit("backup.create."), pl.col("phase")),
                source_version="create",
                message=pl.when(pl.col("phase") == "error").then(filled(now("fail_reason"))),
            ),
            _restores(frame),
            _facts(
                compared(frame.filter(GONE)),
                event_type="backup.delete.end",
                source_version="deleted",
                phase="end",
            ),
            _facts(
                compared(updated.filter(pl.col("changes") != "[]")),
                event_type="backup.update.end",
                source_version=at_scan("update"),
                phase="end",
            ),
            _facts(
                failures,
                event_type=now("status").replace_strict(
                    {"error_deleting": "backup.delete.error"}, default="backup.error"
                ),
                source_version=change_of_status(),
                phase="error",
                outcome="failure",
                message=filled(now("fail_reason")),
            ),
        ]
    )


def _restores(frame: pl.LazyFrame) -> pl.LazyFrame:
    is_running = SEEN & (now("status") == RESTORING)
    has_run = SEEN & (was("status") == RESTORING).fill_null(False) & (now("status") != RESTORING)
    has_failed = now("status").str.starts_with("error")
    told = compared(frame.filter(is_running | has_run)).with_columns(
        phase=pl.when(is_running).then(pl.lit("start")).when(has_failed).then(pl.lit("error")).otherwise(pl.lit("end")),
        ended_at=pl.when(~is_running).then("occurred_at"),
        _began=pl.when(is_running).then(now("updated_at")).otherwise(was("updated_at")),
    )
    return _facts(
        dated(told, instant(pl.col("_began"))),
        event_type=pl.concat_str(pl.lit("backup.restore."), pl.col("phase")),
        source_version=pl.concat_str(pl.lit("restore:"), pl.col("_began")),
        outcome=pl.col("phase").replace_strict({"start": "pending", "end": "unknown", "error": "failure"}),
    )


def _facts(frame: pl.LazyFrame, **columns: pl.Expr | str) -> pl.LazyFrame:
    return facts(
        frame,
        resource_type="backup",
        resource_id=pl.col("key"),
        resource_name=filled(now("name")),
        payload_project_id=filled(now(OWNER)),
        related=related(("volume", now("volume_id"), "container"), ("snapshot", now("snapshot_id"), "related")),
        **columns,
    )


def evidence(observations: pl.LazyFrame) -> pl.LazyFrame:
    """A backup exists and is its maker's since it was begun, and is of its volume."""
    frame = decode(observations, RECORD)
    created = instant(now("created_at"))
    return together(
        existence(frame, "backup", created_at="created_at"),
        owner_since(frame, "backup", at=created, project_id=now(OWNER)),
        edge_since(frame, "backup", "of_volume", "volume", now("volume_id"), at=created),
    )


SOURCE = Source(
    name="cinder_backups",
    service=cinder.SERVICE,
    shape=Shape.SNAPSHOT,
    resource_type="backup",
    fetch=fetch,
    normalize=normalize,
    evidence=evidence,
    description=__doc__,
    interval=timedelta(seconds=5),
    tracked=tuple(sorted((*TRACKED, "metadata", "status"))),
    microversion=cinder.MICROVERSION,
)
