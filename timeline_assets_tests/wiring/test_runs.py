"""Runs that a process executes itself: what they bring to the timeline, and what Dagster shows of them."""

from __future__ import annotations

from dataclasses import replace

import dagster as dg
import pytest

from timeline_assets.errors import ConfigurationError
from timeline_assets.wiring import keys
from timeline_assets.wiring.runs import Parts, harvest_windows, rebuild, stretches
from timeline_assets_tests.wiring.conftest import PROJECT, at, hour, rows

EVENTS = "select cloud, event_type, resource_id, owner_project_id from timeline.events order by 1, 3, 2"


def materialized(instance, key) -> set[str]:
    return instance.get_materialized_partitions(key)


def shown(instance, key, window) -> dict:
    """The metadata of the newest materialization of a partition."""
    records = instance.fetch_materializations(
        dg.AssetRecordsFilter(key, asset_partitions=[window.key]), limit=1
    ).records
    return {name: value.value for name, value in records[0].asset_materialization.metadata.items()}


def test_windows_become_events_and_materialized_partitions(settings, pipeline, world, instance, parts):
    world.network("east", "n1", at("09:30"))
    world.network("east", "n2", at("10:01"))
    seen = []
    results = harvest_windows(settings, pipeline, ["east"], None, [hour("10"), hour("09")], seen.append, parts=parts)
    assert rows(pipeline, EVENTS) == [
        ("east", "network.create.end", "n1", PROJECT),
        ("east", "network.create.end", "n2", PROJECT),
    ]
    networks = next(result for result in results if result.source == "neutron_networks")
    assert (networks.windows, networks.new, networks.events, networks.quarantined) == (2, 2, 2, 0)
    assert [result.source for result in results] == ["keystone_domains", "keystone_projects", "neutron_networks"]
    both = {"2024-05-02-09:00", "2024-05-02-10:00"}
    for key in (
        keys.raw_key("east", "neutron_networks"),
        keys.facts_key("east", "neutron_networks"),
        *keys.behind("east"),
    ):
        assert materialized(instance, key) == both
        assert not materialized(instance, dg.AssetKey([key.path[0], "west", *key.path[2:]]))
    # 3 sources on two stages, then topology and timeline, in two windows
    assert len(seen) == 2 * (3 + 3 + 1 + 1)


def test_a_source_is_read_after_those_it_asks_about(settings, pipeline, world, instance, parts):
    domains, projects, networks = parts.sources
    sources = (replace(domains, reads=(projects.name,)), replace(projects, reads=(networks.name,)), networks)
    world.fails("east", "neutron_networks")
    harvest_windows(settings, pipeline, ["east"], None, [hour("10")], parts=replace(parts, sources=sources))
    asked = [name for cloud, name in world.asked if cloud == "east"]
    assert asked[-3:] == ["neutron_networks", "keystone_projects", "keystone_domains"]


def test_each_partition_shows_its_own_rows(settings, pipeline, world, instance, parts):
    world.network("east", "n1", at("09:30"))
    world.network("east", "n2", at("10:01"))
    world.network("east", "n3", at("10:02"))
    harvest_windows(settings, pipeline, ["east"], None, [hour("09"), hour("10")], parts=parts)
    raw = keys.raw_key("east", "neutron_networks")
    # the open hour's read is the one that sees all three; each record lies in the window of its own time
    assert {
        name: shown(instance, raw, hour("09"))[name] for name in ("status", "new", "unchanged", "stored_in_window")
    } == {
        "status": "settling",
        "new": 3,
        "unchanged": 0,
        "stored_in_window": 1,
    }
    assert {name: shown(instance, raw, hour("10"))[name] for name in ("status", "new", "unchanged")} == {
        "status": "open",
        "new": 0,
        "unchanged": 3,
    }
    events = keys.final_keys("east")[2]
    assert shown(instance, events, hour("09"))["new"] == 1
    assert shown(instance, events, hour("10"))["new"] == 2
    newest = shown(instance, events, hour("10"))["newest rows"].splitlines()
    assert newest[0] == "| occurred_at | event_type | severity | outcome | title | owner_scope |"
    assert newest[2].startswith("| 2024-05-02 10:02:00 | network.create.end | 1 | success |")


def test_a_repeat_changes_no_row(settings, pipeline, world, parts):
    world.network("east", "n1", at("10:01"))
    harvest_windows(settings, pipeline, ["east"], None, [hour("10")], parts=parts)
    tables = ("timeline.events", "timeline.tenant_events", "timeline.attributions", "topology.ownership", "raw.latest")
    before = [rows(pipeline, f"select xmin::text, * from {table} order by 2, 3, 4") for table in tables]
    assert all(before)
    world.now = at("10:06")
    harvest_windows(settings, pipeline, ["east"], None, [hour("10")], parts=parts)
    assert [rows(pipeline, f"select xmin::text, * from {table} order by 2, 3, 4") for table in tables] == before


def test_a_record_of_another_window_goes_all_the_way_too(settings, pipeline, world, instance, parts):
    world.network("east", "n1", at("08:30"))
    results = harvest_windows(settings, pipeline, ["east"], None, [hour("10")], parts=parts)
    assert rows(pipeline, EVENTS) == [("east", "network.create.end", "n1", PROJECT)]
    assert materialized(instance, keys.final_keys("east")[2]) == {"2024-05-02-08:00", "2024-05-02-10:00"}
    assert [result.windows for result in results] == [1, 1, 1]


