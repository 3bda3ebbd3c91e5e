"""The suite's OpenStack: brought up for the session and taken down after it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parent.parent / "cloud"
SKIPPED = 77
INSTALL_SECONDS, UP_SECONDS, DOWN_SECONDS = 1800, 900, 120
#: Where to look for forty free ports in a row; beside the cloud that a person may have up on the default ones.
FIRST_PORTS = range(16000, 20000, 100)
PORTS = 40


@dataclass(frozen=True)
class OpenStack:
    """A running cloud: `folder` holds its clouds.yaml and its ledger, `ports` is the first of its ports."""

    folder: Path
    ports: int

    @property
    def clouds_yaml(self) -> Path:
        return self.folder / "clouds.yaml"

    @property
    def ledger(self) -> Path:
        return self.folder / "ledger.jsonl"

    def up(self) -> None:
        """Start whatever of it is not running."""
        _script(self, [SCRIPTS / "up.sh"], UP_SECONDS)

    def stop(self, *daemons: str) -> None:
        """Stop some of its daemons, as a crash or an upgrade would."""
        command = f'. "{SCRIPTS}/daemons.sh"; stop 20 {" ".join(daemons)}'
        _script(self, ["bash", "-c", command], UP_SECONDS)


@contextmanager
def running() -> Iterator[OpenStack]:
    """A cloud that is up, fresh unless one is given; skips the test that asks for it where there can be none."""
    given = os.environ.get("TIMELINE_TEST_CLOUD")
    folder = Path(given) if given else Path(tempfile.mkdtemp(prefix="timeline-cloud-"))
    cloud = OpenStack(folder, _ports_of(folder) or _free_ports())
    try:
        _script(cloud, [SCRIPTS / "install.sh"], INSTALL_SECONDS)
        cloud.up()
        yield cloud
    finally:
        if not given:
            _script(cloud, [SCRIPTS / "down.sh"], DOWN_SECONDS)
            shutil.rmtree(folder)


def _script(cloud: OpenStack, command: list[str | Path], seconds: float) -> None:
    environment = {**os.environ, "CLOUD": str(cloud.folder), "CLOUD_PORTS": str(cloud.ports), "EXTRAS": ""}
    done = subprocess.run(
        command,
        env=environment,
        timeout=seconds,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    said = done.stdout.strip()
    if done.returncode == SKIPPED:
        pytest.skip(said.splitlines()[-1].removeprefix("SKIPPED: "))
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed:\n{said}\nIts logs are in {cloud.folder}/log.")


def _ports_of(folder: Path) -> int | None:
    """The ports of a cloud that was up before."""
    try:
        text = (folder / "clouds.yaml").read_text()
    except FileNotFoundError:
        return None
    keystone = text.partition("auth_url: http://127.0.0.1:")[2].partition("/")[0]
    return int(keystone) - 10


def _free_ports() -> int:
    for first in FIRST_PORTS:
        if all(_is_free(port) for port in range(first, first + PORTS)):
            return first
    raise RuntimeError(f"there are no {PORTS} free ports in a row from {FIRST_PORTS.start} on")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
