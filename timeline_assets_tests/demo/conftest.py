"""The recorded cloud on a clock of the test's own, readers of it, and its whole play."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from timeline_assets.config import DEMO, CloudSettings, Settings
from timeline_assets.demo import RECORDING, client
from timeline_assets.demo.play import CATCH_UP_SECONDS
from timeline_assets.demo.recording import Recording, read
from timeline_assets.demo.server import Server
from timeline_assets.normalize.stage import normalize
from timeline_assets.pipeline import Pipeline
from timeline_assets.raw.coverage import due
from timeline_assets.raw.harvest import harvest
from timeline_assets.raw.store import RawStore
from timeline_assets.sources import SOURCES, named
from timeline_assets.sources.openstack import OpenStackReader, connect
from timeline_assets.store.copy import read_frame
from timeline_assets.store.database import Database
from timeline_assets.timeline.stage import resolve
from timeline_assets.topology.stage import absorb

START = datetime(2026, 12, 1, 10, 2, tzinfo=UTC)


@dataclass
class Clock:
    """Our clock; the recorded cloud's follows it."""

    now: datetime = START

    def __call__(self) -> datetime:
        return self.now

    def wait(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(client, "_ours", clock)
    return clock


@pytest.fixture(scope="session")
def recording() -> Recording:
    return read(RECORDING)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    folder = tmp_path / "state"
    folder.mkdir()
    return Settings(state_dir=folder, clouds=(CloudSettings(name=DEMO),))


@pytest.fixture
def starting(settings: Settings, clock: Clock) -> Iterator[Callable[..., Server]]:
    """Starts servers; those that still run at the end are stopped."""
    running: list[Server] = []

    class Stoppable(Server):
        def stop(self) -> None:
            running.remove(self)
            super().stop()

    def start(**more: Any) -> Server:
        server = Stoppable(settings, clock=clock, **more)
        running.append(server)
        server.start()
        return server

    yield start
    for server in list(running):
        server.stop()


@pytest.fixture
def server(starting: Callable[..., Server]) -> Server:
    return starting()


@pytest.fixture
def reading(settings: Settings, server: Server) -> Iterator[Callable[..., OpenStackReader]]:
    """Makes readers of the recorded cloud, as the raw stage would; they do not sleep."""
    opened = []

    def make(source: str = "test", **more: Any) -> OpenStackReader:
        cloud = settings.cloud(DEMO)
        connection = connect(cloud, config=client.place(settings).config)
        opened.append(connection)
        more.setdefault("clock", lambda: client.now(settings))
        return OpenStackReader(connection, cloud, source, sleep=lambda _: None, **more)

    yield make
    for connection in opened:
        connection.close()


#: Our time between two rounds, a quarter of the recorded cloud's; one is in the 13 seconds in which a host is down.
ROUND_SECONDS = 6
#: The settle delay of every source, and a little.
SETTLED_SECONDS = 700


@dataclass
class Told:
    """The timeline of the whole play, and the recording as it was played."""

    pipeline: Pipeline
    played: Recording
    clock: Clock

    def rows(self, query: str) -> list[dict]:
        with self.pipeline.connect() as connection:
            return read_frame(connection, query).to_dicts()

    def follow(self) -> int:
        """Whatever is due, from its source to its tenants; gives how much was stored."""
        pipeline, stored = self.pipeline, set()
        for source, window in due(pipeline, DEMO, SOURCES, pipeline.now(DEMO)):
            found = harvest(pipeline, DEMO, source, window)
            stored |= {(source.name, each) for each in found.windows}
        for name, window in sorted(stored):
            normalize(pipeline, DEMO, named(name), window)
        for window in sorted({window for _, window in stored}):
            absorb(pipeline, DEMO, window)
            resolve(pipeline, DEMO, window)
        return len(stored)

    def ever(self, listing: str) -> Iterator[tuple[datetime, dict]]:
        """Every version of every record that the listing showed, and since when."""
        for of_key in self.played.versions[listing].values():
            yield from ((since, record) for since, record in of_key if record)

    def tenants(self) -> dict[str | None, str]:
        """``<domain>/<project>`` by the project's id, as they were first named."""
        domains = {row["id"]: row["name"] for _, row in self.ever("keystone_domains")}
        projects = {row["id"]: row for _, row in reversed(list(self.ever("keystone_projects")))}
        return {id: f"{domains[row['domain_id']]}/{row['name']}" for id, row in projects.items()}


@pytest.fixture(scope="module")
def told(postgres, migrated_template, recording, tmp_path_factory) -> Iterator[Told]:
    folder, clock = tmp_path_factory.mktemp("demo"), Clock()
    settings = Settings(state_dir=folder, clouds=(CloudSettings(name=DEMO),))
    name = postgres.create(template=migrated_template)
    database: Database = postgres.database(name)
    server = Server(settings, clock=clock)
    server.start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(client, "_ours", clock)
        told = Told(Pipeline(settings, database, RawStore(folder / "raw")), recording, clock)
        while clock.now <= START + timedelta(seconds=CATCH_UP_SECONDS + ROUND_SECONDS):
            told.follow()
            clock.wait(ROUND_SECONDS)
        for _ in range(2):  # what the first reading after the hour still finds makes it wait once more
            clock.wait(SETTLED_SECONDS)
            told.follow()
        told.played = recording.shifted(server.play.asked_at - recording.ended_at)
        yield told
    server.stop()
    database.close()
    postgres.drop(name)
