"""Whose was it, what did it hang on, what was it called: exact answers for every kind of question."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import polars as pl
import psycopg
import pytest

from timeline_assets.store.copy import read_frame
from timeline_assets.store.database import Database
from timeline_assets.topology import lookup
from timeline_assets.topology.merge import merge
from timeline_assets_tests.topology.claims import CLOUD, at, claim, frame, minutes

A, B = '{"type":"project","id":"A"}', '{"type":"project","id":"B"}'


@pytest.fixture
def connection(database: Database) -> Iterator[psycopg.Connection]:
    with database.connect("pipeline") as connection:
        yield connection


def keys(*asked: tuple[str | None, str, float, float]) -> pl.DataFrame:
    rows = [(row, CLOUD, kind, key, at(first), at(last)) for row, (kind, key, first, last) in enumerate(asked)]
    return pl.DataFrame(rows, schema=lookup.KEYS, orient="row")


def now(connection: psycopg.Connection) -> datetime:
    return lookup.pin(connection, CLOUD)


def owners(connection: psycopg.Connection, *asked: tuple[str | None, str, float, float]) -> list[tuple]:
    answer = lookup.owners_at(connection, keys(*asked), now(connection))
    assert answer.schema == lookup.OWNERS
    return answer.sort("row", "resource_type").select("row", "status", "project_id", "is_exact", "candidates").rows()


def test_one_owner_throughout(connection: psycopg.Connection) -> None:
    merge(
        connection,
        frame(
            [
                claim("server", "s", "created", 0),
                claim("server", "s", "owner_since", 0, project_id="A"),
                claim("server", "s", "gone", 10, 9),
            ]
        ),
    )
    assert owners(
        connection,
        ("server", "s", 0, 0),
        ("server", "s", 2, 9),
        ("server", "s", 9, 10),  # the deletion itself
        (None, "s", 5, 5),
    ) == [
        (0, "owned", "A", True, f"[{A}]"),
        (1, "owned", "A", True, f"[{A}]"),
        (2, "owned", "A", False, f"[{A}]"),
        (3, "owned", "A", True, f"[{A}]"),
    ]


def test_before_the_first_evidence_and_after_the_end_name_the_neighbour(connection: psycopg.Connection) -> None:
    merge(connection, frame([claim("volume", "v", "owner", 5, project_id="A"), claim("volume", "v", "gone", 9, 9)]))
    assert owners(connection, ("volume", "v", 4, 4), ("volume", "v", 4, 6), ("volume", "v", 8, 10)) == [
        (0, "before", "A", False, f"[{A}]"),
        (1, "before", "A", False, f"[{A}]"),
        (2, "after", "A", False, f"[{A}]"),
    ]


def test_between_two_owners_and_across_a_change_there_is_none(connection: psycopg.Connection) -> None:
    merge(
        connection,
        frame(
            [
                claim("volume", "v", "owner", 1, project_id="A"),
                claim("volume", "v", "owner", 3, 2, project_id="B"),
                claim("volume", "w", "owner", 1, project_id="A"),
                claim("volume", "w", "owner_since", 3, project_id="B"),
            ]
        ),
    )
    both = f"[{B},{A}]" if B < A else f"[{A},{B}]"
    assert owners(
        connection,
        ("volume", "v", 2, 2),
        ("volume", "v", 2.5, 2.5),
        ("volume", "v", 1, 3),
        ("volume", "v", 3, 3),
        ("volume", "w", 2, 2.99),
        ("volume", "w", 3, 3),
        ("volume", "w", 2, 3),
    ) == [
        (0, "owned", "A", False, f"[{A}]"),
        (1, "hole", None, False, both),
        (2, "hole", None, False, both),
        (3, "owned", "B", False, f"[{B}]"),
        (4, "owned", "A", False, f"[{A}]"),
        (5, "owned", "B", True, f"[{B}]"),
        (6, "hole", None, False, both),
    ]


def test_conflict_unowned_and_unknown(connection: psycopg.Connection) -> None:
    merge(
        connection,
        frame(
            [
                claim("server", "s", "owner_since", 0, project_id="A"),
                claim("server", "s", "owner_since", 0, project_id="B", source="bus"),
                claim("server", "t", "seen", 0, name="t"),
            ]
        ),
    )
    assert owners(
        connection, ("server", "s", 5, 5), ("server", "t", 5, 5), ("server", "u", 5, 5), ("port", "t", 5, 5)
    ) == [
        (0, "conflict", None, False, f"[{A},{B}]"),
        (1, "unowned", None, False, "[]"),
        (2, "unknown", None, False, "[]"),
        (3, "unknown", None, False, "[]"),
    ]
