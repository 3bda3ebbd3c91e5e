"""Observations made from what a few looks at a cloud found, for tests of one thing at a time."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from timeline_assets.sources.base import Fetched, Record, Source
from timeline_assets_tests.sources.recordings import Scan, observations, scans

START = datetime(2026, 11, 22, 10, tzinfo=UTC)


def at(seconds: float) -> datetime:
    """So many seconds after ten o'clock."""
    return START + timedelta(seconds=seconds)


def told_at(seconds: int) -> str:
    """The same as Nova and Cinder write it."""
    return at(seconds).strftime("%Y-%m-%dT%H:%M:%S.000000")


def recorded(source: Source, collection: str, number: int = 0) -> dict[str, Any]:
    """One record of a source's first recorded look."""
    answer = next(value for value in scans(source.name)[0].answers.values() if collection in value)
    return copy.deepcopy(answer[collection][number])


def looks(source: Source, *found: tuple[float, list[Mapping[str, Any]]], key: str = "id") -> pl.DataFrame:
    """What the raw stage keeps of these looks: (seconds after ten, all records there were). Whole lists, in order."""
    read = []
    for seconds, bodies in found:
        rows = [Record(_key(body, key), body) for body in bodies]
        read.append((Scan(at(seconds), {}), Fetched(rows, True, at(seconds))))
    return observations(source, read)


def tell(source: Source, frame: pl.DataFrame) -> pl.DataFrame:
    """Its facts, in order of time."""
    return source.normalize(frame.lazy()).collect().sort("occurred_at", "event_type")


def prove(source: Source, frame: pl.DataFrame) -> pl.DataFrame:
    """Its evidence."""
    return source.evidence(frame.lazy()).collect()


def _key(body: Mapping[str, Any], key: str) -> str:
    return "/".join(body[name] for name in key.split("/"))
