"""What sets runs off when nobody follows: a sensor for each cloud, and the one that carries old windows downstream.

`timeline up` starts a follower (follow.py), which is quicker and far cheaper than a launched run; then these sensors
see that it lives and have nothing to do. With a plain ``dagster dev`` they do its work, about once a minute.
"""

import hashlib
import time
from collections import defaultdict
from collections.abc import Iterable
from datetime import datetime

import dagster as dg

from timeline_assets.raw.coverage import due
from timeline_assets.raw.windows import Window
from timeline_assets.sources.base import Source
from timeline_assets.wiring import alive, keys, measures
from timeline_assets.wiring.edge import Edge

#: How long after this process a follower may still be on its way; a run that it makes needless costs more than a wait.
FOLLOWER_STARTS_SECONDS = 30

IN_PROGRESS = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def following(cloud: str, sources: tuple[Source, ...], edge: Edge) -> dg.SensorDefinition:
    """The sensor that reads a cloud's open and settling windows while no follower does."""

    @dg.sensor(
        name=f"follow_{cloud}",
        job_name=keys.harvest_job(cloud),
        minimum_interval_seconds=30,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Reads what is due of {cloud} where no `timeline follow` does.",
    )
    def follow(context: dg.SensorEvaluationContext) -> dg.SensorResult | dg.SkipReason:
        with edge.pipeline.connect() as connection:
            if alive.is_followed(connection, cloud):
                return dg.SkipReason("A follower reads this cloud.")
        if time.monotonic() - edge.made_at < FOLLOWER_STARTS_SECONDS:
            return dg.SkipReason("A follower may just be starting.")
        if context.instance.get_runs_count(_own(cloud)):
            return dg.SkipReason("The last run that was asked for is still to be done.")
        now = edge.pipeline.now(cloud)
        to_read: dict[Window, set[str]] = defaultdict(set)
        for source, window in due(edge.pipeline, cloud, sources, now):
            to_read[window].add(source.name)
        left: dict[Window, set[str]] = defaultdict(set)
        if not in_progress(context.instance, cloud):
            for name, window in measures.left_behind(edge.pipeline, cloud, sources):
                left[window].add(name)
        requests = [
            _request(cloud, window, to_read[window], to_read[window] | left[window], now)
            for window in sorted({*to_read, *left})
        ]
        return dg.SensorResult(requests) if requests else dg.SkipReason("Nothing is due.")

    return follow


def _request(cloud: str, window: Window, to_read: set[str], to_normalize: set[str], now: datetime) -> dg.RunRequest:
    chosen = selection(cloud, to_read, to_normalize)
    what = hashlib.sha256(" ".join(key.to_user_string() for key in chosen).encode()).hexdigest()[:12]
    return dg.RunRequest(
        # the same work is asked for once a minute at most, however often the sensor's answer gets lost
        run_key=f"{cloud}/{window.key}/{what}/{now:%Y%m%d%H%M}",
        partition_key=window.key,
        asset_selection=chosen,
        asset_check_keys=[],
        tags={keys.TRIGGER: "sensor", **keys.LIVE_PRIORITY},
    )


def selection(cloud: str, to_read: Iterable[str], to_normalize: Iterable[str]) -> list[dg.AssetKey]:
    """The way of some sources' records, from raw or from normalize on, with everything behind."""
    return [
        *(keys.raw_key(cloud, name) for name in sorted(to_read)),
        *(keys.facts_key(cloud, name) for name in sorted(to_normalize)),
        *keys.behind(cloud),
    ]


def in_progress(instance: dg.DagsterInstance, cloud: str) -> bool:
    """Whether a run that touches the cloud's assets waits or works."""
    return any(_touches(run, cloud) for run in instance.get_runs(dg.RunsFilter(statuses=IN_PROGRESS)))


def _touches(run: dg.DagsterRun, cloud: str) -> bool:
    if run.asset_selection is None:
        return run.tags.get(keys.CLOUD) == cloud
    return any(keys.cloud_of(key) == cloud for key in run.asset_selection)


def _own(cloud: str) -> dg.RunsFilter:
    return dg.RunsFilter(statuses=IN_PROGRESS, tags={keys.CLOUD: cloud, keys.TRIGGER: "sensor"})


def downstream() -> dg.AutomationConditionSensorDefinition:
    """Evaluates the conditions of what lies behind raw (`policies.DOWNSTREAM`)."""
    return dg.AutomationConditionSensorDefinition(
        "carry_downstream",
        target=dg.AssetSelection.all(),
        default_status=dg.DefaultSensorStatus.RUNNING,
        minimum_interval_seconds=30,
        run_tags={keys.TRIGGER: "automation", **keys.LOW_PRIORITY},
    )
