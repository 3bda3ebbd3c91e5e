"""Who may do what in the cluster: the group roles of `sql/roles.sql`, and the logins of the embedded server."""

from __future__ import annotations

import hashlib
import time

import psycopg
from psycopg import sql

from timeline_assets.errors import DatabaseError
from timeline_assets.store.embedded import LOGINS, SUPERUSER, EmbeddedPostgres
from timeline_assets.store.files import SQL

# the logins of the embedded server, and the groups whose rights they have
MEMBERSHIPS = {
    "timeline_pipeline": "timeline_writer",
    "timeline_reader": "timeline_provider",
    "timeline_operator": "timeline_security",
}

# the databases of the embedded server, and who owns them
DATABASES = {"timeline": "timeline_admin", "dagster": "timeline_dagster"}

TRIES = 10


def apply_roles(connection: psycopg.Connection) -> None:
    """Run `sql/roles.sql` in the connection's database. It may be run again at any time, by several processes.

    The file holds its own transaction; the connection is in autocommit mode afterwards.

    Raises:
        DatabaseError: the login may not create roles, or does not own the database, or a role of that name is unsafe.
    """
    text = (SQL / "roles.sql").read_bytes()
    connection.autocommit = True
    for attempt in range(1, TRIES + 1):
        try:
            connection.execute(text)
            return
        except psycopg.errors.InternalError_:
            # two databases of one cluster touched the same role: "tuple concurrently updated"
            if attempt == TRIES:
                raise
            connection.rollback()
            time.sleep(0.05 * attempt)
        except (psycopg.errors.InsufficientPrivilege, psycopg.errors.RaiseException) as error:
            who = connection.info.user
            raise DatabaseError(
                f"The roles of timeline_assets cannot be set up by {who}: {error.diag.message_primary}",
                remedy=error.diag.message_hint
                or f"let an administrator run ALTER ROLE {who} CREATEROLE, or else sql/roles.sql in that database and "
                f"GRANT timeline_owner, timeline_writer, timeline_provider, timeline_security TO {who}",
            ) from error


def prepare_cluster(server: EmbeddedPostgres) -> None:
    """Give the embedded server its logins, its databases and the group roles, unless this release has done so."""
    release = hashlib.sha256((SQL / "roles.sql").read_bytes() + repr((LOGINS, MEMBERSHIPS, DATABASES)).encode())
    marker = server.folder / "prepared"
    if marker.exists() and marker.read_text() == release.hexdigest():
        return
    with _connect(server, SUPERUSER, "postgres") as connection:
        connection.execute("SELECT pg_advisory_lock(hashtext('timeline_assets cluster'))")
        _create_logins(connection, server)
        _create_databases(connection)
        with _connect(server, "timeline_admin", "timeline") as admin:
            apply_roles(admin)
            for login, group in MEMBERSHIPS.items():
                admin.execute(sql.SQL("GRANT {} TO {}").format(sql.Identifier(group), sql.Identifier(login)))
    server.note("prepared", release.hexdigest())


def _connect(server: EmbeddedPostgres, login: str, database: str) -> psycopg.Connection:
    return psycopg.connect(server.url(login, database).render_as_string(hide_password=False), autocommit=True)


def _create_logins(connection: psycopg.Connection, server: EmbeddedPostgres) -> None:
    for login in LOGINS:
        name = sql.Identifier(login)
        if not connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [login]).rowcount:
            connection.execute(sql.SQL("CREATE ROLE {} LOGIN").format(name))
        # hashed here, so that the password itself is never part of a statement
        verifier = connection.pgconn.encrypt_password(
            server.password(login).encode(), login.encode(), b"scram-sha-256"
        ).decode()
        connection.execute(sql.SQL("ALTER ROLE {} PASSWORD {}").format(name, sql.Literal(verifier)))
    connection.execute("ALTER ROLE timeline_admin CREATEROLE")


def _create_databases(connection: psycopg.Connection) -> None:
    for database, owner in DATABASES.items():
        if not connection.execute("SELECT FROM pg_database WHERE datname = %s", [database]).rowcount:
            connection.execute(
                sql.SQL("CREATE DATABASE {} OWNER {}").format(sql.Identifier(database), sql.Identifier(owner))
            )
    for database in (*DATABASES, "postgres", "template1"):
        connection.execute(sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(database)))
