"""A process that rebuilds the recorded cloud's timeline and, if so told, kills itself on the way; argument: JSON.

Without Dagster: the play's hours are no partitions yet, or no more, whenever the tests run.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psycopg
from sqlalchemy import make_url

from timeline_assets.config import DEMO, CloudSettings, Settings
from timeline_assets.pipeline import Pipeline
from timeline_assets.raw.store import RawStore
from timeline_assets.raw.windows import Window
from timeline_assets.sources import SOURCES
from timeline_assets.store.database import Database
from timeline_assets.wiring import keys, runs
from timeline_assets.wiring.edge import Edge


class Runner:
    """Does what the runs' steps do, in their order."""

    def __init__(self, settings: Settings, instance: Any, edge: Edge, sources: Any) -> None:
        self._edge = edge

    def run(self, cloud: str, selection: Sequence[Any], windows: Sequence[Window], trigger: str) -> SimpleNamespace:
        for window in windows:
            if selection != keys.behind(cloud):
                for source in SOURCES:
                    self._edge.normalize(cloud, source, window)
            else:
                self._edge.absorb(cloud, window)
                self._edge.resolve(cloud, window, trigger)
        return SimpleNamespace(success=True)


def main(given: dict) -> None:
    """Rebuild; `die_at` is the number of the statement that is this process's last."""
    settings = Settings(state_dir=Path(given["folder"]), clouds=(CloudSettings(name=DEMO),))
    database = Database({role: make_url(url) for role, url in given["urls"].items()})
    _die_at(given["die_at"])
    runs.Runner = Runner
    pipeline = Pipeline(settings, database, RawStore(given["raw"]))
    runs.rebuild(settings, pipeline, [DEMO], parts=runs.Parts(instance=SimpleNamespace()))


def _die_at(number: int) -> None:
    done = 0
    execute = psycopg.Cursor.execute

    def counted(self: psycopg.Cursor, *args: object, **more: object) -> psycopg.Cursor:
        nonlocal done
        done += 1
        if done == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return execute(self, *args, **more)

    psycopg.Cursor.execute = counted


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
