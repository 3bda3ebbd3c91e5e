"""How each configured cloud is reached, and what time it is there: one of clouds.yaml, or the recorded one.

The recorded cloud's clock is ours, but for the first minutes, in which its recording is played; whatever decides
windows and dates observations of a cloud takes its clock from here.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import TYPE_CHECKING

from timeline_assets.config import CloudSettings, Settings
from timeline_assets.demo import client

if TYPE_CHECKING:
    from openstack.connection import Connection

Clock = Callable[[], datetime]


def clock(settings: Settings, cloud: str) -> Clock:
    """Now, by the clock with which observations of this cloud are dated."""
    return partial(client.now, settings) if settings.cloud(cloud).is_demo else _our_now


def connection(settings: Settings, cloud: str) -> Connection:
    """A connection to the cloud, kept for as long as it leads there; nothing is sent yet.

    Raises:
        ConfigurationError: clouds.yaml does not describe it.
        SourceError: it is the recorded one, and was never started.
    """
    one = settings.cloud(cloud)
    return _connected(one, client.place(settings) if one.is_demo else None)


@lru_cache(maxsize=64)
def _connected(cloud: CloudSettings, place: client.Place | None) -> Connection:
    from timeline_assets.sources import openstack  # noqa: PLC0415 - whoever reads no cloud needs no SDK

    return openstack.connect(cloud, config=place.config if place else None)


def _our_now() -> datetime:
    return datetime.now(UTC)
