"""The whole product as a person starts it: the demo, a Ctrl-C, another start, and a kill."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.whole

#: Long enough for a small machine that does other things as well.
PATIENCE_SECONDS = 300
TIMELINE = Path(sys.executable).with_name("timeline")


MATERIALIZED = """{ assetsOrError { ... on AssetConnection {
    nodes { key { path } assetMaterializations(limit: 1) { runId } } } } }"""


class Up:
    """A `timeline up --demo` on a state folder, and what it says."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.environ = {**os.environ, "TIMELINE_HOME": str(home)}
        for name in ("OS_CLOUD", "TIMELINE_CONFIG", "TIMELINE_DATABASE_URL", "TIMELINE_DAGSTER_DATABASE_URL"):
            self.environ.pop(name, None)
        self.process = subprocess.Popen(
            [TIMELINE, "up", "--demo"],
            cwd=home,
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.said: list[str] = []
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in self.process.stdout:
            self._lines.put(line.rstrip())
        self._lines.put(None)
        self.process.stdout.close()

    def until(self, *words: str) -> str:
        """The next line that has one of the words in it."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            line = self._lines.get(timeout=max(0.1, deadline - time.monotonic()))
            assert line is not None, f"it ended: {self.said}"
            self.said.append(line)
            if any(word in line for word in words):
                return line

    def timeline(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Another command on the same state folder."""
        command = [TIMELINE, *arguments]
        return subprocess.run(
            command,
            cwd=self.home,
            env=self.environ,
            capture_output=True,
            text=True,
            check=False,
            timeout=PATIENCE_SECONDS,
        )

    def events(self) -> list[dict]:
        return [json.loads(line) for line in self.timeline("events", "--json", "--limit", "100000").stdout.splitlines()]

    def family(self) -> list[psutil.Process]:
        """Everything that it started, and the database's server, which is its own parent."""
        everyone = psutil.Process(self.process.pid).children(recursive=True)
        pid_file = self.home / "demo" / "postgresql" / "data" / "postmaster.pid"
        postmaster = psutil.Process(int(pid_file.read_text().splitlines()[0]))
        return [*everyone, postmaster]


def wait_for(condition: Callable[[], object]) -> object:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.5)
    return found


def all_gone(family: list[psutil.Process]) -> bool:
    return not any(p.is_running() and p.status() != psutil.STATUS_ZOMBIE for p in family)


def ask(url: str, query: str) -> dict:
    request = urllib.request.Request(
        f"{url}/graphql", json.dumps({"query": query}).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)["data"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("whole")


@pytest.fixture
def up(home: Path) -> Iterator[Up]:
    started = Up(home)
    yield started
    if started.process.poll() is None:
        started.process.send_signal(signal.SIGINT)
    started.process.wait(PATIENCE_SECONDS)


def test_from_nothing_to_a_timeline_and_back_to_nothing(up: Up):
    assert "the demo" in up.until("demo")
    url = next(word for word in up.until("web server").split() if word.startswith("http://127.0.0.1:"))
    up.until("Ctrl-C stops it")
    up.until("timeline db psql")
    up.until("The first events are in")

    # filled, as the UI sees it, and to be queried
    wait_for(lambda: len(up.events()) > 100)
    nodes = ask(url, MATERIALIZED)["assetsOrError"]["nodes"]
    filled = {tuple(node["key"]["path"]) for node in nodes if node["assetMaterializations"]}
    assert {("raw", "demo", "nova_servers"), ("timeline", "demo", "events")} <= filled

    # a second one beside the first
    second = up.timeline("up", "--demo")
    assert second.returncode == 1
    assert f"process {up.process.pid}," in second.stderr and url in second.stderr

    # who ends is started again
    [follower] = [p for p in up.family() if "follow" in command(p)]
    follower.kill()
    assert "follower ended (killed by SIGKILL)" in up.until("follower ended")
    wait_for(lambda: [p for p in up.family() if "follow" in command(p) and p.pid != follower.pid])

    # everything listens on loopback only
    listening = [c.laddr.ip for p in up.family() for c in connections(p) if c.status == psutil.CONN_LISTEN]
    assert listening and set(listening) == {"127.0.0.1"}

    family = up.family()
    up.process.send_signal(signal.SIGINT)
    up.until("Stopping")
    up.until("Stopped")
    assert up.process.wait(PATIENCE_SECONDS) == 0
    assert all_gone(family)


def command(process: psutil.Process) -> list[str]:
    """Its command line; nothing of one that has just ended."""
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def connections(process: psutil.Process) -> list:
    try:
        return process.net_connections("inet")
    except psutil.Error:
        return []


def test_the_next_start_goes_on_and_a_kill_leaves_nothing(up: Up):
    up.until("Ctrl-C stops it")
    before = {event["event_id"] for event in up.events()}
    assert len(before) > 100
    family = up.family()
    up.process.kill()
    wait_for(lambda: all_gone(family))
    # read at three in the morning, while nothing runs
    assert before <= {event["event_id"] for event in up.events()}
    assert "Not running" in up.timeline("--demo", "status").stdout
