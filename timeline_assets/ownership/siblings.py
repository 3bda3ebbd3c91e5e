"""Other events of the same request: in the frame that is being decided, and in the timeline.

A request is one global id, or one id within one service. Only what is proven about a sibling's own resource counts
(`certain` or `high`), so that no conclusion is drawn from a conclusion. A request is done within a day: an id that a
client sends again later is another request.
"""

from __future__ import annotations

from datetime import timedelta

import polars as pl
import psycopg

from timeline_assets.normalize.registry import SERVICES
from timeline_assets.normalize.schema import INSTANT
from timeline_assets.store.copy import copy_frame, read_frame

PROVEN = ("certain", "high")
#: Rules whose answer another event of the request can change.
WEAK = ("request_sibling", "request_path", "qualified_name", "name", "none", "operator_decision")
LONGEST = timedelta(days=1)

_OWNER = ("scope", "project_id", "domain_id")
_COLUMNS = ("request_id", "global_request_id")


def keyed(events: pl.DataFrame, *keep: str) -> pl.DataFrame:
    """One row an event and request: the columns `keep` and `request` (``global/<id>``, ``<service>/<id>``)."""
    service = pl.col("event_type").replace_strict(SERVICES, default=None, return_dtype=pl.String)
    requests = (pl.format("global/{}", "global_request_id"), pl.format("{}/{}", service, "request_id"))
    return pl.concat([events.select(*keep, request=request).drop_nulls("request") for request in requests])


def proven_siblings(
    connection: psycopg.Connection, cloud: str, events: pl.DataFrame, beside: pl.DataFrame
) -> pl.DataFrame:
    """The owners of the proven siblings of `events` (`row` and what :func:`keyed` reads): `row`, `scope`, `project_id`,
    `domain_id`, one row an owner.

    `beside` is the whole frame that is being decided, with its verdicts so far; what the timeline holds of the same
    events is outdated.
    """
    asked = keyed(events, "row", "occurred_at")
    if asked.is_empty():
        return pl.DataFrame(schema={"row": pl.UInt32, **dict.fromkeys(_OWNER, pl.String)})
    near = keyed(beside.filter(pl.col("confidence").is_in(PROVEN)), *_OWNER, "occurred_at")
    stored = _stored(connection, cloud, events).join(beside.select("event_id"), on="event_id", how="anti")
    siblings = pl.concat([near, keyed(stored, *_OWNER, "occurred_at")])
    is_near = (pl.col("occurred_at") - pl.col("occurred_at_sibling")).abs() <= LONGEST
    found = asked.join(siblings, on="request", suffix="_sibling").filter(is_near)
    return found.select("row", *_OWNER).unique().sort("row", *_OWNER)


def _stored(connection: psycopg.Connection, cloud: str, events: pl.DataFrame) -> pl.DataFrame:
    """Events of the timeline that share an id with these and whose owner is proven; one look-up by index for each."""
    connection.execute(
        """create temp table if not exists asked_requests (
            request_id text, global_request_id text, occurred_at timestamptz) on commit drop;
        truncate asked_requests"""
    )
    copy_frame(connection, events.select(*_COLUMNS, "occurred_at").unique(), "asked_requests")
    found = [
        read_frame(
            connection,
            f"""select x.* from asked_requests a, lateral (
                select e.event_id::text as event_id, e.event_type, e.request_id, e.global_request_id, e.occurred_at,
                    e.owner_scope as scope, e.owner_project_id as project_id, e.owner_domain_id as domain_id,
                    k.confidence
                from timeline.events e join timeline.event_keys k on k.event_id = e.event_id
                where e.{column} = a.{column} and e.cloud = %(cloud)s
                  and e.occurred_at between a.occurred_at - %(longest)s and a.occurred_at + %(longest)s
                offset 0) x
            where x.confidence = any(%(proven)s)""",  # noqa: S608 - names of this module
            {"cloud": cloud, "longest": LONGEST, "proven": list(PROVEN)},
        )
        for column in _COLUMNS
    ]
    schema = {
        **dict.fromkeys(("event_id", "event_type", *_COLUMNS), pl.String),
        "occurred_at": INSTANT,
        **dict.fromkeys((*_OWNER, "confidence"), pl.String),
    }
    owned = pl.concat([frame.cast(schema) for frame in found]).unique("event_id")
    # a project's event is its project's, whatever domain that is in
    return owned.with_columns(domain_id=pl.when(pl.col("scope") == "domain").then("domain_id"))
