"""What the evidence functions of sources share: one frame of claims from several.

An evidence function reads like a list of what its records prove::

    return together(
        existence(frame, "port", name="name", created_at="created_at"),
        owner_since(frame, "port", project_id=..., at=...),
        edges(frame, "port", "on_network", "network", ...),
    )
"""

from __future__ import annotations

import polars as pl

from timeline_assets.normalize.facts import filled, instant
from timeline_assets.normalize.registry import REGISTRY
from timeline_assets.normalize.schema import EVIDENCE, TRANSFERABLE

#: What is so in a record that was seen; a record that is gone proves only its end.
SEEN, GONE = pl.col("op") == "seen", pl.col("op") == "gone"
#: Claims that were observed, not dated: what they tell may have become so at any time since the version before.
OBSERVED = ("seen", "owner", "edges", "gone")


def told_owners(facts: pl.DataFrame) -> pl.DataFrame:
    """What facts prove beside their own owner: that a thing which can change hands was that project's at that moment.

    So a message corrects a topology that does not know of a handover yet. Only of exact times: what lies between two
    scans was proven by these. The handover itself is at the moment at which both are owners.
    """
    handovers = [name for name, entry in REGISTRY.items() if entry.handover]
    told = facts.filter(
        (pl.col("time_precision") == "exact")
        & (pl.col("occurred_from") == pl.col("occurred_to"))
        & pl.col("resource_type").is_in(list(TRANSFERABLE))
        & (pl.col("payload_project_id").fill_null("") != "")
        & ~pl.col("event_type").is_in(handovers)
    )
    given = {
        "claim": pl.lit("owner"),
        "at": pl.col("occurred_at"),
        "project_id": pl.col("payload_project_id"),
        "source": pl.col("road_source"),
    }
    same = ("cloud", "resource_type", "resource_id", "raw_ref")
    columns = given | {name: pl.col(name) for name in same}
    return told.select(
        columns.get(name, pl.lit(None)).cast(dtype).alias(name) for name, dtype in EVIDENCE.items()
    ).unique(maintain_order=True)


def claims(frame: pl.LazyFrame, resource_type: str, claim: str, **columns: pl.Expr | str) -> pl.LazyFrame:
    """One claim per row of `frame` (decoded observations, chosen by the caller): about `key`, at `observed_at`.

    A string is a literal; other columns are typed nulls. `claim` is one of EVIDENCE's. Claims of `OBSERVED` carry in
    `at_from` until when the version before was seen to be so.
    """
    given = {
        "resource_type": resource_type,
        "resource_id": pl.col("key"),
        "claim": claim,
        "at": pl.col("observed_at"),
        "at_from": pl.min_horizontal("seen_from", "observed_at") if claim in OBSERVED else pl.lit(None),
        "cloud": pl.col("cloud"),
        "source": pl.col("source"),
        "raw_ref": pl.col("raw_ref"),
        **columns,
    }
    given = {name: pl.lit(value) if isinstance(value, str) else value for name, value in given.items()}
    return frame.select(given.get(name, pl.lit(None)).cast(dtype).alias(name) for name, dtype in EVIDENCE.items())


def together(*frames: pl.LazyFrame) -> pl.LazyFrame:
    """All claims of all frames."""
    return pl.concat(frames)


def existence(
    frame: pl.LazyFrame, resource_type: str, *, name: pl.Expr | None = None, created_at: str | None = None
) -> pl.LazyFrame:
    """That the records were seen, under which name, since when they exist if they say so, and which are gone.

    `name` is by default the record's `name`, `created_at` a field of the record; an empty name is an unknown one.
    """
    seen = frame.filter(SEEN)
    known_as = filled(pl.col("now").struct.field("name") if name is None else name)
    found = [claims(seen, resource_type, "seen", name=known_as), claims(frame.filter(GONE), resource_type, "gone")]
    if created_at:
        since = instant(pl.col("now").struct.field(created_at))
        dated = claims(seen, resource_type, "created", at=since, at_from=since)
        found.append(dated.filter(pl.col("at").is_not_null()))
    return pl.concat(found)


def owner_since(frame: pl.LazyFrame, resource_type: str, *, at: pl.Expr, project_id: pl.Expr) -> pl.LazyFrame:
    """That a project has owned the record since `at` (kinds that cannot change hands), or does now if that is unknown.

    Records whose owner is null or empty prove nothing.
    """
    owned = frame.with_columns(_since=at).filter(SEEN & filled(project_id).is_not_null())
    is_dated = pl.col("_since").is_not_null()
    dated = claims(owned.filter(is_dated), resource_type, "owner_since", at=pl.col("_since"), project_id=project_id)
    return pl.concat([dated, claims(owned.filter(~is_dated), resource_type, "owner", project_id=project_id)])


def owner(
    frame: pl.LazyFrame, resource_type: str, *, project_id: pl.Expr | None = None, domain_id: pl.Expr | None = None
) -> pl.LazyFrame:
    """That a project or domain owned the record when it was observed, and no more. An empty owner proves nothing."""
    nobody = pl.lit(None, pl.String)
    owners = {
        "project_id": nobody if project_id is None else filled(project_id),
        "domain_id": nobody if domain_id is None else filled(domain_id),
    }
    owned = frame.filter(SEEN & pl.any_horizontal(value.is_not_null() for value in owners.values()))
    return claims(owned, resource_type, "owner", **owners)


def edges(
    frame: pl.LazyFrame, resource_type: str, relation: str, to_type: str | pl.Expr, to_ids: pl.Expr
) -> pl.LazyFrame:
    """To what exactly the records' edges of one relation led when observed; ids that are null or empty are left out."""
    named = pl.element().filter(pl.element().is_not_null() & (pl.element() != ""))
    return claims(
        frame.filter(SEEN),
        resource_type,
        "edges",
        relation=relation,
        to_type=to_type,
        to_ids=to_ids.list.eval(named).list.unique().list.sort().fill_null([]),
    )


def edge(
    frame: pl.LazyFrame, resource_type: str, relation: str, to_type: str | pl.Expr, to_id: pl.Expr
) -> pl.LazyFrame:
    """The same for a relation that leads to one resource or to none."""
    return edges(frame, resource_type, relation, to_type, pl.concat_list(to_id))


def edge_since(
    frame: pl.LazyFrame, resource_type: str, relation: str, to_type: str | pl.Expr, to_id: pl.Expr, *, at: pl.Expr
) -> pl.LazyFrame:
    """One dated edge a record: it began at `at` (a relation that never changes begins with the record).

    Records without a date or without the other end prove nothing.
    """
    begun = frame.with_columns(_since=at).filter(SEEN & pl.col("_since").is_not_null() & filled(to_id).is_not_null())
    return claims(
        begun,
        resource_type,
        "edge_since",
        at=pl.col("_since"),
        relation=relation,
        to_type=to_type,
        to_ids=pl.concat_list(to_id),
    )
