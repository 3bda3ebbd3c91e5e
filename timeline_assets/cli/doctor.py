"""``timeline doctor``: does everything work, and if not, what to do."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from timeline_assets.cli.app import command, settings_of
from timeline_assets.cli.output import coloured, console, json_document, text
from timeline_assets.config import CloudSettings, Settings
from timeline_assets.errors import ConfigurationError, SourceError, TimelineError

LEAST_FREE_BYTES, LITTLE_FREE_BYTES = 1_000_000_000, 5_000_000_000
MOST_SKEW_SECONDS = 5.0


class Verdict(StrEnum):
    """How a check ended."""

    FINE = "fine"
    LOOK = "look"
    BROKEN = "broken"


MARKS = {Verdict.FINE: ("✓", "green"), Verdict.LOOK: ("!", "yellow"), Verdict.BROKEN: ("✗", "bold red")}


@dataclass(frozen=True)
class Finding:
    """One check: of what, how it ended, what was found, what to do."""

    what: str
    verdict: Verdict
    found: str
    remedy: str = ""


@command()
def doctor(
    context: typer.Context,
    cloud: Annotated[str | None, typer.Option("--cloud", metavar="NAME", help="Of the clouds only this one.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For a program: JSON instead of lines.")] = False,
) -> None:
    """Checks the configuration, the database, and what each cloud lets us read, and says what to do.

    Each source is asked once, as a harvest would; nothing is stored. Exit code 1 if something is broken.

    [dim]$[/] timeline doctor
    [dim]$[/] timeline doctor --cloud north
    """
    # what it warns of is a finding here
    logging.getLogger("keystoneauth").setLevel(logging.CRITICAL)
    findings = []
    for finding in examine(settings_of(context), cloud):
        findings.append(finding)
        if not as_json:
            _show(finding)
    if as_json:
        json_document([vars(finding) for finding in findings])
    if any(finding.verdict is Verdict.BROKEN for finding in findings):
        raise typer.Exit(1)


def examine(settings: Settings, only: str | None = None) -> Iterator[Finding]:
    """All checks, one after the other; one that fails does not end the others."""
    chosen = [settings.cloud(only)] if only else list(settings.clouds)
    yield from _guarded("configuration", lambda: _configuration(settings))
    yield from _guarded("state", lambda: _state(settings))
    yield from _guarded("database", lambda: _database(settings))
    yield from _guarded("running", lambda: _running(settings))
    for each in chosen:
        yield from _guarded(f"cloud {each.name}", lambda each=each: _cloud(settings, each))


def _guarded(what: str, checks: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from checks()
    except TimelineError as error:
        yield Finding(what, Verdict.BROKEN, _besides(what, str(error)), error.remedy)
    except OSError as error:
        yield Finding(what, Verdict.BROKEN, str(error), "See that this user may use it.")


def _besides(what: str, said: str) -> str:
    """What an error says, without repeating of what."""
    return said.removeprefix("cloud ").removeprefix(f"{what.removeprefix('cloud ')}: ")


def _configuration(settings: Settings) -> Iterator[Finding]:
    from timeline_assets.sources import named

    for cloud in settings.clouds:
        for name in cloud.sources or ():
            named(name)
    usable = [cloud for cloud in settings.clouds if _is_described(cloud)]
    if usable:
        what = ", ".join("the recorded demo" if cloud.is_demo else cloud.name for cloud in usable)
        yield Finding("configuration", Verdict.FINE, what)


def _is_described(cloud: CloudSettings) -> bool:
    """Whether clouds.yaml describes it; where it does not, its own check says so."""
    from timeline_assets.sources.openstack import connect

    try:
        if not cloud.is_demo:
            connect(cloud).close()
    except ConfigurationError:
        return False
    return True


def _state(settings: Settings) -> Iterator[Finding]:
    folder = settings.state_dir
    there = next(path for path in (folder, *folder.parents) if path.exists())
    if not _is_writable(there):
        remedy = "Run as the user who owns it, or set TIMELINE_HOME to a folder that this user can write."
        yield Finding("state", Verdict.BROKEN, f"{there} cannot be written", remedy)
        return
    free = shutil.disk_usage(there).free
    found = f"{folder}, {free / 1e9:.0f} GB free"
    if free < LEAST_FREE_BYTES:
        yield Finding("state", Verdict.BROKEN, found, "Free space: a full disk makes every window a gap.")
    elif free < LITTLE_FREE_BYTES:
        yield Finding("state", Verdict.LOOK, found, "Free space soon, or keep less: [retention] in the configuration.")
    elif folder.exists() and folder.stat().st_mode & 0o077:
        yield Finding("state", Verdict.LOOK, f"{folder} can be entered by others", f"chmod 700 {folder}")
    else:
        yield Finding("state", Verdict.FINE, found)


def _is_writable(folder: Path) -> bool:
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def _database(settings: Settings) -> Iterator[Finding]:
    from timeline_assets.store.database import open_database
    from timeline_assets.store.migrate import pending

    if settings.database_url is None and not (settings.state_dir / "postgresql" / "data").exists():
        yield Finding("database", Verdict.LOOK, "embedded, not made yet", "The first `timeline up` makes it.")
        return
    with open_database(settings) as database:
        with database.connect("admin") as connection:
            version = connection.info.parameter_status("server_version")
            size = connection.execute("select pg_database_size(current_database())").fetchone()[0]
        kind = "embedded" if database.server else "by TIMELINE_DATABASE_URL"
        yield Finding("database", Verdict.FINE, f"PostgreSQL {version.split()[0]}, {kind}, {size / 1e6:,.0f} MB")
        waiting = pending(database)
        if waiting:
            found = f"{len(waiting)} migrations are not applied yet"
            yield Finding("tables", Verdict.LOOK, found, "timeline up applies them, or: timeline db migrate")
            return
        yield Finding("tables", Verdict.FINE, "up to date")
        for role in ("pipeline", "provider", "dagster"):
            yield from _guarded(f"role {role}", lambda role=role: _role(database, role))


def _role(database, role: str) -> Iterator[Finding]:
    with database.connect(role) as connection:
        if role == "dagster":
            connection.execute("select 1")
            return
        privilege = "INSERT" if role == "pipeline" else "SELECT"
        may, is_free = connection.execute(
            """select has_table_privilege('timeline.events', %s),
                (select rolsuper or rolbypassrls from pg_roles where rolname = current_user)""",
            [privilege],
        ).fetchone()
    if not may:
        yield Finding(f"role {role}", Verdict.BROKEN, f"may not {privilege} on timeline.events", "timeline db migrate")
    if is_free:
        found = "is a superuser or bypasses row security: its rights bind nothing"
        yield Finding(f"role {role}", Verdict.BROKEN, found, "Use a login that owns the database and is no superuser.")


def _running(settings: Settings) -> Iterator[Finding]:
    from timeline_assets.up import running

    up = running(settings)
    if up:
        yield Finding("running", Verdict.FINE, f"process {up.pid}, {up.url or 'still starting'}")
    else:
        yield Finding("running", Verdict.LOOK, "nothing is being harvested", "Start it: timeline up")


def _cloud(settings: Settings, cloud: CloudSettings) -> Iterator[Finding]:
    from timeline_assets.cli.run import demo_answering
    from timeline_assets.demo import play as plays
    from timeline_assets.demo.client import place
    from timeline_assets.sources.openstack import connect, reader
    from timeline_assets.wiring.build import sources_of

    what = f"cloud {cloud.name}"
    if cloud.is_demo and plays.load(settings) is None:
        # its first question sets the recording's clock: that is for `timeline up` to ask
        yield Finding(what, Verdict.LOOK, "the recorded demo, not begun yet", "The first `timeline up` begins it.")
        return
    with contextlib.ExitStack() as stack:
        stack.enter_context(demo_answering(settings))
        config = place(settings).config if cloud.is_demo else None
        connection = stack.enter_context(contextlib.closing(connect(cloud, config=config)))
        scope = reader(connection, cloud, "doctor").scope()
        roles = ", ".join(sorted(scope.roles)) or "no role"
        of = "the whole system" if scope.is_system else f"project {scope.project_id}"
        yield Finding(what, Verdict.FINE, f"logged in with {roles} on {of}")
        failures: dict[tuple[str, str], list[str]] = defaultdict(list)
        said: dict[tuple[str, str], str] = {}
        answered, requests, skew = 0, 0, None
        for source in sources_of(settings, cloud.name):
            one = reader(connection, cloud, source.name)
            try:
                _ask(source, one)
                answered += 1
            except SourceError as error:
                failures[error.code, error.remedy].append(source.name)
                said.setdefault((error.code, error.remedy), str(error))
            requests += one.requests
            skew = one.clock_skew_seconds if one.clock_skew_seconds is not None else skew
        for (code, remedy), names in failures.items():
            yield Finding(
                what, Verdict.BROKEN, f"{code}: {_besides(what, said[code, remedy])} ({', '.join(names)})", remedy
            )
        if answered:
            yield Finding(what, Verdict.FINE, f"{answered} sources answer, {requests} requests")
        if skew is not None and abs(skew) > MOST_SKEW_SECONDS and not cloud.is_demo:
            ahead = "ahead of" if skew > 0 else "behind"
            remedy = "Times of events are the cloud's. Set both clocks by NTP."
            yield Finding(what, Verdict.LOOK, f"its clock is {abs(skew):.0f} s {ahead} ours", remedy)


def _ask(source, reader) -> None:
    """One reading of the last minute; raises :class:`SourceError` for what would be a gap."""
    from timeline_assets.sources.base import Span
    from timeline_assets.sources.openstack import CODES

    now = datetime.now(UTC)
    fetched = source.fetch(reader, Span(now - timedelta(minutes=1), now, now, True))
    for _ in fetched.records:
        pass
    if fetched.gap:
        raise SourceError(fetched.gap_detail or fetched.gap, code=fetched.gap, remedy=CODES.get(fetched.gap, ""))


def _show(finding: Finding) -> None:
    out = console()
    mark, style = MARKS[finding.verdict]
    out.print(coloured(mark, style), end=" ")
    out.print(f"{finding.what:<15} {text(finding.found)}", markup=False)
    if finding.remedy:
        out.print(f"{'':18}→ {text(finding.remedy)}", markup=False)
