"""Volumes: one row is one volume as it stood.

From ``GET /volumes/detail?all_tenants=1`` of the block storage service, whole every few seconds (beyond 2000 volumes:
whole every minute, and in between what was updated), compared scan by scan. Missing: what came and went between two
scans, such as an extension right after a creation, and who did it.

Told are a volume's creation (a span, dated by `created_at`), its deletion, attachments and detachments (by the id of
the attachment; an attachment dates itself), changes of size, type, backend, name, description, metadata and bootable,
and failures. What another source tells better is not told here: that it is being backed up or restored
(`cinder_backups`), and that it is offered (`cinder_transfers`).

**A volume changes hands.** A listing shows the owner of the moment. It has been the same since the volume's creation if
it was seen before it could be offered (being made, or failed without a backend), and since its oldest attachment while
it is attached, because only a detached volume can be offered. An acceptance shows as another owner, between two scans,
and nothing else: it is told as ``volume.transfer.accept.end``, the giver's, with both projects as its change. A volume
that was offered and is available again under the same owner was withdrawn.
"""

from __future__ import annotations

from datetime import timedelta

import polars as pl

from timeline_assets.normalize.claims import SEEN, claims, edge, edges, existence, owner, owner_since, together
from timeline_assets.normalize.facts import changes, decode, facts, filled, instant, related
from timeline_assets.sources import cinder
from timeline_assets.sources.base import Fetched, Reader, Shape, Source, Span
from timeline_assets.sources.cinder import at_scan, change_of_status, compared, dated, is_first, now, was

OWNER, BACKEND = "os-vol-tenant-attr:tenant_id", "os-vol-host-attr:host"

RECORD = pl.Struct(
    {
        "id": pl.String,
        "name": pl.String,
        "description": pl.String,
        "status": pl.String,
        "size": pl.Int64,
        "volume_type": pl.String,
        "bootable": pl.String,
        "availability_zone": pl.String,
        "created_at": pl.String,
        "updated_at": pl.String,
        "snapshot_id": pl.String,
        "source_volid": pl.String,
        "attachments": pl.List(
            pl.Struct({"attachment_id": pl.String, "server_id": pl.String, "attached_at": pl.String})
        ),
        OWNER: pl.String,
        BACKEND: pl.String,
    }
)

#: Being made.
PENDING = ("creating", "downloading")
#: A volume that is being restored gets its metadata and its bootable flag from the backup.
RESTORING = "restoring-backup"
TRACKED = ("name", "description", "bootable")
#: Statuses of a failed operation that others tell of, or that has a type of its own.
FAILURES = {
    "error_deleting": "volume.delete.error",
    "error_extending": "volume.resize.error",
    "error_restoring": "volume.restore.error",
}
TOLD_BY_BACKUPS = ("error_backing-up",)


def fetch(reader: Reader, span: Span) -> Fetched:
    """All volumes of all projects, or those updated in the span."""
    return cinder.fetch(reader, span, "/volumes/detail", "volumes", owner=OWNER)


def normalize(observations: pl.LazyFrame) -> pl.LazyFrame:
    """What happened to volumes; see the module's text."""
    frame = decode(observations, RECORD)
    settled = frame.filter(SEEN & ~is_first() & ~was("status").is_in(list(PENDING)))
    return pl.concat(
        [
            _creations(frame),
            _facts(compared(frame.filter(pl.col("op") == "gone")), "volume.delete.end", "deleted"),
            _attachments(frame),
            _detachments(frame),
            _failures(frame),
            _changed(settled, "volume.resize.end", ("size",)),
            _changed(settled, "volume.retype.end", ("volume_type",)),
            _changed(settled, "volume.migrate.end", (BACKEND,)),
            _changed(settled.filter(was("status") != RESTORING), "volume.update.end", TRACKED, verbatim=("metadata",)),
            _acceptances(frame),
            _withdrawals(frame),
        ]
    )


def _creations(frame: pl.LazyFrame) -> pl.LazyFrame:
    told = cinder.creations(frame, PENDING)
    return _facts(
        told,
        pl.concat_str(pl.lit("volume.create."), pl.col("phase")),
        "create",
        payload_project_id=filled(cinder.owner_from_creation(OWNER, _was_never_available)),
        related=related(("snapshot", now("snapshot_id"), "related"), ("volume", now("source_volid"), "related")),
    )


def _attachments(frame: pl.LazyFrame) -> pl.LazyFrame:
    """The volume is attached still: its owner was the same when it was."""
    attached = _each_attachment(frame.filter(SEEN), "now", without="was")
    return _facts(
        dated(attached, instant(pl.col("_at"))),
        "volume.attach.end",
        pl.concat_str(pl.lit("attach:"), pl.col("_id")),
        payload_project_id=filled(now(OWNER)),
        related=related(("server", pl.col("_server"), "related")),
    )


def _detachments(frame: pl.LazyFrame) -> pl.LazyFrame:
    """The volume was attached until then: its owner was the one seen before."""
    detached = _each_attachment(frame.filter(SEEN & ~is_first()), "was", without="now")
    return _facts(
        compared(detached),
        "volume.detach.end",
        pl.concat_str(pl.lit("detach:"), pl.col("_id")),
        payload_project_id=filled(was(OWNER)),
        related=related(("server", pl.col("_server"), "related")),
    )


