"""A fact's id: the same fact always gives the same id, whatever road it came on."""

from __future__ import annotations

import uuid

import polars as pl

#: The namespace of all event ids. Never change it: every id ever given hangs on it.
NAMESPACE = uuid.UUID("6ec4a5a8-6f5b-5c0a-9a9e-0d6b4c1f7a11")


def event_id(cloud: str, source: str, source_key: str, source_version: str) -> str:
    """UUIDv5 of the four parts of a fact's identity; the separator can stand in none of them but the key."""
    return str(uuid.uuid5(NAMESPACE, "\x1f".join((cloud, source, source_key, source_version))))


def with_event_id(facts: pl.LazyFrame) -> pl.LazyFrame:
    """Facts with `event_id` computed from (`cloud`, `source`, `source_key`, `source_version`)."""
    parts = pl.concat_str("cloud", "source", "source_key", "source_version", separator="\x1f")
    return facts.with_columns(
        event_id=parts.map_elements(lambda text: str(uuid.uuid5(NAMESPACE, text)), return_dtype=pl.String)
    )
