"""New claims into the topology: what they change is written, what they do not change is not touched.

The claims of the resources that new claims speak of are read again, all of them and no others; their intervals are
computed anew (:mod:`timeline_assets.topology.intervals`) and compared with what is believed. A row that is no longer
believed gets `recorded_to`, its successor is inserted: nothing else is ever updated.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

import polars as pl
import psycopg

from timeline_assets.normalize.schema import EVIDENCE, TRANSFERABLE
from timeline_assets.store.access import settle_subtrees
from timeline_assets.store.copy import copy_frame, read_frame
from timeline_assets.topology.intervals import CONFLICTS, EDGES, KEY, OWNERSHIP, RESOURCES, believe

#: Resources computed at a time: bounds memory, whatever a batch touches.
SLICE = 20_000

RESOURCE = pl.Schema(dict.fromkeys(KEY, pl.String))
TABLES = {"resources": RESOURCES, "ownership": OWNERSHIP, "conflicts": CONFLICTS, "edges": EDGES}


@dataclass(frozen=True)
class Merged:
    """What one merge did: claims that were new, the resources they speak of, rows opened and closed by table."""

    claims_new: int = 0
    resources_touched: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema=RESOURCE))
    opened: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TABLES, 0))
    closed: dict[str, int] = field(default_factory=lambda: dict.fromkeys(TABLES, 0))


def merge(
    connection: psycopg.Connection,
    evidence: pl.DataFrame,
    recorded_at: datetime | None = None,
    *,
    transferable: Collection[str] = TRANSFERABLE,
) -> Merged:
    """Claims (:data:`EVIDENCE`) into the topology, in the caller's transaction; the same claims again change nothing.

    Args:
        connection: of the pipeline's role. A cloud's topology has one writer at a time: others wait until this
            transaction ends.
        evidence: claims of one or several clouds. Those without an id or a time say nothing and are left out.
        recorded_at: when it is believed; default: the database's clock. Moved on where the cloud's last change is not
            before it, so that it strictly increases.
        transferable: the kinds that can change hands.
    """
    claims = storable(evidence)
    lock(connection, claims["cloud"].unique())
    new = remember(connection, claims)
    opened, closed = revise(connection, "table spoken_of", recorded_at=recorded_at, transferable=transferable)
    touched = read_frame(connection, "select cloud, resource_type, resource_id from concerned order by 1, 2, 3")
    return Merged(new, touched, opened, closed)


def lock(connection: psycopg.Connection, clouds: Iterable[str]) -> None:
    """Makes this transaction the one writer of these clouds' topology."""
    for cloud in sorted(clouds):
        connection.execute("select pg_advisory_xact_lock(hashtext('topology'), hashtext(%s))", (cloud,))


# claims


def storable(evidence: pl.DataFrame) -> pl.DataFrame:
    """Claims in the one form in which they are stored: no NUL, no empty id, each set of targets sorted."""
    texts = [name for name, dtype in EVIDENCE.items() if dtype == pl.String]
    targets = pl.element().str.replace_all("\0", "\ufffd", literal=True)
    return (
        evidence.select(EVIDENCE.names())
        .cast(dict(EVIDENCE))
        .with_columns(pl.col(texts).str.replace_all("\0", "\ufffd", literal=True))
        .with_columns(
            pl.col("project_id", "domain_id").replace("", None),
            pl.col("to_ids").list.eval(targets.filter(targets != "")).list.unique().list.sort(),
        )
        .filter(pl.all_horizontal(pl.col(*KEY, "claim", "at", "source").is_not_null()), pl.col("resource_id") != "")
    )


_CLAIM = ", ".join(EVIDENCE.names())

# a row's text is unambiguous: texts are quoted, null is nothing; instants as numbers hang on no setting of the session
_HASH = """md5(row(cloud, resource_type, resource_id, claim, extract(epoch from at_from), extract(epoch from at), name,
    project_id, domain_id, relation, to_type, to_ids, source)::text)::uuid"""


