"""What is known about each window of each source: harvested is not proven, no data is not nothing happened.

=========  ==========================================================================================================
open       the hour is not over, or not yet read to its end; `proven_to` says how far
settling   read to its end; due to be read again after its settle delay, or something was added since
proven     log and mutable sources: a read after the settle delay added nothing. Snapshot sources: complete scans at or
           before its start and at or after its end, none further apart than twice the interval
gap        the last read failed or proved nothing; `reason` is its code. ``not_read``: nobody was reading then
unknown    never read (``never_read``), or a snapshot source's past before its first scan (``no_history``), for ever
=========  ==========================================================================================================

Everything here is written in the transaction of the harvest it tells of, under that harvest's lock.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import polars as pl
import psycopg
from psycopg.rows import class_row
from psycopg.types.json import Jsonb

from timeline_assets.config import HarvestSettings
from timeline_assets.pipeline import Pipeline
from timeline_assets.raw.scrub import scrub_text
from timeline_assets.raw.windows import HOUR, Window, floor_hour, windows_between
from timeline_assets.sources.base import Shape, Source
from timeline_assets.sources.whole import PAUSE
from timeline_assets.store.copy import read_frame

PROVEN, SETTLING, OPEN, GAP, UNKNOWN = "proven", "settling", "open", "gap", "unknown"

LONGEST_BACK_OFF = timedelta(minutes=5)
#: Waits between tries of a closed window that is a gap while its source answers otherwise.
FIRST_RETRY, LAST_RETRY = timedelta(minutes=1), timedelta(hours=1)
LONGEST_DETAIL = 2000


@dataclass(frozen=True)
class Place:
    """One source of one cloud, and the transaction in which something is said of it."""

    connection: psycopg.Connection
    cloud: str
    source: Source

    @property
    def name(self) -> dict[str, str]:
        """The key of what is kept about it, as parameters."""
        return {"cloud": self.cloud, "source": self.source.name}

    def of(self, window: Window) -> dict[str, object]:
        """The key and the bounds of one of its windows, as parameters."""
        return {**self.name, "service": self.source.service, "start": window.start, "end": window.end}


def lock(place: Place) -> None:
    """One writer of a source at a time, until the transaction ends: what it compares with is what it replaces."""
    place.connection.execute(
        "select pg_advisory_xact_lock(hashtext('raw.harvest'), hashtext(%s))", (f"{place.cloud}/{place.source.name}",)
    )


@dataclass(frozen=True)
class Reading:
    """What one read proves. `attempted_at` is our clock when it began, all else the source's time.

    The state shown is one between `started_at` and `finished_at`; changes up to `read_to` are in it. `gap` is the code
    of why it proves nothing, `doubt` that of why a whole listing is not `is_complete` all the same. `is_resting`:
    nothing was asked, and what the last read proved stands.
    """

    attempted_at: datetime
    started_at: datetime
    finished_at: datetime
    read_to: datetime
    is_complete: bool
    requests: int = 0
    cursor: Mapping | None = None
    gap: str | None = None
    doubt: str | None = None
    detail: str | None = None
    is_resting: bool = False


@dataclass(frozen=True)
class Standing:
    """Where the reading of a source stands: its row of `raw.scans`."""

    last_attempt_at: datetime | None = None
    last_success_at: datetime | None = None
    last_complete_from: datetime | None = None
    last_complete_at: datetime | None = None
    first_complete_at: datetime | None = None
    read_to: datetime | None = None
    failures: int = 0


@dataclass(frozen=True)
class Known:
    """What is known about one window: its row of `timeline.coverage`."""

    status: str
    reason: str | None = None
    detail: str | None = None
    proven_to: datetime | None = None


def interval_of(source: Source, settings: HarvestSettings) -> timedelta:
    """How often the open window is polled."""
    return source.interval if settings.poll_seconds is None else timedelta(seconds=settings.poll_seconds)


#: Scans this close together prove a window, however much shorter the interval: polling often is for freshness, and one
#: late poll in an hour is no gap. What they can resolve is in the row (`resolution_seconds`).
CLOSE_ENOUGH = timedelta(minutes=2)


def longest_between_scans(source: Source, settings: HarvestSettings) -> timedelta:
    """How far apart two complete scans may be for what lies between them to count as seen."""
    return max(2 * interval_of(source, settings), CLOSE_ENOUGH)


def settle_of(source: Source, settings: HarvestSettings) -> timedelta:
    """How long after a window's end its second read comes."""
    return source.settle if settings.settle_seconds is None else timedelta(seconds=settings.settle_seconds)


