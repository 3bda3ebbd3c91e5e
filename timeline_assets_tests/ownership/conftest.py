"""The way from records to tenants' rows, for the cases of ownership."""

from __future__ import annotations

import pytest

from timeline_assets.pipeline import Pipeline
from timeline_assets_tests.ownership.world import World
from timeline_assets_tests.timeline.conftest import happen, learn, pipeline, rows  # noqa: F401 - fixtures


@pytest.fixture
def world(pipeline: Pipeline) -> World:  # noqa: F811
    return World(pipeline)
