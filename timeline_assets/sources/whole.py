"""How often a list that can only be read whole is read.

A short list is read at every poll. A long one rests after a reading for `PAUSE` times as long as the reading took, so
that a service spends no more than a tenth of its time on us, however large the cloud grows.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from timeline_assets.sources.base import Fetched, Span

#: Up to so many records a list is short.
SHORT_LIST = 2000
#: A long list rests so many times as long as it took to read.
PAUSE = 10


def is_short(cursor: Mapping[str, Any]) -> bool:
    """Whether the list was short when it was last read whole; unknown is short."""
    return cursor.get("rows", 0) <= SHORT_LIST


def since_read(cursor: Mapping[str, Any], span: Span) -> timedelta:
    """How long ago the list was last read whole."""
    return span.now - datetime.fromisoformat(cursor["read_at"])


def resting(cursor: Mapping[str, Any], span: Span) -> Fetched | None:
    """What a poll of a long list is told that comes too early: nothing new, and good up to the last reading."""
    if not span.is_open or is_short(cursor):
        return None
    if since_read(cursor, span) >= PAUSE * timedelta(seconds=cursor["read_seconds"]):
        return None
    return Fetched([], False, datetime.fromisoformat(cursor["read_to"]), cursor=cursor, is_resting=True)


def remembered(span: Span, rows: int, seconds: float, read_to: datetime) -> dict[str, Any]:
    """What to remember of a whole reading that brought so many rows and took so many seconds."""
    return {
        "rows": rows,
        "read_at": span.now.isoformat(),
        "read_seconds": round(seconds, 3),
        "read_to": read_to.isoformat(),
    }
