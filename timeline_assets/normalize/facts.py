"""What the normalizers of sources share: decoding, the life of a compared record, and the frame of facts.

Everything is Polars expressions on lazy frames. A normalizer reads like this::

    frame = decode(observations, RECORD)            # adds `now` and `was`
    frame = lifecycle(frame, created_at=..., ...)   # one row per thing that happened
    return facts(frame, event_type=..., ...)        # every column of FACT, in order

A record whose shape is not what its dtype says makes the whole frame raise: the normalize stage finds it by halving and
sets it aside.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import timedelta

import polars as pl

from timeline_assets.normalize.identity import with_event_id
from timeline_assets.normalize.schema import FACT, INSTANT

#: Goes into every fact: raise it when a normalizer's answer changes, so that what it wrote before is made again.
NORMALIZER_VERSION = "1"

#: What a service that writes whole seconds leaves open.
SECOND = timedelta(seconds=1)


def decode(observations: pl.LazyFrame, record: pl.Struct, *, required: Sequence[str] = ("id",)) -> pl.LazyFrame:
    """Observations with `now` and `was`: `body` and `previous` as structs of `record`'s fields.

    Fields that `record` does not declare are ignored, missing ones are null. Raises on JSON of another shape and on a
    `body` without one of the `required` fields.
    """
    decoded = observations.with_columns(
        now=pl.col("body").str.json_decode(record), was=pl.col("previous").str.json_decode(record)
    )
    checked = [_required(pl.col("now").struct.field(name), name) for name in required]
    return decoded.filter(pl.all_horizontal(checked))


def instant(text: pl.Expr) -> pl.Expr:
    """UTC instants from the services' spellings: ``…T08:32:11Z``, ``…T08:32:11.000000``, ``… 08:32:11+00:00``.

    Null stays null; anything else that is no time raises.
    """
    plain = text.str.replace(" ", "T", literal=True).str.replace(r"(Z|[+-]00:?00)$", "")
    return plain.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", time_unit="us", strict=True).dt.replace_time_zone("UTC")


def filled(text: pl.Expr) -> pl.Expr:
    """`text`, with null for an empty string: OpenStack writes ``""`` where it means nobody or nothing."""
    return pl.when(text != "").then(text)


def json_text(value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """A value as JSON text (null: ``null``), its lists sorted: OpenStack promises no order within them."""
    if isinstance(dtype, pl.List):
        items = value.list.eval(json_text(pl.element(), dtype.inner)).list.sort().list.join(",")
        return (pl.lit("[") + items + pl.lit("]")).fill_null("null")
    encoded = pl.struct(value.alias("v")).struct.json_encode()  # {"v":…}
    return encoded.str.slice(5, encoded.str.len_chars() - 6)


def changes(record: pl.Struct, tracked: Sequence[str], *, verbatim: Sequence[str] = ()) -> pl.Expr:
    """``[{"path","old","new"}]`` as JSON text for those `tracked` paths that differ between `was` and `now`, by path.

    A path is a field of `record`; parts of a nested one are joined by ``/``. `verbatim` are top-level fields compared
    and given as the JSON they are, for objects with keys of their own (metadata). ``[]`` where nothing differs or there
    was nothing before.
    """
    texts = {path: tuple(json_text(*_at(side, path, record)) for side in ("was", "now")) for path in tracked}
    for path in verbatim:
        texts[path] = tuple(_verbatim(column, path) for column in ("previous", "body"))
    entries = []
    for path, (old, new) in sorted(texts.items()):
        head = pl.lit(f'{{"path":{json.dumps(path)},"old":')
        entry = pl.concat_str(head, old, pl.lit(',"new":'), new, pl.lit("}"))
        entries.append(pl.when(pl.col("was").is_not_null() & (old != new)).then(entry))
    return pl.lit("[") + pl.concat_list(entries).list.drop_nulls().list.join(",") + pl.lit("]")


def related(*links: tuple[str, pl.Expr, str]) -> pl.Expr:
    """``[{"type","id","role"}]`` as JSON text from (type, id, role); an id that is null or empty is left out."""
    entries = [
        pl.when(filled(target).is_not_null()).then(
            pl.struct(type=pl.lit(kind), id=target, role=pl.lit(role)).struct.json_encode()
        )
        for kind, target, role in links
    ]
    return pl.lit("[") + pl.concat_list(entries).list.drop_nulls().list.join(",") + pl.lit("]")


def digest(text: pl.Expr) -> pl.Expr:
    """The first 16 hexadecimal digits of a text's SHA-256: stable over releases, unlike Polars' own hash."""
    return text.map_elements(lambda value: hashlib.sha256(value.encode()).hexdigest()[:16], return_dtype=pl.String)


def unnumbered() -> pl.Expr:
    """What tells a change from others where the service does not number them: its lower bound and what it was.

    For `update_version` of :func:`lifecycle`. The same change may come again later, so what it was is not enough.
    """
    return pl.concat_str(pl.col("_seen_from").dt.to_string("iso:strict"), pl.lit(":"), digest(pl.col("changes")))


def lifecycle(
    frame: pl.LazyFrame,
    *,
    changes: pl.Expr,
    created_at: str | None = None,
    updated_at: str | None = None,
    update_version: pl.Expr | None = None,
    is_one_update: pl.Expr | None = None,
) -> pl.LazyFrame:
    """What happened to compared records: the rows of `frame` that tell of something, with what every fact needs.

    * ``created`` when first seen (`previous` is null), at the record's own `created_at`, to the second. Without one:
      between two scans, and only where an earlier complete scan lacked the record; what the very first scan finds is
      no event.
    * ``updated`` where `changes` is not empty, at `updated_at` if that moved, else between two observations. Where not
      `is_one_update` (default: always one), `updated_at` is the last of several updates: the latest it can have been.
    * ``deleted`` where the record is gone, between the last scan that had it and the first that had not.

    Adds `life` (one of the three words), `source_version` (``create``, ``deleted`` or `update_version`, by default
    ``updated:`` and :func:`unnumbered`), `changes`, the columns of time and `time_precision`. An estimate between
    two scans is their middle: `occurred_from` and `occurred_to` bound it. `created_at` and `updated_at` name fields of
    the record; null or absent ones are unknown.
    """
    told = frame.with_columns(
        changes=changes,
        _created_at=_instant_at("now", created_at),
        _updated_at=_instant_at("now", updated_at),
        _updated_before=_instant_at("was", updated_at),
        _seen_from=pl.coalesce(pl.min_horizontal("seen_from", "observed_at"), "observed_at"),
    )
    is_first = pl.col("previous").is_null()
    is_known_start = pl.col("_created_at").is_not_null() | pl.col("seen_from").is_not_null()
    decided = (
        pl.when(pl.col("op") == "gone")
        .then(pl.lit("deleted"))
        .when(is_first & is_known_start)
        .then(pl.lit("created"))
        .when(~is_first & (pl.col("changes") != "[]"))
        .then(pl.lit("updated"))
    )
    is_dated = pl.col("_updated_at").is_not_null() & pl.col("_updated_at").ne_missing(pl.col("_updated_before"))
    life = pl.col("life")
    dated = (
        pl.when(life == "created").then("_created_at").when((life == "updated") & is_dated).then(pl.col("_updated_at"))
    )
    told = told.with_columns(life=decided).filter(life.is_not_null()).with_columns(_dated=dated)
    is_dated = pl.col("_dated").is_not_null()
    is_last = pl.lit(False) if is_one_update is None else (life == "updated") & ~is_one_update
    is_exact = is_dated & ~is_last
    # A record that carries its last change cannot have gone before it.
    last_change = pl.when(life == "deleted").then("_updated_at")
    lower = pl.min_horizontal(pl.max_horizontal("_seen_from", last_change), "observed_at")
    middle = lower + (pl.col("observed_at") - lower) / 2
    return told.with_columns(
        occurred_at=pl.coalesce("_dated", middle),
        occurred_from=pl.when(is_exact).then("_dated").otherwise(pl.min_horizontal("_dated", lower)),
        occurred_to=pl.when(is_dated).then(pl.col("_dated") + SECOND).otherwise("observed_at"),
        time_precision=pl.when(is_exact).then(pl.lit("second")).otherwise(pl.lit("interval")),
        source_version=pl.when(life == "created")
        .then(pl.lit("create"))
        .when(life == "deleted")
        .then(pl.lit("deleted"))
        .otherwise(pl.lit("updated:") + unnumbered() if update_version is None else update_version),
        changes=pl.when(life == "updated").then("changes"),
    )


def facts(frame: pl.LazyFrame, **columns: pl.Expr | str) -> pl.LazyFrame:
    """A frame of facts: `columns`, what `frame` already has under a name of FACT, and typed nulls for the rest.

    A string is a literal. Defaults: identity and witness are the record itself (`source`, `key`), `phase` is
    ``point``, `outcome` ``success``, the actor unknown. Of several rows of one identity the newest observation stays.
    """
    given = {name: pl.lit(value) if isinstance(value, str) else value for name, value in columns.items()}
    unknown = set(given) - set(FACT.names())
    if unknown:
        raise ValueError(f"no columns of a fact: {', '.join(sorted(unknown))}")
    defaults: Mapping[str, pl.Expr] = {
        "source_key": pl.col("key"),
        "road_source": pl.col("source"),
        "road_key": pl.col("key"),
        "outcome": pl.lit("success"),
        "phase": pl.lit("point"),
        "actor_kind": pl.lit("unknown"),
        "raw_sha256": pl.col("sha256"),
        "normalizer_version": pl.lit(NORMALIZER_VERSION),
    }
    has = set(frame.collect_schema().names())
    chosen = []
    for name, dtype in FACT.items():
        if name in given:
            value = given[name]
        elif name in has:
            value = pl.col(name)
        else:
            value = defaults.get(name, pl.lit(None))
        chosen.append(value.cast(dtype).alias(name))
    identity = ["cloud", "source", "source_key", "source_version"]
    rows = frame.select(chosen).sort(*identity, "observed_at", "raw_ref")
    return with_event_id(rows.unique(identity, keep="last", maintain_order=True))


def _required(value: pl.Expr, name: str) -> pl.Expr:
    """True for every row; raises where a row has none."""

    def check(values: pl.Series) -> pl.Series:
        if values.null_count():
            raise ValueError(f"{values.null_count()} records without {name!r}")
        return values.is_not_null()

    return value.map_batches(check, return_dtype=pl.Boolean)


def _verbatim(column: str, field: str) -> pl.Expr:
    return pl.col(column).str.json_path_match(f"$['{field}']").fill_null("null")


def _at(column: str, path: str, record: pl.Struct) -> tuple[pl.Expr, pl.DataType]:
    value, dtype = pl.col(column), record
    for name in path.split("/"):
        dtype = dtype.to_schema()[name]
        value = value.struct.field(name)
    return value, dtype


def _instant_at(column: str, name: str | None) -> pl.Expr:
    return pl.lit(None, INSTANT) if name is None else instant(pl.col(column).struct.field(name))
