"""The same records again, from nothing, in another order."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from timeline_assets.pipeline import Pipeline
from timeline_assets.timeline.stage import resolve
from timeline_assets.topology.stage import absorb

#: What no record gives.
KEPT = ("timeline.coverage", "timeline.tenant_coverage", "timeline.verifications", "timeline.retention")


def forget(pipeline: Pipeline) -> None:
    """Empties everything behind raw, as if nothing had been made of the records yet."""
    with pipeline.database.connect("admin") as connection:
        connection.execute("set role timeline_owner")
        tables = connection.execute(
            """select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = relnamespace
            where relkind in ('r', 'p') and not relispartition and nspname in ('timeline', 'topology')
              and c.oid <> all (%s::regclass[])""",
            (list(KEPT),),
        ).fetchall()
        connection.execute(f"truncate {', '.join(name for (name,) in tables)}")
        connection.execute("update raw.attempts set absorbed_at = null, resolved_at = null")


def arrive(pipeline: Pipeline, cloud: str, batches: Iterable[Sequence[int]]) -> None:
    """Attempts (by id) reach the topology and the timeline batch by batch; what is not named comes last."""
    with pipeline.connect() as connection:
        connection.execute("update raw.attempts set normalized_at = null where replaced_by is null")
    for batch in [*batches, None]:
        with pipeline.connect() as connection:
            connection.execute(
                """update raw.attempts set normalized_at = now()
                where replaced_by is null and normalized_at is null and (%(all)s or attempt_id = any(%(batch)s))""",
                {"all": batch is None, "batch": list(batch or ())},
            )
        absorb(pipeline, cloud)
        resolve(pipeline, cloud)


def attempts(pipeline: Pipeline, cloud: str) -> list[int]:
    """The attempts of a cloud, in the order in which they came."""
    with pipeline.connect() as connection:
        rows = connection.execute(
            "select attempt_id from raw.attempts where cloud = %s and replaced_by is null order by attempt_id", (cloud,)
        )
        return [number for (number,) in rows]
