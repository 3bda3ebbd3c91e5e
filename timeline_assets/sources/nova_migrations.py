"""Migrations: one row is one move of one server from a host to another, or to itself with another flavor.

From ``GET /os-migrations?changes-since`` of the compute service, every few seconds. A new row has no `updated_at` and
the filter cannot see it before its first update, so the newest rows are read unfiltered too, back to those already
known. Missing: the migrations of a deleted server, which vanish with it.

A migration is the move; what was asked for is an action (`nova_instance_actions`). It ends when the server has reached
its new host (``completed``, ``done``, ``finished``) or did not (``error``, ``failed``, ``cancelled``). What follows,
``confirmed`` or ``reverted`` for a resize, ``completed`` for an evacuation whose source came back, changes the same
row: the end stays as dated when it was seen, and is the last change's time where it was not.

Owner: the server's. `user_id` and `project_id` are who asked for it. Hosts are for the provider only.
"""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from timeline_assets.normalize.claims import claims, edge_since, together
from timeline_assets.normalize.facts import SECOND, decode, facts, filled, instant, related
from timeline_assets.normalize.registry.compute import MIGRATIONS
from timeline_assets.sources.base import Fetched, Reader, Shape, Source, Span
from timeline_assets.sources.nova import SERVICE, changed_in, now, parsed, timestamp, was
from timeline_assets.sources.openstack import records

PATH = "/os-migrations"
MICROVERSION = "2.80"
#: Rows of several cells come in order of creation, those of one second in any.
LATE = timedelta(minutes=1)

RECORD = pl.Struct(
    {
        "uuid": pl.String,
        "instance_uuid": pl.String,
        "migration_type": pl.String,
        "status": pl.String,
        "source_compute": pl.String,
        "dest_compute": pl.String,
        "user_id": pl.String,
        "project_id": pl.String,
        "created_at": pl.String,
        "updated_at": pl.String,
    }
)

#: The server is where it should be; so it is after `SETTLED`, but since when is only known if one of these was seen.
ARRIVED = ("completed", "done", "finished")
SETTLED = ("confirming", "confirmed", "reverting", "reverted")
FAILED = ("error", "failed", "cancelled")
#: Nothing follows.
OVER = ("completed", "confirmed", "reverted", *FAILED)


def fetch(reader: Reader, span: Span) -> Fetched:
    """Migrations changed in the span and, of an open one, those newer than the newest known."""
    reader.require_scope()
    memory = dict(reader.cursor())
    rows = list(reader.rows(SERVICE, PATH, "migrations", changed_in(span), microversion=MICROVERSION))
    if span.is_open:
        known = parsed(memory.get("newest_created_at"))
        newest = []
        for row in reader.rows(SERVICE, PATH, "migrations", microversion=MICROVERSION):
            created = parsed(row.get("created_at")) if isinstance(row, dict) else None
            if known and created and created < known - LATE:
                break
            newest.append(row)
        times = [at for row in newest if isinstance(row, dict) and (at := parsed(row.get("created_at")))]
        if times:
            memory["newest_created_at"] = timestamp(max(times))
        rows = newest + rows
    found, malformed = records(
        rows,
        key=lambda row: row.get("uuid"),
        cursor_at=lambda row: row.get("updated_at") or row.get("created_at"),
    )
    return Fetched(
        records=found,
        is_complete=False,
        read_to=reader.read_to(span.now),
        requests=reader.requests,
        cursor=memory,
        malformed=malformed,
    )


