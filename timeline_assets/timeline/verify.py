"""Is what is believed whole, and is it what the same records gave before?

Two questions. The **invariants** hold at any time: no event is lost on the way from the facts, every owner has the
attribution that explains it, tenants' rows say what their events say, nothing has two owners at once. The **hash** is
over current belief, so that two ways to the same records (another order, an interrupted rebuild) can be compared: over
events, tenants' rows, newest attributions, open quarantine and open topology, without what a run leaves on them.

A table's hash is the sum of its rows' hashes, 128 bits of md5 each: it hangs on no order, takes no memory, and parts
(a day of events, a kind of resource) can be told apart. A column that a table gains is hashed unless it is left out
here.
"""

# ruff: noqa: S608 - statements are put together from constants of this module and names of the catalogue
from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import psycopg

import timeline_assets
from timeline_assets.config import CloudSettings
from timeline_assets.pipeline import Pipeline
from timeline_assets.timeline.founded import lost, unfounded
from timeline_assets.timeline.write import EVIDENCE_READ, PATH_TAKEN

#: The code that decides what is believed of the records.
RULES = ("normalize", "sources", "topology", "ownership", "timeline")
#: What of a cloud's configuration decides it as well.
DECIDING = ("service_projects", "service_domain", "service_users", "volume_transfers")

#: Rows of evidence of a fault that are shown, and verifications of a cloud that are kept.
SHOWN, KEPT = 5, 50


@dataclass(frozen=True)
class Hashed:
    """A table of current belief: its rows (alias `t`), what tells its parts apart, columns left out or put otherwise.

    `rows` is everything from `from` on; `instead` gives expressions for columns that are hashed in another form.
    """

    table: str
    rows: str
    part: str
    left_out: frozenset[str] = frozenset()
    instead: Mapping[str, str] = field(default_factory=dict)


#: A witness is a road; when it was last seen there is the reading's affair.
_ROADS = """(select jsonb_agg(w - 'observed_at' order by w->>'source', w->>'key')
    from jsonb_array_elements(t.witnesses) w)"""


def _topology(table: str, kind: str, *left_out: str) -> Hashed:
    rows = f"from topology.{table} t where t.cloud = %(cloud)s and t.recorded_to is null"
    return Hashed(f"topology.{table}", rows, f"t.{kind}", frozenset({"recorded_from", "recorded_to", *left_out}))


HASHED: tuple[Hashed, ...] = (
    Hashed(
        "timeline.events",
        "from timeline.events t where t.cloud = %(cloud)s",
        "t.occurred_at::date",
        frozenset({"recorded_at", "observed_at", "raw_ref", "raw_sha256", "normalizer_version"}),
        {"witnesses": _ROADS},
    ),
    Hashed(
        "timeline.event_keys",
        "from timeline.event_keys t where t.cloud = %(cloud)s",
        "t.occurred_at::date",
        frozenset({"attribution"}),
    ),
    Hashed(
        "timeline.attributions",
        """from timeline.event_keys k join timeline.attributions t
            on t.event_id = k.event_id and t.version = k.attribution and t.valid_at = k.occurred_at
        where k.cloud = %(cloud)s""",
        "t.valid_at::date",
        frozenset({"version", "topology_recorded_at", "run_id", "decided_at"}),
        {"path": PATH_TAKEN.format("t"), "evidence": EVIDENCE_READ.format("t")},
    ),
    Hashed(
        "timeline.quarantine",
        "from timeline.quarantine t where t.cloud = %(cloud)s and t.resolved_at is null",
        "t.occurred_at::date",
        frozenset({"first_seen", "attempts", "resolved_at"}),
    ),
    Hashed(
        "timeline.tenant_events",
        "from timeline.tenant_events t where t.cloud = %(cloud)s",
        "t.occurred_at::date",
        frozenset({"recorded_at"}),
    ),
    _topology("resources", "resource_type", "raw_ref"),
    _topology("ownership", "resource_type", "raw_ref"),
    _topology("conflicts", "resource_type"),
    _topology("edges", "relation", "raw_ref"),
)

