"""Two clouds whose answers a test writes down, the real stages on a real database, and Dagster over them.

Time is a morning in the past that the test sets, so that its hours are partitions whenever the tests run.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import dagster as dg
import pytest
from dagster._core.instance.ref import InstanceRef

from timeline_assets.config import CloudSettings, HarvestSettings, Settings
from timeline_assets.errors import SourceError
from timeline_assets.pipeline import Pipeline
from timeline_assets.raw import harvest as raw_stage
from timeline_assets.raw.store import RawStore
from timeline_assets.raw.windows import Window
from timeline_assets.sources import keystone_domains, keystone_projects, neutron_networks
from timeline_assets.sources.base import Fetched, Record, Shape, Source, Span
from timeline_assets.wiring.edge import Edge, Stages
from timeline_assets.wiring.runs import Parts, Result, Runner, harvest_windows

START = datetime(2024, 5, 1, tzinfo=UTC)
DOMAIN, PROJECT = "d0", "p0"


def at(text: str) -> datetime:
    """A time of the test's day: ``10:05`` or ``10:05:30``."""
    return datetime.fromisoformat(f"2024-05-02T{text}+00:00")


def hour(text: str) -> Window:
    """An hour of the test's day: ``10``."""
    return Window(at(f"{text}:00"))


@dataclass
class World:
    """What the clouds answer and when it is; `asked` is every fetch: (cloud, source)."""

    now: datetime = field(default_factory=lambda: at("10:05"))
    networks: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    errors: dict[tuple[str, str], Exception] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)

    @property
    def sources(self) -> tuple[Source, ...]:
        return tuple(
            replace(source, fetch=self._fetch(source))
            for source in (keystone_domains.SOURCE, keystone_projects.SOURCE, neutron_networks.SOURCE)
        )

    @property
    def stages(self) -> Stages:
        def harvest_here(
            pipeline: Pipeline, cloud: str, source: Source, window: Window, *, fetched: Fetched | None = None
        ):
            reader = self.reader(pipeline, cloud, source)
            return raw_stage.harvest(pipeline, cloud, source, window, reader=reader, fetched=fetched)

        return Stages(reader=self.reader, harvest=harvest_here)

    def reader(self, pipeline: Pipeline, cloud: str, source: Source) -> Any:
        return SimpleNamespace(cloud=cloud)

    def network(self, cloud: str, id: str, when: datetime, **more: Any) -> None:
        """One more network, or a newer version of one."""
        stamp = when.strftime("%Y-%m-%dT%H:%M:%SZ")
        body = {
            "id": id,
            "name": id,
            "project_id": PROJECT,
            "tenant_id": PROJECT,
            "status": "ACTIVE",
            "admin_state_up": True,
        }
        body |= {"shared": False, "router:external": False, "mtu": 1450, "subnets": [], "tags": [], "description": ""}
        body |= {"created_at": stamp, "updated_at": stamp, "revision_number": 1, **more}
        others = [known for known in self.networks.get(cloud, []) if known["id"] != id]
        self.networks[cloud] = [*others, body]

    def fails(self, cloud: str, source: str, code: str = "unreachable") -> None:
        error = SourceError(f"{cloud}: nobody answers", code=code, remedy="Look whether it runs.")
        self.errors[cloud, source] = error

    def _fetch(self, source: Source):
        def fetch(reader: Any, span: Span) -> Fetched:
            self.asked.append((reader.cloud, source.name))
            if error := self.errors.get((reader.cloud, source.name)):
                raise error
            records = [Record(body["id"], body, _updated_at(body)) for body in self._bodies(reader.cloud, source)]
            return Fetched(records, source.shape is Shape.SNAPSHOT, self.now - timedelta(seconds=2), requests=1)

        return fetch

    def _bodies(self, cloud: str, source: Source) -> list[dict[str, Any]]:
        match source.name:
            case "keystone_domains":
                return [{"id": DOMAIN, "name": "Tenants", "enabled": True, "description": "", "tags": []}]
            case "keystone_projects":
                common = {"enabled": True, "description": "", "tags": [], "domain_id": DOMAIN, "parent_id": DOMAIN}
                return [{"id": PROJECT, "name": "production", **common}]
        return self.networks.get(cloud, [])


def _updated_at(body: dict[str, Any]) -> datetime | None:
    return datetime.fromisoformat(body["updated_at"]) if "updated_at" in body else None


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        state_dir=tmp_path / "state",
        clouds=(CloudSettings(name="east"), CloudSettings(name="west")),
        harvest=HarvestSettings(start=START),
    )


@dataclass(frozen=True)
class PipelineOfTheWorld(Pipeline):
    """A pipeline on whose clouds it is as late as in the test's world."""

    world: World

    def now(self, cloud: str) -> datetime:
        return self.world.now


@pytest.fixture
def pipeline(settings: Settings, database: Any, tmp_path: Path, world: World) -> Pipeline:
    return PipelineOfTheWorld(settings, database, RawStore(tmp_path / "raw"), world)


def a_while_passes(pipeline: Pipeline) -> None:
    """What was committed was committed some time ago."""
    with pipeline.connect() as connection:
        connection.execute("update raw.attempts set committed_at = committed_at - interval '1 hour'")


@pytest.fixture
def edge(pipeline: Pipeline, world: World) -> Edge:
    return Edge(lambda: nullcontext(pipeline), world.stages)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """A Dagster instance in memory, for one thread at a time."""
    with dg.DagsterInstance.ephemeral(tempdir=str(tmp_path)) as instance:
        yield instance


@pytest.fixture
def shared_instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    """A Dagster instance on files, for several threads."""
    home = tmp_path / "dagster"
    home.mkdir()
    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(home))) as instance:
        yield instance


@pytest.fixture
def parts(world: World, instance: dg.DagsterInstance) -> Parts:
    return Parts(world.sources, world.stages, instance)


@pytest.fixture
def harvest(settings: Settings, pipeline: Pipeline, parts: Parts) -> Callable[..., list[Result]]:
    """Harvests windows of east, of all sources or those named."""

    def harvest_east(*windows: Window, sources: list[str] | None = None) -> list[Result]:
        return harvest_windows(settings, pipeline, ["east"], sources, windows, parts=parts)

    return harvest_east


@pytest.fixture
def runner(settings: Settings, instance: dg.DagsterInstance, edge: Edge, world: World) -> Runner:
    return Runner(settings, instance, edge, world.sources)


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Dagster's runs tell everything in events; the console belongs to pytest."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def rows(pipeline: Pipeline, query: str, *params: Any) -> list[tuple]:
    with pipeline.connect() as connection:
        return connection.execute(query, params).fetchall()
