"""Frames into tables and back: every value as it was, whatever it is made of."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal

import polars as pl
import psycopg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polars.testing import assert_frame_equal
from psycopg import sql

from timeline_assets.errors import DatabaseError
from timeline_assets.store import copy as copy_module
from timeline_assets.store.copy import copy_frame, read_frame
from timeline_assets_tests.conftest import Postgres

INSTANT = pl.Datetime("us", "UTC")
COLUMNS = {
    "words": ("text", pl.String()),
    "at": ("timestamptz", INSTANT),
    "small": ("smallint", pl.Int16()),
    "big": ("bigint", pl.Int64()),
    "is_so": ("boolean", pl.Boolean()),
    "ratio": ("double precision", pl.Float64()),
    "bytes": ("bytea", pl.Binary()),
    "day": ("date", pl.Date()),
    "names": ("text[]", pl.List(pl.String())),
    "numbers": ("bigint[]", pl.List(pl.Int64())),
    "flags": ("boolean[]", pl.List(pl.Boolean())),
}

# what CSV, COPY and arrays each give a meaning of its own, among everything that is text
TRICKY = [
    "",
    " ",
    '"',
    '""',
    "'",
    ",",
    "\n",
    "\r",
    "\r\n",
    "\\",
    "\\.",
    "\\N",
    "NULL",
    "null",
    "{}",
    '{"',
    "\t",
    "%s",
    "é🦄",
]
WORDS = st.sampled_from(TRICKY) | st.text(
    st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=12
)
BIG = st.integers(-(2**63), 2**63 - 1)
ROW = st.fixed_dictionaries(
    {
        "words": st.none() | WORDS,
        "at": st.none() | st.datetimes(timezones=st.just(UTC)),
        "small": st.none() | st.integers(-(2**15), 2**15 - 1),
        "big": st.none() | BIG,
        "is_so": st.none() | st.booleans(),
        "ratio": st.none() | st.floats(allow_nan=False),
        "bytes": st.none() | st.binary(max_size=8),
        "day": st.none() | st.dates(),
        "names": st.none() | st.lists(st.none() | WORDS, max_size=4),
        "numbers": st.none() | st.lists(st.none() | BIG, max_size=3),
        "flags": st.none() | st.lists(st.none() | st.booleans(), max_size=3),
    }
)


@pytest.fixture(scope="module")
def connection(postgres: Postgres) -> Iterator[psycopg.Connection]:
    """A connection of its own, in whose temporary tables everything happens."""
    url = postgres.maker.render_as_string(hide_password=False)
    with psycopg.connect(url, autocommit=True) as connection:
        # results must not depend on how a session shows its values
        connection.execute("SET TIME ZONE 'Asia/Kolkata'; SET DateStyle = 'German'; SET IntervalStyle = 'sql_standard'")
        yield connection


def _table(connection: psycopg.Connection, columns: dict[str, str], name: str = "target") -> None:
    connection.execute(sql.SQL("DROP TABLE IF EXISTS {}").format(sql.Identifier(name)))
    listed = sql.SQL(", ").join(
        sql.SQL("{} " + kind).format(sql.Identifier(column)) for column, kind in columns.items()
    )
    connection.execute(sql.SQL("CREATE TEMPORARY TABLE {} ({})").format(sql.Identifier(name), listed))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(ROW, min_size=1, max_size=8), slice_bytes=st.sampled_from([1, 8_000_000]))
def test_every_value_comes_back_as_it_was(connection: psycopg.Connection, rows: list[dict], slice_bytes: int) -> None:
    _table(connection, {name: kind for name, (kind, _) in COLUMNS.items()})
    frame = pl.DataFrame(rows, schema={name: dtype for name, (_, dtype) in COLUMNS.items()})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(copy_module, "SLICE_BYTES", slice_bytes)
        copy_frame(connection, frame, "target")
    assert_frame_equal(read_frame(connection, "SELECT * FROM target ORDER BY ctid"), frame, check_exact=True)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(words=st.lists(st.none() | WORDS, min_size=1, max_size=6))
def test_one_column_alone_comes_back_as_it_was(connection: psycopg.Connection, words: list[str | None]) -> None:
    _table(connection, {"words": "text"})
    frame = pl.DataFrame({"words": words}, schema={"words": pl.String})
    copy_frame(connection, frame, "target")
    assert_frame_equal(read_frame(connection, "SELECT words FROM target ORDER BY ctid"), frame)


def test_many_rows_keep_their_order_and_their_line_breaks(connection: psycopg.Connection) -> None:
    _table(connection, {"n": "integer", "words": "text"})
    frame = pl.DataFrame({"n": range(50_000)}, schema={"n": pl.Int32}).with_columns(
        words=pl.format('a "{}"\n,line of {}', "n", pl.lit("x").repeat_by(pl.col("n") % 90).list.join(""))
    )
    copy_frame(connection, frame, "target")
    assert_frame_equal(read_frame(connection, "SELECT * FROM target ORDER BY n"), frame)


def test_postgres_sees_the_values_that_were_meant(connection: psycopg.Connection) -> None:
    _table(
        connection,
        {"id": "uuid", "body": "jsonb", "at": "timestamptz", "words": "text", "names": "text[]", "x": "float8"},
    )
    frame = pl.DataFrame(
        {
            "words": ["", None],
            "at": [datetime(2024, 3, 31, 1, 30, tzinfo=timezone(timedelta(hours=2))), None],
            "id": ["0198f2a6-0000-7000-8000-000000000001", None],
            "body": ['{"b": [1, null], "a": "\\n"}', None],
            "names": [["a,b", None, "NULL", "", '"\\'], []],
            "x": [float("nan"), float("-inf")],
        },
        schema_overrides={"at": pl.Datetime("ns", "Europe/Paris")},
    )
    copy_frame(connection, frame, "target")
    rows = connection.execute(
        "SELECT id::text, body, at AT TIME ZONE 'UTC', words, names, x::text, words IS NULL FROM target ORDER BY ctid"
    ).fetchall()
    assert rows == [
        (
            "0198f2a6-0000-7000-8000-000000000001",
            {"b": [1, None], "a": "\n"},
            datetime(2024, 3, 30, 23, 30),  # noqa: DTZ001 - as PostgreSQL shows an instant in UTC
            "",
            ["a,b", None, "NULL", "", '"\\'],
            "NaN",
            False,
        ),
        (None, None, None, None, [], "-Infinity", True),
    ]


def test_what_ended_the_data_before_postgresql_18_is_quoted() -> None:
    frame = pl.DataFrame({"words": ["\\.", None, ""]})
    assert list(copy_module._slices(frame, [pl.col("words")])) == [b'"\\."\n\n""\n']


def test_other_columns_keep_their_defaults_and_names_are_quoted(connection: psycopg.Connection) -> None:
    table, column = 'we"ird', 'select "x"; --'
    _table(connection, {column: "integer", "kept": "integer DEFAULT 7"}, table)
    copy_frame(connection, pl.DataFrame({column: [1]}), table)
    copy_frame(connection, pl.DataFrame({column: [2]}), f"pg_temp.{table}")
    read = read_frame(connection, sql.SQL("SELECT * FROM {} ORDER BY 1").format(sql.Identifier(table)))
    assert read.to_dicts() == [{column: 1, "kept": 7}, {column: 2, "kept": 7}]


def test_a_frame_without_rows_writes_nothing(connection: psycopg.Connection) -> None:
    _table(connection, {"words": "text"})
    copy_frame(connection, pl.DataFrame(schema={"words": pl.String}), "target")
    assert read_frame(connection, "SELECT * FROM target").height == 0


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (pl.Series([{"a": 1}]), "the column c is of type Struct"),
        (pl.Series([[[1]]]), "the column c is of type List"),
        (pl.Series([[datetime(2024, 1, 1, tzinfo=UTC)]]), "the column c is of type List"),
        (pl.Series([timedelta(1)]), "the column c is of type Duration"),
        (pl.Series([], dtype=pl.Struct({"a": pl.Int64})), "the column c is of type Struct"),
        (pl.Series([datetime(2024, 1, 1)]), "the column c has no time zone"),  # noqa: DTZ001 - what is refused
        (pl.Series([253402300800 * 10**6]).cast(INSTANT), "outside the years 1 to 9999 in the column c"),
        (pl.Series([-62135596801 * 10**6]).cast(INSTANT), "outside the years 1 to 9999 in the column c"),
    ],
)
def test_what_has_no_place_in_a_table_is_refused(
    connection: psycopg.Connection, values: pl.Series, reason: str
) -> None:
    _table(connection, {"c": "text"})
    with pytest.raises(ValueError, match=reason):
        copy_frame(connection, values.alias("c").to_frame(), "target")


@pytest.mark.parametrize(("kind", "value"), [("text", "a\0b"), ("jsonb", '{"a": "\\u0000"}')])
def test_a_nul_character_is_named_by_its_column(connection: psycopg.Connection, kind: str, value: str) -> None:
    _table(connection, {"fine": "text", "broken": kind})
    frame = pl.DataFrame({"fine": ["x"], "broken": [value]})
    with pytest.raises(DatabaseError, match="the text in broken of target: it holds a NUL character") as caught:
        copy_frame(connection, frame, "target")
    assert "scrub" in caught.value.remedy


def test_a_result_without_rows_has_the_same_schema(connection: psycopg.Connection) -> None:
    query = """
        SELECT gen_random_uuid() AS id, now() AS at, now()::timestamp AS local, '{}'::jsonb AS body,
               1::smallint AS small, 1 AS n, 1::bigint AS big, 1.5::numeric(10, 2) AS price,
               sum(1::bigint) OVER () AS total, true AS is_so, 1.5::float8 AS ratio, 1.5::real AS half,
               '1 day'::interval AS lasted, current_date AS day, '12:00'::time AS clock, ''::bytea AS bytes,
               '{}'::text[] AS names, '{}'::int[] AS numbers, 'n'::name AS login, 1::oid AS oid,
               '10.0.0.1'::inet AS address
        WHERE false
    """
    read = read_frame(connection, query)
    assert read.is_empty()
    assert dict(read.schema) == {
        "id": pl.String(),
        "at": INSTANT,
        "local": pl.Datetime("us"),
        "body": pl.String(),
        "small": pl.Int16(),
        "n": pl.Int32(),
        "big": pl.Int64(),
        "price": pl.Decimal(10, 2),
        "total": pl.Float64(),
        "is_so": pl.Boolean(),
        "ratio": pl.Float64(),
        "half": pl.Float32(),
        "lasted": pl.Duration("us"),
        "day": pl.Date(),
        "clock": pl.Time(),
        "bytes": pl.Binary(),
        "names": pl.List(pl.String()),
        "numbers": pl.List(pl.Int32()),
        "login": pl.String(),
        "oid": pl.UInt32(),
        "address": pl.String(),
    }


def test_what_is_read_is_what_postgres_means(connection: psycopg.Connection) -> None:
    query = """
        SELECT '2024-03-31 01:30:00.000001+02'::timestamptz AS at, '20000-01-01 00:00+00'::timestamptz AS far,
               '2024-03-31 01:30'::timestamp AS local, '1 day 00:00:01.5'::interval AS lasted,
               1.50::numeric(10, 2) AS price, '{"b": 1}'::jsonb AS body, '12:00:01.5'::time AS clock,
               'Infinity'::float8 AS ratio, '192.168.0.1'::inet AS address, sum(2::bigint) AS total
    """
    read = read_frame(connection, query)
    assert read["far"].dt.year().to_list() == [20000]
    assert read.drop("far").to_dicts() == [
        {
            "at": datetime(2024, 3, 30, 23, 30, 0, 1, tzinfo=UTC),
            "local": datetime(2024, 3, 31, 1, 30),  # noqa: DTZ001 - a timestamp without time zone
            "lasted": timedelta(days=1, seconds=1.5),
            "price": Decimal("1.50"),
            "body": '{"b": 1}',
            "clock": time(12, 0, 1, 500_000),
            "ratio": float("inf"),
            "address": "192.168.0.1/32",
            "total": 2.0,
        }
    ]


def test_parameters_are_values_and_a_query_without_them_is_left_alone(connection: psycopg.Connection) -> None:
    query = "SELECT %s::text AS a, %s::date AS b, %s::text[] AS c"
    read = read_frame(connection, query, ["'; %s {x}", date(2024, 1, 1), ["a", "b"]])
    assert read.to_dicts() == [{"a": "'; %s {x}", "b": date(2024, 1, 1), "c": ["a", "b"]}]
    named = read_frame(connection, "SELECT %(n)s::int + %(n)s::int AS n", {"n": 2})
    assert named.to_dicts() == [{"n": 4}]
    assert read_frame(connection, "SELECT 7 % 4 AS n, '{}' AS braces").to_dicts() == [{"n": 3, "braces": "{}"}]


def test_columns_of_the_same_name_are_refused(connection: psycopg.Connection) -> None:
    with pytest.raises(ValueError, match="two columns the same name: n, n"):
        read_frame(connection, "SELECT 1 AS n, 2 AS n")
