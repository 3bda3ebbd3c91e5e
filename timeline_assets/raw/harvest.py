"""Harvesting one window of one source: fetch, scrub, compare, keep what is new, and say what is known now.

A fetch is compared with the newest version of every record (`raw.latest`). What is new or has changed becomes
observations in an attempt of the window that holds its cursor time, whichever window was asked for. Then one
transaction, alone at its source, notes attempts, newest versions, and coverage: a harvest that is killed leaves at most
files that count for nothing, and repeating it loses and doubles nothing.

A record is gone when two complete scans in a row lack it. One that is listed and cannot be read is there; where an
answer does not even say which record it is, the scan proves no record missing. What was stored stays, whatever the
source forgets.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import partial
from itertools import chain
from typing import Any

import polars as pl
import psycopg

from timeline_assets.errors import ConfigurationError, DatabaseError, SourceError, TimelineError
from timeline_assets.normalize.schema import OBSERVATION
from timeline_assets.pipeline import Pipeline
from timeline_assets.raw import coverage
from timeline_assets.raw.coverage import Place, Reading, Standing
from timeline_assets.raw.scratch import ScratchError
from timeline_assets.raw.scrub import scrub_text
from timeline_assets.raw.spool import SPOOLED, Spool
from timeline_assets.raw.store import RawStoreError
from timeline_assets.raw.windows import Window, floor_hour
from timeline_assets.sources.base import Fetched, Reader, Shape, Source, Span
from timeline_assets.store.copy import copy_frame, read_frame

#: Clocks that differ by less are taken as equal: a server's `Date` has whole seconds only.
LEAST_SKEW = timedelta(seconds=5)
#: Why a whole listing proves nothing missing: it holds answers that do not say which record they are.
KEYLESS = "keyless_answers"

Clock = Callable[[], datetime]


@dataclass(frozen=True)
class Harvested:
    """What a harvest did.

    `status`, `reason` and `detail` are of the window that was asked for. `seen` counts records, `set_aside` answers
    that are none; `windows` are those in which something was stored. `watermark` is the source time up to which the
    read is good.
    """

    status: str
    reason: str | None = None
    detail: str | None = None
    seen: int = 0
    new: int = 0
    updated: int = 0
    unchanged: int = 0
    gone: int = 0
    set_aside: int = 0
    windows: tuple[Window, ...] = ()
    requests: int = 0
    watermark: datetime | None = None
    seconds: float = 0.0


@dataclass(frozen=True)
class Polled:
    """What a poll found: `fetched` is to be handed to :func:`harvest` if something is new; else `harvested` is done."""

    fetched: Fetched | None = None
    harvested: Harvested | None = None

    @property
    def is_new(self) -> bool:
        return self.fetched is not None


def harvest(
    pipeline: Pipeline,
    cloud: str,
    source: Source,
    window: Window,
    *,
    reader: Reader | None = None,
    fetched: Fetched | None = None,
    is_raising: bool = True,
    clock: Clock | None = None,
) -> Harvested:
    """Harvest one window; safe to repeat and to run beside itself.

    Args:
        reader: the cloud; default: as the configuration describes it.
        fetched: what :func:`fetch` brought already.
        clock: default: the cloud's, see :mod:`timeline_assets.clouds`.
        is_raising: False returns a failed read as a harvest whose status is ``gap``.

    Raises:
        ConfigurationError: the window lies in the future.
        SourceError: the source cannot be read; the window is a gap with its code.
        RawStoreError: the raw store cannot be written; the window is a gap, nothing is stored.
        ScratchError: the temporary folder cannot; likewise.
    """
    started = time.monotonic()
    clock = clock or partial(pipeline.now, cloud)
    attempted_at = clock()
    _refuse_future(window, attempted_at)
    if source.shape is Shape.SNAPSHOT and fetched is None and window.end <= attempted_at:
        with pipeline.connect() as connection:
            place = Place(connection, cloud, source)
            coverage.lock(place)
            known = coverage.without_scan(place, window)
        if known is not None:
            return Harvested(known.status, known.reason, known.detail, seconds=time.monotonic() - started)
    try:
        if fetched is None:
            fetched = fetch(pipeline, cloud, source, window, reader or reader_of(pipeline, cloud, source), clock=clock)
        result = _store(pipeline, cloud, source, window, fetched=fetched, attempted_at=attempted_at)
    except (SourceError, RawStoreError, ScratchError) as error:
        code = _code(error)
        with _failing(pipeline, cloud, source) as place:
            coverage.record_failure(place, window, attempted_at=attempted_at, code=code, detail=str(error))
        if is_raising or not isinstance(error, SourceError):
            raise
        return Harvested(coverage.GAP, code, scrub_text(str(error)), seconds=time.monotonic() - started)
    return replace(result, seconds=time.monotonic() - started)


def poll(
    pipeline: Pipeline, cloud: str, source: Source, window: Window, reader: Reader, *, clock: Clock | None = None
) -> Polled:
    """Fetch a window, and store nothing if there is something new: that is for a run that shows it.

    With nothing new, that it was read is noted in place (`raw.scans`, `timeline.coverage`); a failed read is a gap. No
    error of the source is raised, and none of the temporary folder.
    """
    started = time.monotonic()
    clock = clock or partial(pipeline.now, cloud)
    attempted_at = clock()
    _refuse_future(window, attempted_at)
    try:
        fetched = fetch(pipeline, cloud, source, window, reader, clock=clock)
    except (SourceError, ScratchError) as error:
        code = _code(error)
        with _failing(pipeline, cloud, source) as place:
            coverage.record_failure(place, window, attempted_at=attempted_at, code=code, detail=str(error))
        failed = Harvested(coverage.GAP, code, scrub_text(str(error)), seconds=time.monotonic() - started)
        return Polled(harvested=failed)
    result = _store(pipeline, cloud, source, window, fetched=fetched, attempted_at=attempted_at, is_poll=True)
    if result is None:
        return Polled(fetched=fetched)
    return Polled(harvested=replace(result, seconds=time.monotonic() - started))


def fetch(
    pipeline: Pipeline, cloud: str, source: Source, window: Window, reader: Reader, *, clock: Clock | None = None
) -> Fetched:
    """Ask the source for a window, and scrub what it answers; stores nothing.

    The span is the window, widened by overlap and slack. An open window that was read before is read from there on.
    `started_at` and `finished_at` of the result are by the cloud's clock where the reader knows it.

    Raises:
        SourceError: with the code of the gap; ``source_failed`` where reading ended in an error of our own.
    """
    clock = clock or partial(pipeline.now, cloud)
    started_at = clock()
    span = _span(pipeline, cloud, source, window, started_at)
    try:
        fetched = source.fetch(reader, span)
        judged_at = started_at + max(_skew(reader), timedelta(0))
        spool = _spooled(pipeline, fetched, judged_at)
    except TimelineError:
        raise
    except Exception as error:
        raise SourceError(
            f"{cloud}: {source.name} could not be read: {type(error).__name__}: {scrub_text(str(error))[:500]}",
            code="source_failed",
            remedy="This is an error of timeline_assets itself or an answer it does not expect: please report it.",
        ) from error
    skew = _skew(reader)
    return replace(
        fetched,
        records=spool,
        malformed=[],
        # a past window is read beside the present one, whose memory is the source's
        cursor=fetched.cursor if span.is_open else None,
        requests=max(fetched.requests, getattr(reader, "requests", 0)),
        started_at=started_at + skew,
        finished_at=clock() + skew,
    )


def _spooled(pipeline: Pipeline, fetched: Fetched, now: datetime) -> Spool:
    """What was fetched as a spool, unless the reader spooled it while it was read."""
    if isinstance(fetched.records, Spool):
        return fetched.records
    chunk_rows = pipeline.settings.harvest.chunk_rows
    return Spool(chain(fetched.records, fetched.malformed), now=now, chunk_rows=chunk_rows)


def reader_of(pipeline: Pipeline, cloud: str, source: Source, connection: Any = None) -> Reader:
    """A reader for one fetch of one source, with what raw remembers; `connection` defaults to one kept per cloud."""
    from timeline_assets.sources import openstack  # noqa: PLC0415 - a source that is handed a reader needs no SDK

    settings = pipeline.settings.cloud(cloud)
    with pipeline.connect() as database:
        row = database.execute(
            "select cursor from raw.scans where cloud = %s and source = %s", (cloud, source.name)
        ).fetchone()
    return openstack.reader(
        connection or pipeline.openstack(cloud),
        settings,
        source.name,
        cursor=row[0] if row else {},
        latest=partial(latest, pipeline, cloud),
        changed=partial(changed, pipeline, cloud),
        clock=partial(pipeline.now, cloud),
        spool=partial(Spool, chunk_rows=pipeline.settings.harvest.chunk_rows),
    )


def latest(
    pipeline: Pipeline,
    cloud: str,
    source: str,
    *,
    after: str | None = None,
    limit: int | None = None,
    since: datetime | None = None,
) -> pl.DataFrame:
    """Newest versions of the live records of a source, by key: `key`, `body`; see :class:`Reader`."""
    with pipeline.connect() as connection:
        return read_frame(
            connection,
            """select key, body from raw.latest where cloud = %(cloud)s and source = %(source)s and gone_at is null
                and (ended_at is null or %(since)s::timestamptz is null or ended_at >= %(since)s) and key > %(after)s
                order by key limit %(limit)s""",
            {"cloud": cloud, "source": source, "after": after or "", "limit": limit, "since": since},
        )


def changed(pipeline: Pipeline, cloud: str, source: str, since: datetime) -> pl.DataFrame:
    """Newest versions of the records of a source, gone ones too, that were first observed at or after `since`."""
    with pipeline.connect() as connection:
        return read_frame(
            connection,
            """select key, body from raw.latest where cloud = %s and source = %s and observed_at >= %s order by key""",
            (cloud, source, since),
        )


def _code(error: TimelineError) -> str:
    """The reason of the gap that an error leaves."""
    if isinstance(error, SourceError):
        return error.code
    return "temporary_folder_failed" if isinstance(error, ScratchError) else "raw_store_failed"


def _refuse_future(window: Window, now: datetime) -> None:
    if window.start > now:
        raise ConfigurationError(
            f"the window {window.key} lies in the future: it is {now:%Y-%m-%d %H:%M} UTC",
            remedy="Harvest windows that have begun; if one has, set this machine's clock.",
        )


def _span(pipeline: Pipeline, cloud: str, source: Source, window: Window, now: datetime) -> Span:
    settings = pipeline.settings.harvest
    overlap = timedelta(seconds=settings.overlap_seconds)
    start, end = window.start, window.end + timedelta(seconds=settings.slack_seconds)
    if source.shape is not Shape.SNAPSHOT:
        with pipeline.connect() as connection:
            known = coverage.known(Place(connection, cloud, source), window)
        if known and known.proven_to and known.proven_to < window.end:
            start = known.proven_to
    return Span(start - overlap, end, now, is_open=now < end)


def _skew(reader: Reader) -> timedelta:
    """How far the cloud's clock is ahead of ours, as far as that is known and matters."""
    seconds = getattr(reader, "clock_skew_seconds", None)
    skew = timedelta(seconds=seconds or 0)
    return skew if abs(skew) >= LEAST_SKEW else timedelta(0)


