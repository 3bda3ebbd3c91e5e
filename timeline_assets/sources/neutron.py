"""What the network service's sources share: one way to list, one way to read a change out of two versions.

Every resource has `created_at`, `updated_at` (whole seconds) and `revision_number`, which names its version. What is
deleted is simply no longer listed.

The whole list is read at every poll while it is short: one answer then also shows what is gone. A longer one is asked
for what changed (`changed_since`) and read whole every `SWEEP`. Where the service cannot say what changed (Zed answers
400), a long list is read whole, with pauses (:mod:`~timeline_assets.sources.whole`).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, timedelta
from typing import Any

import polars as pl

from timeline_assets.errors import SourceError
from timeline_assets.normalize.claims import existence, owner_since
from timeline_assets.normalize.facts import changes, decode, facts, filled, instant, lifecycle, unnumbered
from timeline_assets.sources import whole
from timeline_assets.sources.base import Fetched, Reader, Span
from timeline_assets.sources.openstack import Scope, failure

#: How often a long list is read whole: what was deleted from it shows at the second time.
SWEEP = timedelta(minutes=5)

_BY_ID = {"sort_key": "id", "sort_dir": "asc"}  # an order in which nothing moves while the pages are read

#: Fields of every resource.
COMMON = {
    "id": pl.String,
    "project_id": pl.String,
    "created_at": pl.String,
    "updated_at": pl.String,
    "revision_number": pl.Int64,
}


def fetch(reader: Reader, span: Span, path: str, *, admins_field: str | None = None) -> Fetched:
    """The list at `path`, whole or what changed since the span's start; `admins_field` is shown to administrators only.

    Raises ``scope_too_small`` where the service narrows its answers to the caller's project.
    """
    scope = reader.require_scope()
    collection = path.strip("/").replace("-", "_")
    cursor = dict(reader.cursor())
    if span.is_open and not whole.is_short(cursor):
        since = span.start.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        if "changed_since" not in cursor:
            answer = reader.probe("network", path, {"changed_since": since, "limit": 1})
            cursor["changed_since"] = answer is not None
        if not cursor["changed_since"]:
            if rest := whole.resting(cursor, span):
                return rest
        elif whole.since_read(cursor, span) < SWEEP:
            try:
                rows = reader.rows("network", path, collection, {"changed_since": since, **_BY_ID})
                found, malformed = reader.keep(rows, cursor_at=_updated_at)
            except SourceError as error:
                if error.code != "malformed_answer":
                    raise
                del cursor["changed_since"]  # another release answers than the one that was probed: ask again
            else:
                read_to = reader.read_to(span.now)
                return Fetched(found, False, read_to, reader.requests, cursor=cursor, malformed=malformed)
    began = time.monotonic()
    proof = _Proof(scope, admins_field)
    found, malformed = reader.keep(
        proof.sought(reader.rows("network", path, collection, _BY_ID)), cursor_at=_updated_at
    )
    proof.require(reader)
    read_to = reader.read_to(span.now)
    cursor |= whole.remembered(span, len(found), time.monotonic() - began, read_to)
    return Fetched(found, True, read_to, reader.requests, cursor=cursor, malformed=malformed)


def normalize(
    observations: pl.LazyFrame,
    record: pl.Struct,
    *,
    resource_type: str,
    events: str,
    tracked: tuple[str, ...],
    name: pl.Expr | None = None,
    **columns: pl.Expr,
) -> pl.LazyFrame:
    """Facts ``<events>.create.end``, ``.update.end`` and ``.delete.end``: the names these have on the message bus.

    An update's version is its revision, so that listing and bus name one fact alike; where something changed without a
    new revision, the change is part of the name. Where several revisions lie between two readings, the update's time is
    an interval.
    """
    frame = lifecycle(
        decode(observations, record),
        changes=changes(record, tracked),
        created_at="created_at",
        updated_at="updated_at",
        update_version=_version(),
        is_one_update=_is_one_update(),
    )
    verb = pl.col("life").replace_strict({"created": "create", "updated": "update", "deleted": "delete"})
    return facts(
        frame,
        event_type=pl.concat_str(pl.lit(f"{events}."), verb, pl.lit(".end")),
        phase="end",
        resource_type=resource_type,
        resource_id=field("id"),
        resource_name=filled(field("name") if name is None else name),
        payload_project_id=filled(field("project_id")),
        severity=_severity() if "status" in tracked else pl.lit(None),
        **columns,
    )


def standing(frame: pl.LazyFrame, resource_type: str, *, name: pl.Expr | None = None) -> list[pl.LazyFrame]:
    """What every resource proves: that it exists since it was created, under a name, and whose it is.

    Its owner never changes, so it has been the owner's since then; an empty one proves nothing.
    """
    return [
        existence(frame, resource_type, name=name, created_at="created_at"),
        owner_since(frame, resource_type, at=born(), project_id=field("project_id")),
    ]


def born() -> pl.Expr:
    """When the resource was created; null where the service does not say."""
    return instant(field("created_at"))


def field(name: str) -> pl.Expr:
    """A field of the record as it is now."""
    return pl.col("now").struct.field(name)


def _revisions() -> tuple[pl.Expr, pl.Expr]:
    return field("revision_number"), pl.col("was").struct.field("revision_number")


def _is_one_update() -> pl.Expr:
    """Whether nothing else was changed since the last reading; a network's revision counts its subnets' changes too."""
    new, old = _revisions()
    return (new - old <= 1).fill_null(False)


def _version() -> pl.Expr:
    new, old = _revisions()
    moved = new.cast(pl.String)
    stayed = pl.concat_str(moved, pl.lit("~"), unnumbered(), ignore_nulls=True)
    return pl.when(new.ne_missing(old)).then(moved).otherwise(stayed)


def _severity() -> pl.Expr:
    """Of an update that changed the status: ERROR 4, DOWN 2 (a stopped server's port is down)."""
    status, before = field("status"), pl.col("was").struct.field("status")
    turned = (pl.col("life") == "updated") & status.ne_missing(before)
    return pl.when(turned & (status == "ERROR")).then(4).when(turned & (status == "DOWN")).then(2)


def _updated_at(row: Mapping[str, Any]) -> str | None:
    return row.get("updated_at")


class _Proof:
    """That an administrator's token sees more than its own project: a policy may narrow admins too.

    Proof is a field that only administrators are shown, or a row of another project. A cloud may truly have one project
    only; then the network listing, whose `provider:` fields are for administrators, decides. Where that extension is
    off, the role has to suffice.
    """

    def __init__(self, scope: Scope, admins_field: str | None) -> None:
        self._scope, self._admins_field = scope, admins_field
        self._is_found = False

    def sought(self, rows: Iterable[Any]) -> Iterator[Any]:
        """The rows as they come, looked at in passing."""
        for row in rows:
            self._is_found = self._is_found or (isinstance(row, dict) and self._is_shown_by(row))
            yield row

    def _is_shown_by(self, row: Mapping[str, Any]) -> bool:
        if self._admins_field:
            return self._admins_field in row
        return row.get("project_id") not in (None, "", self._scope.project_id)

    def require(self, reader: Reader) -> None:
        """Raises ``scope_too_small`` if there is none, once all rows were read."""
        if self._is_found:
            return
        mark = "provider:network_type"
        networks = reader.get("network", "/networks", {"limit": 1, "fields": ["id", mark]}).get("networks", [])
        if not networks or mark in networks[0] or reader.probe("network", "/extensions/provider") is None:
            return
        raise failure(
            "scope_too_small", f"{reader.cloud}: the network service shows the harvesting user its own project alone"
        )
