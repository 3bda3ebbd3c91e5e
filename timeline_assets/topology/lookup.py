"""Questions to the topology, asked for many events at once and as of one belief.

Every answer is of the belief at `pin`: the same question under the same pin has the same answer for ever. Keys come by
COPY into a temporary table; every resource asked for is one look-up by index, however large the tables are.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime

import polars as pl
import psycopg

from timeline_assets.normalize.schema import INSTANT
from timeline_assets.store.copy import copy_frame, read_frame
from timeline_assets.topology.intervals import CONFLICTS, EDGES, OWNERSHIP, RESOURCES

#: What is asked: a resource during an event's bounds, both included. `row` is the caller's number; without a
#: `resource_type` every kind with that id is meant.
KEYS = pl.Schema(
    {
        "row": pl.UInt32,
        "cloud": pl.String,
        "resource_type": pl.String,
        "resource_id": pl.String,
        "at_from": INSTANT,
        "at_to": INSTANT,
    }
)

#: Whose a resource was during the bounds asked for. `status` is one of
#:
#: ======== =============================================================================================
#: owned    one owner throughout
#: before   it begins before the first evidence of an owner; the first owner is given
#: after    it ends after the resource was gone; the last owner is given
#: hole     it lies between two owners, or on both sides of a change; no owner is given
#: conflict the claims about this time contradict each other; no owner is given
#: unowned  the resource is known, but no owner of it
#: unknown  nothing is known of the resource; `resource_type` is the one asked for
#: ======== =============================================================================================
#:
#: `is_exact`: the interval's beginning is dated and its end, if it is not, lies after the bounds. `candidates` is JSON
#: text: every owner that was known or claimed around this time, ``[{"type","id"}]``.
OWNERS = pl.Schema(
    {
        "row": pl.UInt32,
        "resource_type": pl.String,
        "status": pl.String,
        "project_id": pl.String,
        "domain_id": pl.String,
        "is_exact": pl.Boolean,
        "valid_from": INSTANT,
        "valid_to": INSTANT,
        "raw_ref": pl.String,
        "candidates": pl.String,
    }
)

#: Edges that may have existed throughout the bounds asked for. `is_exact`: it is proven that they did; otherwise the
#: edge ended at an unknown time up to `valid_to`: with its resource (`ending` = gone) or by itself (changed).
EDGES_AT = pl.Schema({"row": pl.UInt32, **{k: v for k, v in EDGES.items() if k != "cloud"}, "is_exact": pl.Boolean})

NAMES = pl.Schema(
    {"row": pl.UInt32, "resource_type": pl.String, "name": pl.String, "valid_from": INSTANT, "valid_to": INSTANT}
)

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


def pin(connection: psycopg.Connection, cloud: str) -> datetime:
    """The belief of now: when what is committed of this cloud's topology was last changed."""
    row = connection.execute("select recorded_at from topology.clock where cloud = %s", (cloud,)).fetchone()
    return row[0].astimezone(UTC) if row else BEGINNING


def owners_at(connection: psycopg.Connection, keys: pl.DataFrame, pin: datetime) -> pl.DataFrame:
    """Whose the resources were (:data:`OWNERS`): one row a key (:data:`KEYS`), or one for each kind that has the id."""
    _ask(connection, keys.select("cloud", "resource_id"))
    owned = _about(keys, _asked(connection, "ownership", OWNERSHIP, pin)).with_columns(
        _owner=_as_json(
            pl.when(pl.col("project_id").is_not_null()).then(pl.lit("project")).otherwise(pl.lit("domain")),
            pl.coalesce("project_id", "domain_id"),
        )
    )
    found = owned.filter(_BEGUN & _NOT_ENDED).with_columns(
        status=pl.lit("owned"), is_exact=pl.col("is_exact") & _PROVEN, candidates=_as_list(pl.concat_list("_owner"))
    )
    known = _about(keys, _asked(connection, "resources", RESOURCES, pin)).select("row", "resource_type").unique()
    open_keys = pl.concat([known, owned.select("row", "resource_type")]).unique().join(found, on=_ANSWER, how="anti")
    unknown = keys.join(known, on="row", how="anti").join(owned, on="row", how="anti")
    conflicts = _about(keys, _asked(connection, "conflicts", CONFLICTS, pin)).filter(_OVERLAPS)
    unfound = _between(open_keys, owned, conflicts)
    unknown = unknown.with_columns(status=pl.lit("unknown"), is_exact=pl.lit(False), candidates=pl.lit("[]"))
    answers = pl.concat([found, unfound, unknown], how="diagonal")
    return answers.match_to_schema(OWNERS, missing_columns="insert", extra_columns="ignore")


def edges_at(
    connection: psycopg.Connection,
    keys: pl.DataFrame,
    relations: Collection[str] | None,
    pin: datetime,
    *,
    backward: bool = False,
) -> pl.DataFrame:
    """The edges (:data:`EDGES_AT`) of these relations (None: of all) from the resources, or with `backward` to them."""
    near = "to" if backward else "from"
    _ask(connection, keys.select("cloud", "resource_id"))
    edges = _asked(connection, "edges", EDGES, pin, id_column=f"{near}_id", relations=relations)
    placed = edges.with_columns(resource_type=f"{near}_type", resource_id=f"{near}_id")
    there = _about(keys, placed).filter(_BEGUN & _NOT_ENDED)
    return there.with_columns(is_exact=_PROVEN).match_to_schema(EDGES_AT, extra_columns="ignore")


