"""The database, whoever runs it: where it is, as whom to connect, and what to say when it cannot be reached.

Without a URL it is the embedded server, with a login for each role. With `TIMELINE_DATABASE_URL` it is that server's
one login, which takes on the role's group when it connects, so that the pipeline has the writer's rights and no more on
either. Dagster's own storage has a database of its own on the embedded server; with a URL it is the schema `dagster` of
the same database, or whatever `TIMELINE_DAGSTER_DATABASE_URL` names.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, Self

import psycopg
import sqlalchemy
from psycopg import sql
from sqlalchemy import URL

from timeline_assets.errors import ConfigurationError, DatabaseError
from timeline_assets.store.embedded import EmbeddedPostgres
from timeline_assets.store.roles import prepare_cluster

Role = Literal["admin", "pipeline", "provider", "security", "dagster"]

OLDEST_VERSION = 150000
CONNECT_SECONDS = 10
DAGSTER_SCHEMA = "dagster"

EMBEDDED_LOGINS: Mapping[Role, tuple[str, str]] = {
    "admin": ("timeline_admin", "timeline"),
    "pipeline": ("timeline_pipeline", "timeline"),
    "provider": ("timeline_reader", "timeline"),
    "security": ("timeline_operator", "timeline"),
    "dagster": ("timeline_dagster", "dagster"),
}
GROUPS: Mapping[Role, str] = {
    "pipeline": "timeline_writer",
    "provider": "timeline_provider",
    "security": "timeline_security",
}


class DatabaseUnreachable(DatabaseError):
    """The database does not answer or went away; the same may succeed later."""


class Settings(Protocol):
    """What the store reads of the configuration."""

    @property
    def state_dir(self) -> Path: ...
    @property
    def database_url(self) -> str | None: ...
    @property
    def dagster_database_url(self) -> str | None: ...


@dataclass
class Database:
    """One database and the ways into it.

    Attributes:
        urls: a URL per role, without a driver.
        server: the embedded server, if it is ours; `close` leaves it.
    """

    urls: Mapping[Role, URL]
    server: EmbeddedPostgres | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def url(self, role: Role) -> str:
        """The role's URL with its password, for SQLAlchemy.

        Dagster's storage works with psycopg 2 only: a plain `postgresql://` would mean psycopg 3 to SQLAlchemy.
        """
        driver = "psycopg2" if role == "dagster" else "psycopg"
        return self.urls[role].set(drivername=f"postgresql+{driver}").render_as_string(hide_password=False)

    def libpq_url(self, role: Role) -> str:
        """The role's URL with its password, for psql and everything else that is not SQLAlchemy."""
        return self.urls[role].render_as_string(hide_password=False)

    @contextlib.contextmanager
    def connect(self, role: Role) -> Iterator[psycopg.Connection]:
        """A psycopg connection: commits when the block ends, rolls back when it raises, and closes.

        Raises:
            DatabaseUnreachable: the server does not answer, or went away inside the block.
            DatabaseError: it refuses us, or its disk is full.
        """
        url = self.urls[role]
        with _explained(url):
            connection = psycopg.connect(self.libpq_url(role), **self._arguments(role))
        with _explained(url, connection), connection:
            yield connection

    def close(self) -> None:
        """Leave the embedded server; its last user stops it."""
        if self.server:
            self.server.stop()

    def _arguments(self, role: Role) -> dict[str, object]:
        return {"connect_timeout": CONNECT_SECONDS, "application_name": f"timeline {role}"}


def open_database(settings: Settings) -> Database:
    """The configured database, reachable and new enough; the embedded one is started, or joined if it runs.

    Close what is returned, or use it in a `with` block. Roles and tables are `migrate`'s work.

    Raises:
        ConfigurationError: a URL is malformed.
        DatabaseError: the database cannot be started or reached, or is older than PostgreSQL 15.
    """
    database = _given(settings) if settings.database_url else _embedded(settings.state_dir)
    try:
        if settings.dagster_database_url:
            dagster = parse_url(settings.dagster_database_url, "TIMELINE_DAGSTER_DATABASE_URL")
            database.urls = {**database.urls, "dagster": dagster}
        with database.connect("admin") as connection:
            _require_version(connection, database.urls["admin"])
            if settings.database_url and not settings.dagster_database_url:
                _make_dagster_schema(connection, database.urls["admin"])
    except BaseException:
        database.close()
        raise
    return database


def parse_url(text: str, name: str) -> URL:
    """A PostgreSQL URL as the configuration gives it, without its driver.

    Raises:
        ConfigurationError: it is none; the message names the setting and not its value, which holds a password.
    """
    try:
        url = sqlalchemy.make_url(text)
        is_postgres = url.get_backend_name() in ("postgresql", "postgres")
    except (sqlalchemy.exc.ArgumentError, ValueError):
        is_postgres = False
    if not is_postgres or not url.database:
        raise ConfigurationError(
            f"{name} is not the URL of a PostgreSQL database",
            remedy="Write it as postgresql://user:password@host:5432/database",
        )
    return url.set(drivername="postgresql")


