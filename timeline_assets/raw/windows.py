"""Windows: the hourly, UTC, half-open spans of source time that are partitions and cursors at once.

A window's key is Dagster's hourly partition key (``2026-11-22-10:00``), so a partition in the UI, a row of
``timeline.coverage`` and a folder of the raw store name the same hour.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from timeline_assets.errors import ConfigurationError

HOUR = timedelta(hours=1)
KEY_FORMAT = "%Y-%m-%d-%H:%M"


@dataclass(frozen=True, order=True)
class Window:
    """The hour ``[start, end)`` of source time; `start` is timezone-aware UTC on the full hour."""

    start: datetime

    def __post_init__(self) -> None:
        if self.start.tzinfo is None or self.start != floor_hour(self.start):
            raise ValueError(f"a window starts on a full hour of UTC, not at {self.start!r}")

    @property
    def end(self) -> datetime:
        return self.start + HOUR

    @property
    def key(self) -> str:
        """Dagster's partition key of this hour."""
        return self.start.strftime(KEY_FORMAT)

    @classmethod
    def of(cls, instant: datetime) -> Window:
        """The window that holds `instant`."""
        return cls(floor_hour(instant))

    @classmethod
    def from_key(cls, key: str) -> Window:
        """The window of a partition key; :class:`ConfigurationError` for anything else."""
        try:
            return cls(datetime.strptime(key, KEY_FORMAT).replace(tzinfo=UTC))
        except ValueError as error:
            raise ConfigurationError(
                f"{key!r} is no window", remedy="Windows are full hours of UTC, written like 2026-11-22-10:00."
            ) from error

    def __contains__(self, instant: datetime) -> bool:
        return self.start <= instant < self.end


def floor_hour(instant: datetime) -> datetime:
    """The full hour of UTC at or before `instant`."""
    return instant.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def windows_between(since: datetime, until: datetime) -> Iterator[Window]:
    """Every window that overlaps ``[since, until)``, oldest first; none if the span is empty."""
    start = floor_hour(since)
    while start < until:
        yield Window(start)
        start += HOUR
