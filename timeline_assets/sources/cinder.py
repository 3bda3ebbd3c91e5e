"""What the sources of Cinder share: whole lists compared scan by scan, and how a status tells what happened.

Cinder keeps no history. A volume's acceptance by another project does not even move its `updated_at`, and what is
deleted is no longer listed: only whole lists show both. So a short list is read whole at every poll; of a longer one
what was updated, and the whole every `SWEEP`.

Whose a volume or snapshot was is only known when it was seen, and while it was in a status in which it cannot change
hands. What is told without such proof waits for the ownership stage's intervals.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from timeline_assets.normalize.claims import GONE, SEEN
from timeline_assets.normalize.facts import SECOND, changes, instant
from timeline_assets.sources.base import Fetched, Reader, Span
from timeline_assets.sources.openstack import failure

SERVICE = "block-storage"

#: A field of the record as it is now, or as it was: `now` or `was`.
Field = Callable[[str], pl.Expr]

MICROVERSION = "3.60"

#: Up to so many records the whole list is read every time.
SHORT_LIST = 2000
#: How often a long list is read whole: transfers show at once, deletions at the second time.
SWEEP = timedelta(minutes=1)


def fetch(
    reader: Reader, span: Span, path: str, collection: str, *, owner: str, is_always_whole: bool = False
) -> Fetched:
    """The list at `path`, whole or, of a long one, what was updated since the span's start.

    `owner` is a field that an administrator is shown of every record: without it Cinder has narrowed its answer to the
    caller's own project, and ``scope_too_small`` is raised.
    """
    reader.require_scope()
    memory = dict(reader.cursor())
    is_whole = is_always_whole or _is_whole_due(memory, span)
    since = span.start.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
    asked = {"all_tenants": 1, "updated_at": None if is_whole else f"gte:{since}"}

    def with_owner(row: Any) -> Any:
        if isinstance(row, dict) and row.get("id") and owner not in row:
            raise failure(
                "scope_too_small",
                f"{reader.cloud}: Cinder does not tell the harvesting user whose its {collection} are",
            )
        return row

    rows = reader.rows(SERVICE, path, collection, asked, microversion=MICROVERSION)
    found, malformed = reader.keep(with_owner(row) for row in rows)
    if is_whole:
        memory |= {"rows": len(found), "swept_at": span.now.isoformat()}
    return Fetched(found, is_whole, reader.read_to(span.now), reader.requests, cursor=memory, malformed=malformed)


def _is_whole_due(memory: Mapping[str, Any], span: Span) -> bool:
    if not span.is_open or memory.get("rows", 0) <= SHORT_LIST:
        return True
    return span.now - datetime.fromisoformat(memory["swept_at"]) >= SWEEP


# ------------------------------------------------------------------------------------------------------ what happened


def compared(frame: pl.LazyFrame) -> pl.LazyFrame:
    """What happened between two scans: at `updated_at` if that has moved to a time between them, else in the middle.

    A record that is gone cannot have gone before its own last change.
    """
    scanned = pl.min_horizontal("seen_from", "observed_at")
    updated = instant(now("updated_at"))
    lower = pl.when(GONE).then(pl.min_horizontal(pl.max_horizontal(scanned, updated), "observed_at")).otherwise(scanned)
    has_moved = updated.ne_missing(instant(was("updated_at"))) & updated.is_between(lower, pl.col("observed_at"))
    return frame.with_columns(
        occurred_at=pl.when(SEEN & has_moved).then(updated).otherwise(lower + (pl.col("observed_at") - lower) / 2),
        occurred_from=lower,
        occurred_to="observed_at",
        time_precision=pl.lit("interval"),
    )


def dated(frame: pl.LazyFrame, at: pl.Expr) -> pl.LazyFrame:
    """What happened at a time of the record's own, to the second; without one it is not told."""
    told = frame.with_columns(occurred_at=at).filter(pl.col("occurred_at").is_not_null())
    return told.with_columns(
        occurred_from="occurred_at", occurred_to=pl.col("occurred_at") + SECOND, time_precision=pl.lit("second")
    )


def creations(frame: pl.LazyFrame, pending: Collection[str]) -> pl.LazyFrame:
    """Records first seen, or no longer `pending`: adds `phase`, `outcome` and, where that was seen, `ended_at`."""
    told = compared(frame.filter(SEEN & (is_first() | was("status").is_in(list(pending)))))
    phase = (
        pl.when(now("status").is_in(list(pending)))
        .then(pl.lit("start"))
        .when(now("status").str.starts_with("error"))
        .then(pl.lit("error"))
        .otherwise(pl.lit("end"))
    )
    told = told.with_columns(phase=phase).with_columns(
        outcome=pl.col("phase").replace_strict({"start": "pending", "end": "success", "error": "failure"}),
        ended_at=pl.when(~is_first() & (pl.col("phase") != "start")).then("occurred_at"),
    )
    return dated(told, instant(now("created_at")))


def failures(frame: pl.LazyFrame, pending: Collection[str], record: pl.Struct) -> pl.LazyFrame:
    """Records that went into an error between two scans, not out of a `pending` status (that is a failed creation)."""
    status = now("status")
    has_failed = status.str.starts_with("error") & (status != was("status")) & ~was("status").is_in(list(pending))
    return compared(frame.filter(SEEN & has_failed)).with_columns(changes=changes(record, ("status",)))


def owner_from_creation(owner: str, is_pending: Callable[[Field], pl.Expr]) -> pl.Expr:
    """The owner of a record of a kind that can change hands, if one of its two versions is from before it could."""
    return pl.when(is_pending(now)).then(now(owner)).when(is_pending(was)).then(was(owner))


def at_scan(what: str | pl.Expr) -> pl.Expr:
    """A version for what was found by comparing: what, and the scan that showed it."""
    text = pl.lit(what) if isinstance(what, str) else what
    return pl.concat_str(text, pl.lit("@"), pl.col("observed_at").dt.to_string("iso:strict"))


def change_of_status() -> pl.Expr:
    """``<old>→<new>``, and the scan that showed it."""
    return at_scan(pl.concat_str(was("status"), pl.lit("→"), now("status")))


def is_first() -> pl.Expr:
    """Whether the record was never seen before."""
    return pl.col("previous").is_null()


def now(name: str) -> pl.Expr:
    """A field of the record as it is now."""
    return pl.col("now").struct.field(name)


def was(name: str) -> pl.Expr:
    """A field of the record as it was observed before."""
    return pl.col("was").struct.field(name)
