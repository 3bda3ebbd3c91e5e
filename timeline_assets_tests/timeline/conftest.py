"""A pipeline on a fresh database, and the two ways into its timeline that tests use."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from timeline_assets.config import CloudSettings, Settings
from timeline_assets.pipeline import Pipeline
from timeline_assets.raw.store import RawStore
from timeline_assets.store.copy import read_frame
from timeline_assets.store.database import Database
from timeline_assets.timeline.stage import Resolved, reopen, resolve_facts
from timeline_assets.topology.merge import merge
from timeline_assets_tests.making import CLOUD


@pytest.fixture
def pipeline(database: Database, tmp_path: Path) -> Pipeline:
    settings = Settings(state_dir=tmp_path, clouds=(CloudSettings(name=CLOUD), CloudSettings(name="other")))
    return Pipeline(settings, database, RawStore(tmp_path / "raw"))


@pytest.fixture
def learn(pipeline: Pipeline) -> Callable[[pl.DataFrame], None]:
    """Claims into the topology, as its stage does."""

    def learn(claims: pl.DataFrame) -> None:
        with pipeline.connect() as connection:
            merge(connection, claims)

    return learn


@pytest.fixture
def happen(pipeline: Pipeline) -> Callable[[pl.DataFrame], Resolved]:
    """Facts into the timeline, then the events that late evidence concerns: what the last stage does."""

    def happen(facts: pl.DataFrame | None = None) -> Resolved:
        done = Resolved()
        if facts is not None:
            with pipeline.connect() as connection:
                done = resolve_facts(connection, pipeline, CLOUD, facts)
        return done + reopen(pipeline, CLOUD)

    return happen


@pytest.fixture
def rows(pipeline: Pipeline) -> Callable[..., list[dict]]:
    """Rows of a query as the pipeline sees them."""

    def rows(query: str) -> list[dict]:
        with pipeline.connect() as connection:
            return read_frame(connection, query).to_dicts()

    return rows
