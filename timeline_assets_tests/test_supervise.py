"""The supervisor with programs of a few lines: what ends starts again; what is stopped or killed leaves nothing."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from timeline_assets import supervise
from timeline_assets.errors import TimelineError
from timeline_assets.supervise import Program, Stopped, Supervisor

# says its number, starts a child that would outlive it, and waits
FAMILY = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
print(os.getpid(), child.pid, flush=True)
time.sleep(600)
"""
STUBBORN = """
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print(os.getpid(), flush=True)
time.sleep(600)
"""


def program(text: str, name: str = "thing", **more) -> Program:
    return Program(name, [sys.executable, "-c", text], dict(os.environ), **more)


def until(condition: Callable[[], object], seconds: float = 20) -> object:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.02)
    return found


def lives(pid: int) -> bool:
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def logged(folder: Path, name: str = "thing") -> list[str]:
    path = folder / f"{name}.log"
    return path.read_text().splitlines() if path.exists() else []


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def supervisor(tmp_path: Path, said: list[str]) -> Iterator[Supervisor]:
    with Supervisor(tmp_path, said.append) as supervisor:
        yield supervisor


def numbers(folder: Path) -> list[int]:
    return until(lambda: [int(word) for line in logged(folder) for word in line.split()])


def test_a_stop_ends_a_program_and_what_it_started(supervisor, tmp_path):
    supervisor.start(program(FAMILY))
    parent, child = numbers(tmp_path)
    assert lives(parent) and lives(child)
    supervisor.stop()
    assert not lives(parent)
    until(lambda: not lives(child))


def test_programs_stop_in_the_opposite_order_of_their_start(supervisor, tmp_path):
    order = tmp_path / "order"
    polite = f"""
import signal, sys, time
def leave(*_):
    open({str(order)!r}, "a").write(NAME + " ")
    sys.exit()
signal.signal(signal.SIGTERM, leave)
print("ready", flush=True)
time.sleep(600)
"""
    for name in ("first", "second", "third"):
        supervisor.start(program(polite.replace("NAME", repr(name)), name))
        until(lambda name=name: logged(tmp_path, name))
    supervisor.stop()
    assert order.read_text().split() == ["third", "second", "first"]


def test_who_does_not_stop_when_asked_is_ended(supervisor, tmp_path, monkeypatch):
    monkeypatch.setattr(supervise, "STOP_SECONDS", 0.3)
    supervisor.start(program(STUBBORN))
    [pid] = numbers(tmp_path)
    supervisor.stop()
    assert not lives(pid)


def test_a_second_signal_does_not_wait(supervisor, tmp_path, monkeypatch):
    monkeypatch.setattr(supervise, "STOP_SECONDS", 600)
    supervisor.start(program(STUBBORN))
    [pid] = numbers(tmp_path)
    os.kill(os.getpid(), signal.SIGINT)
    with pytest.raises(Stopped):
        supervisor.pause(60)
    os.kill(os.getpid(), signal.SIGINT)
    supervisor.stop()
    assert not lives(pid)


def test_a_signal_ends_a_pause_at_once(supervisor):
    os.kill(os.getpid(), signal.SIGTERM)
    with pytest.raises(Stopped):
        supervisor.pause(600)


