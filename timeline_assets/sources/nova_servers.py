"""Servers: one row is a server as Nova lists it, deleted ones included.

From ``GET /servers/detail?all_tenants=1&changes-since`` of the compute service, every few seconds; what changed is
there within a second or two. Once a day the whole list is read, which finds servers that have not changed since before
the first window. Missing: what Nova archived or purged (30 to 90 days after deletion), servers of a cell that is down
(then the window is a gap), and a change that does not touch the server's row: volumes and interfaces attached or
detached, which are seen as instance actions.

What was done to a server belongs to the action that did it (`nova_instance_actions`): creation, deletion, reboot,
resize, a move to another host and every other change of status that an action explains are told there, once. So this
listing makes no event of `status`, host, flavor or lock. It tells what no action records: as
``compute.instance.update`` a changed name, description, metadata or tags, and a power state that changed while the
server's own state and task did not (the hypervisor did it); and as ``compute.instance.error`` a server that was neither
building nor in the middle of a task and is found in ERROR, at the time of its `fault`. Both happened between two
observations. And Nova records no action where it deletes a server without asking a host, because none has it (never
built, shelved) or its host is down: then ``compute.instance.delete.end`` is told here, at `terminated_at`. Such a
server has no host, or is deleted with the power state it had, which a host would have cleared.

Evidence: existence from `created` to `terminated_at` (`updated` of a deleted server is late: 46 s in one measured
case), its owner (a server never changes hands), and the host it runs on when observed.
"""

from __future__ import annotations

from datetime import timedelta
from itertools import chain
from typing import Any

import polars as pl

from timeline_assets.normalize.claims import claims, edge, owner_since, together
from timeline_assets.normalize.facts import SECOND, changes, decode, digest, facts, filled, instant
from timeline_assets.sources.base import Fetched, Reader, Shape, Source, Span
from timeline_assets.sources.nova import SERVICE, changed_in, down_cells, now, parsed, timestamp, was

PATH = "/servers/detail"
MICROVERSION = "2.69"
SWEEP = timedelta(days=1)

VM_STATE, TASK_STATE, POWER_STATE = "OS-EXT-STS:vm_state", "OS-EXT-STS:task_state", "OS-EXT-STS:power_state"
TERMINATED_AT = "OS-SRV-USG:terminated_at"
HOST = "OS-EXT-SRV-ATTR:host"

RECORD = pl.Struct(
    {
        "id": pl.String,
        "name": pl.String,
        "description": pl.String,
        "tags": pl.List(pl.String),
        "status": pl.String,
        "tenant_id": pl.String,
        "created": pl.String,
        "updated": pl.String,
        "fault": pl.Struct({"created": pl.String, "message": pl.String}),
        "OS-EXT-AZ:availability_zone": pl.String,
        HOST: pl.String,
        VM_STATE: pl.String,
        TASK_STATE: pl.String,
        POWER_STATE: pl.Int64,
        TERMINATED_AT: pl.String,
    }
)
TRACKED = ("name", "description", "tags", POWER_STATE)


def fetch(reader: Reader, span: Span) -> Fetched:
    """Servers changed in the span; once a day, beside them, every server there is."""
    reader.require_scope()
    memory = dict(reader.cursor())
    everything = {"all_tenants": 1}
    rows = reader.rows(SERVICE, PATH, "servers", everything | changed_in(span), microversion=MICROVERSION)
    swept_at = parsed(memory.get("swept_at"))
    if span.is_open and (swept_at is None or span.now - swept_at >= SWEEP):
        rows = chain(rows, reader.rows(SERVICE, PATH, "servers", everything, microversion=MICROVERSION))
        memory["swept_at"] = timestamp(span.now)
    found, malformed = reader.keep((_of_its_own(row) for row in rows), cursor_at=lambda row: row.get("updated"))
    hidden = down_cells(reader)
    return Fetched(
        records=found,
        is_complete=False,
        read_to=reader.read_to(span.now),
        requests=reader.requests,
        gap="cell_down" if hidden else None,
        gap_detail=f"the cell of {hidden} does not answer" if hidden else None,
        cursor=memory,
        malformed=malformed,
    )


def _of_its_own(row: Any) -> Any:
    """Without `host_status`: it is the host's, and empty or not by how one asks (with `changes-since` it is empty)."""
    return {name: value for name, value in row.items() if name != "host_status"} if isinstance(row, dict) else row


def normalize(observations: pl.LazyFrame) -> pl.LazyFrame:
    """What no action records; see the module's text."""
    frame = decode(observations, RECORD)
    changed = frame.filter(pl.col("was").is_not_null())
    return pl.concat([_updates(changed), _errors(changed), _deletions(frame)])


