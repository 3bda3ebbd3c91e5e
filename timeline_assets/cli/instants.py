"""Times as people type them."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from timeline_assets.errors import ConfigurationError

UNITS = {"s": "seconds", "m": "minutes", "min": "minutes", "h": "hours", "d": "days", "w": "weeks"}
RELATIVE = re.compile(r"(\d+(?:\.\d+)?)\s*(s|min|m|h|d|w)(?:\s+ago)?")
ACCEPTED = (
    "a time like 2026-11-22T10:00 (UTC unless it says otherwise), a date, or how long ago: 90m, 2h, 1d, yesterday"
)


def instant(text: str, *, option: str, now: datetime | None = None) -> datetime:
    """The instant meant by `text`, in UTC: ISO 8601, a date, ``now``, ``today``, ``yesterday``, or ``2h`` (ago).

    Raises :class:`ConfigurationError` that names the option and what is accepted.
    """
    now = now or datetime.now(UTC)
    said = text.strip().lower()
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    named = {"now": now, "today": midnight, "yesterday": midnight - timedelta(days=1)}
    if said in named:
        return named[said]
    try:
        if match := RELATIVE.fullmatch(said):
            return now - timedelta(**{UNITS[match[2]]: float(match[1])})
        given = datetime.fromisoformat(text.strip())
        return given.replace(tzinfo=UTC) if given.tzinfo is None else given.astimezone(UTC)
    except (ValueError, OverflowError):
        raise ConfigurationError(f"{option} {text!r} is no time", remedy=f"Write {ACCEPTED}.") from None


def span(
    since: str,
    until: str | None,
    *,
    now: datetime | None = None,
    may_be_future: bool = False,
    is_past: bool = False,
) -> tuple[datetime, datetime]:
    """The half-open span ``[since, until)``; `until` defaults to now.

    Raises :class:`ConfigurationError` where it ends before it starts, has not begun yet, or (`is_past`) ends later than
    the hour that runs.
    """
    now = now or datetime.now(UTC)
    start = instant(since, option="--since", now=now)
    end = instant(until, option="--until", now=now) if until else now
    if start > now and not may_be_future:
        raise ConfigurationError(
            f"--since {start:%Y-%m-%d %H:%M} UTC lies in the future; now it is {now:%Y-%m-%d %H:%M} UTC",
            remedy="Times are UTC unless they say otherwise, as in 2026-11-22T10:00+01:00.",
        )
    if is_past and end > now + timedelta(hours=1):
        raise ConfigurationError(
            f"--until {end:%Y-%m-%d %H:%M} UTC lies in the future; now it is {now:%Y-%m-%d %H:%M} UTC",
            remedy="What has not happened cannot be read: leave --until out to go as far as now.",
        )
    if end <= start:
        raise ConfigurationError(
            f"--until {end:%Y-%m-%d %H:%M} is not after --since {start:%Y-%m-%d %H:%M} UTC",
            remedy="The span is [since, until): put the earlier time into --since.",
        )
    return start, end