def _was_never_available(field: cinder.Field) -> pl.Expr:
    """Whether a version is from before the volume could be offered: being made, or failed without finding a backend."""
    has_failed_at_once = (field("status") == "error") & filled(field(BACKEND)).is_null()
    return field("status").is_in(list(PENDING)) | has_failed_at_once


def _each_attachment(frame: pl.LazyFrame, side: str, *, without: str) -> pl.LazyFrame:
    """A row for each attachment of one version that the other has not."""
    known = pl.col(without).struct.field("attachments").list.eval(pl.element().struct.field("attachment_id"))
    attachment = pl.col("_attachment").struct
    return (
        frame.with_columns(_attachment=pl.col(side).struct.field("attachments"), _known=known.fill_null([]))
        .explode("_attachment")
        .with_columns(
            _id=attachment.field("attachment_id"),
            _server=attachment.field("server_id"),
            _at=attachment.field("attached_at"),
        )
        .filter(pl.col("_id").is_not_null() & ~pl.col("_known").list.contains(pl.col("_id")))
    )


def _failures(frame: pl.LazyFrame) -> pl.LazyFrame:
    failed = cinder.failures(frame, PENDING, RECORD).filter(~now("status").is_in(list(TOLD_BY_BACKUPS)))
    event_type = now("status").replace_strict(FAILURES, default="volume.error")
    return _facts(failed, event_type, change_of_status(), outcome="failure", phase="error")


def _changed(frame: pl.LazyFrame, event_type: str, tracked: tuple[str, ...], *, verbatim: tuple[str, ...] = ()):
    told = frame.with_columns(changes=changes(RECORD, tracked, verbatim=verbatim)).filter(pl.col("changes") != "[]")
    return _facts(compared(told), event_type, at_scan(event_type.split(".")[1]))


def _acceptances(frame: pl.LazyFrame) -> pl.LazyFrame:
    """The volume was the giver's until it was accepted."""
    changed = frame.filter(SEEN & ~is_first()).with_columns(changes=changes(RECORD, (OWNER,)))
    return _facts(
        compared(changed.filter(pl.col("changes") != "[]")),
        "volume.transfer.accept.end",
        at_scan(pl.concat_str(pl.lit("transfer:"), was(OWNER), pl.lit("→"), now(OWNER))),
        payload_project_id=filled(was(OWNER)),
    )


def _withdrawals(frame: pl.LazyFrame) -> pl.LazyFrame:
    is_back = (was("status") == "awaiting-transfer") & (now("status") == "available") & (was(OWNER) == now(OWNER))
    return _facts(compared(frame.filter(SEEN & is_back)), "volume.transfer.delete.end", change_of_status())


def _facts(frame: pl.LazyFrame, event_type: str | pl.Expr, version: str | pl.Expr, **columns) -> pl.LazyFrame:
    has_phase = "phase" in frame.collect_schema().names()
    return facts(
        frame,
        event_type=event_type,
        source_version=version,
        resource_type="volume",
        resource_id=pl.col("key"),
        resource_name=filled(now("name")),
        availability_zone=filled(now("availability_zone")),
        **({} if has_phase else {"phase": "end"}) | columns,
    )


def evidence(observations: pl.LazyFrame) -> pl.LazyFrame:
    """Existence, the owner as far as it is proven, the servers it is attached to, the backend it lies on."""
    frame = decode(observations, RECORD)
    seen = frame.filter(SEEN)
    pending = seen.filter(_was_never_available(now))
    attached_at = now("attachments").list.eval(pl.element().struct.field("attached_at")).list.drop_nulls().list.min()
    attached = seen.filter((now("status") == "in-use") & attached_at.is_not_null())
    each = _each_attachment(seen, "now", without="was").filter(pl.col("_at").is_not_null())
    return together(
        existence(frame, "volume", created_at="created_at"),
        owner(frame, "volume", project_id=now(OWNER)),
        owner_since(pending, "volume", at=instant(now("created_at")), project_id=now(OWNER)),
        owner_since(attached, "volume", at=instant(attached_at), project_id=now(OWNER)),
        edges(
            frame, "volume", "attached", "server", now("attachments").list.eval(pl.element().struct.field("server_id"))
        ),
        claims(
            each,
            "volume",
            "edge_since",
            at=instant(pl.col("_at")),
            relation="attached",
            to_type="server",
            to_ids=pl.concat_list("_server"),
        ),
        edge(frame, "volume", "on_backend", "backend", now(BACKEND).str.split("#").list.first()),
    )


SOURCE = Source(
    name="cinder_volumes",
    service=cinder.SERVICE,
    shape=Shape.SNAPSHOT,
    resource_type="volume",
    fetch=fetch,
    normalize=normalize,
    evidence=evidence,
    description=__doc__,
    interval=timedelta(seconds=5),
    tracked=tuple(sorted((*TRACKED, "metadata", "size", "volume_type", BACKEND, OWNER, "status", "attachments"))),
    microversion=cinder.MICROVERSION,
)
