"""Decided events into the tables: one COPY into a temporary table, then a few set-based statements.

Nothing is written that does not differ from what is there, so a repeat changes no row. What an event's rows are
compared by leaves out when it was fetched and where the record lies: those change without the event changing.
"""

# ruff: noqa: S608 - statements are put together from constants of this module; values are always parameters
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple, dataclass

import polars as pl
import psycopg
from psycopg import sql

from timeline_assets.normalize.schema import INSTANT
from timeline_assets.store.copy import copy_frame, read_frame
from timeline_assets.timeline.redact import CHANGE_PATHS, MESSAGE_TYPES
from timeline_assets.timeline.rows import AFFECTED_ROW, OWNER_ROW, RECORDED_AT, TAKER_ROW, TENANT_EVENT

#: The columns of `timeline.events`, in its order, but for `recorded_at`, which the database sets.
EVENT_COLUMNS = (
    "event_id", "cloud", "region", "source", "source_key", "source_version", "witnesses", "event_type", "category",
    "visibility", "severity", "source_severity", "outcome", "phase", "occurred_at", "occurred_from", "occurred_to",
    "time_precision", "ended_at", "observed_at", "resource_type", "resource_id", "resource_name", "related", "changes",
    "owner_scope", "owner_domain_id", "owner_project_id", "actor_user_id", "actor_project_id", "actor_domain_id",
    "actor_kind", "on_behalf_of_user_id", "on_behalf_of_project_id", "actor_address", "request_id", "global_request_id",
    "host", "availability_zone", "title", "message", "raw_ref", "raw_sha256", "normalizer_version",
)  # fmt: skip
#: What does not make an event another one.
NOT_COMPARED = {"event_id", "witnesses", "observed_at", "raw_ref", "raw_sha256", "normalizer_version"}
COMPARED = tuple(c for c in EVENT_COLUMNS if c not in NOT_COMPARED)
HEAD_COLUMNS = (
    "road_source", "road_key", "roads", "payload_project_id", "payload_domain_id", "target_project_id",
    "target_domain_id", "request_path", "named_type", "named_name", "named_domain",
    "filled",
)  # fmt: skip
DECISION_COLUMNS = (
    "rule",
    "confidence",
    "path",
    "evidence",
    "reason",
    "quarantine_reason",
    "quarantine_detail",
    "candidates",
)
#: The way to the owner and what was read there, without how far it was proven when that was decided: an interval that
#: has only ended since, or is known from another record now, is no other answer.
PATH_TAKEN = """coalesce((select jsonb_agg(step - '{{valid_from,valid_to}}'::text[] order by n)
    from jsonb_array_elements({0}.path) with ordinality s(step, n)), '[]')"""
EVIDENCE_READ = "{0}.evidence - 'raw_ref'"
TENANT_COLUMNS = ("actor_label", "tenant_actor_user_id", "tenant_request_id", "tenant_related", "tenant_title")
INCOMING_COLUMNS = (*EVENT_COLUMNS, *HEAD_COLUMNS, *DECISION_COLUMNS, *TENANT_COLUMNS, "is_new")


@dataclass(frozen=True)
class Written:
    """What changed: events new, updated, unchanged; rows of tenants put in, taken back; events now in quarantine."""

    new: int = 0
    updated: int = 0
    unchanged: int = 0
    tenant_upserts: int = 0
    tenant_retractions: int = 0
    quarantined: int = 0
    released: int = 0

    def __add__(self, other: Written) -> Written:
        return Written(*(a + b for a, b in zip(astuple(self), astuple(other), strict=True)))


def known_heads(connection: psycopg.Connection, event_ids: pl.Series) -> pl.DataFrame:
    """The heads of those events that are known: `event_id`, road, number of roads. One index probe an event."""
    with connection.cursor() as cursor:
        cursor.execute("create temp table if not exists asked_heads (event_id uuid) on commit drop")
        cursor.execute("truncate asked_heads")
        copy_frame(connection, pl.DataFrame({"event_id": event_ids.unique()}), "asked_heads")
        cursor.execute("analyze asked_heads")
        with by_index(cursor):
            return read_frame(
                connection,
                "select event_id, k.road_source, k.road_key, k.roads "
                "from asked_heads join timeline.event_keys k using (event_id)",
            )


