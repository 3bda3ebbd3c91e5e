"""Runs that this process executes itself: the follower's, `timeline harvest`'s, `timeline rebuild`'s.

They stand in the UI like any other and cost a tenth of a launched one, which starts a fresh interpreter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Any

import dagster as dg

from timeline_assets.config import Settings
from timeline_assets.errors import SourceError
from timeline_assets.pipeline import Pipeline
from timeline_assets.raw.windows import HOUR, Window
from timeline_assets.sources import SOURCES, named
from timeline_assets.sources.base import Source
from timeline_assets.wiring import keys
from timeline_assets.wiring.build import build_defs, sources_of
from timeline_assets.wiring.edge import Edge, Stages
from timeline_assets.wiring.instance import open_instance
from timeline_assets.wiring.partitions import WINDOWS_PER_RUN, range_tags
from timeline_assets.wiring.upkeep import this_worker

#: What the runs say goes into their events; the console belongs to the command.
_QUIET = {"loggers": {"console": {"config": {"log_level": "CRITICAL"}}}}

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

    `seen`, `new`, `updated`, `unchanged`, `gone` and `set_aside` count records, `events` what they mean; `quarantined` are
    the events of these windows whose owner is not proven now. `gaps` are the windows that could not be read.
    """

    cloud: str
    source: str
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
    _windows: set[Window] = field(default_factory=set, repr=False)

    @property
    def windows(self) -> int:
        """How many windows were worked on."""
        return len(self._windows)


class Runner:
    """Executes runs on some clouds' assets in this process; safe for several threads, each with its own cloud."""

    def __init__(
        self, settings: Settings, instance: dg.DagsterInstance, edge: Edge, sources: tuple[Source, ...] = SOURCES
    ) -> None:
        self.instance = instance
        defs = build_defs(settings, {"edge": edge, "sources": sources})
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
                keys.WORKER: this_worker(),
                # another process could not repeat it: what was read is here
                "dagster/max_retries": "0",
            },
            **one,
        )


