"""The recorded cloud's timeline made anew: in any order, and killed at random, it is the one that was followed live."""

from __future__ import annotations

import json
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from timeline_assets.config import DEMO
from timeline_assets.pipeline import Pipeline
from timeline_assets.raw.store import RawStore
from timeline_assets.timeline.verify import Verification, verify
from timeline_assets_tests.demo.conftest import Told
from timeline_assets_tests.timeline.orders import arrive, attempts, forget

#: Killed at least so often before it comes to its end.
LEAST_KILLS = 4


@pytest.fixture(scope="module")
def live(told: Told) -> Verification:
    found = verify(told.pipeline, DEMO)
    assert (found.faults, found.pending) == ((), 0)
    assert found.total("timeline.events").rows > 700
    return found


@pytest.fixture(scope="module")
def copied(told: Told, live: Verification, postgres, tmp_path_factory) -> Iterator[Callable[[], Pipeline]]:
    """Makes copies of the whole timeline with its raw store."""
    made = []

    def copy() -> Pipeline:
        name = postgres.create(template=told.pipeline.database.urls["admin"].database)
        folder = tmp_path_factory.mktemp("raw") / "raw"
        shutil.copytree(told.pipeline.raw.url, folder)
        made.append((name, postgres.database(name)))
        return Pipeline(told.pipeline.settings, made[-1][1], RawStore(folder))

    yield copy
    for name, database in made:
        database.close()
        postgres.drop(name)


@settings(max_examples=6, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.randoms(use_true_random=False), parts=st.integers(1, 8))
def test_in_whatever_order_and_batches_records_come_the_timeline_is_the_same(copied, live, seed, parts):
    pipeline = copied()
    forget(pipeline)
    order = attempts(pipeline, DEMO)
    seed.shuffle(order)
    arrive(pipeline, DEMO, [order[number::parts] for number in range(parts)])
    found = verify(pipeline, DEMO)
    assert (found.faults, found.pending, found.differences) == ((), 0, ())
    assert found.hash == live.hash


def test_a_rebuild_that_is_killed_again_and_again_comes_to_the_same(copied, live, tmp_path):
    pipeline, dice = copied(), random.Random(20261122)
    forget(pipeline)
    urls = {role: url.render_as_string(hide_password=False) for role, url in pipeline.database.urls.items()}
    here = {"folder": str(tmp_path), "raw": pipeline.raw.url, "urls": urls}
    kills = 0
    while True:
        # ever later: what is one transaction needs a process that lives that long
        argument = json.dumps({**here, "die_at": dice.randint(5, 40 + 20 * kills)})
        ran = subprocess.run(
            [sys.executable, "-m", "timeline_assets_tests.demo.rebuilding", argument],
            check=False,
            capture_output=True,
            timeout=600,
        )
        if ran.returncode == 0:
            break
        assert ran.returncode == -signal.SIGKILL, ran.stderr.decode()
        kills += 1
    assert kills >= LEAST_KILLS
    found = verify(pipeline, DEMO)
    assert (found.faults, found.pending, found.differences) == ((), 0, ())
    assert found.hash == live.hash