def names_at(connection: psycopg.Connection, keys: pl.DataFrame, pin: datetime) -> pl.DataFrame:
    """The names that the resources had throughout the bounds (:data:`NAMES`); no row where that is not known."""
    _ask(connection, keys.select("cloud", "resource_id"))
    named = _about(keys, _asked(connection, "resources", RESOURCES, pin).filter(pl.col("name").is_not_null()))
    there = named.filter(_BEGUN & (pl.col("valid_to").is_null() | (pl.col("at_to") <= pl.col("valid_to"))))
    return there.match_to_schema(NAMES, extra_columns="ignore")


def domains_of(
    connection: psycopg.Connection, cloud: str, resource_type: str, ids: pl.Series, pin: datetime
) -> pl.DataFrame:
    """`id` and `domain_id` of the projects or users that are known; their domain cannot change.

    Those about whose domain the claims still contradict each other are left out.
    """
    keys = pl.DataFrame({"resource_id": ids.drop_nulls().unique()}).select(
        cloud=pl.lit(cloud), resource_id="resource_id"
    )
    _ask(connection, keys)
    of_kind = pl.col("resource_type") == resource_type
    owned = _asked(connection, "ownership", OWNERSHIP, pin).filter(of_kind)
    disputed = _asked(connection, "conflicts", CONFLICTS, pin).filter(of_kind & pl.col("valid_to").is_null())
    return (
        owned.join(disputed, on="resource_id", how="anti")
        .sort("valid_from", nulls_last=False)
        .group_by("resource_id", maintain_order=True)
        .agg(pl.col("domain_id").last())
        .select(id="resource_id", domain_id="domain_id")
    )


def called(connection: psycopg.Connection, cloud: str, names: pl.DataFrame, pin: datetime) -> pl.DataFrame:
    """Everything that ever had one of these names (`resource_type`, `name`): the columns of RESOURCES, but the cloud.

    One row a period in which the name was held.
    """
    connection.execute(
        "create temp table if not exists asked_names (resource_type text, name text) on commit drop; "
        "truncate asked_names"
    )
    copy_frame(connection, names.select("resource_type", "name").drop_nulls().unique(), "asked_names")
    columns = [name for name in RESOURCES.names() if name != "cloud"]
    rows = read_frame(
        connection,
        f"""select x.* from asked_names a, lateral (
            select {", ".join("r." + column for column in columns)} from topology.resources r
            where r.name = a.name and r.resource_type = a.resource_type and r.cloud = %(cloud)s
              and r.recorded_from <= %(pin)s and (r.recorded_to is null or r.recorded_to > %(pin)s)
            offset 0) x""",  # noqa: S608 - names of this package
        {"cloud": cloud, "pin": pin},
    )
    return rows.cast({name: RESOURCES[name] for name in columns})


def conflicts_of(
    connection: psycopg.Connection, cloud: str, resource_type: str, ids: pl.Series, pin: datetime
) -> pl.DataFrame:
    """The periods in which the claims about these resources contradict each other: `id`, `valid_from`, `valid_to` and
    `candidates` as in :data:`OWNERS`."""
    keys = pl.DataFrame({"resource_id": ids.drop_nulls().unique()}).select(
        cloud=pl.lit(cloud), resource_id="resource_id"
    )
    _ask(connection, keys)
    found = _asked(connection, "conflicts", CONFLICTS, pin).filter(pl.col("resource_type") == resource_type)
    return found.select(
        "valid_from", "valid_to", id="resource_id", candidates=_as_list(pl.concat_list(*_claimed_ids()))
    )


def scanned_until(connection: psycopg.Connection, cloud: str, source: str) -> datetime | None:
    """Up to when complete scans of a source are part of the belief: what has no end held at least until then.

    None while there is none, or while what it found is not absorbed yet.
    """
    row = connection.execute(
        """select last_complete_from from raw.scans where cloud = %(cloud)s and source = %(source)s
        and not exists (select from raw.attempts a where a.cloud = %(cloud)s and a.source = %(source)s
            and a.absorbed_at is null and a.replaced_by is null)""",
        {"cloud": cloud, "source": source},
    ).fetchone()
    return row[0].astimezone(UTC) if row and row[0] else None


# reading


def _ask(connection: psycopg.Connection, resources: pl.DataFrame) -> None:
    connection.execute(
        "create temp table if not exists asked (cloud text, resource_id text) on commit drop; truncate asked"
    )
    copy_frame(connection, resources.unique(), "asked")


def _asked(
    connection: psycopg.Connection,
    table: str,
    schema: pl.Schema,
    pin: datetime,
    *,
    id_column: str = "resource_id",
    relations: Collection[str] | None = None,
) -> pl.DataFrame:
    """The rows of a table about the resources asked for, as believed at `pin`."""
    columns = ", ".join(f"t.{name}" for name in schema.names())
    rows = read_frame(
        connection, question(table, columns, id_column, relations), {"pin": pin, "relations": list(relations or ())}
    )
    return rows.cast(dict(schema))


