"""What the asset checks measure: plain questions to the database, with bounded answers. Knows nothing of Dagster."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl
import psycopg

from timeline_assets.normalize.registry import REGISTRY
from timeline_assets.pipeline import Pipeline
from timeline_assets.raw.windows import Window
from timeline_assets.sources.base import Source
from timeline_assets.store.copy import read_frame
from timeline_assets.timeline.explain import RELEASED_BY

#: Attempts that came this long ago should have reached the timeline.
PATIENCE = timedelta(minutes=1)

#: Types of events by which a resource goes to another owner.
HANDOVERS = [name for name, kind in REGISTRY.items() if kind.handover]

#: Records looked at to see which fields a service sends, and how few of them say nothing.
SAMPLE, FEWEST = 200, 3


def gaps(connection: psycopg.Connection, cloud: str, since: datetime) -> pl.DataFrame:
    """Windows that could not be read or proven since then: source, window_start, reason, detail; newest first."""
    return read_frame(
        connection,
        """select source, window_start, reason, detail from timeline.coverage
        where cloud = %(cloud)s and status = 'gap' and window_start >= %(since)s order by window_start desc, source""",
        {"cloud": cloud, "since": since},
    )


def proven(connection: psycopg.Connection, cloud: str, since: datetime) -> pl.DataFrame:
    """Per source how many windows are in which status since then, and up to when it was read."""
    return read_frame(
        connection,
        """select source, count(*) filter (where status = 'proven') as proven,
            count(*) filter (where status in ('open', 'settling')) as settling,
            count(*) filter (where status = 'gap') as gaps, count(*) filter (where status = 'unknown') as unknown,
            max(proven_to) as read_to
        from timeline.coverage where cloud = %(cloud)s and window_start >= %(since)s group by source""",
        {"cloud": cloud, "since": since},
    )


def unmapped(connection: psycopg.Connection, cloud: str, since: datetime) -> pl.DataFrame:
    """Events since then whose type the registry does not know: event_type, events, newest_at."""
    return read_frame(
        connection,
        """select event_type, count(*) as events, max(occurred_at) as newest_at from timeline.events
        where cloud = %(cloud)s and occurred_at >= %(since)s and event_type like 'unmapped.%%'
        group by event_type order by events desc, event_type""",
        {"cloud": cloud, "since": since},
    )


def quarantined(connection: psycopg.Connection, cloud: str, since: datetime) -> tuple[int, pl.DataFrame]:
    """Events since then, and of those the ones without a proven owner: reason, source, events."""
    (total,) = connection.execute(
        "select count(*) from timeline.events where cloud = %s and occurred_at >= %s", (cloud, since)
    ).fetchone()
    by_reason = read_frame(
        connection,
        """select reason, source, count(*) as events from timeline.quarantine
        where cloud = %(cloud)s and occurred_at >= %(since)s and resolved_at is null
        group by reason, source order by events desc, reason, source""",
        {"cloud": cloud, "since": since},
    )
    return total, by_reason


def waiting(connection: psycopg.Connection, cloud: str, since: datetime, limit: int) -> pl.DataFrame:
    """The newest events without a proven owner: event_id, occurred_at, event_type, reason, candidates, released_by."""
    found = read_frame(
        connection,
        """select q.event_id::text, q.occurred_at, e.event_type, q.reason, q.candidates::text
        from timeline.quarantine q join timeline.events e using (event_id, occurred_at)
        where q.cloud = %(cloud)s and q.occurred_at >= %(since)s and q.resolved_at is null
        order by q.occurred_at desc, q.event_id limit %(limit)s""",
        {"cloud": cloud, "since": since, "limit": limit},
    )
    return found.with_columns(released_by=pl.col("reason").replace_strict(RELEASED_BY, default=None))


def owned(connection: psycopg.Connection, cloud: str, since: datetime, limit: int) -> pl.DataFrame:
    """Per rule its newest events' answer: rule, confidence, event_id, path (edges with validity), evidence, pin."""
    return read_frame(
        connection,
        """select a.rule, a.confidence, a.event_id::text, a.path::text, a.evidence::text,
            a.topology_recorded_at as believed_at
        from (select distinct rule from timeline.event_keys where cloud = %(cloud)s) r,
            lateral (select k.event_id, k.occurred_at, k.attribution from timeline.event_keys k
                where k.cloud = %(cloud)s and k.rule = r.rule and k.occurred_at >= %(since)s
                order by k.occurred_at desc, k.event_id limit %(limit)s) k
            join timeline.attributions a on a.event_id = k.event_id and a.version = k.attribution
                and a.valid_at = k.occurred_at
        order by a.rule, a.valid_at desc, a.event_id""",
        {"cloud": cloud, "since": since, "limit": limit},
    )


