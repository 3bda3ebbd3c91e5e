"""Facts as if they came from raw records: their attempt stands in the raw store, normalized."""

from __future__ import annotations

import polars as pl

from timeline_assets.normalize.schema import OBSERVATION
from timeline_assets.pipeline import Pipeline
from timeline_assets.raw.windows import Window
from timeline_assets_tests.making import CLOUD, NOON


def land(pipeline: Pipeline, facts: pl.DataFrame, *, window: Window | None = None, is_resolved: bool = True):
    """The facts with the references of the records that they are given; `is_resolved`: nothing of it is pending."""
    window = window or Window(NOON)
    observations = pl.DataFrame(
        [dict.fromkeys(OBSERVATION) | {"key": key} for key in facts["source_key"]], schema=OBSERVATION
    )
    written = pipeline.raw.write_attempt(CLOUD, "nova_servers", window, observations)
    told = facts.with_columns(written.observations["raw_ref"])
    facts_path = written.path.replace(".parquet", ".facts.parquet")
    pipeline.raw.write(facts_path, told.lazy())
    with pipeline.connect() as connection:
        connection.execute(
            """insert into raw.attempts (cloud, source, window_start, path, rows, bytes, facts_path, normalized_at,
                absorbed_at, resolved_at)
            values (%s, 'nova_servers', %s, %s, %s, 1, %s, now(), now(), case when %s then now() end)""",
            (CLOUD, window.start, written.path, facts.height, facts_path, is_resolved),
        )
    return told