def standing(place: Place) -> Standing:
    """Where the reading of a source stands; everything unknown if it was never read."""
    with place.connection.cursor(row_factory=class_row(Standing)) as cursor:
        cursor.execute(
            """select last_attempt_at, last_success_at, last_complete_from, last_complete_at, first_complete_at,
            read_to, failures from raw.scans where cloud = %(cloud)s and source = %(source)s""",
            place.name,
        )
        return cursor.fetchone() or Standing()


def known(place: Place, window: Window) -> Known | None:
    """What is known about a window; None if nothing."""
    with place.connection.cursor(row_factory=class_row(Known)) as cursor:
        cursor.execute(
            """select status, reason, detail, proven_to from timeline.coverage
            where cloud = %(cloud)s and source = %(source)s and window_start = %(start)s""",
            place.of(window),
        )
        return cursor.fetchone()


# Reads of log and mutable sources


def status_after(
    before: str | None, window: Window, *, read_to: datetime, read_at: datetime, settle: timedelta, added: int
) -> str:
    """A window's status after a good read at `read_at` that is good up to `read_to` and added so many records."""
    if before == PROVEN:
        return SETTLING if added else PROVEN
    if before == SETTLING:
        return PROVEN if not added and read_to >= window.end and read_at >= window.end + settle else SETTLING
    return SETTLING if read_to >= window.end else OPEN


def record_read(
    place: Place, window: Window, reading: Reading, added: Mapping[Window, int], settings: HarvestSettings
) -> Known:
    """Note a read of `window` that came back, and the records it `added` to which windows.

    Returns what is known about the window now. A read with a gap proves nothing, but what was proven stays so unless it
    added something.
    """
    stood = standing(place)
    if place.source.shape is not Shape.SNAPSHOT:
        _record_span(place, window, reading, added, settle_of(place.source, settings))
        if reading.gap is None and stood.read_to is not None and window.start > stood.read_to:
            _mark_not_read(place, stood.read_to, window)
    else:
        if reading.is_complete:
            # a long list rests in proportion to what its reading takes (`sources.whole`)
            rest = (reading.finished_at - reading.started_at) * 2 * PAUSE
            _record_scan(place, reading, stood, longest_between_scans(place.source, settings) + rest)
        elif not reading.is_resting:
            code = reading.gap or reading.doubt or "scan_incomplete"
            _mark_gap(place, window, reading.attempted_at, code, reading.detail)
        _count_rows(place, added)
    _record_standing(place, window, reading, stood)
    refresh_tenants(place, _touched(place, window, reading, stood, added))
    return known(place, window) or Known(UNKNOWN)


def record_failure(place: Place, window: Window, *, attempted_at: datetime, code: str, detail: str) -> None:
    """Note that a window could not be read: a gap, unless it is proven already."""
    said = scrub_text(detail)[:LONGEST_DETAIL]
    place.connection.execute(
        """insert into raw.scans as s (cloud, source, last_attempt_at, failures, reason, detail)
        values (%(cloud)s, %(source)s, %(at)s, 1, %(code)s, %(detail)s)
        on conflict (cloud, source) do update set failures = s.failures + 1, reason = excluded.reason,
            detail = excluded.detail, last_attempt_at = greatest(s.last_attempt_at, excluded.last_attempt_at)""",
        {**place.name, "at": attempted_at, "code": code, "detail": said},
    )
    _mark_gap(place, window, attempted_at, code, said)
    refresh_tenants(place, [window])


