"""What the pipeline costs per event, beside the limit: a raw COPY of exactly the rows it wrote.

::

    python -m benchmarks.pipeline --events 10000 100000 1000000     # how cost and memory grow with what comes in
    python -m benchmarks.pipeline --events 10000 --stored 1000000   # and with what is stored already

Per size: synthetic raw records (:mod:`benchmarks.synthetic`) through normalize → topology → resolve → tables, then the
final rows of every table that was written to by COPY into empty clones with the same indexes, on the same server, in
the same run. CPU seconds are this process's and the server's together. Ratio: COPY's CPU seconds by the pipeline's; the
limit is 0.25. Then the same window again, which has to change no row.
"""

from __future__ import annotations

import argparse
import io
import resource
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from multiprocessing import get_context
from pathlib import Path

import psutil

from benchmarks.synthetic import Cloud, happenings, observations
from timeline_assets.config import CloudSettings, Settings
from timeline_assets.normalize.stage import normalize
from timeline_assets.pipeline import Pipeline, open_pipeline
from timeline_assets.raw.windows import Window
from timeline_assets.sources import named
from timeline_assets.timeline.stage import resolve
from timeline_assets.topology.stage import absorb

CLOUD = "bench"
TABLES = (
    *(f"topology.{table}" for table in ("claims", "resources", "ownership", "edges", "touched")),
    *(f"timeline.{table}" for table in ("events", "event_keys", "attributions", "tenant_events", "tenant_changes")),
    *(f"timeline.{table}" for table in ("quarantine", "awaits")),
)


@dataclass
class Meter:
    """CPU seconds of this process and of the embedded server with all its processes."""

    server: psutil.Process

    def read(self) -> float:
        own = resource.getrusage(resource.RUSAGE_SELF)
        return own.ru_utime + own.ru_stime + sum(map(_cpu, [self.server, *self.server.children(recursive=True)]))

    def cost(self, work: Callable[[], object]) -> tuple[float, float]:
        """CPU and wall seconds of `work`. A backend that ended is counted by its parent."""
        cpu, wall = self.read(), time.perf_counter()
        work()
        return self.read() - cpu, time.perf_counter() - wall


