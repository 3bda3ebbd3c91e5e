"""Following: a process that reads what is due and carries what is new to the timeline within seconds.

For each cloud two threads. One asks every second what is due and polls it, each source in a thread of its own so that a
slow one delays nobody; a poll that finds nothing new costs no run. The other executes a run over just the sources that
have something to show; while it works, more comes together for the next. Clouds know nothing of each other.

Whoever follows a cloud holds a lock in the database (alive.py); a second follower waits until the first is gone.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import dagster as dg
import psycopg

from timeline_assets.config import Settings
from timeline_assets.errors import DatabaseError, SourceError, TimelineError
from timeline_assets.pipeline import Pipeline, open_pipeline
from timeline_assets.raw.coverage import GAP, due
from timeline_assets.raw.harvest import Harvested, Polled, poll
from timeline_assets.raw.windows import Window
from timeline_assets.sources.base import Source
from timeline_assets.wiring import alive, keys, measures, sensors
from timeline_assets.wiring.build import sources_of
from timeline_assets.wiring.edge import Edge
from timeline_assets.wiring.runs import Parts, Runner

log = logging.getLogger("timeline.follow")

TICK_SECONDS = 1.0
#: Results that come within this time of each other go into one run.
TOGETHER_SECONDS = 0.5
#: How often to look for what a killed or failed run left behind, and the longest wait between two tries of one window.
LEFT_BEHIND_SECONDS, LONGEST_RETRY = 60.0, timedelta(hours=1)
#: After an error of our own edges (database, storage): wait before the next try.
RECOVER_SECONDS = 5.0
#: How long a stop waits for what is under way; everything is safe to cut off.
GRACE_SECONDS = 20.0

#: An error that repeats is said again after this time.
QUIET_SECONDS = 300.0
#: Windows of sources of which is known how they were last shown, before old ones are forgotten.
MOST_REMEMBERED = 5000

Clock = Callable[[], datetime]


def follow(settings: Settings, stop: threading.Event | None = None, *, parts: Parts | None = None) -> None:
    """Follow all configured clouds until `stop` is set; without one, until SIGINT or SIGTERM.

    Then everything under way has ended, or is safe to cut off.

    Raises:
        DatabaseError: the database cannot be reached to begin with; later it is waited for.
    """
    stop = stop or _stop_on_signal()
    parts = parts or Parts()
    with open_pipeline(settings) as pipeline, parts.instance_of(settings, pipeline) as instance:
        followers = followers_of(pipeline, instance, parts)
        threads = [
            threading.Thread(target=work, args=(stop,), name=f"{name} {follower.cloud}", daemon=True)
            for follower in followers
            for name, work in (("poll", follower.keep_polling), ("run", follower.keep_running))
        ]
        for thread in threads:
            thread.start()
        stop.wait()
        deadline = time.monotonic() + GRACE_SECONDS
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))


def followers_of(pipeline: Pipeline, instance: dg.DagsterInstance, parts: Parts) -> list[CloudFollower]:
    """One follower per configured cloud, all on one set of definitions."""
    followers: dict[str, CloudFollower] = {}

    def on_done(stage: str, cloud: str, source: str | None, window: Window, outcome: Any) -> None:
        followers[cloud].on_done(stage, source, window, outcome)

    settings = pipeline.settings
    edge = Edge(lambda: nullcontext(pipeline), parts.stages, on_done=on_done)
    runner = Runner(settings, instance, edge, parts.sources)
    for cloud in settings.clouds:
        own = sources_of(settings, cloud.name, parts.sources)
        clock = partial(pipeline.now, cloud.name)
        followers[cloud.name] = CloudFollower(pipeline, cloud.name, own, edge, runner, clock)
    return list(followers.values())


def _stop_on_signal() -> threading.Event:
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    return stop


class Complaints:
    """Errors for the log: each once, and again only after a while, however often it comes back."""

    def __init__(self) -> None:
        self._last: dict[str, tuple[str, float]] = {}

    def add(self, what: str, error: Exception) -> None:
        is_ours = isinstance(error, TimelineError)
        said = f"{error} {error.remedy}".strip() if is_ours else f"{type(error).__name__}: {error}"
        before, at = self._last.get(what, ("", 0.0))
        if said != before or time.monotonic() - at > QUIET_SECONDS:
            self._last[what] = (said, time.monotonic())
            log.error("%s: %s", what, said, exc_info=None if is_ours else error)


@dataclass
class CloudFollower:
    """One cloud's polls and runs.

    A source's window is *busy* from the poll's begin until what it found is stored, and is not polled meanwhile.
    `_to_run` waits for a run: by window and source what was polled, or None where only the stages behind raw have work.
    """

    pipeline: Pipeline
    cloud: str
    sources: tuple[Source, ...]
    edge: Edge
    runner: Runner
    clock: Clock
    _busy: set[tuple[str, Window]] = field(default_factory=set)
    _shown: dict[tuple[str, Window], tuple[str, str | None]] = field(default_factory=dict)
    _to_run: dict[Window, dict[str, Polled | None]] = field(default_factory=dict)
    _retries: dict[Window, tuple[int, datetime]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _news: threading.Event = field(default_factory=threading.Event)
    _complaints: Complaints = field(default_factory=Complaints)

    # Polling --------------------------------------------------------------------------------------------------------

    def keep_polling(self, stop: threading.Event) -> None:
        """Poll what is due, every second, as the one follower of the cloud."""
        while not stop.is_set():
            try:
                with self.pipeline.connect() as connection:
                    connection.autocommit = True
                    self._poll_while_ours(connection, stop)
            except Exception as error:
                self._complaints.add(f"{self.cloud}: polling was interrupted", error)
                stop.wait(RECOVER_SECONDS)

    def _poll_while_ours(self, connection: psycopg.Connection, stop: threading.Event) -> None:
        is_told = False
        while not alive.claim(connection, self.cloud):
            if not is_told:
                log.info("%s: another follower is at work; waiting for it to end", self.cloud)
                is_told = True
            if stop.wait(RECOVER_SECONDS):
                return
        log.info("%s: following %d sources", self.cloud, len(self.sources))
        while not stop.wait(TICK_SECONDS):
            connection.execute("select 1")  # the lock is ours for as long as this connection lives
            self.begin_polls()

    def begin_polls(self) -> list[threading.Thread]:
        """Begin a poll of everything that is due and not busy; at most the cloud's `concurrency` at a time."""
        allowed = self.pipeline.settings.cloud(self.cloud).concurrency
        begun = []
        for source, window in due(self.pipeline, self.cloud, self.sources, self.clock()):
            with self._lock:
                # one reader of a source at a time: a second would find as new what the first is about to store
                if source.name in {name for name, _ in self._busy} or self._polls_under_way() >= allowed:
                    continue
                self._busy.add((source.name, window))
            thread = threading.Thread(target=self._poll, args=(source, window), name=f"poll {source.name}", daemon=True)
            thread.start()
            begun.append(thread)
        return begun

    def _polls_under_way(self) -> int:
        return len(self._busy) - sum(polled is not None for found in self._to_run.values() for polled in found.values())

    def _poll(self, source: Source, window: Window) -> None:
        read = (source.name, window)
        try:
            reader = self.edge.stages.reader(self.pipeline, self.cloud, source)
            polled = poll(self.pipeline, self.cloud, source, window, reader, clock=self.clock)
            standing = (polled.harvested.status, polled.harvested.reason) if polled.harvested else None
        except Exception as error:
            self._complaints.add(f"{self.cloud}: {source.name} could not be polled", error)
            # a run shows it once; `due` knows nothing of it, so that the next try has to be put off here
            polled, standing = Polled(), (type(error).__name__, str(error))
            if isinstance(error, DatabaseError) or self._shown.get(read) == standing:
                threading.Timer(RECOVER_SECONDS, self._release, read).start()
                return
            self._shown[read] = standing
        if polled.harvested is not None and self._shown.get(read) == standing:
            self._release(*read)
            return
        with self._lock:
            self._to_run.setdefault(window, {})[source.name] = polled
        self._news.set()

    def _release(self, name: str, window: Window) -> None:
        with self._lock:
            self._busy.discard((name, window))

    # Running --------------------------------------------------------------------------------------------------------

    def keep_running(self, stop: threading.Event) -> None:
        """Execute a run for whatever has come together, as long as something comes."""
        next_look = time.monotonic() + LEFT_BEHIND_SECONDS
        while not stop.is_set():
            if self._news.wait(TICK_SECONDS):
                self._news.clear()
                stop.wait(TOGETHER_SECONDS)
            try:
                self.run_what_came(stop)
                if time.monotonic() >= next_look:
                    self.collect_left_behind()
                    next_look = time.monotonic() + LEFT_BEHIND_SECONDS
            except Exception as error:
                self._complaints.add(f"{self.cloud}: a run could not be executed", error)
                stop.wait(RECOVER_SECONDS)

    def run_what_came(self, stop: threading.Event | None = None) -> list[dg.ExecuteInProcessResult]:
        """A run per window that has something to show, the newest window first."""
        results = []
        while self._to_run and not (stop and stop.is_set()):
            with self._lock:
                window = max(self._to_run)
                found = self._to_run.pop(window)
            # a failed step would keep what came with it from the timeline
            failed = {name: polled for name, polled in found.items() if polled is not None and _is_failed(polled)}
            good = {name: polled for name, polled in found.items() if name not in failed}
            if good:
                results.append(self._run(window, good, sensors.selection(self.cloud, _read(good), good)))
            if failed:
                results.append(self._run(window, failed, [keys.raw_key(self.cloud, name) for name in sorted(failed)]))
        return results

    def _run(
        self, window: Window, found: Mapping[str, Polled | None], selection: Sequence[dg.AssetKey]
    ) -> dg.ExecuteInProcessResult:
        polled = _read(found)
        self.edge.polled |= {(self.cloud, name, window): what for name, what in polled.items()}
        started = time.monotonic()
        try:
            result = self.runner.run(self.cloud, selection, [window], "follow")
        finally:
            for name in polled:
                # what a run that broke off did not take is read again; what it took is free since it was stored, and
                # may be busy with another poll by now
                if self.edge.polled.pop((self.cloud, name, window), None) is not None:
                    self._release(name, window)
        outcome = "run" if result.success else "failed run"
        log.info(
            "%s %s: %s: %s %s, %.1f s",
            *(self.cloud, window.key, ", ".join(sorted(found)), outcome, result.run_id[:8]),
            time.monotonic() - started,
        )
        return result

    def on_done(self, stage: str, source: str | None, window: Window, outcome: Harvested | Exception | Any) -> None:
        """What the runs tell: a stored window may be polled again, and records of other windows have to go on."""
        if stage != "raw":
            return
        if isinstance(outcome, Harvested):
            self._shown[source, window] = (outcome.status, outcome.reason)
            with self._lock:
                for other in outcome.windows:
                    if other != window:
                        self._to_run.setdefault(other, {}).setdefault(source, None)
        elif isinstance(outcome, SourceError):
            self._shown[source, window] = (GAP, outcome.code)
        self._forget(window)
        self._release(source, window)

    def _forget(self, window: Window) -> None:
        """Keeps what was shown of recent windows only; an older one that changes again is shown again."""
        if len(self._shown) > MOST_REMEMBERED:
            horizon = window.start - timedelta(days=2)
            self._shown = {read: shown for read, shown in self._shown.items() if read[1].start >= horizon}

    def collect_left_behind(self) -> None:
        """Windows whose records were stored and never reached the timeline get a run, after growing waits."""
        if sensors.in_progress(self.runner.instance, self.cloud):
            return
        now = self.clock()
        left = measures.left_behind(self.pipeline, self.cloud, self.sources)
        self._retries = {window: tries for window, tries in self._retries.items() if window in {w for _, w in left}}
        for window in sorted({window for _, window in left}):
            tries, not_before = self._retries.get(window, (0, now))
            if now >= not_before:
                wait = min(timedelta(seconds=LEFT_BEHIND_SECONDS) * 2**tries, LONGEST_RETRY)
                self._retries[window] = (min(tries + 1, 20), now + wait)
                with self._lock:
                    for name, of in left:
                        if of == window:
                            self._to_run.setdefault(window, {}).setdefault(name, None)


def _read(found: Mapping[str, Polled | None]) -> dict[str, Polled]:
    return {name: polled for name, polled in found.items() if polled is not None}


def _is_failed(polled: Polled) -> bool:
    return polled.fetched is None and (polled.harvested is None or polled.harvested.status == GAP)
