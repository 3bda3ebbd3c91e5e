"""Whose was it, what did it hang on, what was it called: exact answers for every kind of question."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

import polars as pl
import psycopg
import pytest

from timeline_assets.store.database import Database
from timeline_assets.topology import lookup
from timeline_assets.topology.merge import merge
from timeline_assets_tests.topology.claims import CLOUD, at, claim, frame

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
    both = f"[{A},{B}]"
    assert owners(
        connection,
        ("volume", "v", 2, 2),
        ("volume", "v", 2.5, 2.5),
        ("volume", "v", 1, 3),
        ("volume", "v", 0, 3),
        ("volume", "v", 3, 3),
        ("volume", "w", 2, 2.99),
        ("volume", "w", 3, 3),
        ("volume", "w", 2, 3),
    ) == [
        (0, "owned", "A", False, f"[{A}]"),
        (1, "hole", None, False, both),
        (2, "hole", None, False, both),
        (3, "hole", None, False, both),
        (4, "owned", "B", False, f"[{B}]"),
        (5, "owned", "A", False, f"[{A}]"),
        (6, "owned", "B", True, f"[{B}]"),
        (7, "hole", None, False, both),
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


def test_an_id_of_two_kinds_answers_for_both(connection: psycopg.Connection) -> None:
    merge(
        connection,
        frame(
            [
                claim("volume", "x", "owner", 0, project_id="A"),
                claim("server", "x", "owner", 0, project_id="B"),
                {**claim("server", "x", "owner", 0, project_id="C"), "cloud": "two"},
            ]
        ),
    )
    assert owners(connection, (None, "x", 5, 5), ("volume", "x", 5, 5)) == [
        (0, "owned", "B", False, f"[{B}]"),
        (0, "owned", "A", False, f"[{A}]"),
        (1, "owned", "A", False, f"[{A}]"),
    ]


def test_a_second_life_under_another_owner(connection: psycopg.Connection) -> None:
    lives = [
        claim("volume", "v", "owner", 1, project_id="A"),
        claim("volume", "v", "gone", 3, 3),
        claim("volume", "v", "owner", 6, project_id="B"),
    ]
    merge(connection, frame(lives))
    asked = [("volume", "v", 4, 4), ("volume", "v", 4, 6), ("volume", "v", 2, 7)]
    assert [answer[1:3] for answer in owners(connection, *asked)] == [("after", "A"), ("hole", None), ("hole", None)]


def test_the_answer_under_an_earlier_pin_is_the_one_given_then(connection: psycopg.Connection) -> None:
    asked = keys(("volume", "v", 3, 3), ("volume", "v", 9, 9))
    merge(connection, frame([claim("volume", "v", "owner", 1, project_id="A")]))
    then = now(connection)
    answered = lookup.owners_at(connection, asked, then)
    merge(connection, frame([claim("volume", "v", "owner", 5, project_id="B")]))
    assert lookup.owners_at(connection, asked, now(connection)).sort("row")["status"].to_list() == ["hole", "owned"]
    assert lookup.owners_at(connection, asked, then).equals(answered)
    assert answered["project_id"].to_list() == ["A", "A"]
    before = then - timedelta(microseconds=1)
    assert lookup.owners_at(connection, asked, before)["status"].to_list() == ["unknown", "unknown"]


def edges(
    connection: psycopg.Connection, *asked: tuple, backward: bool = False, only: tuple | None = None
) -> list[tuple]:
    answer = lookup.edges_at(connection, keys(*asked), only, now(connection), backward=backward)
    assert answer.schema == lookup.EDGES_AT
    return sorted(answer.select("row", "from_id", "relation", "to_id", "ending", "is_exact").rows(), key=str)


def test_edges_from_and_to_a_resource(connection: psycopg.Connection) -> None:
    def port(what: str, when: float, since: float | None, *to: str, relation: str = "device") -> dict:
        return claim("port", "p", what, when, since, relation=relation, to_type="thing", to_ids=list(to))

    merge(
        connection,
        frame(
            [
                port("edges", 1, None, "s"),
                port("edges", 5, 3, "t"),
                port("edge_since", 0, None, "n", relation="on_network"),
                port("edge_until", 6, None, "n", relation="on_network"),
                claim("port", "p", "gone", 9, 8),
                {**port("edges", 1, None, "elsewhere"), "cloud": "two"},
            ]
        ),
    )
    assert edges(connection, ("port", "p", 2, 2), ("port", "p", 4, 4), ("port", "p", 6, 6), (None, "p", 9, 9)) == [
        (0, "p", "device", "s", "changed", True),
        (0, "p", "on_network", "n", "dated", True),
        (1, "p", "device", "s", "changed", False),
        (1, "p", "on_network", "n", "dated", True),
        (2, "p", "device", "t", "gone", True),
        (3, "p", "device", "t", "gone", False),
    ]
    assert edges(connection, ("port", "p", 2, 2), only=("device",)) == [(0, "p", "device", "s", "changed", True)]
    assert edges(connection, ("server", "p", 2, 2)) == []
    assert edges(connection, ("thing", "s", 2, 2), (None, "n", 2, 2), backward=True) == [
        (0, "p", "device", "s", "changed", True),
        (1, "p", "on_network", "n", "dated", True),
    ]


def test_names_as_they_were(connection: psycopg.Connection) -> None:
    merge(
        connection,
        frame(
            [
                claim("project", "p", "seen", 1, name="old"),
                claim("project", "p", "seen", 5, 3, name="new"),
                claim("project", "p", "gone", 9, 9),
            ]
        ),
    )
    asked = [("project", "p", when, when) for when in (0, 1, 3, 4, 5, 9, 10)]
    names = lookup.names_at(connection, keys(*asked, ("project", "p", 2, 6)), now(connection))
    assert names.schema == lookup.NAMES
    assert names.sort("row").select("row", "name").rows() == [(1, "old"), (2, "old"), (4, "new"), (5, "new")]


def test_domains_of_projects_and_users(connection: psycopg.Connection) -> None:
    merge(
        connection,
        frame(
            [
                claim("project", "p", "owner", 1, domain_id="D"),
                claim("project", "gone", "owner", 1, domain_id="D"),
                claim("project", "gone", "gone", 2, 2),
                claim("project", "moved", "owner", 1, domain_id="D"),
                claim("project", "moved", "owner", 5, domain_id="E"),
                claim("user", "u", "owner", 1, domain_id="E"),
            ]
        ),
    )
    ids = pl.Series(["p", "gone", "moved", "u", "p", None, "unknown"], dtype=pl.String)
    assert lookup.domains_of(connection, CLOUD, "project", ids, now(connection)).sort("id").rows() == [
        ("gone", "D"),
        ("p", "D"),
    ]
    assert lookup.domains_of(connection, CLOUD, "user", ids, now(connection)).rows() == [("u", "E")]


def test_a_look_up_reads_no_table_as_a_whole(connection: psycopg.Connection) -> None:
    ports = [
        part
        for number in range(2000)
        for part in (
            claim("port", f"p{number}", "owner", 1, project_id="A"),
            claim("port", f"p{number}", "edges", 1, relation="device", to_type="server", to_ids=[f"s{number}"]),
        )
    ]
    merge(connection, frame(ports))
    owners(connection, *(("port", f"p{number}", 2, 2) for number in range(500)))  # leaves its keys in `asked`
    for table, column in (("ownership", "resource_id"), ("edges", "from_id"), ("edges", "to_id")):
        query = lookup.question(table, "t.*", column, relations=None)
        plan = str(connection.execute("explain " + query, {"pin": at(0)}).fetchall())
        assert "Seq Scan on asked" in plan
        assert f"Seq Scan on {table}" not in plan
