"""Claims and instants as the tests of the topology write them: short, in minutes after noon."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

import polars as pl

from timeline_assets.normalize.schema import EVIDENCE

NOON = datetime(2026, 1, 15, 12, tzinfo=UTC)
CLOUD = "one"


def at(minutes: float | None) -> datetime | None:
    """So many minutes after noon."""
    return None if minutes is None else NOON + timedelta(minutes=minutes)


def claim(kind: str, key: str, what: str, when: float, since: float | None = None, **columns: object) -> dict:
    """One claim about the resource `key` of type `kind`; `since` is its `at_from`."""
    dated = what in ("created", "owner_since", "edge_since", "edge_until")
    return {
        **dict.fromkeys(EVIDENCE.names()),
        "cloud": CLOUD,
        "resource_type": kind,
        "resource_id": key,
        "claim": what,
        "at_from": at(when if dated else since),
        "at": at(when),
        "source": "listing",
        "raw_ref": f"{what}#{when:g}",
        **columns,
    }


def frame(claims: Iterable[dict]) -> pl.DataFrame:
    """Claims as evidence."""
    return pl.DataFrame(list(claims), schema=EVIDENCE, orient="row")


def minutes(rows: pl.DataFrame, *columns: str) -> list[tuple]:
    """These columns as tuples, in order; instants as minutes after noon."""
    instants = [name for name in columns if isinstance(rows.schema[name], pl.Datetime)]
    picked = rows.with_columns((pl.col(instants) - NOON).dt.total_microseconds() / 60_000_000).select(columns)
    return sorted(picked.rows(), key=lambda row: [(value is not None, str(type(value)), value) for value in row])
