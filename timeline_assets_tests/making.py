"""Facts and claims for tests: only what a test is about is written out, the rest is plain and the same everywhere."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl

from timeline_assets.normalize.identity import with_event_id
from timeline_assets.normalize.schema import EVIDENCE, FACT

CLOUD = "test"
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


def at(minutes: float) -> datetime:
    """So many minutes after noon."""
    return NOON + timedelta(minutes=minutes)


def facts(*rows: dict[str, Any]) -> pl.DataFrame:
    """A frame of facts; each row gives what matters. `minute` stands for an exact time, `changes` may be a list."""
    return with_event_id(pl.DataFrame([_fact(**row) for row in rows], schema=FACT).lazy()).collect()


def _fact(*, minute: float = 0, **given: Any) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(FACT)
    row |= {
        "cloud": CLOUD,
        "source": "nova_instance_actions",
        "source_key": "key",
        "source_version": "span",
        "event_type": "compute.instance.reboot.end",
        "outcome": "success",
        "phase": "end",
        "occurred_at": at(minute),
        "time_precision": "exact",
        "observed_at": at(minute + 1),
        "resource_type": "server",
        "resource_id": "server-1",
        "actor_kind": "unknown",
        "raw_ref": "file#0",
        "raw_sha256": "0" * 64,
        "normalizer_version": "1",
    }
    row |= given
    row.setdefault("road_source", None)
    row["road_source"] = row["road_source"] or row["source"]
    row["road_key"] = row["road_key"] or row["source_key"]
    row["occurred_from"] = row["occurred_from"] or row["occurred_at"]
    row["occurred_to"] = row["occurred_to"] or row["occurred_at"]
    for column in ("changes", "related"):
        if isinstance(row[column], list):
            row[column] = json.dumps(row[column])
    return row


def claims(*rows: dict[str, Any]) -> pl.DataFrame:
    """A frame of evidence; each row gives what matters, `minute` stands for `at`."""
    made = []
    for row in rows:
        given = dict(row)
        claim: dict[str, Any] = dict.fromkeys(EVIDENCE)
        claim |= {"cloud": CLOUD, "resource_type": "server", "source": "nova_servers", "raw_ref": "file#0"}
        if "minute" in given:
            claim["at"] = at(given.pop("minute"))
        made.append(claim | given)
    return pl.DataFrame(made, schema=EVIDENCE)
