"""What one fetch brought, scrubbed at once and kept compactly until it is stored.

A listing of any length takes the memory of two chunks (`harvest.chunk_rows` records each): the reader hands its pages
over as they come, and further chunks wait in a temporary folder. Two things stay in memory whole: the keys of a fetch
(some 100 bytes a record), and what a service gives in one answer, for Keystone before 2025.1 the whole list. What is no
record is kept beside the records, with the reason why.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from timeline_assets.normalize.schema import INSTANT
from timeline_assets.raw.scratch import Scratch
from timeline_assets.raw.scrub import scrub_text, sha256, to_json
from timeline_assets.sources.base import Record

#: A record's own time may be ahead of ours by this much: no clock is off by more.
WORST_CLOCK = timedelta(days=1)

#: A key that is longer is none: no index could hold it, and OpenStack's own ids have 255 characters at most.
LONGEST_KEY_BYTES = 512

#: One record, scrubbed: `reason` is null, `body` canonical JSON. Or what is none: `reason` and `detail` say why, `key`
#: is null or empty if it has none, `body` is its scrubbed text.
SPOOLED = pl.Schema(
    {
        "key": pl.String,
        "cursor_at": INSTANT,
        "body": pl.String,
        "sha256": pl.String,
        "reason": pl.String,
        "detail": pl.String,
    }
)
Row = tuple[str | None, datetime | None, str, str, str | None, str | None]


class Spool:
    """The records of one fetch; read as often as needed, one frame (:data:`SPOOLED`) of at most `chunk_rows` at a time.

    They are taken from `records` one by one, among them answers that are none: (reason, text). Iterating gives the
    records again, scrubbed. `now` is what a record's own time is judged by; a clock is asked when the record comes.
    """

    def __init__(
        self,
        records: Iterable[Record | tuple[str, str]],
        *,
        now: datetime | Callable[[], datetime],
        chunk_rows: int = 100_000,
    ) -> None:
        self._first: pl.DataFrame | None = None
        self._further: list[Path] = []
        self._scratch = Scratch("fetch")
        self._length = 0
        #: Answers of which it is not known which record they are.
        self.nameless = 0
        rows: list[Row] = []
        for row in _rows(records, now if callable(now) else lambda: now):
            rows.append(row)
            self._length += 1
            self.nameless += row[0] is None
            if len(rows) == chunk_rows:
                self._keep(rows)
                rows = []
        if rows:
            self._keep(rows)

    def __len__(self) -> int:
        """How many answers there were; a record that was told twice counts twice."""
        return self._length

    def frames(self) -> Iterator[pl.DataFrame]:
        """The chunks, in the order in which they were read."""
        if self._first is not None:
            yield self._first
        for path in self._further:
            yield pl.read_parquet(path)

    def __iter__(self) -> Iterator[Record]:
        for frame in self.frames():
            for row in frame.filter(pl.col("reason").is_null()).iter_rows(named=True):
                yield Record(row["key"], json.loads(row["body"]), row["cursor_at"])

    def _keep(self, rows: list[Row]) -> None:
        frame = pl.DataFrame(rows, schema=SPOOLED, orient="row")
        if self._first is None:
            self._first = frame
            return
        self._further.append(self._scratch.write(str(len(self._further)), frame))


def _rows(records: Iterable[Record | tuple[str, str]], now: Callable[[], datetime]) -> Iterator[Row]:
    for record in records:
        if isinstance(record, Record):
            yield _row(record, now())
        else:
            reason, text = record
            body = scrub_text(text)
            yield None, None, body, sha256(body), reason, "the source could not read it"


def _row(record: Record, now: datetime) -> Row:
    key, body, cursor_at = record.key, record.body, record.cursor_at
    if not isinstance(body, Mapping):
        return _aside(key, body, "not_an_object", f"the record is no object but {_kind(body)}")
    try:
        text = to_json(body)
    except ValueError as error:
        return _aside(key, body, "not_json", str(error))
    if not isinstance(key, str) or not key:
        return _aside(None, text, "no_key", "the record has no key")
    key = scrub_text(key)
    bad = _bad_key(key) or _bad_time(cursor_at, now)
    if bad:
        return _aside(key, text, *bad)
    return key, cursor_at and cursor_at.astimezone(UTC), text, sha256(text), None, None


def _bad_key(key: str) -> tuple[str, str] | None:
    """Why this is no key: reason and detail."""
    size = len(key.encode())
    return ("key_too_long", f"{size:,} bytes, more than {LONGEST_KEY_BYTES}") if size > LONGEST_KEY_BYTES else None


def _bad_time(at: Any, now: datetime) -> tuple[str, str] | None:
    """Why this is no time of a record; that there is none is fine."""
    if at is None:
        return None
    if not isinstance(at, datetime) or at.tzinfo is None:
        return "time_unreadable", f"the record's time {at!r} is none, or lacks its zone"
    if at > now + WORST_CLOCK:
        return "time_in_future", f"the record's time {at.isoformat()} lies in the future"
    try:
        at.astimezone(UTC)
    except OverflowError:
        return "time_unreadable", f"the record's time {at.isoformat()} lies before all years"
    return None


def _aside(key: Any, body: Any, reason: str, detail: str) -> Row:
    if not isinstance(body, str):
        try:
            body = json.dumps(body, default=repr)
        except (ValueError, TypeError, RecursionError):
            body = f"a value that cannot be written down: {_kind(body)}"
    text = scrub_text(body)
    name = scrub_text(key) if isinstance(key, str) else None
    # two records that say the same are still two
    return name and name[:LONGEST_KEY_BYTES], None, text, sha256(f"{name}: {text}"), reason, scrub_text(detail)


def _kind(value: Any) -> str:
    names = {"NoneType": "null", "list": "a list", "str": "a text", "bool": "a boolean", "int": "a number"}
    return names.get(type(value).__name__, type(value).__name__)
