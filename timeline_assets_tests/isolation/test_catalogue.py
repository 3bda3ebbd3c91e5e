"""The catalogue of the migrated database separates its tenants; and each way to undo that is found."""

from __future__ import annotations

import pytest

from timeline_assets_tests.isolation.checks import findings

AS_OWNER = "set local role timeline_owner;"


def test_the_migrated_database_has_no_findings(database):
    with database.connect("pipeline") as connection:
        connection.execute("select timeline.ensure_partition('2026-11-22')")
    with database.connect("admin") as connection:
        assert findings(connection) == []


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (
            "alter table timeline.tenant_events no force row level security",
            "timeline.tenant_events can be read by timeline_tenant without row security enabled and forced",
        ),
        (
            "alter table timeline.events disable row level security",
            "timeline.events can be read by timeline_provider without row security enabled and forced",
        ),
        (
            "drop policy project on timeline.tenant_events",
            "timeline.tenant_events can be read by timeline_project_reader, for whom it has no policy",
        ),
        (
            "create policy easy on timeline.tenant_changes to timeline_tenant using (true)",
            "timeline.tenant_changes has a policy easy that shows tenants every row",
        ),
        (
            "grant create on schema timeline to timeline_writer; reset role;"
            "alter table timeline.tenant_events owner to timeline_writer",
            "timeline.tenant_events is owned by timeline_writer",
        ),
        (
            "create view timeline.handy as select * from timeline.tenant_events;"
            "grant select on timeline.handy to timeline_tenant",
            "timeline.handy is a view without security_invoker and can be read by timeline_tenant",
        ),
        (
            "create materialized view timeline.fast as select * from timeline.tenant_events;"
            "grant select on timeline.fast to timeline_tenant",
            "timeline.fast is no table of rows with an owner (m) and can be read by timeline_tenant",
        ),
        (
            "create table timeline.later (tenant_project_id text); grant select on timeline.later to timeline_tenant",
            "timeline.later can be read by timeline_tenant, for whom it has no policy",
        ),
        (
            "create table timeline.later (tenant_project_id text, note text);"
            "grant select (note) on timeline.later to public",
            "timeline.later can be read by public without row security enabled and forced",
        ),
        (
            "grant select on timeline.tenant_events_2026_11 to timeline_tenant",
            "timeline.tenant_events_2026_11 is a partition and can be read by timeline_tenant",
        ),
        (
            "create function timeline.all_of_it() returns bigint language sql security definer"
            " as 'select count(*) from timeline.tenant_events'",
            "timeline.all_of_it() runs as its owner and everybody may call it",
        ),
        (
            "alter function access.my_projects() reset all",
            "access.my_projects() runs as its owner without a pinned search_path",
        ),
        ("grant insert on access.projects to timeline_tenant", "timeline_tenant may INSERT access.projects"),
        ("grant create on schema timeline to timeline_tenant", "timeline_tenant may create in the schema timeline"),
    ],
)
def test_what_would_undo_it_is_found(database, change, finding):
    with database.connect("pipeline") as connection:
        connection.execute("select timeline.ensure_partition('2026-11-22')")
    with database.connect("admin") as connection:
        connection.execute(AS_OWNER + change)
        assert finding in findings(connection)
        connection.rollback()


def test_a_login_with_rights_of_its_own_is_found(database, login):
    name = login("timeline_project_reader").username
    with database.connect("admin") as connection:
        assert findings(connection) == []
        connection.execute(f"grant timeline_writer to {name}")
        assert findings(connection) == [f"the role {name} is a tenant's and belongs to timeline_writer"]
