"""The assets: one per stage and source, in the order in which the data flows.

Each calls its stage for each of the run's windows and shows what came of it. The stages work on what is pending and are
safe to repeat, so no asset hands data to the next: what flows between them lies in the raw store and the database.
"""

from collections.abc import Iterator

import dagster as dg

from timeline_assets.errors import SourceError
from timeline_assets.normalize.schema import FACT, OBSERVATION
from timeline_assets.raw.harvest import Harvested
from timeline_assets.raw.windows import Window
from timeline_assets.sources.base import Source
from timeline_assets.wiring import columns, keys, report
from timeline_assets.wiring.edge import Edge
from timeline_assets.wiring.partitions import windows_of

#: Codes of failures that pass by themselves; everything else waits for a person.
TRANSIENT = frozenset({"unreachable", "timeout", "rate_limited", "server_error", "malformed_answer", "listing_moved"})

#: A cloud that fails this many windows of a range is not asked for the others.
FAILURES_IN_A_RANGE = 2

#: What a step tries again; the reader has already tried each request several times.
RETRY = dg.RetryPolicy(max_retries=1, delay=20)


def cloud_assets(cloud: str, sources: tuple[Source, ...]) -> list[dg.AssetsDefinition]:
    """All assets of one cloud."""
    return [
        *(_raw(cloud, source, -_turn(source, sources)) for source in sources),
        *(_normalize(cloud, source) for source in sources),
        _topology(cloud, sources),
        _final(cloud, sources),
    ]


def _turn(source: Source, sources: tuple[Source, ...]) -> int:
    """How many sources have to be read before this one, one after the other, because it asks about what they found."""
    return max((1 + _turn(other, sources) for other in sources if other.name in source.reads), default=0)


