"""Landing: records that come to us, rather than being fetched, are in the raw store before anything is made of them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import polars as pl

from timeline_assets.normalize.schema import OBSERVATION
from timeline_assets.pipeline import Pipeline
from timeline_assets.raw.scrub import scrub, sha256, to_json
from timeline_assets.raw.windows import Window
from timeline_assets.sources.base import Record, Source


def land(pipeline: Pipeline, cloud: str, source: Source, records: Sequence[Record], now: datetime) -> list[Window]:
    """Keeps records, scrubbed, in the windows of their cursor times (default: `now`); returns those windows.

    They are not compared with others: each is an observation of its own. Durable when this returns.
    """
    placed: dict[Window, list[dict]] = {}
    for record in records:
        at = record.cursor_at or now
        body = to_json(scrub(record.body))
        row = {"cloud": cloud, "source": source.name, "key": record.key, "op": "seen", "cursor_at": at}
        row |= {"observed_at": now, "body": body, "sha256": sha256(body)}
        placed.setdefault(Window.of(at), []).append(dict.fromkeys(OBSERVATION) | row)
    with pipeline.connect() as connection:
        for window, rows in placed.items():
            observations = pl.DataFrame(rows, schema=OBSERVATION)
            written = pipeline.raw.write_attempt(cloud, source.name, window, observations)
            connection.execute(
                """insert into raw.attempts (cloud, source, window_start, path, rows, bytes)
                values (%s, %s, %s, %s, %s, %s)""",
                (cloud, source.name, window.start, written.path, len(rows), written.bytes),
            )
    return sorted(placed)