def normalize(observations: pl.LazyFrame) -> pl.LazyFrame:
    """One span a migration, ``compute.migration.<kind>``."""
    frame = _judged(decode(observations, RECORD, required=("uuid", "instance_uuid", "created_at")))
    created = instant(now("created_at"))
    phase = pl.col("phase")
    kind = now("migration_type").replace_strict(
        MIGRATIONS, default=pl.lit("compute.migration.") + now("migration_type")
    )
    has_moved = (phase == "end") & (now("status") != "reverted")
    moved = pl.concat_str(
        pl.lit('[{"path":"OS-EXT-SRV-ATTR:host","old":"'),
        now("source_compute"),
        pl.lit('","new":"'),
        now("dest_compute"),
        pl.lit('"}]'),
    )
    return facts(
        frame,
        source_version="span",
        event_type=pl.concat_str(kind, pl.lit("."), phase),
        source_severity=now("status"),
        outcome=phase.replace_strict({"start": "pending", "end": "success", "error": "failure"}),
        occurred_at=created,
        occurred_from=created,
        occurred_to=created + SECOND,
        time_precision="second",
        resource_type="server",
        resource_id=now("instance_uuid"),
        related=related(("host", now("source_compute"), "host"), ("host", now("dest_compute"), "host")),
        changes=pl.when(has_moved & (now("source_compute") != now("dest_compute"))).then(moved),
        actor_user_id=filled(now("user_id")),
        actor_project_id=filled(now("project_id")),
        host=filled(pl.coalesce("dest_compute_if_moved", now("source_compute"))),
    )


def evidence(observations: pl.LazyFrame) -> pl.LazyFrame:
    """Where a server ran: on its source until the move, on its destination since; after a revert on its source again.

    Where the move itself was not seen, it lies between the row's creation and its last change, and neither host is
    claimed for that while.
    """
    frame = _judged(decode(observations, RECORD, required=("uuid", "instance_uuid")))
    frame = frame.with_columns(key=now("instance_uuid")).filter(now("source_compute") != now("dest_compute"))
    moved = frame.filter(pl.col("phase") == "end")
    left = pl.coalesce("arrived_at", instant(now("created_at")))
    reached = pl.coalesce("arrived_at", pl.when(now("status") != "reverted").then(instant(now("updated_at"))))
    back = frame.filter(now("status") == "reverted")
    returned = instant(now("updated_at"))
    return together(
        _edge_until(moved, now("source_compute"), left),
        edge_since(moved, "server", "runs_on", "host", now("dest_compute"), at=reached),
        _edge_until(back, now("dest_compute"), returned),
        edge_since(back, "server", "runs_on", "host", now("source_compute"), at=returned),
    )


def _judged(frame: pl.LazyFrame) -> pl.LazyFrame:
    """Adds `phase`, `ended_at` and, where it is dated, `arrived_at`."""
    status = now("status")
    is_over = status.is_in([*ARRIVED, *SETTLED])
    had_arrived = was("status").is_in(list(ARRIVED)).fill_null(False)
    # An evacuation is done; it is `completed` when its source host has come back and forgotten the server.
    is_dated = status.is_in(list(ARRIVED)) & ~((now("migration_type") == "evacuation") & (status == "completed"))
    arrived = pl.when(had_arrived & is_over).then(was("updated_at")).when(is_dated).then(now("updated_at"))
    phase = (
        pl.when(is_over)
        .then(pl.lit("end"))
        .when(status.is_in(list(FAILED)))
        .then(pl.lit("error"))
        .otherwise(pl.lit("start"))
    )
    return frame.with_columns(phase=phase, arrived_at=instant(arrived)).with_columns(
        ended_at=pl.when(pl.col("phase") != "start").then(pl.coalesce("arrived_at", instant(now("updated_at")))),
        dest_compute_if_moved=pl.when((pl.col("phase") == "end") & (status != "reverted")).then(now("dest_compute")),
    )


def _edge_until(frame: pl.LazyFrame, host: pl.Expr, at: pl.Expr) -> pl.LazyFrame:
    ended = frame.with_columns(_until=at).filter(pl.col("_until").is_not_null() & filled(host).is_not_null())
    return claims(
        ended,
        "server",
        "edge_until",
        at=pl.col("_until"),
        relation="runs_on",
        to_type="host",
        to_ids=pl.concat_list(host),
    )


SOURCE = Source(
    name="nova_migrations",
    service=SERVICE,
    shape=Shape.MUTABLE,
    resource_type="server",
    fetch=fetch,
    normalize=normalize,
    evidence=evidence,
    description=__doc__,
    retention=timedelta(days=30),
    tracked=("status",),
    microversion=MICROVERSION,
    is_over=lambda body: body.str.json_path_match("$.status").is_in(OVER),
)