def write(
    connection: psycopg.Connection,
    events: pl.DataFrame,
    awaits: pl.DataFrame,
    shares: pl.DataFrame,
    walked: pl.DataFrame,
    *,
    pin: object,
    run_id: str | None,
) -> Written:
    """Writes decided events (`INCOMING_COLUMNS`, one row an event) and what they await; in the caller's transaction.

    `shares` are the rows of tenants beside the owner's (:data:`timeline_assets.timeline.shares.SHARES`), `walked` what
    was passed on the way to them (:data:`timeline_assets.ownership.fan_out.WALKED`). `pin` is the belief about the
    topology that the decisions were made on.
    """
    if events.is_empty():
        return Written()
    with connection.cursor() as cursor:
        _ensure_partitions(cursor, events)
        cursor.execute("drop table if exists incoming")
        cursor.execute(_CREATE_INCOMING)
        copy_frame(connection, events.select(INCOMING_COLUMNS), "incoming")
        cursor.execute("drop table if exists shares")
        cursor.execute(_CREATE_SHARES)
        copy_frame(connection, shares, "shares")
        cursor.execute("analyze shares")
        new = int(events["is_new"].sum())
        context = {"pin": pin, "run_id": run_id, "paths": list(CHANGE_PATHS), "messages": list(MESSAGE_TYPES)}
        written = Written(new=new)
        if new:
            written += _insert_new(cursor, context)
        if new < events.height:
            cursor.execute("create unique index on incoming (event_id)")
            cursor.execute("analyze incoming")
            written += _merge_known(cursor, context, events.height - new)
        _write_awaits(connection, cursor, awaits)
        _write_walked(connection, cursor, walked)
    return written


def lock(connection: psycopg.Connection, cloud: str) -> None:
    """One writer of a cloud's timeline at a time; another cloud is never in its way."""
    connection.execute("select pg_advisory_xact_lock(hashtext('timeline.resolve'), hashtext(%s))", (cloud,))


def retract(connection: psycopg.Connection, condition: sql.Composable) -> int:
    """Takes back the events that `condition` (over `timeline.event_keys k`) selects; a rebuild no longer gives them."""
    with connection.cursor() as cursor:
        cursor.execute("drop table if exists retracted")
        cursor.execute(
            sql.SQL(
                "create temp table retracted on commit drop as "
                "select k.event_id, k.occurred_at from timeline.event_keys k where {}"
            ).format(condition)
        )
        cursor.execute(
            _RETRACT_TENANT_ROWS.format(
                doomed="""select t.* from timeline.tenant_events t join retracted r using (event_id, occurred_at)
                union all select t.* from timeline.tenant_events t
                    join timeline.affected a on a.affected_id = t.event_id and a.occurred_at = t.occurred_at
                    join retracted r on r.event_id = a.event_id"""
            )
        )
        cursor.execute(
            "delete from timeline.events e using retracted r "
            "where e.event_id = r.event_id and e.occurred_at = r.occurred_at"
        )
        cursor.execute(
            """insert into timeline.taken_back
            select event_id, k.occurred_at, k.attribution from timeline.event_keys k join retracted using (event_id)
            union all
            select affected_id, a.occurred_at, version from timeline.affected a join retracted using (event_id)
            on conflict (event_id) do update set occurred_at = excluded.occurred_at, version = excluded.version"""
        )
        for table in ("event_keys", "quarantine", "awaits", "walked", "affected", "contributions"):
            cursor.execute(
                sql.SQL("delete from {} t using retracted r where t.event_id = r.event_id").format(
                    sql.Identifier("timeline", table)
                )
            )
        cursor.execute("select count(*) from retracted")
        return cursor.fetchone()[0]


_CREATE_INCOMING = f"""
create temp table incoming on commit drop as
select {", ".join("e." + c for c in EVENT_COLUMNS)}, {", ".join("k." + c for c in HEAD_COLUMNS)},
       a.rule, a.confidence, a.path, a.evidence, a.reason,
       null::text as quarantine_reason, null::text as quarantine_detail, null::jsonb as candidates,
       null::text as actor_label, null::text as tenant_actor_user_id, null::text as tenant_request_id,
       null::jsonb as tenant_related, null::text as tenant_title, null::boolean as is_new
from timeline.events e, timeline.event_keys k, timeline.attributions a where false
"""
_CREATE_SHARES = """
create temp table shares on commit drop as
select t.event_id, a.affected_id as row_id, t.relation, t.tenant_domain_id, t.tenant_project_id, null::text as kind,
       t.title, t.related, t.actor_label, t.actor_user_id, t.request_id, a.confidence, null::jsonb as path
from timeline.tenant_events t, timeline.affected a where false
"""