@contextmanager
def _failing(pipeline: Pipeline, cloud: str, source: Source) -> Iterator[Place]:
    """A transaction to note a failure in; a database that is gone as well must not hide what went wrong first."""
    with suppress(DatabaseError), pipeline.connect() as connection:
        place = Place(connection, cloud, source)
        coverage.lock(place)
        yield place


# Storing -------------------------------------------------------------------------------------------------------------


@dataclass
class _Harvest:
    """One harvest under its lock, and what has come of it so far."""

    pipeline: Pipeline
    place: Place
    window: Window
    reading: Reading
    stood: Standing
    keys: list[pl.Series] = field(default_factory=list)
    unreadable: list[pl.Series] = field(default_factory=list)
    written: list[str] = field(default_factory=list)
    added: dict[Window, int] = field(default_factory=dict)
    new: int = 0
    updated: int = 0
    gone: int = 0
    set_aside: int = 0

    @property
    def connection(self) -> psycopg.Connection:
        return self.place.connection

    @property
    def source(self) -> Source:
        return self.place.source

    @property
    def names(self) -> tuple[str, str]:
        return self.place.cloud, self.source.name


def _store(
    pipeline: Pipeline,
    cloud: str,
    source: Source,
    window: Window,
    *,
    fetched: Fetched,
    attempted_at: datetime,
    is_poll: bool = False,
) -> Harvested | None:
    """Store a fetch in one transaction; as a poll, only if nothing is new, else None and nothing is changed."""
    reading = Reading(
        attempted_at=attempted_at,
        started_at=fetched.started_at or attempted_at,
        finished_at=fetched.finished_at or attempted_at,
        read_to=fetched.read_to,
        is_complete=fetched.is_complete and fetched.gap is None,
        requests=fetched.requests,
        cursor=fetched.cursor,
        gap=fetched.gap,
        detail=scrub_text(fetched.gap_detail)[: coverage.LONGEST_DETAIL] if fetched.gap_detail else None,
        is_resting=fetched.is_resting,
    )
    spool = _spooled(pipeline, fetched, attempted_at)
    if reading.is_complete and spool.nameless:
        reading = replace(
            reading,
            is_complete=False,
            doubt=KEYLESS,
            detail=f"{spool.nameless} answers do not say which record they are: nothing is proven to be missing",
        )
    with pipeline.connect() as connection:
        place = Place(connection, cloud, source)
        coverage.lock(place)
        at_work = _Harvest(pipeline, place, window, reading, coverage.standing(place))
        with _undoing(at_work):
            for frame in spool.frames():
                observations = _observations(at_work, frame)
                if is_poll and not observations.is_empty():
                    connection.rollback()
                    return None
                _keep(at_work, observations)
                _set_aside(at_work, frame.filter(pl.col("reason").is_not_null()))
            gone = _gone(at_work)
            if is_poll and not gone.is_empty():
                connection.rollback()
                return None
            _keep(at_work, gone)
            known = coverage.record_read(place, window, reading, at_work.added, pipeline.settings.harvest)
    seen = pl.concat(at_work.keys).n_unique() if at_work.keys else 0
    return Harvested(
        status=coverage.GAP if reading.gap else known.status,
        reason=reading.gap or known.reason,
        detail=reading.detail if reading.gap else known.detail,
        seen=seen,
        new=at_work.new,
        updated=at_work.updated,
        unchanged=max(seen - at_work.new - at_work.updated, 0),
        gone=at_work.gone,
        set_aside=at_work.set_aside,
        windows=tuple(sorted(at_work.added)),
        requests=reading.requests,
        watermark=reading.read_to,
    )


