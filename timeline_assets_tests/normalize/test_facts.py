"""What normalizers share: decoding, comparing, dating, and the frame of facts."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from timeline_assets.normalize.facts import (
    SECOND,
    changes,
    decode,
    facts,
    filled,
    instant,
    json_text,
    lifecycle,
    related,
)
from timeline_assets.normalize.identity import event_id
from timeline_assets.normalize.schema import FACT, OBSERVATION

TEN = datetime(2026, 11, 22, 10, tzinfo=UTC)
RECORD = pl.Struct(
    {
        "id": pl.String,
        "name": pl.String,
        "size": pl.Int64,
        "on": pl.Boolean,
        "tags": pl.List(pl.String),
        "ips": pl.List(pl.Struct({"subnet": pl.String, "ip": pl.String})),
        "gateway": pl.Struct({"network": pl.String}),
        "created_at": pl.String,
        "updated_at": pl.String,
    }
)


def at(seconds: float) -> datetime:
    return TEN + timedelta(seconds=seconds)


def observed(*rows: dict[str, Any]) -> pl.LazyFrame:
    """Observations ten seconds after the scan before, unless a row says otherwise; bodies as objects or as text."""
    complete = []
    for number, row in enumerate(rows):
        plain = {
            "cloud": "test",
            "source": "things",
            "key": "a",
            "op": "seen",
            "observed_at": at(10),
            "seen_from": at(0),
            "sha256": "hash",
            "raw_ref": f"file#{number}",
        }
        bodies = {name: json.dumps(value) for name, value in row.items() if isinstance(value, dict | list)}
        complete.append(plain | row | bodies)
    return pl.DataFrame(complete, schema=OBSERVATION).lazy()


def body(**more: Any) -> dict[str, Any]:
    return {"id": "a"} | more


def lived(*rows: dict[str, Any], tracked=("name",), **options: Any) -> list[dict[str, Any]]:
    frame = lifecycle(decode(observed(*rows), RECORD), changes=changes(RECORD, tracked), **options)
    told = ("life", "source_version", "occurred_from", "occurred_at", "occurred_to", "time_precision", "changes")
    return frame.select(told).collect().to_dicts()


def changed(old: dict[str, Any], new: dict[str, Any], *tracked: str) -> list[dict[str, Any]]:
    frame = decode(observed({"body": body(**new), "previous": body(**old)}), RECORD)
    return json.loads(frame.select(changes(RECORD, tracked)).collect().item())


# Decoding -----------------------------------------------------------------------------------------------------------


def test_a_record_and_the_one_before_it():
    frame = decode(observed({"body": body(size=2), "previous": body(size=1)}, {"body": body()}), RECORD).collect()
    assert [row["size"] for row in frame["now"]] == [2, None]
    assert frame["was"][0]["size"] == 1
    assert frame["was"][1] is None


@pytest.mark.parametrize(
    "bad",
    [
        *("null", "[]", "5", '"text"', "{", ""),
        *('{"id":null}', "{}", '{"id":["a"]}', '{"id":{"a":1}}'),
        *('{"id":"a","gateway":[]}', '{"id":"a","gateway":"x"}', '{"id":"a","ips":["x"]}', '{"id":"a","tags":{}}'),
        *('{"id":"a","size":"5"}', '{"id":"a","on":"true"}', '{"id":"a","on":1}'),
    ],
)
def test_a_record_of_another_shape_raises(bad):
    with pytest.raises((pl.exceptions.PolarsError, ValueError)):
        decode(observed({"body": body()}, {"body": bad}), RECORD).collect()


def test_a_version_before_that_is_of_another_shape_raises_too():
    with pytest.raises(pl.exceptions.PolarsError):
        decode(observed({"body": body(), "previous": '{"id":"a","gateway":[]}'}), RECORD).collect()


@pytest.mark.parametrize(
    "text",
    [
        *("2026-11-22T10:00:00Z", "2026-11-22T10:00:00", "2026-11-22 10:00:00", "2026-11-22T10:00:00.000000"),
        *("2026-11-22T10:00:00+00:00", "2026-11-22 10:00:00+0000", "2026-11-22T10:00:00.000000Z"),
    ],
)
def test_every_spelling_of_an_instant(text):
    assert pl.select(instant(pl.lit(text))).item() == TEN


def test_fractions_of_a_second_are_kept_and_nothing_stays_nothing():
    found = pl.select(instant(pl.Series(["2026-11-22T10:00:00.250000", None]).cast(pl.String))).to_series().to_list()
    assert found == [at(0.25), None]


@pytest.mark.parametrize("text", ["soon", "", "2026-11-22", "2026-13-01T00:00:00Z", "2026-11-22T10:00:00+02:00", "5"])
def test_what_is_no_instant_raises(text):
    with pytest.raises(pl.exceptions.PolarsError):
        pl.select(instant(pl.Series([text])))


def test_an_empty_text_is_nobody():
    assert pl.select(filled(pl.Series(["", None, "x"]))).to_series().to_list() == [None, None, "x"]


# Comparing ----------------------------------------------------------------------------------------------------------


def test_changes_are_of_tracked_paths_in_their_order():
    old = {"name": "a", "size": 1, "on": None, "gateway": {"network": "n"}, "tags": ["x"]}
    new = {"name": "b", "size": 2, "on": True, "gateway": None, "tags": ["x"]}
    assert changed(old, new, "tags", "size", "on", "gateway/network") == [
        {"path": "gateway/network", "old": "n", "new": None},
        {"path": "on", "old": None, "new": True},
        {"path": "size", "old": 1, "new": 2},
    ]


def test_missing_and_null_are_the_same():
    assert changed({"name": None}, {}, "name") == []


def test_an_empty_list_is_not_a_missing_one():
    assert changed({"tags": None}, {"tags": []}, "tags") == [{"path": "tags", "old": None, "new": []}]


def test_the_order_within_a_list_is_no_change():
    ips = [{"subnet": "s1", "ip": "1"}, {"subnet": "s2", "ip": None}]
    assert changed({"tags": ["b", "a"], "ips": ips}, {"tags": ["a", "b"], "ips": ips[::-1]}, "tags", "ips") == []


def test_lists_of_objects_are_given_whole():
    assert changed({"ips": []}, {"ips": [{"subnet": "s", "ip": "1", "new_field": 1}]}, "ips") == [
        {"path": "ips", "old": [], "new": [{"subnet": "s", "ip": "1"}]}
    ]


def test_what_has_no_version_before_has_no_changes():
    frame = decode(observed({"body": body(name="x")}), RECORD)
    assert frame.select(changes(RECORD, ["name"])).collect().item() == "[]"


@settings(max_examples=60, deadline=None)
@given(st.one_of(st.none(), st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]))))
def test_any_text_is_valid_json(text):
    frame = pl.DataFrame({"v": [text]}, schema={"v": pl.String})
    assert json.loads(frame.select(json_text(pl.col("v"), pl.String())).item()) == text
    listed = pl.DataFrame({"v": [[text, text]]}, schema={"v": pl.List(pl.String)})
    assert json.loads(listed.select(json_text(pl.col("v"), pl.List(pl.String))).item()) == [text, text]


def test_related_leaves_out_what_has_no_id():
    frame = pl.DataFrame({"server": ["s", "", None], "network": ["n", "n", None]})
    texts = frame.select(
        related(("server", pl.col("server"), "container"), ("network", pl.col("network"), "related"))
    ).to_series()
    assert [json.loads(text) for text in texts] == [
        [{"type": "server", "id": "s", "role": "container"}, {"type": "network", "id": "n", "role": "related"}],
        [{"type": "network", "id": "n", "role": "related"}],
        [],
    ]


# The life of a record -----------------------------------------------------------------------------------------------

DATED = {"created_at": "created_at", "updated_at": "updated_at"}


def test_created_when_its_service_says_even_on_the_first_scan():
    [fact] = lived({"body": body(created_at="2026-11-22T09:00:00Z"), "seen_from": None}, **DATED)
    nine = TEN - timedelta(hours=1)
    assert fact == {
        "life": "created",
        "source_version": "create",
        "occurred_from": nine,
        "occurred_at": nine,
        "occurred_to": nine + SECOND,
        "time_precision": "second",
        "changes": None,
    }


def test_created_between_two_scans_where_its_service_does_not_say():
    [fact] = lived({"body": body()}, **DATED)
    assert fact == {
        "life": "created",
        "source_version": "create",
        "occurred_from": at(0),
        "occurred_at": at(5),
        "occurred_to": at(10),
        "time_precision": "interval",
        "changes": None,
    }
    assert lived({"body": body(), "seen_from": None}, **DATED) == []
    assert lived({"body": body(created_at="2026-11-22T09:00:00Z"), "seen_from": None}) == []


def test_updated_at_the_time_its_service_gives_if_that_moved():
    new, old = body(name="b", updated_at="2026-11-22T10:00:07Z"), body(name="a", updated_at="2026-11-22T09:00:00Z")
    [fact] = lived({"body": new, "previous": old}, **DATED)
    assert fact | {"source_version": None} == {
        "life": "updated",
        "source_version": None,
        "occurred_from": at(7),
        "occurred_at": at(7),
        "occurred_to": at(8),
        "time_precision": "second",
        "changes": '[{"path":"name","old":"a","new":"b"}]',
    }


def test_updated_between_two_observations_if_it_did_not():
    same = "2026-11-22T09:00:00Z"
    [fact] = lived({"body": body(name="b", updated_at=same), "previous": body(name="a", updated_at=same)}, **DATED)
    assert (fact["occurred_from"], fact["occurred_at"], fact["occurred_to"]) == (at(0), at(5), at(10))
    assert fact["time_precision"] == "interval"


def test_nothing_new_is_no_event():
    assert lived({"body": body(size=2), "previous": body(size=1)}) == []
    assert lived({"body": body(updated_at="2026-11-22T10:00:07Z"), "previous": body()}, **DATED) == []


def test_deleted_between_the_last_scan_with_it_and_the_first_without():
    [fact] = lived({"body": body(), "previous": body(), "op": "gone"}, **DATED)
    assert fact == {
        "life": "deleted",
        "source_version": "deleted",
        "occurred_from": at(0),
        "occurred_at": at(5),
        "occurred_to": at(10),
        "time_precision": "interval",
        "changes": None,
    }


@pytest.mark.parametrize(("updated", "lower"), [(6, 6), (-60, 0), (90, 10)])
def test_what_is_gone_did_not_go_before_its_last_change(updated, lower):
    [fact] = lived({"body": body(updated_at=at(updated).strftime("%Y-%m-%dT%H:%M:%SZ")), "op": "gone"}, **DATED)
    assert (fact["occurred_from"], fact["occurred_to"]) == (at(lower), at(10))
    assert fact["occurred_from"] <= fact["occurred_at"] <= fact["occurred_to"]


def test_bounds_hold_though_a_clock_was_set_back():
    for row in ({"body": body(), "op": "gone"}, {"body": body()}, {"body": body(name="b"), "previous": body(name="a")}):
        [fact] = lived(row | {"seen_from": at(60)})
        assert fact["occurred_from"] == fact["occurred_at"] == fact["occurred_to"] == at(10)


def test_an_update_is_named_by_what_it_was_and_since_when():
    def version(seen_from: datetime | None, name: str, seconds: float = 10) -> str:
        row = {"body": body(name=name), "previous": body(name="a"), "seen_from": seen_from, "observed_at": at(seconds)}
        [fact] = lived(row)
        return fact["source_version"]

    assert version(at(0), "b") == version(at(0), "b", 11)
    assert version(at(0), "b").startswith("updated:2026-11-22T10:00:00.000000+00:00:")
    assert len({version(at(0), "b"), version(at(1), "b"), version(at(0), "c"), version(None, "b")}) == 4


def test_a_source_may_number_its_updates():
    numbered = pl.col("now").struct.field("size").cast(pl.String)
    [fact] = lived({"body": body(name="b", size=7), "previous": body(name="a")}, update_version=numbered)
    assert fact["source_version"] == "7"


# The frame of facts -------------------------------------------------------------------------------------------------


def test_a_fact_has_every_column_and_its_id():
    frame = lifecycle(decode(observed({"body": body(name="x")}), RECORD), changes=pl.lit("[]"))
    made = facts(frame, event_type="thing.created", resource_type="thing", resource_id=pl.col("key"))
    fact = made.collect()
    assert fact.schema == FACT
    row = {name: value for name, value in fact.row(0, named=True).items() if value is not None}
    assert row == {
        "event_id": event_id("test", "things", "a", "create"),
        "cloud": "test",
        "source": "things",
        "source_key": "a",
        "source_version": "create",
        "road_source": "things",
        "road_key": "a",
        "event_type": "thing.created",
        "outcome": "success",
        "phase": "point",
        "occurred_at": at(5),
        "occurred_from": at(0),
        "occurred_to": at(10),
        "time_precision": "interval",
        "observed_at": at(10),
        "resource_type": "thing",
        "resource_id": "a",
        "actor_kind": "unknown",
        "raw_ref": "file#0",
        "raw_sha256": "hash",
        "normalizer_version": "1",
    }


def test_a_column_that_no_fact_has_is_refused():
    with pytest.raises(ValueError, match="no columns of a fact: owner"):
        facts(observed({"body": body()}), owner="x")


def test_of_one_fact_seen_twice_the_newest_observation_stays():
    early, late = {"body": body(name="x")}, {"body": body(name="y"), "observed_at": at(20)}
    for rows in ((early, late), (late, early)):
        frame = lifecycle(decode(observed(*rows), RECORD), changes=pl.lit("[]"))
        made = facts(frame, event_type="e", resource_type="t", resource_id="r", resource_name=pl.col("now").struct[1])
        assert made.collect()["resource_name"].to_list() == ["y"]
