"""What a login can learn of another tenant: every relation it can read, and every way around that we know of."""

from __future__ import annotations

import psycopg
import pytest
from psycopg import errors, sql

from timeline_assets_tests.isolation.conftest import domain, fill, marked, project
from timeline_assets_tests.making import CLOUD

TENANTS = ("a", "b", "domain", "nobody")
READABLE = """select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
    where c.relkind in ('r', 'p', 'v', 'm', 'f') and n.nspname !~ '^pg_(toast|temp)'
      and has_schema_privilege(n.oid, 'USAGE') and has_any_column_privilege(c.oid, 'SELECT') order by 1"""
OURS = ["access", "raw", "timeline", "timeline_meta", "topology"]
MINE = """select resource_id, event_type, actor_label, actor_user_id, request_id
    from timeline.tenant_events order by occurred_at"""


def everything(world, who: str) -> str:
    """The text of every row of every relation that a login can read, PostgreSQL's own included."""
    read = []
    with psycopg.connect(world.logins[who], autocommit=True) as connection:
        for (name,) in connection.execute(READABLE).fetchall():
            try:
                read += connection.execute(f"select t::text from {name} t").fetchall()
            except (errors.InsufficientPrivilege, errors.ObjectNotInPrerequisiteState):
                continue
            except errors.UndefinedFunction:
                # a column without a text of its own
                continue
    return "\n".join(str(row[0]) for row in read)


def test_the_facts_carry_their_canaries(world):
    seen = everything(world, "security")
    for tenant in "ab":
        assert len(world.event_ids[tenant]) == 7
        assert f"canary-{tenant}" in seen
        assert all(event_id in seen for event_id in world.event_ids[tenant])


@pytest.mark.parametrize(("who", "forbidden"), [("a", "b"), ("b", "a"), ("domain", "a"), ("nobody", "ab")])
def test_no_canary_of_another_tenant_anywhere(world, who, forbidden):
    seen = everything(world, who)
    for tenant in forbidden:
        assert f"canary-{tenant}" not in seen
        assert not [event_id for event_id in world.event_ids[tenant] if event_id in seen]


def test_a_tenant_reads_its_own_and_only_that(ask):
    for tenant in "ab":
        server, user = marked(tenant, "server"), marked(tenant, "user")
        request = marked(tenant, f"request-{CLOUD}")
        assert ask(tenant, MINE) == [
            (server, "compute.instance.reboot.end", "user", user, request),
            (server, "compute.instance.reboot.end", "provider operator", None, None),
            (server, "compute.instance.reboot.end", "user", user, request),
        ]
        assert ask(tenant, "select distinct cloud, tenant_project_id, visibility from timeline.tenant_events") == [
            (CLOUD, project(tenant), "operational")
        ]
        assert ask(tenant, "select count(*), count(distinct event_id) from timeline.tenant_changes") == [(3, 3)]


def test_a_tenants_rows_are_the_same_without_the_other(database, ask, tmp_path):
    fill(database, tmp_path, "b")
    rows = """select to_jsonb(t) - 'recorded_at' from timeline.tenant_events t
        where visibility = 'operational' and cloud = %s and tenant_project_id = %s order by occurred_at"""
    with database.connect("pipeline") as connection:
        alone = connection.execute(rows, (CLOUD, project("b"))).fetchall()
    assert len(alone) == 3
    assert ask("b", rows, CLOUD, project("b")) == alone


def test_a_domain_reader_reads_its_domain_and_its_projects(ask):
    scope = "select distinct tenant_domain_id, tenant_project_id, cloud from timeline.tenant_events order by 2"
    assert ask("domain", scope) == [(domain("b"), project("b"), CLOUD), (domain("b"), None, CLOUD)]


def test_a_login_without_a_scope_reads_nothing(ask):
    for table in ("tenant_events", "tenant_changes", "tenant_coverage"):
        assert ask("nobody", f"select * from timeline.{table}") == []


def test_no_group_no_way_in(world, postgres):
    login = "test_without_a_group"
    with postgres.making() as connection:
        connection.execute(sql.SQL("create role {} login password 'p'").format(sql.Identifier(login)))
    try:
        url = world.database.urls["admin"].set(username=login, password="p", query={})
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            psycopg.connect(url.render_as_string(hide_password=False))
    finally:
        with postgres.making() as connection:
            connection.execute(sql.SQL("drop role {}").format(sql.Identifier(login)))


def test_tenants_read_three_tables_and_no_partition(ask):
    tables = f"{READABLE[: READABLE.index('order by')]} and n.nspname = any(%s) order by 1"
    for who in TENANTS:
        assert [row[0] for row in ask(who, tables, OURS)] == ["tenant_changes", "tenant_coverage", "tenant_events"]


