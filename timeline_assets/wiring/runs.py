"""Runs that this process executes itself: the follower's, `timeline harvest`'s, `timeline rebuild`'s.

They stand in the UI like any other and cost a tenth of a launched one, which starts a fresh interpreter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from timeline_assets.config import Settings
from timeline_assets.errors import SourceError, TimelineError
from timeline_assets.normalize.stage import Normalized
from timeline_assets.pipeline import Pipeline
from timeline_assets.raw import rebuilds
from timeline_assets.raw.harvest import Harvested
from timeline_assets.raw.windows import HOUR, Window
from timeline_assets.sources import SOURCES, named
from timeline_assets.sources.base import Source
from timeline_assets.timeline.by_hand import settle
from timeline_assets.timeline.founded import retract_unfounded
from timeline_assets.timeline.verify import ruleset
from timeline_assets.wiring import keys
from timeline_assets.wiring.build import build_defs, sources_of
from timeline_assets.wiring.edge import Edge, Stages
from timeline_assets.wiring.instance import open_instance, share_between_threads
from timeline_assets.wiring.partitions import WINDOWS_PER_RUN, range_tags
from timeline_assets.wiring.upkeep import this_worker

#: What the runs say goes into their events; the console belongs to the command.
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}

OnProgress = Callable[["Progress"], None]

#: Clouds that one command works on at the same time.
CLOUDS_AT_A_TIME = 4


@dataclass(frozen=True)
class Progress:
    """One window that a stage (``raw``, ``normalize``, ``topology``, ``timeline``) has finished.

    `source` is None behind normalize; `outcome` is the stage's result, or the error: a :class:`SourceError` is a gap.
    """

    stage: str
    cloud: str
    source: str | None
    window: Window
    outcome: Any


@dataclass
class Result:
    """What was done with one source of one cloud.

    `seen`, `new`, `updated`, `unchanged`, `gone` and `set_aside` count records, `events` what they mean; `quarantined`
    are the events of these windows whose owner is not proven now. `gaps` are the windows that could not be read.
    """

    cloud: str
    source: str
    windows: int = 0
    seen: int = 0
    new: int = 0
    updated: int = 0
    unchanged: int = 0
    gone: int = 0
    events: int = 0
    set_aside: int = 0
    quarantined: int = 0
    requests: int = 0
    gaps: dict[Window, SourceError] = field(default_factory=dict)

    def add(self, window: Window, outcome: Harvested | Normalized | SourceError) -> None:
        """Count one window that a stage has finished."""
        match outcome:
            case SourceError():
                self.gaps[window] = outcome
            case Harvested():
                self.gaps.pop(window, None)
                for name in ("seen", "new", "updated", "unchanged", "gone", "set_aside", "requests"):
                    setattr(self, name, getattr(self, name) + getattr(outcome, name))
            case Normalized():
                self.events += outcome.facts
                self.set_aside += outcome.set_aside


@dataclass(frozen=True)
class Parts:
    """What a test may replace: the sources, the stages, the Dagster instance (the one of `timeline up`)."""

    sources: tuple[Source, ...] = SOURCES
    stages: Stages = field(default_factory=Stages)
    instance: dg.DagsterInstance | None = None

    def instance_of(self, settings: Settings, pipeline: Pipeline) -> AbstractContextManager[dg.DagsterInstance]:
        """The instance that runs stand in."""
        return nullcontext(self.instance) if self.instance else open_instance(settings, pipeline.database)


class Runner:
    """Executes runs on some clouds' assets in this process; safe for several threads, each with its own cloud."""

    def __init__(
        self, settings: Settings, instance: dg.DagsterInstance, edge: Edge, sources: tuple[Source, ...] = SOURCES
    ) -> None:
        share_between_threads(instance)
        self.instance = instance
        defs = build_defs(settings, {"edge": edge, "sources": sources, "checks": False})
        self._jobs = {cloud.name: defs.resolve_job_def(keys.harvest_job(cloud.name)) for cloud in settings.clouds}

    def run(
        self, cloud: str, selection: Sequence[dg.AssetKey], windows: Sequence[Window], trigger: str
    ) -> dg.ExecuteInProcessResult:
        """One run over consecutive windows. A failed step fails the run and nothing else: the result says so."""
        one = {"partition_key": windows[0].key} if len(windows) == 1 else {}
        return self._jobs[cloud].execute_in_process(
            instance=self.instance,
            asset_selection=list(selection),
            run_config=_QUIET,
            raise_on_error=False,
            tags={
                **({} if one else range_tags(list(windows))),
                keys.TRIGGER: trigger,
                keys.LAUNCHED_BY: f"timeline {trigger}",
                keys.WORKER: this_worker(),
                # another process could not repeat it: what was read is here
                "dagster/max_retries": "0",
            },
            **one,
        )


