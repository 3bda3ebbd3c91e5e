"""Domains of the identity service: one row is one domain as it stood.

From ``GET /v3/domains``, whole, every 10 seconds (more than 2 000 of them: with pauses). The service keeps no times
and no history: a change is dated between two scans, and what came and went between them is not seen (the message bus
tells of it). The first scan knows no births.
"""

from __future__ import annotations

import polars as pl

from timeline_assets.normalize.claims import existence, owner, together
from timeline_assets.normalize.facts import decode
from timeline_assets.sources import keystone
from timeline_assets.sources.base import Fetched, Reader, Shape, Source, Span
from timeline_assets.sources.keystone import field

RECORD = pl.Struct(
    {
        "id": pl.String,
        "name": pl.String,
        "description": pl.String,
        "enabled": pl.Boolean,
        "tags": pl.List(pl.String),
    }
)
TRACKED = ("description", "enabled", "name", "tags")


def fetch(reader: Reader, span: Span) -> Fetched:
    """All domains."""
    return keystone.fetch(reader, span, "/domains")


def normalize(observations: pl.LazyFrame) -> pl.LazyFrame:
    """``identity.domain.created``, ``.updated``, ``.deleted``: the target is the domain itself."""
    return keystone.normalize(
        observations, RECORD, resource_type="domain", tracked=TRACKED, target_domain_id=field("id")
    )


def evidence(observations: pl.LazyFrame) -> pl.LazyFrame:
    """A domain exists and belongs to itself."""
    frame = decode(observations, RECORD)
    return together(
        existence(frame, "domain"),
        owner(frame, "domain", domain_id=field("id")),
    )


SOURCE = Source(
    name="keystone_domains",
    service="identity",
    shape=Shape.SNAPSHOT,
    resource_type="domain",
    fetch=fetch,
    normalize=normalize,
    evidence=evidence,
    description=__doc__,
    tracked=TRACKED,
)
