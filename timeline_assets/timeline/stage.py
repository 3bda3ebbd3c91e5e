"""The last stage: facts become events with an owner, each in one transaction with its tenant's row.

What is worked on is what is pending: the facts of attempts that were normalized and not yet resolved, and the events
that wait for a resource whose topology has changed since. Both go the same way, so that an event resolved late is the
event that would have been resolved at once.
"""

# ruff: noqa: S608 - statements are put together from constants of this module; values are always parameters
from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime

import polars as pl
import psycopg

from timeline_assets.normalize.registry import describe
from timeline_assets.normalize.schema import FACT
from timeline_assets.ownership import decisions
from timeline_assets.ownership.fan_out import fan_out
from timeline_assets.ownership.rules import decide
from timeline_assets.ownership.topology import Topology, with_names
from timeline_assets.pipeline import Pipeline
from timeline_assets.raw.windows import Window
from timeline_assets.store.copy import copy_frame, read_frame
from timeline_assets.timeline import roads
from timeline_assets.timeline.late import concerned, waiting_siblings
from timeline_assets.timeline.redact import actor_label
from timeline_assets.timeline.shares import affected_shares, taken_shares, with_giver_titles
from timeline_assets.timeline.write import AWAITS, Written, known_heads, lock, write


@dataclass(frozen=True)
class Resolved:
    """What one call did; `by_reason` counts what went to quarantine now, `unmapped` the types the registry lacks."""

    written: Written = field(default_factory=Written)
    facts: int = 0
    reopened: int = 0
    attempts: int = 0
    by_reason: dict[str, int] = field(default_factory=dict)
    unmapped: dict[str, int] = field(default_factory=dict)
    watermark: datetime | None = None
    seconds: float = 0.0

    def __add__(self, other: Resolved) -> Resolved:
        return Resolved(
            self.written + other.written,
            self.facts + other.facts,
            self.reopened + other.reopened,
            self.attempts + other.attempts,
            _sum(self.by_reason, other.by_reason),
            _sum(self.unmapped, other.unmapped),
            max(filter(None, (self.watermark, other.watermark)), default=None),
            self.seconds + other.seconds,
        )


def resolve(
    pipeline: Pipeline, cloud: str, window: Window | None = None, *, again: bool = False, run_id: str | None = None
) -> Resolved:
    """Resolves what is pending of one cloud: of one window, or of all; with `again` what was resolved before, too.

    Every chunk (`harvest.chunk_rows`) is one transaction; a killed call leaves whole chunks, and the next call goes on.
    """
    started = time.monotonic()
    done = reopen(pipeline, cloud, run_id)  # first: what is resolved now knows the topology of now
    for attempts in _pending(pipeline, cloud, window, again=again):
        done += _resolve_attempts(pipeline, cloud, attempts, run_id)
    return done + Resolved(seconds=time.monotonic() - started)


