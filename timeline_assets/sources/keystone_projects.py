"""Projects of the identity service: one row is one project as it stood.

From ``GET /v3/projects``, whole, every 10 seconds (more than 2 000 of them: with pauses); domains are a source of
their own. The service keeps no times and no history: a change is dated between two scans, and what came and went
between them is not seen (the message bus tells of it). The first scan knows no births.
"""

from __future__ import annotations

import polars as pl

from timeline_assets.normalize.claims import edge, existence, owner, together
from timeline_assets.normalize.facts import decode
from timeline_assets.sources import keystone
from timeline_assets.sources.base import Fetched, Reader, Shape, Source, Span
from timeline_assets.sources.keystone import field

RECORD = pl.Struct(
    {
        "id": pl.String,
        "name": pl.String,
        "domain_id": pl.String,
        "parent_id": pl.String,
        "description": pl.String,
        "enabled": pl.Boolean,
        "tags": pl.List(pl.String),
    }
)
TRACKED = ("description", "domain_id", "enabled", "name", "parent_id", "tags")


def fetch(reader: Reader, span: Span) -> Fetched:
    """All projects of all domains."""
    return keystone.fetch(reader, span, "/projects")


def normalize(observations: pl.LazyFrame) -> pl.LazyFrame:
    """``identity.project.created``, ``.updated``, ``.deleted``: the target is the project itself."""
    return keystone.normalize(
        observations,
        RECORD,
        resource_type="project",
        tracked=TRACKED,
        target_project_id=field("id"),
        target_domain_id=field("domain_id"),
    )


def evidence(observations: pl.LazyFrame) -> pl.LazyFrame:
    """A project exists, belongs to its domain, and may be the child of another."""
    frame = decode(observations, RECORD)
    parent = pl.when(field("parent_id") != field("domain_id")).then(field("parent_id"))
    return together(
        existence(frame, "project"),
        owner(frame, "project", domain_id=field("domain_id")),
        edge(frame, "project", "child_of", "project", parent),
    )


SOURCE = Source(
    name="keystone_projects",
    service="identity",
    shape=Shape.SNAPSHOT,
    resource_type="project",
    fetch=fetch,
    normalize=normalize,
    evidence=evidence,
    description=__doc__,
    tracked=TRACKED,
)
