"""What keeps an instance healthy: windows sealed, old data dropped, Dagster's event log bounded, orphans ended.

Dagster purges its own ticks but never its event log, and a run whose worker died together with its code server stays
STARTED for ever. Both would be found only when the disk is full or a pool is.
"""

import os
import platform
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

import dagster as dg
import psutil
from dagster._core.definitions.unresolved_asset_job_definition import UnresolvedAssetJobDefinition
from dagster._core.events import JobFailureData, RunFailureReason
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._core.storage.event_log.sql_event_log import SqlEventLogStorage

from timeline_assets.config import Settings
from timeline_assets.raw.seal import collect_orphans, due_to_seal, horizon, retire, seal
from timeline_assets.sources import LANDED
from timeline_assets.sources.base import Source
from timeline_assets.timeline.by_hand import settle
from timeline_assets.timeline.retention import drop_old_months
from timeline_assets.topology.merge import compact
from timeline_assets.wiring import keys, report

CHECK, SEAL, RETAIN = "check_assets", "seal_windows", "retention"

FINISHED = [dg.DagsterRunStatus.SUCCESS, dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]

#: Runs looked at in one batch, and in one call at most; what is left is done the next day.
BATCH, MOST = 100, 20_000

_CURSOR = "timeline/event-log-kept-to"


# The event log


def purge_runs(
    instance: dg.DagsterInstance, *, older_than: datetime, gone_before: datetime, most: int = MOST
) -> dict[str, int]:
    """Delete finished runs older than `older_than` that nothing hangs on; returns how many were deleted and thinned.

    A run that holds the newest materialization of a partition is what Dagster believes of that partition: it keeps its
    asset events and loses only its log lines, until `gone_before`, when the partition's data is gone as well. Each run
    is looked at once; the instance remembers how far this got.
    """
    done = {"deleted": 0, "thinned": 0}
    for record in _runs(instance, datetime.fromtimestamp(0, UTC), gone_before, most):
        instance.delete_run(record.dagster_run.run_id)
        done["deleted"] += 1
    since = _remembered(instance)
    for record in _runs(instance, since, older_than, most - done["deleted"]):
        run_id = record.dagster_run.run_id
        if _holds_newest(instance, run_id):
            _thin(instance, run_id)
            done["thinned"] += 1
        else:
            instance.delete_run(run_id)
            done["deleted"] += 1
        instance.daemon_cursor_storage.set_cursor_values({_CURSOR: record.update_timestamp.isoformat()})
    return done


def _remembered(instance: dg.DagsterInstance) -> datetime:
    kept = instance.daemon_cursor_storage.get_cursor_values({_CURSOR}).get(_CURSOR)
    return datetime.fromisoformat(kept) if kept else datetime.fromtimestamp(0, UTC)


def _runs(instance: dg.DagsterInstance, since: datetime, before: datetime, most: int) -> Iterable[dg.RunRecord]:
    """Finished runs last updated in (since, before), oldest first."""
    left = most
    while left > 0:
        records = instance.get_run_records(
            dg.RunsFilter(statuses=FINISHED, updated_after=since, updated_before=before),
            limit=min(BATCH, left),
            order_by="update_timestamp",
            ascending=True,
        )
        if not records:
            return
        yield from records
        left -= len(records)
        since = records[-1].update_timestamp


def _holds_newest(instance: dg.DagsterInstance, run_id: str) -> bool:
    kind = dg.DagsterEventType.ASSET_MATERIALIZATION
    storage_ids: dict[dg.AssetKey, dict[str | None, int]] = {}
    for record in instance.get_records_for_run(run_id, of_type=kind).records:
        event = record.event_log_entry.get_dagster_event()
        storage_ids.setdefault(event.asset_key, {})[event.partition] = record.storage_id
    for key, by_partition in storage_ids.items():
        partitions = {partition for partition in by_partition if partition is not None}
        newest = instance.event_log_storage.get_latest_storage_id_by_partition(key, kind, partitions)
        if any(newest.get(partition) == by_partition[partition] for partition in partitions):
            return True
    return False


def _thin(instance: dg.DagsterInstance, run_id: str) -> None:
    """Drop a run's events that concern no asset. Dagster has no call for this; its table is documented and stable."""
    storage = instance.event_log_storage
    if not isinstance(storage, SqlEventLogStorage):
        return
    events = SqlEventLogStorageTable
    with storage.run_connection(run_id) as connection:
        connection.execute(events.delete().where(events.c.run_id == run_id, events.c.asset_key.is_(None)))


# Orphans


def this_worker() -> str:
    """This process, by a name that no later process has."""
    return f"{platform.node()}/{os.getpid()}/{psutil.Process().create_time():.0f}"


def is_gone(worker: str) -> bool:
    """Whether a process of this machine has ended; of another machine nothing can be said."""
    node, pid, born = worker.rsplit("/", 2)
    if node != platform.node():
        return False
    try:
        return abs(psutil.Process(int(pid)).create_time() - float(born)) > 1
    except psutil.NoSuchProcess:
        return True


