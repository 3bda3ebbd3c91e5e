"""What keeps an instance healthy: orphans ended, the event log bounded, windows sealed, old months dropped."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from dagster import DagsterRun
from dagster._core.instance.ref import InstanceRef

from timeline_assets.raw.windows import Window
from timeline_assets.timeline.retention import drop_old_months
from timeline_assets.wiring import keys, upkeep
from timeline_assets.wiring.build import build_defs
from timeline_assets.wiring.runs import Parts, Runner, harvest_windows
from timeline_assets_tests.wiring.conftest import PROJECT, at, hour, rows

EVENTS = "select event_type, resource_id, owner_project_id from timeline.events order by 2, 1"
TENANTS = "select tenant_project_id, resource_id from timeline.tenant_events order by 2"


# Killed and racing runs


def test_a_killed_run_is_ended_and_repeated_without_loss_or_double(settings, pipeline, world, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    urls = {role: url.render_as_string(hide_password=False) for role, url in pipeline.database.urls.items()}
    given = {"folder": str(tmp_path), "raw": pipeline.raw.url, "instance": str(home), "urls": urls}
    killed = subprocess.run(
        [sys.executable, "-m", "timeline_assets_tests.wiring.killed", json.dumps(given)],
        check=False,
        capture_output=True,
        timeout=300,
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert rows(pipeline, EVENTS) == []
    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(home))) as instance:
        [orphan] = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
        assert upkeep.end_orphans(instance) == [orphan.run_id]
        assert instance.get_run_by_id(orphan.run_id).status == dg.DagsterRunStatus.FAILURE
        assert upkeep.end_orphans(instance) == []
        world.network("east", "n1", at("10:01"))
        parts = Parts(world.sources, world.stages, instance)
        for _ in range(2):
            harvest_windows(settings, pipeline, ["east"], None, [hour("10")], parts=parts)
    assert rows(pipeline, EVENTS) == [("network.create.end", "n1", PROJECT)]
    assert rows(pipeline, TENANTS) == [(PROJECT, "n1")]


def test_runs_of_living_and_foreign_workers_are_left_alone(instance):
    alive, elsewhere = upkeep.this_worker(), "another-machine/1/1"
    for worker in (alive, elsewhere, None):
        tags = {keys.WORKER: worker} if worker else {}
        instance.add_run(DagsterRun(job_name="job", tags=tags, status=dg.DagsterRunStatus.STARTED))
    assert upkeep.end_orphans(instance) == []


def test_a_process_id_that_was_given_again_is_another_worker():
    node, pid, born = upkeep.this_worker().rsplit("/", 2)
    assert not upkeep.is_gone(f"{node}/{pid}/{born}")
    assert upkeep.is_gone(f"{node}/{pid}/{int(born) - 60}")


def test_two_runs_on_one_partition_come_to_one_event(settings, pipeline, world, edge, shared_instance):
    for number in range(20):
        world.network("east", f"n{number:02}", at("10:01"))
    runner = Runner(settings, shared_instance, edge, world.sources)
    everything = [
        *(key("east", source.name) for key in (keys.raw_key, keys.facts_key) for source in world.sources),
        *keys.behind("east"),
    ]
    together = threading.Barrier(2)
    results = []

    def run() -> None:
        together.wait()
        results.append(runner.run("east", everything, [hour("10")], "test").success)

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [True, True]
    assert rows(pipeline, EVENTS) == [("network.create.end", f"n{number:02}", PROJECT) for number in range(20)]
    assert rows(pipeline, "select count(*), count(distinct event_id) from timeline.attributions") == [(20, 20)]


# Dagster's event log


@pytest.fixture
def three_runs(runner) -> list[str]:
    """Runs on hour 8, hour 8 again, and hour 9, of one asset."""
    key = keys.raw_key("east", "neutron_networks")
    return [runner.run("east", [key], [window], "test").run_id for window in (hour("08"), hour("08"), hour("09"))]


def purge(instance, *, older_than: timedelta, gone_before: timedelta = timedelta(days=500), **more) -> dict[str, int]:
    now = datetime.now(UTC)
    return upkeep.purge_runs(instance, older_than=now - older_than, gone_before=now - gone_before, **more)


def test_young_runs_are_kept_whole(instance, three_runs):
    assert purge(instance, older_than=timedelta(hours=1)) == {"deleted": 0, "thinned": 0}
    assert {run.run_id for run in instance.get_runs()} == set(three_runs)


def test_old_runs_go_but_what_dagster_believes_of_a_partition_stays(instance, three_runs):
    key = keys.raw_key("east", "neutron_networks")
    believed = instance.fetch_materializations(key, limit=1).records[0].storage_id
    assert purge(instance, older_than=-timedelta(hours=1)) == {"deleted": 1, "thinned": 2}
    assert {run.run_id for run in instance.get_runs()} == set(three_runs[1:])
    assert instance.get_materialized_partitions(key) == {"2024-05-02-08:00", "2024-05-02-09:00"}
    assert instance.fetch_materializations(key, limit=1).records[0].storage_id == believed
    left = {entry.dagster_event_type for entry in instance.all_logs(three_runs[1])}
    assert left == {
        dg.DagsterEventType.ASSET_MATERIALIZATION,
        dg.DagsterEventType.ASSET_MATERIALIZATION_PLANNED,
    }


def test_each_run_is_looked_at_once(instance, three_runs):
    purge(instance, older_than=-timedelta(hours=1))
    assert purge(instance, older_than=-timedelta(hours=1)) == {"deleted": 0, "thinned": 0}


def test_a_call_is_bounded_and_the_next_goes_on(instance, three_runs):
    assert purge(instance, older_than=-timedelta(hours=1), most=2) == {"deleted": 1, "thinned": 1}
    assert purge(instance, older_than=-timedelta(hours=1), most=2) == {"deleted": 0, "thinned": 1}


def test_with_the_data_the_runs_go_altogether(instance, three_runs):
    purge(instance, older_than=-timedelta(hours=1))
    later = -timedelta(hours=1)
    assert purge(instance, older_than=later, gone_before=later) == {"deleted": 2, "thinned": 0}
    assert not instance.get_runs()


# Sealing and retention


@pytest.fixture
def run_job(settings, world, edge, instance):
    """Runs a job by its name; gives whether it succeeded."""
    defs = build_defs(settings, {"edge": edge, "sources": world.sources})
    return lambda name: defs.resolve_job_def(name).execute_in_process(instance=instance).success


def test_a_proven_window_is_sealed(pipeline, world, harvest, run_job):
    world.network("east", "n1", at("09:30"))
    harvest(hour("09"))
    world.network("east", "n1", at("09:40"), revision_number=2, name="renamed")
    for later in ("10:20", "10:40"):
        world.now = at(later)
        harvest(hour("09"))
    attempts = """select count(*) from raw.attempts where source = 'neutron_networks' and window_start = %s
        and replaced_by is null"""
    assert rows(pipeline, attempts, hour("09").start) == [(2,)]
    assert run_job(upkeep.SEAL)
    assert rows(pipeline, attempts, hour("09").start) == [(1,)]


def test_the_retention_job_runs_on_whatever_is_there(pipeline, world, harvest, run_job):
    world.network("east", "n1", at("10:01"))
    harvest(hour("10"))
    assert run_job(upkeep.RETAIN)
    # May 2024 is longer ago than the 400 days that are kept
    assert rows(pipeline, EVENTS) == []


def test_old_months_go_with_everything_that_hangs_on_them(settings, pipeline, world, harvest):
    world.network("east", "old", at("10:01"))
    world.network("east", "orphan", at("10:02"), project_id=None, tenant_id=None)
    world.network("east", "young", datetime(2024, 6, 1, tzinfo=UTC))
    world.now = datetime(2024, 6, 1, 0, 5, tzinfo=UTC)
    harvest(Window.of(world.now), hour("10"))
    counts = """select (select count(*) from timeline.events), (select count(*) from timeline.tenant_events),
        (select count(*) from timeline.event_keys), (select count(*) from timeline.quarantine)"""
    assert rows(pipeline, counts) == [(3, 2, 3, 1)]
    kept_until = datetime(2024, 6, 1, tzinfo=UTC) + timedelta(days=settings.retention.timeline_days)
    assert drop_old_months(pipeline, kept_until - timedelta(days=1)).partitions == ()
    dropped = drop_old_months(pipeline, kept_until + timedelta(days=1))
    assert sorted(name.rsplit(".", 1)[-1] for name in dropped.partitions) == [
        "attributions_2024_05",
        "events_2024_05",
        "tenant_events_2024_05",
    ]
    assert rows(pipeline, counts) == [(1, 1, 1, 0)]
    assert rows(pipeline, EVENTS) == [("network.create.end", "young", PROJECT)]
    assert drop_old_months(pipeline, kept_until + timedelta(days=1)).rows == 0


# A launched run's edge


def test_a_failure_that_may_pass_is_tried_once_more_and_only_what_failed(world, edge, runner, monkeypatch):
    from timeline_assets.wiring import assets  # noqa: PLC0415

    monkeypatch.setattr(assets, "RETRY", dg.RetryPolicy(max_retries=1, delay=0))
    edge.may_retry = True
    asked = []

    def harvest(pipeline, cloud, source, window, **more):
        asked.append(window)
        if asked == [hour("08"), hour("09")]:
            world.fails("east", source.name, "timeout")
        else:
            world.errors.clear()
        return world.stages.harvest(pipeline, cloud, source, window, **more)

    edge.stages = type(world.stages)(reader=world.reader, harvest=harvest)
    key = keys.raw_key("east", "neutron_networks")
    result = runner.run("east", [key], [hour("08"), hour("09"), hour("10")], "test")
    assert result.success
    assert asked == [hour("08"), hour("09"), hour("10"), hour("09")]
    assert runner.instance.get_materialized_partitions(key) == {window.key for window in asked}


def test_a_launched_run_is_tagged_with_its_worker_and_closes_what_it_opened(settings, monkeypatch, pipeline, instance):
    from contextlib import contextmanager  # noqa: PLC0415

    from timeline_assets.wiring import build  # noqa: PLC0415

    log = []

    @contextmanager
    def opened(_):
        log.append("opened")
        yield pipeline
        log.append("closed")

    monkeypatch.setattr(build, "open_pipeline", opened)
    monkeypatch.setattr(build, "keep_connections", lambda _: None)
    job = build_defs(settings).resolve_job_def(upkeep.SEAL)
    assert log == []
    result = job.execute_in_process(instance=instance)
    assert result.success
    assert log == ["opened", "closed"]
    assert instance.get_run_by_id(result.run_id).tags[keys.WORKER] == upkeep.this_worker()