# What a decision says; the next version of it is written where that is another, or for another time.
_ANSWER = f"{{0}}.rule, {{0}}.confidence, {{0}}.reason, {PATH_TAKEN}, {EVIDENCE_READ}"
# Which of two readings of one fact is the newer; the stored one must be the newest, or an old one would pass for newer.
_READ = """({0}.observed_at, {0}.raw_ref collate "C")"""

_TENANT_ROWS = f"""
{OWNER_ROW} from incoming i {{0}} where i.owner_scope in ('project', 'domain'){{1}}
union all {TAKER_ROW} from incoming i join shares s using (event_id) {{0}} where s.relation = 'owner'{{1}}
union all {AFFECTED_ROW} from incoming i join shares s using (event_id) {{0}} where s.relation = 'affected'{{1}}
"""
_INSERT_TENANT = f"insert into timeline.tenant_events ({', '.join(TENANT_EVENT)}, recorded_at)"
_INSERT_EVENTS = f"insert into timeline.events ({', '.join(EVENT_COLUMNS)}, recorded_at)"
_INSERT_ATTRIBUTIONS = """
insert into timeline.attributions (event_id, version, valid_at, owner_scope, owner_domain_id, owner_project_id, rule,
    confidence,
                                   path, evidence, topology_recorded_at, reason, run_id)
"""
# An event that comes again after it was taken back has attributions already.
_FIRST_VERSION = "1 + coalesce((select version from timeline.taken_back b where b.event_id = {}), 0)"
_CHANGES = """insert into timeline.tenant_changes
    (cloud, tenant_domain_id, tenant_project_id, operation, event_id, visibility, changed_at)"""
_CHANGE = f"cloud, tenant_domain_id, tenant_project_id, '{{}}', event_id, visibility, {RECORDED_AT}"
_RETRACT_TENANT_ROWS = f"""
with doomed as ({{doomed}}), gone as (
    delete from timeline.tenant_events t using doomed d
    where t.event_id = d.event_id and t.occurred_at = d.occurred_at
      and t.tenant_project_id is not distinct from d.tenant_project_id and t.tenant_domain_id is not distinct
          from d.tenant_domain_id
    returning t.cloud, t.tenant_domain_id, t.tenant_project_id, t.event_id, t.visibility, t.relation)
{_CHANGES} select {_CHANGE.format("retract")} from gone
"""


def _insert_new(cursor: psycopg.Cursor, context: dict) -> Written:
    """Events never seen before: straight inserts, nothing to compare with."""
    cursor.execute(
        f"""insert into timeline.event_keys (event_id, occurred_at, cloud, {", ".join(HEAD_COLUMNS)}, attribution,
            rule, confidence)
        select event_id, occurred_at, cloud, {", ".join(HEAD_COLUMNS)}, {_FIRST_VERSION.format("i.event_id")}, rule,
            confidence from incoming i where is_new"""
    )
    cursor.execute(f"{_INSERT_EVENTS} select {', '.join(EVENT_COLUMNS)}, now() from incoming where is_new")
    cursor.execute(
        f"""{_INSERT_ATTRIBUTIONS} select event_id, {_FIRST_VERSION.format("i.event_id")}, occurred_at,
            owner_scope, owner_domain_id, owner_project_id, rule, confidence, path, evidence, %(pin)s, reason,
            %(run_id)s from incoming i where is_new""",
        context,
    )
    cursor.execute("drop table if exists upserted")
    cursor.execute(
        f"""create temp table upserted on commit drop as select * from ({_TENANT_ROWS.format("", " and i.is_new")}
        ) w ({", ".join(TENANT_EVENT)})""",
        context,
    )
    upserts = _upsert_tenants(cursor)
    _keep_affected(cursor, context, "where i.is_new")
    cursor.execute(
        """insert into timeline.quarantine (event_id, cloud, source, occurred_at, reason, detail, candidates)
        select event_id, cloud, source, occurred_at, quarantine_reason, quarantine_detail, candidates
        from incoming where is_new and owner_scope = 'quarantine'"""
    )
    return Written(tenant_upserts=upserts, quarantined=cursor.rowcount)


