"""`timeline quarantine`: what waits, why, and a person's release of it."""

import json

import pytest

from timeline_assets_tests.cli.conftest import NOON, event_id


@pytest.fixture
def waiting(told, database):
    """The story, with the attribution that its event in quarantine would have."""
    with database.connect("pipeline") as connection:
        connection.execute(
            """insert into timeline.event_keys (event_id, occurred_at, cloud, road_source, road_key, attribution, rule,
                confidence)
            select event_id, occurred_at, cloud, source, source_key, 1, 'none', 'none' from timeline.events
            where owner_scope = 'quarantine'"""
        )
        connection.execute(
            """insert into timeline.attributions (event_id, version, valid_at, owner_scope, rule, confidence,
                topology_recorded_at, reason)
            select event_id, 1, occurred_at, 'quarantine', 'none', 'none', %s, 'nobody knows v-1' from timeline.events
            where owner_scope = 'quarantine'""",
            (NOON,),
        )
        connection.execute("insert into topology.clock (cloud, recorded_at) values ('north', %s)", (NOON,))
    return told


def test_it_is_listed_by_reason_source_and_type(waiting):
    [row] = json.loads(waiting("quarantine", "list", "--json").out)
    assert {name: row[name] for name in ("cloud", "reason", "source", "event_type", "events")} == {
        "cloud": "north",
        "reason": "NO_EVIDENCE",
        "source": "cinder_volumes",
        "event_type": "volume.create.end",
        "events": 1,
    }
    [one] = json.loads(waiting("quarantine", "list", "--events", "--json").out)
    assert (one["event_id"], one["title"], one["detail"]) == (
        str(event_id(6)),
        "Volume v-1 created",
        "nobody knows v-1",
    )
    assert waiting("quarantine", "list", "--reason", "CONFLICT").lines == [
        "Quarantine: empty. The owner of every event is proven."
    ]


def test_one_is_shown_with_what_would_release_it(waiting):
    ran = waiting("quarantine", "show", "00000006")
    assert ran.code == 0, ran.err
    assert "  released by a listing or a message that shows this resource and its owner" in ran.lines


def test_a_release_says_whose_it_is_now_and_is_taken_back(waiting, database):
    ran = waiting("quarantine", "release", "00000006", "--project", "acme/production", "--why", "ticket 4711")
    assert ran.code == 0, ran.err
    assert ran.lines[0] == f"Event {event_id(6)} is of acme/production p-acme by the rule operator_decision."
    assert waiting("quarantine", "list", "--json").out == "[]\n"
    ran = waiting("quarantine", "release", "00000006", "--take-back", "--why", "it was another")
    assert ran.lines == [f"Event {event_id(6)} waits in quarantine again."]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["00000006", "--why", "x"], "whose is it?"),
        (["00000006", "--why", "x", "--project", "nobody"], "there is no project 'nobody'"),
        (["00000001", "--why", "x", "--project", "p-acme"], "does not wait in quarantine: it is of p-acme by the rule"),
        (["99999999", "--why", "x", "--project", "p-acme"], "there is no event '99999999'"),
    ],
)
def test_what_cannot_be_released_is_refused_by_name(waiting, arguments, said):
    ran = waiting("quarantine", "release", *arguments)
    assert (ran.code != 0, ran.out) == (True, "")
    assert said in ran.err
