"""A recording, read: what every listing showed at any instant of it."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from timeline_assets.demo.record import FORMAT
from timeline_assets.errors import ConfigurationError

Record = Mapping[str, Any]

#: A time as OpenStack's services write one; what follows the seconds stays as it is.
_TIME = re.compile(r"(\d{4}-\d\d-\d\d)([T ])(\d\d:\d\d:\d\d)(\.\d+)?(Z|[+-]\d\d:\d\d)?")


@dataclass(frozen=True)
class Recording:
    """A cloud's listings from `began_at` to `ended_at`.

    `head` is the recording's first line. `versions` holds by listing and key what was found and when, oldest first;
    None: no longer listed. `sha256` names the recording.
    """

    head: Mapping[str, Any]
    began_at: datetime
    ended_at: datetime
    versions: Mapping[str, Mapping[str, tuple[tuple[datetime, Record | None], ...]]]
    sha256: str

    def records(self, listing: str, at: datetime) -> list[Record]:
        """What the listing showed at an instant; before the recording what it showed first, after it what last."""
        at = max(at, self.began_at)
        shown = (_shown(versions, at) for versions in self.versions.get(listing, {}).values())
        return [record for record in shown if record is not None]

    def shifted(self, by: timedelta) -> Recording:
        """The same, later: every instant and every time in a record, by whole seconds, which is all some know."""
        by = timedelta(seconds=by // timedelta(seconds=1))
        versions = {
            listing: {
                key: tuple((at + by, _later(record, by)) for at, record in of_key) for key, of_key in by_key.items()
            }
            for listing, by_key in self.versions.items()
        }
        return Recording(self.head, self.began_at + by, self.ended_at + by, versions, self.sha256)


def read(path: Path) -> Recording:
    """The recording in a file; raises :class:`ConfigurationError` where it is none, or is not whole."""
    try:
        data = path.read_bytes()
        lines = [json.loads(line) for line in gzip.decompress(data).decode().splitlines()]
        head, *changes, tail = lines
        if head.get("format") != FORMAT:
            raise ValueError(f"its format is {head.get('format')!r}, not {FORMAT}")
        versions: dict[str, dict[str, list[tuple[datetime, Record | None]]]] = {}
        for change in changes:
            of_key = versions.setdefault(change["listing"], {}).setdefault(change["key"], [])
            of_key.append((datetime.fromisoformat(change["at"]), change["record"]))
        return Recording(
            head,
            datetime.fromisoformat(head["recorded_from"]),
            datetime.fromisoformat(tail["recorded_to"]),
            {listing: {key: tuple(v) for key, v in by_key.items()} for listing, by_key in versions.items()},
            hashlib.sha256(data).hexdigest(),
        )
    except (OSError, EOFError, zlib.error, ValueError, KeyError, TypeError, AttributeError) as error:
        what = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or type(error).__name__
        raise ConfigurationError(
            f"{path} is no whole recording: {what}", remedy="Make one with `timeline record`, or install anew."
        ) from None


def _shown(versions: tuple[tuple[datetime, Record | None], ...], at: datetime) -> Record | None:
    shown = None
    for since, record in versions:
        if since > at:
            break
        shown = record
    return shown


def _later(value: Any, by: timedelta) -> Any:
    if isinstance(value, str):
        return _later_text(value, by)
    if isinstance(value, Mapping):
        return {name: _later(each, by) for name, each in value.items()}
    if isinstance(value, list):
        return [_later(each, by) for each in value]
    return value


def _later_text(text: str, by: timedelta) -> str:
    match = _TIME.fullmatch(text)
    if match is None:
        return text
    day, between, clock, fraction, zone = match.groups("")
    try:
        moved = datetime.fromisoformat(f"{day}T{clock}") + by
    except (ValueError, OverflowError):  # looks like a time and is none, or is the end of time
        return text
    return f"{moved:%Y-%m-%d}{between}{moved:%H:%M:%S}{fraction}{zone}"
