"""Logins for people: who may read what, granted and taken back.

A login reads the provider's view, or its own projects, subtrees of projects and domains. The scope is rows of
`access.grants` and `access.projects` bound to the login's name, read by the policies through `session_user`; the
login's group decides which policy (sql/migrations/0004): one project, or several projects and domains. No login is in
two groups.

What a subtree comes to is settled again whenever the topology learns of a project's parent.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import psycopg
from psycopg import sql

from timeline_assets.errors import ConfigurationError, DatabaseError
from timeline_assets.store.database import Database

Kind = Literal["provider", "security", "project", "subtree", "domain"]

GROUPS = ("timeline_provider", "timeline_security", "timeline_project_reader", "timeline_scope_reader")
NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
RESERVED = re.compile(r"pg_|timeline_|postgres$")

# What a reader's session begins with. It may change them: they spare the server, they protect nobody.
SESSION = {
    "default_transaction_read_only": "on",
    "statement_timeout": "60s",
    "idle_in_transaction_session_timeout": "5min",
    "search_path": "timeline",
}
CONNECTIONS = 10


@dataclass(frozen=True)
class Scope:
    """What a grant opens: everything (`provider`, `security`), or of one cloud, by its id, a project, a project with
    all below it (`subtree`), or a domain."""

    kind: Kind
    cloud: str | None = None
    id: str | None = None


def grant(database: Database, login: str, scopes: Sequence[Scope]) -> str | None:
    """Let `login` read `scopes` beside what it reads already; made with a random password if it is not there.

    Returns the password of a new login, which is kept nowhere; None for one that was there.

    Raises:
        ConfigurationError: the name cannot be used, or a provider's and a tenant's scope would be mixed.
        DatabaseError: we may not create or grant roles here.
    """
    _require_name(login)
    with database.connect("admin") as connection:
        try:
            with connection.transaction():
                _lock(connection)
                password = _make_login(connection, login)
                connection.execute("set local role timeline_owner")
                for scope in scopes:
                    connection.execute(
                        """insert into access.grants (login, kind, cloud, scope_id, granted_by)
                        values (%s, %s, %s, %s, session_user) on conflict do nothing""",
                        (login, scope.kind, scope.cloud, scope.id),
                    )
                _settle(connection, login)
        except psycopg.errors.InsufficientPrivilege as error:
            raise _refused(error, database) from error
    return password


def revoke(database: Database, login: str, scopes: Sequence[Scope] | None = None) -> int:
    """Take `scopes` (None: everything) from `login`; one that reads nothing any more can no longer log in.

    Returns how many grants were taken back. What a session in progress reads ends with its statement.

    Raises:
        ConfigurationError: no such grant is open; the message lists those that are.
    """
    with database.connect("admin") as connection:
        try:
            with connection.transaction():
                _lock(connection)
                connection.execute("set local role timeline_owner")
                held = grants(connection, login)
                taken = held if scopes is None else [scope for scope in held if scope in scopes]
                if not taken or (scopes is not None and len(taken) < len(set(scopes))):
                    has = ", ".join(f"{s.kind} {s.cloud}/{s.id}" if s.id else s.kind for s in held) or "nothing"
                    raise ConfigurationError(f"the login {login!r} does not hold that", remedy=f"It holds: {has}.")
                for scope in taken:
                    connection.execute(
                        """update access.grants set revoked_at = now(), revoked_by = session_user
                        where login = %s and revoked_at is null and kind = %s
                          and cloud is not distinct from %s and scope_id is not distinct from %s""",
                        (login, scope.kind, scope.cloud, scope.id),
                    )
                _settle(connection, login)
        except psycopg.errors.InsufficientPrivilege as error:
            raise _refused(error, database) from error
    return len(taken)


def grants(connection: psycopg.Connection, login: str) -> list[Scope]:
    """The open grants of a login, as the owner sees them."""
    rows = connection.execute(
        "select kind, cloud, scope_id from access.grants where login = %s and revoked_at is null order by 1, 2, 3",
        [login],
    )
    return [Scope(*row) for row in rows]


# A child that was deleted keeps its last parent: what it had is still read.
_SUBTREES = """
with recursive below as (
    select login, cloud, scope_id as project_id from access.grants
    where kind = 'subtree' and revoked_at is null and (%(login)s::text is null or login = %(login)s)
    union
    select b.login, b.cloud, e.from_id from below b join topology.edges e
        on e.to_id = b.project_id and e.relation = 'child_of' and e.cloud = b.cloud and e.from_type = 'project'
    where e.recorded_to is null and (e.valid_to is null or e.ending = 'gone')
), wanted as (
    select login, cloud, project_id from below
    union select login, cloud, scope_id from access.grants where kind = 'project' and revoked_at is null
), gone as (
    delete from access.projects p where p.login in (select login from below) and not exists (
        select from wanted w where (w.login, w.cloud, w.project_id) = (p.login, p.cloud, p.project_id))
)
insert into access.projects (login, cloud, project_id) select login, cloud, project_id from below
on conflict do nothing"""


def settle_subtrees(connection: psycopg.Connection) -> None:
    """What the open subtree grants come to by the topology as it is now; in the pipeline's transaction."""
    _lock(connection)
    connection.execute(_SUBTREES, {"login": None})


