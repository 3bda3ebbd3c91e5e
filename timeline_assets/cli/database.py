"""``timeline db …``: how to reach the database, its tables, and who may read it."""

from __future__ import annotations

import secrets
import shutil
import signal
import subprocess
from enum import StrEnum
from typing import Annotated

import typer

from timeline_assets.cli import names
from timeline_assets.cli.app import app, command, settings_of
from timeline_assets.cli.output import hint, say
from timeline_assets.cli.read import opened
from timeline_assets.config import inherited
from timeline_assets.errors import ConfigurationError, TimelineError
from timeline_assets.store import access
from timeline_assets.store.access import Scope
from timeline_assets.store.binaries import wheel_programs
from timeline_assets.store.database import Database, open_database
from timeline_assets.store.migrate import migrate

commands = typer.Typer(no_args_is_help=True, help="The database: its address, its tables, and who may read it.")
app.add_typer(commands, name="db")

ProjectsOption = Annotated[
    list[str] | None, typer.Option("--project", metavar="ID", help="A project: its id, its name, or DOMAIN/NAME.")
]
SubtreesOption = Annotated[
    list[str] | None,
    typer.Option("--subtree", metavar="ID", help="A project and all below it, those to come too; as --project."),
]
DomainsOption = Annotated[list[str] | None, typer.Option("--domain", metavar="ID", help="A whole domain, by its id.")]
ProviderOption = Annotated[bool, typer.Option("--provider", help="Everything, as the operator's analysts read it.")]
SecurityOption = Annotated[bool, typer.Option("--security", help="That, and what only the security team may see.")]
CloudOption = Annotated[
    str | None, typer.Option("--cloud", metavar="NAME", help="The cloud of --project, --subtree and --domain.")
]


class RoleName(StrEnum):
    """Whose rights a connection has."""

    SECURITY = "security"
    PROVIDER = "provider"
    PIPELINE = "pipeline"
    ADMIN = "admin"
    DAGSTER = "dagster"


ROLE_HELP = f"Whose rights: {', '.join(RoleName)}; provider reads everything and changes nothing."


@command(of=commands)
def url(
    context: typer.Context,
    role: Annotated[RoleName, typer.Option(metavar="ROLE", help=ROLE_HELP)] = RoleName.PROVIDER,
) -> None:
    """The database's address with its password, for psql, a notebook or a dashboard. Do not share it.

    [dim]$[/] psql "$(timeline db url)" -c 'select occurred_at, title from timeline.events order by 1 desc limit 10'
    [dim]$[/] python -c 'import polars as pl; print(pl.read_database_uri("select …", "…"))'
    """
    from timeline_assets.up import running

    settings = settings_of(context)
    with open_database(settings) as database:
        say(database.libpq_url(role.value))
    hint("It holds a password that opens every tenant's events. For a tenant: timeline db grant LOGIN --project ID")
    if settings.database_url is None and running(settings) is None:
        hint("The embedded database answers only while `timeline up` runs; it does not now.")


@command(of=commands, context_settings={"ignore_unknown_options": True})
def psql(
    context: typer.Context,
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="ARGUMENT", help="psql's own options and arguments.")
    ] = None,
    role: Annotated[RoleName, typer.Option(metavar="ROLE", help=ROLE_HELP)] = RoleName.PROVIDER,
) -> None:
    """PostgreSQL's own shell, with no password to type and nothing to install; further arguments are psql's.

    [dim]$[/] timeline db psql
    [dim]$[/] timeline db psql -c 'select occurred_at, title from timeline.events order by 1 desc limit 10'
    """
    program = _psql()
    with opened(settings_of(context)) as database:
        address = database.urls[role.value]
        environ = {"PGPASSWORD": str(address.password or ""), "PSQLRC": "/dev/null", "PGAPPNAME": "timeline db psql"}
        # a Ctrl-C ends psql's statement, not us
        before = signal.signal(signal.SIGINT, signal.SIG_IGN)
        try:
            where = address.set(drivername="postgresql", password=None).render_as_string(hide_password=False)
            code = subprocess.call([program, where, *(arguments or ())], env=inherited(settings_of(context), **environ))
        finally:
            signal.signal(signal.SIGINT, before)
    raise typer.Exit(code)