def test_one_source_that_fails_holds_nothing_else_back(settings, pipeline, world, instance, parts):
    world.network("east", "n1", at("10:01"))
    world.fails("east", "keystone_domains", "auth_failed")
    results = harvest_windows(settings, pipeline, ["east"], None, [hour("10")], parts=parts)
    gaps = {result.source: {window.key: error.code for window, error in result.gaps.items()} for result in results}
    assert gaps == {
        "keystone_domains": {"2024-05-02-10:00": "auth_failed"},
        "keystone_projects": {},
        "neutron_networks": {},
    }
    assert rows(pipeline, EVENTS) == [("east", "network.create.end", "n1", PROJECT)]
    assert not materialized(instance, keys.raw_key("east", "keystone_domains"))
    assert materialized(instance, keys.final_keys("east")[3]) == {"2024-05-02-10:00"}
    [failed] = instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.FAILURE]))
    [failure] = [e.dagster_event for e in instance.all_logs(failed.run_id) if e.dagster_event.is_step_failure]
    told = failure.step_failure_data.user_failure_data
    assert told.description == "east: nobody answers [auth_failed]\nLook whether it runs."
    assert {name: told.metadata[name].value for name in ("code", "detail", "remedy")} == {
        "code": "auth_failed",
        "detail": "east: nobody answers",
        "remedy": "Look whether it runs.",
    }


def test_one_cloud_that_fails_holds_no_other_back(settings, pipeline, world, shared_instance):
    parts = Parts(world.sources, world.stages, shared_instance)
    world.network("west", "n1", at("10:01"))
    for source in world.sources:
        world.fails("east", source.name, "auth_failed")
    results = harvest_windows(settings, pipeline, ["east", "west"], None, [hour("10")], parts=parts)
    assert [(result.cloud, len(result.gaps)) for result in results] == [("east", 1)] * 3 + [("west", 0)] * 3
    assert rows(pipeline, EVENTS) == [("west", "network.create.end", "n1", PROJECT)]


def test_in_a_range_the_windows_that_were_read_are_materialized(settings, pipeline, world, instance, parts):
    world.network("east", "n1", at("08:30"))
    windows = [hour("08"), hour("09"), hour("10")]
    answers = iter([None, "server_error", "server_error"])

    def harvest(*args, **more):
        if code := next(answers):
            world.fails("east", "neutron_networks", code)
        return world.stages.harvest(*args, **more)

    broken = Parts(parts.sources, type(world.stages)(reader=world.reader, harvest=harvest), instance)
    [result] = harvest_windows(settings, pipeline, ["east"], ["neutron_networks"], windows, parts=broken)
    assert {window.key: error.code for window, error in result.gaps.items()} == {
        "2024-05-02-09:00": "server_error",
        "2024-05-02-10:00": "server_error",
    }
    assert materialized(instance, keys.raw_key("east", "neutron_networks")) == {"2024-05-02-08:00"}


def test_a_window_in_the_future_is_refused_by_name(settings, pipeline, parts):
    with pytest.raises(ConfigurationError, match="2024-05-02-11:00 lies in the future"):
        harvest_windows(settings, pipeline, ["east"], ["neutron_networks"], [hour("11")], parts=parts)


def test_an_unknown_source_is_refused_by_name(settings, pipeline, parts):
    with pytest.raises(ConfigurationError, match="no source 'nova_serverz'"):
        harvest_windows(settings, pipeline, ["east"], ["nova_serverz"], [hour("10")], parts=parts)


def test_a_rebuild_comes_to_the_same_and_asks_nobody(settings, pipeline, world, parts, shared_instance):
    world.network("east", "n1", at("09:30"))
    world.network("east", "n2", at("10:01"))
    harvest_windows(settings, pipeline, ["east"], None, [hour("09"), hour("10")], parts=parts)
    # how many versions of an attribution there were, and when a row was written, is history and not belief
    what = "to_jsonb(t) - array['recorded_at', 'attribution']"
    table = f"select ({what})::text from timeline.{{}} t order by 1"
    before = [rows(pipeline, table.format(name)) for name in ("events", "tenant_events", "event_keys")]
    with pipeline.database.connect("admin") as connection:
        connection.execute(
            "truncate timeline.events, timeline.tenant_events, timeline.event_keys, timeline.attributions"
        )
    world.asked.clear()
    shared = Parts(world.sources, world.stages, shared_instance)
    results = rebuild(settings, pipeline, ["east", "west"], parts=shared)
    assert world.asked == []
    assert [result.events for result in results if result.source == "neutron_networks"] == [2, 0]
    again = [rows(pipeline, table.format(name)) for name in ("events", "tenant_events", "event_keys")]
    assert again == before


def test_stretches_are_consecutive_and_a_day_at_most():
    day = [hour("00").start.replace(day=2, hour=h) for h in range(24)]
    windows = [type(hour("00"))(start) for start in day]
    assert list(stretches([windows[5], windows[3], windows[4], windows[8]])) == [windows[3:6], [windows[8]]]
    later = [type(window)(window.start.replace(day=3)) for window in windows]
    assert [len(stretch) for stretch in stretches(windows + later[:3])] == [24, 3]
