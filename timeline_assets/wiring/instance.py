"""The configuration of a Dagster instance, as ``timeline up`` writes it for its own.

The committed ``dagster.yaml`` at the project's root is the same with Dagster's own SQLite storage, for a plain
``dagster dev``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import dagster as dg
import yaml
from dagster._core.instance.ref import InstanceRef

from timeline_assets.config import RetentionSettings, Settings

#: Holds the URL of Dagster's storage with its password, so that no file does.
STORAGE_VARIABLE = "TIMELINE_DAGSTER_STORAGE_URL"


class Urls(Protocol):
    """What is needed of :class:`timeline_assets.store.database.Database`."""

    def url(self, role: str) -> str: ...


def instance_yaml(settings: Settings, *, cores: int | None = None) -> str:
    """The text of ``dagster.yaml`` for an instance whose storage is PostgreSQL; its URL stands in `STORAGE_VARIABLE`.

    `cores` (default: this machine's) bounds how many runs work at a time.
    """
    storage = {"storage": {"postgres": {"postgres_url": {"env": STORAGE_VARIABLE}}}}
    config = instance_config(cores or os.cpu_count() or 1, settings.retention)
    return yaml.safe_dump({**storage, **config}, sort_keys=False)


def instance_environment(database: Urls) -> dict[str, str]:
    """The environment that every process of the instance needs beside ``DAGSTER_HOME``."""
    return {
        STORAGE_VARIABLE: database.url("dagster"),
        # a run's fresh interpreter takes its time on a small, busy machine; the default of 60 s ends it as dead
        "DAGSTER_GRPC_TIMEOUT_SECONDS": "300",
    }


@contextmanager
def open_instance(settings: Settings, database: Urls) -> Iterator[dg.DagsterInstance]:
    """The instance of `timeline up`, whether that runs or not, for a process that executes runs itself."""
    home = settings.state_dir / "dagster"
    home.mkdir(parents=True, exist_ok=True)
    storage = {"storage": {"postgres": {"postgres_url": database.url("dagster")}}}
    config = instance_config(os.cpu_count() or 1, settings.retention)
    with dg.DagsterInstance.from_ref(InstanceRef.from_dir(str(home), overrides={**config, **storage})) as instance:
        keep_connections(instance)
        yield instance


def keep_connections(instance: dg.DagsterInstance) -> None:
    """Let the storage keep its connections: it would make a new one for each of a run's two hundred questions.

    That is what Dagster's own web server asks for; it cuts a small run's CPU time to a third.
    """
    instance.optimize_for_webserver(statement_timeout=120_000, pool_recycle=3600, max_overflow=20)


def share_between_threads(instance: dg.DagsterInstance) -> None:
    """Let several threads execute runs on this instance at the same time.

    Every run's start would set up Python's logging anew, even with nothing to set up: that closes the handlers of runs
    in other threads, and waits for a lock that such a run holds while it waits for logging's own.
    """
    instance.get_yaml_python_handlers = list  # type: ignore[method-assign]


def instance_config(cores: int, retention: RetentionSettings) -> dict[str, Any]:
    """What holds for every instance, whatever its storage."""
    # ticks are purged by Dagster itself; the event log is not (wiring/upkeep.py)
    ticks = {"skipped": 1, "success": retention.dagster_event_log_days, "failure": retention.dagster_event_log_days}
    return {
        "telemetry": {"enabled": False},
        "nux": {"enabled": False},
        # the stages tell what they do in events; capturing stdout would swap file descriptors under threads
        "compute_logs": {
            "module": "dagster._core.storage.noop_compute_log_manager",
            "class": "NoOpComputeLogManager",
        },
        "run_queue": {"dequeue_interval_seconds": 1},
        "concurrency": {
            # by run: a run waits in the queue, not with its interpreter loaded
            "pools": {"granularity": "run", "default_limit": 2},
            "runs": {
                "max_concurrent_runs": max(2, cores),
                # however much is to be backfilled, one place is left for what happens now
                "tag_concurrency_limits": [{"key": "dagster/backfill", "limit": max(1, cores - 1)}],
            },
        },
        "run_monitoring": {
            "enabled": True,
            "start_timeout_seconds": 300,
            "max_runtime_seconds": 6 * 3600,
            "poll_interval_seconds": 60,
        },
        # a killed worker's run is begun again; what a source refused is retried by the asset, if at all
        "run_retries": {"enabled": True, "max_retries": 2, "retry_on_asset_or_op_failure": False},
        "retention": {
            "schedule": {"purge_after_days": retention.dagster_event_log_days},
            "sensor": {"purge_after_days": dict(ticks)},
            "auto_materialize": {"purge_after_days": dict(ticks)},
        },
        "freshness": {"enabled": True},
        "sensors": {"use_threads": True, "num_workers": 4},
        "auto_materialize": {"enabled": True, "use_sensors": True},
    }