def _merge_known(cursor: psycopg.Cursor, context: dict, known: int) -> Written:
    """Events already there: what differs is updated, an owner that changed gets its next attribution."""
    cursor.execute("drop table if exists considered, differing, wanted, had, doomed, upserted")
    with by_index(cursor):
        cursor.execute(
            f"""create temp table considered on commit drop as
            select i.event_id, k.occurred_at as was_at, k.attribution,
                   ({", ".join("i." + c for c in COMPARED)}) is distinct from
                       ({", ".join("e." + c for c in COMPARED)}) as is_other,
                   ({_ANSWER.format("i")}, i.owner_scope, i.owner_domain_id, i.owner_project_id) is distinct from
                       ({_ANSWER.format("a")}, e.owner_scope, e.owner_domain_id, e.owner_project_id)
                       or i.occurred_at <> k.occurred_at as is_redecided,
                   ({", ".join("i." + c for c in HEAD_COLUMNS)}) is distinct from
                       ({", ".join("k." + c for c in HEAD_COLUMNS)}) as is_witnessed,
                   {_READ.format("i")} > {_READ.format("e")} as is_read_later
            from incoming i
            join timeline.event_keys k on k.event_id = i.event_id
            join timeline.events e on e.event_id = k.event_id and e.occurred_at = k.occurred_at
            left join timeline.attributions a on a.event_id = k.event_id and a.version = k.attribution
                and a.valid_at = k.occurred_at
            where not i.is_new and ({_READ.format("i")} >= {_READ.format("e")} or i.roads > 1)"""
        )
    cursor.execute(
        """create temp table differing on commit drop as
        select * from considered where is_other or is_redecided or is_witnessed or is_read_later"""
    )
    cursor.execute("analyze considered; analyze differing")
    updated = _update_events(cursor, context)
    upserts, retracted = _update_tenants(cursor, context)
    quarantined, released = _update_quarantine(cursor)
    return Written(0, updated, known - updated, upserts, retracted, quarantined, released)


def _update_events(cursor: psycopg.Cursor, context: dict) -> int:
    """The differing events and their heads; a better estimate of its time moves a row, to another month if need be."""
    with by_index(cursor):
        cursor.execute(
            """delete from timeline.events e using differing d
            where e.event_id = d.event_id and e.occurred_at = d.was_at"""
        )
        cursor.execute(
            f"""update timeline.event_keys k
            set (occurred_at, {", ".join(HEAD_COLUMNS)}, attribution, rule, confidence) = (i.occurred_at,
                {", ".join("i." + c for c in HEAD_COLUMNS)}, d.attribution + d.is_redecided::int, i.rule, i.confidence)
            from differing d join incoming i using (event_id) where k.event_id = d.event_id"""
        )
    cursor.execute(
        f"""{_INSERT_ATTRIBUTIONS} select i.event_id, d.attribution + 1, i.occurred_at, i.owner_scope,
            i.owner_domain_id, i.owner_project_id, i.rule, i.confidence, i.path, i.evidence, %(pin)s, i.reason,
            %(run_id)s
        from incoming i join differing d using (event_id) where d.is_redecided""",
        context,
    )
    cursor.execute(
        f"""{_INSERT_EVENTS} select {", ".join("i." + c for c in EVENT_COLUMNS)}, now()
        from incoming i join differing d using (event_id)"""
    )
    return cursor.rowcount


