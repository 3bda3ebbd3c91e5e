"""Runs that a process executes itself: what they bring to the timeline, and what Dagster shows of them."""

from __future__ import annotations

import dagster as dg

from timeline_assets.wiring import keys
from timeline_assets.wiring.runs import harvest_windows
from timeline_assets_tests.wiring.conftest import at, hour, rows

EVENTS = "select cloud, event_type, resource_id, owner_project_id from timeline.events order by cloud, event_type, resource_id"


def test_windows_become_events_and_materialized_partitions(settings, pipeline, world, instance):
    world.network("east", "n1", at("09:30"))
    world.network("east", "n2", at("10:01"))
    seen = []
    results = harvest_windows(
        settings, pipeline, ["east"], None, [hour("10"), hour("09")], seen.append, stages=world.stages, instance=instance, all_sources=world.sources
    )
    print(results)
    for r in instance.get_run_records():
        print(r.dagster_run.status, r.dagster_run.tags)
        for e in instance.all_logs(r.dagster_run.run_id):
            if e.dagster_event and e.dagster_event.is_step_failure: print(e.dagster_event.step_failure_data)
    assert rows(pipeline, EVENTS) == []
