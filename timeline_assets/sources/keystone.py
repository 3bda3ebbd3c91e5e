"""What the identity service's sources share: whole lists without any time in them, compared scan by scan."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import polars as pl

from timeline_assets.normalize.facts import changes, decode, facts, filled, lifecycle
from timeline_assets.sources import whole
from timeline_assets.sources.base import Fetched, Reader, Span


def fetch(
    reader: Reader,
    span: Span,
    path: str,
    *,
    key: Callable[[Mapping[str, Any]], str | None] = lambda row: row.get("id"),
    complete: Callable[[Any], Any] = lambda row: row,
) -> Fetched:
    """The whole list at `path`; `complete` may add to a row.

    The service has no time filter and (before 2025.1) no pages. Raises ``scope_too_small`` for less than an
    administrator or a reader of the whole system.
    """
    reader.require_scope(is_reader_enough=True)
    if rest := whole.resting(reader.cursor(), span):
        return rest
    began = time.monotonic()
    rows = reader.rows("identity", path, path.strip("/"), {"limit": None})
    found, malformed = reader.keep((complete(row) for row in rows), key=key)
    read_to = reader.read_to(span.now)
    cursor = whole.remembered(span, len(found), time.monotonic() - began, read_to)
    return Fetched(found, True, read_to, reader.requests, cursor=cursor, malformed=malformed)


def normalize(
    observations: pl.LazyFrame,
    record: pl.Struct,
    *,
    resource_type: str,
    tracked: tuple[str, ...],
    target_project_id: pl.Expr | None = None,
    target_domain_id: pl.Expr,
) -> pl.LazyFrame:
    """Facts ``identity.<resource_type>.created``, ``.updated``, ``.deleted``, all dated between two scans."""
    frame = lifecycle(decode(observations, record), changes=changes(record, tracked))
    return facts(
        frame,
        event_type=pl.concat_str(pl.lit(f"identity.{resource_type}."), "life"),
        source_version=pl.col("source_version").replace({"create": "created"}),
        resource_type=resource_type,
        resource_id=field("id"),
        resource_name=filled(field("name")),
        target_project_id=pl.lit(None) if target_project_id is None else target_project_id,
        target_domain_id=target_domain_id,
    )


def field(name: str) -> pl.Expr:
    """A field of the record as it is now."""
    return pl.col("now").struct.field(name)