def _update_tenants(cursor: psycopg.Cursor, context: dict) -> tuple[int, int]:
    """Tenants' rows as they are wanted beside those they had: the numbers of upserts and of retractions.

    A tenant's row can differ where the event does not: what it is related to may have become known.
    """
    columns = ", ".join(TENANT_EVENT)
    cursor.execute(
        f"""create temp table wanted on commit drop as select * from (
            {_TENANT_ROWS.format("join considered d using (event_id)", "")}) w ({columns})""",
        context,
    )
    with by_index(cursor):
        cursor.execute(
            f"""create temp table had on commit drop as select {", ".join("t." + c for c in TENANT_EVENT)}
            from considered d join timeline.tenant_events t on t.event_id = d.event_id and t.occurred_at = d.was_at
            union all select {", ".join("t." + c for c in TENANT_EVENT)}
            from considered d join timeline.affected a on a.event_id = d.event_id and a.is_current
            join timeline.tenant_events t on t.event_id = a.affected_id and t.occurred_at = a.occurred_at"""
        )
    cursor.execute("analyze wanted; analyze had")
    cursor.execute(
        f"create temp table upserted on commit drop as select {columns} from wanted except select {columns} from had"
    )
    cursor.execute("analyze upserted")
    # What is upserted replaces what that tenant had; what nobody wants any more is taken back.
    tenant = "h.event_id = {0}.event_id and " + " and ".join(
        f"h.{c} is not distinct from {{0}}.{c}" for c in ("tenant_project_id", "tenant_domain_id")
    )
    cursor.execute(
        f"""create temp table doomed on commit drop as
        select h.event_id, h.occurred_at, h.tenant_project_id, h.tenant_domain_id, w.event_id is null as is_retracted
        from had h left join wanted w on {tenant.format("w")} left join upserted u on {tenant.format("u")}
        where w.event_id is null or u.event_id is not null"""
    )
    cursor.execute("analyze doomed")
    with by_index(cursor):
        cursor.execute(
            f"""with gone as (
                delete from timeline.tenant_events t using doomed d
                where t.event_id = d.event_id and t.occurred_at = d.occurred_at
                  and t.tenant_project_id is not distinct from d.tenant_project_id
                  and t.tenant_domain_id is not distinct from d.tenant_domain_id
                returning t.cloud, t.tenant_domain_id, t.tenant_project_id, t.event_id, t.visibility, t.relation,
                    d.is_retracted)
            {_CHANGES} select {_CHANGE.format("retract")} from gone where is_retracted"""
        )
        retracted = cursor.rowcount
    upserts = _upsert_tenants(cursor)
    _keep_affected(cursor, context, "join considered d using (event_id) where true")
    _lose_affected(cursor, context)
    return upserts, retracted


def _upsert_tenants(cursor: psycopg.Cursor) -> int:
    """The rows of `upserted` into the tenants' table, and the news of them."""
    columns = ", ".join(TENANT_EVENT)
    cursor.execute(f"{_INSERT_TENANT} select {columns}, {RECORDED_AT} from upserted")
    upserts = cursor.rowcount
    cursor.execute(f"{_CHANGES} select {_CHANGE.format('upsert')} from upserted")
    return upserts


def _keep_affected(cursor: psycopg.Cursor, context: dict, events: str) -> None:
    """Which events stand behind affected rows, and why: an attribution each. `events` narrows `incoming` (`i`)."""
    cursor.execute(
        f"""create temp table told on commit drop as with kept as (
            insert into timeline.affected as a (event_id, tenant_project_id, tenant_domain_id, affected_id, occurred_at,
                related, confidence, version, is_current)
            select s.event_id, s.tenant_project_id, s.tenant_domain_id, s.row_id, date_trunc('minute', i.occurred_at),
                s.related, s.confidence, {_FIRST_VERSION.format("s.row_id")}, true
            from shares s join incoming i using (event_id) {events} and s.relation = 'affected'
            on conflict (event_id, tenant_project_id) do update set tenant_domain_id = excluded.tenant_domain_id,
                occurred_at = excluded.occurred_at, related = excluded.related, confidence = excluded.confidence,
                version = a.version + 1, is_current = true
            where (a.tenant_domain_id, a.occurred_at, a.related, a.confidence, a.is_current) is distinct from
                (excluded.tenant_domain_id, excluded.occurred_at, excluded.related, excluded.confidence, true)
            returning a.*
        )
        select * from kept"""
    )
    _tell_affected(cursor, context)


def _lose_affected(cursor: psycopg.Cursor, context: dict) -> None:
    """Whom the events of `considered` affect no more, as is known now."""
    with by_index(cursor):
        cursor.execute(
            """create temp table told on commit drop as with lost as (
                update timeline.affected a set is_current = false, related = '[]', version = version + 1
                from considered d where d.event_id = a.event_id and a.is_current and not exists (
                    select from shares s where s.relation = 'affected' and s.row_id = a.affected_id)
                returning a.*
            )
            select * from lost"""
        )
    _tell_affected(cursor, context)


