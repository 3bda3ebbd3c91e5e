"""Recordings of real clouds, and what the raw stage makes of them.

``recordings/<source>/scan-<n>.json`` are consecutive looks at a cloud: the instant, the answers by path as
:class:`~timeline_assets_tests.sources.fakecloud.FakeCloud` gives them, and optionally `is_open` (default true) and
`others`: the records of other sources (`key`, `body`) that are known by then, for sources that look at these. They are
answers that a real cloud gave, cut to a few records and scrubbed, with the changes a test needs.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import polars as pl

from timeline_assets.normalize.schema import OBSERVATION
from timeline_assets.raw.scrub import scrub, sha256, to_json
from timeline_assets.sources.base import Fetched, Source, Span
from timeline_assets.sources.openstack import OpenStackReader
from timeline_assets_tests.sources.fakecloud import FakeCloud

HERE = Path(__file__).parent.parent
RECORDINGS, EXPECTED = HERE / "recordings", HERE / "expected"


@dataclass(frozen=True)
class Scan:
    """One look at the cloud."""

    at: datetime
    answers: Mapping[str, Any]
    is_open: bool = True
    others: Mapping[str, list[Mapping[str, Any]]] = field(default_factory=dict)

    @property
    def span(self) -> Span:
        """What a poll at that instant asks for."""
        return Span(self.at - timedelta(minutes=10), self.at + timedelta(minutes=50), self.at, self.is_open)

    @property
    def memory(self) -> dict[str, Callable[..., pl.DataFrame]]:
        """`latest` and `changed` of a reader: what is known of other sources by then (all of it has changed)."""

        def latest(source: str, *, after: str | None = None, limit: int | None = None, **_: Any) -> pl.DataFrame:
            rows = [{"key": row["key"], "body": to_json(row["body"])} for row in self.others.get(source, [])]
            frame = pl.DataFrame(rows, schema={"key": pl.String, "body": pl.String}).sort("key")
            return frame.filter(pl.col("key") > (after or "")).head(limit if limit is not None else len(rows))

        return {"latest": latest, "changed": lambda source, since: latest(source)}


def scans(source: str) -> list[Scan]:
    """The recorded looks at one source, oldest first."""
    files = sorted((RECORDINGS / source).glob("scan-*.json"))
    read = [json.loads(file.read_text()) for file in files]
    return [Scan(**{**scan, "at": datetime.fromisoformat(scan["at"])}) for scan in read]


def replay(source: Source, cloud: FakeCloud, reading: Callable[..., OpenStackReader]) -> list[tuple[Scan, Fetched]]:
    """Every recorded look, fetched by the source itself; what it remembers goes from one to the next."""
    cursor: Mapping[str, Any] = {}
    fetched = []
    for scan in scans(source.name):
        cloud.answers |= scan.answers
        reader = reading(source.name, cursor=cursor, **scan.memory)
        answer = source.fetch(reader, scan.span)
        assert answer.gap is None, answer.gap_detail
        cursor = json.loads(json.dumps(dict(answer.cursor or {})))
        fetched.append((scan, answer))
    return fetched


def observations(source: Source, fetched: list[tuple[Scan, Fetched]]) -> pl.DataFrame:
    """What the raw stage keeps of these fetches: what is new, has changed, or is missing for the second time."""
    rows: list[dict[str, Any]] = []
    known: dict[str, dict[str, Any]] = {}
    missing: dict[str, tuple[datetime, datetime]] = {}
    last_scan: datetime | None = None

    def add(key: str, op: str, body: str, **more: Any) -> None:
        ref = f"recording/{source.name}#{len(rows)}"
        rows.append({"cloud": "test", "source": source.name, "key": key, "op": op, "body": body, "raw_ref": ref} | more)

    for scan, answer in fetched:
        found = {record.key: (to_json(scrub(record.body)), record.cursor_at) for record in answer.records}
        for key, (body, cursor_at) in found.items():
            missing.pop(key, None)
            before = known.get(key)
            if before is None or before["body"] != body:
                known[key] = {"body": body, "at": scan.at}
                seen_from = last_scan if before is None else max(filter(None, (before["at"], last_scan)))
                add(
                    key,
                    "seen",
                    body,
                    previous=before and before["body"],
                    observed_at=scan.at,
                    seen_from=seen_from,
                    cursor_at=cursor_at or scan.at,
                    sha256=sha256(body),
                )
        if not answer.is_complete:
            continue
        for key in sorted(set(known) - set(found)):
            body = known[key]["body"]
            if key in missing:
                seen_from, since = missing.pop(key)
                times = {"seen_from": seen_from, "observed_at": since, "cursor_at": scan.at}
                add(key, "gone", body, previous=body, sha256=sha256(body), **times)
                del known[key]
            else:
                missing[key] = (max(filter(None, (known[key]["at"], last_scan))), scan.at)
        last_scan = scan.at
    return pl.DataFrame(rows, schema=OBSERVATION)


def as_lines(facts: pl.DataFrame) -> list[dict[str, Any]]:
    """Facts as they stand in ``expected/<source>.jsonl``: columns with a value, times and JSON readable, in order."""
    ordered = facts.sort("source_key", "occurred_at", "source_version", "event_type")
    rows = ordered.to_dicts()
    return [{name: _readable(name, value) for name, value in row.items() if value is not None} for row in rows]


def _readable(name: str, value: Any) -> Any:
    if isinstance(value, datetime):
        return value.isoformat()
    return json.loads(value) if name in ("related", "changes") else value


def expected(source: str) -> list[dict[str, Any]]:
    """The facts that a source's recording tells, in full."""
    return [json.loads(line) for line in (EXPECTED / f"{source}.jsonl").read_text().splitlines()]
