"""A pipeline on a real database and a temporary raw store."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from timeline_assets.config import CloudSettings, HarvestSettings, Settings
from timeline_assets.pipeline import Pipeline
from timeline_assets.raw.store import RawStore
from timeline_assets.sources.base import Shape
from timeline_assets_tests.raw.telling import TEN, Clock, Cloud, at


@pytest.fixture
def clock() -> Clock:
    return Clock(at("10:05"))


@pytest.fixture
def pipeline(database, tmp_path) -> Pipeline:
    settings = Settings(
        state_dir=tmp_path,
        clouds=(CloudSettings(name="east"),),
        harvest=HarvestSettings(start=TEN - timedelta(days=2), chunk_rows=1000),
    )
    return Pipeline(settings, database, RawStore(tmp_path / "raw"))


@pytest.fixture
def things(clock) -> Callable[[Shape], Cloud]:
    return lambda shape: Cloud(shape, clock)
