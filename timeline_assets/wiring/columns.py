"""Column schemas for the catalogue: of a stage's frames from their Polars schema, of tables from ``sql/schema.sql``."""

from __future__ import annotations

import re
from functools import cache
from html import escape

import dagster as dg
import polars as pl

from timeline_assets.store.files import SQL

_TABLE = re.compile(r"^CREATE TABLE (\w+\.\w+) \(\n(.*?)^\)", re.MULTILINE | re.DOTALL)
_COLUMN = re.compile(r"^    (?!CONSTRAINT )(\w+) (.+?)(?: DEFAULT .+?)?( NOT NULL)?(?: GENERATED .+)?,?$", re.MULTILINE)
_COMMENT = re.compile(r"^COMMENT ON COLUMN (\w+\.\w+)\.(\w+) IS '((?:[^']|'')*)';$", re.MULTILINE)


@cache
def tables() -> dict[str, dg.TableSchema]:
    """Every table that the migrations result in, by ``schema.name``: names, types, and the comments as descriptions."""
    text = (SQL / "schema.sql").read_text()
    # descriptions are Markdown to the catalogue, which takes <service> for a tag
    said = {
        (t, column): escape(comment.replace("''", "'"), quote=False) for t, column, comment in _COMMENT.findall(text)
    }
    return {
        table: dg.TableSchema(
            [
                dg.TableColumn(
                    name,
                    kind,
                    description=said.get((table, name)),
                    constraints=dg.TableColumnConstraints(nullable=not required),
                )
                for name, kind, required in _COLUMN.findall(body)
            ]
        )
        for table, body in _TABLE.findall(text)
    }


def frame(schema: pl.Schema, table: str) -> dg.TableSchema:
    """A frame's columns; those that end in `table` under the same name are described as there."""
    said = {column.name: column.description for column in tables()[table].columns}
    described = [dg.TableColumn(name, str(kind), description=said.get(name)) for name, kind in schema.items()]
    return dg.TableSchema(described)
