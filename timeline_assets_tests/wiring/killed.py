"""A process that harvests one window and is killed on the way to the timeline; its argument is JSON."""

from __future__ import annotations

import json
import os
import signal
import sys
from pathlib import Path

import dagster as dg
from dagster._core.instance.ref import InstanceRef
from sqlalchemy import make_url

from timeline_assets.config import CloudSettings, HarvestSettings, Settings
from timeline_assets.raw.store import RawStore
from timeline_assets.store.database import Database
from timeline_assets.wiring.edge import Stages
from timeline_assets.wiring.runs import Parts, harvest_windows
from timeline_assets_tests.wiring.conftest import START, PipelineOfTheWorld, World, at, hour


def main(given: dict) -> None:
    """Store the records, then die before they reach the timeline."""
    world = World()
    world.network("east", "n1", at("10:01"))
    settings = Settings(
        state_dir=Path(given["folder"]), clouds=(CloudSettings(name="east"),), harvest=HarvestSettings(start=START)
    )
    database = Database({role: make_url(url) for role, url in given["urls"].items()})
    pipeline = PipelineOfTheWorld(settings, database, RawStore(given["raw"]), world)
    stages = Stages(reader=world.stages.reader, harvest=world.stages.harvest, resolve=_die)
    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(given["instance"])) as instance:
        parts = Parts(world.sources, stages, instance)
        harvest_windows(settings, pipeline, ["east"], None, [hour("10")], parts=parts)


def _die(*_: object, **__: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
