"""Windows as Dagster's partitions: hourly, UTC, the hour that is not over yet included."""

from __future__ import annotations

import dagster as dg

from timeline_assets.config import Settings
from timeline_assets.raw.windows import KEY_FORMAT, Window

#: Windows of one backfill run: a run's fixed cost (some CPU seconds) is shared, and one that dies loses a day at most.
WINDOWS_PER_RUN = 24

#: One policy for all assets: mixed ones cannot be in one run.
BACKFILL = dg.BackfillPolicy.multi_run(max_partitions_per_run=WINDOWS_PER_RUN)

RANGE_START, RANGE_END = "dagster/asset_partition_range_start", "dagster/asset_partition_range_end"


def hourly(settings: Settings) -> dg.HourlyPartitionsDefinition:
    """One partition an hour from the first window on; the open hour is the last one."""
    return dg.HourlyPartitionsDefinition(
        start_date=settings.first_window(), timezone="UTC", fmt=KEY_FORMAT, end_offset=1
    )


def windows_of(context: dg.AssetExecutionContext) -> list[Window]:
    """The windows of a run, oldest first: one, or the range of a backfill."""
    return sorted(Window.from_key(key) for key in context.partition_keys)


def range_tags(windows: list[Window]) -> dict[str, str]:
    """The tags by which a run targets consecutive windows."""
    return {RANGE_START: min(windows).key, RANGE_END: max(windows).key}
