"""Dagster's own storage beside ours: in a database of its own, or in a schema of the one database that was given."""

from __future__ import annotations

import threading
from pathlib import Path

import dagster as dg
import pytest

from timeline_assets.store.database import Database, with_option


@dg.asset
def seven() -> int:
    return 7


@pytest.fixture(params=["database", "schema"])
def storage(request: pytest.FixtureRequest, empty_database: Database) -> tuple[Database, str]:
    """A place for Dagster's storage, of either kind, and the schema that its tables should be in."""
    admin = empty_database.urls["admin"]
    if request.param == "database":
        return Database({"admin": admin, "dagster": admin}), "public"
    with empty_database.connect("admin") as connection:
        connection.execute("CREATE SCHEMA dagster")
    return Database({"admin": admin, "dagster": with_option(admin, "search_path", "dagster")}), "dagster"


def _tables(database: Database) -> dict[str, list[str]]:
    with database.connect("admin") as connection:
        rows = connection.execute(
            "SELECT table_schema, array_agg(table_name::text) FROM information_schema.tables "
            "WHERE table_schema IN ('public', 'dagster') GROUP BY 1"
        )
        return dict(rows.fetchall())


def test_dagster_keeps_its_runs_there_and_hears_of_its_events(storage: tuple[Database, str], tmp_path: Path) -> None:
    database, schema = storage
    overrides = {"storage": {"postgres": {"postgres_url": database.url("dagster")}}, "telemetry": {"enabled": False}}
    run_id = "0198f2a6-0000-7000-8000-000000000001"
    heard = threading.Event()
    with dg.DagsterInstance.local_temp(str(tmp_path), overrides=overrides) as instance:
        instance.watch_event_logs(run_id, None, lambda *_: heard.set())
        job = dg.Definitions(assets=[seven]).resolve_implicit_global_asset_job_def()
        assert job.execute_in_process(instance=instance, run_id=run_id).success

        assert heard.wait(30)
        assert [run.status for run in instance.get_runs()] == [dg.DagsterRunStatus.SUCCESS]
        assert instance.get_latest_materialization_event(dg.AssetKey("seven")) is not None

    tables = _tables(database)
    assert list(tables) == [schema]
    assert {"runs", "event_logs", "instigators", "alembic_version"} <= set(tables[schema])