def _psql() -> str:
    """The psql of the embedded server's wheel, else the machine's own."""
    try:
        program = wheel_programs() / "psql"
    except TimelineError:
        program = None
    found = str(program) if program and program.exists() else shutil.which("psql")
    if found is None:
        raise TimelineError("there is no psql here", remedy="Install PostgreSQL's client, or use: timeline db url")
    return found


@command("migrate", of=commands)
def migrate_command(context: typer.Context) -> None:
    """Sets up the roles and brings the tables up to date. `timeline up` does it by itself.

    [dim]$[/] TIMELINE_DATABASE_URL=postgresql://… timeline db migrate
    """
    with open_database(settings_of(context)) as database:
        applied = migrate(database)
    for migration in applied:
        say(f"applied {migration.number:04d}_{migration.name}")
    if not applied:
        say("Up to date.")


@command(of=commands)
def grant(
    context: typer.Context,
    login: Annotated[
        str | None,
        typer.Argument(metavar="LOGIN", help="The login; a random name if left out, which tells others nothing."),
    ] = None,
    project: ProjectsOption = None,
    subtree: SubtreesOption = None,
    domain: DomainsOption = None,
    provider: ProviderOption = False,
    security: SecurityOption = False,
    cloud: CloudOption = None,
) -> None:
    """Lets a login read: its own projects or domains and nothing of anybody else's, or everything as the provider.

    A login that is not there is made; its password is shown this once and kept nowhere.

    [dim]$[/] timeline db grant --project acme/production
    [dim]$[/] timeline db grant --subtree acme/production
    [dim]$[/] timeline db grant analyst --provider
    """
    with opened(settings_of(context)) as database:
        scopes = _scopes(context, database, project, subtree, domain, provider, security, cloud)
        if not scopes:
            raise ConfigurationError(
                "nothing to grant",
                remedy="Say what the login may read: --project ID, --subtree ID, --domain ID or --provider.",
            )
        name = f"reader_{secrets.token_hex(4)}" if login is None else login
        password = access.grant(database, name, scopes)
        for scope in scopes:
            say(f"{name} reads {scope.kind}" + (f" {scope.id} of {scope.cloud}" if scope.id else ""))
        if password:
            mine = database.urls["provider"]
            address = mine.set(username=name, password=password, query={}).render_as_string(hide_password=False)
            say(f"\n{address}\n")
            hint("The password is shown this once and kept nowhere.")


@command(of=commands)
def revoke(
    context: typer.Context,
    login: Annotated[str, typer.Argument(metavar="LOGIN")],
    project: ProjectsOption = None,
    subtree: SubtreesOption = None,
    domain: DomainsOption = None,
    provider: ProviderOption = False,
    security: SecurityOption = False,
    cloud: CloudOption = None,
) -> None:
    """Takes back what a login may read; without options, everything, and then it can no longer log in.

    [dim]$[/] timeline db revoke reader_3f2a9c1e
    """
    with opened(settings_of(context)) as database:
        scopes = _scopes(context, database, project, subtree, domain, provider, security, cloud)
        taken = access.revoke(database, login, scopes or None)
    say(f"{taken} {'grant' if taken == 1 else 'grants'} of {login} taken back.")


def _scopes(
    context: typer.Context,
    database: Database,
    projects: list[str] | None,
    subtrees: list[str] | None,
    domains: list[str] | None,
    provider: bool,
    security: bool,
    cloud: str | None,
) -> list[Scope]:
    with database.connect("provider") as connection:
        scopes = [
            Scope(kind, named.cloud, named.id)
            for kind, given in (("project", projects), ("subtree", subtrees))
            for named in [names.project(connection, asked, cloud=cloud) for asked in given or ()]
        ]
    if domains:
        settings = settings_of(context)
        if cloud is None and len(settings.clouds) > 1:
            raise ConfigurationError("in which cloud is that domain?", remedy="Name it: --cloud NAME.")
        scopes += [Scope("domain", cloud or settings.clouds[0].name, id) for id in domains]
    return scopes + [Scope("provider")] * provider + [Scope("security")] * security
