"""Asset checks: is everything read, known, owned and consistent?

All checks of a cloud are one step with a handful of queries. They run every quarter of an hour (`upkeep`) and with
whatever a person materializes in the UI, not with the follower's runs, which would pay for them each time.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta

import dagster as dg
import polars as pl
import psycopg

from timeline_assets.pipeline import Pipeline
from timeline_assets.sources.base import Source
from timeline_assets.wiring import keys, measures, report
from timeline_assets.wiring.edge import Edge

#: How far back the checks look; the shape of records is compared with that of some days earlier.
LOOK_BACK, DRIFT_LOOK_BACK = timedelta(hours=48), timedelta(days=5)

#: More than this share of events without a proven owner is worth a person's time.
QUARANTINE_SHARE = 0.05

#: Characters of a path or of what would release an event.
EXPLANATION = 600

COVERAGE, DRIFT, UNMAPPED = "coverage", "schema_drift", "unmapped_types"
QUARANTINE, CONSISTENT = "quarantine_share", "keys"


def cloud_checks(cloud: str, sources: tuple[Source, ...]) -> dg.AssetChecksDefinition:
    """All checks of one cloud."""
    _, quarantine, events, tenant_events = keys.final_keys(cloud)
    coverage = "No window of the last 48 hours is a gap: what failed is read again, or a person knows why."
    drift = "The newest records have every field that a week ago's had and the normalizer reads; none was set aside."

    @dg.multi_asset_check(
        name=f"checks_{cloud}",
        specs=[
            *(dg.AssetCheckSpec(COVERAGE, asset=keys.raw_key(cloud, s.name), description=coverage) for s in sources),
            *(dg.AssetCheckSpec(DRIFT, asset=keys.raw_key(cloud, s.name), description=drift) for s in sources),
            dg.AssetCheckSpec(UNMAPPED, asset=events, description="The registry knows every event's type."),
            dg.AssetCheckSpec(
                QUARANTINE,
                asset=quarantine,
                description=f"At most {QUARANTINE_SHARE:.0%} of events lack a proven owner.",
            ),
            dg.AssetCheckSpec(CONSISTENT, asset=events, description="Each event has one row and one key."),
            dg.AssetCheckSpec(
                CONSISTENT, asset=tenant_events, description="Each tenant row is of an event that the tenant owns."
            ),
        ],
        required_resource_keys={"edge"},
        can_subset=True,
    )
    def checks(context: dg.AssetCheckExecutionContext) -> Iterator[dg.AssetCheckResult]:
        edge: Edge = context.resources.edge
        since = datetime.now(UTC) - LOOK_BACK
        with edge.pipeline.connect() as connection:
            for result in _all(connection, edge.pipeline, cloud, sources, since):
                if dg.AssetCheckKey(result.asset_key, result.check_name) in context.selected_asset_check_keys:
                    yield result

    return checks


def _all(
    connection: psycopg.Connection, pipeline: Pipeline, cloud: str, sources: tuple[Source, ...], since: datetime
) -> Iterator[dg.AssetCheckResult]:
    gaps, proven = measures.gaps(connection, cloud, since), measures.proven(connection, cloud, since)
    for source in sources:
        yield _coverage(cloud, source, gaps.filter(source=source.name), proven.filter(source=source.name))
        drift = measures.drift(pipeline, cloud, source, since - DRIFT_LOOK_BACK)
        yield _drift(cloud, source, drift, measures.set_aside(connection, cloud, source.name))
    _, quarantine, events, tenant_events = keys.final_keys(cloud)
    yield _unmapped(events, measures.unmapped(connection, cloud, since))
    examples = {
        "waiting, newest": measures.waiting(connection, cloud, since, 20),
        "owned, by rule": measures.owned(connection, cloud, since, 3),
    }
    yield _quarantine(quarantine, *measures.quarantined(connection, cloud, since), examples)
    faults = measures.key_faults(connection, cloud, since)
    for asset in (events, tenant_events):
        own = {name: count for name, count in faults.items() if name.startswith("tenant") == (asset == tenant_events)}
        yield dg.AssetCheckResult(
            passed=not any(own.values()),
            asset_key=asset,
            check_name=CONSISTENT,
            severity=dg.AssetCheckSeverity.ERROR,
            metadata=own,
        )


def _coverage(cloud: str, source: Source, gaps: pl.DataFrame, proven: pl.DataFrame) -> dg.AssetCheckResult:
    counts = proven.drop("source").row(0, named=True) if proven.height else {}
    shown = {name: value for name, value in counts.items() if isinstance(value, int)}
    if counts.get("read_to"):
        shown["read_to"] = dg.MetadataValue.timestamp(counts["read_to"])
    return dg.AssetCheckResult(
        passed=gaps.is_empty(),
        asset_key=keys.raw_key(cloud, source.name),
        check_name=COVERAGE,
        severity=dg.AssetCheckSeverity.ERROR,
        metadata={**shown, "gap windows": dg.MetadataValue.md(report.table(gaps.drop("source").head(20)))},
    )


def _drift(cloud: str, source: Source, drift: measures.Drift, aside: pl.DataFrame) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        passed=not drift.lost and aside.is_empty(),
        asset_key=keys.raw_key(cloud, source.name),
        check_name=DRIFT,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "records looked at": drift.records,
            "fields no longer sent": ", ".join(drift.lost) or "none",
            "fields sent but not read": ", ".join(drift.ignored) or "none",
            "set aside": dg.MetadataValue.md(report.table(aside)),
        },
    )


def _unmapped(asset: dg.AssetKey, rows: pl.DataFrame) -> dg.AssetCheckResult:
    return dg.AssetCheckResult(
        passed=rows.is_empty(),
        asset_key=asset,
        check_name=UNMAPPED,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={"types": rows.height, "unmapped": dg.MetadataValue.md(report.table(rows.head(20)))},
    )


def _quarantine(
    asset: dg.AssetKey, events: int, rows: pl.DataFrame, examples: Mapping[str, pl.DataFrame]
) -> dg.AssetCheckResult:
    waiting = int(rows["events"].sum())
    share = waiting / events if events else 0.0
    return dg.AssetCheckResult(
        passed=share <= QUARANTINE_SHARE,
        asset_key=asset,
        check_name=QUARANTINE,
        severity=dg.AssetCheckSeverity.WARN,
        metadata={
            "events": events,
            "quarantined": waiting,
            "share": share,
            "by reason": dg.MetadataValue.md(report.table(rows.head(20))),
            **{name: dg.MetadataValue.md(report.table(frame, EXPLANATION)) for name, frame in examples.items()},
        },
    )
