"""One fact on several roads is one event, whatever the order."""

from __future__ import annotations

import json

import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from timeline_assets.timeline import roads
from timeline_assets_tests.making import at, facts

OWN = {"minute": 3, "time_precision": "second", "actor_user_id": "u-own", "host": None, "observed_at": at(9)}
BUS = {
    "road_source": "bus",
    "road_key": "m-1",
    "minute": 3.01,
    "actor_user_id": "u-bus",
    "host": "h-bus",
    "observed_at": at(4),
}
DIFF = {"road_source": "a_listing", "road_key": "server-1", "minute": 2, "time_precision": "interval", "host": "h-diff",
        "request_id": "r-diff", "observed_at": at(5)}  # fmt: skip


@given(st.permutations([OWN, BUS, DIFF]))
def test_the_merge_does_not_depend_on_the_order(order):
    merged = roads.merge(facts(*order)).to_dicts()
    assert len(merged) == 1
    event = merged[0]
    assert event["actor_user_id"] == "u-own", "the fact's own source speaks first"
    assert event["request_id"] == "r-diff", "a road that alone knows something is heard"
    assert event["host"] == "h-diff", "then the roads by name: a_listing before bus"
    assert event["occurred_at"] == at(3.01), "the most precise road gives the time"
    assert event["time_precision"] == "exact"
    assert event["roads"] == 3
    assert json.loads(event["witnesses"]) == [
        {"source": "a_listing", "key": "server-1", "observed_at": "2026-11-22T12:05:00.000000Z"},
        {"source": "bus", "key": "m-1", "observed_at": "2026-11-22T12:04:00.000000Z"},
        {"source": "nova_instance_actions", "key": "key", "observed_at": "2026-11-22T12:09:00.000000Z"},
    ]


def test_of_one_road_the_newest_observation_counts():
    started = {"event_type": "compute.instance.reboot.start", "phase": "start", "observed_at": at(1)}
    ended = {"event_type": "compute.instance.reboot.end", "observed_at": at(2)}
    for order in ([started, ended], [ended, started]):
        assert roads.newest_per_road(facts(*order))["event_type"].to_list() == ["compute.instance.reboot.end"]


def test_a_fact_alone_is_its_own_witness():
    alone = roads.witness_alone(facts({"observed_at": at(1)}))
    assert alone.schema == roads.WITNESSED
    assert json.loads(alone["witnesses"][0]) == [
        {"source": "nova_instance_actions", "key": "key", "observed_at": "2026-11-22T12:01:00.000000Z"}
    ]
    assert alone["roads"].to_list() == [1] and isinstance(alone, pl.DataFrame)