#: What must hold at any time: a sentence about its faults, and the query that finds them (one column, `key`).
INVARIANTS: Mapping[str, str] = {
    "events without the attribution that explains their owner": """
        select e.event_id::text as key from timeline.events e
        left join timeline.event_keys k on k.event_id = e.event_id and k.occurred_at = e.occurred_at
        left join timeline.attributions a
            on a.event_id = k.event_id and a.version = k.attribution and a.valid_at = k.occurred_at
        where e.cloud = %(cloud)s and (a.event_id is null
            or (a.owner_scope, a.owner_project_id, a.owner_domain_id, a.rule, a.confidence) is distinct from
               (e.owner_scope, e.owner_project_id, e.owner_domain_id, k.rule, k.confidence)
            or e.owner_scope <> 'quarantine' and a.rule = 'none')""",
    "keys without their event": """
        select k.event_id::text as key from timeline.event_keys k
        left join timeline.events e on e.event_id = k.event_id and e.occurred_at = k.occurred_at
        where k.cloud = %(cloud)s and e.event_id is null""",
    "events in quarantine that it does not list, or listed there and owned": """
        select coalesce(e.event_id, q.event_id)::text as key
        from (select * from timeline.events where cloud = %(cloud)s and owner_scope = 'quarantine') e
        full join (select * from timeline.quarantine where cloud = %(cloud)s and resolved_at is null) q
            on q.event_id = e.event_id and q.occurred_at = e.occurred_at
        where e.event_id is null or q.event_id is null""",
    "events that their owner has no row of": """
        select e.event_id::text as key from timeline.events e
        left join timeline.tenant_events t on t.event_id = e.event_id and t.occurred_at = e.occurred_at
            and t.relation = 'owner' and t.tenant_project_id is not distinct from e.owner_project_id
            and t.tenant_domain_id is not distinct from e.owner_domain_id
        where e.cloud = %(cloud)s and e.owner_scope in ('project', 'domain') and t.event_id is null""",
    "tenants' rows of an event that is not there, or whose owner is not proven": """
        select t.event_id::text || ' ' || coalesce(t.tenant_project_id, t.tenant_domain_id) as key
        from timeline.tenant_events t
        left join timeline.events e on e.event_id = t.event_id and e.occurred_at = t.occurred_at
        where t.cloud = %(cloud)s and t.relation = 'owner' and (e.event_id is null or e.owner_scope = 'quarantine')""",
    "affected rows without the event and the attribution behind them, or the other way round": """
        select coalesce(t.event_id, a.affected_id)::text as key
        from (select * from timeline.tenant_events where cloud = %(cloud)s and relation = 'affected') t
        full join (select a.* from timeline.affected a join timeline.event_keys k using (event_id)
                where k.cloud = %(cloud)s and a.is_current) a
            on a.affected_id = t.event_id and a.occurred_at = t.occurred_at
            and a.tenant_project_id = t.tenant_project_id
        left join timeline.attributions o on o.event_id = a.affected_id and o.version = a.version
            and o.valid_at = a.occurred_at and o.rule = 'fan_out' and o.owner_project_id = t.tenant_project_id
        where t.event_id is null or a.event_id is null or o.event_id is null""",
    "tenants' rows that say something else than their event": """
        select t.event_id::text || ' ' || coalesce(t.tenant_project_id, t.tenant_domain_id) as key
        from timeline.tenant_events t
        join timeline.events e on e.event_id = t.event_id and e.occurred_at = t.occurred_at
        where t.cloud = %(cloud)s and t.relation = 'owner'
          and (t.cloud, t.visibility, t.event_type, t.category, t.severity, t.outcome, t.phase, t.occurred_from,
               t.occurred_to, t.time_precision, t.ended_at, t.resource_type, t.resource_id) is distinct from
              (e.cloud, e.visibility, e.event_type, e.category, e.severity, e.outcome, e.phase, e.occurred_from,
               e.occurred_to, e.time_precision, e.ended_at, e.resource_type, e.resource_id)""",
    "resources with two owners at once": """
        select resource_type || ' ' || resource_id as key from (
            select *, lead(coalesce(valid_from, '-infinity')) over (
                partition by resource_type, resource_id order by coalesce(valid_from, '-infinity')) as next_from
            from topology.ownership where cloud = %(cloud)s and recorded_to is null) o
        where next_from < coalesce(valid_to, 'infinity')""",
}
LOST = "facts that are no event"
UNFOUNDED = "events that no fact gives"


