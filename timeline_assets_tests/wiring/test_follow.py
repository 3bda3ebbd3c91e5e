"""The follower: what is new reaches the timeline at once, what is not costs no run, and nobody waits for another."""

from __future__ import annotations

import threading
from contextlib import nullcontext
from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest
from psycopg import sql

from timeline_assets.raw.windows import Window
from timeline_assets.store.database import DatabaseUnreachable
from timeline_assets.wiring import alive, keys
from timeline_assets.wiring.follow import CloudFollower, follow, followers_of
from timeline_assets.wiring.runs import Parts
from timeline_assets_tests.wiring.conftest import PROJECT, World, a_while_passes, at, hour, rows

EVENTS = "select event_type, resource_id, owner_project_id from timeline.events where cloud = %s order by 2, 1"


@pytest.fixture
def east(pipeline, world, instance) -> CloudFollower:
    return follower_of("east", pipeline, world, instance)


def follower_of(cloud: str, pipeline, world: World, instance) -> CloudFollower:
    followers = followers_of(pipeline, instance, Parts(world.sources, world.stages, instance))
    return next(follower for follower in followers if follower.cloud == cloud)


def turn(follower: CloudFollower) -> list[list[str]]:
    """One turn of both threads' work; gives the stages and names that each run was about."""
    for thread in follower.begin_polls():
        thread.join()
    return [
        sorted("/".join(key.path[::2]) for key in result.dagster_run.asset_selection)
        for result in follower.run_what_came()
    ]


BEHIND = {
    "ownership/attributions",
    "ownership/quarantine",
    "timeline/events",
    "timeline/tenant_events",
    "topology/intervals",
}


def failed_runs(instance) -> list[str]:
    return [run.run_id for run in instance.get_runs() if run.status == dg.DagsterRunStatus.FAILURE]


def test_a_change_takes_one_run_over_what_changed(world, pipeline, east):
    turn(east)
    world.now += timedelta(seconds=11)
    world.network("east", "n1", world.now - timedelta(seconds=3))
    world.asked.clear()
    assert turn(east) == [sorted({"raw/neutron_networks", "normalize/neutron_networks", *BEHIND})]
    assert rows(pipeline, EVENTS, "east") == [("network.create.end", "n1", PROJECT)]
    # each source was asked once, and what the poll brought was not asked for again
    assert sorted(world.asked) == sorted(("east", source.name) for source in world.sources)


def test_nothing_new_costs_no_run_and_changes_no_event(world, pipeline, east, instance):
    world.network("east", "n1", at("10:01"))
    turn(east)
    runs = len(instance.get_runs())
    before = rows(pipeline, "select xmin::text from timeline.events union all select xmin::text from raw.attempts")
    for _ in range(3):
        world.now += timedelta(seconds=11)
        assert turn(east) == []
    assert len(instance.get_runs()) == runs
    assert (
        rows(pipeline, "select xmin::text from timeline.events union all select xmin::text from raw.attempts") == before
    )


def test_what_is_not_due_is_not_asked(world, east):
    turn(east)
    world.asked.clear()
    world.now += timedelta(seconds=1)
    turn(east)
    assert world.asked == []


def test_the_first_look_at_a_window_is_shown_even_if_it_is_empty(world, east, instance):
    turn(east)
    assert instance.get_materialized_partitions(keys.raw_key("east", "neutron_networks")) == {"2024-05-02-10:00"}
    world.now = at("11:00:20")
    turn(east)
    assert instance.get_materialized_partitions(keys.raw_key("east", "neutron_networks")) == {
        "2024-05-02-10:00",
        "2024-05-02-11:00",
    }


def test_a_failure_is_shown_once_and_holds_nothing_back(world, pipeline, east, instance):
    world.network("east", "n1", at("10:01"))
    world.fails("east", "keystone_projects", "auth_failed")
    turn(east)
    assert rows(pipeline, EVENTS, "east") == [("network.create.end", "n1", PROJECT)]
    [failed] = failed_runs(instance)
    for _ in range(3):
        world.now += timedelta(seconds=60)
        turn(east)
    assert failed_runs(instance) == [failed]
    assert rows(pipeline, "select source, reason from timeline.coverage where status = 'gap'") == [
        ("keystone_projects", "auth_failed")
    ]


