"""How far a rebuild has come: begun once, gone on with after every interruption, ended once.

What is to be done is in the work queue of the stages (`raw.attempts`), as always: normalizing anew puts an attempt back
into it. So a rebuild that is killed has lost nothing but the transaction it was in, and whoever works on the queue,
the follower too, brings it further.
"""

from __future__ import annotations

from datetime import UTC, datetime

from timeline_assets.pipeline import Pipeline


def begin(pipeline: Pipeline, cloud: str, ruleset: str) -> datetime:
    """When the cloud's rebuild by these rules was begun: now, unless one was interrupted."""
    with pipeline.connect() as connection:
        return connection.execute(
            """insert into raw.rebuilds as r (cloud, ruleset, begun_at) values (%s, %s, %s)
            on conflict (cloud) do update set ruleset = excluded.ruleset,
                begun_at = case when r.ruleset = excluded.ruleset then r.begun_at else excluded.begun_at end,
                topology_at = case when r.ruleset = excluded.ruleset then r.topology_at end
            returning begun_at""",
            (cloud, ruleset, datetime.now(UTC)),
        ).fetchone()[0]


def is_topology_due(pipeline: Pipeline, cloud: str) -> bool:
    """Whether the topology is still to be made anew."""
    with pipeline.connect() as connection:
        return connection.execute(
            "select not exists (select from raw.rebuilds where cloud = %s and topology_at is not null)", (cloud,)
        ).fetchone()[0]


def note_topology(pipeline: Pipeline, cloud: str) -> None:
    """The topology was made anew."""
    with pipeline.connect() as connection:
        connection.execute("update raw.rebuilds set topology_at = now() where cloud = %s", (cloud,))


def end(pipeline: Pipeline, cloud: str) -> None:
    """Everything was made anew."""
    with pipeline.connect() as connection:
        connection.execute("delete from raw.rebuilds where cloud = %s", (cloud,))