def _raw(cloud: str, source: Source, priority: int) -> dg.AssetsDefinition:
    @dg.asset(
        key=keys.raw_key(cloud, source.name),
        description=source.description,
        kinds={"openstack", "parquet"},
        metadata={
            "dagster/column_schema": columns.frame(OBSERVATION, "raw.latest"),
            "service": source.service,
            "shape": str(source.shape),
            "interval_seconds": source.interval.total_seconds(),
            "settle_seconds": source.settle.total_seconds(),
        },
        required_resource_keys={"edge"},
        # an order and no dependency: a source that fails keeps nobody from reading what it brought before
        op_tags={"dagster/priority": str(priority)},
        pool=keys.pool(cloud),
        retry_policy=RETRY,
    )
    def raw(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        edge: Edge = context.resources.edge
        done: dict[Window, Harvested] = {}
        errors: dict[Window, SourceError] = {}
        windows = windows_of(context)
        for window in windows:
            try:
                with report.explained(apart_from=SourceError):
                    result = edge.harvest(cloud, source, window)
            except SourceError as error:
                errors[window] = error
                if len(errors) == FAILURES_IN_A_RANGE:
                    break
                continue
            context.add_asset_metadata(report.metadata(result), partition_key=window.key)
            done[window] = result
        with edge.pipeline.connect() as connection:
            preview = report.table(report.raw_rows(connection, cloud, source.name))
            for window, rows in report.stored(connection, cloud, source.name, list(done)).items():
                context.add_asset_metadata({"stored_in_window": rows}, partition_key=window.key)
        if errors:
            may_retry = edge.may_retry and all(error.code in TRANSIENT for error in errors.values())
            may_retry = may_retry and context.retry_number < RETRY.max_retries
            for window, result in done.items():
                if may_retry:
                    edge.kept[cloud, source.name, window] = result
                else:
                    # the step fails, but these windows are materialized all the same
                    context.log_event(dg.AssetMaterialization(context.asset_key, partition=window.key))
            raise report.gaps(errors, len(windows) - len(done) - len(errors), may_retry=may_retry)
        return dg.MaterializeResult(metadata={"newest records": dg.MetadataValue.md(preview)})

    return raw


def _normalize(cloud: str, source: Source) -> dg.AssetsDefinition:
    @dg.asset(
        key=keys.facts_key(cloud, source.name),
        deps=[keys.raw_key(cloud, source.name)],
        description=f"What the records of {source.name} mean: facts (who, what, when, to which resource), and evidence "
        "of what existed, whose it was and what it hung on. Derived from raw alone; can be made again at any time.",
        kinds={"polars", "parquet"},
        metadata={"dagster/column_schema": columns.frame(FACT, "timeline.events")},
        required_resource_keys={"edge"},
    )
    def normalize(context: dg.AssetExecutionContext) -> dg.MaterializeResult:
        edge: Edge = context.resources.edge
        windows = windows_of(context)
        with report.explained():
            for window in windows:
                result = edge.normalize(cloud, source, window)
                context.add_asset_metadata(report.metadata(result), partition_key=window.key)
            preview = report.table(report.fact_rows(edge.pipeline, cloud, source.name, windows))
        return dg.MaterializeResult(metadata={"newest facts": dg.MetadataValue.md(preview)})

    return normalize


def _topology(cloud: str, sources: tuple[Source, ...]) -> dg.AssetsDefinition:
    tables = ("resources", "ownership", "edges")
    schemas = {f"{name} columns": columns.tables()[f"topology.{name}"] for name in tables}

    @dg.asset(
        key=keys.topology_key(cloud),
        deps=[keys.facts_key(cloud, source.name) for source in sources],
        description="What existed, whose it was and what it hung on, as bitemporal intervals: `topology.resources`, "
        "`topology.ownership`, `topology.edges`. When it was so, and when we believed it.",
        kinds={"postgres"},
        metadata={"dagster/column_schema": schemas.pop("ownership columns"), **schemas},
        required_resource_keys={"edge"},
    )
    def intervals(context: dg.AssetExecutionContext) -> None:
        edge: Edge = context.resources.edge
        with report.explained():
            for window in windows_of(context):
                result = edge.absorb(cloud, window)
                context.add_asset_metadata(report.metadata(result), partition_key=window.key)

    return intervals


_FINAL_DESCRIPTIONS = {
    "attributions": "Every decision whose event it is: the rule, the way through the topology, the evidence.",
    "quarantine": "Events whose owner is not proven, with the reason and what would release them; no tenant sees them.",
    "events": "What happened, once each, whatever roads it came on: the provider's timeline.",
    "tenant_events": "What each tenant may see of it: already redacted, under row-level security.",
}


def _final(cloud: str, sources: tuple[Source, ...]) -> dg.AssetsDefinition:
    attributions, _, events, _ = keys.final_keys(cloud)
    upstream = {
        "attributions": [keys.topology_key(cloud), *(keys.facts_key(cloud, source.name) for source in sources)],
        "quarantine": [attributions],
        "events": [attributions],
        "tenant_events": [events],
    }

    @dg.multi_asset(
        name=f"resolve_{cloud}",
        specs=[
            dg.AssetSpec(
                key,
                deps=upstream[name],
                description=f"{_FINAL_DESCRIPTIONS[name]} Table `timeline.{name}`.",
                kinds={"postgres"},
                metadata={
                    "dagster/column_schema": columns.tables()[f"timeline.{name}"],
                    "dagster/table_name": f"timeline.{name}",
                },
            )
            for key, (_, name) in zip(keys.final_keys(cloud), keys.FINAL, strict=True)
        ],
        required_resource_keys={"edge"},
    )
    def resolve(context: dg.AssetExecutionContext) -> Iterator[dg.MaterializeResult]:
        edge: Edge = context.resources.edge
        windows = windows_of(context)
        with report.explained():
            for window in windows:
                shown = report.metadata(edge.resolve(cloud, window, context.run.run_id))
                for key in keys.final_keys(cloud):
                    context.add_asset_metadata(shown, asset_key=key, partition_key=window.key)
        with edge.pipeline.connect() as connection:
            for key, (_, name) in zip(keys.final_keys(cloud), keys.FINAL, strict=True):
                preview = report.table(report.final_rows(connection, cloud, name, windows))
                yield dg.MaterializeResult(asset_key=key, metadata={"newest rows": dg.MetadataValue.md(preview)})

    return resolve
