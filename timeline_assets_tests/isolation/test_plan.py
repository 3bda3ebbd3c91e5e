"""A tenant's newest events come out of the index in order, however many events there are."""

from __future__ import annotations

from collections.abc import Iterator

import psycopg

ROWS = """insert into timeline.tenant_events (event_id, cloud, tenant_project_id, relation, visibility, event_type,
        category, severity, outcome, phase, occurred_at, occurred_from, occurred_to, time_precision, recorded_at,
        resource_type, resource_id, actor_label, title)
    select gen_random_uuid(), 'test', 'project-' || n % 100, 'owner', 'operational', 'compute.instance.reboot.end',
        'provisioning', 1, 'success', 'end', at, at, at, 'exact', at, 'server', 'server-' || n % 997, 'user', 'rebooted'
    from generate_series(1, 200000) n, lateral (
        select timestamptz '2026-09-02 00:00:00+00' + interval '80 days' * (n * 7919 % 200000 / 2e5) as at) t"""


def nodes(plan: dict) -> Iterator[dict]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from nodes(below)


def test_the_newest_events_are_read_in_order_and_no_others(database, login):
    url = login("timeline_project_reader")
    with database.connect("pipeline") as connection:
        for month in ("2026-09-02", "2026-10-02", "2026-11-02"):
            connection.execute("select timeline.ensure_partition(%s)", [month])
        connection.execute(ROWS)
        connection.execute("insert into access.projects values (%s, 'test', 'project-7')", [url.username])
    with database.connect("admin") as connection:
        connection.execute("set role timeline_owner")
        connection.execute("analyze timeline.tenant_events")
    with psycopg.connect(url.render_as_string(hide_password=False)) as connection:
        (answer,) = connection.execute(
            """explain (analyze, timing off, format json)
            select * from timeline.tenant_events order by occurred_at desc limit 100"""
        ).fetchone()
    found = list(nodes(answer[0]["Plan"]))
    assert answer[0]["Plan"]["Actual Rows"] == 100
    assert not [node["Node Type"] for node in found if "Sort" in node["Node Type"] or node["Node Type"] == "Seq Scan"]
    scans = [node for node in found if node.get("Relation Name", "").startswith("tenant_events")]
    assert len(scans) == 3
    assert {node["Node Type"] for node in scans} == {"Index Scan"}
    assert all("tenant_project_id" in node["Index Cond"] for node in scans)
    # what was read is what was asked for, not what others have
    assert sum(node["Actual Rows"] for node in scans) <= 102
    assert not any(node.get("Rows Removed by Filter") for node in scans)
