"""`timeline up`: everything that a running timeline consists of, started in order and kept running.

The database (embedded, or the one that is configured), its roles and tables; the recorded cloud's server where it is
asked for; Dagster's code server, web server and daemon; the follower, which harvests what happens now. Each but the
database is a program of its own under :mod:`timeline_assets.supervise`.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import http.client
import json
import os
import re
import socket
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from timeline_assets.config import Settings, inherited
from timeline_assets.demo import client as recorded_cloud
from timeline_assets.errors import DatabaseError, TimelineError
from timeline_assets.pipeline import own_store
from timeline_assets.sources import named
from timeline_assets.sources.openstack import CODES, connect
from timeline_assets.store.database import Database, open_database
from timeline_assets.store.migrate import migrate
from timeline_assets.supervise import Program, Stopped, Supervisor

LOOK_SECONDS, NEWS_SECONDS = 0.5, 5.0
PORTS_TO_TRY = 50
LONGEST_SOCKET_PATH = 100  # the system's limit is 104 bytes on macOS and 108 on Linux

#: What Dagster's daemon warns of when there is nothing yet that it could have seen.
FIRST_START = re.compile("No cursor for event type .* ignoring older events")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Running:
    """A `timeline up` that runs now: its process, and where its web server answers (None while it is starting)."""

    pid: int | None = None
    started_at: str | None = None
    url: str | None = None


class AlreadyRunning(TimelineError):
    """A `timeline up` runs on this state folder."""

    def __init__(self, other: Running) -> None:
        where = f"its web server at {other.url}" if other.url else "still starting"
        who = f"process {other.pid}, since {other.started_at}, {where}" if other.pid else where
        super().__init__(
            f"timeline up already runs here: {who}",
            remedy="Use that one, or stop it first" + (f": kill {other.pid}" if other.pid else ""),
        )


def running(settings: Settings) -> Running | None:
    """The `timeline up` that runs on this state folder, if one does."""
    try:
        descriptor = os.open(_record(settings), os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read(descriptor)
    finally:
        os.close(descriptor)
    return None


def up(settings: Settings, say: Say) -> None:
    """Run until SIGINT, SIGTERM or SIGHUP; then everything that was started has stopped.

    Raises:
        AlreadyRunning: there is one on this state folder; it is named with its process and address.
        TimelineError: something could not be started; what was started has been stopped again.
    """
    # logs, raw files and whatever the programs write are nobody else's business
    os.umask(0o077)
    logs = settings.state_dir / "logs"
    with _alone(settings) as note:
        logs.mkdir(exist_ok=True)
        with Supervisor(logs, say) as supervisor, contextlib.ExitStack() as at_the_end:
            try:
                database = _start(settings, supervisor, at_the_end, note, say)
                news = News(database, say)
                while True:
                    supervisor.pause(LOOK_SECONDS)
                    supervisor.watch()
                    _keep_database(database, say)
                    news.look()
            except Stopped:
                say("\nStopping …")
        say("Stopped. The next start goes on where this one was.")


# starting


def _start(
    settings: Settings,
    supervisor: Supervisor,
    at_the_end: contextlib.ExitStack,
    note: Callable[[str | None], None],
    say: Say,
) -> Database:
    from timeline_assets.wiring.instance import instance_environment, instance_yaml  # noqa: PLC0415 - loads Dagster

    began = time.monotonic()
    _require_clouds(settings)
    # first: without it nothing of what is said would happen
    database = open_database(settings)
    # what is pushed last ends first: the programs, then their database
    at_the_end.callback(database.close)
    at_the_end.callback(supervisor.stop)
    say(_about(settings))
    with database.connect("admin") as connection:
        version = connection.info.parameter_status("server_version").split()[0]
    _step(say, "database", f"PostgreSQL {version}, {_place(settings, database)}")

    applied = migrate(database)
    _step(say, "tables", f"{len(applied)} migrations applied" if applied else "up to date")

    raw = own_store(settings, database)
    _step(say, "raw store", raw.url)

    home = settings.state_dir / "dagster"
    home.mkdir(exist_ok=True)
    _write(home / "dagster.yaml", instance_yaml(settings))
    environ = inherited(settings, DAGSTER_HOME=str(home), **instance_environment(database))
    port = _free_port(settings.web.host, settings.web.port)
    url = f"http://{_visible(settings.web.host)}:{port}"

    if any(cloud.is_demo for cloud in settings.clouds):
        replay = _python("timeline_assets.demo.server")
        supervisor.start(Program("recorded cloud", replay, environ, lambda: recorded_cloud.is_answering(settings)))
        _step(say, "recorded cloud", f"replayed at {recorded_cloud.place(settings).url}")

    code = _socket(settings.state_dir, at_the_end)
    # JSON is YAML
    server = {"grpc_server": {"socket": str(code), "location_name": "timeline_assets"}}
    _write(home / "workspace.yaml", json.dumps({"load_from": [server]}))
    supervisor.start(Program("code server", _code_server(code), environ, lambda: _accepts(code)))
    _step(say, "pipeline", f"{_count(len(settings.clouds), 'cloud')}: " + ", ".join(c.name for c in settings.clouds))

    supervisor.start(
        Program("web server", _web_server(home, settings.web.host, port), environ, lambda: _answers(url)),
        Program(
            "daemon",
            _python("dagster._daemon", "run", "--workspace", str(home / "workspace.yaml")),
            environ,
            harmless=FIRST_START,
        ),
        Program("follower", _python("timeline_assets.cli", "follow"), environ),
    )
    if port != settings.web.port and settings.web.port:
        _step(say, "web server", f"{url} (port {settings.web.port} is taken)")
    else:
        _step(say, "web server", url)
    note(url)
    say(f"\nRunning, after {time.monotonic() - began:.0f} seconds. Ctrl-C stops it.\n")
    say(_what_next(url))
    return database


def _require_clouds(settings: Settings) -> None:
    """Raise :class:`ConfigurationError` for a cloud that clouds.yaml does not describe, or a source that is none."""
    for cloud in settings.clouds:
        for name in cloud.sources or ():
            named(name)
        if not cloud.is_demo:
            connect(cloud).close()


def _about(settings: Settings) -> str:
    if not settings.is_demo:
        clouds = ", ".join(cloud.name for cloud in settings.clouds)
        return f"Starting the timeline of {clouds}; state in {settings.state_dir}"
    return (
        "This runs on the demo: a recording of a real OpenStack cloud at work, replayed on this machine.\n"
        f"Its state is in {settings.state_dir}. To follow your own cloud: OS_CLOUD=name ./timeline up"
    )


def _what_next(url: str) -> str:
    return "\n".join(
        f"  {command:<28}{what}"
        for command, what in (
            (url, "assets, runs, backfills: Dagster's own pages"),
            ("./timeline status", "how far each source is proven, and what is missing"),
            ("./timeline events", "the newest events"),
            ("./timeline explain ID", "whose an event is, by which rule, on what evidence"),
            ("./timeline db psql", "the same in SQL: select * from timeline.events;"),
        )
    )


def _code_server(code: Path) -> list[str]:
    return _python(
        *("dagster", "api", "grpc", "--socket", str(code), "--module-name", "timeline_assets.definitions"),
        # started by this interpreter, so that its runs are too, whatever stands first in PATH
        "--use-python-environment-entry-point",
        "--empty-working-directory",
        *("--location-name", "timeline_assets"),
    )


def _web_server(home: Path, host: str, port: int) -> list[str]:
    workspace = str(home / "workspace.yaml")
    return _python("dagster_webserver", "--host", host, "--port", str(port), "--workspace", workspace)


def _python(module: str, *arguments: str) -> list[str]:
    # -P: the working folder is a person's, and a polars.py in it is none of ours
    return [sys.executable, "-P", "-m", module, *arguments]


def _keep_database(database: Database, say: Say) -> None:
    """The embedded server is ours to start again when somebody has killed it."""
    server = database.server
    if server is None or server.is_running():
        return
    say("The database ended; it starts again.")
    server.stop()
    try:
        server.start()
    except DatabaseError as error:
        say(f"{error}. {error.remedy}")


class News:
    """What a person who watches wants to be told: the first events, what cannot be read, and that it can be again."""

    def __init__(self, database: Database, say: Say) -> None:
        self._database = database
        self._say = say
        self._next_look = 0.0
        self._has_events: bool | None = None
        self._troubles: set[tuple[str, str]] = set()

    def look(self) -> None:
        """Tell what is new since the last look; looks every few seconds only, and not while the database is away."""
        now = time.monotonic()
        if now < self._next_look:
            return
        self._next_look = now + NEWS_SECONDS
        with contextlib.suppress(DatabaseError), self._database.connect("pipeline") as connection:
            self._tell_first(connection)
            self._tell_troubles(connection)

    def _tell_first(self, connection: psycopg.Connection) -> None:
        if self._has_events:
            return
        found = connection.execute("select exists (select from timeline.events)").fetchone()[0]
        if found and self._has_events is False:
            self._say("The first events are in: ./timeline events")
        self._has_events = found

    def _tell_troubles(self, connection: psycopg.Connection) -> None:
        rows = connection.execute(
            """select cloud, reason, count(*), min(source), min(detail) from raw.scans
            where failures > 1 and reason is not null group by cloud, reason order by cloud, reason"""
        ).fetchall()
        found = {(cloud, reason): (sources, source, detail) for cloud, reason, sources, source, detail in rows}
        for (cloud, reason), (sources, source, detail) in found.items():
            if (cloud, reason) not in self._troubles:
                which = source if sources == 1 else f"{sources} sources"
                self._say(f"{cloud}: {which} cannot be read: {reason}: {detail}")
                self._say(f"  {CODES.get(reason, 'timeline status says more.')} It is tried again by itself.")
        for cloud, reason in sorted(self._troubles - found.keys()):
            self._say(f"{cloud}: no longer {reason}")
        self._troubles = set(found)


# where things are


def _place(settings: Settings, database: Database) -> str:
    if database.server:
        return f"embedded, 127.0.0.1:{database.server.port}"
    url = database.urls["admin"]
    return f"{url.host or 'local socket'}:{url.port or 5432}/{url.database}"


def _socket(state_dir: Path, at_the_end: contextlib.ExitStack) -> Path:
    """A place for the code server's socket that only we can enter: whoever talks to it can run code."""
    path = state_dir / "code.sock"
    if len(os.fsencode(path)) > LONGEST_SOCKET_PATH:
        path = Path(at_the_end.enter_context(tempfile.TemporaryDirectory(prefix="timeline-"))) / "code.sock"
    path.unlink(missing_ok=True)
    return path


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
        probe.connect(str(path))
        return True
    return False


