"""Claims into the tables: whatever the order and the batches one belief, nothing forgotten, nothing written twice."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import datetime, timedelta

import polars as pl
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from timeline_assets.store.copy import read_frame
from timeline_assets.store.database import Database
from timeline_assets.topology import lookup
from timeline_assets.topology.intervals import believe
from timeline_assets.topology.merge import TABLES, compact, merge, revise
from timeline_assets_tests.topology.claims import CLOUD, at, claim, frame, minutes
from timeline_assets_tests.topology.strategies import repetitions, resources

RECORDED = datetime.fromisoformat("2026-02-01T00:00:00Z")


@pytest.fixture
def connection(database: Database) -> Iterator[psycopg.Connection]:
    with database.connect("pipeline") as connection:
        yield connection


def believed(connection: psycopg.Connection, table: str, pin: datetime) -> pl.DataFrame:
    """The rows of a table as believed at `pin`, without who gave the evidence."""
    schema = TABLES[table]
    columns = [name for name in schema if name != "raw_ref"]
    rows = read_frame(
        connection,
        f"""select {", ".join(columns)} from topology.{table}
        where recorded_from <= %(pin)s and (recorded_to is null or recorded_to > %(pin)s)""",
        {"pin": pin},
    )
    return rows.sort([name for name in columns if not isinstance(schema[name], pl.List)])


def everything(connection: psycopg.Connection) -> list[str]:
    """Every row of the topology, as text."""
    names = ("claims", *TABLES, "clock", "touched")
    return [row for name in names for (row,) in connection.execute(f"select t::text from topology.{name} t order by 1")]


def server(what: str, when: float, since: float | None = None, **columns: object) -> dict:
    return claim("server", "s", what, when, since, **columns)


def volume(what: str, when: float, since: float | None = None, **columns: object) -> dict:
    return claim("volume", "v", what, when, since, **columns)


def test_what_is_no_longer_believed_is_closed_and_what_is_believed_still_is_not_touched(
    connection: psycopg.Connection,
) -> None:
    first = merge(
        connection, frame([volume("owner", 1, project_id="A"), server("owner_since", 0, project_id="A")]), RECORDED
    )
    assert (first.claims_new, first.opened["ownership"], first.closed["ownership"]) == (2, 2, 0)
    second = merge(connection, frame([volume("owner", 5, project_id="B")]), RECORDED + timedelta(hours=1))
    assert (second.claims_new, second.opened["ownership"], second.closed["ownership"]) == (1, 2, 1)
    assert second.resources_touched.rows() == [(CLOUD, "volume", "v")]
    rows = read_frame(connection, "select *, recorded_from = %s as is_first from topology.ownership", (RECORDED,))
    assert minutes(rows, "project_id", "valid_from", "valid_to", "is_first") == [
        ("A", 0, None, True),  # the server's, as it was
        ("A", 1, None, True),
        ("A", 1, 1, False),
        ("B", 5, None, False),
    ]
    closed = rows.filter(pl.col("recorded_to").is_not_null())
    assert closed.select("resource_id", "recorded_from", "recorded_to").rows() == [
        ("v", RECORDED, RECORDED + timedelta(hours=1))
    ]


def test_the_same_claims_again_change_nothing(connection: psycopg.Connection) -> None:
    claims = frame(
        [volume("owner", 1, project_id="A"), volume("owner", 5, 3, project_id="B"), server("seen", 1, name="n")]
    )
    merge(connection, claims, RECORDED)
    before = everything(connection)
    again = merge(connection, claims.with_columns(raw_ref=pl.lit("another file")), RECORDED + timedelta(hours=1))
    assert (again.claims_new, again.resources_touched.height, sum(again.opened.values())) == (0, 0, 0)
    assert everything(connection) == before


def test_new_claims_that_add_nothing_change_no_belief(connection: psycopg.Connection) -> None:
    merge(connection, frame([server("owner_since", 0, project_id="A"), server("seen", 1, name="n")]))
    connection.execute("delete from topology.touched")
    merged = merge(connection, frame([server("seen", 2, name="n"), server("owner", 2, project_id="A")]))
    assert merged.claims_new == 2
    assert {*merged.opened.values(), *merged.closed.values()} == {0}
    assert connection.execute("select count(*) from topology.touched").fetchone() == (0,)


def test_who_else_says_the_same_changes_no_row(connection: psycopg.Connection) -> None:
    merge(connection, frame([volume("owner", 1, project_id="A", raw_ref="b")]))
    other = volume("owner", 1, project_id="A", source="bus", raw_ref="a")
    assert sum(merge(connection, frame([other])).opened.values()) == 0


def test_a_clouds_belief_is_recorded_at_strictly_increasing_times(connection: psycopg.Connection) -> None:
    pins = []
    for number, when in enumerate((RECORDED, RECORDED, RECORDED - timedelta(days=1))):
        merge(connection, frame([volume("owner", number, project_id=f"P{number}")]), when)
        pins.append(lookup.pin(connection, CLOUD))
    assert pins == [RECORDED + timedelta(microseconds=number) for number in range(3)]
    assert lookup.pin(connection, "never seen") == lookup.BEGINNING


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_order_and_any_batches_give_one_belief_and_every_earlier_one_can_be_read(
    connection: psycopg.Connection, data: st.DataObject
) -> None:
    claims = data.draw(resources())
    cuts = sorted(data.draw(st.lists(st.integers(0, len(claims)), max_size=4)))
    batches = [claims[start:end] for start, end in zip([0, *cuts], [*cuts, len(claims)], strict=True)]
    replay = []
    with connection.transaction(force_rollback=True):
        for number, batch in enumerate(batches):
            merge(connection, frame(batch), RECORDED + timedelta(hours=number))
            said = [each for some in batches[: number + 1] for each in some]
            replay.append((lookup.pin(connection, CLOUD), believe(frame(said))))
        for pin, belief in replay:
            for table, rows in zip(TABLES, belief, strict=True):
                now = believed(connection, table, pin)
                assert_frame_equal(now, rows.select(now.columns), check_row_order=table != "conflicts")


def test_what_only_repeats_is_compacted(connection: psycopg.Connection) -> None:
    claims = [volume("owner", when, project_id="A") for when in range(1, 6)]
    claims += [volume("edges", when, relation="r", to_type="t", to_ids=["x"]) for when in range(1, 6)]
    merge(connection, frame(claims))
    assert compact(connection, CLOUD, at(5)) == 4  # those at 2 and 3: the one at 4 has no neighbour before 5
    assert compact(connection, CLOUD, at(6)) == 2
    kept = read_frame(connection, "select claim, at from topology.claims")
    assert minutes(kept, "claim", "at") == [("edges", 1), ("edges", 5), ("owner", 1), ("owner", 5)]


def test_compacting_keeps_what_a_later_claim_may_lean_on(connection: psycopg.Connection) -> None:
    """The first of a source, by which its scans count; the last before a contradiction; the ends of a life."""
    first_of_bus = [
        volume("owner", when, project_id="A", source=by) for when, by in ((0, "listing"), (1, "bus"), (2, "x"))
    ]
    contradicted = [
        claim("volume", "w", "owner", when, project_id=owner)
        for when, owner in ((0, "A"), (1, "A"), (2, "A"), (2, "B"))
    ]
    two_lives = [claim("volume", "x", "owner", when, project_id="A") for when in (0, 2, 3)]
    merge(connection, frame([*first_of_bus, *contradicted, *two_lives, claim("volume", "x", "gone", 1, 1)]))
    assert compact(connection, CLOUD, at(9)) == 0


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(resources() | repetitions(), st.integers(0, 9))
def test_compacting_changes_neither_the_belief_nor_what_later_evidence_makes_of_it(
    connection: psycopg.Connection, claims: list[dict], horizon: int
) -> None:
    before = at(horizon)
    with connection.transaction(force_rollback=True):
        merge(connection, frame(each for each in claims if each["at"] < before))
        compact(connection, CLOUD, before)
        merge(connection, frame(each for each in claims if each["at"] >= before))
        revise(connection, "table topology.claims")
        for table, rows in zip(TABLES, believe(frame(claims)), strict=True):
            now = believed(connection, table, lookup.pin(connection, CLOUD))
            assert_frame_equal(now, rows.select(now.columns), check_row_order=table != "conflicts")


def test_two_owners_at_one_time_are_refused_by_the_table_itself(connection: psycopg.Connection) -> None:
    merge(connection, frame([volume("owner", 1, project_id="A")]))
    with pytest.raises(psycopg.errors.ExclusionViolation, match="ownership_one_owner_at_a_time"):
        connection.execute(
            """insert into topology.ownership (cloud, resource_type, resource_id, project_id, valid_from, is_exact,
                recorded_from) values (%s, 'volume', 'v', 'B', %s, true, clock_timestamp())""",
            (CLOUD, at(7)),
        )


def test_odd_texts_are_kept_and_what_says_nothing_is_left_out(connection: psycopg.Connection) -> None:
    odd = 'a"b\\c,{d}\n\t é 0 \ufeff\\.'
    claims = [
        claim("volume", odd, "owner", 1, project_id=odd),
        claim("volume", "nul\0", "owner", 1, project_id="A\0"),
        claim("port", "p", "edges", 1, relation="device", to_type="server", to_ids=[odd, "nul\0", "", odd]),
        claim("volume", "", "owner", 1, project_id="A"),
        {**volume("owner", 1, project_id="A"), "at": None},
        {**volume("owner", 1, project_id="A"), "resource_id": None},
    ]
    assert merge(connection, frame(claims)).claims_new == 3
    owners = read_frame(connection, "select resource_id, project_id from topology.ownership order by 1")
    assert owners.rows() == [(odd, odd), ("nul\ufffd", "A\ufffd")]
    edges = read_frame(connection, "select to_id from topology.edges order by 1")
    assert edges["to_id"].to_list() == [odd, "nul\ufffd"]


def test_claims_that_differ_in_one_column_only_are_two(connection: psycopg.Connection) -> None:
    first = volume("edges", 1, relation="a", to_type="b", to_ids=["c", "d"])
    others = [
        {**first, "to_ids": ["c,d"]},
        {**first, "to_ids": ["c"]},
        {**first, "relation": "ab", "to_type": ""},
        {**first, "source": "bus"},
        {**first, "at_from": at(0)},
        {**first, "name": ""},
    ]
    assert merge(connection, frame([first, *others, first])).claims_new == 7


def test_a_cloud_has_one_writer_at_a_time_and_another_cloud_is_not_in_its_way(database: Database) -> None:
    """Two writers of one resource at once: the second waits, sees what the first wrote, and closes it."""
    done = threading.Event()

    def second() -> None:
        with database.connect("pipeline") as connection:
            merge(connection, frame([volume("owner", 5, project_id="B")]))
        done.set()

    with database.connect("pipeline") as connection:
        merge(connection, frame([volume("owner", 1, project_id="A")]))
        thread = threading.Thread(target=second)
        thread.start()
        with database.connect("admin") as watch:
            watch.autocommit = True
            waits = "select locktype from pg_locks where not granted"
            while not (waiting := watch.execute(waits).fetchall()):
                assert thread.is_alive()
            assert waiting == [("advisory",)]
        with database.connect("pipeline") as elsewhere:
            other = {**volume("owner", 1, project_id="A"), "cloud": "two"}
            assert merge(elsewhere, frame([other])).claims_new == 1
        assert not done.is_set()
    thread.join()
    with database.connect("pipeline") as connection:
        rows = read_frame(connection, "select * from topology.ownership where cloud = 'one' and recorded_to is null")
        assert minutes(rows, "project_id", "valid_from", "valid_to") == [("A", 1, 1), ("B", 5, None)]


# which events are concerned


@pytest.mark.parametrize(
    ("before", "after", "changed"),
    [
        ([], [server("seen", 1, name="n")], [("server", None, None)]),
        ([], [server("owner", 1, project_id="A")], [("server", None, None)]),
        # an end concerns what came after it was last there
        (
            [server("owner_since", 0, project_id="A"), server("edges", 1, relation="r", to_type="t", to_ids=["x"])],
            [server("gone", 9, 8)],
            [("server", 8, None)],
        ),
        # a new owner concerns what came after the last claim of the former
        (
            [volume("owner", 1, project_id="A"), volume("owner", 2, project_id="A")],
            [volume("owner", 5, project_id="B")],
            [("volume", 2, None)],
        ),
        # an owner between two concerns all that lies between them: who may have owned it there is now another question
        (
            [volume("owner", 1, project_id="A"), volume("owner", 9, project_id="B")],
            [volume("owner", 5, project_id="C")],
            [("volume", 1, 9)],
        ),
        # a tenant's name decides whose its events are, any other stands in their titles
        (
            [claim("project", "p", "seen", 1, name="a")],
            [claim("project", "p", "seen", 5, 4, name="b")],
            [("project", 4, None)],
        ),
        ([server("seen", 1, name="a")], [server("seen", 5, 4, name="b")], [("server", 4, None)]),
    ],
)
def test_what_changed_is_reported_with_the_time_it_concerns(
    connection: psycopg.Connection, before: list[dict], after: list[dict], changed: list[tuple]
) -> None:
    merge(connection, frame(before))
    connection.execute("delete from topology.touched")
    merge(connection, frame(after))
    rows = read_frame(connection, "select * from topology.touched")
    assert minutes(rows, "resource_type", "changed_from", "changed_to") == changed


def test_an_end_that_moves_concerns_what_came_after_it_as_well(connection: psycopg.Connection) -> None:
    """Of a resource that is from the beginning, too."""
    project = [claim("project", "p", "owner", 1, domain_id="D"), claim("project", "p", "gone", 5, 4)]
    merge(connection, frame(project))
    connection.execute("delete from topology.touched")
    merge(connection, frame([claim("project", "p", "gone", 4.5, 4.5, source="bus")]))
    rows = read_frame(connection, "select * from topology.touched")
    assert minutes(rows, "changed_from", "changed_to") == [(4, None)]


def test_a_report_that_was_not_taken_is_widened(connection: psycopg.Connection) -> None:
    known = ((1, "A"), (3, "B"), (5, "C"), (9, "D"))
    merge(connection, frame([volume("owner", when, project_id=owner) for when, owner in known]))
    connection.execute("delete from topology.touched")
    merge(connection, frame([volume("owner", 4, project_id="E")]))
    merge(connection, frame([volume("owner", 2, project_id="F")]))
    rows = read_frame(connection, "select * from topology.touched")
    assert minutes(rows, "changed_from", "changed_to") == [(1, 5)]