def remember(connection: psycopg.Connection, claims: pl.DataFrame) -> int:
    """Stores the claims that are not known yet; returns how many, and leaves their resources in `spoken_of`."""
    connection.execute(
        f"""create temp table if not exists told on commit drop as select {_CLAIM} from topology.claims limit 0;
        create temp table if not exists spoken_of (cloud text, resource_type text, resource_id text) on commit drop;
        truncate told, spoken_of"""  # noqa: S608 - constants of this module, here and below
    )
    copy_frame(connection, claims, "told")
    return connection.execute(
        f"""with new as (
            insert into topology.claims ({_CLAIM}, claim_hash)
            select distinct on (claim_hash) {_CLAIM}, {_HASH} as claim_hash from told order by claim_hash, raw_ref
            on conflict (claim_hash) do nothing
            returning cloud, resource_type, resource_id
        ), resources as (
            insert into spoken_of select distinct cloud, resource_type, resource_id from new
        )
        select count(*) from new"""  # noqa: S608
    ).fetchone()[0]


def note_told(connection: psycopg.Connection) -> None:
    """Notes the claims that :func:`remember` was handed last, new or not, as told in this transaction."""
    connection.execute("create temp table if not exists retold (claim_hash uuid primary key) on commit drop")
    connection.execute(
        f"insert into retold select distinct {_HASH} from told on conflict do nothing"  # noqa: S608
    )


def forget_untold(connection: psycopg.Connection, cloud: str, still_stored: Callable[[pl.Series], pl.Series]) -> int:
    """Removes the claims of a cloud that were not told in this transaction, though their record could tell them.

    `still_stored` gives of references to records those whose record is there; a claim whose record is not outlives it.
    Returns how many were removed.
    """
    connection.execute("create temp table if not exists retold (claim_hash uuid primary key) on commit drop")
    connection.execute("analyze retold")
    silent = read_frame(
        connection,
        """select claim_id, raw_ref from topology.claims c
        where cloud = %(cloud)s and not exists (select from retold r where r.claim_hash = c.claim_hash)""",
        {"cloud": cloud},
    )
    stored = still_stored(silent["raw_ref"].drop_nulls())
    doomed = silent.filter(pl.col("raw_ref").is_null() | pl.col("raw_ref").is_in(stored.implode()))
    return connection.execute(
        "delete from topology.claims where claim_id = any(%s)", (doomed["claim_id"].to_list(),)
    ).rowcount


_COMPACT = """
with line as (
    select *, count(*) filter (where claim = 'gone') over (
        partition by resource_id, resource_type, cloud order by at, claim = 'gone' rows unbounded preceding) as deaths
    from topology.claims where cloud = %(cloud)s
), instants as (
    select cloud, resource_type, resource_id, at, deaths, about, min(claim_id) as claim_id,
        case when count(*) = 1 then min(row(claim, name, project_id, domain_id, to_type, to_ids)::text) end as said
    from line, lateral (select case
        when claim in ('owner', 'owner_since') then 'owner'
        when claim in ('edges', 'edge_since', 'edge_until') then concat('edges ', relation)
        else claim end) a (about)
    group by cloud, resource_type, resource_id, at, deaths, about
), neighbours as (
    select claim_id, said = lag(said) over w and said = lead(said) over w and lead(at) over w < %(before)s as is_between
    from instants window w as (partition by resource_id, resource_type, cloud, about, deaths order by at)
), firsts as (
    select distinct on (resource_id, resource_type, source) claim_id from line
    where claim in ('seen', 'owner', 'edges') order by resource_id, resource_type, source, at
)
delete from topology.claims c using neighbours n
where n.is_between and c.claim_id = n.claim_id and c.claim in ('seen', 'owner', 'edges')
  and c.claim_id not in (select claim_id from firsts)"""


def compact(connection: psycopg.Connection, cloud: str, before: datetime) -> int:
    """Removes claims that only repeat, between two equal ones, what was so before a time; returns how many.

    The belief stays as it is, and so does what later evidence makes of it, as long as that evidence is about times from
    `before` on: a contradiction dated between two of the claims removed would find fewer of them around it. So this
    belongs to retention, with its horizon.
    """
    lock(connection, [cloud])
    return connection.execute(_COMPACT, {"cloud": cloud, "before": before}).rowcount


# belief


