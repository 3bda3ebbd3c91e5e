"""Names: asset keys are ``[stage, cloud, what]``; everything that belongs to one cloud carries its name.

The cloud is part of the key and not of the partition, so that one cloud's backfill or outage is its own and an asset
has one partition an hour, however many clouds there are (docs/decisions/0002).
"""

from __future__ import annotations

import dagster as dg

#: The tables that the last transaction writes together, in the order of their lineage.
FINAL = (
    ("ownership", "attributions"),
    ("ownership", "quarantine"),
    ("timeline", "events"),
    ("timeline", "tenant_events"),
)

#: Tags on runs: the cloud and what set the run off; the process that executes it, in a name that the UI does not show.
CLOUD, TRIGGER, WORKER = "timeline/cloud", "timeline/trigger", ".dagster/timeline_worker"

#: The tag that the UI's "launched by" shows.
LAUNCHED_BY = "user"

#: Runs on what happens now go before backfills (Dagster's default is 0).
LIVE_PRIORITY = {"dagster/priority": "10"}
LOW_PRIORITY = {"dagster/priority": "-10"}


def raw_key(cloud: str, source: str) -> dg.AssetKey:
    """What a source sent, as sent."""
    return dg.AssetKey(["raw", cloud, source])


def facts_key(cloud: str, source: str) -> dg.AssetKey:
    """What a source's records mean."""
    return dg.AssetKey(["normalize", cloud, source])


def topology_key(cloud: str) -> dg.AssetKey:
    """The intervals of resources, ownership and edges."""
    return dg.AssetKey(["topology", cloud, "intervals"])


def final_keys(cloud: str) -> list[dg.AssetKey]:
    """The assets of the last transaction."""
    return [dg.AssetKey([stage, cloud, name]) for stage, name in FINAL]


def behind(cloud: str) -> list[dg.AssetKey]:
    """What all of a cloud's sources flow into."""
    return [topology_key(cloud), *final_keys(cloud)]


def cloud_of(key: dg.AssetKey) -> str:
    """The cloud that an asset belongs to."""
    return key.path[1]


def harvest_job(cloud: str) -> str:
    """The job over all of a cloud's assets."""
    return f"harvest_{cloud}"


def pool(cloud: str) -> str:
    """The pool that bounds how many runs ask a cloud at a time."""
    return f"cloud_{cloud}"