def _answers(url: str) -> bool:
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=1)
    try:
        connection.request("GET", "/server_info")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _free_port(host: str, wanted: int) -> int:
    """The wanted port, or the next one that nobody listens on; 0 leaves the choice to the system."""
    for port in range(wanted, min(wanted + PORTS_TO_TRY, 65536)):
        try:
            with socket.create_server((host, port), family=_family(host)) as probe:
                return probe.getsockname()[1]
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise TimelineError(
                    f"The web server cannot listen on {host}: {error.strerror}",
                    remedy="Set web.host to an address of this machine.",
                ) from error
    raise TimelineError(
        f"No free port from {wanted} to {wanted + PORTS_TO_TRY - 1} on {host} for the web server",
        remedy="Set web.port to a free one, or to 0 for any.",
    )


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _visible(host: str) -> str:
    """The host as a browser on this machine reaches it."""
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, f"[{host}]" if ":" in host else host)


# one at a time


@contextlib.contextmanager
def _alone(settings: Settings) -> Iterator[Callable[[str | None], None]]:
    """Hold the state folder for this `timeline up`; gives a function that notes its address for others to read."""
    try:
        settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(_record(settings), os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise TimelineError(
            f"The state folder {settings.state_dir} cannot be used: {error.strerror}",
            remedy="Run as the user who owns it, or set TIMELINE_HOME to a folder that this user can write.",
        ) from error
    started_at = datetime.now(UTC).isoformat(timespec="seconds")

    def note(url: str | None) -> None:
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(asdict(Running(os.getpid(), started_at, url))).encode(), 0)

    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AlreadyRunning(_read(descriptor)) from None
        note(None)
        yield note
    finally:
        os.close(descriptor)


def _record(settings: Settings) -> Path:
    return settings.state_dir / "up.json"


def _read(descriptor: int) -> Running:
    try:
        return Running(**json.loads(os.pread(descriptor, 10_000, 0)))
    except (ValueError, TypeError):
        # its writer is between the lock and the note
        return Running()


def _write(path: Path, text: str) -> None:
    half = path.with_suffix(".new")
    half.write_text(text)
    half.replace(path)


def _step(say: Say, what: str, text: str) -> None:
    say(f"  {what:<16}{text}")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