@dataclass(frozen=True)
class Part:
    """Rows of one part of a table, and the sum of their hashes (32 hexadecimal digits)."""

    rows: int
    hash: str


@dataclass(frozen=True)
class Fault:
    """What does not hold: the sentence, how often, and some of those concerned."""

    what: str
    count: int
    examples: tuple[str, ...]


@dataclass(frozen=True)
class Difference:
    """A part of a table that is another than it was; None: it was, or is, not there."""

    table: str
    part: str
    before: Part | None
    now: Part | None


@dataclass(frozen=True)
class Verification:
    """One cloud, verified.

    `tables` are its tables by part; `pending` counts attempts whose records have not reached the timeline yet: with
    any, the belief is on its way and is not compared. `raw` and `ruleset` say what it was made from; `before` is when
    the same was verified last (None: never), `differences` what is another since then.
    """

    cloud: str
    verified_at: datetime
    raw: str
    ruleset: str
    hash: str
    tables: Mapping[str, Mapping[str, Part]]
    faults: tuple[Fault, ...] = ()
    pending: int = 0
    before: datetime | None = None
    differences: tuple[Difference, ...] = ()

    @property
    def is_good(self) -> bool:
        """Every invariant holds, and what can be compared is the same."""
        return not self.faults and not self.differences

    def total(self, table: str) -> Part:
        """A table as a whole."""
        return _sum(self.tables[table].values())


def verify(pipeline: Pipeline, cloud: str) -> Verification:
    """Checks the invariants of one cloud, hashes what is believed of it, and compares with the last time.

    One snapshot of the database, whatever is written meanwhile. What is found is kept (`timeline.verifications`)
    unless records are still on their way.
    """
    settings = pipeline.settings.cloud(cloud)
    with pipeline.connect() as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.execute("set local timezone = 'UTC'; set local datestyle = 'ISO, YMD'")
        (pending,) = connection.execute(
            """select (select count(*) from raw.attempts where cloud = %(cloud)s and replaced_by is null
                           and (normalized_at is null or absorbed_at is null or resolved_at is null))
                    + (select count(*) from topology.touched where cloud = %(cloud)s)
                    + (select count(*) from topology.touched_ends where cloud = %(cloud)s)""",
            {"cloud": cloud},
        ).fetchone()
        tables = {one.table: _parts(connection, one, cloud) for one in HASHED}
        faults = [*_broken(connection, cloud), *(_unaccounted(connection, pipeline, cloud) if not pending else ())]
        found = Verification(
            cloud,
            connection.execute("select now()").fetchone()[0],
            raw_digest(connection, cloud),
            ruleset(settings),
            _digest(f"{table} {_sum(parts.values())}" for table, parts in sorted(tables.items())),
            tables,
            tuple(faults),
            pending,
        )
        if pending:
            return found
        compared = _compared(connection, found)
        _keep(connection, compared)
    return compared


def ruleset(cloud: CloudSettings) -> str:
    """What decides: a digest of the code from normalizing to the timeline and of the configuration that it reads."""
    package = Path(timeline_assets.__file__).parent
    sources = sorted(path for stage in RULES for path in (package / stage).rglob("*.py"))
    texts = (hashlib.sha256(path.read_bytes()).hexdigest() for path in sources)
    return _digest([*texts, *(f"{name}={getattr(cloud, name)!r}" for name in DECIDING)])


def raw_digest(connection: psycopg.Connection, cloud: str) -> str:
    """Which records a cloud's timeline is made from: rows by source and window, which compacting leaves as they are.

    Records are only ever added, until retention thins them; so equal numbers are equal records.
    """
    rows = connection.execute(
        """select source, extract(epoch from window_start)::bigint, sum(rows) from raw.attempts
        where cloud = %s and replaced_by is null group by 1, 2 order by 1, 2""",
        (cloud,),
    ).fetchall()
    kept = connection.execute("select extract(epoch from dropped_before)::bigint from timeline.retention").fetchall()
    return _digest(map(str, [*rows, *kept]))


