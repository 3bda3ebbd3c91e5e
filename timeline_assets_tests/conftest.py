"""Fixtures for tests that need PostgreSQL: one embedded server a session, one fresh migrated database a test.

`TIMELINE_TEST_DATABASE_URL` runs the same tests on another server instead; its login needs CREATEDB and CREATEROLE and
is best no superuser.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest
from psycopg import sql
from sqlalchemy import URL

from timeline_assets.store.database import EMBEDDED_LOGINS, GROUPS, Database, parse_url, with_option
from timeline_assets.store.embedded import EmbeddedPostgres
from timeline_assets.store.migrate import migrate
from timeline_assets.store.roles import apply_roles, prepare_cluster

Login = Callable[..., URL]


@dataclass
class Postgres:
    """A server to make databases on; `maker` may create databases and roles."""

    maker: URL
    urls: Callable[[str], dict[str, URL]]
    logins: list[str] = field(default_factory=list)

    def database(self, name: str) -> Database:
        """The ways into the database of that name."""
        return Database(self.urls(name))

    @contextmanager
    def making(self) -> Iterator[psycopg.Connection]:
        with psycopg.connect(self.maker.render_as_string(hide_password=False), autocommit=True) as connection:
            yield connection

    def create(self, *, template: str | None = None) -> str:
        """A new database, empty or a copy of a template, owned as in real life; returns its name."""
        name = f"test_{secrets.token_hex(6)}"
        with self.making() as connection:
            connection.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}").format(
                    sql.Identifier(name),
                    sql.Identifier(template or "template0"),
                    sql.Identifier(self.urls(name)["admin"].username),
                )
            )
        if template:
            # a copy has the template's tables, but not the rights on the database itself
            admin = self.urls(name)["admin"].render_as_string(hide_password=False)
            with psycopg.connect(admin) as connection:
                apply_roles(connection)
        return name

    def drop(self, name: str) -> None:
        """Drop a database, whoever still uses it, then the logins that were made for it."""
        with self.making() as connection:
            connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
            while self.logins:
                connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(self.logins.pop())))


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """One PostgreSQL server for all tests, as fast as it is forgetful."""
    if given := os.environ.get("TIMELINE_TEST_DATABASE_URL"):
        maker = parse_url(given, "TIMELINE_TEST_DATABASE_URL")

        def given_urls(name: str) -> dict[str, URL]:
            url = maker.set(database=name)
            groups = {role: with_option(url, "role", group) for role, group in GROUPS.items()}
            return {**groups, "admin": url, "dagster": with_option(url, "search_path", "dagster")}

        yield Postgres(maker, given_urls)
        return

    folder = Path(tempfile.mkdtemp(prefix="timeline-test-"))
    try:
        with EmbeddedPostgres(folder / "postgresql", durable=False) as server:
            prepare_cluster(server)

            def embedded_urls(name: str) -> dict[str, URL]:
                return {role: server.url(login, name) for role, (login, _) in EMBEDDED_LOGINS.items()}

            yield Postgres(server.url("postgres", "postgres"), embedded_urls)
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="session")
def migrated_template(postgres: Postgres) -> Iterator[str]:
    """The name of a migrated database that nobody uses but as a template."""
    name = postgres.create()
    database = postgres.database(name)
    migrate(database)
    database.close()
    yield name
    postgres.drop(name)


@pytest.fixture
def empty_database(postgres: Postgres) -> Iterator[Database]:
    """A fresh database in which nothing was done yet."""
    name = postgres.create()
    database = postgres.database(name)
    yield database
    database.close()
    postgres.drop(name)


@pytest.fixture
def database(postgres: Postgres, migrated_template: str) -> Iterator[Database]:
    """A fresh migrated database; `database.connect(role)` for admin, pipeline and provider."""
    name = postgres.create(template=migrated_template)
    database = postgres.database(name)
    yield database
    database.close()
    postgres.drop(name)


@pytest.fixture
def login(postgres: Postgres, database: Database) -> Login:
    """Makes a login with the rights of the groups named: `login("timeline_project_reader")` gives its URL.

    The URL has no driver; `psycopg.connect(url.render_as_string(False))` connects. The login's name is `url.username`.
    """

    def make(*groups: str) -> URL:
        name, password = f"test_{secrets.token_hex(6)}", secrets.token_urlsafe(12)
        with database.connect("admin") as connection:
            role = sql.Identifier(name)
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD {}").format(role, sql.Literal(password)))
            for group in groups:
                connection.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(group), role))
        postgres.logins.append(name)
        return database.urls["admin"].set(username=name, password=password)

    return make
