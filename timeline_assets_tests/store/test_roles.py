"""Group roles: the same after every run, from any number of processes, and never more than they should be."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import psycopg
import pytest
from psycopg import sql

from timeline_assets.errors import DatabaseError
from timeline_assets.store.database import Database
from timeline_assets.store.embedded import EmbeddedPostgres
from timeline_assets.store.roles import apply_roles
from timeline_assets_tests.conftest import Login, Postgres

GROUPS = [
    "timeline_owner",
    "timeline_project_reader",
    "timeline_provider",
    "timeline_scope_reader",
    "timeline_security",
    "timeline_tenant",
    "timeline_writer",
]


def _state(database: Database) -> tuple[list[tuple], str]:
    with database.connect("admin") as connection:
        groups = connection.execute(
            "SELECT rolname::text, rolcanlogin, rolsuper, rolbypassrls, rolcreaterole, rolcreatedb FROM pg_roles "
            "WHERE rolname = ANY (%s) ORDER BY 1",
            [GROUPS],
        ).fetchall()
        access = connection.execute(
            "SELECT array_agg(item::text ORDER BY item::text) FROM pg_database, unnest(datacl) item "
            "WHERE datname = current_database()"
        ).fetchone()[0]
        return groups, access


def _apply(database: Database) -> None:
    with database.connect("admin") as connection:
        apply_roles(connection)


def test_the_groups_can_do_nothing_by_themselves_and_the_database_is_closed(empty_database: Database) -> None:
    _apply(empty_database)
    groups, access = _state(empty_database)
    assert groups == [(name, False, False, False, False, False) for name in GROUPS]
    owner = empty_database.urls["admin"].username
    expected = dict.fromkeys(GROUPS, "c") | {"timeline_owner": "Cc", "timeline_writer": "Tc", owner: "CTc"}
    assert access == sorted(f"{name}={rights}/{owner}" for name, rights in expected.items())


def test_kinds_of_readers_have_what_their_wider_group_has(empty_database: Database) -> None:
    _apply(empty_database)
    with empty_database.connect("admin") as connection:
        memberships = connection.execute(
            "SELECT m.roleid::regrole::text, m.member::regrole::text FROM pg_auth_members m "
            "WHERE m.roleid::regrole::text = ANY (%(groups)s) AND m.member::regrole::text = ANY (%(groups)s) "
            "ORDER BY 2",
            {"groups": GROUPS},
        ).fetchall()
    assert memberships == [
        ("timeline_tenant", "timeline_project_reader"),
        ("timeline_tenant", "timeline_scope_reader"),
        ("timeline_provider", "timeline_security"),
    ]


def test_running_again_changes_nothing(empty_database: Database) -> None:
    _apply(empty_database)
    before = _state(empty_database)
    _apply(empty_database)
    assert _state(empty_database) == before


def test_several_at_once_in_several_databases_of_a_new_cluster() -> None:
    with TemporaryDirectory() as folder, EmbeddedPostgres(Path(folder) / "postgresql", durable=False) as server:
        databases = [Database({"admin": server.url("postgres", name)}) for name in ("postgres", "one", "two")]
        with databases[0].connect("admin") as connection:
            connection.autocommit = True
            connection.execute("CREATE DATABASE one")
            connection.execute("CREATE DATABASE two")
        with ThreadPoolExecutor(9) as pool:
            list(pool.map(_apply, databases * 3))
        assert {len(_state(database)[0]) for database in databases} == {len(GROUPS)}


@pytest.fixture
def helpless(postgres: Postgres, empty_database: Database) -> Iterator[Database]:
    """The way in of a login that may connect, and nothing else."""
    _apply(empty_database)
    name, password = f"test_{secrets.token_hex(6)}", secrets.token_hex(8)
    database = empty_database.urls["admin"].database
    with postgres.making() as maker:
        maker.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(sql.Identifier(name), sql.Literal(password)))
        maker.execute(sql.SQL("GRANT CONNECT ON DATABASE {} TO {}").format(*map(sql.Identifier, (database, name))))
    postgres.logins.append(name)
    return Database({"admin": empty_database.urls["admin"].set(username=name, password=password)})


def test_a_login_that_may_not_is_told_what_an_administrator_must_do(helpless: Database) -> None:
    with pytest.raises(DatabaseError, match="cannot be set up by test_") as caught:
        _apply(helpless)
    groups = "timeline_owner, timeline_writer, timeline_provider, timeline_security"
    assert f"GRANT {groups} TO {helpless.urls['admin'].username}" in caught.value.remedy


def test_a_login_to_which_an_administrator_gave_everything_needs_no_right_of_its_own(
    helpless: Database, empty_database: Database
) -> None:
    with empty_database.connect("admin") as connection:
        connection.execute(
            sql.SQL("GRANT timeline_owner, timeline_writer, timeline_provider, timeline_security TO {}").format(
                sql.Identifier(helpless.urls["admin"].username)
            )
        )
    before = _state(empty_database)
    _apply(helpless)
    assert _state(empty_database)[0] == before[0]


def test_a_group_that_could_undo_isolation_is_refused(empty_database: Database) -> None:
    _apply(empty_database)
    with empty_database.connect("admin") as connection:
        connection.execute("ALTER ROLE timeline_tenant LOGIN")
    try:
        with pytest.raises(DatabaseError, match="timeline_tenant can log in or has rights") as caught:
            _apply(empty_database)
        assert caught.value.remedy.startswith("ALTER ROLE timeline_tenant NOLOGIN")
    finally:
        with empty_database.connect("admin") as connection:
            connection.execute("ALTER ROLE timeline_tenant NOLOGIN")


def test_nobody_owns_tables_but_the_owner(database: Database) -> None:
    with database.connect("admin") as connection:
        others = connection.execute(
            "SELECT c.oid::regclass::text, c.relowner::regrole::text FROM pg_class c "
            "JOIN pg_namespace n ON n.oid = c.relnamespace "
            "WHERE n.nspname !~ '^(pg_|information_schema)' AND c.relowner <> 'timeline_owner'::regrole"
        ).fetchall()
    assert others == []


def test_a_login_of_a_group_has_only_that_group(login: Login, database: Database) -> None:
    with psycopg.connect(login("timeline_project_reader").render_as_string(hide_password=False)) as connection:
        assert connection.execute("SELECT count(*) FROM timeline.tenant_events").fetchone() == (0,)
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("SELECT FROM timeline.events")