def test_a_source_that_comes_back_is_shown(world, east, instance):
    world.fails("east", "keystone_projects")
    turn(east)
    del world.errors["east", "keystone_projects"]
    world.now += timedelta(minutes=6)
    turn(east)
    assert instance.get_materialized_partitions(keys.raw_key("east", "keystone_projects")) == {"2024-05-02-10:00"}


def test_another_cloud_does_not_notice(world, pipeline, east, instance):
    for source in world.sources:
        world.fails("east", source.name)
    world.network("west", "n1", at("10:01"))
    west = follower_of("west", pipeline, world, instance)
    turn(east)
    turn(west)
    assert rows(pipeline, EVENTS, "west") == [("network.create.end", "n1", PROJECT)]


def test_a_late_record_goes_to_its_own_window_and_all_the_way(world, pipeline, east, instance):
    turn(east)
    world.now += timedelta(seconds=11)
    world.network("east", "n1", at("09:58"))
    turn(east)
    assert rows(pipeline, EVENTS, "east") == [("network.create.end", "n1", PROJECT)]
    assert instance.get_materialized_partitions(keys.final_keys("east")[2]) == {"2024-05-02-09:00", "2024-05-02-10:00"}


def test_what_a_killed_run_left_is_carried_on(world, pipeline, east):
    world.network("east", "n1", at("10:01"))
    source = world.sources[2]
    world.stages.harvest(pipeline, "east", source, hour("10"))
    assert rows(pipeline, EVENTS, "east") == []
    east.collect_left_behind()
    assert east.run_what_came() == []
    a_while_passes(pipeline)
    east.collect_left_behind()
    [result] = east.run_what_came()
    assert result.success
    assert rows(pipeline, EVENTS, "east") == [("network.create.end", "n1", PROJECT)]
    east.collect_left_behind()
    assert east.run_what_came() == []


def test_what_cannot_be_carried_on_is_tried_after_growing_waits(world, pipeline, instance):
    def broken(*_, **__):
        raise ValueError("no")

    world.network("east", "n1", at("10:01"))
    world.stages.harvest(pipeline, "east", world.sources[2], hour("10"))
    stages = type(world.stages)(reader=world.reader, harvest=world.stages.harvest, normalize=broken)
    followers = followers_of(pipeline, instance, Parts(world.sources, stages, instance))
    east = followers[0]
    a_while_passes(pipeline)
    tried = []
    for _ in range(8):
        world.now += timedelta(minutes=1)
        east.collect_left_behind()
        tried.append(len(east.run_what_came()))
    assert tried == [1, 1, 0, 1, 0, 0, 0, 1]


def test_a_poll_begun_while_a_run_goes_on_stays_the_only_one(world, pipeline, instance):
    """What the run stored is free to be polled again; the run's end frees nothing that another poll has taken."""
    seen = []

    def resolve(*given, **more):
        networks = world.sources[2]
        window = hour("10")
        east._busy.add((networks.name, window))  # as `begin_polls` does on the other thread
        seen.append(networks.name)
        return resolved(*given, **more)

    world.network("east", "n1", at("10:01"))
    stages = world.stages
    resolved = stages.resolve
    stages = type(stages)(reader=stages.reader, harvest=stages.harvest, resolve=resolve)
    east = followers_of(pipeline, instance, Parts(world.sources, stages, instance))[0]
    turn(east)
    assert seen == ["neutron_networks"]
    assert east._busy == {("neutron_networks", hour("10"))}


def test_what_a_run_did_not_come_to_read_is_free_again(world, pipeline, east, monkeypatch):
    world.network("east", "n1", at("10:01"))
    for thread in east.begin_polls():
        thread.join()
    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(east.runner, "run", lambda *_: 1 / 0)
        east.run_what_came()
    assert east._busy == set()
    assert east.edge.polled == {}


def test_one_follower_a_cloud(pipeline):
    with pipeline.connect() as mine, pipeline.connect() as other:
        assert not alive.is_followed(other, "east")
        assert alive.claim(mine, "east")
        assert not alive.claim(other, "east")
        assert alive.is_followed(other, "east")
        assert not alive.is_followed(other, "west")
        assert alive.claim(other, "west")
    with pipeline.connect() as later:
        assert not alive.is_followed(later, "east")


