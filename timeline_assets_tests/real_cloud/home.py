"""One timeline of its own: a configuration, a state folder, its commands as processes, its tables."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import polars as pl

from timeline_assets.config import Settings, load
from timeline_assets.sources import SOURCES
from timeline_assets.store.copy import read_frame
from timeline_assets.store.database import Database, open_database
from timeline_assets.store.migrate import migrate

CLOUD, TOO_SMALL = "real", "toosmall"
LOOK_SECONDS = 0.3
#: Longer than any poll, run or start of a process takes on a machine that is busy with the cloud itself.
PATIENCE_SECONDS = 300
COMMAND_SECONDS = 600
TIMELINE = [sys.executable, "-m", "timeline_assets.cli"]


@dataclass(frozen=True)
class Home:
    """A timeline of the clouds `real` (an administrator's) and `toosmall` (a member's of one project).

    Whatever writes to it is a process of its own, as a person would start it; the tests only read.
    """

    folder: Path
    clouds_yaml: Path
    database: Database

    @property
    def log(self) -> Path:
        return self.folder / "follow.log"

    def rows(self, query: str, **values: Any) -> pl.DataFrame:
        with self.database.connect("pipeline") as connection:
            return read_frame(connection, query, values)

    def begin(self, *arguments: str, log: Path | None = None) -> subprocess.Popen[str]:
        """`timeline ARGUMENTS…`, running."""
        out = (log or self.folder / f"{arguments[0]}.log").open("a")
        with out:
            return subprocess.Popen(
                [*TIMELINE, *arguments],
                env=self.environment,
                cwd=self.folder,
                stdout=out,
                stderr=subprocess.STDOUT,
                text=True,
                start_new_session=True,
            )

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """`timeline ARGUMENTS…`, done."""
        return subprocess.run(
            [*TIMELINE, *arguments],
            env=self.environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=COMMAND_SECONDS,
            check=False,
        )

    def harvest(self, since: datetime, *, cloud: str = CLOUD) -> list[dict[str, Any]]:
        """`timeline harvest` of everything since then: what it says of each source."""
        done = self.run("harvest", "--since", since.isoformat(), "--cloud", cloud, "--json")
        assert done.returncode == 0, f"timeline harvest failed:\n{done.stdout}\n{done.stderr}"
        return json.loads(done.stdout)

    @property
    def environment(self) -> Mapping[str, str]:
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("TIMELINE_", "OS_"))}
        config = str(self.folder / "timeline.toml")
        return {**ours, "TIMELINE_CONFIG": config, "OS_CLIENT_CONFIG_FILE": str(self.clouds_yaml)}

    def wait_until(self, what: str, query: str, **values: Any) -> None:
        """Wait until a query of one boolean says yes."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not self.rows(query, **values).item():
            if time.monotonic() > deadline:
                raise AssertionError(f"{PATIENCE_SECONDS} s passed and still not: {what}\n{self._how_it_stands()}")
            time.sleep(LOOK_SECONDS)

    def catch_up(self) -> None:
        """Wait until the follower has told what was done before this call.

        Twice around: the second complete scan is what proves a deletion, and the servers to ask about are named by what
        the first round has stored.
        """
        for _ in range(2):
            self.wait_until("every source was read and what was found is told", _IS_TOLD, **_now())

    def _how_it_stands(self) -> str:
        with pl.Config(tbl_rows=30, tbl_cols=10, fmt_str_lengths=80, tbl_width_chars=160):
            scans = self.rows("select source, last_success_at, reason, detail from raw.scans order by cloud, source")
        log = self.log.read_text().splitlines()[-20:] if self.log.exists() else []
        return "\n".join([str(scans), *log])


_IS_TOLD = """
select (select count(*) = %(sources)s from raw.scans where cloud = %(cloud)s and last_success_at >= %(moment)s)
   and not exists (select from raw.attempts where cloud = %(cloud)s and resolved_at is null and replaced_by is null)
"""


def _now() -> dict[str, Any]:
    return {"moment": datetime.now(UTC), "sources": len(SOURCES), "cloud": CLOUD}


@contextmanager
def home(folder: Path, clouds_yaml: Path) -> Iterator[Home]:
    """A timeline in that folder, its database open; a new one is empty."""
    folder.mkdir(parents=True, exist_ok=True)
    settings = _settings(folder)
    with open_database(settings) as database:
        migrate(database)
        yield Home(folder, clouds_yaml, database)


def _settings(folder: Path) -> Settings:
    config = folder / "timeline.toml"
    if not config.exists():
        config.write_text(f'state_dir = "{folder / "state"}"\n[clouds.{CLOUD}]\n[clouds.{TOO_SMALL}]\n')
    return load(environ={"TIMELINE_CONFIG": str(config)})


class Follower:
    """`timeline follow` of the one cloud that may be read, as a process that can be killed."""

    def __init__(self, at: Home) -> None:
        self._at = at
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        self._process = self._at.begin("follow", log=self._at.log)

    def kill(self) -> None:
        """As the kernel does when memory is out."""
        self._process.kill()
        self._process.wait()

    def stop(self) -> None:
        """As a person does."""
        if self._process and self._process.poll() is None:
            self._process.terminate()
            self._process.wait(timeout=PATIENCE_SECONDS)