def end_orphans(instance: dg.DagsterInstance) -> list[str]:
    """Fail the runs whose worker is gone, so that pools and limits are free again; returns their ids."""
    ended = []
    for run in instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED, dg.DagsterRunStatus.CANCELING])):
        worker = run.tags.get(keys.WORKER)
        if worker and is_gone(worker):
            instance.report_run_failed(
                run,
                f"The process that executed this run ({worker}) ended without a word.",
                JobFailureData(error=None, failure_reason=RunFailureReason.UNEXPECTED_TERMINATION),
            )
            ended.append(run.run_id)
    return ended


@dg.sensor(
    name="end_orphaned_runs",
    minimum_interval_seconds=60,
    default_status=dg.DefaultSensorStatus.RUNNING,
    description="Fails runs whose process is gone, which Dagster itself does not notice when the code server died too.",
)
def orphans_sensor(context: dg.SensorEvaluationContext) -> dg.SkipReason:
    ended = end_orphans(context.instance)
    return dg.SkipReason(f"Ended {len(ended)} orphaned runs: {', '.join(ended)}" if ended else "No orphaned runs.")


# Jobs and schedules


def jobs(
    settings: Settings, sources: Mapping[str, tuple[Source, ...]]
) -> list[dg.JobDefinition | UnresolvedAssetJobDefinition]:
    """What is done now and then: checks, sealing, retention. One step per cloud, so that none waits for another's."""
    sealing = [_seal_op(cloud, sources[cloud]) for cloud in sources]
    dropping = [_drop_old_months, _purge_event_log(settings), *(_retire_op(cloud, sources[cloud]) for cloud in sources)]

    @dg.job(
        name=SEAL,
        description="Compacts the raw files of windows that are proven.",
        executor_def=dg.in_process_executor,
    )
    def seal_windows() -> None:
        for op in sealing:
            op()

    @dg.job(
        name=RETAIN,
        description="Drops what is older than configured: months of the timeline, raw files, Dagster's events.",
        executor_def=dg.in_process_executor,
    )
    def retention() -> None:
        for op in dropping:
            op()

    return [
        dg.define_asset_job(
            CHECK, selection=dg.AssetSelection.all_asset_checks(), description="All asset checks of all clouds."
        ),
        seal_windows,
        retention,
    ]


def schedules() -> list[dg.ScheduleDefinition]:
    """When the jobs run; all as if nothing were in a hurry."""
    return [
        dg.ScheduleDefinition(
            job_name=name,
            name=f"{name}_schedule",
            cron_schedule=cron,
            execution_timezone="UTC",
            default_status=dg.DefaultScheduleStatus.RUNNING,
            tags={keys.TRIGGER: "schedule", **keys.LOW_PRIORITY},
        )
        for name, cron in ((CHECK, "*/15 * * * *"), (SEAL, "20 * * * *"), (RETAIN, "40 3 * * *"))
    ]


def _seal_op(cloud: str, sources: tuple[Source, ...]) -> dg.OpDefinition:
    by_name = {source.name: source for source in sources}

    @dg.op(name=f"seal_{cloud}", required_resource_keys={"edge"})
    def seal_cloud(context: dg.OpExecutionContext) -> None:
        pipeline = context.resources.edge.pipeline
        with report.explained():
            settle(pipeline, cloud)
            sealed = [seal(pipeline, cloud, by_name[n], w) for n, w in due_to_seal(pipeline, cloud) if n in by_name]
        before, after = sum(s.before for s in sealed), sum(s.after for s in sealed)
        context.log.info(f"{len(sealed)} windows sealed: {before} files became {after}")

    return seal_cloud


def _retire_op(cloud: str, sources: tuple[Source, ...]) -> dg.OpDefinition:
    @dg.op(name=f"retire_raw_{cloud}", required_resource_keys={"edge"})
    def retire_cloud(context: dg.OpExecutionContext) -> None:
        pipeline = context.resources.edge.pipeline
        with report.explained():
            now = datetime.now(UTC)
            retired = [retire(pipeline, cloud, source, now) for source in (*sources, *LANDED)]
            with pipeline.connect() as connection:
                repeated = compact(connection, cloud, horizon(pipeline, now))
        before, after = sum(s.before for s in retired), sum(s.after for s in retired)
        context.log.info(f"{before - after} raw files retired, {repeated} claims that only repeat others removed")

    return retire_cloud


@dg.op(name="drop_old_months", required_resource_keys={"edge"})
def _drop_old_months(context: dg.OpExecutionContext) -> None:
    pipeline = context.resources.edge.pipeline
    now = datetime.now(UTC)
    with report.explained():
        dropped = drop_old_months(pipeline, now)
        orphans = collect_orphans(pipeline, now)
    context.log.info(
        f"Dropped {', '.join(dropped.partitions) or 'no months'}, {dropped.rows} rows beside them, "
        f"{len(orphans.removed)} raw files that nothing needs; {orphans.unknown} of which nothing is known were left"
    )


def _purge_event_log(settings: Settings) -> dg.OpDefinition:
    @dg.op(name="purge_event_log")
    def purge_event_log(context: dg.OpExecutionContext) -> None:
        kept = settings.retention
        now = datetime.now(UTC)
        done = purge_runs(
            context.instance,
            older_than=now - timedelta(days=kept.dagster_event_log_days),
            gone_before=now - timedelta(days=kept.timeline_days + kept.raw_extra_days),
        )
        context.log.info(f"{done['deleted']} old runs deleted, {done['thinned']} reduced to their asset events")

    return purge_event_log