@pytest.mark.parametrize("who", TENANTS)
def test_whatever_else_there_is_is_refused(world, who):
    mine = {f"timeline.{table}" for table in ("tenant_events", "tenant_changes", "tenant_coverage")}
    with world.database.connect("admin") as connection:
        found = connection.execute(
            """select format('%%I.%%I', nspname, relname) from pg_class c join pg_namespace n on n.oid = relnamespace
            where relkind in ('r', 'p', 'v', 'm', 'f') and nspname = any(%s)""",
            [OURS],
        ).fetchall()
    others = {row[0] for row in found} - mine
    assert {"timeline.events", "timeline.tenant_events_2026_11", "raw.set_aside", "access.grants"} <= others
    with psycopg.connect(world.logins[who], autocommit=True) as connection:
        for name in sorted(others):
            for statement in ("select * from {}", "select count(*) from {}", "copy {} to stdout", "table {}"):
                with pytest.raises(errors.InsufficientPrivilege), connection.cursor() as cursor:
                    if statement.startswith("copy"):
                        with cursor.copy(statement.format(name)) as copy:
                            copy.read()
                    cursor.execute(statement.format(name))


@pytest.mark.parametrize(
    "query",
    [
        "select * from timeline.tenant_events where event_id = any(%(ids)s::uuid[])",
        "select * from timeline.tenant_changes where event_id = any(%(ids)s::uuid[])",
        "select * from timeline.tenant_events where request_id like 'canary-b%%'",
        "select * from timeline.tenant_events where resource_id = 'canary-b-server'",
        "select * from timeline.tenant_events where tenant_project_id = 'canary-b-project' or title ~ 'canary-b'",
        "select * from timeline.tenant_events where related::text ~ 'canary-b' or changes::text ~ 'canary-b'",
        "select 1 from timeline.tenant_events having count(*) <> 3",
        "select 1 from timeline.tenant_events where tenant_project_id <> 'canary-a-project'",
        "select 1 from timeline.tenant_events having max(tenant_project_id) > min(tenant_project_id)",
        "select 1 from timeline.tenant_events having max(occurred_at) > '2026-11-22 12:03:00+00'",
        "select 1 from timeline.tenant_coverage where cloud <> 'test'",
        "select 1 from timeline.tenant_events where visibility <> 'operational'",
        "select 1 from timeline.tenant_events tablesample system (100) where tenant_project_id ~ 'canary-b'",
        "with recursive r as (select event_id from timeline.tenant_events where event_id = any(%(ids)s::uuid[]))"
        " select * from r",
    ],
)
def test_no_query_of_a_gives_anything_of_b(world, query):
    with psycopg.connect(world.logins["a"]) as connection:
        assert connection.execute(query, {"ids": sorted(world.event_ids["b"])}).fetchall() == []


@pytest.mark.parametrize("table", ["tenant_events", "tenant_changes", "tenant_coverage"])
def test_copy_gives_what_select_gives(world, table):
    with psycopg.connect(world.logins["a"]) as connection, connection.cursor() as cursor:
        with cursor.copy(f"copy (select * from timeline.{table}) to stdout") as copy:
            selected = b"".join(copy)
        # of a partitioned table itself PostgreSQL copies nothing, or all that the policy shows
        with cursor.copy(f"copy timeline.{table} to stdout") as copy:
            whole = b"".join(copy)
    assert selected
    assert whole in (selected, b"")
    assert b"canary-b" not in selected
    assert b"other" not in selected


@pytest.mark.parametrize("who", TENANTS)
def test_nobody_becomes_another(world, who):
    with world.database.connect("admin") as connection:
        roles = [row[0] for row in connection.execute("select rolname from pg_roles").fetchall()]
    with psycopg.connect(world.logins[who], autocommit=True) as connection:
        me, before = connection.info.user, connection.execute(MINE).fetchall()
        mine = {me, "timeline_tenant", "timeline_project_reader", "timeline_scope_reader"}
        for role in roles:
            for statement in ("set role {}", "set session authorization {}"):
                try:
                    connection.execute(sql.SQL(statement).format(sql.Identifier(role)))
                except errors.InsufficientPrivilege:
                    continue
                assert role in mine, statement
                # a group of mine shows what I see at most
                assert set(connection.execute(MINE).fetchall()) <= set(before)
                connection.execute("reset role")
    assert before or who == "nobody"


@pytest.mark.parametrize("who", ["a", "nobody"])
def test_no_setting_widens_what_is_seen(world, who):
    with psycopg.connect(world.logins[who], autocommit=True) as connection:
        before = connection.execute(MINE).fetchall()
        for name in ("timeline.project", "access.project", "access.login", "timeline.ticket"):
            connection.execute("select set_config(%s, %s, false)", (name, project("b")))
        connection.execute("set search_path = pg_temp, public, timeline, access, pg_catalog")
        settings = connection.execute(
            """select name, case vartype when 'bool' then array['on', 'off'] else enumvals end from pg_settings
            where context = 'user' and vartype in ('bool', 'enum') and name !~ '^(default_)?transaction'"""
        ).fetchall()
        assert len(settings) > 50
        for name, values in settings:
            for value in values:
                try:
                    connection.execute("select set_config(%s, %s, false)", (name, value))
                except (errors.InvalidParameterValue, errors.FeatureNotSupported):
                    continue  # this server was built without it
                try:
                    assert connection.execute(MINE).fetchall() == before, (name, value)
                except errors.InsufficientPrivilege:
                    # asks for an error in place of what the policy leaves out
                    assert (name, value) == ("row_security", "off")
            connection.execute(sql.SQL("reset {}").format(sql.Identifier(name)))


