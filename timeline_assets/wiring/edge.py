"""What an asset is handed beside its window: the stage functions, the pipeline, and what this process read already.

The pipeline is opened when it is first asked for, so that loading definitions connects to nothing.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from timeline_assets.errors import SourceError
from timeline_assets.normalize.stage import Normalized, normalize
from timeline_assets.raw import rebuilds
from timeline_assets.raw.harvest import Harvested, Polled, harvest, reader_of
from timeline_assets.raw.windows import Window
from timeline_assets.sources.base import Reader, Source
from timeline_assets.sources.openstack import CODES
from timeline_assets.timeline.stage import Resolved, resolve
from timeline_assets.topology.stage import Absorbed, absorb

if TYPE_CHECKING:
    from timeline_assets.pipeline import Pipeline

T = TypeVar("T")

#: (cloud, source's name, window)
Read = tuple[str, str, Window]


@dataclass(frozen=True)
class Stages:
    """The stage functions that the assets call, and what reads a cloud for the follower; a test may hand its own."""

    reader: Callable[..., Reader] = reader_of
    harvest: Callable[..., Harvested] = harvest
    normalize: Callable[..., Normalized] = normalize
    absorb: Callable[..., Absorbed] = absorb
    resolve: Callable[..., Resolved] = resolve


@dataclass
class Edge:
    """One process's way to the stages.

    `polled` holds what was read before the run that reports it (the follower polls first, and starts a run only for
    what is new): the raw asset takes it from there and does not ask the cloud again. `on_done` is told of each window
    that a stage has finished: (stage, cloud, source or None, window, result or error). `again` makes the stages redo
    what was done before the rebuild began (`timeline rebuild`); `may_retry` lets a step that failed for a passing
    reason be tried once more, with the windows that it could read in `kept`. `made_at` is on the monotonic clock.
    """

    opening: Callable[[], AbstractContextManager[Pipeline]]
    stages: Stages = field(default_factory=Stages)
    polled: dict[Read, Polled] = field(default_factory=dict)
    again: bool = False
    may_retry: bool = False
    kept: dict[Read, Harvested] = field(default_factory=dict)
    on_done: Callable[[str, str, str | None, Window, Any], None] = lambda *_: None
    made_at: float = field(default_factory=time.monotonic)
    _stack: ExitStack = field(default_factory=ExitStack, repr=False)
    _pipeline: Pipeline | None = field(default=None, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    @property
    def pipeline(self) -> Pipeline:
        """The open pipeline; opened at the first call."""
        with self._lock:
            if self._pipeline is None:
                self._pipeline = self._stack.enter_context(self.opening())
            return self._pipeline

    def harvest(self, cloud: str, source: Source, window: Window) -> Harvested:
        """The window of a source, harvested: from what was polled, else by asking the cloud now.

        Raises:
            SourceError: it cannot be read, or could not be when it was polled.
        """
        return self._told("raw", cloud, source.name, window, lambda: self._harvested(cloud, source, window))

    def _harvested(self, cloud: str, source: Source, window: Window) -> Harvested:
        read = (cloud, source.name, window)
        if read in self.kept:
            return self.kept.pop(read)
        polled = self.polled.pop(read, Polled())
        if polled.harvested is None:
            return self.stages.harvest(self.pipeline, cloud, source, window, fetched=polled.fetched)
        known = polled.harvested
        if known.status == "gap":
            code = known.reason or "gap"
            raise SourceError(known.detail or code, code=code, remedy=CODES.get(code, ""))
        return known

    def normalize(self, cloud: str, source: Source, window: Window) -> Normalized:
        """The records of the window that are new, normalized."""

        def work() -> Normalized:
            return self.stages.normalize(self.pipeline, cloud, source, window, again=self.again)

        return self._told("normalize", cloud, source.name, window, work)

    def absorb(self, cloud: str, window: Window) -> Absorbed:
        """The window's new evidence, in the topology; `again`: all of the cloud's, once in a rebuild."""

        def work() -> Absorbed:
            if self.again and rebuilds.is_topology_due(self.pipeline, cloud):
                absorbed = self.stages.absorb(self.pipeline, cloud, again=True)
                rebuilds.note_topology(self.pipeline, cloud)
                return absorbed
            return self.stages.absorb(self.pipeline, cloud, window)

        return self._told("topology", cloud, None, window, work)

    def resolve(self, cloud: str, window: Window, run_id: str) -> Resolved:
        """The window's new facts, and whatever waited for the topology that changed, in the timeline."""

        def work() -> Resolved:
            return self.stages.resolve(self.pipeline, cloud, window, run_id=run_id)

        return self._told("timeline", cloud, None, window, work)

    def _told(self, stage: str, cloud: str, source: str | None, window: Window, work: Callable[[], T]) -> T:
        try:
            result = work()
        except Exception as error:
            self.on_done(stage, cloud, source, window, error)
            raise
        self.on_done(stage, cloud, source, window, result)
        return result

    def close(self) -> None:
        """Close the pipeline, if it was opened."""
        with self._lock:
            self._pipeline = None
            self._stack.close()
