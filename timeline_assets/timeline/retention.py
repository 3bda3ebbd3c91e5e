"""Retention of the timeline: whole months are dropped, and what hung on their events goes with them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

import psycopg

from timeline_assets.pipeline import Pipeline

#: Rows deleted in one transaction.
BATCH = 50_000


@dataclass(frozen=True)
class Dropped:
    """What was dropped: partitions by name, and rows of the tables beside them."""

    partitions: tuple[str, ...] = ()
    rows: int = 0


def drop_old_months(pipeline: Pipeline, now: datetime) -> Dropped:
    """Drop the months of events that ended longer ago than the timeline is kept; safe to repeat and to interrupt.

    What refers to a dropped event is deleted in batches, so that a year's worth never holds the tables for long.
    """
    horizon = now - timedelta(days=pipeline.settings.retention.timeline_days)
    with pipeline.connect() as connection:
        (partitions,) = connection.execute("select timeline.drop_partitions_before(%s)", (horizon,)).fetchone()
        # remembered, so that nothing makes these months anew: no late record, and no rebuild
        (before,) = connection.execute(
            """insert into timeline.retention as r (dropped_before) values (date_trunc('month', %s::timestamptz, 'UTC'))
            on conflict (is_only) do update set dropped_before = greatest(r.dropped_before, excluded.dropped_before)
            returning dropped_before""",
            (horizon,),
        ).fetchone()
    rows = 0
    while True:
        with pipeline.connect() as connection:
            deleted = _delete_some(connection, before)
        rows += deleted
        if not deleted:
            return Dropped(tuple(partitions), rows)


def _delete_some(connection: psycopg.Connection, before: datetime) -> int:
    connection.execute(
        """create temp table old_events on commit drop as
        select event_id from timeline.event_keys where occurred_at < %s limit %s""",
        (before, BATCH),
    )
    rows = connection.execute("delete from timeline.taken_back where occurred_at < %s", (before,)).rowcount
    for table in ("contributions", "quarantine", "awaits", "walked", "affected", "event_keys"):
        rows += connection.execute(
            f"delete from timeline.{table} t using old_events o where t.event_id = o.event_id"  # noqa: S608 - ours
        ).rowcount
    return rows
