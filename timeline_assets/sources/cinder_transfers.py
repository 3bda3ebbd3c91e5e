"""Offers of volumes to another project: one row is one offer that has not been taken or withdrawn.

From ``GET /volume-transfers/detail?all_tenants=1`` of the block storage service, whole every few seconds, compared scan
by scan. An offer that is taken is gone like one that is withdrawn: which it was, the volume's owner tells
(`cinder_volumes`). One that is taken between two scans is never seen here.

Told is that a volume was offered, by its owner: the offer names the project it is from, which proves whose the volume
was at that moment.
"""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from timeline_assets.normalize.claims import SEEN, claims, edge_since, existence, owner_since, together
from timeline_assets.normalize.facts import decode, facts, filled, instant, related
from timeline_assets.sources import cinder
from timeline_assets.sources.base import Fetched, Reader, Shape, Source, Span
from timeline_assets.sources.cinder import dated, now

OWNER = "source_project_id"

RECORD = pl.Struct(
    {
        "id": pl.String,
        "name": pl.String,
        "volume_id": pl.String,
        "created_at": pl.String,
        OWNER: pl.String,
    }
)


def fetch(reader: Reader, span: Span) -> Fetched:
    """All open offers of all projects."""
    return cinder.fetch(reader, span, "/volume-transfers/detail", "transfers", owner=OWNER, is_always_whole=True)


def normalize(observations: pl.LazyFrame) -> pl.LazyFrame:
    """``volume.transfer.create.end``, owned by the project that offers."""
    frame = decode(observations, RECORD, required=("id", "volume_id")).filter(SEEN)
    return facts(
        dated(frame, instant(now("created_at"))),
        event_type="volume.transfer.create.end",
        source_version="create",
        phase="end",
        resource_type="volume",
        resource_id=now("volume_id"),
        payload_project_id=filled(now(OWNER)),
        related=related(("volume_transfer", pl.col("key"), "related")),
    )


def evidence(observations: pl.LazyFrame) -> pl.LazyFrame:
    """An offer exists, is the giver's, and is of its volume; the volume was the giver's when it was made."""
    frame = decode(observations, RECORD)
    created = instant(now("created_at"))
    offered = frame.filter(SEEN & created.is_not_null() & filled(now(OWNER)).is_not_null())
    return together(
        existence(frame, "volume_transfer", created_at="created_at"),
        owner_since(frame, "volume_transfer", at=created, project_id=now(OWNER)),
        edge_since(frame, "volume_transfer", "of_volume", "volume", now("volume_id"), at=created),
        claims(
            offered,
            "volume",
            "owner",
            resource_id=now("volume_id"),
            at=created,
            at_from=pl.lit(None),
            project_id=now(OWNER),
        ),
    )


SOURCE = Source(
    name="cinder_transfers",
    service=cinder.SERVICE,
    shape=Shape.SNAPSHOT,
    resource_type="volume_transfer",
    fetch=fetch,
    normalize=normalize,
    evidence=evidence,
    description=__doc__,
    interval=timedelta(seconds=5),
    microversion=cinder.MICROVERSION,
)