def _record_span(
    place: Place, window: Window, reading: Reading, added: Mapping[Window, int], settle: timedelta
) -> None:
    if reading.gap is not None:
        _count_rows(place, added)
        _mark_gap(place, window, reading.attempted_at, reading.gap, reading.detail)
        return
    before = known(place, window)
    status = status_after(
        before.status if before else None,
        window,
        read_to=reading.read_to,
        read_at=reading.started_at,
        settle=settle,
        added=added.get(window, 0),
    )
    proven_to = min(reading.read_to, window.end) if reading.read_to > window.start else None
    place.connection.execute(
        """insert into timeline.coverage as c (cloud, source, service, window_start, window_end, status, rows, attempts,
            last_attempt_at, last_success_at, proven_to)
        values (%(cloud)s, %(source)s, %(service)s, %(start)s, %(end)s, %(status)s, %(rows)s, 1, %(at)s, %(at)s, %(to)s)
        on conflict (cloud, source, window_start) do update set status = excluded.status, reason = null, detail = null,
            rows = c.rows + excluded.rows, attempts = c.attempts + 1, last_attempt_at = excluded.last_attempt_at,
            last_success_at = excluded.last_success_at, proven_to = greatest(c.proven_to, excluded.proven_to)""",
        {
            **place.of(window),
            "status": status,
            "rows": added.get(window, 0),
            "at": reading.attempted_at,
            "to": proven_to,
        },
    )
    _count_rows(place, {other: rows for other, rows in added.items() if other != window})


def _mark_gap(place: Place, window: Window, at: datetime, code: str, detail: str | None) -> None:
    place.connection.execute(
        """insert into timeline.coverage as c (cloud, source, service, window_start, window_end, status, reason, detail,
            attempts, last_attempt_at)
        values (%(cloud)s, %(source)s, %(service)s, %(start)s, %(end)s, 'gap', %(code)s, %(detail)s, 1, %(at)s)
        on conflict (cloud, source, window_start) do update set attempts = c.attempts + 1,
            last_attempt_at = excluded.last_attempt_at,
            status = case when c.status = 'proven' then c.status else excluded.status end,
            reason = case when c.status = 'proven' then c.reason else excluded.reason end,
            detail = case when c.status = 'proven' then c.detail else excluded.detail end""",
        {**place.of(window), "code": code, "detail": detail, "at": at},
    )


def _count_rows(place: Place, added: Mapping[Window, int]) -> None:
    """Records that a read added to windows it did not ask for: what was proven of them has to be read once more."""
    if not added:
        return
    place.connection.execute(
        """insert into timeline.coverage as c (cloud, source, service, window_start, window_end, status, reason, rows)
        select %(cloud)s, %(source)s, %(service)s, a.start, a.start + interval '1 hour', 'unknown', 'never_read', a.rows
        from unnest(%(starts)s::timestamptz[], %(rows)s::bigint[]) as a(start, rows)
        on conflict (cloud, source, window_start) do update set rows = c.rows + excluded.rows,
            status = case when c.status = 'proven' and not %(is_snapshot)s then 'settling' else c.status end""",
        {
            **place.name,
            "service": place.source.service,
            "starts": [window.start for window in added],
            "rows": list(added.values()),
            "is_snapshot": place.source.shape is Shape.SNAPSHOT,
        },
    )


def _mark_not_read(place: Place, read_to: datetime, window: Window) -> None:
    """Windows that passed while nobody was reading: gaps, to be read now."""
    place.connection.execute(
        """insert into timeline.coverage (cloud, source, service, window_start, window_end, status, reason, detail)
        select %(cloud)s, %(source)s, %(service)s, start, start + interval '1 hour', 'gap', 'not_read',
            'nobody was reading at that time; it is read as soon as its turn comes'
        from generate_series(%(first)s::timestamptz, %(last)s::timestamptz, interval '1 hour') as start
        on conflict (cloud, source, window_start) do update set status = excluded.status, reason = excluded.reason,
            detail = excluded.detail where coverage.status = 'unknown'""",
        {**place.of(window), "first": floor_hour(read_to), "last": window.start - HOUR},
    )


# Scans of snapshot sources


