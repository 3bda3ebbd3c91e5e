"""What one fetch brought, scrubbed at once and kept compactly until it is stored.

A listing of any length takes the memory of one chunk: further chunks wait in a temporary folder. What is no record is
kept beside the records, with the reason why.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
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

    Iterating gives them as records again, scrubbed.
    """

    def __init__(
        self,
        records: Iterable[Record],
        malformed: Iterable[tuple[str, str]] = (),
        *,
        now: datetime,
        chunk_rows: int = 100_000,
    ) -> None:
        self._first: pl.DataFrame | None = None
        self._further: list[Path] = []
        self._scratch = Scratch("fetch")
        #: Answers of which it is not known which record they are.
        self.nameless = 0
        rows: list[Row] = []
        for row in _rows(records, malformed, now):
            rows.append(row)
            self.nameless += row[0] is None
            if len(rows) == chunk_rows:
                self._keep(rows)
                rows = []
        if rows:
            self._keep(rows)

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


def _rows(records: Iterable[Record], malformed: Iterable[tuple[str, str]], now: datetime) -> Iterator[Row]:
    for record in records:
        yield _row(record, now)
    for reason, text in malformed:
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
    if len(key.encode()) > LONGEST_KEY_BYTES:
        said = f"the record's key has {len(key.encode()):,} bytes, more than {LONGEST_KEY_BYTES}"
        return _aside(key, text, "key_too_long", said)
    if cursor_at is not None:
        if not isinstance(cursor_at, datetime) or cursor_at.tzinfo is None:
            return _aside(key, text, "time_unreadable", f"the record's time {cursor_at!r} is none, or lacks its zone")
        if cursor_at > now + WORST_CLOCK:
            return _aside(key, text, "time_in_future", f"the record's time {cursor_at.isoformat()} lies in the future")
        try:
            cursor_at = cursor_at.astimezone(UTC)
        except OverflowError:
            return _aside(key, text, "time_unreadable", f"the record's time {cursor_at} lies before the first year")
    return key, cursor_at, text, sha256(text), None, None


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
