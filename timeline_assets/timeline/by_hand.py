"""A person's decision about an event whose owner nothing proves: landed first, then it acts like any other record.

What a decision is worth beside evidence is :mod:`timeline_assets.ownership.decisions`' business.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import psycopg

from timeline_assets.errors import ConfigurationError, TimelineError
from timeline_assets.normalize.stage import normalize
from timeline_assets.ownership.decisions import RULE
from timeline_assets.pipeline import Pipeline
from timeline_assets.raw.land import land
from timeline_assets.raw.windows import Window
from timeline_assets.sources import LANDED, operator_decisions
from timeline_assets.sources.base import Record
from timeline_assets.timeline.explain import Explanation, explain
from timeline_assets.timeline.stage import resolve
from timeline_assets.topology.stage import absorb


@dataclass(frozen=True)
class Decided:
    """What became of an event: `attribution` is its newest one."""

    event_id: str
    attribution: dict[str, Any]


def release(pipeline: Pipeline, event_id: str, project_id: str | None, *, why: str, by: str) -> Decided:
    """Releases an event from quarantine to a project of its cloud, or (None) takes an earlier release back.

    Args:
        event_id: the whole id, or a beginning that only one event has.
        why: a sentence; it is shown wherever the attribution is.
        by: who decides.

    Raises:
        EventNotFound: there is no such event.
        ConfigurationError: the project is not known in the event's cloud, was gone before the event, or is a service's.
        TimelineError: the event does not wait in quarantine, or there is no release to take back; `why` is empty.
    """
    if not why.strip():
        raise ConfigurationError("a decision needs its reason", remedy='Say it: --why "ticket 4711: the disk was …"')
    with pipeline.connect() as connection:
        found = explain(connection, event_id)
        event = found.event
        newest = found.attributions[0]
        if project_id is None and newest["rule"] != RULE:
            raise TimelineError(
                f"event {event['event_id']} was not released by hand: {_standing(found)}",
                remedy="timeline explain shows why it is whose it is.",
            )
        if project_id is not None:
            if event["owner_scope"] != "quarantine" and newest["rule"] != RULE:
                raise TimelineError(
                    f"event {event['event_id']} does not wait in quarantine: {_standing(found)}",
                    remedy="What evidence has proven no decision changes; correct the evidence, then harvest again.",
                )
            _require_owner(connection, pipeline, event, project_id)
    now = datetime.now(UTC)
    cloud = event["cloud"]
    body = {
        "event_id": str(event["event_id"]),
        "project_id": project_id,
        "why": why.strip(),
        "decided_by": by,
        "decided_at": now.isoformat(),
    }
    land(pipeline, cloud, operator_decisions.SOURCE, [Record(body["event_id"], body, now)], now)
    settle(pipeline, cloud)
    with pipeline.connect() as connection:
        return Decided(body["event_id"], explain(connection, body["event_id"]).attributions[0])


def settle(pipeline: Pipeline, cloud: str, *, again: bool = False) -> None:
    """Brings landed records to the timeline that have not reached it, as those of a command that was killed.

    With `again` what a rebuild has not come to yet is normalized anew, and left to it.
    """
    with pipeline.connect() as connection:
        found = connection.execute(
            """select source, window_start from raw.attempts
            where cloud = %s and source = any(%s) and replaced_by is null
              and (%s or normalized_at is null or absorbed_at is null or resolved_at is null)
            group by 1, 2 order by 2, 1""",
            (cloud, [source.name for source in LANDED], again),
        ).fetchall()
    by_name = {source.name: source for source in LANDED}
    for name, start in found:
        normalize(pipeline, cloud, by_name[name], Window(start), again=again)
    if not again:
        for start in sorted({start for _, start in found}):
            absorb(pipeline, cloud, Window(start))
            resolve(pipeline, cloud, Window(start))


def _standing(found: Explanation) -> str:
    newest = found.attributions[0]
    if newest["owner_scope"] == "quarantine":
        return "it waits in quarantine"
    owner = newest["owner_project_id"] or newest["owner_domain_id"] or newest["owner_scope"]
    return f"it is of {owner} by the rule {newest['rule']}"


def _require_owner(connection: psycopg.Connection, pipeline: Pipeline, event: dict[str, Any], project_id: str) -> None:
    cloud = pipeline.settings.cloud(event["cloud"])
    lives = connection.execute(
        """select max(coalesce(valid_to, 'infinity'))::text, max(coalesce(valid_to, 'infinity')) < %s,
            bool_or(name = any(%s)) from topology.resources
        where cloud = %s and resource_type = 'project' and resource_id = %s and recorded_to is null
        having count(*) > 0""",
        (event["occurred_from"], list(cloud.service_projects), cloud.name, project_id),
    ).fetchone()
    if lives is None:
        raise ConfigurationError(
            f"cloud {cloud.name} has no project {project_id!r}",
            remedy="Give the id of a project that was harvested from the event's own cloud.",
        )
    until, was_gone, is_called_so = lives
    if was_gone:
        raise ConfigurationError(
            f"project {project_id} was gone by {until}, before the event happened",
            remedy="Give the project that owned the resource then: timeline quarantine show lists candidates.",
        )
    home = connection.execute(
        """select domain_id from topology.ownership
        where cloud = %s and resource_type = 'project' and resource_id = %s and recorded_to is null""",
        (cloud.name, project_id),
    ).fetchone()
    is_service = project_id in cloud.service_projects or (
        is_called_so and home is not None and home[0] == cloud.service_domain
    )
    if is_service:
        raise ConfigurationError(
            f"project {project_id} is a service's, which is never a tenant", remedy="Give the tenant's project."
        )