def _record_scan(place: Place, reading: Reading, stood: Standing, longest: timedelta) -> None:
    """Every hour between the complete scan before and this one learns how far apart they were.

    Times between scans are from end to end. An hour is decided once a scan began after its end.
    """
    at, since = reading.finished_at, stood.last_complete_at
    if since is not None and at <= since:
        return  # an older scan that came late proves nothing more
    first = stood.first_complete_at or at
    begin = stood.last_complete_from or reading.started_at
    place.connection.execute(
        """insert into timeline.coverage as c (cloud, source, service, window_start, window_end, status, attempts,
            last_attempt_at, last_success_at, proven_to, first_scan_at, last_scan_at, largest_gap_seconds)
        select %(cloud)s, %(source)s, %(service)s, start, start + interval '1 hour', 'open',
            (here.at is not null)::int, %(attempted)s, %(attempted)s, least(start + interval '1 hour', %(from)s),
            here.at, here.at, %(apart)s
        from generate_series(%(begin)s::timestamptz, %(end)s::timestamptz, interval '1 hour') as start,
            lateral (select case when start = %(end)s then %(at)s::timestamptz end as at) as here
        on conflict (cloud, source, window_start) do update set attempts = c.attempts + excluded.attempts,
            last_attempt_at = excluded.last_attempt_at, last_success_at = excluded.last_success_at,
            proven_to = greatest(c.proven_to, excluded.proven_to),
            first_scan_at = least(c.first_scan_at, excluded.first_scan_at),
            last_scan_at = greatest(c.last_scan_at, excluded.last_scan_at),
            largest_gap_seconds = greatest(c.largest_gap_seconds, excluded.largest_gap_seconds)""",
        {
            **place.name,
            "service": place.source.service,
            "begin": floor_hour(begin),
            "end": floor_hour(at),
            "attempted": reading.attempted_at,
            "from": reading.started_at,
            "at": at,
            "apart": None if since is None else (at - since).total_seconds(),
        },
    )
    place.connection.execute(
        """update timeline.coverage c set resolution_seconds = largest_gap_seconds, status = d.status,
            reason = case d.status
                when 'gap' then case when c.status = 'gap' and c.reason is not null then c.reason
                    else 'scan_interval_too_long' end
                when 'unknown' then 'no_history' end,
            detail = case d.status
                when 'gap' then format('%%s s between two scans; %%s s at most would be proof',
                    round(largest_gap_seconds::numeric), %(longest)s)
                when 'unknown' then format('the first scan was at %%s; the source keeps no history before it',
                    to_char(%(first)s::timestamptz at time zone 'UTC', 'YYYY-MM-DD HH24:MI:SS')) end
        from (select window_start,
                case when window_end > %(from)s then 'open'
                    when window_start < %(first)s then 'unknown'
                    when largest_gap_seconds <= %(longest)s then 'proven'
                    else 'gap' end as status
            from timeline.coverage
            where cloud = %(cloud)s and source = %(source)s and window_start between %(begin)s and %(end)s) d
        where c.cloud = %(cloud)s and c.source = %(source)s and c.window_start = d.window_start""",
        {
            **place.name,
            "begin": floor_hour(begin),
            "end": floor_hour(at),
            "from": reading.started_at,
            "first": first,
            "longest": longest.total_seconds(),
        },
    )


def without_scan(place: Place, window: Window) -> Known | None:
    """What is known about a past window of a snapshot source, if no scan of today can tell more; None: scan."""
    stood = standing(place)
    if stood.first_complete_at is None or window.end <= stood.first_complete_at:
        place.connection.execute(
            """insert into timeline.coverage (cloud, source, service, window_start, window_end, status, reason, detail)
            values (%(cloud)s, %(source)s, %(service)s, %(start)s, %(end)s, 'unknown', 'no_history',
                'the source keeps no history: before its first scan nothing can be known')
            on conflict (cloud, source, window_start) do nothing""",
            place.of(window),
        )
        refresh_tenants(place, [window])
    elif stood.last_complete_from < window.end:
        return None
    return known(place, window) or Known(UNKNOWN)


# Where the reading stands


