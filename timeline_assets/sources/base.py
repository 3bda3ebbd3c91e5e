"""What a source is.

A source file answers three questions and holds nothing else: what to ask (`fetch`), what an answer means (`normalize`)
and what it proves about the topology (`evidence`). Each is a plain function; `SOURCE` at its end binds them.

Cursor shapes (`Shape`):

* ``log``       append-mostly list with a time filter,
* ``mutable``   records that change, polled by an updated-at filter with overlap (or read whole where there is none),
* ``snapshot``  no usable history: the whole list, compared with the last complete one,
* ``stream``    pushed to us, landed durably first.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Protocol

import polars as pl


class Shape(StrEnum):
    """How a source's cursor can move; see the module's text."""

    LOG = "log"
    MUTABLE = "mutable"
    SNAPSHOT = "snapshot"
    STREAM = "stream"


@dataclass(frozen=True)
class Span:
    """What one fetch is asked for: source time ``[start, end)``, already widened by overlap and slack.

    `is_open` says that the span reaches the present; `now` is our clock at the start of the fetch.
    """

    start: datetime
    end: datetime
    now: datetime
    is_open: bool


@dataclass(frozen=True)
class Record:
    """One record as the service sent it.

    `key` is its natural key within (cloud, source); `cursor_at` the source time that decides its window (None: the time
    of observation, as for snapshots); `body` the JSON object as sent (not yet scrubbed).
    """

    key: str
    body: Mapping[str, Any]
    cursor_at: datetime | None = None


@dataclass(frozen=True)
class Fetched:
    """What one fetch brought.

    `is_complete`: every page was read and the scope was proven, so that a key that is missing may count as gone
    (snapshot and read-in-full sources only). `read_to`: source time up to which this read is good (the smaller of the
    greatest time the server vouches for and its `Date` minus a safety margin). `gap` names why a read that came back
    proves nothing (a stable code such as ``scope_too_small``), with `gap_detail` for a person. `cursor` is remembered
    for this source and handed to the next fetch. `is_resting`: it was too early to read again, nothing was asked.
    `malformed` are answers that are no records:
    (reason, JSON text).
    `started_at` and `finished_at` are set by the raw stage: when this was read, by the cloud's clock.
    """

    records: Iterable[Record]
    is_complete: bool
    read_to: datetime
    requests: int = 0
    gap: str | None = None
    gap_detail: str | None = None
    cursor: Mapping[str, Any] | None = None
    is_resting: bool = False
    malformed: list[tuple[str, str]] = field(default_factory=list)
    started_at: datetime | None = None
    finished_at: datetime | None = None


class Reader(Protocol):
    """One cloud as a source's `fetch` sees it; see :class:`timeline_assets.sources.openstack.OpenStackReader`."""

    cloud: str
    requests: int

    def get(self, service: str, path: str, params: Mapping[str, Any] | None = None, *, microversion: str | None = None):
        """One GET: the parsed JSON body; raises :class:`SourceError` with a stable code."""

    def probe(self, service: str, path: str, params: Mapping[str, Any] | None = None, *, microversion=None):
        """The same as `get`, or None where the service does not know what is asked (400, 404)."""

    def rows(
        self,
        service: str,
        path: str,
        collection: str,
        params: Mapping[str, Any] | None = None,
        *,
        microversion: str | None = None,
    ) -> Iterable[Any]:
        """The records of all pages of a listing; a record may come twice, none is skipped."""

    def keep(
        self,
        rows: Iterable[Any],
        *,
        key: Callable[[Mapping[str, Any]], str | None] = ...,
        cursor_at: Callable[[Mapping[str, Any]], str | None] | None = None,
    ) -> tuple[Collection[Record], list[tuple[str, str]]]:
        """All rows of a listing, read now, as records, and those that are none; `key` defaults to their ``id``."""

    def many(self, work: Callable[[Any], Any], items: list[Any]) -> list[Any]:
        """`work` of each item, in order, a bounded number at a time."""

    def require_scope(self, *, is_reader_enough: bool = False) -> Any:
        """What the token allows; raises ``scope_too_small`` where services would show its own project alone."""

    def read_to(self, started: datetime, margin: timedelta = timedelta(seconds=2)) -> datetime:
        """Source time up to which a read begun at `started` is good."""

    def cursor(self) -> Mapping[str, Any]:
        """What the last successful fetch of this source remembered."""

    def changed(self, source: str, since: datetime) -> pl.DataFrame:
        """Latest records of another source whose last change was observed at or after `since`: `key`, `body`."""

    def latest(
        self, source: str, *, after: str | None = None, limit: int | None = None, since: datetime | None = None
    ) -> pl.DataFrame:
        """Latest live records of another source of this cloud, by key: `key`, `body` (JSON text).

        `after` and `limit` give the next so many keys beyond one, for a source that goes round in turns; `since` leaves
        out what was over before then (:attr:`Source.is_over`).
        """


@dataclass(frozen=True)
class Source:
    """One source; `name` is also its asset key's last part, its table of records and its recordings' folder.

    `normalize` turns observations (:data:`~timeline_assets.normalize.schema.OBSERVATION`) into facts
    (:data:`~timeline_assets.normalize.schema.FACT`); `evidence` turns the same observations into topology evidence
    (:data:`~timeline_assets.normalize.schema.EVIDENCE`). `interval` is how often the open window is polled, `settle`
    how long after a window's end its second read comes, `retention` how long the service keeps what we might have
    missed (None: it keeps no history). `reads` names other sources whose newest records `fetch` asks about: a run that
    harvests both reads those first. `is_over` tells from a record's JSON text that it will never change again, for a
    source whose listing never shows what is gone: such a record is forgotten once the timeline is.
    """

    name: str
    service: str
    shape: Shape
    resource_type: str
    fetch: Callable[[Reader, Span], Fetched]
    normalize: Callable[[pl.LazyFrame], pl.LazyFrame]
    evidence: Callable[[pl.LazyFrame], pl.LazyFrame]
    description: str
    interval: timedelta = timedelta(seconds=10)
    settle: timedelta = timedelta(minutes=10)
    retention: timedelta | None = None
    #: paths of the record whose change is an event; names in OpenStack's own words
    tracked: tuple[str, ...] = ()
    microversion: str | None = None
    reads: tuple[str, ...] = ()
    is_over: Callable[[pl.Expr], pl.Expr] | None = None
