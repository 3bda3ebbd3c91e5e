"""No event has a wrong owner: every one is judged by the ledger and by what the operator saw, none is left out."""

from __future__ import annotations

import re
from typing import Any

import polars as pl
import pytest

from timeline_assets.normalize.schema import TRANSFERABLE
from timeline_assets_tests.real_cloud.home import Home
from timeline_assets_tests.real_cloud.story import Story, events_of

pytestmark = pytest.mark.cloud

#: How Cinder calls the copy it makes of a volume in use, to back up from.
COPY = re.compile(r"backup-vol-(?P<volume_id>[0-9a-f-]{36})")


def wrong_owners(story: Story, events: pl.DataFrame) -> list[tuple[str, dict[str, Any]]]:
    """Events whose owner is another than the true one, or is unproven where it can be proven; with what is wrong."""
    judged = ((judge(story, event), event) for event in events.iter_rows(named=True))
    return [(verdict, event) for verdict, event in judged if verdict]


def judge(story: Story, event: dict[str, Any]) -> str | None:
    copy = COPY.fullmatch(event["resource_name"] or "")
    resource_id = copy["volume_id"] if copy else event["resource_id"]
    true = story.truth.first.get(resource_id)
    if true is None:
        return "nobody knows whose it was"
    match event["owner_scope"]:
        case "quarantine":
            return _unproven(story, event)
        case "provider" | "domain" as scope:
            same_domain = scope == "provider" or event["owner_domain_id"] == true.domain_id
            return None if scope == true.scope and same_domain else f"not the {scope}'s"
    possible = story.truth.owners(resource_id, event["occurred_from"], event["occurred_to"])
    return None if event["owner_project_id"] in possible else f"it belonged to {possible}"


def _unproven(story: Story, event: dict[str, Any]) -> str | None:
    """Polling alone cannot prove an owner before the first sight of what can change hands, nor while it does."""
    if event["resource_type"] not in TRANSFERABLE:
        return "its owner cannot change and could be proven"
    change = story.truth.changes.get(event["resource_id"])
    match event["quarantine_reason"]:
        case "TOPOLOGY_GAP":
            is_birth = ".create." in event["event_type"]
            return None if is_birth else "it was seen before this happened"
        case "INTERVAL_OVERLAP":
            is_meanwhile = (
                change and event["occurred_from"] <= change.latest and event["occurred_to"] >= change.earliest
            )
            return None if is_meanwhile else "it did not change hands then"
    return f"{event['quarantine_reason']} is no reason"


def test_every_event_is_its_owners(story):
    assert wrong_owners(story, story.events) == []


def test_most_events_have_a_proven_owner(story):
    """What waits in quarantine is a handful of births of volumes and snapshots, and one transfer."""
    waiting = story.events.filter(owner_scope="quarantine")
    assert waiting.height < 0.1 * story.events.height


def test_every_tenant_has_events(story):
    tenants = {deed.resource_id for deed in story.deeds if deed.op == "project.create"}
    assert tenants - set(story.events["owner_project_id"]) == set()


def test_a_harvest_after_all_is_over_gives_the_same_owners_or_none(story, late: Home):
    """Above all never the recipient of what the donor did. The domain of a project that is gone is no longer known."""
    afterwards = events_of(late)
    assert wrong_owners(story, afterwards.filter(owner_scope="project")) == []
    assert wrong_owners(story, afterwards.filter(pl.col("owner_scope").is_in(["domain", "provider"]))) == []
    owner = ("owner_scope", "owner_project_id")
    both = story.events.join(afterwards, on="event_id", suffix="_late")
    same = pl.all_horizontal(pl.col(name).eq_missing(pl.col(f"{name}_late")) for name in owner)
    domain, domain_late = pl.col("owner_domain_id"), pl.col("owner_domain_id_late")
    same &= domain.eq_missing(domain_late) | domain_late.is_null()
    is_unproven = (pl.col("owner_scope") == "quarantine") | (pl.col("owner_scope_late") == "quarantine")
    assert both.filter(~same & ~is_unproven).rows() == []
    assert both.filter(same).height > 0.5 * both.height
    unproven = set(both.filter(pl.col("owner_scope_late") == "quarantine")["resource_type"])
    assert unproven <= TRANSFERABLE
