"""Real leaks: isolation undone in one way, another tenant's rows in a tenant's hands, and the finding that says so.

What these show is that the probes and the checks of the catalogue can fail, and what the rules are for.
"""

from __future__ import annotations

from collections.abc import Iterator

import psycopg
import pytest

from timeline_assets_tests.isolation.checks import findings

ROWS = """insert into timeline.tenant_events (event_id, cloud, tenant_project_id, relation, visibility, event_type,
        category, severity, outcome, phase, occurred_at, occurred_from, occurred_to, time_precision, recorded_at,
        resource_type, resource_id, actor_label, title)
    select gen_random_uuid(), 'test', p, 'owner', 'operational', 'compute.instance.reboot.end', 'provisioning', 1,
        'success', 'end', at, at, at, 'exact', at, 'server', p || '-server', 'user', p
    from unnest(array['a', 'b']) p, (select timestamptz '2026-11-22 12:00:00+00' as at) t"""


@pytest.fixture
def reader(database, login) -> Iterator[str]:
    """The login of tenant a, in a database with one event of a and one of b."""
    url = login("timeline_project_reader")
    with database.connect("pipeline") as connection:
        connection.execute("select timeline.ensure_partition('2026-11-22')")
        connection.execute(ROWS)
        connection.execute("insert into access.projects values (%s, 'test', 'a')", [url.username])
    return url.render_as_string(hide_password=False)


def seen(reader: str, relation: str) -> list[str]:
    with psycopg.connect(reader) as connection:
        found = connection.execute(f"select tenant_project_id from {relation} order by 1").fetchall()
    return [row[0] for row in found]


def undo(database, *statements: str) -> list[str]:
    """Does it as the owner of the tables; gives the findings."""
    with database.connect("admin") as connection:
        connection.execute("set role timeline_owner")
        for statement in statements:
            connection.execute(statement)
    with database.connect("admin") as connection:
        return findings(connection)


def test_as_it_is_a_tenant_sees_its_own(database, reader):
    assert seen(reader, "timeline.tenant_events") == ["a"]
    with database.connect("admin") as connection:
        assert findings(connection) == []


def test_row_security_switched_off(database, reader):
    assert undo(database, "alter table timeline.tenant_events disable row level security")
    assert seen(reader, "timeline.tenant_events") == ["a", "b"]


def test_a_policy_for_every_row(database, reader):
    assert undo(database, "create policy easy on timeline.tenant_events to timeline_tenant using (true)")
    assert seen(reader, "timeline.tenant_events") == ["a", "b"]


def test_a_policy_lost_shows_nothing_but_is_found(database, reader):
    assert undo(database, "drop policy project on timeline.tenant_events")
    assert seen(reader, "timeline.tenant_events") == []


def test_the_owners_view_of_a_table_without_force(database, reader):
    view = ("create view timeline.v as select * from timeline.tenant_events", "grant select on timeline.v to public")
    assert undo(database, *view)
    assert seen(reader, "timeline.v") == []  # force holds for the owner, too
    assert undo(database, "alter table timeline.tenant_events no force row level security")
    assert seen(reader, "timeline.v") == ["a", "b"]
    undo(database, "alter view timeline.v set (security_invoker)")
    assert seen(reader, "timeline.v") == ["a"]


def test_a_view_of_the_writers(database, reader):
    undo(database, "grant create on schema timeline to timeline_writer")
    with database.connect("admin") as connection:
        connection.execute("create view timeline.v as select * from timeline.tenant_events")
        connection.execute("alter view timeline.v owner to timeline_writer")
        connection.execute("grant select on timeline.v to timeline_tenant")
    with database.connect("admin") as connection:
        assert {
            "timeline.v is owned by timeline_writer",
            "timeline.v is a view without security_invoker and can be read by timeline_tenant",
        } <= set(findings(connection))
    assert seen(reader, "timeline.v") == ["a", "b"]


def test_a_table_without_row_security(database, reader):
    with database.connect("pipeline") as connection:
        rows = [row[0] for row in connection.execute("select tenant_project_id from timeline.tenant_events").fetchall()]
    assert undo(
        database,
        f"create table timeline.later as select unnest(array{rows}) as tenant_project_id",
        "grant select on timeline.later to timeline_tenant",
    )
    assert seen(reader, "timeline.later") == ["a", "b"]


def test_a_partition(database, reader):
    partition = "timeline.tenant_events_2026_11"
    assert undo(database, f"grant select on {partition} to timeline_tenant")
    assert seen(reader, partition) == []  # it has row security of its own, and no policy
    assert undo(database, f"alter table {partition} disable row level security")
    assert seen(reader, partition) == ["a", "b"]