def harvest_windows(  # noqa: PLR0917 - what is asked for, in the order in which one says it
    settings: Settings,
    pipeline: Pipeline,
    clouds: Sequence[str],
    sources: Sequence[str] | None,
    windows: Sequence[Window],
    on_progress: OnProgress = lambda _: None,
    *,
    parts: Parts | None = None,
) -> list[Result]:
    """Harvest windows now, from the sources to the tenants' rows, as runs that the UI shows.

    Args:
        clouds: their names; one that fails does not keep the others back.
        sources: names, or None for all that are configured for a cloud.
        windows: any; each run takes up to a day of consecutive ones.
        on_progress: told of every window that a stage has finished, from several threads.

    Returns:
        One result per cloud and source that was asked for, in that order.

    Raises:
        ConfigurationError: a cloud or source is unknown, or a window lies in the future.
        TimelineError: what no gap can stand for, such as a database that is gone.
    """
    work = _Work(settings, pipeline, clouds, sources, on_progress, parts or Parts())

    def harvest(runner: Runner, cloud: str) -> None:
        facts = [keys.facts_key(cloud, name) for name in work.chosen[cloud]]
        for some in stretches(windows):
            runner.run(cloud, [*(keys.raw_key(cloud, name) for name in work.chosen[cloud]), *facts], some, "harvest")
            # runs of their own: what could be read goes on, whatever could not
            runner.run(cloud, keys.behind(cloud), some, "harvest")
            for others in stretches(work.taken_stored(cloud) - set(some)):
                runner.run(cloud, [*facts, *keys.behind(cloud)], others, "harvest")

    work.do(harvest)
    return work.counted(windows)


def rebuild(
    settings: Settings,
    pipeline: Pipeline,
    clouds: Sequence[str],
    on_progress: OnProgress = lambda _: None,
    *,
    parts: Parts | None = None,
) -> list[Result]:
    """Make everything behind raw anew, for every window that has records; no source is asked.

    What does not change is not written; an event whose owner is decided otherwise now moves to the other tenant,
    and one that no fact gives any more is taken back. Killed, it is gone on with by the next call.

    Raises:
        TimelineError: what no gap can stand for, such as a database that is gone.
    """
    work = _Work(settings, pipeline, clouds, None, on_progress, parts or Parts())
    stored = {cloud: _stored_windows(pipeline, cloud) for cloud in clouds}

    def make_anew(runner: Runner, cloud: str) -> None:
        rebuilds.begin(pipeline, cloud, ruleset(settings.cloud(cloud)))
        settle(pipeline, cloud, again=True)
        # all facts before any owner: a window's owner may be proven by another's evidence
        for selection in ([keys.facts_key(cloud, name) for name in work.chosen[cloud]], keys.behind(cloud)):
            for some in stretches(stored[cloud]):
                ran = runner.run(cloud, selection, some, "rebuild")
                if work.is_failed:
                    return
                if not ran.success:
                    raise TimelineError(
                        f"the rebuild of {cloud} failed in its run {ran.run_id}",
                        remedy="Look at that run in Dagster's pages; then rebuild again: it goes on from here.",
                    )
        retract_unfounded(pipeline, cloud)
        rebuilds.end(pipeline, cloud)

    work.do(make_anew, again=True)
    return work.counted([window for windows in stored.values() for window in windows])