def _record_standing(place: Place, window: Window, reading: Reading, stood: Standing) -> None:
    is_good = reading.gap is None
    is_newer = stood.last_complete_at is None or reading.finished_at > stood.last_complete_at
    is_scan = reading.is_complete and is_newer
    # a backfilled hour says nothing about the hours between it and now
    is_next = reading.finished_at in window or (stood.read_to is not None and window.start <= stood.read_to)
    place.connection.execute(
        """insert into raw.scans as s (cloud, source, last_attempt_at, last_success_at, last_complete_from,
            last_complete_at, first_complete_at, read_to, requests, failures, reason, detail, cursor)
        values (%(cloud)s, %(source)s, %(at)s, %(success)s, %(from)s, %(complete)s, %(complete)s, %(to)s, %(requests)s,
            %(failures)s, %(reason)s, %(detail)s, coalesce(%(cursor)s::jsonb, '{}'))
        on conflict (cloud, source) do update set
            last_attempt_at = greatest(s.last_attempt_at, excluded.last_attempt_at),
            last_success_at = greatest(s.last_success_at, excluded.last_success_at),
            last_complete_from = coalesce(excluded.last_complete_from, s.last_complete_from),
            last_complete_at = coalesce(excluded.last_complete_at, s.last_complete_at),
            first_complete_at = coalesce(s.first_complete_at, excluded.first_complete_at),
            read_to = greatest(s.read_to, excluded.read_to), requests = s.requests + excluded.requests,
            failures = case when excluded.failures > 0 then s.failures + 1 else 0 end,
            reason = excluded.reason, detail = excluded.detail, cursor = coalesce(%(cursor)s::jsonb, s.cursor)""",
        {
            **place.name,
            "at": reading.attempted_at,
            "success": reading.attempted_at if is_good else None,
            "from": reading.started_at if is_scan else None,
            "complete": reading.finished_at if is_scan else None,
            "to": reading.read_to if is_good and is_next else None,
            "requests": reading.requests,
            # it came back and proves nothing: that is as good as a failure, for whoever watches and for the service
            "failures": 0 if is_good else 1,
            "reason": reading.gap or reading.doubt,
            "detail": reading.detail,
            "cursor": None if reading.cursor is None else Jsonb(dict(reading.cursor)),
        },
    )


# What tenants may know


def refresh_tenants(place: Place, windows: Iterable[Window]) -> None:
    """Per service and window the least that is known of its sources; the last thing a transaction does.

    Sources of one service are harvested at the same time: the lock lets each see what the others have committed.
    """
    service = place.source.service
    place.connection.execute(
        "select pg_advisory_xact_lock(hashtext('timeline.tenant_coverage'), hashtext(%s))",
        (f"{place.cloud}/{service}",),
    )
    place.connection.execute(
        """insert into timeline.tenant_coverage as t (cloud, service, window_start, window_end, status)
        select cloud, service, window_start, max(window_end),
            (array['unknown', 'gap', 'open', 'settling', 'proven'])[min(
                array_position(array['unknown', 'gap', 'open', 'settling', 'proven'], status))]
        from timeline.coverage where cloud = %s and service = %s and window_start = any(%s)
        group by cloud, service, window_start order by window_start
        on conflict (cloud, service, window_start) do update set status = excluded.status
        where t.status is distinct from excluded.status""",
        (place.cloud, service, [window.start for window in windows]),
    )


def _touched(
    place: Place, window: Window, reading: Reading, stood: Standing, added: Mapping[Window, int]
) -> set[Window]:
    """The windows whose status a read may have changed."""
    since = stood.last_complete_from if place.source.shape is Shape.SNAPSHOT else stood.read_to
    last = max(reading.finished_at, window.end)
    return {window, *added, *windows_between(since or reading.started_at, last)}


# What has to be read


