"""The recorded cloud on a clock of the test's own, and readers of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from timeline_assets.config import DEMO, CloudSettings, Settings
from timeline_assets.demo import RECORDING, client
from timeline_assets.demo.recording import Recording, read
from timeline_assets.demo.server import Server
from timeline_assets.sources.openstack import OpenStackReader, connect

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
