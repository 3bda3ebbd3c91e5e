"""The replay's clock, and the small file in the state folder by which the pipeline finds the recorded cloud.

The recording lasts some minutes and shall end *now*. So its cloud's clock stands `lead_seconds` behind ours, a little
more than the recording is long, until somebody asks it the first question; from then on it runs faster and has caught
up with ours `catch_up_seconds` later. From there on it is our clock, and the cloud is quiet. The moment of the first
question is remembered: it decides, once and for all, by how much the recording's times are shifted.
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from timeline_assets.config import Settings
from timeline_assets.errors import TimelineError

#: The one who may ask, as clouds.yaml would name them.
USER, PROJECT, DOMAIN = "harvester", "admin", "Default"
#: How long the recording is played for, however long it is. Some things in it stand for 13 seconds of five minutes:
#: they have to stand long enough for a small machine to see them.
CATCH_UP_SECONDS = 90.0
#: How long the cloud stands as it was at the recording's begin, by its own clock.
STILL_SECONDS = 5.0


@dataclass(frozen=True)
class Play:
    """Where the recorded cloud answers, to whom, and how its clock runs.

    `recording` is the SHA-256 of what it plays, `asked_at` when it was asked first (our clock).
    """

    url: str
    password: str = field(repr=False)
    recording: str
    lead_seconds: float
    catch_up_seconds: float = CATCH_UP_SECONDS
    asked_at: datetime | None = None

    def now(self, ours: datetime) -> datetime:
        """What the recorded cloud's clock shows when ours shows `ours`; never runs back, never ahead of ours."""
        played = 0.0 if self.asked_at is None else (ours - self.asked_at).total_seconds() / self.catch_up_seconds
        return ours - timedelta(seconds=self.lead_seconds) * (1 - min(max(played, 0.0), 1.0))

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])


def path_of(settings: Settings) -> Path:
    """Where the play stands that runs on this state folder."""
    return settings.state_dir / "recorded-cloud.json"


def load(settings: Settings) -> Play | None:
    """The play of this state folder; None if there never was one. Raises :class:`TimelineError` if it is malformed."""
    path = path_of(settings)
    try:
        data: dict[str, Any] = json.loads(path.read_text())
        asked_at = data.pop("asked_at")
        return Play(**data, asked_at=datetime.fromisoformat(asked_at) if asked_at else None)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise TimelineError(
            f"{path} cannot be read: {error}", remedy=f"Delete {settings.state_dir} to begin the demo anew."
        ) from None


def save(settings: Settings, play: Play) -> None:
    """Write it down for the pipeline's processes, readable by its owner only, whole or not at all."""
    data = asdict(play) | {"asked_at": play.asked_at and play.asked_at.astimezone(UTC).isoformat()}
    path = path_of(settings)
    half = path.with_suffix(".new")
    descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(json.dumps(data))
    half.replace(path)