def _settle(connection: psycopg.Connection, login: str) -> None:
    """Make projects, groups and the right to log in what the open grants say."""
    held = grants(connection, login)
    kinds = {scope.kind for scope in held}
    if kinds & {"provider", "security"} and kinds & {"project", "subtree", "domain"}:
        raise ConfigurationError(
            f"the login {login!r} cannot be a tenant's and the provider's at once",
            remedy="Give the other scope to a login of its own.",
        )
    connection.execute("delete from access.projects where login = %s", [login])
    connection.execute(
        """insert into access.projects (login, cloud, project_id) select login, cloud, scope_id from access.grants
        where login = %s and kind = 'project' and revoked_at is null""",
        [login],
    )
    if "subtree" in kinds:
        connection.execute("set local role timeline_writer")  # the topology is not the owner's to read
        connection.execute(_SUBTREES, {"login": login})
    connection.execute("reset role")
    wanted = _group(held)
    name = sql.Identifier(login)
    for group in GROUPS:
        if group != wanted:
            connection.execute(sql.SQL("revoke {} from {}").format(sql.Identifier(group), name))
    if wanted:
        connection.execute(sql.SQL("grant {} to {}").format(sql.Identifier(wanted), name))
    connection.execute(sql.SQL("alter role {} {}").format(name, sql.SQL("login" if held else "nologin")))


def _group(held: Sequence[Scope]) -> str | None:
    kinds = [scope.kind for scope in held]
    if not kinds:
        return None
    if "security" in kinds:
        return "timeline_security"
    if "provider" in kinds:
        return "timeline_provider"
    return "timeline_project_reader" if kinds == ["project"] else "timeline_scope_reader"


def _make_login(connection: psycopg.Connection, login: str) -> str | None:
    name = sql.Identifier(login)
    found = connection.execute(
        """select rolsuper or rolbypassrls or rolcreaterole or rolcreatedb or rolreplication,
            exists (select from pg_auth_members m where m.member = r.oid and m.roleid::regrole::text <> all(%s))
        from pg_roles r where rolname = %s""",
        [list(GROUPS), login],
    ).fetchone()
    if found is not None:
        if any(found):
            raise ConfigurationError(
                f"the login {login!r} has rights beyond reading: as it is, its scope would bind nothing",
                remedy="Choose a new name; the login is made with the right to read and no other.",
            )
        return None
    password = secrets.token_urlsafe(24)
    # hashed here, so that the password itself is never part of a statement
    verifier = connection.pgconn.encrypt_password(password.encode(), login.encode(), b"scram-sha-256").decode()
    connection.execute(
        sql.SQL("create role {} login inherit connection limit {} password {}").format(
            name, sql.Literal(CONNECTIONS), sql.Literal(verifier)
        )
    )
    for setting, value in SESSION.items():
        connection.execute(
            sql.SQL("alter role {} set {} = {}").format(name, sql.Identifier(setting), sql.Literal(value))
        )
    return password


def _require_name(login: str) -> None:
    if not NAME.fullmatch(login) or RESERVED.match(login):
        raise ConfigurationError(
            f"{login!r} cannot be the name of a login",
            remedy="Use lower-case letters, digits and underscores; begin with a letter, not with pg_ or timeline_.",
        )


def _lock(connection: psycopg.Connection) -> None:
    connection.execute("select pg_advisory_xact_lock(hashtext('timeline_assets grants'))")


def _refused(error: psycopg.Error, database: Database) -> DatabaseError:
    who = database.urls["admin"].username
    return DatabaseError(
        f"{who} may not manage logins: {error.diag.message_primary}",
        remedy=f"Let an administrator run: ALTER ROLE {who} CREATEROLE; then: timeline db migrate",
    )
