"""Every deed of the ledger is told: once, with the right type, outcome, time and actor, and nothing else is told."""

from __future__ import annotations

from collections import Counter

import polars as pl
import pytest

from timeline_assets_tests.cloud.ledger import Action
from timeline_assets_tests.real_cloud.story import Story
from timeline_assets_tests.real_cloud.told import BESIDE, ONE_READING, TOLD, UNTOLD, Told, kind_of, whole

pytestmark = pytest.mark.cloud

ACTOR = ("actor_user_id", "actor_project_id", "actor_domain_id")


def cases(story: Story, kind: str) -> list[tuple[Action, Told]]:
    """Every deed of a kind with every event that it makes."""
    deeds = story.of_kind(kind)
    if not deeds:
        # on a cloud that is used again some things are there already
        assert not story.is_first, f"the story has no {kind}: this line of the table proves nothing"
        pytest.skip("made by an earlier story of this cloud")
    return [(deed, told) for deed in deeds for told in TOLD[kind]]


def found(story: Story, deed: Action, told: Told) -> pl.DataFrame:
    return told.among(story.events, deed, story.made)


def test_every_deed_has_its_line_in_the_table(story):
    assert {kind_of(deed, story.made) for deed in story.deeds} - {*TOLD, *UNTOLD} == set()


@pytest.mark.parametrize("kind", TOLD)
def test_is_told_once(story, kind):
    wrong = []
    for deed, told in cases(story, kind):
        count = found(story, deed, told).height
        if count > 1 or (count == 0 and not told.is_hidden(deed, story.deeds, story.made)):
            wrong.append((count, told.event_type, deed))
    assert wrong == []


@pytest.mark.parametrize("kind", TOLD)
def test_is_seen_at_all(story, kind):
    """What may be hidden by something close to it is not always hidden, or the line would be empty."""
    seen = {told.event_type: 0 for told in TOLD[kind]}
    for deed, told in cases(story, kind):
        seen[told.event_type] += found(story, deed, told).height
    assert [event_type for event_type, count in seen.items() if not count] == []


@pytest.mark.parametrize("kind", TOLD)
def test_has_the_right_outcome(story, kind):
    outcomes = {
        (event["outcome"], deed.result)
        for deed, told in cases(story, kind)
        for event in found(story, deed, told).iter_rows(named=True)
    }
    # how a restore ended, and what became of a service, no listing says
    assert outcomes <= {("success", "ok"), ("failure", "failed"), ("unknown", "ok")}
    if not kind.startswith(("backup.restore", "service.")):
        assert ("unknown", "ok") not in outcomes


@pytest.mark.parametrize("kind", TOLD)
def test_has_the_right_time(story, kind):
    wrong = []
    for deed, told in cases(story, kind):
        for event in found(story, deed, told).iter_rows(named=True):
            at, earliest, latest = (event[name] for name in ("occurred_at", "occurred_from", "occurred_to"))
            expected = event["time_precision"] if told.precision == "dated" else told.precision
            is_right = whole(deed.t) <= at <= deed.latest
            if expected == "interval":
                is_right = earliest <= deed.latest and latest >= deed.t and latest - earliest <= ONE_READING
            has_ended = event["ended_at"] is None or event["ended_at"] >= at
            precision = "second" if expected == "second" else "interval"
            if not (is_right and has_ended and event["time_precision"] == precision):
                wrong.append((event, deed))
    assert wrong == []


@pytest.mark.parametrize("kind", TOLD)
def test_names_the_right_actor_or_nobody(story, kind):
    wrong = []
    for deed, told in cases(story, kind):
        actor = (deed.actor_user_id, deed.actor_project_id, deed.actor_domain_id)
        expected = (*actor, deed.request_id) if told.has_actor and told.by == "request" else (*actor, None)
        if not told.has_actor:
            expected = (None, None, None, None)
        for event in found(story, deed, told).iter_rows(named=True):
            said = tuple(event[name] for name in (*ACTOR, "request_id"))
            if said != expected:
                wrong.append((said, expected, told.event_type, deed))
    assert wrong == []


@pytest.mark.parametrize("kind", UNTOLD)
def test_what_no_listing_shows_is_not_told(story, kind):
    """A documented absence: it stays one, or the table learns better."""
    deeds = story.of_kind(kind)
    if not deeds and not story.is_first:
        pytest.skip("made by an earlier story of this cloud")
    assert deeds
    requests = [deed.request_id for deed in deeds if deed.request_id]
    resources = [deed.resource_id for deed in deeds if deed.op.endswith(".create") and deed.resource_id]
    told = story.events.filter(pl.col("request_id").is_in(requests) | pl.col("resource_id").is_in(resources))
    assert told.rows() == []


def test_a_rule_that_lived_between_two_readings_is_told_whole_or_not_at_all(story):
    """The finest thing that polling can miss: only the message bus shows it."""
    rule = story.one("security_group_rule.create", resource_name=None, details=_momentary(story))
    told = story.events.filter(resource_id=rule.resource_id)["event_type"].to_list()
    assert Counter(told) in (
        Counter(),
        Counter(["security_group_rule.create.end", "security_group_rule.delete.end"]),
    )


def _momentary(story: Story) -> dict:
    (details,) = [d.details for d in story.of_kind("security_group_rule.create") if d.details["port_range_min"] == 22]
    return details


def test_nothing_is_told_that_nobody_did(story):
    named = {
        event_id
        for kind in TOLD
        for deed in story.of_kind(kind)
        for told in TOLD[kind]
        for event_id in found(story, deed, told)["event_id"]
    }
    others = story.events.filter(~pl.col("event_id").is_in(named), pl.col("occurred_from") >= story.began)
    assert set(others["event_type"]) - set(BESIDE) == set()
    # nor is anything told twice: what a service did is on what it made itself
    made_by_tenants = others.filter(
        pl.col("event_type").str.contains(r"\.(create|delete)\.end$"), pl.col("resource_id").is_in(list(story.made))
    )
    assert made_by_tenants.rows() == []


def test_nothing_that_lives_is_told_gone(story):
    gone = story.events.filter(
        pl.col("event_type").str.contains(r"\.deleted?(\.end)?$"), pl.col("event_type") != "volume.transfer.delete.end"
    )
    assert gone.height
    assert set(gone["resource_id"]) & story.truth.living == set()


def test_every_type_is_known(story):
    assert story.events.filter(pl.col("event_type").str.starts_with("unmapped.")).rows() == []


def test_every_record_could_be_read(story):
    aside = "select source, stage, reason, detail from raw.set_aside"
    assert story.home.rows(aside).rows() == []
