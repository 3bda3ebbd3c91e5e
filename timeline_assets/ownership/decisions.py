"""What a person decided of events whose owner nothing proves.

A decision is the last word only where evidence has none: it releases an event that every rule has left in quarantine,
and as soon as evidence proves an owner, that is the owner, whatever was decided. So a wrong release does not outlive
its proof, and a right one is confirmed by it. Of several decisions the newest counts; one that names no project takes
back those before it.
"""

from __future__ import annotations

import polars as pl
import psycopg

from timeline_assets.normalize.registry.decisions import RELEASED, TAKEN_BACK
from timeline_assets.store.copy import read_frame

RULE = "operator_decision"
TYPES = (RELEASED, TAKEN_BACK)

DECISION = pl.Schema(
    {
        **dict.fromkeys(("event_id", "project_id", "decided_by", "why", "decided_at", "decision_event_id"), pl.String),
    }
)


def decisions_about(connection: psycopg.Connection, cloud: str, event_ids: pl.Series) -> pl.DataFrame:
    """The decision in force about each of the events (:data:`DECISION`); none where it was taken back.

    `decided_at` is ISO 8601, `decision_event_id` the event that the decision itself is.
    """
    newest = read_frame(
        connection,
        """select distinct on (e.resource_id) e.resource_id as event_id, k.target_project_id as project_id,
            e.actor_user_id as decided_by, e.message as why, e.source_version as decided_at,
            e.event_id::text as decision_event_id
        from unnest(%(ids)s::text[]) as asked(id)
        join timeline.events e on e.resource_id = asked.id and e.cloud = %(cloud)s and e.resource_type = 'event'
            and e.event_type = any(%(types)s)
        join timeline.event_keys k on k.event_id = e.event_id
        order by e.resource_id, e.occurred_at desc, e.event_id""",
        {"ids": event_ids.unique().to_list(), "cloud": cloud, "types": list(TYPES)},
    )
    return newest.cast(dict(DECISION)).filter(pl.col("project_id").is_not_null())
