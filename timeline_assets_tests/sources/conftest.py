"""A cloud on loopback for each test that asks for one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from timeline_assets.config import CloudSettings
from timeline_assets.sources.openstack import OpenStackReader, connect
from timeline_assets_tests.sources.fakecloud import FakeCloud


@pytest.fixture
def cloud() -> Iterator[FakeCloud]:
    with FakeCloud() as fake:
        yield fake


@pytest.fixture
def reading(cloud: FakeCloud) -> Iterator[Callable[..., OpenStackReader]]:
    """Makes readers of `cloud`; they do not sleep but note how long they would have, in `reader.slept`."""
    opened = []

    def make(source: str = "neutron_ports", *, config: dict[str, Any] | None = None, **more: Any) -> OpenStackReader:
        timeout = more.pop("timeout_seconds", 5)
        settings = CloudSettings(name="fake", timeout_seconds=timeout, concurrency=more.pop("concurrency", 4))
        connection = connect(settings, config=config or cloud.config)
        opened.append(connection)
        slept: list[float] = []
        reader = OpenStackReader(connection, settings, source, sleep=slept.append, **more)
        reader.slept = slept
        return reader

    yield make
    for connection in opened:
        connection.close()