def stretches(windows: Iterable[Window]) -> Iterator[list[Window]]:
    """Windows in runs of consecutive ones, a day at most, oldest first."""
    stretch: list[Window] = []
    for window in sorted(set(windows)):
        if stretch and (window.start - stretch[-1].start != HOUR or len(stretch) == WINDOWS_PER_RUN):
            yield stretch
            stretch = []
        stretch.append(window)
    if stretch:
        yield stretch


class _Work:
    """What a command does with some sources of some clouds, and what has come of it."""

    def __init__(  # noqa: PLR0917
        self,
        settings: Settings,
        pipeline: Pipeline,
        clouds: Sequence[str],
        sources: Sequence[str] | None,
        on_progress: OnProgress,
        parts: Parts,
    ) -> None:
        for name in sources or ():
            named(name)
        self._settings, self._pipeline, self._parts, self._on_progress = settings, pipeline, parts, on_progress
        self.chosen = {
            cloud: [s.name for s in sources_of(settings, cloud, parts.sources) if sources is None or s.name in sources]
            for cloud in clouds
        }
        self._results = {(cloud, name): Result(cloud, name) for cloud in clouds for name in self.chosen[cloud]}
        self._first_stage = ""
        self._stored: dict[str, set[Window]] = {cloud: set() for cloud in clouds}
        self._errors: list[BaseException] = []

    @property
    def is_failed(self) -> bool:
        """Whether anything failed that no gap stands for."""
        return bool(self._errors)

    def taken_stored(self, cloud: str) -> set[Window]:
        """The windows in which something was stored since the last call: a record lies where its own time does."""
        stored, self._stored[cloud] = self._stored[cloud], set()
        return stored

    def do(self, work: Callable[[Runner, str], None], *, again: bool = False) -> None:
        """Do the work of each cloud, several at a time; what no gap stands for is raised when all have ended."""
        self._first_stage = "normalize" if again else "raw"
        edge = Edge(lambda: nullcontext(self._pipeline), self._parts.stages, again=again, on_done=self._note)
        with self._parts.instance_of(self._settings, self._pipeline) as instance:
            runner = Runner(self._settings, instance, edge, self._parts.sources)
            with ThreadPoolExecutor(CLOUDS_AT_A_TIME) as pool:
                ended = [pool.submit(work, runner, cloud) for cloud in self.chosen]
            self._errors += filter(None, (future.exception() for future in ended))
        if self._errors:
            raise self._errors[0]

    def counted(self, windows: Sequence[Window]) -> list[Result]:
        """The results, with what lies in quarantine of these windows."""
        if windows:
            with self._pipeline.connect() as connection:
                found = connection.execute(
                    """select cloud, source, count(*) from timeline.quarantine
                    where resolved_at is null and occurred_at >= %s and occurred_at < %s group by cloud, source""",
                    (min(windows).start, max(windows).end),
                ).fetchall()
            for cloud, source, count in found:
                if (cloud, source) in self._results:
                    self._results[cloud, source].quarantined = count
        return list(self._results.values())

    def _note(self, stage: str, cloud: str, source: str | None, window: Window, outcome: Any) -> None:
        if isinstance(outcome, Exception) and not isinstance(outcome, SourceError):
            self._errors.append(outcome)
        elif source is not None:
            self._results[cloud, source].add(window, outcome)
            if stage == self._first_stage:
                self._results[cloud, source].windows += 1
            if isinstance(outcome, Harvested):
                self._stored[cloud] |= set(outcome.windows)
        self._on_progress(Progress(stage, cloud, source, window, outcome))


def _stored_windows(pipeline: Pipeline, cloud: str) -> list[Window]:
    with pipeline.connect() as connection:
        rows = connection.execute(
            "select distinct window_start from raw.attempts where cloud = %s and replaced_by is null order by 1",
            (cloud,),
        ).fetchall()
    return [Window(start) for (start,) in rows]
