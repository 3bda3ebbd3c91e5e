"""The recorded cloud's server: HTTP on 127.0.0.1, one process at a time for a state folder.

``python -m timeline_assets.demo.server`` answers until SIGINT or SIGTERM, or until the process that started it has
ended. `timeline up` runs it; a command that needs the cloud while nothing runs answers by itself (:func:`answering`).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, TextIO
from urllib.parse import urlsplit

from timeline_assets.config import Settings, load
from timeline_assets.demo import RECORDING
from timeline_assets.demo import play as plays
from timeline_assets.demo.client import is_answering
from timeline_assets.demo.cloud import Answer, RecordedCloud
from timeline_assets.demo.play import STILL_SECONDS, Play
from timeline_assets.demo.recording import Recording, read
from timeline_assets.errors import TimelineError

HOST = "127.0.0.1"
LOOK_SECONDS = 0.5
#: How long a process may take from the right to answer to answering.
BEGIN_SECONDS = 10
LONGEST_BODY = 65_536

Clock = Callable[[], datetime]


def our_clock() -> datetime:
    """Now, by this machine's clock."""
    return datetime.now(UTC)


class Server:
    """The recorded cloud of a state folder, answering in threads of its own from `start` to `stop`.

    The first start of a folder makes the password and, when somebody logs in for the first time, the moment that the
    recording's end is shifted to; both are kept for all later starts.

    Raises:
        ConfigurationError: the recording cannot be read.
        TimelineError: the folder cannot be used, belongs to another recording, or is served by another process already.
    """

    def __init__(self, settings: Settings, *, recording: Path = RECORDING, clock: Clock = our_clock) -> None:
        self._settings, self._clock = settings, clock
        self._recording = read(recording)
        self._lock = threading.Lock()
        self._lease = _lease(settings)
        try:
            before = plays.load(settings)
            if before and before.recording != self._recording.sha256:
                raise TimelineError(
                    f"{settings.state_dir} holds the timeline of another recording",
                    remedy="Delete that folder to begin the demo anew.",
                )
            self._http = _http_server(before.port if before else 0)
            self.play = self._begun(before)
            plays.save(settings, self.play)
        except BaseException:
            self._lease.close()
            raise
        self._shifted = cache(self._recording.shifted)
        cloud = RecordedCloud(self.play.url, self.play.password, self._as_played, self.now, self._note_first)
        self._http.cloud, self._http.now = cloud, self.now
        self._thread = threading.Thread(target=self._http.serve_forever, name="recorded cloud", daemon=True)

    def now(self) -> datetime:
        """What the recorded cloud's clock shows."""
        return self.play.now(self._clock())

    def start(self) -> None:
        """Answer from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Answer no longer; another process may."""
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()
        self._lease.close()

    def __str__(self) -> str:
        began, ended = self._recording.began_at, self._recording.ended_at
        minutes = (ended - began).total_seconds() / 60
        return f"Recorded cloud of {ended:%Y-%m-%d} ({minutes:.0f} minutes) replayed at {self.play.url}"

    def _begun(self, before: Play | None) -> Play:
        url = f"http://{HOST}:{self._http.server_port}"
        if before:
            return replace(before, url=url)
        lead = (self._recording.ended_at - self._recording.began_at).total_seconds() + STILL_SECONDS
        return Play(url, secrets.token_urlsafe(24), self._recording.sha256, lead)

    def _note_first(self) -> None:
        with self._lock:
            if self.play.asked_at is None:
                play = replace(self.play, asked_at=self._clock())
                plays.save(self._settings, play)
                self.play = play

    def _as_played(self) -> Recording:
        """The recording, its end shifted to the moment of the first question."""
        return self._shifted(self.play.asked_at - self._recording.ended_at)


