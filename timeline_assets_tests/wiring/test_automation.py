"""What sets runs off without a follower: old windows travel downstream, sensors ask once, backfills are bounded."""

from __future__ import annotations

import warnings

import dagster as dg
import pytest
from dagster import DagsterRun

from timeline_assets.wiring import alive, keys, sensors
from timeline_assets.wiring.build import build_defs
from timeline_assets.wiring.partitions import RANGE_END, RANGE_START
from timeline_assets_tests.wiring.conftest import a_while_passes, at, hour

NETWORKS = "neutron_networks"


@pytest.fixture
def defs(settings, world, edge) -> dg.Definitions:
    return build_defs(settings, {"edge": edge, "sources": world.sources})


class Automation:
    """The automation sensor's ticks, one after the other."""

    def __init__(self, defs, instance) -> None:
        self._defs, self._instance, self._cursor = defs, instance, None

    def tick(self) -> dict[str, set[str]]:
        """What is requested now: partitions by stage and name."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", dg.BetaWarning)  # Dagster's own, of a parameter that it passes itself
            result = dg.evaluate_automation_conditions(
                self._defs, self._instance, cursor=self._cursor, evaluation_time=at("12:00")
            )
        self._cursor = result.cursor
        return {
            "/".join(found.key.path[::2]): found.true_subset.expensively_compute_partition_keys()
            for found in result.results
            if not found.true_subset.is_empty
        }


@pytest.fixture
def automation(defs, instance) -> Automation:
    return Automation(defs, instance)


def everything(world) -> list[dg.AssetKey]:
    names = {source.name for source in world.sources}
    return sensors.selection("east", names, names)


def test_an_old_hour_that_was_read_again_travels_downstream_once(world, runner, automation):
    runner.run("east", everything(world), [hour("08")], "test")
    automation.tick()
    assert automation.tick() == {}
    runner.run("east", [keys.raw_key("east", NETWORKS)], [hour("08")], "test")
    requested = automation.tick()
    assert requested == {
        name: {"2024-05-02-08:00"}
        for name in (
            f"normalize/{NETWORKS}",
            "topology/intervals",
            "ownership/attributions",
            "ownership/quarantine",
            "timeline/events",
            "timeline/tenant_events",
        )
    }
    assert automation.tick() == {}


def test_windows_that_ran_to_the_end_leave_nothing_to_do(world, runner, automation):
    automation.tick()
    runner.run("east", everything(world), [hour("08")], "test")
    assert automation.tick() == {}
    runner.run("east", sensors.selection("east", [NETWORKS], [NETWORKS]), [hour("09")], "test")
    assert automation.tick() == {}


def test_a_window_that_some_sources_never_read_goes_on_all_the_same(world, runner, automation):
    automation.tick()
    runner.run("east", [keys.raw_key("east", NETWORKS)], [hour("03"), hour("04")], "test")
    assert automation.tick()["timeline/tenant_events"] == {"2024-05-02-03:00", "2024-05-02-04:00"}


# The sensor that reads where nobody follows


@pytest.fixture
def tick(defs, edge, instance):
    """The sensor's answer for east, at the world's time, in a process that has been there for a while."""
    edge.made_at -= sensors.FOLLOWER_STARTS_SECONDS

    def evaluate():
        repository = defs.get_repository_def()
        context = dg.build_sensor_context(instance=instance, repository_def=repository)
        return repository.get_sensor_def("follow_east").evaluate_tick(context)

    return evaluate


def test_what_is_due_is_asked_for_in_one_run(tick, world):
    [request] = tick().run_requests
    assert request.partition_key == "2024-05-02-10:00"
    assert set(request.asset_selection) == set(everything(world))
    assert request.tags["dagster/priority"] == "10"
    [again] = tick().run_requests
    assert again.run_key == request.run_key


def test_nothing_is_asked_for_while_somebody_follows(tick, pipeline):
    with pipeline.connect() as connection:
        assert alive.claim(connection, "east")
        answer = tick()
        assert not answer.run_requests
        assert answer.skip_message == "A follower reads this cloud."
    assert tick().run_requests


def test_a_follower_has_time_to_start(tick, edge):
    edge.made_at += sensors.FOLLOWER_STARTS_SECONDS
    assert tick().skip_message == "A follower may just be starting."


def test_nothing_is_asked_for_while_the_last_request_waits(tick, instance):
    tags = {keys.CLOUD: "east", keys.TRIGGER: "sensor"}
    instance.add_run(DagsterRun(job_name="harvest_east", tags=tags, status=dg.DagsterRunStatus.STARTED))
    assert not tick().run_requests


def test_nothing_due_asks_for_nothing(tick, world, runner):
    runner.run("east", everything(world), [hour("10")], "test")
    assert not tick().run_requests


def test_what_was_left_behind_is_carried_on_without_reading(tick, world, pipeline, runner):
    runner.run("east", everything(world), [hour("10")], "test")
    world.network("east", "n1", at("10:04"))
    world.stages.harvest(pipeline, "east", world.sources[2], hour("10"))
    a_while_passes(pipeline)
    [request] = tick().run_requests
    assert set(request.asset_selection) == {keys.facts_key("east", NETWORKS), *keys.behind("east")}


# Ranges


def test_a_range_is_one_run_with_a_partition_each(world, runner, instance):
    windows = [hour("07"), hour("08"), hour("09")]
    result = runner.run("east", everything(world), windows, "test")
    assert result.success
    assert result.dagster_run.tags[RANGE_START] == "2024-05-02-07:00"
    assert result.dagster_run.tags[RANGE_END] == "2024-05-02-09:00"
    assert "dagster/partition" not in result.dagster_run.tags
    for key in everything(world):
        assert instance.get_materialized_partitions(key) == {window.key for window in windows}