def question(table: str, columns: str, id_column: str, relations: Collection[str] | None) -> str:
    """The query by which the rows about everything in `asked` are read; the lateral part is one look-up by index."""
    return f"""select x.* from asked a, lateral (
            select {columns} from topology.{table} t
            where t.cloud = a.cloud and t.{id_column} = a.resource_id
              {"and t.relation = any(%(relations)s)" if relations is not None else ""}
              and t.recorded_from <= %(pin)s and (t.recorded_to is null or t.recorded_to > %(pin)s)
            offset 0) x"""  # noqa: S608 - names of this package


# judging


_ANSWER = ["row", "resource_type"]

_BEGUN = pl.col("valid_from").is_null() | (pl.col("valid_from") <= pl.col("at_from"))
# what ended by a dated change is another's from that instant on; what was gone, or last seen then, still was
_NOT_ENDED = (
    pl.col("valid_to").is_null()
    | (pl.col("at_to") < pl.col("valid_to"))
    | ((pl.col("at_to") == pl.col("valid_to")) & (pl.col("ending") != "dated"))
)
_PROVEN = pl.col("valid_to").is_null() | (pl.col("at_to") <= pl.col("valid_to_from"))
_OVERLAPS = (pl.col("valid_from").is_null() | (pl.col("valid_from") <= pl.col("at_to"))) & (
    pl.col("valid_to").is_null() | (pl.col("valid_to") >= pl.col("at_from"))
)


def _about(keys: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    """Every key with every row about its resource; `resource_type` is the row's."""
    asked = keys.select("row", "cloud", "resource_id", "at_from", "at_to", _type="resource_type")
    pairs = asked.join(rows, on=["cloud", "resource_id"], how="inner")
    return pairs.filter(pl.col("_type").is_null() | (pl.col("_type") == pl.col("resource_type"))).drop("_type")


def _between(open_keys: pl.DataFrame, owned: pl.DataFrame, conflicts: pl.DataFrame) -> pl.DataFrame:
    """The answers for keys of known resources that no interval covers, from the intervals before and after."""
    near = (
        owned.join(open_keys, on=_ANSWER, how="semi")
        .sort("valid_from", nulls_last=False)
        .group_by(_ANSWER)
        .agg(
            _previous=pl.struct(*_GIVEN, "ending", "_owner").filter(_BEGUN).last(),
            _next=pl.struct(*_GIVEN, "_owner").filter(~_BEGUN).first(),
            _ends_before_next=(pl.col("at_to") < pl.col("valid_from")).filter(~_BEGUN).first(),
            _overlapped=pl.col("_owner").filter(_OVERLAPS).unique(),
        )
    )
    claimed = conflicts.select(
        *_ANSWER,
        _claimed=pl.concat_list(*_claimed_ids()),
    ).unique(_ANSWER)
    judged = open_keys.join(near, on=_ANSWER, how="left").join(claimed, on=_ANSWER, how="left")
    previous, following = pl.col("_previous").struct, pl.col("_next").struct
    has_previous, has_next = (owner.field("_owner").is_not_null() for owner in (previous, following))
    is_gone = previous.field("ending") == "gone"
    is_same = previous.field("_owner") == following.field("_owner")
    judged = judged.with_columns(
        status=pl.when(pl.col("_claimed").is_not_null())
        .then(pl.lit("conflict"))
        .when(~has_previous & ~has_next)
        .then(pl.lit("unowned"))
        .when(pl.col("_overlapped").list.len() > 1)
        .then(pl.lit("hole"))
        .when(~has_previous)
        .then(pl.lit("before"))
        .when(is_gone & (~has_next | is_same | pl.col("_ends_before_next")))
        .then(pl.lit("after"))
        .otherwise(pl.lit("hole")),
    )
    return judged.select(
        *_ANSWER,
        "status",
        *(
            pl.when(status="before")
            .then(following.field(name))
            .when(status="after")
            .then(previous.field(name))
            .alias(name)
            for name in _GIVEN
        ),
        is_exact=pl.lit(False),
        candidates=_as_list(
            pl.concat_list(
                pl.concat_list(previous.field("_owner"), following.field("_owner")),
                pl.col("_overlapped").fill_null([]),
                pl.col("_claimed").fill_null([]),
            )
        ),
    )


_GIVEN = ("project_id", "domain_id", "valid_from", "valid_to", "raw_ref")


def _as_json(kind: pl.Expr, identity: pl.Expr) -> pl.Expr:
    return pl.struct(type=kind, id=identity).struct.json_encode()


def _claimed_ids() -> list[pl.Expr]:
    return [pl.col(f"{kind}_ids").list.eval(_as_json(pl.lit(kind), pl.element())) for kind in ("project", "domain")]


def _as_list(owners: pl.Expr) -> pl.Expr:
    return pl.concat_str(pl.lit("["), owners.list.drop_nulls().list.unique().list.sort().list.join(","), pl.lit("]"))