def _cpu(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return times.user + times.system + times.children_user + times.children_system


def main() -> None:
    """Runs the sizes asked for, each on a database of its own, and prints one line each."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--events", type=int, nargs="+", default=[10_000, 100_000], help="events that come in")
    parser.add_argument("--stored", type=int, default=0, help="events that are stored already")
    parser.add_argument("--chunk-rows", type=int, default=100_000, help="harvest.chunk_rows: what bounds memory")
    options = parser.parse_args()
    print(  # noqa: T201 - a program
        f"{'events':>9} {'stored':>9} {'CPU s':>8} {'events/CPU s':>13} {'COPY CPU s':>11} {'rows':>9} {'ratio':>6} "
        f"{'again CPU s':>11} {'changed':>8} {'peak MB':>8}"
    )
    for events in options.events:
        _one(events, options.stored, options.chunk_rows)


def _one(events: int, stored: int, chunk_rows: int) -> None:
    folder = Path(tempfile.mkdtemp(prefix="timeline-bench-"))
    settings = Settings(
        state_dir=folder, clouds=(CloudSettings(name=CLOUD),), harvest={"chunk_rows": chunk_rows, "start": _began(0)}
    )
    try:
        with open_pipeline(settings) as pipeline:
            meter = Meter(pipeline.database.server._postmaster())
            began = 1
            for part in range(0, stored, 1_000_000):
                _elsewhere(settings, began, min(1_000_000, stored - part), seed=part + 10)
                _run(pipeline, began)
                began += 2
            # an ordinary database: statistics are there, and no vacuum of the set-up runs into the measurement
            with pipeline.database.connect("admin") as connection:
                connection.autocommit = True
                connection.execute("vacuum analyze")
            _elsewhere(settings, began, events, seed=2)
            first = _transaction(pipeline)
            cpu, _ = meter.cost(lambda: _run(pipeline, began))
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            then = _transaction(pipeline)
            copied, rows = _copy(pipeline, meter, first)
            again, _ = meter.cost(lambda: _run(pipeline, began, again=True))
            changed = sum(_written(pipeline, table, then) for table in TABLES)
            print(  # noqa: T201 - a program
                f"{events:>9} {stored:>9} {cpu:>8.1f} {events / cpu:>13.0f} {copied:>11.2f} {rows:>9} "
                f"{copied / cpu:>6.2f} "
                f"{again:>11.1f} {changed:>8} {peak:>8.0f}",
                flush=True,
            )
            pipeline.database.server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _began(number: int) -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=number)


def _elsewhere(settings: Settings, hour: int, events: int, *, seed: int) -> None:
    """Lays the raw attempts in a process of its own: making them up is not what is measured, nor is its memory."""
    maker = get_context("spawn").Process(target=_lay, args=(settings, hour, events, seed))
    maker.start()
    maker.join()
    if maker.exitcode:
        raise SystemExit("the synthetic records could not be made")


def _lay(settings: Settings, hour: int, events: int, seed: int) -> None:
    """The raw attempts of one hour, as a harvest leaves them; each of at most `chunk_rows`."""
    with open_pipeline(settings) as pipeline:
        for part in range(0, events, settings.harvest.chunk_rows):
            size = min(settings.harvest.chunk_rows, events - part)
            _lay_some(pipeline, hour, size, seed=seed * 1000 + part // settings.harvest.chunk_rows, is_first=part == 0)


def _lay_some(pipeline: Pipeline, hour: int, events: int, *, seed: int, is_first: bool) -> None:
    cloud = Cloud.make(CLOUD, _began(hour))
    window = Window(_began(hour))
    frames = observations(cloud, happenings(cloud, events, seed=seed))
    if hour == 1 and is_first:
        standing = ((s, r["id"], r, None, cloud.began) for s, rows in cloud.standing().items() for r in rows)
        frames = observations(cloud, standing, seed=4) | frames
    with pipeline.connect() as connection:
        for source, frame in frames.items():
            written = pipeline.raw.write_attempt(CLOUD, source, window, frame)
            connection.execute(
                "insert into raw.attempts (cloud, source, window_start, path, rows, bytes) "
                "values (%s, %s, %s, %s, %s, %s)",
                (CLOUD, source, window.start, written.path, frame.height, written.bytes),
            )


def _run(pipeline: Pipeline, hour: int, *, again: bool = False) -> None:
    window = Window(_began(hour))
    for source in (
        "keystone_domains",
        "keystone_projects",
        "nova_servers",
        "nova_instance_actions",
        "neutron_ports",
        "cinder_volumes",
    ):
        normalize(pipeline, CLOUD, named(source), window, again=again)
    absorb(pipeline, CLOUD, window, again=again)
    resolve(pipeline, CLOUD, window, again=again)


def _transaction(pipeline: Pipeline) -> int:
    """The number of a transaction of now: whatever a later one writes has a greater one."""
    with pipeline.database.connect("pipeline") as connection:
        return connection.execute("select pg_current_xact_id()::xid::text::bigint").fetchone()[0]


def _since(transaction: int) -> str:
    return f"xmin::text::bigint > {transaction}"


def _written(pipeline: Pipeline, table: str, transaction: int) -> int:
    """How many rows of a table were inserted or changed since then."""
    with pipeline.database.connect("pipeline") as connection:
        query = f"select count(*) from {table} where {_since(transaction)}"  # noqa: S608 - ours
        return connection.execute(query).fetchone()[0]


def _copy(pipeline: Pipeline, meter: Meter, transaction: int) -> tuple[float, int]:
    """COPY's CPU seconds for the rows written since then, into empty clones of their tables; and how many."""
    total, rows = 0.0, 0
    for table in TABLES:
        with pipeline.database.connect("pipeline") as connection:
            text = io.BytesIO()
            query = f"copy (select * from {table} where {_since(transaction)}) to stdout"  # noqa: S608 - ours
            with connection.cursor().copy(query) as copy:
                for data in copy:
                    text.write(data)
        with pipeline.database.connect("admin") as connection:
            connection.execute("set role timeline_owner")
            connection.execute(f"create table timeline.clone (like {table} including all)")
            connection.commit()
            cpu, _ = meter.cost(lambda c=connection, t=text: _copy_in(c, t.getvalue()))
            total += cpu
            rows += connection.execute("select count(*) from timeline.clone").fetchone()[0]
            connection.execute("drop table timeline.clone")
    return total, rows


def _copy_in(connection, text: bytes) -> None:
    with connection.cursor().copy("copy timeline.clone from stdin") as copy:
        for start in range(0, len(text), 8_000_000):
            copy.write(text[start : start + 8_000_000])
    connection.commit()


if __name__ == "__main__":
    main()
