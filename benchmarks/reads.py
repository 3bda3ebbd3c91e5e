"""The newest 100 events of one tenant among N, as that tenant's login, beside the same look-up without row security.

::

    python -m benchmarks.reads --events 1000000
    python -m benchmarks.reads --events 10000000    # the size of the limit: 5 ms at the 95th percentile

N rows of 200 tenants over six months are made inside PostgreSQL. Each look-up is of another tenant, by a login of its
own that `timeline db grant` made; its time is the execution time that the server itself takes, policy included. The
comparison is the table's owner on the same rows with row security off, the tenant written into the query.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import psycopg

from timeline_assets.config import CloudSettings, Settings
from timeline_assets.pipeline import open_pipeline
from timeline_assets.store.access import Scope, grant
from timeline_assets.store.database import Database

CLOUD = "bench"
TENANTS = 200
MONTHS = 6
READERS = 20

GENERATE = """
insert into timeline.tenant_events (event_id, cloud, region, tenant_domain_id, tenant_project_id, relation, visibility,
    event_type, category, severity, outcome, phase, occurred_at, occurred_from, occurred_to, time_precision,
    recorded_at, resource_type, resource_id, resource_name, actor_label, title)
select gen_random_uuid(), %(cloud)s, 'one', 'domain-' || n %% 20, 'project-' || n %% %(tenants)s, 'owner',
    'operational', 'compute.instance.reboot.end', 'provisioning', 1, 'success', 'end', at, at, at, 'second', at,
    'server', 'server-' || n %% 20011, 'name-' || n %% 20011, 'user', 'Server name-' || n %% 20011 || ' rebooted'
from generate_series(%(first)s::bigint, %(last)s::bigint) n,
    lateral (select timestamptz '2026-01-01 00:00:00+00'
        + make_interval(days => 30 * %(months)s) * ((n * 7919 %% %(events)s)::float8 / %(events)s) as at) t
"""
NEWEST = "select * from timeline.tenant_events {where} order by occurred_at desc limit 100"


def generate(database: Database, events: int, *, chunk: int = 500_000) -> None:
    """Fills `timeline.tenant_events` with rows of 200 tenants, in no order of time, and takes statistics."""
    for first in range(0, events, chunk):
        with database.connect("pipeline") as connection:
            connection.execute(
                """select timeline.ensure_partition(month)
                from generate_series(timestamptz '2026-01-01 00:00:00+00', '2026-07-01', '1 month') month"""
            )
            last = min(first + chunk, events) - 1
            connection.execute(
                GENERATE,
                {
                    "cloud": CLOUD,
                    "tenants": TENANTS,
                    "months": MONTHS,
                    "events": events,
                    "first": first,
                    "last": last,
                },
            )
    with database.connect("admin") as connection:
        connection.autocommit = True
        connection.execute("set role timeline_owner")
        connection.execute("vacuum analyze timeline.tenant_events")


def main() -> None:
    """Makes the rows, asks, prints one line a way of asking."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--events", type=int, default=1_000_000, help="events stored, of all tenants together")
    parser.add_argument("--repeats", type=int, default=400, help="look-ups each way")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="timeline-bench-"))
    try:
        with open_pipeline(Settings(state_dir=folder, clouds=(CloudSettings(name=CLOUD),))) as pipeline:
            began = time.perf_counter()
            generate(pipeline.database, options.events)
            _print(f"{options.events} events of {TENANTS} tenants made in {time.perf_counter() - began:.0f} s")
            tenants = [f"project-{number * (TENANTS // READERS)}" for number in range(READERS)]
            _report("as the tenant's login", _as_tenants(pipeline.database, tenants, options.repeats))
            _report("as the owner, no row security", _as_owner(pipeline.database, tenants, options.repeats))
            pipeline.database.server.stop()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _as_tenants(database: Database, tenants: Sequence[str], repeats: int) -> list[float]:
    taken = []
    for tenant in tenants:
        login = f"bench_{tenant.replace('-', '_')}"
        password = grant(database, login, [Scope("project", CLOUD, tenant)])
        url = database.urls["admin"].set(username=login, password=password, query={})
        with psycopg.connect(url.render_as_string(hide_password=False)) as connection:
            taken += _times(connection, NEWEST.format(where=""), repeats // len(tenants))
    return taken


def _as_owner(database: Database, tenants: Sequence[str], repeats: int) -> list[float]:
    where = f"where tenant_project_id = '{{}}' and cloud = '{CLOUD}' and visibility = 'operational'"
    with database.connect("admin") as connection:
        connection.execute("set role timeline_owner")
        connection.execute("alter table timeline.tenant_events no force row level security")
        return [
            seconds
            for tenant in tenants
            for seconds in _times(connection, NEWEST.format(where=where.format(tenant)), repeats // len(tenants))
        ]


def _times(connection: psycopg.Connection, query: str, repeats: int) -> list[float]:
    """Milliseconds of planning and of execution, as the server says; the first asking, with cold caches, is not one."""
    taken = []
    for _ in range(repeats + 1):
        (plan,) = connection.execute(f"explain (analyze, timing off, format json) {query}").fetchone()
        if plan[0]["Plan"]["Actual Rows"] != 100:
            raise SystemExit(f"{plan[0]['Plan']['Actual Rows']} rows instead of 100")
        taken.append(plan[0]["Planning Time"] + plan[0]["Execution Time"])
    return taken[1:]


def _report(name: str, taken: Sequence[float]) -> None:
    cuts = statistics.quantiles(taken, n=20)
    _print(f"{name:<32} p50 {statistics.median(taken):6.2f} ms   p95 {cuts[-1]:6.2f} ms   of {len(taken)}")


def _print(line: str) -> None:
    print(line, flush=True)  # noqa: T201 - a program


if __name__ == "__main__":
    main()
