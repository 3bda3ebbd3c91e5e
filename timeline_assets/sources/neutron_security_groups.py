"""Security groups of the network service: one row is one group as it stood, without its rules.

From ``GET /v2.0/security-groups``, whole every 10 seconds while there are no more than 2 000, else what changed and
the whole every 5 minutes, or, where the service cannot say what changed, the whole with pauses. Times are the
service's, to the second; a deletion lies between two scans, and of several changes between two polls only the sum is
seen (the message bus has each). Rules are a source of their own: a group's revision moves with them, but the group
itself has not changed. Neutron makes a project's `default` group when that project first lists groups: reading them
once gives the harvesting user's own project one.
"""

from __future__ import annotations

import polars as pl

from timeline_assets.normalize.claims import together
from timeline_assets.normalize.facts import decode
from timeline_assets.sources import neutron
from timeline_assets.sources.base import Fetched, Reader, Shape, Source, Span
from timeline_assets.sources.neutron import COMMON

RECORD = pl.Struct(
    {
        **COMMON,
        "name": pl.String,
        "description": pl.String,
        "stateful": pl.Boolean,
        "shared": pl.Boolean,
        "tags": pl.List(pl.String),
    }
)
TRACKED = ("description", "name", "shared", "stateful", "tags")


def fetch(reader: Reader, span: Span) -> Fetched:
    """All security groups of all projects."""
    return neutron.fetch(reader, span, "/security-groups")


def normalize(observations: pl.LazyFrame) -> pl.LazyFrame:
    """``security_group.create.end``, ``security_group.update.end``, ``security_group.delete.end``."""
    return neutron.normalize(
        observations, RECORD, resource_type="security_group", events="security_group", tracked=TRACKED
    )


def evidence(observations: pl.LazyFrame) -> pl.LazyFrame:
    """A group exists since it was created and has been its owner's since."""
    return together(*neutron.standing(decode(observations, RECORD), "security_group"))


SOURCE = Source(
    name="neutron_security_groups",
    service="network",
    shape=Shape.MUTABLE,
    resource_type="security_group",
    fetch=fetch,
    normalize=normalize,
    evidence=evidence,
    description=__doc__,
    tracked=TRACKED,
)
