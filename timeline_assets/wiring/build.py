"""Everything that Dagster is told, in one place and in the order in which the data flows."""

from __future__ import annotations

import atexit
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import Any

import dagster as dg

from timeline_assets.config import Settings, load
from timeline_assets.demo.server import answering
from timeline_assets.errors import ConfigurationError
from timeline_assets.pipeline import Pipeline, open_pipeline
from timeline_assets.sources import SOURCES
from timeline_assets.sources.base import Source
from timeline_assets.wiring import keys, policies, sensors, upkeep
from timeline_assets.wiring.assets import cloud_assets
from timeline_assets.wiring.checks import cloud_checks
from timeline_assets.wiring.edge import Edge
from timeline_assets.wiring.instance import keep_connections
from timeline_assets.wiring.partitions import hourly


def build_defs(settings: Settings | None = None, overrides: Mapping[str, Any] | None = None) -> dg.Definitions:
    """All definitions of a deployment; connects to nothing.

    Args:
        settings: default: as file and environment give it.
        overrides: replaces parts, for tests and for processes that have opened the pipeline already: ``sources`` (a
            tuple of :class:`Source`), ``edge`` (an :class:`Edge`, left open) and ``checks`` (False: none; a run on
            some assets would run all of theirs).
    """
    settings = settings or load()
    overrides = overrides or {}
    all_sources: tuple[Source, ...] = overrides.get("sources", SOURCES)
    kept = overrides.get("edge") or _kept(settings)
    chosen = {cloud.name: sources_of(settings, cloud.name, all_sources) for cloud in settings.clouds}
    partitions = hourly(settings)
    assets: list[dg.AssetsDefinition] = []
    checks, jobs, instigators = [], [], []
    with warnings.catch_warnings():
        # pools, backfill and freshness policies are marked beta; their behaviour is held by our tests
        warnings.simplefilter("ignore", dg.BetaWarning)
        for cloud in settings.clouds:
            sources = chosen[cloud.name]
            own = [policies.applied(asset, partitions) for asset in cloud_assets(cloud.name, sources)]
            assets += own
            if overrides.get("checks", True):
                checks.append(cloud_checks(cloud.name, sources))
            job = dg.define_asset_job(
                keys.harvest_job(cloud.name),
                selection=dg.AssetSelection.assets(*own).without_checks(),
                description=f"Windows of {cloud.name}, from its sources to its tenants' rows.",
                tags={keys.CLOUD: cloud.name},
            )
            jobs.append(job)
            instigators.append(sensors.following(cloud.name, sources, kept))
        return dg.Definitions(
            assets=assets,
            asset_checks=checks,
            jobs=[*jobs, *upkeep.jobs(settings, chosen)],
            schedules=upkeep.schedules(),
            sensors=[*instigators, upkeep.orphans_sensor, sensors.downstream()],
            resources={"edge": kept if "edge" in overrides else _for_one_run(settings)},
            executor=dg.in_process_executor,
        )


def sources_of(settings: Settings, cloud: str, sources: tuple[Source, ...] = SOURCES) -> tuple[Source, ...]:
    """The sources that are harvested of a cloud: all, or those its configuration names."""
    names = settings.cloud(cloud).sources
    if names is None:
        return sources
    known = {source.name: source for source in sources}
    if unknown := [name for name in names if name not in known]:
        raise ConfigurationError(
            f"cloud {cloud}: there is no source {unknown[0]!r}", remedy=f"Sources: {', '.join(known)}."
        )
    return tuple(source for source in sources if source.name in names)


def _for_one_run(settings: Settings) -> dg.ResourceDefinition:
    """The edge of a run: opened when an asset first asks for it, closed when the run ends, however it ends."""

    def edge_of_a_run(context: dg.InitResourceContext) -> Iterator[Edge]:
        edge = Edge(lambda: _opened(settings), may_retry=True)
        if context.run is not None and context.instance is not None:
            keep_connections(context.instance)
            context.instance.add_run_tags(context.run.run_id, {keys.WORKER: upkeep.this_worker()})
        try:
            yield edge
        finally:
            edge.close()

    return dg.ResourceDefinition(edge_of_a_run)


def _kept(settings: Settings) -> Edge:
    """The edge of the code server's own process, for its sensors: they ask more often than opening is worth."""
    edge = Edge(lambda: _opened(settings))
    atexit.register(edge.close)
    return edge


@contextmanager
def _opened(settings: Settings) -> Iterator[Pipeline]:
    """The pipeline, and the recorded cloud where it is asked for: plain ``dagster dev`` has nobody else to start it."""
    is_demo = any(cloud.is_demo for cloud in settings.clouds)
    with answering(settings) if is_demo else nullcontext(), open_pipeline(settings) as pipeline:
        yield pipeline
