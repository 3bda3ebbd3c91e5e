"""The cloud, the story that took place in it, and further timelines of the same cloud; all made once a session."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from timeline_assets_tests.real_cloud import story as stories
from timeline_assets_tests.real_cloud.bring_up import OpenStack, running
from timeline_assets_tests.real_cloud.home import Home, home
from timeline_assets_tests.real_cloud.story import Story


@pytest.fixture(scope="session")
def cloud() -> Iterator[OpenStack]:
    """A real OpenStack."""
    with running() as cloud:
        yield cloud


@pytest.fixture(scope="session")
def watched(cloud: OpenStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """The timeline that follows the story."""
    kept = os.environ.get("TIMELINE_TEST_STORY")
    folder = Path(kept) if kept else tmp_path_factory.mktemp("watched")
    with home(folder, cloud.clouds_yaml) as watched:
        yield watched


@pytest.fixture(scope="session")
def story(watched: Home, cloud: OpenStack) -> Story:
    """What was done in the cloud and what the timeline told of it."""
    memory = watched.folder / "story.json"
    if not memory.exists():
        stories.take_place(watched, cloud, memory)
    return stories.told(watched, cloud, memory)


@pytest.fixture(scope="session")
def late(story: Story, cloud: OpenStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A timeline that begins when all is over: harvested once, in one go."""
    with home(tmp_path_factory.mktemp("late"), cloud.clouds_yaml) as late:
        late.harvest(story.began)
        yield late