def harvest_windows(
    settings: Settings,
    pipeline: Pipeline,
    clouds: Sequence[str],
    sources: Sequence[str] | None,
    windows: Sequence[Window],
    on_progress: Callable[[Progress], None] = lambda _: None,
    *,
    all_sources: tuple[Source, ...] = SOURCES,
    stages: Stages | None = None,
    instance: dg.DagsterInstance | None = None,
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
        ConfigurationError: a cloud or source is unknown.
        TimelineError: what no gap can stand for, such as a database that is gone.
    """
    chosen = {cloud: _chosen(settings, cloud, sources, all_sources) for cloud in clouds}
    results = {(cloud, name): Result(cloud, name) for cloud in clouds for name in chosen[cloud]}

    def harvest(runner: Runner, cloud: str) -> None:
        for some in stretches(windows):
            names = chosen[cloud]
            read = [key(cloud, name) for key in (keys.raw_key, keys.facts_key) for name in names]
            runner.run(cloud, read, some, "harvest")
            # a run of its own: what could be read goes on, whatever could not
            runner.run(cloud, keys.behind(cloud), some, "harvest")

    _work(settings, pipeline, clouds, harvest, results, on_progress, all_sources=all_sources, stages=stages, instance=instance)
    _count_quarantine(pipeline, results, windows)
    return list(results.values())


def rebuild(
    settings: Settings,
    pipeline: Pipeline,
    clouds: Sequence[str],
    on_progress: Callable[[Progress], None] = lambda _: None,
    *,
    all_sources: tuple[Source, ...] = SOURCES,
    stages: Stages | None = None,
    instance: dg.DagsterInstance | None = None,
) -> list[Result]:
    """Make everything behind raw anew, for every window that has records; no source is asked.

    What does not change is not written; an event whose owner is decided otherwise now moves to the other tenant.
    """
    chosen = {cloud: _chosen(settings, cloud, None, all_sources) for cloud in clouds}
    results = {(cloud, name): Result(cloud, name) for cloud in clouds for name in chosen[cloud]}
    stored = {cloud: _stored_windows(pipeline, cloud) for cloud in clouds}

    def make_anew(runner: Runner, cloud: str) -> None:
        # all facts before any owner: a window's owner may be proven by another's evidence
        for some in stretches(stored[cloud]):
            runner.run(cloud, [keys.facts_key(cloud, name) for name in chosen[cloud]], some, "rebuild")
        for some in stretches(stored[cloud]):
            runner.run(cloud, keys.behind(cloud), some, "rebuild")

    _work(settings, pipeline, clouds, make_anew, results, on_progress, all_sources=all_sources, stages=stages, instance=instance, again=True)
    _count_quarantine(pipeline, results, [window for windows in stored.values() for window in windows])
    return list(results.values())


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


def _chosen(
    settings: Settings, cloud: str, names: Sequence[str] | None, all_sources: tuple[Source, ...]
) -> list[str]:
    for name in names or ():
        named(name)
    return [s.name for s in sources_of(settings, cloud, all_sources) if names is None or s.name in names]


def _work(
    settings: Settings,
    pipeline: Pipeline,
    clouds: Sequence[str],
    work: Callable[[Runner, str], None],
    results: Mapping[tuple[str, str], Result],
    on_progress: Callable[[Progress], None],
    *,
    all_sources: tuple[Source, ...],
    stages: Stages | None,
    instance: dg.DagsterInstance | None,
    again: bool = False,
) -> None:
    """Do the work of each cloud, several at a time; an error that no gap stands for is raised when all have ended."""
    errors: list[Exception] = []

    def note(stage: str, cloud: str, source: str | None, window: Window, outcome: Any) -> None:
        if isinstance(outcome, Exception) and not isinstance(outcome, SourceError):
            errors.append(outcome)
        elif source is not None:
            _count(results[cloud, source], stage, window, outcome)
        on_progress(Progress(stage, cloud, source, window, outcome))

    edge = Edge(lambda: nullcontext(pipeline), stages or Stages(), again=again, on_done=note)
    opened = nullcontext(instance) if instance else open_instance(settings, pipeline.database)
    with opened as used, ThreadPoolExecutor(CLOUDS_AT_A_TIME) as pool:
        runner = Runner(settings, used, edge, all_sources)
        for future in [pool.submit(work, runner, cloud) for cloud in clouds]:
            if (error := future.exception()) is not None:
                errors.append(error)
    if errors:
        raise errors[0]


def _count(result: Result, stage: str, window: Window, outcome: Any) -> None:
    result._windows.add(window)
    match stage, outcome:
        case "raw", SourceError():
            result.gaps[window] = outcome
        case "raw", _:
            result.gaps.pop(window, None)
            for name in ("seen", "new", "updated", "unchanged", "gone", "set_aside", "requests"):
                setattr(result, name, getattr(result, name) + getattr(outcome, name))
        case "normalize", _:
            result.events += outcome.facts
            result.set_aside += outcome.set_aside


def _count_quarantine(
    pipeline: Pipeline, results: Mapping[tuple[str, str], Result], windows: Sequence[Window]
) -> None:
    if not windows:
        return
    with pipeline.connect() as connection:
        for cloud, source, count in connection.execute(
            """select cloud, source, count(*) from timeline.quarantine
            where resolved_at is null and occurred_at >= %s and occurred_at < %s group by cloud, source""",
            (min(windows).start, max(windows).end),
        ):
            if (cloud, source) in results:
                results[cloud, source].quarantined = count


def _stored_windows(pipeline: Pipeline, cloud: str) -> list[Window]:
    with pipeline.connect() as connection:
        rows = connection.execute(
            "select distinct window_start from raw.attempts where cloud = %s and replaced_by is null order by 1", (cloud,)
        ).fetchall()
    return [Window(start) for (start,) in rows]