@contextmanager
def _undoing(at_work: _Harvest) -> Iterator[None]:
    """Removes what was written if the transaction fails before its end: nobody else will know whose files they are.

    Not where the commit itself fails: then it may have succeeded.
    """
    try:
        yield
    except Exception:
        with suppress(RawStoreError):
            at_work.pipeline.raw.remove(at_work.written)
        raise


def _observations(at_work: _Harvest, frame: pl.DataFrame) -> pl.DataFrame:
    """What a chunk of records (:data:`SPOOLED`) tells that was not known: observations, without `raw_ref`.

    Takes the mark of being missed from records that are there after all.
    """
    reading, stood = at_work.reading, at_work.stood
    records = _one_per_key(frame.filter(pl.col("reason").is_null()))
    if records.is_empty():
        return pl.DataFrame(schema=OBSERVATION)
    at_work.keys.append(records["key"])
    differing = read_frame(
        at_work.connection,
        """select g.key, l.key is not null as is_known, l.gone_at is not null as is_gone,
            l.sha256 = g.sha256 as is_same, l.missing_since is not null as is_missed, l.observed_at as known_at,
            l.cursor_at as known_cursor_at,
            case when l.sha256 <> g.sha256 and l.gone_at is null then l.body end as previous
        from unnest(%(keys)s::text[], %(hashes)s::text[]) as g(key, sha256)
        left join raw.latest l on l.cloud = %(cloud)s and l.source = %(source)s and l.key = g.key
        where l.sha256 is distinct from g.sha256 or l.gone_at is not null or l.missing_since is not null""",
        {
            "keys": records["key"].to_list(),
            "hashes": records["sha256"].to_list(),
            **at_work.place.name,
        },
    )
    if differing.is_empty():
        return pl.DataFrame(schema=OBSERVATION)
    observed_at = pl.lit(reading.finished_at, pl.Datetime("us", "UTC"))
    # what is already known was observed later, or comes later in the same answer
    is_stale = (pl.col("known_at") > observed_at) | (
        (pl.col("known_at") == observed_at) & (pl.col("cursor_at") < pl.col("known_cursor_at"))
    )
    judged = (
        records.join(differing, on="key", maintain_order="left")
        .with_columns(cursor_at=_cursor_at(at_work, observed_at))
        .filter(~is_stale.fill_null(False))
    )
    back = judged.filter("is_missed")
    if not back.is_empty():
        at_work.connection.execute(
            """update raw.latest set missing_since = null, missing_from = null
            where cloud = %s and source = %s and key = any(%s)""",
            (*at_work.names, back["key"].to_list()),
        )
    told = judged.filter(~pl.col("is_known") | pl.col("is_gone") | ~pl.col("is_same"))
    is_new = ~pl.col("is_known") | pl.col("is_gone")
    at_work.new += told.filter(is_new).height
    at_work.updated += told.filter(~is_new).height
    last_scan = pl.lit(stood.last_complete_from, pl.Datetime("us", "UTC"))
    last_scan = pl.when(last_scan < observed_at).then(last_scan)
    return told.select(
        cloud=pl.lit(at_work.place.cloud),
        source=pl.lit(at_work.source.name),
        key="key",
        op=pl.lit("seen"),
        cursor_at="cursor_at",
        observed_at=observed_at,
        seen_from=pl.when(is_new)
        .then(last_scan)
        .otherwise(pl.max_horizontal("known_at", pl.when(~pl.col("is_missed")).then(last_scan))),
        body="body",
        previous="previous",
        sha256="sha256",
    ).match_to_schema(OBSERVATION, missing_columns="insert")


