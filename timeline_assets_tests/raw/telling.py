"""A cloud whose answers a test writes down, and what a pipeline has stored, told in a few words."""

from __future__ import annotations

import json
import resource
import signal
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from timeline_assets.errors import SourceError
from timeline_assets.normalize.schema import EVIDENCE, FACT
from timeline_assets.pipeline import Pipeline
from timeline_assets.raw.windows import Window
from timeline_assets.sources.base import Fetched, Record, Shape, Source, Span
from timeline_assets.store.copy import read_frame

#: Ten o'clock, in the middle of a window that has windows before it.
TEN = datetime(2026, 11, 22, 10, tzinfo=UTC)
INTERVAL, SETTLE = timedelta(seconds=10), timedelta(minutes=10)


def at(text: str) -> datetime:
    """A time of the test's day: ``10:05`` or ``10:05:30``."""
    return datetime.fromisoformat(f"2026-11-22T{text}+00:00")


@dataclass
class Clock:
    """A clock that a test sets."""

    now: datetime = TEN

    def __call__(self) -> datetime:
        return self.now

    def tick(self, **delta: float) -> datetime:
        self.now += timedelta(**delta)
        return self.now


@dataclass
class Cloud:
    """A cloud's reader and the source on it: it answers what `records` holds, or raises `error`.

    `bodies` gives the records by key; a record's cursor time is its ``at``.
    """

    shape: Shape
    clock: Clock
    bodies: dict[str, dict[str, Any]] = field(default_factory=dict)
    more: list[Record] = field(default_factory=list)
    malformed: list[tuple[str, str]] = field(default_factory=list)
    error: Exception | None = None
    gap: str | None = None
    is_complete: bool | None = None
    read_to: datetime | None = None
    cursor: dict[str, Any] | None = None
    spans: list[Span] = field(default_factory=list)
    cloud: str = "east"
    requests: int = 0
    clock_skew_seconds: float | None = None
    takes: timedelta = timedelta(0)
    is_resting: bool = False

    def put(self, key: str, at: datetime | None = None, **body: Any) -> None:
        self.bodies[key] = {"id": key, **({"at": at.isoformat()} if at else {}), **body}

    def records(self) -> Iterable[Record]:
        for key, body in self.bodies.items():
            yield Record(key, body, datetime.fromisoformat(body["at"]) if "at" in body else None)
        yield from self.more

    def fetch(self, reader: Any, span: Span) -> Fetched:
        self.spans.append(span)
        if self.error:
            raise self.error
        if self.is_resting:
            return Fetched([], False, self.read_to, cursor=self.cursor, is_resting=True)
        started = self.clock.now + timedelta(seconds=self.clock_skew_seconds or 0)
        self.clock.now += self.takes
        return Fetched(
            self.records(),
            is_complete=self.shape is Shape.SNAPSHOT if self.is_complete is None else self.is_complete,
            read_to=self.read_to or started - timedelta(seconds=2),
            requests=1,
            gap=self.gap,
            gap_detail=f"why: {self.gap}" if self.gap else None,
            cursor=self.cursor,
            malformed=list(self.malformed),
        )

    def source(self, name: str = "things", **changes: Any) -> Source:
        source = Source(
            name=name,
            service="compute",
            shape=self.shape,
            resource_type="thing",
            fetch=self.fetch,
            normalize=lambda observations: pl.LazyFrame(schema=FACT),
            evidence=lambda observations: pl.LazyFrame(schema=EVIDENCE),
            description="Things.",
            interval=INTERVAL,
            settle=SETTLE,
        )
        return replace(source, **changes)


@contextmanager
def full_disk() -> Iterator[None]:
    """No file can grow beyond a kilobyte."""
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def failing(code: str = "unreachable") -> SourceError:
    return SourceError("east: nobody answers", code=code, remedy="look")


def rows(pipeline: Pipeline, query: str, *params: Any) -> list[tuple]:
    with pipeline.connect() as connection:
        return connection.execute(query, params).fetchall()


def stored(pipeline: Pipeline, cloud: str = "east") -> pl.DataFrame:
    """Everything that committed attempts hold, in their order, each observation with the window it lies in."""
    with pipeline.connect() as connection:
        attempts = read_frame(
            connection,
            "select path, window_start from raw.attempts where cloud = %s and replaced_by is null order by attempt_id",
            (cloud,),
        )
    frames = [
        pipeline.raw.scan([path]).collect().with_columns(window=pl.lit(start.strftime("%d %H")))
        for path, start in attempts.iter_rows()
    ]
    return pl.concat(frames) if frames else pl.DataFrame(schema={"key": pl.String, "op": pl.String})


def told(pipeline: Pipeline, cloud: str = "east") -> list[tuple]:
    """(window, op, key, n, n before) of every stored observation, sorted: what was seen of a record's field `n`."""
    frame = stored(pipeline, cloud)
    return sorted(
        (row["window"], row["op"], row["key"], _n(row["body"]), _n(row["previous"]))
        for row in frame.iter_rows(named=True)
    )


def _n(text: str | None) -> Any:
    return None if text is None else json.loads(text).get("n")


def covered(pipeline: Pipeline, cloud: str = "east") -> Mapping[str, tuple]:
    """Status, reason and rows by window (``22 10``)."""
    found = rows(
        pipeline,
        """select to_char(window_start at time zone 'UTC', 'DD HH24'), status, reason, rows
        from timeline.coverage where cloud = %s order by 1""",
        cloud,
    )
    return {window: tuple(more) for window, *more in found}


def hour(text: str) -> Window:
    """The window of the test's day that starts at this hour."""
    return Window(at(f"{text}:00"))
