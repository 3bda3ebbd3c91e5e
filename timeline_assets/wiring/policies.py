"""What holds for every asset, applied once over all of them rather than repeated in each."""

from __future__ import annotations

from datetime import timedelta

import dagster as dg

from timeline_assets.wiring.partitions import BACKFILL

OWNERS = ("team:timeline",)

#: A source shows a sign of life at least every hour, when its window closes and settles.
FRESH = dg.FreshnessPolicy.time_window(fail_window=timedelta(hours=3), warn_window=timedelta(hours=2))

#: What lies behind raw follows any window that was read again, however old: `eager` alone looks at the newest only.
#: A source that was never read in a window must not keep the others' back, so missing upstream windows are no obstacle,
#: and a window that never was is no reason to run. Runs that refresh a whole window (the follower's, backfills) leave
#: nothing to do here.
DOWNSTREAM = (
    dg.AutomationCondition.any_deps_updated().since_last_handled()
    & ~dg.AutomationCondition.any_deps_in_progress()
    & ~dg.AutomationCondition.in_progress()
).with_label("a window upstream was read again")


def applied(asset: dg.AssetsDefinition, partitions: dg.PartitionsDefinition) -> dg.AssetsDefinition:
    """The asset with its group (its stage), owners, partitions, freshness, automation and backfill policy."""

    def with_policies(spec: dg.AssetSpec) -> dg.AssetSpec:
        stage = spec.key.path[0]
        is_raw = stage == "raw"
        return spec.replace_attributes(
            group_name=stage,
            owners=OWNERS,
            partitions_def=partitions,
            freshness_policy=FRESH if is_raw else None,
            automation_condition=None if is_raw else DOWNSTREAM,
        )

    return asset.map_asset_specs(with_policies).with_attributes(backfill_policy=BACKFILL)