def _one_per_key(records: pl.DataFrame) -> pl.DataFrame:
    """Of several answers about one key the newest by its own time, else the last that came."""
    return (
        records.with_row_index("_row")
        .sort("cursor_at", "_row", nulls_last=False)
        .unique("key", keep="last", maintain_order=True)
        .sort("_row")
        .select(SPOOLED.names())
    )


def _cursor_at(at_work: _Harvest, observed_at: pl.Expr) -> pl.Expr:
    """A snapshot's records have no time but that of the scan, whatever they say."""
    if at_work.source.shape is Shape.SNAPSHOT:
        return observed_at
    return pl.col("cursor_at").fill_null(observed_at)


def _keep(at_work: _Harvest, observations: pl.DataFrame) -> None:
    """Observations into the attempts of their windows, and into the newest versions."""
    if observations.is_empty():
        return
    placed = observations.with_columns(_window=_window_start(at_work))
    parts = placed.partition_by("_window", as_dict=True, include_key=False, maintain_order=True)
    starts = [start for (start,) in parts]
    written = []
    for (start,), part in parts.items():
        written.append(at_work.pipeline.raw.write_attempt(*at_work.names, Window(start), part))
        at_work.written.append(written[-1].path)
    rows = [attempt.observations.height for attempt in written]
    at_work.connection.execute(
        """insert into raw.attempts (cloud, source, window_start, path, rows, bytes)
        select %s, %s, a.* from unnest(%s::timestamptz[], %s::text[], %s::integer[], %s::bigint[]) as a""",
        (*at_work.names, starts, [a.path for a in written], rows, [a.bytes for a in written]),
    )
    remember(at_work.connection, at_work.source, pl.concat([attempt.observations for attempt in written]))
    for start, count in zip(starts, rows, strict=True):
        at_work.added[Window(start)] = at_work.added.get(Window(start), 0) + count