def test_it_follows_all_clouds_until_it_is_stopped(settings, pipeline, world, shared_instance, monkeypatch):
    """The threads themselves, on the real clock: both clouds' newest window arrives, then the stop ends all of it."""
    monkeypatch.setattr("timeline_assets.wiring.follow.open_pipeline", lambda _: nullcontext(pipeline))
    world.now = datetime.now(UTC)
    stamp = world.now - timedelta(minutes=1)
    arrived = {name: threading.Event() for name in ("east", "west")}
    for cloud in arrived:
        world.network(cloud, "n1", stamp)

    stages = world.stages
    resolve = stages.resolve

    def resolved(pipeline, cloud, window=None, **more):
        result = resolve(pipeline, cloud, window, **more)
        if result.written.new:
            arrived[cloud].set()
        return result

    parts = Parts(
        world.sources, type(stages)(reader=stages.reader, harvest=stages.harvest, resolve=resolved), shared_instance
    )
    stop = threading.Event()
    thread = threading.Thread(target=follow, args=(settings, stop), kwargs={"parts": parts})
    thread.start()
    try:
        for cloud, event in arrived.items():
            assert event.wait(120), cloud
        with pipeline.connect() as connection:
            assert alive.is_followed(connection, "east")
    finally:
        stop.set()
        thread.join(60)
    assert not thread.is_alive()
    with pipeline.connect() as connection:
        assert not alive.is_followed(connection, "east")
    assert rows(pipeline, EVENTS, "west") == [("network.create.end", "n1", PROJECT)]
    assert shared_instance.get_materialized_partitions(keys.final_keys("east")[2]) >= {Window.of(stamp).key}


def test_a_database_that_goes_away_is_waited_for(  # noqa: PLR0917
    settings, pipeline, world, shared_instance, postgres, monkeypatch
):
    """Polls and runs end in errors that are said; when it is back, what has happened meanwhile arrives."""
    monkeypatch.setattr("timeline_assets.wiring.follow.open_pipeline", lambda _: nullcontext(pipeline))
    monkeypatch.setattr("timeline_assets.wiring.follow.RECOVER_SECONDS", 0.05)
    complaints, complained = [], threading.Event()

    def complain(_, what, error):
        complaints.append((what, type(error)))
        if what == "east: polling was interrupted":
            complained.set()

    monkeypatch.setattr("timeline_assets.wiring.follow.Complaints.add", complain)
    world.now = datetime.now(UTC)
    arrived = [threading.Event(), threading.Event()]
    stages = world.stages
    resolve = stages.resolve

    def resolved(pipeline, cloud, window=None, **more):
        result = resolve(pipeline, cloud, window, **more)
        if cloud == "east":
            for number, event in enumerate(arrived):
                if rows(pipeline, "select from timeline.events where resource_id = %s", f"n{number}"):
                    event.set()
        return result

    name = sql.Identifier(pipeline.database.urls["admin"].database)
    world.network("east", "n0", world.now - timedelta(minutes=1))
    parts = Parts(
        world.sources, type(stages)(reader=stages.reader, harvest=stages.harvest, resolve=resolved), shared_instance
    )
    stop = threading.Event()
    thread = threading.Thread(target=follow, args=(settings, stop), kwargs={"parts": parts})
    thread.start()
    try:
        assert arrived[0].wait(120)
        with postgres.making() as maker:
            maker.execute(sql.SQL("alter database {} allow_connections false").format(name))
            maker.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (name._obj[0],))
        assert complained.wait(60)
        world.network("east", "n1", world.now - timedelta(seconds=30))
        world.now += timedelta(minutes=6)
        with postgres.making() as maker:
            maker.execute(sql.SQL("alter database {} allow_connections true").format(name))
        assert arrived[1].wait(120)
    finally:
        stop.set()
        thread.join(60)
    assert not thread.is_alive()
    assert {kind for what, kind in complaints if what == "east: polling was interrupted"} == {DatabaseUnreachable}
