"""``timeline record``: a cloud at work, written down as it answered, secrets scrubbed.

A recording is gzipped JSON lines. The first line says when and with what it was made; every other one is one record
that a listing gave anew or changed (``record``) or no longer gave (``record: null``), with the instant it was read::

    {"at": "2026-11-22T08:40:07.1Z", "listing": "cinder_volumes", "key": "…", "record": {…}}

Only differences are kept, so a quiet cloud costs nothing and a replay can show any instant between.
"""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from timeline_assets.config import CloudSettings
from timeline_assets.raw.scrub import scrub
from timeline_assets.sources.openstack import OpenStackReader, connect, reader

FORMAT = 1


@dataclass(frozen=True)
class Listing:
    """One list that a connector reads; `path` below the service's versioned root."""

    name: str
    service: str
    path: str
    collection: str
    params: Mapping[str, Any]
    microversion: str | None = None


def _network(name: str, path: str) -> Listing:
    return Listing(f"neutron_{name}", "network", f"/{path}", path.replace("-", "_"), {"sort_key": "id", "sort_dir": "asc"})


def _volume(name: str, path: str) -> Listing:
    return Listing(f"cinder_{name}", "block-storage", f"/{path}/detail", path.replace("-", "_"), {"all_tenants": 1}, "3.70")


def _identity(name: str) -> Listing:
    return Listing(f"keystone_{name}", "identity", f"/{name}", name, {"limit": None})


#: Everything the connectors list. `nova_instance_actions` comes besides, server by server.
LISTINGS = (
    *(_identity(name) for name in ("domains", "projects", "users", "roles", "role_assignments")),
    Listing("nova_servers", "compute", "/servers/detail", "servers", {"all_tenants": 1, "changes-since": "1970-01-01T00:00:00Z"}, "2.90"),
    Listing("nova_migrations", "compute", "/os-migrations", "migrations", {}, "2.90"),
    Listing("nova_services", "compute", "/os-services", "services", {"limit": None}, "2.90"),
    *(_volume(name, path) for name, path in (("volumes", "volumes"), ("snapshots", "snapshots"), ("backups", "backups"))),
    Listing("cinder_transfers", "block-storage", "/volume-transfers/detail", "transfers", {"all_tenants": 1}, "3.70"),
    Listing("cinder_attachments", "block-storage", "/attachments/detail", "attachments", {"all_tenants": 1}, "3.70"),
    *(
        _network(name, path)
        for name, path in (
            ("networks", "networks"),
            ("subnets", "subnets"),
            ("ports", "ports"),
            ("routers", "routers"),
            ("floating_ips", "floatingips"),
            ("security_groups", "security-groups"),
            ("security_group_rules", "security-group-rules"),
        )
    ),
)


def key_of(listing: str, record: Mapping[str, Any]) -> str:
    """A record's key in a recording: its id, or for what has none (role assignments) its whole text."""
    if "id" in record and listing != "nova_migrations":
        return str(record["id"])
    return str(record.get("uuid") or json.dumps({**record, "links": None}, sort_keys=True))


def record(
    cloud: CloudSettings,
    path: Path,
    *,
    every_seconds: float = 5,
    for_seconds: float = 600,
    is_over: Callable[[], bool] = lambda: False,
    progress: Callable[[int, int, float], None] = lambda rounds, records, seconds: None,
) -> int:
    """Writes a recording of `cloud` to `path`, round after round until `for_seconds` or `is_over`; gives its records.

    Raises :class:`SourceError` where the cloud refuses; what was written until then stays a valid recording.
    """
    connection = connect(cloud)
    known: dict[tuple[str, str], str] = {}
    began, rounds, written = time.monotonic(), 0, 0
    with gzip.open(path, "wt", encoding="utf-8") as file:
        head = {"format": FORMAT, "recorded_from": _now(), "every_seconds": every_seconds, "region": cloud.region or "RegionOne"}
        file.write(json.dumps(head) + "\n")
        while not is_over() and time.monotonic() - began < for_seconds:
            round_began = time.monotonic()
            for line in _round(reader(connection, cloud, "record"), known):
                file.write(json.dumps(line, sort_keys=True, ensure_ascii=False) + "\n")
                written += 1
            rounds += 1
            progress(rounds, written, time.monotonic() - began)
            time.sleep(max(0.0, every_seconds - (time.monotonic() - round_began)))
        file.write(json.dumps({"recorded_to": _now()}) + "\n")
    return written


def _round(cloud: OpenStackReader, known: dict[tuple[str, str], str]) -> Iterator[dict[str, Any]]:
    """One reading of every listing: what differs from `known`, which is brought up to date."""
    for listing in LISTINGS:
        rows = cloud.rows(listing.service, listing.path, listing.collection, listing.params, microversion=listing.microversion)
        yield from _differences(listing.name, {key_of(listing.name, row): row for row in rows}, known, is_whole=True)
    servers = [key for listing, key in known if listing == "nova_servers"]
    for rows in cloud.many(lambda server: _actions(cloud, server, known), servers):
        yield from _differences("nova_instance_actions", rows, known, is_whole=False)


def _differences(
    listing: str, rows: Mapping[str, Any], known: dict[tuple[str, str], str], *, is_whole: bool
) -> Iterator[dict[str, Any]]:
    at = _now()
    for key, row in rows.items():
        text = json.dumps(scrub(row), sort_keys=True)
        if known.get((listing, key)) != text:
            known[listing, key] = text
            yield {"at": at, "listing": listing, "key": key, "record": json.loads(text)}
    if is_whole:
        for gone in [k for name, k in known if name == listing and k not in rows]:
            del known[listing, gone]
            yield {"at": at, "listing": listing, "key": gone, "record": None}


def _actions(cloud: OpenStackReader, server: str, known: Mapping[tuple[str, str], str]) -> dict[str, Any]:
    """A server's actions with their events; those that were over when last read are not asked for again."""
    path = f"/servers/{server}/os-instance-actions"
    listed = cloud.probe("compute", path, {}, microversion="2.90") or {}
    found = {}
    for action in listed.get("instanceActions", []):
        key = f"{server}/{action['request_id']}"
        before = known.get(("nova_instance_actions", key))
        if before and json.loads(before).get("updated_at") == action.get("updated_at"):
            continue
        one = cloud.probe("compute", f"{path}/{action['request_id']}", microversion="2.90")
        if one:
            found[key] = one["instanceAction"]
    return found


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")