def _window_start(at_work: _Harvest) -> pl.Expr:
    """The window that holds the cursor time; what lies before the first partition or after now is put into these."""
    first = min(at_work.pipeline.settings.first_window(), at_work.window.start)
    last = floor_hour(at_work.reading.finished_at)
    return pl.col("cursor_at").dt.truncate("1h").clip(min(first, last), last)


def remember(connection: psycopg.Connection, source: Source, observations: pl.DataFrame) -> None:
    """Make observations the newest versions of their records."""
    is_gone = pl.col("op") == "gone"
    is_over = pl.lit(False) if source.is_over is None else source.is_over(pl.col("body"))
    newest = observations.select(
        *("cloud", "source", "key", "sha256", "body", "cursor_at", "raw_ref"),
        # when it was found out; `gone_at` says since when
        observed_at=pl.when(is_gone).then("cursor_at").otherwise("observed_at"),
        gone_at=pl.when(is_gone).then("observed_at"),
        ended_at=pl.when(is_over).then("cursor_at"),
    )
    connection.execute("create temporary table if not exists newest (like raw.latest) on commit drop")
    connection.execute("truncate newest")
    copy_frame(connection, newest, "newest")
    connection.execute(
        """insert into raw.latest as l select * from newest
        on conflict (cloud, source, key) do update set sha256 = excluded.sha256, body = excluded.body,
            cursor_at = excluded.cursor_at, observed_at = excluded.observed_at, missing_from = null,
            missing_since = null, gone_at = excluded.gone_at, ended_at = excluded.ended_at,
            raw_ref = excluded.raw_ref"""
    )