def revise(
    connection: psycopg.Connection,
    resources: str,
    params: Mapping[str, object] | None = None,
    *,
    recorded_at: datetime | None = None,
    transferable: Collection[str] = TRANSFERABLE,
) -> tuple[dict[str, int], dict[str, int]]:
    """Computes the belief about resources anew from all their claims, and writes what differs from what is believed.

    `resources` is a query (with `params`) for their `cloud`, `resource_type`, `resource_id`. Afterwards they are in the
    table `concerned`; those whose name, owner or edges changed are on the list `topology.touched`.

    Returns:
        how many rows were opened and closed, by table.
    """
    opened, closed = dict.fromkeys(TABLES, 0), dict.fromkeys(TABLES, 0)
    is_other_tree = False
    for part in range(_concern(connection, resources, params, recorded_at)):
        claims = _of_part(connection, part, "claims", EVIDENCE)
        changes, ends = [], []
        for (table, schema), rows in zip(TABLES.items(), believe(claims, transferable=transferable), strict=True):
            believed = _of_part(connection, part, table, schema)
            outdated, new = _differences(believed, rows, schema)
            _write(connection, table, outdated, new)
            opened[table] += new.height
            closed[table] += outdated.height
            changes.append(_spans(table, outdated, new))
            if table == "edges":
                ends.append(_far_spans(outdated, new))
                is_other_tree |= any((rows["relation"] == "child_of").any() for rows in (outdated, new))
        _report(connection, "touched", pl.concat(changes))
        _report(connection, "touched_ends", pl.concat(ends))
    if is_other_tree:
        settle_subtrees(connection)
    return opened, closed


def _concern(
    connection: psycopg.Connection, resources: str, params: Mapping[str, object] | None, recorded_at: datetime | None
) -> int:
    """Puts the resources into `concerned`, in numbered parts, and moves their clouds' clocks; returns the parts."""
    connection.execute(
        """create temp table if not exists concerned (part int, cloud text, resource_type text, resource_id text)
            on commit drop;
        truncate concerned"""
    )
    connection.execute(
        f"""insert into concerned
        select (row_number() over (order by cloud, resource_type, resource_id) - 1) / {SLICE}, * from (
            select distinct cloud, resource_type, resource_id from ({resources}) r) d""",  # noqa: S608
        params,
    )
    connection.execute(
        """insert into topology.clock as c
        select cloud, coalesce(%s, clock_timestamp()) from (select distinct cloud from concerned) d order by cloud
        on conflict (cloud) do update
        set recorded_at = greatest(excluded.recorded_at, c.recorded_at + interval '1 microsecond')""",
        (recorded_at,),
    )
    return connection.execute("select coalesce(max(part) + 1, 0) from concerned").fetchone()[0]


def _of_part(connection: psycopg.Connection, part: int, table: str, schema: pl.Schema) -> pl.DataFrame:
    """The rows about one part of `concerned`: claims, or what is believed now, the latter with its place as `_place`.

    A lateral look-up for each resource: by index, however large the planner thinks the table is.
    """
    prefix = "from" if table == "edges" else "resource"
    is_belief = table != "claims"
    columns = ", ".join(["ctid::text as _place"] * is_belief + [f"t.{name}" for name in schema.names()])
    rows = read_frame(
        connection,
        f"""select x.* from concerned c, lateral (
            select {columns} from topology.{table} t
            where t.cloud = c.cloud and t.{prefix}_type = c.resource_type and t.{prefix}_id = c.resource_id
              {"and t.recorded_to is null" * is_belief}
            offset 0) x
        where c.part = {part:d}""",  # noqa: S608
    )
    return rows.cast(dict(schema))