def _pending(pipeline: Pipeline, cloud: str, window: Window | None, *, again: bool) -> Iterator[pl.DataFrame]:
    """The attempts to resolve, oldest first, in groups of about a chunk's rows."""
    with pipeline.connect() as connection:
        attempts = read_frame(
            connection,
            """select attempt_id, facts_path, rows from raw.attempts
            where cloud = %(cloud)s and normalized_at is not null and replaced_by is null
              and (%(start)s::timestamptz is null or window_start = %(start)s) and (%(again)s or resolved_at is null)
            order by window_start, attempt_id""",
            {"cloud": cloud, "start": window.start if window else None, "again": again},
        )
    size = pipeline.settings.harvest.chunk_rows
    groups = attempts.with_columns(_group=(pl.col("rows").cum_sum() - pl.col("rows")) // size)
    yield from groups.partition_by("_group", maintain_order=True)


def _resolve_attempts(pipeline: Pipeline, cloud: str, attempts: pl.DataFrame, run_id: str | None) -> Resolved:
    """Resolves a group of attempts: one transaction a chunk, the last of which marks them as resolved."""
    facts = pipeline.raw.scan_facts(attempts["facts_path"].drop_nulls().to_list()).collect()
    size = pipeline.settings.harvest.chunk_rows
    chunks = list(facts.iter_slices(size)) or [facts]
    done = Resolved(attempts=attempts.height)
    for number, chunk in enumerate(chunks):
        with pipeline.connect() as connection:
            lock(connection, cloud)
            done += resolve_facts(connection, pipeline, cloud, chunk, run_id=run_id)
            if number == len(chunks) - 1:
                connection.execute(
                    "update raw.attempts set resolved_at = now() where attempt_id = any(%s)",
                    (attempts["attempt_id"].to_list(),),
                )
    return done


def resolve_facts(
    connection: psycopg.Connection, pipeline: Pipeline, cloud: str, facts: pl.DataFrame, *, run_id: str | None = None
) -> Resolved:
    """Facts of one cloud (:data:`FACT`) into the tables, in the caller's transaction and under its cloud's lock.

    Those from before what retention has dropped are left out: they would only be dropped again.
    """
    facts = facts.filter(pl.col("occurred_at") >= _dropped_before(connection))
    if facts.is_empty():
        return Resolved()
    seen = roads.newest_per_road(facts)
    heads = known_heads(connection, seen["event_id"])
    witnessed = _merge_roads(connection, seen, heads)
    new = ~pl.col("event_id").is_in(heads["event_id"].implode())
    return _decide(connection, pipeline, cloud, witnessed.with_columns(is_new=new), run_id)


def _dropped_before(connection: psycopg.Connection) -> datetime:
    dropped = connection.execute("select dropped_before from timeline.retention").fetchone()
    return dropped[0] if dropped else datetime.min.replace(tzinfo=UTC)


def _decide(
    connection: psycopg.Connection, pipeline: Pipeline, cloud: str, events: pl.DataFrame, run_id: str | None
) -> Resolved:
    """Decides and writes events, then those of the same requests that wait for an owner to be proven there, and those
    about which a person decided.

    These cannot change any others in turn: what is concluded from a request proves nothing to another event of it.
    """
    done = _decide_and_write(connection, pipeline, cloud, events, run_id)
    by_hand = events.filter(pl.col("event_type").is_in(decisions.TYPES)).select(event_id="resource_id")
    waiting = pl.concat([waiting_siblings(connection, cloud, events), by_hand]).unique().sort("event_id")
    if waiting.is_empty():
        return done
    again = _decide_and_write(connection, pipeline, cloud, _stored(connection, waiting), run_id)
    return done + Resolved(again.written, reopened=waiting.height, by_reason=again.by_reason)


def _decide_and_write(
    connection: psycopg.Connection, pipeline: Pipeline, cloud: str, events: pl.DataFrame, run_id: str | None
) -> Resolved:
    extra = events.select("event_id", "witnesses", "roads", "is_new")
    named = with_names(connection, cloud, events.select(FACT.names()))
    described = describe(named.lazy()).collect().with_row_index("row")
    topology = Topology.read(connection, pipeline.settings.cloud(cloud), described)
    described = topology.with_known_actors(described)
    verdicts = decide(described, topology)
    described = described.join(_left_open(events), on="event_id", maintain_order="left")
    rows = described.join(verdicts, on="row", maintain_order="left").join(extra, on="event_id", maintain_order="left")
    rows = topology.with_domains(rows).with_columns(
        owner_scope="scope",
        owner_project_id="project_id",
        owner_domain_id=pl.coalesce("domain_id", "project_domain_id"),
        quarantine_detail=pl.when(pl.col("scope") == "quarantine").then("reason"),
        candidates=pl.col("candidates").fill_null("[]"),
        related=pl.col("related").fill_null("[]"),
        changes=pl.col("changes").fill_null("[]"),
        actor_kind=pl.col("actor_kind").fill_null("unknown"),
    )
    is_shown = pl.col("actor_label") == "user"
    rows = rows.with_columns(actor_label=actor_label()).with_columns(
        tenant_actor_user_id=pl.when(is_shown).then("actor_user_id"),
        tenant_request_id=pl.when(is_shown).then("request_id"),
    )
    rows = with_giver_titles(topology.with_tenant_related(rows))
    fanned = fan_out(rows, topology)
    shares = pl.concat([affected_shares(connection, rows, fanned.affected), taken_shares(rows, topology)])
    written = write(
        connection,
        rows,
        topology.awaits(rows).match_to_schema(AWAITS),
        shares,
        fanned.walked,
        pin=topology.pin,
        run_id=run_id,
    )
    unmapped = rows.filter(pl.col("event_type").str.starts_with("unmapped."))
    return Resolved(
        written,
        facts=rows.height,
        by_reason=_counts(rows.filter(owner_scope="quarantine"), "quarantine_reason"),
        unmapped=_counts(unmapped, "event_type"),
        watermark=rows["occurred_at"].max(),
    )


#: Columns that a record may leave open, to be filled from the topology, the configuration or the registry.
_FILLED = ("resource_name", "severity", "actor_domain_id", "actor_kind")


def _left_open(facts: pl.DataFrame) -> pl.DataFrame:
    """`event_id` and `filled`: the columns that the record left open."""
    said = facts.with_columns(pl.col("actor_kind").replace("unknown", None))
    left_open = [pl.when(pl.col(name).is_null()).then(pl.lit(name)) for name in _FILLED]
    return said.select("event_id", filled=pl.concat_list(left_open).list.drop_nulls())


def _merge_roads(connection: psycopg.Connection, facts: pl.DataFrame, heads: pl.DataFrame) -> pl.DataFrame:
    """One row an event: facts alone on their road as they are, the others merged with what other roads said."""
    other_road = facts.join(heads, on="event_id", suffix="_head").filter(
        (pl.col("roads") > 1)
        | (pl.col("road_source") != pl.col("road_source_head"))
        | (pl.col("road_key") != pl.col("road_key_head"))
    )
    several = pl.concat([other_road["event_id"], facts.filter(pl.len().over("event_id") > 1)["event_id"]]).unique()
    if several.is_empty():
        return roads.witness_alone(facts)
    shared = facts.filter(pl.col("event_id").is_in(several.implode()))
    said = roads.newest_per_road(pl.concat([shared, _said_before(connection, several)]))
    _remember(connection, said)
    alone = facts.filter(~pl.col("event_id").is_in(several.implode()))
    return pl.concat([roads.witness_alone(alone), roads.merge(said)])


def _said_before(connection: psycopg.Connection, event_ids: pl.Series) -> pl.DataFrame:
    """What other roads said of these events: kept contributions, or the event itself where it came on one road."""
    connection.execute("create temp table if not exists shared (event_id uuid primary key) on commit drop")
    connection.execute("truncate shared")
    copy_frame(connection, pl.DataFrame({"event_id": event_ids}), "shared")
    kept = read_frame(
        connection, "select c.fact::text as fact from timeline.contributions c join shared using (event_id)"
    )
    alone = read_events(connection, "join shared s on s.event_id = k.event_id and k.roads = 1")
    return pl.concat([_from_json(kept["fact"]), alone.select(FACT.names())])


def read_events(connection: psycopg.Connection, join: str, limit: int | None = None) -> pl.DataFrame:
    """Events as the facts they were (FACT columns), with `witnesses` and `roads`; `join` narrows them by `k`
    and `e`."""
    columns = ", ".join(_FACT_FROM.get(c, f"e.{c}") + f" as {c}" for c in FACT.names())
    clause = f" limit {limit}" if limit else ""
    frame = read_frame(
        connection,
        f"""select {columns}, e.witnesses::text as witnesses, k.roads from timeline.event_keys k
        join timeline.events e on e.event_id = k.event_id and e.occurred_at = k.occurred_at {join}{clause}""",
    )
    return frame.cast(dict(FACT))


#: Where a fact's columns lie that are not simply the event's.
_FACT_FROM = {
    "event_id": "e.event_id::text",
    "event_type": "regexp_replace(e.event_type, '^unmapped[.]', '')",
    "related": "e.related::text",
    "changes": "e.changes::text",
    "title": "null::text",  # made anew from the registry, with the name as it is known now
    **{name: f"case when '{name}' <> all(k.filled) then e.{name} end" for name in _FILLED},
    "actor_kind": "case when 'actor_kind' = any(k.filled) then 'unknown' else e.actor_kind end",
    **{
        c: f"k.{c}"
        for c in (
            "road_source",
            "road_key",
            "payload_project_id",
            "payload_domain_id",
            "target_project_id",
            "target_domain_id",
            "request_path",
            "named_type",
            "named_name",
            "named_domain",
        )
    },
}


def _remember(connection: psycopg.Connection, said: pl.DataFrame) -> None:
    """Keeps what each road said of the events that came on more than one; a repeat changes nothing."""
    several = said.filter(pl.len().over("event_id") > 1)
    text = several.select(*roads.ROAD, "observed_at").hstack(
        several.with_columns(pl.col(_INSTANTS).dt.strftime("%Y-%m-%dT%H:%M:%S%.6fZ")).select(
            fact=pl.struct(FACT.names()).struct.json_encode()
        )
    )
    connection.execute("create temp table if not exists said (like timeline.contributions) on commit drop")
    connection.execute("truncate said")
    copy_frame(connection, text, "said")
    connection.execute(
        """insert into timeline.contributions as c select * from said
        on conflict (event_id, road_source, road_key) do update set observed_at = excluded.observed_at,
            fact = excluded.fact
        where (excluded.observed_at, excluded.fact->>'raw_ref' collate "C") >=
              (c.observed_at, c.fact->>'raw_ref' collate "C") and excluded.fact is distinct from c.fact"""
    )


_INSTANTS = [name for name, dtype in FACT.items() if isinstance(dtype, pl.Datetime)]
_AS_TEXT = pl.Struct({name: pl.String if name in _INSTANTS else dtype for name, dtype in FACT.items()})


def _from_json(texts: pl.Series) -> pl.DataFrame:
    decoded = texts.str.json_decode(_AS_TEXT).struct.unnest() if texts.len() else pl.DataFrame(schema=dict(_AS_TEXT))
    return decoded.with_columns(pl.col(_INSTANTS).str.to_datetime(time_unit="us", time_zone="UTC")).select(FACT.names())


def reopen(pipeline: Pipeline, cloud: str, run_id: str | None = None) -> Resolved:
    """Resolves again the events that late evidence concerns (:mod:`timeline_assets.timeline.late`), and only those.

    What has changed comes off its list in the same transaction, so that a killed call finds it again.
    """
    done = Resolved()
    with pipeline.connect() as connection:
        lock(connection, cloud)
        event_ids = concerned(connection, pipeline.settings.cloud(cloud))
        for part in event_ids.iter_slices(pipeline.settings.harvest.chunk_rows):
            again = _decide(connection, pipeline, cloud, _stored(connection, part), run_id)
            done += Resolved(again.written, reopened=part.height + again.reopened, by_reason=again.by_reason)
    return done


def _stored(connection: psycopg.Connection, event_ids: pl.DataFrame) -> pl.DataFrame:
    """Events of the timeline, to be decided again, by their ids."""
    connection.execute("create temp table if not exists reopened (event_id uuid) on commit drop; truncate reopened")
    copy_frame(connection, event_ids, "reopened")
    return read_events(connection, "join reopened r on r.event_id = k.event_id").with_columns(is_new=pl.lit(False))


def _counts(frame: pl.DataFrame, column: str) -> dict[str, int]:
    return dict(frame.group_by(column).len().sort(column).iter_rows())


def _sum(a: dict[str, int], b: dict[str, int]) -> dict[str, int]:
    return {key: a.get(key, 0) + b.get(key, 0) for key in sorted({*a, *b})}