def with_option(url: URL, name: str, value: str) -> URL:
    """The URL with a server setting that every connection starts with."""
    given = url.query.get("options", ())
    options = " ".join([given] if isinstance(given, str) else given)
    return url.update_query_dict({"options": f"{options} -c{name}={value}".strip()})


def _embedded(state_dir: Path) -> Database:
    folder = Path(state_dir)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise DatabaseError(
            f"The state folder {folder} cannot be made: {error.strerror}",
            remedy="Choose a folder that this user can write",
        ) from error
    server = EmbeddedPostgres(folder / "postgresql").start()
    try:
        with _explained(server.url("postgres", "postgres")):
            prepare_cluster(server)
        urls = {role: server.url(login, name) for role, (login, name) in EMBEDDED_LOGINS.items()}
    except BaseException:
        server.stop()
        raise
    return Database(urls, server)


def _given(settings: Settings) -> Database:
    url = parse_url(settings.database_url or "", "TIMELINE_DATABASE_URL")
    urls = {role: with_option(url, "role", group) for role, group in GROUPS.items()}
    return Database({**urls, "admin": url, "dagster": with_option(url, "search_path", DAGSTER_SCHEMA)})


def _require_version(connection: psycopg.Connection, url: URL) -> None:
    found = connection.info.server_version
    if found < OLDEST_VERSION:
        raise DatabaseError(
            f"{_place(url)} runs PostgreSQL {found // 10000}; timeline_assets needs 15 or newer",
            remedy="Upgrade it, or leave TIMELINE_DATABASE_URL unset to use the embedded server",
        )


def _make_dagster_schema(connection: psycopg.Connection, url: URL) -> None:
    try:
        # asked for first, so that a login that may not create schemas is content with one made for it
        if not connection.execute("SELECT to_regnamespace(%s)", [DAGSTER_SCHEMA]).fetchone()[0]:
            name = sql.Identifier(DAGSTER_SCHEMA)
            connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(name))
    except psycopg.errors.InsufficientPrivilege as error:
        raise DatabaseError(
            f"The login {url.username} may not create the schema {DAGSTER_SCHEMA} in {_place(url)}",
            remedy=f"Make it the owner: ALTER DATABASE {url.database} OWNER TO {url.username}",
        ) from error


# errors


def _place(url: URL) -> str:
    return f"The database {url.database} on {url.host or 'the local socket'}:{url.port or 5432}"


@contextlib.contextmanager
def _explained(url: URL, connection: psycopg.Connection | None = None) -> Iterator[None]:
    try:
        yield
    except psycopg.Error as error:
        explained = _explain(error, url, is_connected=connection is not None, is_broken=_is_broken(connection))
        if explained is None:
            raise
        raise explained from error


def _is_broken(connection: psycopg.Connection | None) -> bool:
    return connection is not None and connection.broken


def _explain(error: psycopg.Error, url: URL, *, is_connected: bool, is_broken: bool) -> DatabaseError | None:
    """The error as one that a person reads, or None if it is the caller's own affair."""
    if isinstance(error, psycopg.errors.DiskFull):
        return DatabaseError(f"{_place(url)} has no disk space left", remedy="Free space on its disk, then try again")
    if is_connected and not is_broken:
        return None
    said = _without_password(str(error), url)
    # refused while connecting, the state is not in the error's class but in what libpq repeats
    for pattern, remedy in REFUSALS.items():
        if pattern in said:
            return DatabaseError(f"{_place(url)} refuses {url.username or 'us'}: {said}", remedy=remedy)
    return DatabaseUnreachable(
        f"{_place(url)} does not answer: {said}",
        remedy="See that it runs and can be reached from here; then try again",
    )


REFUSALS = {
    "password authentication failed": "See user and password in TIMELINE_DATABASE_URL",
    "no password supplied": "Put the password into TIMELINE_DATABASE_URL, or into a password file",
    "no pg_hba.conf entry": "Let the server's pg_hba.conf accept this user from this machine",
    "does not exist": "Create it, or correct TIMELINE_DATABASE_URL",
    "permission denied": "Grant the login what is missing: timeline db migrate, run by the database's owner, does so",
    "is not permitted to log in": "ALTER ROLE … LOGIN, or use another user in TIMELINE_DATABASE_URL",
    "server does not support SSL": "Remove sslmode from TIMELINE_DATABASE_URL, or turn on SSL at the server",
    "invalid": "Correct TIMELINE_DATABASE_URL",
}


def _without_password(said: str, url: URL) -> str:
    said = " ".join(said.split())
    # as a word of its own: a short one is part of many words
    return re.sub(rf"(?<!\w){re.escape(str(url.password))}(?!\w)", "***", said) if url.password else said
