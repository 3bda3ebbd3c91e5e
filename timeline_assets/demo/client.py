"""How the pipeline reaches the recorded cloud of its state folder, and what time it is there."""

from __future__ import annotations

import fcntl
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from timeline_assets.config import Settings
from timeline_assets.demo import play as plays
from timeline_assets.demo.play import DOMAIN, PROJECT, USER
from timeline_assets.errors import SourceError


@dataclass(frozen=True)
class Place:
    """Where the recorded cloud answers, and the password of its one user."""

    url: str
    password: str = field(repr=False)

    @property
    def config(self) -> Mapping[str, Any]:
        """The recorded cloud in clouds.yaml's words."""
        return {
            "auth": {
                "auth_url": f"{self.url}/identity",
                "username": USER,
                "password": self.password,
                "user_domain_name": DOMAIN,
                "project_name": PROJECT,
                "project_domain_name": DOMAIN,
            },
        }


def place(settings: Settings) -> Place:
    """Where it is; raises :class:`SourceError` ``unreachable`` if it was never started."""
    play = plays.load(settings)
    if play is None:
        raise SourceError(
            f"the recorded cloud of {settings.state_dir} was never started",
            code="unreachable",
            remedy="Start it: timeline up --demo",
        )
    return Place(play.url, play.password)


def now(settings: Settings) -> datetime:
    """What the recorded cloud's clock shows: ours, but for the first minutes, in which the recording is played."""
    play = plays.load(settings)
    return _ours() if play is None else play.now(_ours())


def is_answering(settings: Settings) -> bool:
    """Whether some process answers for the recorded cloud of this folder."""
    play = plays.load(settings)
    if play is None or not _is_leased(settings):
        return False
    try:
        with socket.create_connection(("127.0.0.1", play.port), timeout=1):
            return True
    except OSError:
        return False


def _is_leased(settings: Settings) -> bool:
    try:
        with (settings.state_dir / "recorded-cloud.lock").open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def _ours() -> datetime:
    return datetime.now(UTC)
