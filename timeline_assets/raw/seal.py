"""The later life of raw files: compacted when their window is proven, thinned when their time is over.

Every change is one transaction that puts one attempt in the place of others; their files are removed only after it is
committed. A reference to a record (`raw_ref`) stays true: compacted rows keep the one they were given first.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from timeline_assets.pipeline import Pipeline
from timeline_assets.raw.coverage import PROVEN, Place, known, lock
from timeline_assets.raw.store import attempt_path, derived_path, is_unfinished, new_path, window_of
from timeline_assets.raw.windows import Window, floor_hour
from timeline_assets.sources.base import Source
from timeline_assets.store.copy import read_frame

#: Files younger than this may belong to a harvest or a normalizer that has not yet committed.
ORPHAN_AGE = timedelta(days=1)
#: Files asked about in one statement.
BATCH = 50_000

ATTEMPTS = """select attempt_id, window_start, path, rows, bytes, facts_path, evidence_path, normalizer, normalized_at,
    absorbed_at, resolved_at from raw.attempts
    where cloud = %(cloud)s and source = %(source)s and (replaced_by is not null) = %(is_replaced)s"""


@dataclass(frozen=True)
class Sealed:
    """What was compacted or thinned: attempts before and after, rows and bytes that are left."""

    before: int = 0
    after: int = 0
    rows: int = 0
    bytes: int = 0


def seal(pipeline: Pipeline, cloud: str, source: Source, window: Window) -> Sealed:
    """Compact the attempts of a proven window to one file, in the order in which they came.

    Only once all of them have reached the timeline; until then, and for a window with one attempt, nothing is done.
    """
    with pipeline.connect() as connection:
        place = Place(connection, cloud, source)
        lock(place)
        now = known(place, window)
        attempts = _attempts(place, "and window_start = %(start)s", start=window.start)
        is_done = attempts["resolved_at"].null_count() == 0 and attempts["normalizer"].n_unique() == 1
        if now is None or now.status != PROVEN or attempts.height < 2 or not is_done:
            return Sealed(attempts.height, attempts.height, attempts["rows"].sum(), attempts["bytes"].sum())
        sealed = _replace(pipeline, place, window, attempts, keep=None)
    _remove_files(pipeline, attempts)
    return sealed


def due_to_seal(pipeline: Pipeline, cloud: str) -> list[tuple[str, Window]]:
    """Proven windows (source's name, window) whose several attempts have all reached the timeline."""
    with pipeline.connect() as connection:
        rows = connection.execute(
            """select a.source, a.window_start from raw.attempts a
            join timeline.coverage c using (cloud, source, window_start)
            where a.cloud = %s and a.replaced_by is null and c.status = 'proven'
            group by a.source, a.window_start
            having count(*) > 1 and bool_and(a.resolved_at is not null) and count(distinct a.normalizer) = 1
            order by a.window_start, a.source""",
            (cloud,),
        ).fetchall()
    return [(source, Window(start)) for source, start in rows]


def retire(pipeline: Pipeline, cloud: str, source: Source, now: datetime) -> Sealed:
    """Drop what is older than the timeline and `raw_extra_days` more, but for the newest record of every live key.

    Windows whose records have not all reached the timeline wait.
    """
    before = horizon(pipeline, now)
    done = Sealed()
    values = {"cloud": cloud, "source": source.name, "horizon": before}
    with pipeline.connect() as connection:
        place = Place(connection, cloud, source)
        lock(place)
        connection.execute(
            """delete from raw.latest where cloud = %(cloud)s and source = %(source)s
            and (gone_at < %(horizon)s or ended_at < %(horizon)s)""",
            values,
        )
    with pipeline.connect() as connection:
        old = _attempts(Place(connection, cloud, source), "and window_start < %(horizon)s", horizon=before)
    for (start,), _ in old.partition_by("window_start", as_dict=True, maintain_order=True).items():
        part = _retire_window(pipeline, cloud, source, Window(start))
        done = Sealed(*(a + b for a, b in zip(_counts(done), _counts(part), strict=True)))
    with pipeline.connect() as connection:
        place = Place(connection, cloud, source)
        lock(place)
        # a retirement that was killed may have left files; without their attempt's row they would be nobody's
        _remove_files(pipeline, _attempts(place, "and window_start < %(horizon)s", is_replaced=True, horizon=before))
        for statement in (
            """delete from raw.attempts where cloud = %(cloud)s and source = %(source)s and replaced_by is not null
            and window_start < %(horizon)s""",
            "delete from raw.set_aside where cloud = %(cloud)s and source = %(source)s and last_seen_at < %(horizon)s",
            """delete from timeline.coverage where cloud = %(cloud)s and source = %(source)s
            and window_start < %(horizon)s""",
            """delete from timeline.tenant_coverage t where cloud = %(cloud)s and window_start < %(horizon)s
            and not exists (select from timeline.coverage c where c.cloud = t.cloud and c.service = t.service
                and c.window_start = t.window_start)""",
        ):
            connection.execute(statement, values)
    return done


def horizon(pipeline: Pipeline, now: datetime) -> datetime:
    """From when on everything that was read is kept; of what is older, only what still is so."""
    kept = pipeline.settings.retention
    return floor_hour(now - timedelta(days=kept.timeline_days + kept.raw_extra_days))


def find(pipeline: Pipeline, raw_ref: str) -> Mapping[str, Any] | None:
    """The observation behind a reference (:data:`OBSERVATION` as a mapping), wherever it lies now; None if retired."""
    path = raw_ref.rsplit("#", 1)[0]
    cloud, source, *_ = path.split("/")
    with pipeline.connect() as connection:
        rows = connection.execute(
            """select path from raw.attempts
            where cloud = %s and source = %s and window_start = %s and replaced_by is null order by attempt_id""",
            (cloud, source, window_of(path).start),
        ).fetchall()
    paths = [found for (found,) in rows]
    # compacted, it has moved to another file of its window
    found = pipeline.raw.scan([path] if path in paths else paths).filter(raw_ref=raw_ref).collect()
    return found.row(0, named=True) if found.height else None


def still_stored(pipeline: Pipeline, raw_refs: pl.Series) -> pl.Series:
    """Those of the references whose record is still stored, wherever it lies now."""
    paths = raw_refs.drop_nulls().str.extract(r"^([^/]+/[^/]+/\d{4}(?:/\d\d){3}/[^/#]+)#\d+$").drop_nulls().unique()
    places = {(*path.split("/")[:2], window_of(path).start) for path in paths}
    if not places:
        return raw_refs.clear()
    clouds, sources, starts = zip(*sorted(places), strict=True)
    with pipeline.connect() as connection:
        rows = connection.execute(
            """select path from raw.attempts join unnest(%s::text[], %s::text[], %s::timestamptz[])
                as p(cloud, source, window_start) using (cloud, source, window_start)
            where replaced_by is null order by attempt_id""",
            (list(clouds), list(sources), list(starts)),
        ).fetchall()
    stored = pipeline.raw.scan([path for (path,) in rows]).select("raw_ref")
    return stored.filter(pl.col("raw_ref").is_in(raw_refs.implode())).collect()["raw_ref"]


@dataclass(frozen=True)
class Orphans:
    """Files that no attempt needs: the paths of those removed, and how many were left because they are nobody's."""

    removed: tuple[str, ...] = ()
    unknown: int = 0


def collect_orphans(pipeline: Pipeline, now: datetime, *, older_than: timedelta = ORPHAN_AGE) -> Orphans:
    """Remove the files of which this database knows that they are of no use, and those never finished.

    It knows so of an attempt that another has replaced, and of facts and evidence that were made anew under another
    name. A file of which it knows nothing is left: a killed harvest's, or one that a database restored from a backup
    has not heard of.
    """
    old = [path for path, changed_at in pipeline.raw.files() if changed_at < now - older_than]
    removed, unknown = [path for path in old if is_unfinished(path)], 0
    whole = [path for path in old if not is_unfinished(path)]
    for begin in range(0, len(whole), BATCH):
        # asked after the files were listed: what was committed meanwhile is known
        with pipeline.connect() as connection:
            found = connection.execute(
                """select f.path, a.attempt_id is not null as is_ours
                from unnest(%s::text[], %s::text[]) as f(path, attempt) left join raw.attempts a on a.path = f.attempt
                where a.attempt_id is null or a.replaced_by is not null
                    or f.path not in (a.path, coalesce(a.facts_path, ''), coalesce(a.evidence_path, ''))
                order by f.path""",
                (batch := whole[begin : begin + BATCH], [attempt_path(path) for path in batch]),
            ).fetchall()
        removed += [path for path, is_ours in found if is_ours]
        unknown += sum(not is_ours for _, is_ours in found)
    pipeline.raw.remove(removed)
    return Orphans(tuple(removed), unknown)


def _retire_window(pipeline: Pipeline, cloud: str, source: Source, window: Window) -> Sealed:
    with pipeline.connect() as connection:
        place = Place(connection, cloud, source)
        lock(place)
        attempts = _attempts(place, "and window_start = %(start)s", start=window.start)
        before = Sealed(attempts.height, attempts.height, attempts["rows"].sum(), attempts["bytes"].sum())
        if attempts["resolved_at"].null_count() or attempts["normalizer"].n_unique() > 1:
            return before
        live = read_frame(
            connection,
            """select raw_ref from raw.latest where cloud = %s and source = %s and gone_at is null
            and starts_with(raw_ref, %s) order by raw_ref""",
            (cloud, source.name, new_path(cloud, source.name, window).rsplit("/", 1)[0] + "/"),
        )["raw_ref"]
        if live.len() == before.rows:
            return before
        if live.is_empty():
            # by nothing: the row goes when its files are gone
            connection.execute(
                "update raw.attempts set replaced_by = attempt_id where attempt_id = any(%s)",
                (attempts["attempt_id"].to_list(),),
            )
            left = Sealed(attempts.height)
        else:
            left = _replace(pipeline, place, window, attempts, keep=live)
    _remove_files(pipeline, attempts)
    return left


def _attempts(place: Place, more: str, *, is_replaced: bool = False, **values: Any) -> pl.DataFrame:
    query = f"{ATTEMPTS} {more} order by window_start, attempt_id"
    return read_frame(place.connection, query, {**place.name, "is_replaced": is_replaced, **values})


def _replace(
    pipeline: Pipeline, place: Place, window: Window, attempts: pl.DataFrame, *, keep: pl.Series | None
) -> Sealed:
    """Put one attempt in the place of several, with all their rows or those whose `raw_ref` is to be kept."""

    def kept(frame: pl.LazyFrame) -> pl.LazyFrame:
        return frame if keep is None else frame.filter(pl.col("raw_ref").is_in(keep.implode()))

    raw = pipeline.raw
    path = new_path(place.cloud, place.source.name, window)
    size = raw.write(path, kept(raw.scan(attempts["path"].to_list())))
    rows = raw.scan([path]).select(pl.len()).collect().item()
    version = attempts["normalizer"][0]
    derived: dict[str, str | None] = {"facts": None, "evidence": None}
    for kind, scan in (("facts", raw.scan_facts), ("evidence", raw.scan_evidence)):
        if paths := attempts[f"{kind}_path"].drop_nulls().to_list():
            derived[kind] = derived_path(path, kind, version)
            raw.write(derived[kind], kept(scan(paths)))
    ids = attempts["attempt_id"].to_list()
    (attempt_id,) = place.connection.execute(
        """insert into raw.attempts (cloud, source, window_start, path, rows, bytes, sealed_from, facts_path,
            evidence_path, normalizer, normalized_at, absorbed_at, resolved_at)
        values (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) returning attempt_id""",
        (
            *(place.cloud, place.source.name, window.start, path, rows, size, ids),
            *(derived["facts"], derived["evidence"], version),
            *(attempts[name].max() for name in ("normalized_at", "absorbed_at", "resolved_at")),
        ),
    ).fetchone()
    place.connection.execute("update raw.attempts set replaced_by = %s where attempt_id = any(%s)", (attempt_id, ids))
    return Sealed(attempts.height, 1, rows, size)


def _remove_files(pipeline: Pipeline, attempts: pl.DataFrame) -> None:
    for column in ("path", "facts_path", "evidence_path"):
        pipeline.raw.remove(attempts[column].drop_nulls().to_list())


def _counts(sealed: Sealed) -> tuple[int, int, int, int]:
    return sealed.before, sealed.after, sealed.rows, sealed.bytes