def key_faults(connection: psycopg.Connection, cloud: str, since: datetime) -> dict[str, int]:
    """Rows since then that contradict each other; all are 0 unless something wrote past the pipeline."""
    values = {"cloud": cloud, "since": since, "handovers": HANDOVERS}
    faults = {
        "events whose key says otherwise": """select count(*) from timeline.events e
            left join timeline.event_keys k on k.event_id = e.event_id and k.occurred_at = e.occurred_at
            where e.cloud = %(cloud)s and e.occurred_at >= %(since)s and k.event_id is null""",
        "keys without their event": """select count(*) from timeline.event_keys k
            left join timeline.events e on e.event_id = k.event_id and e.occurred_at = k.occurred_at
            where k.cloud = %(cloud)s and k.occurred_at >= %(since)s and e.event_id is null""",
        "tenant rows without their event": """select count(*) from timeline.tenant_events t
            left join timeline.events e on e.event_id = t.event_id and e.occurred_at = t.occurred_at
            left join timeline.affected a on a.affected_id = t.event_id and a.is_current
            where t.cloud = %(cloud)s and t.occurred_at >= %(since)s
              and case t.relation when 'owner' then e.event_id else a.event_id end is null""",
        # by a handover its taker has a row of the giver's event, too
        "tenant rows of another owner": """select count(*) from timeline.tenant_events t
            join timeline.events e on e.event_id = t.event_id and e.occurred_at = t.occurred_at
            where t.cloud = %(cloud)s and t.occurred_at >= %(since)s and t.relation = 'owner'
              and t.tenant_project_id is distinct from e.owner_project_id and t.event_type <> all(%(handovers)s)""",
    }
    return {name: connection.execute(query, values).fetchone()[0] for name, query in faults.items()}


@dataclass(frozen=True)
class Drift:
    """How a source's records changed their shape: `lost` fields were in every older record and are in none of the
    newest, though the normalizer reads them; `ignored` are sent and not read."""

    records: int
    lost: list[str]
    ignored: list[str]


def drift(pipeline: Pipeline, cloud: str, source: Source, since: datetime) -> Drift:
    """The newest records of a source beside those of its first attempt since then."""
    with pipeline.connect() as connection:
        newest = connection.execute(
            """select body from raw.latest where cloud = %s and source = %s and gone_at is null
            order by observed_at desc limit %s""",
            (cloud, source.name, SAMPLE),
        ).fetchall()
        older = connection.execute(
            """select path from raw.attempts where cloud = %s and source = %s and window_start >= %s
            and replaced_by is null order by window_start, attempt_id limit 1""",
            (cloud, source.name, since),
        ).fetchall()
    stored = pipeline.raw.scan([path for (path,) in older]).filter(op="seen").head(SAMPLE).select("body").collect()
    now, before = [set(json.loads(body)) for (body,) in newest], [set(json.loads(body)) for body in stored["body"]]
    sent, read = set().union(*now), {field.name for field in declared(source).fields}
    always = set.intersection(*before) if len(before) >= FEWEST and len(now) >= FEWEST else set()
    return Drift(len(now), sorted((always - sent) & read), sorted(sent - read))


def declared(source: Source) -> pl.Struct:
    """The record that a source file declares: ``RECORD`` beside its ``normalize``."""
    return sys.modules[source.normalize.__module__].RECORD


def set_aside(connection: psycopg.Connection, cloud: str, source: str) -> pl.DataFrame:
    """Records of a source that could not be read or normalized and still cannot: stage, reason, records, newest_at."""
    return read_frame(
        connection,
        """select stage, reason, count(*) as records, max(last_seen_at) as newest_at from raw.set_aside
        where cloud = %(cloud)s and source = %(source)s and resolved_at is null
        group by stage, reason order by records desc, stage, reason""",
        {"cloud": cloud, "source": source},
    )


def left_behind(pipeline: Pipeline, cloud: str, sources: tuple[Source, ...]) -> list[tuple[str, Window]]:
    """What was stored a while ago and has not reached the timeline: a run was killed, or another source failed in it.

    Source and window, oldest window first.
    """
    with pipeline.connect() as connection:
        rows = connection.execute(
            """select distinct window_start, source from raw.attempts
            where cloud = %s and resolved_at is null and replaced_by is null and source = any(%s)
              and committed_at < now() - %s
            order by window_start, source""",
            (cloud, [source.name for source in sources], PATIENCE),
        ).fetchall()
    return [(source, Window(start)) for start, source in rows]
