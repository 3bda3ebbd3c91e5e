"""From claims to intervals: what existed, whose it was, what it hung on, and from when to when.

A pure function of the *set* of claims about a resource (:data:`~timeline_assets.normalize.schema.EVIDENCE`): in which
order they came, how often, and in how many batches changes nothing. Everything is windowed expressions and joins; there
is no loop over resources.

**Lives.** Claims of existence (all but ``gone`` and the dated edges) in order of time, cut by ``gone``, are lives; an
id that comes back has a second one. A life begins at its earliest claim, and for projects and domains the first life
begins at the beginning. It ends at its ``gone``, in (`valid_to_from`, `valid_to`]; a dated end counts more than an
inferred one. Edges that are merely dated prove no life: they may be dated after it.

**What `at_from` is.** On ``owner``, ``seen`` and ``edges`` it says when the version before was still the truth: what
changed, changed in (`at_from`, `at`]. It is believed only if the same source had observed the resource by then.

**Owners.** Equal claims in a row are one interval. Where an owner follows another and the change is dated
(``owner_since``), the first one ends there. Where it is not, the first is proven until its last claim, or until the
next one's `at_from`; the time to the next claim is nobody's. A kind that cannot change hands is owned through all its
life; if its claims contradict each other it is nobody's from the first contradiction until a dated claim settles it,
and a row of `conflicts` says so. Of a kind that can change hands two owners at one instant are a conflict too. If all
claims about a kind that cannot change hands name one owner, lives without a claim of their own are that owner's.

**Names** hold like owners that change without a date; where the name is not known the row's name is null.

**Edges.** All ``edges`` claims of a relation at one instant are one set; a target in consecutive sets is one interval
from the first of them. A target missing from the next set ended (`ending` = changed) in (`valid_to_from`, `valid_to`],
the later being that set's time: unlike an owner, an edge is not exclusive and is kept as possible for that while. A
dated beginning or end counts as it is dated, and more than an observation of the same instant. ``gone`` ends all.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import polars as pl

from timeline_assets.normalize.schema import EVIDENCE, INSTANT, TRANSFERABLE

KEY = ("cloud", "resource_type", "resource_id")

_VALID = {"valid_from": INSTANT, "valid_to": INSTANT, "valid_to_from": INSTANT}

RESOURCES = pl.Schema({**dict.fromkeys(KEY, pl.String), "name": pl.String, **_VALID, "raw_ref": pl.String})

#: `is_exact`: `valid_from` is dated by the service, or the beginning. `ending`: ``dated`` exactly at `valid_to`,
#: ``gone`` with the resource, ``changed`` (proven until `valid_to`, then it is not known whose it was), null: still so.
OWNERSHIP = pl.Schema(
    {
        **dict.fromkeys((*KEY, "project_id", "domain_id"), pl.String),
        **_VALID,
        "is_exact": pl.Boolean,
        "ending": pl.String,
        "raw_ref": pl.String,
    }
)

#: Periods whose claims contradict each other, with those they name.
CONFLICTS = pl.Schema(
    {
        **dict.fromkeys(KEY, pl.String),
        "project_ids": pl.List(pl.String),
        "domain_ids": pl.List(pl.String),
        "valid_from": INSTANT,
        "valid_to": INSTANT,
    }
)

EDGES = pl.Schema(
    {
        **dict.fromkeys(("cloud", "from_type", "from_id", "relation", "to_type", "to_id"), pl.String),
        **_VALID,
        "ending": pl.String,
        "raw_ref": pl.String,
    }
)

#: Kinds whose ids hold from the beginning.
ALWAYS = ("project", "domain")
#: Kinds that belong to a domain and never to a project.
OF_DOMAIN = ("project", "domain", "user")
#: Claims that prove that the source had the resource before it.
OBSERVED = ("seen", "owner", "edges")
DATED_EDGES = ("edge_since", "edge_until")


class Belief(NamedTuple):
    """What a set of claims comes to: one frame a table, without the times of recording."""

    resources: pl.DataFrame
    ownership: pl.DataFrame
    conflicts: pl.DataFrame
    edges: pl.DataFrame


def believe(claims: pl.DataFrame, *, transferable: Collection[str] = TRANSFERABLE) -> Belief:
    """The intervals of every resource that `claims` (:data:`EVIDENCE`) speaks of; they must be all claims about it.

    `transferable` are the kinds that can change hands: a cloud whose policy forbids transfers has fewer.
    """
    numbered = _numbered(claims.select(EVIDENCE.names()), transferable)
    keys = numbered.select("_r", *KEY).unique("_r")
    line = _in_lives(numbered.filter(~pl.col("claim").is_in(DATED_EDGES)))
    lives = _lives(line)
    ownership, conflicts = _ownership(line, lives)
    return Belief(
        _shaped(_resources(line, lives), keys, RESOURCES),
        _shaped(ownership, keys, OWNERSHIP),
        _shaped(conflicts, keys, CONFLICTS),
        _shaped(_edges(numbered, lives), keys.rename({"resource_type": "from_type", "resource_id": "from_id"}), EDGES),
    )


def _shaped(frame: pl.DataFrame, keys: pl.DataFrame, schema: pl.Schema) -> pl.DataFrame:
    rows = frame.join(keys, on="_r", how="inner").select(pl.col(name).cast(dtype) for name, dtype in schema.items())
    return rows.sort([name for name in schema.names() if not isinstance(schema[name], pl.List)])


def _numbered(claims: pl.DataFrame, transferable: Collection[str]) -> pl.DataFrame:
    """The claims with a number a resource, one owner column, and `at_from` only where it is to be believed."""
    keys = claims.select(KEY).unique(maintain_order=True).with_row_index("_r")
    observed = pl.col("at").filter(pl.col("claim").is_in(OBSERVED))
    is_known = pl.col("at_from") >= observed.min().over("_r", "source")
    is_of_domain = pl.col("resource_type").is_in(OF_DOMAIN) | (pl.col("project_id").fill_null("") == "")
    owner = pl.when(is_of_domain).then(pl.lit("d") + pl.col("domain_id")).otherwise(pl.lit("p") + pl.col("project_id"))
    return claims.join(keys, on=list(KEY), how="left").with_columns(
        _is_gone=pl.col("claim") == "gone",
        _since=pl.when((pl.col("claim") == "gone") | (is_known & (pl.col("at_from") < pl.col("at")))).then("at_from"),
        _owner=pl.when(pl.col("claim").is_in(["owner", "owner_since"]) & (owner.str.len_bytes() > 1)).then(owner),
        _is_dated=pl.col("claim").is_in(["created", "owner_since"]),
        _can_move=pl.col("resource_type").is_in(list(transferable)),
        _is_always=pl.col("resource_type").is_in(ALWAYS),
    )


def _in_lives(numbered: pl.DataFrame) -> pl.DataFrame:
    """The claims in order of time with the number of their life; at one instant, to exist comes before to be gone."""
    is_new = pl.col("_r").ne_missing(pl.col("_r").shift()) | (~pl.col("_is_gone") & pl.col("_is_gone").shift())
    return numbered.sort("_r", "at", "_is_gone").with_columns(_life=is_new.fill_null(True).cum_sum())


def _lives(line: pl.DataFrame) -> pl.DataFrame:
    """One row a life: `_start`, `_end`, `_end_from` and whether the start is dated or the beginning."""
    is_gone = pl.col("_is_gone")
    is_first = pl.col("_life") == pl.col("_life").min().over("_r")
    lives = line.group_by("_life").agg(
        pl.col("_r", "_can_move", "_is_always").first(),
        _first=pl.col("at").filter(~is_gone).min(),
        _last=pl.col("at").filter(~is_gone).max(),
        _has_date=pl.col("_is_dated").filter(pl.col("at") == pl.col("at").min()).any(),
        _dated_end=pl.col("at").filter(is_gone & (pl.col("_since") == pl.col("at"))).min(),
        _end=pl.col("at").filter(is_gone).min(),
        _low=pl.col("_since").filter(is_gone).max(),
        _ref=pl.col("raw_ref").filter(~is_gone & (pl.col("at") == pl.col("at").min())).min(),
    )
    lives = lives.with_columns(_is_unbounded=pl.col("_is_always") & is_first, _end=pl.coalesce("_dated_end", "_end"))
    return lives.filter(pl.col("_first").is_not_null() | pl.col("_is_unbounded")).select(
        "_r",
        "_life",
        "_can_move",
        "_end",
        "_ref",
        _start=pl.when(~pl.col("_is_unbounded")).then("_first"),
        _is_start_dated=pl.col("_has_date") | pl.col("_is_unbounded"),
        _end_from=pl.when(pl.col("_end").is_not_null()).then(
            pl.max_horizontal("_last", pl.min_horizontal("_end", pl.coalesce("_dated_end", "_low")))
        ),
    )


def _runs(instants: pl.DataFrame, lives: pl.DataFrame) -> pl.DataFrame:
    """Equal values in a row as one interval, within each life; a null value is one that is not known.

    `instants` has one row a life and instant: `_life`, `at`, `_value`, `_since`, `_is_dated`, `_ref`. The answer has
    `_from`, `_to`, `_to_from`, `_ending`; a run of null fills the time between its neighbours.
    """
    is_new = pl.col("_life").ne_missing(pl.col("_life").shift()) | pl.col("_value").ne_missing(pl.col("_value").shift())
    runs = (
        instants.sort("_life", "at")
        .with_columns(_run=is_new.cum_sum())
        .group_by("_run", maintain_order=True)
        .agg(
            pl.col("_life", "_value", "_since", "_is_dated", "_ref").first(),
            _first=pl.col("at").first(),
            _last=pl.col("at").last(),
        )
        .join(lives.drop("_ref"), on="_life", how="inner", maintain_order="left")
    )
    has_next = (pl.col("_life") == pl.col("_life").shift(-1)).fill_null(False)
    following = {name: pl.when(has_next).then(pl.col(name).shift(-1)) for name in ("_first", "_since", "_is_dated")}
    runs = runs.with_columns(
        _has_next=has_next,
        _next=following["_first"],
        _next_since=following["_since"],
        _next_dated=following["_is_dated"],
    ).with_columns(
        _proven=pl.when(~pl.col("_has_next"))
        .then("_end")
        .when("_next_dated")
        .then("_next")
        .otherwise(pl.max_horizontal("_last", "_next_since"))
    )
    is_first = pl.col("_life").ne_missing(pl.col("_life").shift())
    is_known = pl.col("_value").is_not_null()
    before = pl.when(~is_first).then(pl.col("_proven").shift())
    return runs.with_columns(
        _is_first=is_first,
        _before=before,
        _from=pl.when(is_known | is_first).then("_first").otherwise(before),
        _to=pl.when(is_known | ~pl.col("_has_next")).then("_proven").otherwise("_next"),
    ).with_columns(
        _to_from=pl.when(pl.col("_has_next")).then("_to").otherwise("_end_from"),
        _ending=pl.when("_next_dated")
        .then(pl.lit("dated"))
        .when("_has_next")
        .then(pl.lit("changed"))
        .when(pl.col("_end").is_not_null())
        .then(pl.lit("gone")),
    )


def _resources(line: pl.DataFrame, lives: pl.DataFrame) -> pl.DataFrame:
    named = line.filter((pl.col("claim") == "seen") & pl.col("name").is_not_null())
    instants = named.group_by("_life", "at").agg(
        _value=pl.when(pl.col("name").n_unique() == 1).then(pl.col("name").min()),
        _since=pl.col("_since").max(),
        _is_dated=pl.lit(False),
        _ref=pl.col("raw_ref").min(),
    )
    runs = _runs(instants, lives)
    names = runs.select(
        "_r",
        name="_value",
        valid_from=pl.when(pl.col("_is_first") & pl.col("_value").is_null()).then("_start").otherwise("_from"),
        valid_to="_to",
        valid_to_from="_to_from",
        raw_ref="_ref",
    )
    # before the first name of a life, and between one name and the next
    starts = pl.when("_is_first").then("_start").otherwise("_before")
    follows_unknown = ~pl.col("_is_first") & pl.col("_value").shift().is_null()
    is_gap = (starts < pl.col("_first")) | (pl.col("_is_first") & pl.col("_start").is_null())
    gaps = runs.filter(pl.col("_value").is_not_null() & ~follows_unknown & is_gap).select(
        "_r", valid_from=starts, valid_to="_first", valid_to_from="_first"
    )
    nameless = lives.join(runs, on="_life", how="anti").select(
        "_r", valid_from="_start", valid_to="_end", valid_to_from="_end_from", raw_ref="_ref"
    )
    return pl.concat([names, gaps, nameless], how="diagonal")


def _ownership(line: pl.DataFrame, lives: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    claimed = line.filter(pl.col("_owner").is_not_null())
    runs = _runs(_owner_instants(claimed), lives)
    # a kind that cannot change hands is its first owner's from the beginning of its life
    is_whole = pl.col("_is_first") & ~pl.col("_can_move")
    runs = runs.select(
        "_r",
        "_life",
        "_value",
        valid_from=pl.when(is_whole).then("_start").otherwise("_from"),
        valid_to="_to",
        valid_to_from="_to_from",
        is_exact=pl.when(is_whole).then("_is_start_dated").otherwise("_is_dated"),
        ending="_ending",
        raw_ref="_ref",
    )
    rows = pl.concat([runs.filter(pl.col("_value").is_not_null()), _inherited(claimed, lives)], how="diagonal")
    owned = rows.with_columns(project_id=_project("_value"), domain_id=_domain("_value"))
    return owned, _conflicts(runs.filter(pl.col("_value").is_null()), claimed)


def _owner_instants(claimed: pl.DataFrame) -> pl.DataFrame:
    """One row a life and instant with the one owner claimed; null where the claims contradict each other."""
    dated = pl.col("_owner").filter(pl.col("claim") == "owner_since")
    has_one_date = pl.col("_can_move").first() & (dated.n_unique() == 1)
    instants = (
        claimed.group_by("_life", "at")
        .agg(
            pl.col("_can_move").first(),
            _value=pl.when(has_one_date)
            .then(dated.min())
            .when(pl.col("_owner").n_unique() == 1)
            .then(pl.col("_owner").min()),
            _is_dated=(pl.col("claim") == "owner_since").any(),
            _since=pl.col("_since").max(),
            _ref=pl.col("raw_ref").min(),
        )
        .sort("_life", "at")
        .with_columns(_is_dated=pl.col("_is_dated") & pl.col("_value").is_not_null())
    )
    is_change = (pl.col("_life") == pl.col("_life").shift()) & pl.col("_value").ne_missing(pl.col("_value").shift())
    is_contradiction = pl.col("_value").is_null() | (is_change & ~pl.col("_is_dated"))
    verdict = pl.when(is_contradiction).then(False).when(pl.col("_is_dated")).then(True)
    is_settled = verdict.forward_fill().over("_life").fill_null(True)
    return instants.with_columns(_value=pl.when(pl.col("_can_move") | is_settled).then("_value"))


def _inherited(claimed: pl.DataFrame, lives: pl.DataFrame) -> pl.DataFrame:
    """Lives without a claim of their own, of kinds that cannot change hands, whose claims all name one owner."""
    sole = claimed.group_by("_r").agg(
        pl.col("_owner").n_unique().alias("_owners"), pl.col("_owner").min().alias("_value")
    )
    silent = lives.filter(~pl.col("_can_move")).join(claimed, on="_life", how="anti")
    return silent.join(sole.filter(pl.col("_owners") == 1), on="_r", how="inner").select(
        "_r",
        "_value",
        valid_from="_start",
        valid_to="_end",
        valid_to_from="_end_from",
        is_exact="_is_start_dated",
        ending=pl.when(pl.col("_end").is_not_null()).then(pl.lit("gone")),
        raw_ref="_ref",
    )


def _conflicts(periods: pl.DataFrame, claimed: pl.DataFrame) -> pl.DataFrame:
    named = claimed.join(periods, on="_life", how="semi").group_by("_life").agg(_named=pl.col("_owner").unique().sort())
    return periods.join(named, on="_life", how="inner").select(
        "_r",
        "valid_from",
        "valid_to",
        project_ids=pl.col("_named").list.eval(_project("").drop_nulls()),
        domain_ids=pl.col("_named").list.eval(_domain("").drop_nulls()),
    )


def _edges(numbered: pl.DataFrame, lives: pl.DataFrame) -> pl.DataFrame:
    """Every sign that an edge was there finds the first sign after it that it was not; equal ends are one interval."""
    claimed = numbered.filter(pl.col("claim").is_in(["edges", *DATED_EDGES]) & pl.col("relation").is_not_null())
    claimed = claimed.with_columns(
        _relation=pl.struct("_r", "relation").rank("dense"), to_type=pl.col("to_type").fill_null("")
    )
    single = claimed.explode("to_ids").rename({"to_ids": "to_id"}).filter(pl.col("to_id").is_not_null())
    there = single.filter(pl.col("claim") != "edge_until").with_columns(
        _order=_order(pl.when(pl.col("claim") == "edge_since").then(_BEGUN).otherwise(_THERE))
    )
    deaths = lives.filter(pl.col("_end").is_not_null()).select("_r", "_end", "_end_from").sort("_end")
    signs = (
        there.sort("_order")
        .join_asof(
            _edge_ends(claimed, single, there).sort("_order"),
            on="_order",
            by=_TARGET,
            strategy="forward",
            suffix="_ended",
            check_sortedness=False,
        )
        .sort("at")
        .join_asof(
            deaths, left_on="at", right_on="_end", by="_r", strategy="forward", coalesce=False, check_sortedness=False
        )
        .with_columns(_is_gone=(pl.col("_end") <= pl.col("at_ended")).fill_null(pl.col("_end").is_not_null()))
        .with_columns(valid_to=pl.when("_is_gone").then("_end").otherwise("at_ended"))
    )
    edges = signs.group_by("_r", "relation", "to_type", "to_id", "valid_to").agg(
        pl.col("_is_gone", "_is_dated_ended", "_since_ended", "_end_from").first(),
        valid_from=pl.col("at").min(),
        _last=pl.col("at").max(),
        raw_ref=pl.col("raw_ref").filter(pl.col("at") == pl.col("at").min()).min(),
    )
    is_gone, is_dated, is_open = pl.col("_is_gone"), pl.col("_is_dated_ended"), pl.col("valid_to").is_null()
    return edges.with_columns(
        ending=pl.when(is_open)
        .then(None)
        .when(is_gone)
        .then(pl.lit("gone"))
        .when(is_dated)
        .then(pl.lit("dated"))
        .otherwise(pl.lit("changed")),
        valid_to_from=pl.when(is_open)
        .then(None)
        .when(is_gone)
        .then(pl.max_horizontal("_last", "_end_from"))
        .when(is_dated)
        .then("valid_to")
        .otherwise(pl.max_horizontal("_last", "_since_ended")),
    )


_TARGET = ["_relation", "to_type", "to_id"]

# the order of signs at one instant, by which what is dated counts more than what was observed
_THERE, _ENDED, _MISSING, _BEGUN = range(4)


def _order(sign: int | pl.Expr) -> pl.Expr:
    return pl.col("at").dt.epoch("us") * 4 + sign


def _edge_ends(claimed: pl.DataFrame, single: pl.DataFrame, there: pl.DataFrame) -> pl.DataFrame:
    """The signs that an edge was not there: a dated end, and the first set without it after a sign that it was."""
    sets = claimed.filter(pl.col("claim") == "edges").group_by("_relation", "at").agg(pl.col("_since").max())
    missing = (
        there.select(*_TARGET, pl.col("at").alias("_there_at"))
        .sort("_there_at")
        .join_asof(
            sets.sort("at"),
            left_on="_there_at",
            right_on="at",
            by="_relation",
            strategy="forward",
            allow_exact_matches=False,
            coalesce=False,
            check_sortedness=False,
        )
        .filter(pl.col("at").is_not_null())
        .join(single.filter(pl.col("claim") == "edges"), on=[*_TARGET, "at"], how="anti")
        .select(*_TARGET, "at", "_since", _is_dated=pl.lit(False), _order=_order(_MISSING))
    )
    until = single.filter(pl.col("claim") == "edge_until")
    dated = until.select(*_TARGET, "at", "_since", _is_dated=pl.lit(True), _order=_order(_ENDED))
    return pl.concat([missing, dated]).unique()


# an owner as one text: "p" or "d", then the project's or the domain's id


def _project(column: str) -> pl.Expr:
    owner = pl.col(column) if column else pl.element()
    return pl.when(owner.str.starts_with("p")).then(owner.str.slice(1))


def _domain(column: str) -> pl.Expr:
    owner = pl.col(column) if column else pl.element()
    return pl.when(owner.str.starts_with("d")).then(owner.str.slice(1))
