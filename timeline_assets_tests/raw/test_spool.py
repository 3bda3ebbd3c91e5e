"""What one record may do to a fetch: be set aside, and nothing more."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import polars as pl
import pytest

from timeline_assets.raw.spool import LONGEST_KEY_BYTES, Spool
from timeline_assets.sources.base import Record

NOW = datetime(2026, 11, 22, 10, tzinfo=UTC)
BEFORE_ALL_TIMES = datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=14)))


def judged(*records: Record) -> list[tuple]:
    """(key, reason) of each record."""
    return pl.concat(Spool(records, now=NOW).frames()).select("key", "reason").rows()


@pytest.mark.parametrize("letter", ["x", "é", "\U0001f600"])
def test_a_key_that_no_index_holds_is_set_aside_with_its_beginning(letter):
    fits, one_more = letter * (LONGEST_KEY_BYTES // len(letter.encode())), letter * LONGEST_KEY_BYTES + "x"
    assert judged(Record(fits, {"n": 1}), Record(one_more, {"n": 2}), Record("good", {"n": 3})) == [
        (fits, None),
        (one_more[:LONGEST_KEY_BYTES], "key_too_long"),
        ("good", None),
    ]


def test_a_long_key_of_what_is_no_record_is_cut_as_well():
    assert judged(Record("x" * 20_000, ["a list"])) == [("x" * LONGEST_KEY_BYTES, "not_an_object")]


def test_two_records_with_keys_that_begin_alike_are_two():
    frame = pl.concat(Spool([Record("x" * 600 + end, {"n": 1}) for end in "ab"], now=NOW).frames())
    assert frame["sha256"].n_unique() == 2


def test_a_time_before_all_times_sets_its_record_aside():
    records = Record("old", {"n": 1}, BEFORE_ALL_TIMES), Record("good", {"n": 2}, NOW)
    assert judged(*records) == [("old", "time_unreadable"), ("good", None)]
