"""Forward-only migrations: numbered SQL files, each applied once, in one transaction, as `timeline_owner`.

`timeline_meta.migrations` says what was applied and what the file then held. A file that was applied is never edited:
what must change is the next file.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import psycopg

from timeline_assets.errors import DatabaseError
from timeline_assets.store.database import Database
from timeline_assets.store.files import migration_files
from timeline_assets.store.roles import apply_roles

NAME = re.compile(r"(\d{4})_([a-z0-9_]+)\.sql")

LOCK = "SELECT pg_advisory_lock(hashtext('timeline_assets migrations'))"
UNLOCK = "SELECT pg_advisory_unlock(hashtext('timeline_assets migrations'))"

RECORD = """
CREATE SCHEMA IF NOT EXISTS timeline_meta;
COMMENT ON SCHEMA timeline_meta IS 'What the database knows of itself: the migrations it has been through.';
CREATE TABLE IF NOT EXISTS timeline_meta.migrations (
    number int PRIMARY KEY,
    name text NOT NULL,
    sha256 text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE timeline_meta.migrations IS 'One applied migration: its number, name and the hash of what was run.';
GRANT USAGE ON SCHEMA timeline_meta TO timeline_writer, timeline_provider;
GRANT SELECT ON timeline_meta.migrations TO timeline_writer, timeline_provider;
"""


@dataclass(frozen=True)
class Migration:
    """One file of `sql/migrations`: its number, its name, and what it holds."""

    number: int
    name: str
    text: str

    @property
    def sha256(self) -> str:
        """The hash by which an edited file is noticed."""
        return hashlib.sha256(self.text.encode()).hexdigest()


def migrate(database: Database) -> list[Migration]:
    """Set up the roles and apply what is pending; returns what was applied, in order.

    Safe to run again and by several processes at once: one works, the others wait and find nothing to do. A migration
    that fails leaves the database as the one before it left it.

    Raises:
        DatabaseError: the login lacks a right, a migration fails, or files and database do not fit each other.
    """
    migrations = read_migrations()
    with database.connect("admin") as connection:
        apply_roles(connection)
        connection.execute(LOCK)
        try:
            connection.execute("SET ROLE timeline_owner")
            connection.execute("SET client_min_messages = warning")
            with connection.transaction():
                connection.execute(RECORD)
            todo = _pending(migrations, _applied(connection))
            for migration in todo:
                _apply(connection, migration)
        finally:
            if not connection.broken:
                connection.execute(UNLOCK)
    return todo


def pending(database: Database) -> list[Migration]:
    """What `migrate` would apply.

    Raises:
        DatabaseError: files and database do not fit each other.
    """
    with database.connect("admin") as connection:
        is_new = connection.execute("SELECT to_regclass('timeline_meta.migrations') IS NULL").fetchone()[0]
        return _pending(read_migrations(), {} if is_new else _applied(connection))


def read_migrations(files: list[Path] | None = None) -> list[Migration]:
    """The migrations of this release, in order.

    Raises:
        DatabaseError: a file is misnamed, or the numbers do not run from 1 without a gap.
    """
    migrations = []
    for number, path in enumerate(migration_files() if files is None else files, start=1):
        match = NAME.fullmatch(path.name)
        if match is None or int(match[1]) != number:
            raise DatabaseError(
                f"The migration {path.name} stands where {number:04d}_….sql is expected",
                remedy="Number the files of sql/migrations from 0001 without a gap, as 0001_name.sql",
            )
        migrations.append(Migration(number, match[2], path.read_text()))
    return migrations


def _applied(connection: psycopg.Connection) -> dict[int, tuple[str, str]]:
    rows = connection.execute("SELECT number, name, sha256 FROM timeline_meta.migrations ORDER BY number")
    return {number: (name, sha256) for number, name, sha256 in rows}


def _pending(migrations: list[Migration], applied: dict[int, tuple[str, str]]) -> list[Migration]:
    if applied and (newest := max(applied)) > len(migrations):
        raise DatabaseError(
            f"The database is at migration {newest:04d}, newer than this release, which knows {len(migrations):04d}",
            remedy="Run the release that migrated it, or a newer one",
        )
    for migration in migrations:
        name, sha256 = applied.get(migration.number, (migration.name, migration.sha256))
        if sha256 != migration.sha256:
            raise DatabaseError(
                f"The migration {migration.number:04d}_{migration.name}.sql is not what was applied "
                f"as {migration.number:04d}_{name}: it was edited afterwards",
                remedy="Restore the file as it was, and put the change into a new migration",
            )
    todo = [migration for migration in migrations if migration.number not in applied]
    if applied and todo and todo[0].number < max(applied):
        raise DatabaseError(
            f"The database has migration {max(applied):04d} but not {todo[0].number:04d}_{todo[0].name}",
            remedy="Restore the database from a backup: migrations are applied in order",
        )
    return todo


def _apply(connection: psycopg.Connection, migration: Migration) -> None:
    try:
        with connection.transaction():
            connection.execute(migration.text.encode())
            connection.execute(
                "INSERT INTO timeline_meta.migrations (number, name, sha256) VALUES (%s, %s, %s)",
                [migration.number, migration.name, migration.sha256],
            )
    except psycopg.Error as error:
        if connection.broken:
            raise
        raise DatabaseError(
            f"The migration {migration.number:04d}_{migration.name} failed and changed nothing: "
            f"{error.diag.message_primary}",
            remedy="The migrations before it are applied; mend the cause and migrate again",
        ) from error
