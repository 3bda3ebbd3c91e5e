"""Keep programs running: start them, keep their words, start them again when they end, stop them in order.

Every program has a process group of its own, so that a Ctrl-C in the terminal reaches the supervisor alone and a stop
reaches whatever the program started. A guardian, a small process of its own, learns of every group; when the supervisor
is killed and can no longer stop anything, the guardian does.

Nothing here knows what the programs are; see :mod:`timeline_assets.up`.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from logging.handlers import RotatingFileHandler
from pathlib import Path
from typing import Self

from timeline_assets.errors import TimelineError

TICK_SECONDS = 0.1
READY_SECONDS = 120
STOP_SECONDS = 10
LONGEST_PAUSE_SECONDS = 60
STEADY_SECONDS = 60  # who has run this long starts again without a pause
LOG_BYTES = 5_000_000
LOG_FILES = 3
SAID_AGAIN_SECONDS = 600
MOST_SAID = 5  # different warnings of one program in that time; the others are in its log

ASKS_TO_STOP = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PREFIX = 120  # within so many characters a line says how grave it is
ALARM = re.compile(r"\b(WARNING|ERROR|CRITICAL)\b[\s:-]*(?P<text>.*)")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class Stopped(Exception):
    """Somebody asked the supervisor to stop while it was waiting."""


@dataclass(frozen=True)
class Program:
    """One program to keep running.

    `name` is its log file's and what a person reads; `is_ready` is asked until it says yes, and must not block long.
    Warnings in which `harmless` is found are for the log alone.
    """

    name: str
    command: Sequence[str]
    environ: Mapping[str, str] = field(repr=False)
    is_ready: Callable[[], bool] = lambda: True
    harmless: re.Pattern[str] | None = None


class Supervisor:
    """Runs programs until it is told to stop; in its `with` block SIGINT, SIGTERM and SIGHUP tell it so.

    A second signal stops them without waiting. When the block ends, nothing of them is left.

    Args:
        logs: the folder of the logs, one file a program, rotated.
        say: told, in a line for a person, of everything that is not as it should be.
    """

    def __init__(self, logs: Path, say: Callable[[str], None]) -> None:
        self._logs = logs
        self._say = say
        self._waves: list[list[_Child]] = []
        self._guardian: Guardian
        self._signals = 0
        self._handlers: dict[int, object] = {}

    def __enter__(self) -> Self:
        self._guardian = Guardian()
        self._handlers = {number: signal.signal(number, self._on_signal) for number in ASKS_TO_STOP}
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._guardian.dismiss()
        for number, handler in self._handlers.items():
            signal.signal(number, handler)

    def _on_signal(self, *_: object) -> None:
        # only a number: a handler may interrupt anything, a lock that is being taken too
        self._signals += 1

    def pause(self, seconds: float) -> None:
        """Wait; raises :class:`Stopped` as soon as a stop is asked for."""
        deadline = time.monotonic() + seconds
        while True:
            if self._signals:
                raise Stopped
            left = deadline - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, TICK_SECONDS))

    def start(self, *programs: Program) -> None:
        """Start the programs, all at once, and wait until every one is ready.

        Raises:
            TimelineError: one ended, or was not ready in time; its last words are in the message.
            Stopped: a stop was asked for.
        """
        new = [_Child(program, self._logs, self._say, self._guardian) for program in programs]
        self._waves.append(new)
        for child in new:
            child.launch()
        deadline = time.monotonic() + READY_SECONDS
        for child in new:
            while not child.program.is_ready():
                if child.has_ended() or time.monotonic() > deadline:
                    raise child.failure()
                self.pause(TICK_SECONDS)

    def watch(self) -> None:
        """One look at everything: who has ended starts again, after a pause that doubles with every failure."""
        self._guardian.see_to_it()
        for child in self._children:
            child.see_to_it()

    @property
    def _children(self) -> list[_Child]:
        return [child for wave in self._waves for child in wave]

    def stop(self) -> None:
        """Stop what was started: what was started last first, what was started at once together.

        Returns when none of it is left.
        """
        for child in self._children:
            child.hush()
        for wave in reversed(self._waves):
            for child in wave:
                child.ask_to_stop()
            deadline = time.monotonic() + STOP_SECONDS
            for child in wave:
                # a second signal: somebody will not wait
                child.see_it_gone(lambda: time.monotonic() > deadline or self._signals > 1)  # noqa: B023
        self._waves.clear()


class _Child:
    """A program as it runs now."""

    def __init__(self, program: Program, logs: Path, say: Callable[[str], None], guardian: Guardian) -> None:
        self.program = program
        self._say = say
        self._guardian = guardian
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._failures = 0
        self._launched = 0.0
        self._next_start: float | None = None
        self._is_stopping = False
        self._last_words: list[str] = []
        self._said: dict[str, float] = {}
        self.log_path = logs / f"{program.name.replace(' ', '-')}.log"
        self._log = logging.Logger(program.name)
        handler = RotatingFileHandler(
            self.log_path, maxBytes=LOG_BYTES, backupCount=LOG_FILES, encoding="utf-8", errors="replace"
        )
        handler.setFormatter(logging.Formatter("%(message)s"))
        self._log.addHandler(handler)

    def launch(self) -> None:
        try:
            self._process = subprocess.Popen(
                self.program.command,
                env=dict(self.program.environ),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                encoding="utf-8",
                errors="replace",
                start_new_session=True,
            )
        except OSError as error:
            raise TimelineError(
                f"The {self.program.name} cannot be started: {error}", remedy="See that memory and disk are not full."
            ) from error
        self._guardian.guard(self._process.pid)
        self._launched = time.monotonic()
        self._next_start = None
        self._last_words = []
        self._reader = threading.Thread(target=self._read, args=[self._process], daemon=True)
        self._reader.start()

    def has_ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    def see_to_it(self) -> None:
        now = time.monotonic()
        if self._next_start is not None and now >= self._next_start:
            self.launch()
        elif self._next_start is None and self.has_ended():
            how = self._how()
            self._bury()
            self._process = None
            self._failures = 1 if now - self._launched > STEADY_SECONDS else self._failures + 1
            wait = min(2 ** (self._failures - 1), LONGEST_PAUSE_SECONDS)
            self._next_start = now + wait
            self._say(f"The {self.program.name} ended ({how}); it starts again in {wait} s. Its words: {self.log_path}")

    def failure(self) -> TimelineError:
        words = " | ".join(self._last_words[-3:])
        if self.has_ended():
            # the reader may still have the last words in hand
            self._reader.join(STOP_SECONDS)
            words = " | ".join(self._last_words[-3:])
            message = f"The {self.program.name} ended while it was starting ({self._how()})"
        else:
            message = f"The {self.program.name} was not ready within {READY_SECONDS} seconds"
        return TimelineError(f"{message}: {words}" if words else message, remedy=f"All of it: {self.log_path}")

    def hush(self) -> None:
        """From now on what it says alarms nobody: the others are being stopped."""
        self._is_stopping = True

    def ask_to_stop(self) -> None:
        # without a process it waits for its next start, and its number may be somebody else's by now
        if self._process is not None:
            _signal_group(self._process.pid, signal.SIGTERM)

    def see_it_gone(self, is_over: Callable[[], bool]) -> None:
        """Wait until nothing of it is left; when the time `is_over`, end what is."""
        if self._process is not None:
            while _group_lives(self._process) and not is_over():
                time.sleep(TICK_SECONDS / 2)
            self._bury()
            self._process = None
        for handler in self._log.handlers:
            handler.close()

    def _bury(self) -> None:
        """The program has ended or must: nothing of its group stays."""
        _signal_group(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join(STOP_SECONDS)
        self._guardian.release(self._process.pid)

    def _how(self) -> str:
        code = self._process.returncode
        return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"

    def _read(self, process: subprocess.Popen[str]) -> None:
        for raw in process.stdout:
            line = COLOUR.sub("", raw.rstrip("\n"))
            self._log.info(line)
            if line.strip():
                self._last_words = [*self._last_words[-9:], line.strip()]
            alarm = ALARM.search(line)
            if alarm and alarm.start() < PREFIX:
                self._repeat(alarm["text"].strip() or line.strip())
        process.stdout.close()

    def _repeat(self, text: str) -> None:
        """Pass a warning on, the same one not again and again."""
        if self._is_stopping or (self.program.harmless and self.program.harmless.search(text)):
            return
        kind = re.sub(r"[0-9a-f]{8,}|\d+", "#", text)
        now = time.monotonic()
        self._said = {key: at for key, at in self._said.items() if now - at < SAID_AGAIN_SECONDS}
        if kind in self._said or len(self._said) > MOST_SAID:
            return
        if len(self._said) == MOST_SAID:
            kind, text = "more", f"and more; all of it: {self.log_path}"
        self._said[kind] = now
        self._say(f"{self.program.name}: {text}")


class Guardian:
    """A process that outlives us by as long as it takes to end what we started."""

    def __init__(self) -> None:
        self._groups: set[int] = set()
        self._start()

    def _start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "timeline_assets.supervise"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            text=True,
            start_new_session=True,
        )

    def guard(self, group: int) -> None:
        self._groups.add(group)
        self._tell(f"+{group}\n")

    def release(self, group: int) -> None:
        self._groups.discard(group)
        self._tell(f"-{group}\n")

    def see_to_it(self) -> None:
        """Make a new guardian if somebody has killed it."""
        if self._process.poll() is not None:
            self._close()
            self._start()
            for group in self._groups:
                self._tell(f"+{group}\n")

    def dismiss(self) -> None:
        """Everything has been stopped; the guardian goes without doing anything."""
        self._tell("done\n")
        self._close()
        self._process.wait()

    def _close(self) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()

    def _tell(self, line: str) -> None:
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(line)
            self._process.stdin.flush()


def guard(lines: Iterator[str]) -> None:
    """The guardian's work: remember the groups it is told; at the end, unless all is done, end them."""
    groups: set[int] = set()
    for line in lines:
        if line == "done\n":
            return
        (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
    for number in (signal.SIGTERM, signal.SIGKILL):
        for group in groups:
            _signal_group(group, number)
        deadline = time.monotonic() + STOP_SECONDS
        while any(_exists(group) for group in groups) and time.monotonic() < deadline:
            time.sleep(TICK_SECONDS)


def _signal_group(group: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def _group_lives(process: subprocess.Popen[str]) -> bool:
    # poll reaps the leader, which would otherwise keep its group alive as a zombie
    return process.poll() is None or _exists(process.pid)


def _exists(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        # only a zombie of somebody else's making is left
        return False
    return True


if __name__ == "__main__":
    # asked to stop by whoever ends everything, it still has its work to do
    for wanted in ASKS_TO_STOP:
        signal.signal(wanted, signal.SIG_IGN)
    guard(sys.stdin)
