"""The stage takes what is pending, whole chunks at a time, and makes its belief anew from what lies in the store."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import polars as pl
import pytest

from timeline_assets.config import CloudSettings, HarvestSettings, Settings
from timeline_assets.normalize.schema import OBSERVATION
from timeline_assets.pipeline import Pipeline
from timeline_assets.raw.store import RawStore
from timeline_assets.raw.windows import Window
from timeline_assets.store.copy import read_frame
from timeline_assets.store.database import Database
from timeline_assets.topology import stage
from timeline_assets.topology.stage import absorb, transferable
from timeline_assets_tests.topology.claims import CLOUD, NOON, claim, frame, minutes

WINDOW = Window(NOON)
Normalized = Callable[..., int]


@pytest.fixture
def pipeline(database: Database, tmp_path: Path) -> Pipeline:
    settings = Settings(
        state_dir=tmp_path, clouds=(CloudSettings(name=CLOUD),), harvest=HarvestSettings(chunk_rows=1000)
    )
    return Pipeline(settings, database, RawStore(tmp_path / "raw"))


@pytest.fixture
def normalized(pipeline: Pipeline) -> Normalized:
    """Makes an attempt that was normalized to these claims; returns its id."""

    def make(*claims: dict, window: Window = WINDOW, cloud: str = CLOUD) -> int:
        with pipeline.connect() as connection:
            observations = pl.DataFrame([dict.fromkeys(OBSERVATION)] * len(claims), schema=OBSERVATION)
            written = pipeline.raw.write_attempt(cloud, "listing", window, observations)
            number = connection.execute(
                """insert into raw.attempts (cloud, source, window_start, path, rows, bytes, normalized_at)
                values (%s, 'listing', %s, %s, %s, 0, now()) returning attempt_id""",
                (cloud, window.start, written.path, len(claims)),
            ).fetchone()[0]
            if claims:
                path = f"{number}.parquet"
                told = frame(claims).with_columns(written.observations["raw_ref"])
                pipeline.raw.write(path, told.lazy())
                connection.execute("update raw.attempts set evidence_path = %s where attempt_id = %s", (path, number))
        return number

    return make


def volume(when: float, owner: str, key: str = "v") -> dict:
    return claim("volume", key, "owner", when, project_id=owner)


def owners(pipeline: Pipeline) -> list[tuple]:
    with pipeline.connect() as connection:
        rows = read_frame(connection, "select * from topology.ownership where recorded_to is null")
    return minutes(rows, "resource_id", "project_id", "valid_from", "valid_to")


def pending(pipeline: Pipeline) -> list[int]:
    with pipeline.connect() as connection:
        rows = connection.execute("select attempt_id from raw.attempts where absorbed_at is null order by 1")
        return [number for (number,) in rows]


def test_what_is_pending_is_absorbed_once(pipeline: Pipeline, normalized: Normalized) -> None:
    normalized(volume(1, "A"), volume(5, "B"))
    normalized()
    other = normalized(volume(1, "A"), cloud="two")
    done = absorb(pipeline, CLOUD)
    assert (done.attempts, done.claims, done.claims_new, done.resources) == (2, 2, 2, 1)
    assert (done.opened["ownership"], done.closed["ownership"]) == (2, 0)
    assert owners(pipeline) == [("v", "A", 1, 1), ("v", "B", 5, None)]
    assert pending(pipeline) == [other]
    again = absorb(pipeline, CLOUD)
    assert (again.attempts, again.claims, again.opened) == (0, 0, {})


def test_one_window_only_and_again(pipeline: Pipeline, normalized: Normalized) -> None:
    normalized(volume(1, "A"))
    later = normalized(volume(70, "A"), window=Window(WINDOW.end))
    assert absorb(pipeline, CLOUD, WINDOW).claims_new == 1
    assert pending(pipeline) == [later]
    again = absorb(pipeline, CLOUD, WINDOW, again=True)
    assert (again.attempts, again.claims, again.claims_new) == (1, 1, 0)


def test_a_killed_call_leaves_whole_chunks_and_the_next_goes_on(
    pipeline: Pipeline, normalized: Normalized, monkeypatch: pytest.MonkeyPatch
) -> None:
    number = normalized(*(volume(1, "A", f"v{n}") for n in range(2500)))
    calls = []

    def killed_at_the_second(*args: object, **options: object) -> object:
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return merge(*args, **options)

    merge = stage.merge
    monkeypatch.setattr(stage, "merge", killed_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        absorb(pipeline, CLOUD)
    assert (len(owners(pipeline)), pending(pipeline)) == (1000, [number])
    done = absorb(pipeline, CLOUD)
    assert (done.claims, done.claims_new) == (2500, 1500)
    assert (len(owners(pipeline)), pending(pipeline)) == (2500, [])


def test_a_rebuild_believes_what_the_store_says_and_writes_only_what_differs(
    pipeline: Pipeline, normalized: Normalized
) -> None:
    normalized(volume(1, "A"), volume(5, "B"))
    silenced = normalized(volume(7, "C"), volume(1, "A", "w"))
    absorb(pipeline, CLOUD)
    nothing = absorb(pipeline, CLOUD, again=True)
    assert (nothing.attempts, nothing.claims_new) == (2, 0)
    assert {*nothing.opened.values(), *nothing.closed.values()} == {0}
    with pipeline.connect() as connection:
        connection.execute("update raw.attempts set evidence_path = null where attempt_id = %s", (silenced,))
    done = absorb(pipeline, CLOUD, again=True)
    assert (done.attempts, done.claims_new, done.resources) == (2, 0, 2)
    assert (done.opened["ownership"], done.closed["ownership"]) == (1, 3)
    assert owners(pipeline) == [("v", "A", 1, 1), ("v", "B", 5, None)]


def test_a_rebuild_makes_nothing_anew_whose_record_retention_has_thinned(
    pipeline: Pipeline, normalized: Normalized
) -> None:
    thinned = normalized(volume(1, "A"), volume(5, "B"))
    normalized(volume(7, "C"))
    absorb(pipeline, CLOUD)
    before = owners(pipeline)
    with pipeline.connect() as connection:
        connection.execute("delete from raw.attempts where attempt_id = %s", (thinned,))
    done = absorb(pipeline, CLOUD, again=True)
    assert {*done.opened.values(), *done.closed.values()} == {0}
    assert owners(pipeline) == before == [("v", "A", 1, 1), ("v", "B", 5, 5), ("v", "C", 7, None)]


def test_a_cloud_without_transfers_has_fewer_kinds_that_change_hands(pipeline: Pipeline) -> None:
    assert transferable(CloudSettings(name="x")) == {"volume", "snapshot", "image", "zone"}
    assert transferable(CloudSettings(name="x", volume_transfers=False)) == {"image", "zone"}
