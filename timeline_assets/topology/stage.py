"""The topology stage: the evidence of normalized attempts into the topology, each chunk in one transaction.

What is worked on is what is pending: attempts that were normalized and not absorbed yet. The resources whose belief
changed are left on the list `topology.touched`, from which the ownership stage takes them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

import polars as pl
import psycopg

from timeline_assets.config import CloudSettings
from timeline_assets.normalize.schema import TRANSFERABLE
from timeline_assets.pipeline import Pipeline
from timeline_assets.raw.seal import still_stored
from timeline_assets.raw.windows import Window
from timeline_assets.store.copy import read_frame
from timeline_assets.topology.merge import forget_untold, lock, merge, note_told, remember, revise, storable


@dataclass(frozen=True)
class Absorbed:
    """What one call did: attempts and claims read, claims that were new, resources they touched, rows by table."""

    attempts: int = 0
    claims: int = 0
    claims_new: int = 0
    resources: int = 0
    opened: dict[str, int] = field(default_factory=dict)
    closed: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0

    def __add__(self, other: Absorbed) -> Absorbed:
        return Absorbed(
            self.attempts + other.attempts,
            self.claims + other.claims,
            self.claims_new + other.claims_new,
            self.resources + other.resources,
            _sum(self.opened, other.opened),
            _sum(self.closed, other.closed),
            self.seconds + other.seconds,
        )


def absorb(pipeline: Pipeline, cloud: str, window: Window | None = None, *, again: bool = False) -> Absorbed:
    """Takes the pending evidence of one cloud into the topology: of one window, or of all.

    Every chunk (`harvest.chunk_rows`) is one transaction; a killed call leaves whole chunks, and the next goes on. With
    `again` the evidence of a window that was absorbed before is taken again, which adds what is new in it; without a
    window the whole belief is made anew from all evidence, in one transaction, and only what differs is written.
    """
    started = time.monotonic()
    done = Absorbed()
    if again and window is None:
        done += _rebuild(pipeline, cloud)
    else:
        for attempts in _pending(pipeline, cloud, window, again=again):
            done += _absorb_attempts(pipeline, cloud, attempts)
    return done + Absorbed(seconds=time.monotonic() - started)


def transferable(cloud: CloudSettings) -> frozenset[str]:
    """The kinds that can change hands in this cloud: none of a volume's where its policy forbids transfers."""
    return TRANSFERABLE if cloud.volume_transfers else TRANSFERABLE - {"volume", "snapshot"}


def _pending(pipeline: Pipeline, cloud: str, window: Window | None, *, again: bool) -> Iterator[pl.DataFrame]:
    """The attempts to absorb, oldest first, in groups of about a chunk's observations."""
    with pipeline.connect() as connection:
        attempts = read_frame(
            connection,
            """select attempt_id, evidence_path, rows from raw.attempts
            where cloud = %(cloud)s and normalized_at is not null and replaced_by is null
              and (%(start)s::timestamptz is null or window_start = %(start)s) and (%(again)s or absorbed_at is null)
            order by window_start, attempt_id""",
            {"cloud": cloud, "start": window.start if window else None, "again": again},
        )
    size = pipeline.settings.harvest.chunk_rows
    groups = attempts.with_columns(_group=(pl.col("rows").cum_sum() - pl.col("rows")) // size)
    yield from groups.partition_by("_group", maintain_order=True)


def _chunks(pipeline: Pipeline, attempts: pl.DataFrame) -> list[pl.DataFrame]:
    evidence = pipeline.raw.scan_evidence(attempts["evidence_path"].drop_nulls().to_list()).collect()
    return list(evidence.iter_slices(pipeline.settings.harvest.chunk_rows)) or [evidence]


def _absorb_attempts(pipeline: Pipeline, cloud: str, attempts: pl.DataFrame) -> Absorbed:
    """Absorbs a group of attempts: one transaction a chunk, the last of which marks them as absorbed."""
    chunks = _chunks(pipeline, attempts)
    done = Absorbed(attempts=attempts.height)
    for number, chunk in enumerate(chunks):
        with pipeline.connect() as connection:
            merged = merge(connection, chunk, transferable=transferable(pipeline.settings.cloud(cloud)))
            if number == len(chunks) - 1:
                _mark(connection, attempts)
        touched = merged.resources_touched.height
        done += Absorbed(0, chunk.height, merged.claims_new, touched, merged.opened, merged.closed)
    return done


def _mark(connection: psycopg.Connection, attempts: pl.DataFrame) -> None:
    connection.execute(
        "update raw.attempts set absorbed_at = now() where attempt_id = any(%s)", (attempts["attempt_id"].to_list(),)
    )


def _rebuild(pipeline: Pipeline, cloud: str) -> Absorbed:
    """All claims of a cloud anew from its evidence, then the belief about everything that was or is claimed.

    One transaction: nobody sees a belief without half of its evidence. A claim whose record retention has thinned
    stays: below that horizon nothing is made anew.
    """
    done = Absorbed()
    with pipeline.connect() as connection:
        lock(connection, [cloud])
        for attempts in _pending(pipeline, cloud, None, again=True):
            for chunk in _chunks(pipeline, attempts):
                done += Absorbed(0, chunk.height, remember(connection, storable(chunk)))
                note_told(connection)
            _mark(connection, attempts)
            done += Absorbed(attempts.height)
        forget_untold(connection, cloud, partial(still_stored, pipeline))
        opened, closed = revise(
            connection,
            """select cloud, resource_type, resource_id from topology.claims where cloud = %(cloud)s
            union select cloud, resource_type, resource_id from topology.resources
                where cloud = %(cloud)s and recorded_to is null
            union select cloud, from_type, from_id from topology.edges
                where cloud = %(cloud)s and recorded_to is null""",
            {"cloud": cloud},
            transferable=transferable(pipeline.settings.cloud(cloud)),
        )
        resources = connection.execute("select count(*) from concerned").fetchone()[0]
    return done + Absorbed(resources=resources, opened=opened, closed=closed)


def _sum(a: dict[str, int], b: dict[str, int]) -> dict[str, int]:
    return {key: a.get(key, 0) + b.get(key, 0) for key in [*a, *(key for key in b if key not in a)]}