def due(pipeline: Pipeline, cloud: str, sources: Sequence[Source], now: datetime) -> list[tuple[Source, Window]]:
    """What has to be read now, the most urgent first: open windows, windows to settle, gaps.

    A source that fails is asked for its open window alone, after growing waits: one call that shows whether it is back.
    One that asks about what others found waits at the very first until they were read.
    """
    settings = pipeline.settings.harvest
    by_name = {source.name: source for source in sources}
    with pipeline.connect() as connection:
        scans = read_frame(
            connection,
            "select source, last_attempt_at, failures from raw.scans where cloud = %s and source = any(%s)",
            (cloud, list(by_name)),
        )
        closed = read_frame(
            connection,
            """select source, window_start, window_end, status, last_attempt_at, last_success_at from timeline.coverage
            where cloud = %s and source = any(%s) and status in ('settling', 'open', 'gap') and window_end <= %s
            order by window_start desc""",
            (cloud, [s.name for s in sources if s.shape is not Shape.SNAPSHOT], now),
        )
    stands = {row["source"]: row for row in scans.iter_rows(named=True)}
    to_follow, failing = [], set()
    for source in sources:
        if source.name not in stands and any(name in by_name and name not in stands for name in source.reads):
            continue
        stood = stands.get(source.name, {"last_attempt_at": None, "failures": 0})
        wait = interval_of(source, settings)
        if stood["failures"]:
            failing.add(source.name)
            wait = max(wait, min(wait * 2 ** min(stood["failures"], 20), LONGEST_BACK_OFF))
        if stood["last_attempt_at"] is None or now >= stood["last_attempt_at"] + wait:
            to_follow.append((source, Window.of(now)))
    to_settle, to_mend = [], []
    for row in closed.iter_rows(named=True):
        source = by_name[row["source"]]
        is_lost = source.retention is not None and row["window_end"] < now - source.retention
        if source.name in failing or is_lost or now < _next_read(row, source, settings):
            continue
        (to_mend if row["status"] == GAP else to_settle).append((source, Window(row["window_start"])))
    return to_follow + to_settle + to_mend


def _next_read(row: Mapping, source: Source, settings: HarvestSettings) -> datetime:
    """When a closed window has to be read next."""
    end, tried, read = row["window_end"], row["last_attempt_at"], row["last_success_at"]
    if row["status"] == GAP:
        if tried is None:
            return end
        # for as long as it has been failing, wait once more
        return tried + min(max(tried - end, FIRST_RETRY), LAST_RETRY)
    earliest = end + timedelta(seconds=settings.margin_seconds)
    if tried is not None:
        earliest = max(earliest, tried + interval_of(source, settings))
    if row["status"] == SETTLING:
        earliest = max(earliest, max(end, read or end) + settle_of(source, settings))
    return earliest


def status(pipeline: Pipeline, now: datetime | None = None) -> pl.DataFrame:
    """One row per cloud and source: how far it is read and proven, and what is missing.

    Columns: `cloud`, `source`, `status` (of its newest window), `read_to`, `lag_seconds` (now minus `read_to`),
    `proven_to` (end of the newest proven window), `gaps` (windows), `gap_reasons` (``code: windows``, the most
    frequent first), `oldest_gap_at`, `last_success_at`, `failures` in a row, `reason` and `detail` of the last failure.
    """
    now = now or datetime.now(UTC)
    with pipeline.connect() as connection:
        frame = read_frame(
            connection,
            """select s.cloud, s.source, newest.status, s.read_to, proven.proven_to, coalesce(gaps.gaps, 0) as gaps,
                gaps.gap_reasons, gaps.oldest_gap_at, s.last_success_at, s.failures, s.reason, s.detail
            from raw.scans s
            left join lateral (select status from timeline.coverage c where c.cloud = s.cloud and c.source = s.source
                order by window_start desc limit 1) newest on true
            left join lateral (select window_end as proven_to from timeline.coverage c
                where c.cloud = s.cloud and c.source = s.source and c.status = 'proven'
                order by window_start desc limit 1) proven on true
            left join lateral (select sum(windows)::bigint as gaps, min(oldest) as oldest_gap_at,
                    string_agg(format('%%s: %%s', reason, windows), ', ' order by windows desc, reason) as gap_reasons
                from (select reason, count(*) as windows, min(window_start) as oldest from timeline.coverage c
                    where c.cloud = s.cloud and c.source = s.source and c.status = 'gap'
                    group by reason) r) gaps on true
            order by s.cloud, s.source""",
            {},
        )
    lag = (pl.lit(now) - pl.col("read_to")).dt.total_microseconds() / 1e6
    return frame.with_columns(lag_seconds=lag).select(
        *("cloud", "source", "status", "read_to", "lag_seconds", "proven_to", "gaps", "gap_reasons", "oldest_gap_at"),
        *("last_success_at", "failures", "reason", "detail"),
    )