def _gone(at_work: _Harvest) -> pl.DataFrame:
    """Observations of records that this complete scan and the one before it both lack; marks those missed once."""
    reading, stood = at_work.reading, at_work.stood
    is_next_scan = stood.last_complete_at is None or reading.finished_at > stood.last_complete_at
    if not reading.is_complete or not is_next_scan or at_work.source.shape not in (Shape.SNAPSHOT, Shape.MUTABLE):
        return pl.DataFrame(schema=OBSERVATION)
    values = {
        "keys": [key for keys in (*at_work.keys, *at_work.unreadable) for key in keys],
        **at_work.place.name,
        "started_at": reading.started_at,
        "finished_at": reading.finished_at,
        "last_scan": stood.last_complete_from,
    }
    # one observed after the scan began may be younger than the page it is missing from
    missing = """l.cloud = %(cloud)s and l.source = %(source)s and l.gone_at is null and l.observed_at <= %(started_at)s
        and not exists (select from unnest(%(keys)s::text[]) as k(key) where k.key = l.key)"""
    gone = read_frame(
        at_work.connection,
        f"""select cloud, source, key, 'gone' as op, %(finished_at)s::timestamptz as cursor_at,
            missing_since as observed_at, missing_from as seen_from, body, body as previous, sha256
        from raw.latest l where {missing} and l.missing_since is not null order by key""",  # noqa: S608 - ours
        values,
    )
    at_work.connection.execute(
        f"""update raw.latest l set missing_since = %(finished_at)s,
            missing_from = greatest(l.observed_at, %(last_scan)s::timestamptz)
        where {missing} and l.missing_since is null""",  # noqa: S608 - ours
        values,
    )
    at_work.gone += gone.height
    return gone.match_to_schema(OBSERVATION, missing_columns="insert")


def _set_aside(at_work: _Harvest, rows: pl.DataFrame) -> None:
    """Keep what is no record, once each; a key that can be read again is settled."""
    connection, at = at_work.connection, at_work.reading.attempted_at
    if at_work.keys:
        open_keys = connection.execute(
            """select distinct key from raw.set_aside where cloud = %s and source = %s and stage = 'harvest'
            and resolved_at is null and key is not null""",
            at_work.names,
        ).fetchall()
        readable = set(at_work.keys[-1].filter(at_work.keys[-1].is_in([key for (key,) in open_keys])))
        if readable:
            connection.execute(
                """update raw.set_aside set resolved_at = %s where cloud = %s and source = %s and stage = 'harvest'
                and resolved_at is null and key = any(%s)""",
                (at, *at_work.names, sorted(readable)),
            )
    at_work.unreadable.append(rows["key"].drop_nulls())
    at_work.set_aside += rows.height
    write_set_aside(at_work.place, at_work.window, rows, stage="harvest", at=at)


def write_set_aside(place: Place, window: Window, rows: pl.DataFrame, *, stage: str, at: datetime) -> None:
    """Keep records that could not be read or normalized: `key`, `body`, `sha256`, `reason`, `detail`."""
    once = rows.unique("sha256", maintain_order=True)
    if once.is_empty():
        return
    values: Mapping[str, Any] = {
        **{name: once[name].to_list() for name in ("key", "body", "sha256", "reason", "detail")},
        **place.of(window),
        **{"stage": stage, "at": at},
    }
    place.connection.execute(
        """insert into raw.set_aside as s (cloud, source, stage, sha256, reason, detail, key, body, window_start,
            first_seen_at, last_seen_at)
        select %(cloud)s, %(source)s, %(stage)s, sha256, reason, detail, key, body, %(start)s, %(at)s, %(at)s
        from unnest(%(sha256)s::text[], %(reason)s::text[], %(detail)s::text[], %(key)s::text[], %(body)s::text[])
            as r(sha256, reason, detail, key, body)
        on conflict (cloud, source, sha256, stage) do update set reason = excluded.reason, detail = excluded.detail,
            last_seen_at = greatest(s.last_seen_at, excluded.last_seen_at), seen = s.seen + 1, resolved_at = null""",
        values,
    )
