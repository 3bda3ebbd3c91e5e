"""Ways into the database: who one is there, and what one is told when there is no way."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import psycopg
import pytest
from sqlalchemy import URL

from timeline_assets.errors import ConfigurationError, DatabaseError
from timeline_assets.store import database as database_module
from timeline_assets.store.database import (
    Database,
    DatabaseUnreachable,
    open_database,
    parse_url,
    with_option,
)
from timeline_assets.store.migrate import migrate
from timeline_assets_tests.conftest import Postgres


@dataclass(frozen=True)
class Given:
    """The settings that the store reads."""

    state_dir: Path
    database_url: str | None = None
    dagster_database_url: str | None = None


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Database]:
    """The embedded default, as a first start makes it."""
    with open_database(Given(tmp_path / "state")) as database:
        migrate(database)
        yield database


def _identity(database: Database, role: str) -> tuple[str, ...]:
    with database.connect(role) as connection:
        return connection.execute(
            "SELECT session_user::text, current_user::text, current_database()::text, "
            "current_setting('is_superuser'), current_setting('application_name')"
        ).fetchone()


def _refuses(database: Database, role: str, statement: str) -> None:
    with pytest.raises(psycopg.errors.InsufficientPrivilege), database.connect(role) as connection:
        connection.execute(statement)


def test_the_embedded_default_has_a_login_for_each_role(opened: Database, tmp_path: Path) -> None:
    assert [_identity(opened, role) for role in ("admin", "pipeline", "provider", "dagster")] == [
        ("timeline_admin", "timeline_admin", "timeline", "off", "timeline admin"),
        ("timeline_pipeline", "timeline_pipeline", "timeline", "off", "timeline pipeline"),
        ("timeline_reader", "timeline_reader", "timeline", "off", "timeline provider"),
        ("timeline_dagster", "timeline_dagster", "dagster", "off", "timeline dagster"),
    ]
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700

    with open_database(Given(tmp_path / "state")) as second:
        assert second.url("pipeline") == opened.url("pipeline")
    assert _identity(opened, "pipeline")[0] == "timeline_pipeline"


def test_no_login_has_more_than_its_role(opened: Database) -> None:
    for role in ("pipeline", "provider"):
        _refuses(opened, role, "CREATE TABLE timeline.mine (n int)")
        _refuses(opened, role, "SET ROLE timeline_owner")
    _refuses(opened, "provider", "DELETE FROM timeline.events")
    _refuses(opened, "provider", "SET ROLE timeline_writer")
    _refuses(opened, "provider", "CREATE TEMPORARY TABLE mine (n int)")
    with opened.connect("pipeline") as connection:
        connection.execute("CREATE TEMPORARY TABLE mine (n int)")

    for login, elsewhere in (("dagster", "timeline"), ("pipeline", "dagster"), ("provider", "postgres")):
        url = opened.urls[login].set(database=elsewhere).render_as_string(hide_password=False)
        with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
            psycopg.connect(url)


def test_one_login_given_by_url_takes_on_the_role(empty_database: Database, tmp_path: Path) -> None:
    given = empty_database.libpq_url("admin")
    login, name = empty_database.urls["admin"].username, empty_database.urls["admin"].database
    with open_database(Given(tmp_path, given)) as opened:
        migrate(opened)
        assert [_identity(opened, role)[:3] for role in ("admin", "pipeline", "provider", "dagster")] == [
            (login, login, name),
            (login, "timeline_writer", name),
            (login, "timeline_provider", name),
            (login, login, name),
        ]
        _refuses(opened, "pipeline", "CREATE TABLE timeline.mine (n int)")
        _refuses(opened, "provider", "DELETE FROM timeline.events")
        with opened.connect("dagster") as connection:
            assert connection.execute("SELECT current_schema()").fetchone() == ("dagster",)
        assert opened.server is None


def test_dagster_goes_where_it_is_told(empty_database: Database, tmp_path: Path) -> None:
    given = empty_database.libpq_url("admin")
    with open_database(Given(tmp_path, given, "postgresql://d:pw@elsewhere/runs")) as opened:
        assert opened.url("dagster") == "postgresql+psycopg2://d:pw@elsewhere/runs"
        with opened.connect("admin") as connection:
            assert connection.execute("SELECT to_regnamespace('dagster')").fetchone() == (None,)


def test_urls_name_the_driver_that_works() -> None:
    url = URL.create("postgresql", "u", "p@ss/word", "h", 5433, "d")
    database = Database({"admin": url, "dagster": url})
    assert database.url("admin") == "postgresql+psycopg://u:p%40ss%2Fword@h:5433/d"
    assert database.url("dagster") == "postgresql+psycopg2://u:p%40ss%2Fword@h:5433/d"
    assert database.libpq_url("admin") == "postgresql://u:p%40ss%2Fword@h:5433/d"


def test_an_option_is_added_to_those_given() -> None:
    url = parse_url("postgres://u@h/d?options=-cstatement_timeout%3D5s&sslmode=require", "X")
    assert with_option(url, "role", "timeline_writer").query == {
        "options": "-cstatement_timeout=5s -crole=timeline_writer",
        "sslmode": "require",
    }


@pytest.mark.parametrize(
    "text", ["", "nonsense", "mysql://u:hush@h/d", "postgresql://u:hush@h", "postgresql://u:hush@h:x/d"]
)
def test_a_malformed_url_is_named_by_its_setting_and_not_shown(text: str) -> None:
    with pytest.raises(ConfigurationError, match="TIMELINE_DATABASE_URL") as caught:
        parse_url(text, "TIMELINE_DATABASE_URL")
    assert "hush" not in str(caught.value) + caught.value.remedy


def test_a_wrong_password_is_said_and_not_shown(empty_database: Database, tmp_path: Path) -> None:
    url = empty_database.urls["admin"].set(password="hush-hush")
    with pytest.raises(DatabaseError, match=f"refuses {url.username}.*password authentication failed") as caught:
        open_database(Given(tmp_path, url.render_as_string(hide_password=False)))
    assert not isinstance(caught.value, DatabaseUnreachable)
    assert "hush" not in str(caught.value)
    assert "TIMELINE_DATABASE_URL" in caught.value.remedy


def test_an_unknown_database_is_said(empty_database: Database) -> None:
    url = empty_database.urls["admin"].set(database="nowhere")
    with pytest.raises(DatabaseError, match=r"nowhere on .* refuses"), Database({"admin": url}).connect("admin"):
        pass


def test_an_unreachable_server_is_named() -> None:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        database = Database({"admin": URL.create("postgresql", "u", "hush", "127.0.0.1", port, "d")})
        expected = rf"The database d on 127\.0\.0\.1:{port} does not answer"
        with pytest.raises(DatabaseUnreachable, match=expected) as caught, database.connect("admin"):
            pass
        assert "hush" not in str(caught.value)


def test_a_server_that_goes_away_is_unreachable(database: Database, postgres: Postgres) -> None:
    with pytest.raises(DatabaseUnreachable), database.connect("pipeline") as connection:
        _end(postgres, connection.info.backend_pid)
        connection.execute("SELECT 1")


def _end(postgres: Postgres, backend: int) -> None:
    with postgres.making() as maker:
        maker.execute("SELECT pg_terminate_backend(%s, 10000)", [backend])


def test_what_the_caller_did_wrong_stays_his(database: Database) -> None:
    with pytest.raises(psycopg.errors.UndefinedTable), database.connect("pipeline") as connection:
        connection.execute("SELECT FROM nowhere")


def test_a_connection_commits_or_rolls_back(database: Database) -> None:
    insert = "INSERT INTO timeline.tenant_coverage VALUES ('c', %s, now(), now(), 'open')"
    with database.connect("pipeline") as connection:
        connection.execute(insert, ["kept"])
    with pytest.raises(ValueError, match="stop"), database.connect("pipeline") as connection:
        connection.execute(insert, ["lost"])
        raise ValueError("stop")
    with database.connect("pipeline") as connection:
        assert connection.execute("SELECT service FROM timeline.tenant_coverage").fetchall() == [("kept",)]


def test_a_full_disk_is_said() -> None:
    url = URL.create("postgresql", "u", "p", "h", 5432, "d")
    error = database_module._explain(
        psycopg.errors.DiskFull("could not extend file"), url, is_connected=True, is_broken=False
    )
    assert str(error) == "The database d on h:5432 has no disk space left"
    assert "Free space" in error.remedy


@pytest.mark.parametrize("password", ["hush", "e", "(", "h.s"])
def test_a_password_that_the_server_repeats_is_not_shown(password: str) -> None:
    url = URL.create("postgresql", "u", password, "h", 5432, "d")
    error = database_module._explain(
        psycopg.OperationalError(f"no {password}\nhere"), url, is_connected=False, is_broken=False
    )
    assert str(error) == "The database d on h:5432 does not answer: no *** here"


def test_an_old_server_is_refused() -> None:
    connection = SimpleNamespace(info=SimpleNamespace(server_version=140012))
    with pytest.raises(DatabaseError, match="runs PostgreSQL 14; timeline_assets needs 15 or newer"):
        database_module._require_version(connection, URL.create("postgresql", database="d", host="h"))