def _digest(texts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:32]


# hashing


def _parts(connection: psycopg.Connection, one: Hashed, cloud: str) -> dict[str, Part]:
    columns = [
        name
        for (name,) in connection.execute(
            """select attname from pg_attribute where attrelid = %s::regclass and attnum > 0 and not attisdropped
            order by attname""",
            (one.table,),
        )
        if name not in one.left_out
    ]
    values = ", ".join(one.instead.get(name, f"t.{name}") for name in columns)
    half = "sum(('x' || substr(h, {}, 16))::bit(64)::bigint::numeric)"
    rows = connection.execute(
        f"""select part, count(*), {half.format(1)}, {half.format(17)} from (
            select ({one.part})::text as part, md5(row({values})::text) as h {one.rows}) hashed
        group by part order by part""",
        {"cloud": cloud},
    )
    return {part: Part(count, _hex(int(high), int(low))) for part, count, high, low in rows}


def _hex(high: int, low: int) -> str:
    return f"{high % 2**64:016x}{low % 2**64:016x}"


def _sum(parts: Iterable[Part]) -> Part:
    parts = list(parts)
    high, low = (sum(int(part.hash[half], 16) for part in parts) for half in (slice(16), slice(16, 32)))
    return Part(sum(part.rows for part in parts), _hex(high, low))


# invariants


def _broken(connection: psycopg.Connection, cloud: str) -> list[Fault]:
    return [fault for what, query in INVARIANTS.items() if (fault := _fault(connection, what, query, {"cloud": cloud}))]


def _fault(connection: psycopg.Connection, what: str, query: str, values: Mapping[str, Any]) -> Fault | None:
    found = connection.execute(
        f"select key, count(*) over () from ({query}) faults order by key limit {SHOWN}", values
    ).fetchall()
    return Fault(what, found[0][1], tuple(key for key, _ in found)) if found else None


def _unaccounted(connection: psycopg.Connection, pipeline: Pipeline, cloud: str) -> list[Fault]:
    """Between the facts and the events: what is missing on either side."""
    sides = {LOST: lost(connection, pipeline, cloud), UNFOUNDED: unfounded(connection, pipeline, cloud)}
    return [Fault(what, ids.len(), tuple(ids.head(SHOWN))) for what, ids in sides.items() if ids.len()]


# comparing


def _compared(connection: psycopg.Connection, found: Verification) -> Verification:
    last = connection.execute(
        """select verified_at, tables from timeline.verifications where cloud = %s and raw = %s and ruleset = %s
        order by verified_at desc limit 1""",
        (found.cloud, found.raw, found.ruleset),
    ).fetchone()
    if last is None:
        return found
    before, stored = last
    known = {table: {part: Part(*values) for part, values in parts.items()} for table, parts in stored.items()}
    differences = tuple(_differences(known, found.tables))
    return Verification(**{**vars(found), "before": before, "differences": differences})


def _differences(
    before: Mapping[str, Mapping[str, Part]], now: Mapping[str, Mapping[str, Part]]
) -> Iterable[Difference]:
    for table in sorted({*before, *now}):
        was, is_now = before.get(table, {}), now.get(table, {})
        for part in sorted({*was, *is_now}):
            if was.get(part) != is_now.get(part):
                yield Difference(table, part, was.get(part), is_now.get(part))


def _keep(connection: psycopg.Connection, found: Verification) -> None:
    tables = {
        table: {name: [part.rows, part.hash] for name, part in parts.items()} for table, parts in found.tables.items()
    }
    connection.execute(
        """insert into timeline.verifications (cloud, verified_at, raw, ruleset, hash, faults, tables)
        values (%s, %s, %s, %s, %s, %s, %s)""",
        (
            *(found.cloud, found.verified_at, found.raw, found.ruleset, found.hash),
            *(len(found.faults), json.dumps(tables)),
        ),
    )
    connection.execute(
        """delete from timeline.verifications where verification_id in (
            select verification_id from timeline.verifications where cloud = %s
            order by verified_at desc, verification_id desc offset %s)""",
        (found.cloud, KEPT),
    )
