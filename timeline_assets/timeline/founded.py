"""Facts and events, held against each other: what raw records still give, and what they no longer give.

A record that retention has thinned gives nothing any more, and what it gave stays: nothing is taken back, and nothing
is missed, because its evidence is past its time.
"""

from __future__ import annotations

import polars as pl
import psycopg
from psycopg import sql

from timeline_assets.pipeline import Pipeline
from timeline_assets.raw.seal import still_stored
from timeline_assets.store.copy import copy_frame, read_frame
from timeline_assets.timeline.write import lock, retract

#: What retention has dropped: an event from before is not made again.
KEPT = "occurred_at >= coalesce((select dropped_before from timeline.retention), '-infinity')"


def lost(connection: psycopg.Connection, pipeline: Pipeline, cloud: str) -> pl.Series:
    """Ids of events that facts give and that are not there."""
    _collect(connection, pipeline, cloud)
    return read_frame(
        connection,
        f"""select event_id from founded f where {KEPT}
            and not exists (select from timeline.event_keys k where k.event_id = f.event_id) order by 1""",  # noqa: S608
    )["event_id"]


def unfounded(connection: psycopg.Connection, pipeline: Pipeline, cloud: str) -> pl.Series:
    """Ids of events that no fact gives, though their record is still stored: a normalizer no longer says so."""
    _collect(connection, pipeline, cloud)
    silent = read_frame(
        connection,
        """select e.event_id, e.raw_ref from timeline.event_keys k
        join timeline.events e on e.event_id = k.event_id and e.occurred_at = k.occurred_at
        where k.cloud = %(cloud)s and not exists (select from founded f where f.event_id = k.event_id) order by 1""",
        {"cloud": cloud},
    )
    return silent.filter(pl.col("raw_ref").is_in(still_stored(pipeline, silent["raw_ref"]).implode()))["event_id"]


def retract_unfounded(pipeline: Pipeline, cloud: str) -> int:
    """Takes back the events that no fact of raw gives any more; the last step of a rebuild. Returns how many."""
    with pipeline.connect() as connection:
        lock(connection, cloud)
        gone = unfounded(connection, pipeline, cloud)
        connection.execute("create temp table unfounded (event_id uuid primary key) on commit drop")
        copy_frame(connection, gone.to_frame(), "unfounded")
        connection.execute("analyze unfounded")
        return retract(connection, sql.SQL("exists (select from unfounded u where u.event_id = k.event_id)"))


def _collect(connection: psycopg.Connection, pipeline: Pipeline, cloud: str) -> None:
    """Puts what facts give into `founded`, once a transaction; attempts a group at a time, which bounds memory."""
    if connection.execute("select to_regclass('pg_temp.founded')").fetchone()[0]:
        return
    connection.execute(
        """create temp table founded (event_id uuid primary key, occurred_at timestamptz not null) on commit drop;
        create temp table given (like founded) on commit drop"""
    )
    attempts = read_frame(
        connection,
        """select facts_path, rows from raw.attempts
        where cloud = %(cloud)s and replaced_by is null and facts_path is not null order by attempt_id""",
        {"cloud": cloud},
    )
    size = pipeline.settings.harvest.chunk_rows
    groups = attempts.with_columns(_group=(pl.col("rows").cum_sum() - pl.col("rows")) // size)
    for group in groups.partition_by("_group", maintain_order=True):
        facts = pipeline.raw.scan_facts(group["facts_path"].to_list())
        given = facts.group_by("event_id").agg(pl.col("occurred_at").max()).collect()
        connection.execute("truncate given")
        copy_frame(connection, given, "given")
        connection.execute(
            """insert into founded as f select * from given
            on conflict (event_id) do update set occurred_at = greatest(f.occurred_at, excluded.occurred_at)"""
        )
    connection.execute("analyze founded")