@pytest.mark.parametrize(
    "condition",
    [
        "resource_id::int = 0",
        "tenant_project_id::uuid is not null",
        "(title || '!')::timestamptz is null",
    ],
)
def test_a_function_that_tells_what_it_is_given_is_given_own_rows_only(world, condition):
    # a cast that fails says of what: asked before the policy, it would name the others' rows
    for who, others in (("a", "canary-b"), ("nobody", "canary")):
        with psycopg.connect(world.logins[who]) as connection:
            try:
                connection.execute(f"select 1 from timeline.tenant_events where {condition}")
            except psycopg.Error as error:
                assert who == "a"
                assert others not in str(error)
            else:
                assert who == "nobody"


@pytest.mark.parametrize(
    "statement",
    [
        "create function pg_temp.tell(text) returns bool language sql as 'select true'",
        "create temp table t (x int)",
        "create table public.t (x int)",
        "create table timeline.t (x int)",
        "create view timeline.v as select 1",
        "create function timeline.tell(text) returns bool language sql as 'select true'",
        "create schema mine",
        "copy timeline.tenant_events to program 'cat'",
        "insert into timeline.tenant_changes (operation) values ('upsert')",
        "insert into access.projects values ('me', 'test', 'canary-b-project')",
        "update timeline.tenant_events set tenant_project_id = 'canary-a-project'",
        "delete from timeline.tenant_events",
        "truncate timeline.tenant_events",
        "alter table timeline.tenant_events disable row level security",
        "drop policy project on timeline.tenant_events",
        "create policy mine on timeline.tenant_events using (true)",
        "select timeline.ensure_partition(now())",
        "select timeline.drop_partitions_before(now())",
        "select lo_import('/etc/hostname')",
        "select pg_read_file('PG_VERSION')",
    ],
)
def test_a_tenant_makes_and_changes_nothing(world, statement):
    for who in ("a", "domain"):
        with psycopg.connect(world.logins[who], autocommit=True) as connection:
            connection.execute("set default_transaction_read_only = off")
            with pytest.raises((errors.InsufficientPrivilege, errors.FeatureNotSupported)):
                connection.execute(statement)


def test_executed_rows_are_own_rows(world):
    with psycopg.connect(world.logins["a"]) as connection:
        (plan,) = connection.execute(
            "explain (analyze, timing off, format json) select * from timeline.tenant_events where severity >= 0"
        ).fetchone()
    assert plan[0]["Plan"]["Actual Rows"] == 3


@pytest.mark.parametrize(
    ("who", "visible"),
    [("provider", {"operational"}), ("security", {"operational", "security"}), ("a", {"operational"})],
)
def test_what_is_for_security_only_security_sees(ask, who, visible):
    for table in ["tenant_events", "tenant_changes"] + ["events"] * (who != "a"):
        found = ask(who, f"select distinct visibility from timeline.{table}")
        assert {row[0] for row in found} == visible


def test_what_is_known_beside_an_event_is_for_whom_the_event_is(world, ask):
    grants = "select event_id::text from timeline.events where visibility = 'security'"
    assert ask("provider", grants) == []
    hidden = {row[0] for row in ask("security", grants)}
    assert len(hidden) == 2
    as_provider, as_security = everything(world, "provider"), everything(world, "security")
    for told in (*hidden, marked("a", "assignment"), marked("b", "assignment")):
        assert told not in as_provider
        assert told in as_security
    for table in ("attributions", "contributions"):
        beside = f"select distinct event_id::text from timeline.{table} where event_id::text = any(%s)"
        assert {row[0] for row in ask("security", beside, sorted(hidden))} == hidden
    # and of what it may see, it sees all
    decided = "select count(distinct event_id), count(*) from timeline.attributions"
    assert ask("provider", decided) == [(12, 12)]
    assert ask("provider", "select count(*) from timeline.quarantine where resolved_at is null") == [(2,)]


def test_the_provider_reads_both_and_changes_nothing(world, ask):
    owners = "select owner_project_id, count(*) from timeline.events where cloud = %s group by 1 order by 1"
    assert ask("provider", owners, CLOUD) == [(project("a"), 3), (project("b"), 3), (None, 4)]
    for who in ("provider", "security"):
        for statement in ("delete from timeline.events", "insert into access.projects values ('x', 'y', 'z')"):
            with psycopg.connect(world.logins[who]) as connection:
                connection.execute("set transaction read write")
                with pytest.raises(errors.InsufficientPrivilege):
                    connection.execute(statement)