def _differences(believed: pl.DataFrame, rows: pl.DataFrame, schema: pl.Schema) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Rows that are no longer believed, and those that are new; who first gave evidence makes no difference."""
    columns = [name for name in schema if name != "raw_ref"]
    lists = [name for name in columns if isinstance(schema[name], pl.List)]
    same = [pl.col(name).list.join("\0") if name in lists else pl.col(name) for name in columns]
    key = columns[:3]
    start, until = pl.col("valid_from"), pl.coalesce(pl.col("^valid_to_from$"), "valid_to")
    marked = [
        frame.with_columns(
            _is_first=start.is_null() | (start == start.min().over(key)),
            _is_last=start.eq_missing(start.max().over(key)),
            _previous_to=until.shift(1).over(key, order_by="valid_from"),
            _next_from=start.shift(-1).over(key, order_by="valid_from"),
        )
        for frame in (believed, rows)
    ]
    outdated = marked[0].join(marked[1], left_on=same, right_on=same, how="anti", nulls_equal=True)
    new = marked[1].join(marked[0], left_on=same, right_on=same, how="anti", nulls_equal=True)
    return outdated, new


def _write(connection: psycopg.Connection, table: str, outdated: pl.DataFrame, new: pl.DataFrame) -> None:
    if not outdated.is_empty():
        connection.execute("create temp table if not exists outdated (place tid) on commit drop; truncate outdated")
        copy_frame(connection, outdated.select(place="_place"), "outdated")
        connection.execute(
            f"""update topology.{table} t set recorded_to = k.recorded_at from outdated o, topology.clock k
            where t.ctid = o.place and k.cloud = t.cloud"""  # noqa: S608
        )
    if not new.is_empty():
        # PostgreSQL copies into no table under row security
        columns = ", ".join(name for name in new.columns if not name.startswith("_"))
        connection.execute(
            f"""create temp table if not exists new_{table} on commit drop as
                select {columns} from topology.{table} limit 0;
            truncate new_{table}"""  # noqa: S608
        )
        copy_frame(connection, new.select(columns.split(", ")), f"new_{table}")
        connection.execute(
            f"""insert into topology.{table} ({columns}, recorded_from)
            select n.*, k.recorded_at from new_{table} n join topology.clock k using (cloud)"""  # noqa: S608
        )


# what the ownership stage must look at again


def _spans(table: str, outdated: pl.DataFrame, new: pl.DataFrame) -> pl.DataFrame:
    """From when to when the belief about each resource has changed: KEY, `_from`, `_to`; null is without end.

    A row that only ended, or ends otherwise, has changed from its first end on. What comes before the first row and
    after the last is judged by them, so it changes with them; and what lies between two owners is judged by both.
    """
    changed = pl.concat([outdated.drop("_place"), new])
    beginning = [name for name in new.columns if name not in ("valid_to", "valid_to_from", "ending", "raw_ref")]
    until = pl.col("valid_to_from") if "valid_to_from" in new.columns else pl.col("valid_to")
    is_other_end = pl.len() == 2
    is_alone = pl.lit(table == "conflicts")  # says nothing about any other time
    is_between = pl.lit(table == "ownership")
    start = pl.when(is_between).then(pl.col("_previous_to").min()).otherwise(pl.col("valid_from").first())
    end = pl.when(is_between).then(pl.col("_next_from").max()).otherwise(pl.col("valid_to").max())
    return (
        changed.group_by([name for name in beginning if not name.startswith("_")])
        .agg(
            _from=pl.when(is_other_end).then(until.min()).when(~pl.col("_is_first").any() | is_alone).then(start),
            _to=pl.when((~pl.col("_is_last").any() | is_alone) & pl.col("valid_to").is_not_null().all()).then(end),
        )
        .select(*(pl.col(name).alias(key) for name, key in zip(new.columns[:3], KEY, strict=True)), "_from", "_to")
    )


def _far_spans(outdated: pl.DataFrame, new: pl.DataFrame) -> pl.DataFrame:
    """The same for the resources to which the edges lead, which are concerned while the edge holds and not before."""
    changed = pl.concat([outdated.drop("_place"), new])
    return (
        changed.group_by("cloud", "from_type", "from_id", "relation", "to_type", "to_id", "valid_from")
        .agg(
            _from=pl.when(pl.len() == 2).then(pl.col("valid_to_from").min()).otherwise(pl.col("valid_from").first()),
            _to=pl.when(pl.col("valid_to").is_not_null().all()).then(pl.col("valid_to").max()),
        )
        .select("cloud", pl.col("to_type").alias("resource_type"), pl.col("to_id").alias("resource_id"), "_from", "_to")
    )


def _report(connection: psycopg.Connection, table: str, spans: pl.DataFrame) -> None:
    """Puts the resources on a list of `topology`; a span that is there already is widened."""
    touched = spans.group_by(KEY).agg(
        changed_from=pl.when(pl.col("_from").is_not_null().all()).then(pl.col("_from").min()),
        changed_to=pl.when(pl.col("_to").is_not_null().all()).then(pl.col("_to").max()),
    )
    if touched.is_empty():
        return
    connection.execute(
        """create temp table if not exists changed (like topology.touched) on commit drop;
        alter table changed alter recorded_at drop not null;
        truncate changed"""
    )
    copy_frame(connection, touched, "changed")
    connection.execute(
        f"""insert into topology.{table} as t
        select c.cloud, c.resource_type, c.resource_id, c.changed_from, c.changed_to, k.recorded_at
        from changed c join topology.clock k using (cloud)
        on conflict (cloud, resource_type, resource_id) do update set
            changed_from = case when t.changed_from is not null then least(t.changed_from, excluded.changed_from) end,
            changed_to = case when t.changed_to is not null then greatest(t.changed_to, excluded.changed_to) end,
            recorded_at = excluded.recorded_at"""  # noqa: S608
    )
