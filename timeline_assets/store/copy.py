"""Polars frames into PostgreSQL and back, by COPY: the fastest way either of them knows.

Both directions are CSV, where an unquoted nothing is NULL and a quoted nothing is the empty string. Instants are UTC.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence

import polars as pl
import psycopg
from psycopg import sql

from timeline_assets.errors import DatabaseError

SLICE_BYTES = 8_000_000

PLAIN = (pl.Boolean, pl.Date, pl.Time, pl.Decimal)
TEXTS = (pl.String, pl.Categorical, pl.Enum, pl.Null)


def copy_frame(connection: psycopg.Connection, frame: pl.DataFrame, table: str) -> None:
    """Append a frame to an existing table, in the connection's transaction, some 8 MB at a time.

    Args:
        connection: of a login that may insert into the table.
        frame: its column names are the table's; order and omitted columns do not matter. `Datetime` with a time zone,
            `Binary` for bytea, `List` of strings, integers or booleans for arrays; jsonb comes as text.
        table: a name, or `schema.name`.

    Raises:
        ValueError: a column is of a type that has no place in a table, or an instant lies outside the years 1 to 9999.
        DatabaseError: a text holds a NUL character, which PostgreSQL cannot store. The transaction is broken then, as
            after any error of the server.
    """
    converted = [_to_csv(name, dtype).alias(name) for name, dtype in frame.schema.items()]
    if frame.is_empty():
        return
    _require_known_years(frame)
    statement = sql.SQL("COPY {} ({}) FROM STDIN (FORMAT csv)").format(
        sql.Identifier(*table.split(".")), sql.SQL(", ").join(map(sql.Identifier, frame.columns))
    )
    try:
        with connection.cursor() as cursor, cursor.copy(statement) as copy:
            for text in _slices(frame, converted):
                copy.write(text)
    except (psycopg.errors.CharacterNotInRepertoire, psycopg.errors.UntranslatableCharacter) as error:
        culprits = [name for name, dtype in frame.schema.items() if isinstance(dtype, TEXTS) and _has_nul(frame[name])]
        raise DatabaseError(
            f"PostgreSQL cannot store the text in {', '.join(culprits) or 'a column'} of {table}: "
            "it holds a NUL character",
            remedy="scrub NUL characters, and \\u0000 in JSON, before the rows are written",
        ) from error


def read_frame(
    connection: psycopg.Connection,
    query: str | sql.Composable,
    params: Sequence[object] | Mapping[str, object] | None = None,
) -> pl.DataFrame:
    """The result of a query as a frame; without rows it has the same schema.

    Args:
        connection: of a login that may read what the query reads.
        query: a SELECT without a closing semicolon; `%s` and `%(name)s` stand for parameters if there are any.
        params: the parameters.

    Returns:
        uuid, json, jsonb, enums and whatever else has no better type as `String`; timestamptz as
        `Datetime('us', 'UTC')`, timestamp as `Datetime('us')`, interval as `Duration('us')`, bytea as `Binary`;
        numeric as `Decimal` if its scale is declared, else as `Float64`; arrays of texts, integers and booleans as
        `List`.

    Raises:
        ValueError: two columns have the same name.
        psycopg.Error: the query fails, or an instant is infinite.
    """
    body = _bound(connection, query, params)
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL("SELECT * FROM ({}) q LIMIT 0").format(body))
        columns = cursor.description or []
        names = [column.name for column in columns]
        if len(set(names)) < len(names):
            raise ValueError(f"the query gives two columns the same name: {', '.join(names)}")
        readers = [_reader(column) for column in columns]
        selected = sql.SQL(", ").join(
            sql.SQL(expression).format(sql.Identifier(name)) + sql.SQL(" AS ") + sql.Identifier(name)
            for name, (expression, _, _) in zip(names, readers, strict=True)
        )
        text = io.BytesIO()
        with cursor.copy(sql.SQL("COPY (SELECT {} FROM ({}) q) TO STDOUT (FORMAT csv)").format(selected, body)) as copy:
            for data in copy:
                text.write(data)
    text.seek(0)
    read = pl.read_csv(
        text,
        has_header=False,
        schema={name: as_read for name, (_, as_read, _) in zip(names, readers, strict=True)},
        raise_if_empty=False,
    )
    return read.select(_from_csv(name, dtype) for name, (_, _, dtype) in zip(names, readers, strict=True))


# writing


def _to_csv(name: str, dtype: pl.DataType) -> pl.Expr:
    """The column as something whose CSV text PostgreSQL reads as the same value."""
    column = pl.col(name)
    if dtype.is_integer() or dtype.is_float() or isinstance(dtype, (*PLAIN, *TEXTS)):
        return column
    if isinstance(dtype, pl.Datetime) and dtype.time_zone:
        # CSV shows the offset only, which is the same instant; converting keeps it to one form
        return column.dt.convert_time_zone("UTC").dt.cast_time_unit("us")
    if isinstance(dtype, pl.Binary):
        return pl.lit("\\x") + column.bin.encode("hex")
    if isinstance(dtype, pl.List) and (dtype.inner.is_integer() or dtype.inner in (pl.String, pl.Boolean)):
        element = pl.element().cast(pl.String)
        if dtype.inner == pl.String:
            escaped = element.str.replace_all("\\", "\\\\", literal=True).str.replace_all('"', '\\"', literal=True)
            element = pl.lit('"') + escaped + pl.lit('"')
        return pl.lit("{") + column.list.eval(element.fill_null("NULL")).list.join(",") + pl.lit("}")
    if isinstance(dtype, pl.Datetime):
        raise ValueError(f"the column {name} has no time zone: it is not known which instants it means")
    raise ValueError(f"the column {name} is of type {dtype}, which has no place in a table")


def _require_known_years(frame: pl.DataFrame) -> None:
    """Polars knows more years than the text of an instant can say."""
    for name, dtype in frame.schema.items():
        if isinstance(dtype, pl.Datetime):
            year = pl.col(name).dt.convert_time_zone("UTC").dt.year()
            first, last = frame.select(year.min().alias("first"), year.max().alias("last")).row(0)
            if first is not None and not (first >= 1 and last <= 9999):
                raise ValueError(f"an instant outside the years 1 to 9999 in the column {name}")


def _slices(frame: pl.DataFrame, converted: Sequence[pl.Expr]) -> Iterator[bytes]:
    """The frame as CSV in pieces of whole rows, so that its text is never in memory as a whole."""
    rows = max(1, int(frame.height * SLICE_BYTES / max(frame.estimated_size(), SLICE_BYTES)))
    for part in frame.iter_slices(rows):
        # quoted even where CSV needs none: before PostgreSQL 18 a bare \. ended the data
        text = io.BytesIO()
        part.select(converted).write_csv(text, include_header=False, quote_style="non_numeric")
        yield text.getvalue()


def _has_nul(texts: pl.Series) -> bool:
    return bool(texts.cast(pl.String).str.contains("\\x00|\\\\u0000").any())


# reading

# as whole microseconds: exact, and independent of the session's time zone and date style
MICROSECONDS = "(extract(epoch FROM {}) * 1000000)::int8"
Reader = tuple[str, pl.DataType, pl.DataType]


def _same(dtype: pl.DataType) -> Reader:
    return "{}", dtype, dtype


# how to ask for a type, what its text is read as, and what it becomes; every other type is asked for as text
READERS: Mapping[str, Reader] = {
    "int2": _same(pl.Int16()),
    "int4": _same(pl.Int32()),
    "int8": _same(pl.Int64()),
    "oid": _same(pl.UInt32()),
    "float4": _same(pl.Float32()),
    "float8": _same(pl.Float64()),
    "date": _same(pl.Date()),
    "time": _same(pl.Time()),
    "bool": ("{}::text", pl.Boolean(), pl.Boolean()),
    "numeric": ("{}::float8", pl.Float64(), pl.Float64()),
    "timestamptz": (MICROSECONDS, pl.Int64(), pl.Datetime("us", "UTC")),
    "timestamp": (MICROSECONDS, pl.Int64(), pl.Datetime("us")),
    "interval": (MICROSECONDS, pl.Int64(), pl.Duration("us")),
    "bytea": ("encode({}, 'hex')", pl.String(), pl.Binary()),
}
ARRAY_ELEMENTS = {"int2": pl.Int16(), "int4": pl.Int32(), "int8": pl.Int64(), "bool": pl.Boolean()}


def _bound(
    connection: psycopg.Connection,
    query: str | sql.Composable,
    params: Sequence[object] | Mapping[str, object] | None,
) -> sql.Composable:
    """The query with its parameters as literals, which COPY demands."""
    text = query if isinstance(query, str) else query.as_string(connection)
    if params is not None:
        text = psycopg.ClientCursor(connection).mogrify(text, params)
    return sql.SQL(text)


def _reader(column: psycopg.Column) -> Reader:
    info = psycopg.adapters.types.get(column.type_code)
    kind = info.name if info else "text"
    if info and column.type_code == info.array_oid:
        return "array_to_json({})", pl.String(), pl.List(ARRAY_ELEMENTS.get(kind, pl.String()))
    if kind == "numeric" and column.scale is not None:
        return "{}", pl.String(), pl.Decimal(column.precision, column.scale)
    return READERS.get(kind, ("{}::text", pl.String(), pl.String()))


def _from_csv(name: str, dtype: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    if isinstance(dtype, pl.Binary):
        return column.str.decode("hex")
    if isinstance(dtype, pl.List):
        return column.str.json_decode(dtype)
    return column.cast(dtype)
