"""A person's decision: landed first, the last word only where evidence has none, and the same after a rebuild."""

from __future__ import annotations

import pytest

from timeline_assets.errors import ConfigurationError, TimelineError
from timeline_assets.timeline.by_hand import release, settle
from timeline_assets.timeline.explain import explain
from timeline_assets.timeline.verify import verify
from timeline_assets_tests.making import CLOUD, at, claims, facts
from timeline_assets_tests.timeline.landed import land
from timeline_assets_tests.timeline.orders import arrive, forget

A = {"resource_type": "project", "resource_id": "A", "claim": "owner", "domain_id": "D1", "minute": -60}
B = {**A, "resource_id": "B"}
SERVER_OF_B = {"resource_id": "server-1", "claim": "owner_since", "project_id": "B", "minute": -30}
OWNER = "select owner_scope, owner_project_id from timeline.events where source = 'nova_instance_actions'"
TENANTS = "select tenant_project_id, relation from timeline.tenant_events"


@pytest.fixture
def waiting(pipeline, learn, happen) -> str:
    """The id of an event that waits: nothing is known of its server."""
    learn(claims(A, B))
    told = land(pipeline, facts({}))
    happen(told)
    return told["event_id"][0]


def decide(pipeline, event_id, project_id, why="ticket 4711"):
    return release(pipeline, event_id, project_id, why=why, by="alice")


def test_a_release_is_an_attribution_with_who_and_why(pipeline, waiting, rows):
    decided = decide(pipeline, waiting[:8], "A").attribution
    assert (decided["version"], decided["rule"], decided["confidence"]) == (2, "operator_decision", "medium")
    assert decided["reason"] == "released by hand by alice: ticket 4711"
    assert (decided["evidence"]["decided_by"], decided["evidence"]["why"]) == ("alice", "ticket 4711")
    assert rows(OWNER) == [{"owner_scope": "project", "owner_project_id": "A"}]
    assert rows(TENANTS) == [{"tenant_project_id": "A", "relation": "owner"}]
    assert rows("select resolved_at is not null as is_resolved from timeline.quarantine") == [{"is_resolved": True}]
    assert rows("select source, rows from raw.attempts where source = 'operator_decisions'") == [
        {"source": "operator_decisions", "rows": 1}
    ]


def test_the_decision_is_an_event_that_security_readers_see(pipeline, waiting, rows):
    decide(pipeline, waiting, "A")
    assert rows(
        """select event_type, visibility, owner_scope, resource_id, actor_user_id, message from timeline.events
        where source = 'operator_decisions'"""
    ) == [
        {
            "event_type": "timeline.event.release",
            "visibility": "security",
            "owner_scope": "provider",
            "resource_id": waiting,
            "actor_user_id": "alice",
            "message": "ticket 4711",
        }
    ]


def test_evidence_that_proves_an_owner_has_the_last_word(pipeline, waiting, learn, happen, rows):
    decide(pipeline, waiting, "A")
    learn(claims(SERVER_OF_B))
    happen()
    assert rows(OWNER) == [{"owner_scope": "project", "owner_project_id": "B"}]
    assert rows(TENANTS) == [{"tenant_project_id": "B", "relation": "owner"}]
    with pytest.raises(TimelineError, match="does not wait in quarantine: it is of B by the rule resource_interval"):
        decide(pipeline, waiting, "A")


def test_the_newest_decision_counts_and_can_be_taken_back(pipeline, waiting, rows):
    decide(pipeline, waiting, "A")
    decide(pipeline, waiting, "B")
    assert rows(OWNER) == [{"owner_scope": "project", "owner_project_id": "B"}]
    decide(pipeline, waiting, None)
    assert rows(OWNER) == [{"owner_scope": "quarantine", "owner_project_id": None}]
    assert rows(TENANTS) == []
    with pytest.raises(TimelineError, match="was not released by hand: it waits in quarantine"):
        decide(pipeline, waiting, None)


@pytest.mark.parametrize("order", ["decision first", "event first", "together"])
def test_a_rebuild_has_the_decision_in_whatever_order(pipeline, waiting, order, learn):
    decide(pipeline, waiting, "A")
    before = verify(pipeline, CLOUD)
    assert (before.faults, before.pending) == ((), 0)
    with pipeline.connect() as connection:
        by_source = dict(connection.execute("select source, attempt_id from raw.attempts").fetchall())
    forget(pipeline)
    learn(claims(A, B))
    first = {"decision first": "operator_decisions", "event first": "nova_servers"}.get(order)
    arrive(pipeline, CLOUD, [[by_source[first]]] if first else [])
    after = verify(pipeline, CLOUD)
    assert (after.hash, after.differences) == (before.hash, ())


def test_a_command_killed_after_landing_is_brought_to_its_end(pipeline, waiting, rows, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr("timeline_assets.timeline.by_hand.settle", _killed)
        decide(pipeline, waiting, "A")
    assert rows(OWNER) == [{"owner_scope": "quarantine", "owner_project_id": None}]
    settle(pipeline, CLOUD)
    assert rows(OWNER) == [{"owner_scope": "project", "owner_project_id": "A"}]


def _killed(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_a_project_that_cannot_have_owned_it_is_refused(pipeline, waiting, learn, rows):
    gone = {"resource_type": "project", "resource_id": "C"}
    service = {"resource_type": "project", "resource_id": "S"}
    learn(
        claims(
            gone | {"claim": "owner", "domain_id": "D1", "minute": -60},
            gone | {"claim": "gone", "minute": -30, "at_from": at(-30)},
            service | {"claim": "owner", "domain_id": "default", "minute": -60},
            service | {"claim": "seen", "name": "service", "minute": -60},
        )
    )
    for project, said in (
        ("nobody", "cloud test has no project 'nobody'"),
        ("C", "project C was gone by 2026-11-22 11:30:00"),
        ("S", "project S is a service's"),
    ):
        with pytest.raises(ConfigurationError, match=said):
            decide(pipeline, waiting, project)
    with pytest.raises(ConfigurationError, match="a decision needs its reason"):
        decide(pipeline, waiting, "A", why=" ")
    assert rows("select count(*) as n from raw.attempts where source = 'operator_decisions'") == [{"n": 0}]


def test_explaining_it_shows_every_version(pipeline, waiting):
    decide(pipeline, waiting, "A")
    with pipeline.connect() as connection:
        found = explain(connection, waiting)
    assert [one["rule"] for one in found.attributions] == ["operator_decision", "none"]