@contextlib.contextmanager
def answering(settings: Settings) -> Iterator[None]:
    """Inside the block the recorded cloud answers: by the process that does already, or else by this one."""
    settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    server, deadline = None, time.monotonic() + BEGIN_SECONDS
    while server is None and not is_answering(settings):
        try:
            server = Server(settings)
        except _Busy:
            if time.monotonic() > deadline:
                raise
            time.sleep(LOOK_SECONDS)
    if server is None:
        yield
        return
    server.start()
    try:
        yield
    finally:
        server.stop()


def main() -> None:
    """Answer until stopped; says in one line where, and exits with an error's code where it cannot."""
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda *_: threading.Thread(target=stop.set).start())
    parent = os.getppid()

    def is_over(wait: float) -> bool:
        return stop.wait(wait) or os.getppid() != parent

    try:
        server = _when_free(load(), is_over)
    except TimelineError as error:
        sys.stderr.write(f"{error}. {error.remedy}\n")
        sys.exit(error.exit_code)
    if server is None:
        return
    server.start()
    sys.stdout.write(f"{server}\n")
    sys.stdout.flush()
    while not is_over(LOOK_SECONDS):
        pass
    server.stop()


class _Busy(TimelineError):
    """Another process answers for the recorded cloud of this folder."""


def _when_free(settings: Settings, is_over: Callable[[float], bool]) -> Server | None:
    """The server, once a command that answers meanwhile has ended; None if it was over before."""
    while not is_over(0):
        try:
            return Server(settings)
        except _Busy:
            is_over(LOOK_SECONDS)
    return None


def _lease(settings: Settings) -> TextIO:
    """The right to answer for this folder: ends with its process, however that ends."""
    path = settings.state_dir / "recorded-cloud.lock"
    try:
        file = path.open("a")
    except OSError as error:
        raise TimelineError(
            f"The recorded cloud cannot use {settings.state_dir}: {error.strerror}",
            remedy="Run as the user who owns it, or set TIMELINE_HOME to a folder that this user can write.",
        ) from None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        raise _Busy(
            f"Another process answers for the recorded cloud of {settings.state_dir}", remedy="Wait until it has ended."
        ) from None
    return file


# HTTP ----------------------------------------------------------------------------------------------------------------


class _HttpServer(ThreadingHTTPServer):
    daemon_threads = True
    cloud: RecordedCloud
    now: Clock

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that went away is nothing to tell of."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _HttpServer

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        self._send(self.server.cloud.get(parts.path, parts.query, self._headers()))

    def do_POST(self) -> None:
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > LONGEST_BODY:
            self.close_connection = True
            self._send(Answer(413, {"error": {"code": 413, "message": "Too long."}}))
            return
        body = self.rfile.read(int(length))
        if urlsplit(self.path).path.rstrip("/") != "/identity/v3/auth/tokens":
            self._send(Answer(405, {"error": {"code": 405, "message": "A recorded cloud can only be read."}}))
            return
        self._send(self.server.cloud.log_in(body))

    def _headers(self) -> Mapping[str, str]:
        return {name.lower(): value for name, value in self.headers.items()}

    def _send(self, answer: Answer) -> None:
        data = json.dumps(answer.body).encode()
        self.send_response(answer.status)
        for name, value in {"Content-Type": "application/json", **answer.headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def date_time_string(self, timestamp: float | None = None) -> str:
        """The `Date` header is the cloud's clock."""
        return format_datetime(self.server.now(), usegmt=True)

    def log_message(self, *_: Any) -> None:
        """Nothing: what was asked is in the pipeline's own log."""


def _http_server(port: int) -> _HttpServer:
    """On the port of the last start, if that is free: who still knows it need not look again."""
    for wanted in dict.fromkeys((port, 0)):
        try:
            return _HttpServer((HOST, wanted), _Handler)
        except OSError as error:
            problem = error
    raise TimelineError(
        f"The recorded cloud cannot listen on {HOST}: {problem.strerror}", remedy="See that loopback is there."
    )


if __name__ == "__main__":
    main()
