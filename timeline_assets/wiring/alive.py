"""Is somebody following this cloud? Whoever does holds an advisory lock in the database for as long as it lives.

A lock needs no clock, ends with its holder however it dies, and holds across machines. Knows nothing of Dagster.
"""

from __future__ import annotations

import psycopg

_CLASS = "timeline.follow"


def claim(connection: psycopg.Connection, cloud: str) -> bool:
    """Become the follower of a cloud for as long as the connection lives; False: another one is."""
    (is_ours,) = connection.execute(
        "select pg_try_advisory_lock(hashtext(%s), hashtext(%s))", (_CLASS, cloud)
    ).fetchone()
    return is_ours


def is_followed(connection: psycopg.Connection, cloud: str) -> bool:
    """Whether a follower of the cloud lives."""
    (is_held,) = connection.execute(
        """select exists (select from pg_locks where locktype = 'advisory' and granted
            and database = (select oid from pg_database where datname = current_database())
            and classid::bigint = hashtext(%s)::bigint & 4294967295
            and objid::bigint = hashtext(%s)::bigint & 4294967295)""",
        (_CLASS, cloud),
    ).fetchone()
    return is_held