def _updates(frame: pl.LazyFrame) -> pl.LazyFrame:
    is_quiet = now(VM_STATE).eq_missing(was(VM_STATE)) & now(TASK_STATE).is_null() & was(TASK_STATE).is_null()
    # A power state that follows from an action is the action's: take it for unchanged.
    power = pl.when(is_quiet).then(now(POWER_STATE)).otherwise(was(POWER_STATE))
    frame = frame.with_columns(now=pl.col("now").struct.with_fields(power.alias(POWER_STATE)))
    frame = frame.with_columns(changes=changes(RECORD, TRACKED, verbatim=("metadata",))).filter(
        pl.col("changes") != "[]"
    )
    updated = instant(now("updated"))
    return _facts(
        _between(frame, updated),
        event_type="compute.instance.update",
        source_version=_version("updated", pl.col("changes")),
    )


def _errors(frame: pl.LazyFrame) -> pl.LazyFrame:
    is_unexplained = ~was("status").is_in(["ERROR", "BUILD", "DELETED"]) & was(TASK_STATE).is_null()
    fault = now("fault")
    at = pl.coalesce(instant(fault.struct.field("created")), instant(now("updated")))
    frame = frame.filter((now("status") == "ERROR") & is_unexplained).with_columns(changes=changes(RECORD, ("status",)))
    return _facts(
        _between(frame, at),
        event_type="compute.instance.error",
        outcome="failure",
        source_version=_version("error", at.dt.to_string("iso:strict")),
        message=fault.struct.field("message"),
    )


def _deletions(frame: pl.LazyFrame) -> pl.LazyFrame:
    had_no_host = filled(now(HOST)).is_null() | (now(POWER_STATE).fill_null(0) != 0)
    at = instant(now(TERMINATED_AT))
    return _facts(
        frame.filter((now("status") == "DELETED") & had_no_host & at.is_not_null()),
        event_type="compute.instance.delete.end",
        source_version="deleted",
        phase="end",
        occurred_at=at,
        occurred_from=at,
        occurred_to=at + SECOND,
        time_precision="second",
    )


def _facts(frame: pl.LazyFrame, **columns: pl.Expr | str) -> pl.LazyFrame:
    return facts(
        frame,
        resource_type="server",
        resource_id=pl.col("key"),
        resource_name=filled(now("name")),
        payload_project_id=filled(now("tenant_id")),
        host=filled(now(HOST)),
        availability_zone=filled(now("OS-EXT-AZ:availability_zone")),
        **{"phase": "state", "time_precision": "interval", **columns},
    )


def _between(frame: pl.LazyFrame, best: pl.Expr) -> pl.LazyFrame:
    """Between two observations, at `best` if that lies there."""
    seen_from = pl.min_horizontal("seen_from", "observed_at").fill_null(pl.col("observed_at"))
    at = pl.max_horizontal(pl.min_horizontal(best.fill_null(pl.col("observed_at")), "observed_at"), seen_from)
    latest = pl.min_horizontal(at + SECOND, pl.max_horizontal("observed_at", at))
    return frame.with_columns(occurred_at=at, occurred_from=seen_from, occurred_to=latest)


def _version(kind: str, what: pl.Expr) -> pl.Expr:
    return pl.concat_str(
        pl.lit(f"{kind}:"), pl.col("observed_at").dt.to_string("iso:strict"), pl.lit(":"), digest(what)
    )


def evidence(observations: pl.LazyFrame) -> pl.LazyFrame:
    """Existence, owner and host of servers."""
    frame = decode(observations, RECORD)
    created = instant(now("created"))
    is_deleted = now("status") == "DELETED"
    alive, deleted = frame.filter(~is_deleted), frame.filter(is_deleted)
    terminated = instant(now(TERMINATED_AT))
    ended = pl.coalesce(terminated, instant(now("updated")))
    # Never built, hence never terminated: `updated` is then only the latest it can have been.
    ended_from = pl.coalesce(terminated, pl.min_horizontal(pl.max_horizontal(created, "seen_from"), ended), ended)
    just_before = pl.max_horizontal(created, ended_from - timedelta(microseconds=1))
    name = filled(now("name"))
    return together(
        claims(frame, "server", "created", at=created, at_from=created),
        claims(alive, "server", "seen", name=name),
        claims(deleted, "server", "seen", at=just_before, name=name),
        claims(deleted, "server", "gone", at=ended, at_from=ended_from),
        owner_since(frame, "server", at=created, project_id=now("tenant_id")),
        edge(alive, "server", "runs_on", "host", now(HOST)),
    )


SOURCE = Source(
    name="nova_servers",
    service=SERVICE,
    shape=Shape.MUTABLE,
    resource_type="server",
    fetch=fetch,
    normalize=normalize,
    evidence=evidence,
    description=__doc__,
    retention=timedelta(days=30),
    tracked=tuple(sorted((*TRACKED, "metadata", "status"))),
    microversion=MICROVERSION,
    reads=("nova_services",),
    is_over=lambda body: body.str.json_path_match("$.status") == "DELETED",
)
