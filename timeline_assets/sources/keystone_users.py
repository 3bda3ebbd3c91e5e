"""Users of the identity service: one row is one user as it stood.

From ``GET /v3/users``, whole, every 10 seconds (more than 2 000 of them: with pauses); users of a directory that
Keystone only reads are listed as its driver lets them. The service keeps no times and no history: a change is dated
between two scans, and what came and went between them is not seen, nor is any log-in (the message bus tells of both).
The first scan knows no births.
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
        "domain_id": pl.String,
        "default_project_id": pl.String,
        "description": pl.String,
        "enabled": pl.Boolean,
    }
)
TRACKED = ("default_project_id", "description", "domain_id", "enabled", "name")


def fetch(reader: Reader, span: Span) -> Fetched:
    """All users of all domains."""
    return keystone.fetch(reader, span, "/users")


def normalize(observations: pl.LazyFrame) -> pl.LazyFrame:
    """``identity.user.created``, ``.updated``, ``.deleted``: filed under the user's domain."""
    return keystone.normalize(
        observations, RECORD, resource_type="user", tracked=TRACKED, target_domain_id=field("domain_id")
    )


def evidence(observations: pl.LazyFrame) -> pl.LazyFrame:
    """A user exists and belongs to its domain."""
    frame = decode(observations, RECORD)
    return together(
        existence(frame, "user"),
        owner(frame, "user", domain_id=field("domain_id")),
    )


SOURCE = Source(
    name="keystone_users",
    service="identity",
    shape=Shape.SNAPSHOT,
    resource_type="user",
    fetch=fetch,
    normalize=normalize,
    evidence=evidence,
    description=__doc__,
    tracked=TRACKED,
)