def _tell_affected(cursor: psycopg.Cursor, context: dict) -> None:
    cursor.execute(
        f"""{_INSERT_ATTRIBUTIONS} select t.affected_id, t.version, t.occurred_at,
            case when t.is_current then 'project' else 'provider' end,
            case when t.is_current then t.tenant_domain_id end, case when t.is_current then t.tenant_project_id end,
            'fan_out', t.confidence, coalesce(s.path, '[]'), jsonb_build_object('event_id', t.event_id), %(pin)s,
            case when t.is_current then 'resources of this project hung on what the event happened to'
                else 'nothing of this project hung on what the event happened to' end, %(run_id)s
        from told t left join shares s on s.row_id = t.affected_id and s.relation = 'affected'""",
        context,
    )
    cursor.execute("drop table told")


def _update_quarantine(cursor: psycopg.Cursor) -> tuple[int, int]:
    """Who came into quarantine or is there for another reason, and who was released: their numbers."""
    with by_index(cursor):
        cursor.execute(
            """update timeline.quarantine q set resolved_at = now() from differing d join incoming i using (event_id)
            where q.event_id = d.event_id and q.resolved_at is null and i.owner_scope <> 'quarantine'"""
        )
        released = cursor.rowcount
    cursor.execute(
        """insert into timeline.quarantine as q (event_id, cloud, source, occurred_at, reason, detail, candidates)
        select i.event_id, i.cloud, i.source, i.occurred_at, i.quarantine_reason, i.quarantine_detail, i.candidates
        from incoming i join considered d using (event_id) where i.owner_scope = 'quarantine'
        on conflict (event_id) do update set reason = excluded.reason, detail = excluded.detail,
            candidates = excluded.candidates, occurred_at = excluded.occurred_at, attempts = q.attempts + 1,
            resolved_at = null
        where (q.reason, q.detail, q.candidates, q.occurred_at) is distinct from
              (excluded.reason, excluded.detail, excluded.candidates, excluded.occurred_at)
            or q.resolved_at is not null"""
    )
    return cursor.rowcount, released


def _write_awaits(connection: psycopg.Connection, cursor: psycopg.Cursor, awaits: pl.DataFrame) -> None:
    if awaits.is_empty():
        return
    cursor.execute("create temp table if not exists awaiting (like timeline.awaits) on commit drop")
    cursor.execute("truncate awaiting")
    copy_frame(connection, awaits, "awaiting")
    cursor.execute("insert into timeline.awaits select * from awaiting on conflict do nothing")


def _write_walked(connection: psycopg.Connection, cursor: psycopg.Cursor, walked: pl.DataFrame) -> None:
    if walked.is_empty():
        return
    cursor.execute("create temp table if not exists walking (like timeline.walked) on commit drop")
    cursor.execute("truncate walking")
    copy_frame(connection, walked, "walking")
    cursor.execute(
        """insert into timeline.walked as w select * from walking on conflict (cloud, resource_id, event_id) do update
        set occurred_from = excluded.occurred_from, occurred_to = excluded.occurred_to
        where (w.occurred_from, w.occurred_to) is distinct from (excluded.occurred_from, excluded.occurred_to)"""
    )


def _ensure_partitions(cursor: psycopg.Cursor, events: pl.DataFrame) -> None:
    for month in events.select(pl.col("occurred_at").dt.truncate("1mo").unique().sort()).to_series():
        cursor.execute("select timeline.ensure_partition(%s)", (month,))


@contextmanager
def by_index(cursor: psycopg.Cursor) -> Iterator[None]:
    """Within, the plans of this transaction find stored rows by index, one by one.

    The cost of a merge follows what comes in, not what is stored: no plan may read a whole table for a few rows. Only
    for joins of what comes in with one stored table; two temporary tables have no index to be joined by.
    """
    for way in ("hashjoin", "mergejoin", "seqscan"):
        cursor.execute(f"set local enable_{way} = off")
    yield
    for way in ("hashjoin", "mergejoin", "seqscan"):
        cursor.execute(f"set local enable_{way} = on")


AWAITS = pl.Schema({"cloud": pl.String, "resource_id": pl.String, "event_id": pl.String, "occurred_at": INSTANT})
