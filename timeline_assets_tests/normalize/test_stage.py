"""The normalize stage: every record becomes facts and evidence or is set aside; nothing is in the way of the rest."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from timeline_assets.config import CloudSettings, HarvestSettings, Settings
from timeline_assets.normalize import stage
from timeline_assets.normalize.schema import EVIDENCE, FACT, INSTANT
from timeline_assets.normalize.stage import normalize
from timeline_assets.pipeline import Pipeline
from timeline_assets.raw.harvest import harvest
from timeline_assets.raw.scratch import ScratchError
from timeline_assets.raw.store import RawStore, RawStoreError
from timeline_assets.sources import neutron_networks
from timeline_assets.sources.base import Shape
from timeline_assets.timeline.stage import resolve
from timeline_assets.topology.stage import absorb
from timeline_assets_tests.raw.telling import Clock, Cloud, at, full_disk, hour, rows

KNOWN = "compute.instance.reboot.end"
RECORD = pl.Struct({"id": pl.String, "n": pl.Int64, "type": pl.String, "when": pl.String})


def facts_of(observations: pl.LazyFrame) -> pl.LazyFrame:
    """One fact a record; a record whose `n` is 13 cannot be read, one whose `n` is 0 tells nothing."""
    now = pl.col("now").struct
    when = now.field("when").str.to_datetime(time_zone="UTC", time_unit="us")
    given = {
        "source_key": pl.col("key"),
        "source_version": pl.format("v{}", now.field("n")),
        "road_source": pl.col("source"),
        "road_key": pl.col("key"),
        "event_type": now.field("type"),
        "outcome": pl.lit("success"),
        "phase": pl.lit("point"),
        "occurred_at": when,
        "occurred_from": when,
        "occurred_to": when,
        "time_precision": pl.lit("exact"),
        "resource_type": pl.lit("thing"),
        "resource_id": pl.col("key"),
        "raw_sha256": pl.col("sha256"),
        **{name: pl.col(name) for name in ("cloud", "source", "observed_at", "raw_ref")},
    }
    decoded = observations.with_columns(now=pl.col("body").str.json_decode(RECORD))
    readable = decoded.with_columns(now=pl.col("now").map_batches(_refuse_thirteen, return_dtype=RECORD))
    return readable.filter(now.field("n") != 0).select(
        given.get(name, pl.lit(None)).cast(dtype).alias(name) for name, dtype in FACT.items()
    )


def _refuse_thirteen(records: pl.Series) -> pl.Series:
    if 13 in records.struct.field("n"):
        raise ValueError("thirteen is no number, password=hunter2")
    return records


def evidence_of(observations: pl.LazyFrame) -> pl.LazyFrame:
    """That each record was seen."""
    given = {
        "cloud": pl.col("cloud"),
        "resource_type": pl.lit("thing"),
        "resource_id": pl.col("key"),
        "claim": pl.lit("seen"),
        "at": pl.col("observed_at"),
        "source": pl.col("source"),
        "raw_ref": pl.col("raw_ref"),
    }
    return observations.select(
        given.get(name, pl.lit(None)).cast(dtype).alias(name) for name, dtype in EVIDENCE.items()
    )


@pytest.fixture
def pipeline(database, tmp_path) -> Pipeline:
    harvesting = HarvestSettings(start=at("08:00"), chunk_rows=1000)
    settings = Settings(state_dir=tmp_path, clouds=(CloudSettings(name="east"),), harvest=harvesting)
    return Pipeline(settings, database, RawStore(tmp_path / "raw"))


@pytest.fixture
def cloud() -> Cloud:
    return Cloud(Shape.MUTABLE, Clock(at("10:05")))


def source_of(cloud: Cloud, **changes):
    return cloud.source(**{"normalize": facts_of, "evidence": evidence_of, **changes})


def put(
    cloud: Cloud, key: str, n: int, *, event_type: str = "compute.instance.reboot.end", when: str | None = "10:01"
) -> None:
    occurred = None if when is None else at(when).isoformat() if ":" in when else when
    cloud.put(key, at("10:01"), n=n, type=event_type, when=occurred)


def harvested(pipeline, cloud) -> None:
    harvest(pipeline, "east", source_of(cloud), hour("10"), reader=cloud, clock=cloud.clock)


def run(pipeline, cloud, **how):
    changes = {name: how.pop(name) for name in ("normalize", "evidence") if name in how}
    return normalize(pipeline, "east", source_of(cloud, **changes), hour("10"), **how)


def facts(pipeline) -> pl.DataFrame:
    paths = rows(pipeline, "select facts_path from raw.attempts where facts_path is not null order by attempt_id")
    return pipeline.raw.scan_facts([path for (path,) in paths]).collect()


def evidence(pipeline) -> pl.DataFrame:
    paths = rows(pipeline, "select evidence_path from raw.attempts where evidence_path is not null order by attempt_id")
    return pipeline.raw.scan_evidence([path for (path,) in paths]).collect()


def aside(pipeline) -> list[tuple]:
    return rows(
        pipeline,
        "select key, reason, resolved_at is not null from raw.set_aside where stage = 'normalize' order by key",
    )


def test_facts_and_evidence_lie_beside_the_attempt_and_are_pending(pipeline, cloud):
    put(cloud, "a", 1)
    put(cloud, "silent", 0)
    put(cloud, "b", 2, event_type="thing.unheard_of")
    harvested(pipeline, cloud)
    done = run(pipeline, cloud)
    assert (done.facts, done.evidence, done.set_aside, done.attempts) == (2, 3, 0, 1)
    assert done.unmapped == {"thing.unheard_of": 1}
    found = facts(pipeline)
    assert found.schema == FACT
    assert found.select("source_key", "source_version", "occurred_at", "normalizer_version").rows() == [
        ("a", "v1", at("10:01"), stage.NORMALIZER_VERSION),
        ("b", "v2", at("10:01"), stage.NORMALIZER_VERSION),
    ]
    assert evidence(pipeline)["resource_id"].to_list() == ["a", "silent", "b"]
    ((path, facts_path, evidence_path, normalizer, is_normalized, absorbed_at, resolved_at),) = rows(
        pipeline,
        """select path, facts_path, evidence_path, normalizer, normalized_at is not null, absorbed_at, resolved_at
        from raw.attempts""",
    )
    stem = path.removesuffix(".parquet")
    assert (facts_path, evidence_path) == (
        f"{stem}.facts-{normalizer}.parquet",
        f"{stem}.evidence-{normalizer}.parquet",
    )
    assert (normalizer, is_normalized, absorbed_at, resolved_at) == (stage.NORMALIZER_VERSION, True, None, None)


def test_only_what_is_new_is_normalized_unless_asked_or_the_normalizer_is_another(pipeline, cloud, monkeypatch):
    put(cloud, "a", 1)
    harvested(pipeline, cloud)
    assert run(pipeline, cloud).attempts == 1
    assert run(pipeline, cloud).attempts == 0
    put(cloud, "b", 1)
    cloud.clock.tick(seconds=10)
    harvested(pipeline, cloud)
    assert run(pipeline, cloud).facts == 1
    before = facts(pipeline)
    rows(pipeline, "update raw.attempts set absorbed_at = now(), resolved_at = now() returning 1")
    again = run(pipeline, cloud, again=True)
    assert (again.attempts, again.facts) == (2, 2)
    assert facts(pipeline).equals(before)
    assert rows(pipeline, "select count(*) from raw.attempts where absorbed_at is null and resolved_at is null") == [
        (2,)
    ]
    monkeypatch.setattr(stage, "NORMALIZER_VERSION", "another")
    assert run(pipeline, cloud).attempts == 2
    assert facts(pipeline)["normalizer_version"].unique().to_list() == ["another"]
    assert run(pipeline, cloud).attempts == 0


def test_only_the_records_that_cannot_be_read_are_set_aside(pipeline, cloud):
    for number in range(300):
        put(cloud, f"{number:03d}", 13 if number in (7, 150, 151, 299) else number + 1000)
    harvested(pipeline, cloud)
    done = run(pipeline, cloud)
    assert (done.facts, done.evidence, done.set_aside) == (296, 296, 4)
    bad = ("007", "150", "151", "299")
    assert aside(pipeline) == [(key, "not_understood", False) for key in bad]
    assert set(facts(pipeline)["source_key"]).isdisjoint(bad)
    assert facts(pipeline)["source_key"].is_sorted()
    kept = rows(pipeline, "select body, detail from raw.set_aside where key = '007'")[0]
    assert json.loads(kept[0])["n"] == 13
    assert "thirteen" in kept[1]
    assert "hunter2" not in kept[1]


def test_a_record_of_another_shape_is_set_aside_and_settled_once_it_can_be_read(pipeline, cloud):
    put(cloud, "good", 1)
    put(cloud, "bad", 1, when="a list would be as bad")
    harvested(pipeline, cloud)
    assert run(pipeline, cloud).set_aside == 1
    assert aside(pipeline) == [("bad", "not_understood", False)]

    def lenient(observations: pl.LazyFrame) -> pl.LazyFrame:
        return facts_of(observations.filter(pl.col("key") == "good"))

    assert run(pipeline, cloud, again=True, normalize=lenient).set_aside == 0
    assert aside(pipeline) == [("bad", "not_understood", True)]
    assert run(pipeline, cloud, again=True).set_aside == 1
    assert aside(pipeline) == [("bad", "not_understood", False)]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"occurred_at": pl.lit(datetime(1999, 12, 31, tzinfo=UTC), INSTANT)}, "fact_invalid"),
        (
            {
                name: pl.lit(datetime(1999, 12, 31, tzinfo=UTC), INSTANT)
                for name in ("occurred_at", "occurred_from", "occurred_to")
            },
            "time_impossible",
        ),
        ({"ended_at": pl.col("observed_at") + timedelta(days=1, seconds=1)}, "time_impossible"),
        ({"occurred_to": pl.col("occurred_at") - timedelta(seconds=1)}, "fact_invalid"),
        ({"phase": pl.lit("middle")}, "fact_invalid"),
        ({"outcome": pl.lit(None, pl.String)}, "fact_incomplete"),
        ({"resource_id": pl.lit(None, pl.String)}, "fact_incomplete"),
        ({"resource_id": pl.lit("x" * 256)}, "id_too_long"),
        ({"actor_user_id": pl.lit("\U0001f600" * 256)}, "id_too_long"),
        ({"event_type": pl.lit("compute.instance." + "x" * 255)}, "id_too_long"),
        ({"road_key": pl.lit("x" * 513)}, "id_too_long"),
        ({"related": pl.lit(json.dumps([{"type": "port", "id": "x" * 256, "role": "port"}]))}, "id_too_long"),
    ],
)
def test_a_fact_that_says_something_impossible_sets_its_record_aside(pipeline, cloud, change, reason):
    put(cloud, "good", 1)
    put(cloud, "bad", 2)
    harvested(pipeline, cloud)
    is_bad = pl.col("source_key") == "bad"

    def wrong(observations: pl.LazyFrame) -> pl.LazyFrame:
        changed = {name: pl.when(is_bad).then(value).otherwise(name) for name, value in change.items()}
        return facts_of(observations).with_columns(**changed)

    done = run(pipeline, cloud, normalize=wrong)
    assert (done.facts, done.evidence, done.set_aside) == (1, 1, 1)
    assert aside(pipeline) == [("bad", reason, False)]
    assert facts(pipeline)["source_key"].to_list() == ["good"]


@pytest.mark.parametrize(
    "change",
    [
        {"resource_id": pl.lit("x" * 256)},
        {"project_id": pl.lit("x" * 256)},
        {"to_ids": pl.concat_list(pl.lit("net"), pl.lit("x" * 256))},
    ],
)
def test_evidence_with_an_id_that_no_index_holds_sets_its_record_aside(pipeline, cloud, change):
    put(cloud, "good", 1)
    put(cloud, "bad", 2)
    harvested(pipeline, cloud)
    is_bad = pl.col("resource_id") == "bad"

    def wrong(observations: pl.LazyFrame) -> pl.LazyFrame:
        changed = {name: pl.when(is_bad).then(value).otherwise(name) for name, value in change.items()}
        return evidence_of(observations).with_columns(**changed)

    assert run(pipeline, cloud, evidence=wrong).set_aside == 1
    assert aside(pipeline) == [("bad", "id_too_long", False)]
    assert evidence(pipeline)["resource_id"].to_list() == ["good"]
    assert facts(pipeline)["source_key"].to_list() == ["good"]


def test_ids_as_long_as_openstack_has_them_are_kept(pipeline, cloud):
    put(cloud, "a", 1)
    harvested(pipeline, cloud)
    longest = "\U0001f600" * 255
    linked = json.dumps([{"type": "port", "id": longest, "role": "port"}])
    more = {"resource_id": pl.lit(longest), "related": pl.lit(linked), "road_key": pl.lit("x" * 512)}
    assert run(pipeline, cloud, normalize=lambda frame: facts_of(frame).with_columns(**more)).facts == 1


def test_one_record_of_any_length_stops_no_stage(pipeline, cloud):
    """Names are cut, ids set aside: an index refuses what is longer than a third of its page."""
    letters = "".join(random.Random(1).choices("abcdefghijklmnopqrstuvwxyz0123456789", k=1_000_000))
    source = replace(neutron_networks.SOURCE, fetch=cloud.fetch)
    dated = {"created_at": "2026-11-22T10:01:00Z", "updated_at": "2026-11-22T10:01:00Z", "revision_number": 1}
    cloud.put("good", project_id="p", name="good", **dated)
    cloud.put("named", project_id="p", name=letters, **dated)
    cloud.put("owned", project_id=letters, name="owned", **dated)
    cloud.put(letters, project_id="p", name="keyed", **dated)
    seen = harvest(pipeline, "east", source, hour("10"), reader=cloud, clock=cloud.clock)
    assert (seen.new, seen.set_aside) == (3, 1)
    normalize(pipeline, "east", source, hour("10"))
    absorb(pipeline, "east")
    resolve(pipeline, "east")
    assert rows(pipeline, "select resource_id, resource_name from timeline.events order by 1") == [
        ("good", "good"),
        ("named", letters[:254] + "…"),
    ]
    assert rows(pipeline, "select stage, left(key, 5), length(key), reason from raw.set_aside order by 1") == [
        ("harvest", letters[:5], 512, "key_too_long"),
        ("normalize", "owned", 5, "id_too_long"),
    ]
    (kept,) = rows(pipeline, "select body from raw.latest where key = 'named'")
    assert json.loads(kept[0])["name"] == letters


def test_a_day_ahead_is_still_possible(pipeline, cloud):
    put(cloud, "a", 1)
    harvested(pipeline, cloud)
    ahead = pl.col("observed_at") + timedelta(days=1)
    done = run(pipeline, cloud, normalize=lambda frame: facts_of(frame).with_columns(ended_at=ahead))
    assert done.facts == 1


@pytest.mark.parametrize(
    "wrong",
    [
        lambda frame: facts_of(frame).drop("outcome"),
        lambda frame: facts_of(frame).with_columns(extra=pl.lit(1)),
        lambda frame: facts_of(frame).with_columns(severity=pl.lit("high")),
    ],
)
def test_a_frame_that_is_no_frame_of_facts_sets_all_aside_and_stalls_nothing(pipeline, cloud, wrong):
    put(cloud, "a", 1)
    put(cloud, "b", 1)
    harvested(pipeline, cloud)
    done = run(pipeline, cloud, normalize=wrong)
    assert (done.facts, done.evidence, done.set_aside, done.attempts) == (0, 0, 2, 1)
    assert [row[:2] for row in aside(pipeline)] == [("a", "not_understood"), ("b", "not_understood")]


def test_a_large_attempt_is_normalized_chunk_by_chunk(pipeline, cloud, monkeypatch):
    for number in range(950):
        put(cloud, f"{number:04d}", number + 1000)
    put(cloud, "0500", 13)
    harvested(pipeline, cloud)
    small = pipeline.settings.harvest.model_copy(update={"chunk_rows": 100})
    heights = []

    def measured(observations: pl.LazyFrame) -> pl.LazyFrame:
        heights.append(observations.collect().height)
        return facts_of(observations)

    pipeline = Pipeline(pipeline.settings.model_copy(update={"harvest": small}), pipeline.database, pipeline.raw)
    done = run(pipeline, cloud, normalize=measured)
    assert (done.facts, done.set_aside, max(heights)) == (949, 1, 100)
    assert facts(pipeline)["source_key"].is_sorted()
    assert facts(pipeline)["event_id"].n_unique() == 949


def test_a_temporary_folder_that_is_full_is_said_and_the_next_call_goes_on(pipeline, cloud):
    for number in range(20, 320):
        put(cloud, f"{number:04d}", number)
    harvested(pipeline, cloud)
    small = pipeline.settings.harvest.model_copy(update={"chunk_rows": 100})
    pipeline = Pipeline(pipeline.settings.model_copy(update={"harvest": small}), pipeline.database, pipeline.raw)
    with full_disk(), pytest.raises(ScratchError, match=r"the temporary folder .* cannot be written") as caught:
        run(pipeline, cloud)
    assert "TMPDIR" in caught.value.remedy
    assert rows(pipeline, "select normalizer from raw.attempts") == [(None,)]
    assert run(pipeline, cloud).attempts == 1


def test_a_call_that_is_killed_goes_on_where_it_was(pipeline, cloud, monkeypatch):
    for n in (1, 2):
        put(cloud, "a", n)
        harvested(pipeline, cloud)
        cloud.clock.tick(seconds=10)

    real = stage._finish
    calls = []

    def killed(*args) -> None:
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        real(*args)

    monkeypatch.setattr(stage, "_finish", killed)
    with pytest.raises(KeyboardInterrupt):
        run(pipeline, cloud)
    assert rows(pipeline, "select count(*) from raw.attempts where normalized_at is not null") == [(1,)]
    assert run(pipeline, cloud).attempts == 1
    assert facts(pipeline)["source_version"].to_list() == ["v1", "v2"]


def test_an_empty_window_is_nothing(pipeline, cloud):
    done = run(pipeline, cloud)
    assert (done.facts, done.attempts) == (0, 0)


def test_a_raw_file_that_is_damaged_is_named_with_its_window(pipeline, cloud, tmp_path):
    put(cloud, "a", 1)
    harvested(pipeline, cloud)
    ((path,),) = rows(pipeline, "select path from raw.attempts")
    (tmp_path / "raw" / path).write_bytes(b"PAR1 no more")
    with pytest.raises(RawStoreError, match="window 2026-11-22-10:00") as error:
        run(pipeline, cloud)
    assert path in str(error.value)
    assert "backup" in error.value.remedy