def test_who_ends_starts_again_after_a_pause_that_doubles(supervisor, tmp_path, said, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(supervise.time, "monotonic", lambda: now[0])
    supervisor.start(program("print('run', flush=True)"))
    child = supervisor._children[0]
    pauses = []
    for _ in range(3):
        child._process.wait()
        supervisor.watch()
        before = len(said)
        supervisor.watch()
        assert len(said) == before, "said once, and not started before its time"
        pauses.append(int(said[-1].split(" starts again in ")[1].split(" s")[0]))
        now[0] += pauses[-1]
        supervisor.watch()
    child._process.wait()
    child._reader.join()
    assert pauses == [1, 2, 4]
    assert said[0] == f"The thing ended (exit code 0); it starts again in 1 s. Its words: {tmp_path / 'thing.log'}"
    assert logged(tmp_path) == ["run"] * 4


def test_who_was_killed_is_said_so(supervisor, tmp_path, said):
    supervisor.start(program(FAMILY))
    parent, child = numbers(tmp_path)
    os.kill(parent, signal.SIGKILL)
    supervisor._children[0]._process.wait()
    supervisor.watch()
    assert "killed by SIGKILL" in said[0]
    until(lambda: not lives(child))


def test_who_ends_while_starting_is_an_error_with_its_last_words(supervisor, tmp_path):
    with pytest.raises(TimelineError) as error:
        supervisor.start(program("print('no such table'); raise SystemExit(3)", is_ready=lambda: False))
    assert str(error.value) == "The thing ended while it was starting (exit code 3): no such table"
    assert error.value.remedy == f"All of it: {tmp_path / 'thing.log'}"


def test_who_is_never_ready_is_an_error(supervisor, monkeypatch):
    monkeypatch.setattr(supervise, "READY_SECONDS", 0.2)
    with pytest.raises(TimelineError, match=r"The thing was not ready within 0\.2 seconds"):
        supervisor.start(program(FAMILY, is_ready=lambda: False))


def test_warnings_are_passed_on_once_and_without_colour(supervisor, tmp_path, said):
    text = """
print("2026-11-22 10:00:00 +0000 - dagster - INFO - all is well")
for number in (1, 2, 3):
    print(f"\\x1b[33m2026-11-22 10:00:00 +0000 - dagster.daemon - WARNING - run {number} is late\\x1b[0m")
print("ERROR: something else", flush=True)
"""
    supervisor.start(program(text))
    child = supervisor._children[0]
    child._process.wait()
    child._reader.join()
    assert said == ["thing: run 1 is late", "thing: something else"]
    assert logged(tmp_path)[3] == "2026-11-22 10:00:00 +0000 - dagster.daemon - WARNING - run 3 is late"


def test_a_flood_of_warnings_is_cut_short(supervisor, tmp_path, said):
    supervisor.start(program("for letter in 'abcdefghijkl': print('ERROR', letter * 3, flush=True)"))
    child = supervisor._children[0]
    child._process.wait()
    child._reader.join()
    assert said == [f"thing: {letter * 3}" for letter in "abcde"] + [
        f"thing: and more; all of it: {tmp_path / 'thing.log'}"
    ]


def test_what_is_harmless_stays_in_the_log(supervisor, tmp_path, said):
    text = "print('WARNING - nothing yet'); print('WARNING - something', flush=True)"
    supervisor.start(program(text, harmless=re.compile("nothing")))
    child = supervisor._children[0]
    child._process.wait()
    child._reader.join()
    assert said == ["thing: something"]
    assert len(logged(tmp_path)) == 2


def test_a_log_is_cut_into_a_few_files(supervisor, tmp_path, monkeypatch):
    monkeypatch.setattr(supervise, "LOG_BYTES", 1000)
    supervisor.start(program("for number in range(1000): print('line', number)"))
    child = supervisor._children[0]
    child._process.wait()
    child._reader.join()
    files = sorted(path.name for path in tmp_path.iterdir())
    assert files == ["thing.log", "thing.log.1", "thing.log.2", "thing.log.3"]
    assert all(path.stat().st_size <= 1000 for path in tmp_path.iterdir())


def test_nothing_outlives_a_supervisor_that_is_killed(tmp_path):
    text = f"""
import os, pathlib, sys, time
from timeline_assets.supervise import Program, Supervisor
family = {FAMILY!r}
with Supervisor(pathlib.Path({str(tmp_path)!r}), print) as supervisor:
    supervisor.start(Program("thing", [sys.executable, "-c", family], dict(os.environ)))
    print("started", flush=True)
    time.sleep(600)
"""
    process = subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout.readline() == "started\n"
        parent, child = numbers(tmp_path)
        guardians = [p for p in psutil.Process(process.pid).children() if "timeline_assets.supervise" in p.cmdline()]
        assert len(guardians) == 1
        process.kill()
    until(lambda: not lives(parent) and not lives(child))
    until(lambda: not lives(guardians[0].pid))


def test_a_guardian_that_was_killed_is_replaced(supervisor, tmp_path):
    supervisor.start(program(FAMILY))
    old = supervisor._guardian._process
    old.kill()
    old.wait()
    supervisor.watch()
    new = supervisor._guardian._process
    assert new.pid != old.pid and new.poll() is None
