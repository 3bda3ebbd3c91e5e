"""``timeline record``: a cloud at work, written down as it answered, secrets scrubbed.

A recording is gzipped JSON lines. The first line says when it begins (once everything has been read) and who read;
every other one is one record that a listing gave anew or changed (``record``) or no longer gave (``record: null``),
with the instant it was read; the last one says when it ended::

    {"at": "2026-11-22T08:40:07.1Z", "listing": "cinder_volumes", "key": "…", "record": {…}}

Only differences are kept, so a quiet cloud costs nothing and a replay can show any instant between. All servers are
asked for their actions in every round: this is for small clouds.
"""

from __future__ import annotations

import gzip
import json
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from timeline_assets.config import CloudSettings
from timeline_assets.errors import ConfigurationError
from timeline_assets.raw.scrub import scrub
from timeline_assets.sources import SOURCES
from timeline_assets.sources.openstack import OpenStackReader, Scope, connect, reader

FORMAT = 1

#: What the sources ask with, so that a replay's answers have the fields of that version.
MICROVERSIONS: Mapping[str, str | None] = {source.name: source.microversion for source in SOURCES}

#: Fields that change all the time and mean nothing: alone they make no line.
HEARTBEATS: Mapping[str, frozenset[str]] = {"nova_services": frozenset({"updated_at"})}

ACTIONS = "nova_instance_actions"


@dataclass(frozen=True)
class Listing:
    """One list that the sources read: `path` below the service's versioned root, `collection` in the answer."""

    name: str
    service: str
    path: str
    collection: str
    params: Mapping[str, Any] = field(default_factory=dict)


_WHOLE: Mapping[str, Any] = {"limit": None}
_ALL_TENANTS: Mapping[str, Any] = {"all_tenants": 1}
_BY_ID: Mapping[str, Any] = {"sort_key": "id", "sort_dir": "asc"}
_SINCE_EVER: Mapping[str, Any] = {"changes-since": "1970-01-01T00:00:00Z"}

#: Everything the sources list. What was done to servers (`ACTIONS`) is asked server by server.
LISTINGS = (
    Listing("keystone_domains", "identity", "/domains", "domains", _WHOLE),
    Listing("keystone_projects", "identity", "/projects", "projects", _WHOLE),
    Listing("keystone_users", "identity", "/users", "users", _WHOLE),
    Listing("keystone_roles", "identity", "/roles", "roles", _WHOLE),
    Listing("keystone_role_assignments", "identity", "/role_assignments", "role_assignments", _WHOLE),
    Listing("nova_servers", "compute", "/servers/detail", "servers", _ALL_TENANTS | _SINCE_EVER),
    Listing("nova_migrations", "compute", "/os-migrations", "migrations"),
    Listing("nova_services", "compute", "/os-services", "services", _WHOLE),
    Listing("cinder_volumes", "block-storage", "/volumes/detail", "volumes", _ALL_TENANTS),
    Listing("cinder_snapshots", "block-storage", "/snapshots/detail", "snapshots", _ALL_TENANTS),
    Listing("cinder_backups", "block-storage", "/backups/detail", "backups", _ALL_TENANTS),
    Listing("cinder_transfers", "block-storage", "/volume-transfers/detail", "transfers", _ALL_TENANTS),
    Listing("neutron_networks", "network", "/networks", "networks", _BY_ID),
    Listing("neutron_subnets", "network", "/subnets", "subnets", _BY_ID),
    Listing("neutron_ports", "network", "/ports", "ports", _BY_ID),
    Listing("neutron_routers", "network", "/routers", "routers", _BY_ID),
    Listing("neutron_floating_ips", "network", "/floatingips", "floatingips", _BY_ID),
    Listing("neutron_security_groups", "network", "/security-groups", "security_groups", _BY_ID),
    Listing("neutron_security_group_rules", "network", "/security-group-rules", "security_group_rules", _BY_ID),
)


def key_of(listing: str, record: Mapping[str, Any]) -> str:
    """A record's key in a recording: its id, or for what has none (role assignments) what it says."""
    if listing == "nova_migrations" and "uuid" in record:
        return str(record["uuid"])
    if "id" in record:
        return str(record["id"])
    return json.dumps({name: value for name, value in record.items() if name != "links"}, sort_keys=True)


def record(
    cloud: CloudSettings,
    path: Path,
    *,
    every_seconds: float = 5,
    for_seconds: float = 600,
    is_over: Callable[[], bool] = lambda: False,
    progress: Callable[[int, int, float], None] = lambda rounds, records, seconds: None,
) -> int:
    """Write a recording of `cloud` to `path`, a round every `every_seconds`; gives its number of records.

    It begins when everything has been read once, and ends `for_seconds` later, at Ctrl-C, or when `is_over`; `progress`
    is told of every round (rounds, records and seconds so far).

    Raises:
        ConfigurationError: clouds.yaml has no such cloud, or `path` cannot be written.
        SourceError: the cloud refuses; what was written until then is a whole recording.
    """
    connection = connect(cloud)
    scope = reader(connection, cloud, "record").require_scope()
    try:
        file = gzip.open(path, "wt", encoding="utf-8")  # noqa: SIM115 - only opening it is what may be refused
    except OSError as error:
        raise ConfigurationError(
            f"the recording cannot be written to {path}: {error.strerror}", remedy="Name a file in a folder of yours."
        ) from None
    recorder, rounds, written = _Recorder(lambda: reader(connection, cloud, "record")), 0, 0
    with file:
        found = list(recorder.round())
        begins, began = _now(), time.monotonic()
        _write(file, _head(cloud, scope, begins))
        try:
            while True:
                round_began = time.monotonic()
                for line in found:
                    _write(file, line)
                    written += 1
                rounds += 1
                progress(rounds, written, time.monotonic() - began)
                if is_over() or time.monotonic() - began >= for_seconds:
                    break
                time.sleep(max(0.0, every_seconds - (time.monotonic() - round_began)))
                found = recorder.round()
        except KeyboardInterrupt:
            pass
        finally:
            _write(file, {"recorded_to": _now()})
    return written


class _Recorder:
    """What a cloud answered in the rounds so far."""

    def __init__(self, readers: Callable[[], OpenStackReader]) -> None:
        self._readers = readers
        #: by listing and key, as of the last round
        self._known: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
        #: servers that were asked once more after they had been listed as deleted
        self._settled: set[str] = set()

    def round(self) -> Iterator[dict[str, Any]]:
        """One reading of everything: what differs from the round before."""
        cloud = self._readers()
        were_deleted = {key for key, row in self._known["nova_servers"].items() if row.get("status") == "DELETED"}
        for listing in LISTINGS:
            rows = cloud.rows(
                *(listing.service, listing.path, listing.collection, listing.params),
                microversion=MICROVERSIONS.get(listing.name),
            )
            found = {key_of(listing.name, row): row for row in rows if isinstance(row, dict)}
            yield from self._differing(listing.name, found)
            yield from self._gone(listing.name, found)
        asked = [key for key in self._known["nova_servers"] if key not in self._settled]
        for rows in cloud.many(lambda server: self._actions(cloud, server), asked):
            yield from self._differing(ACTIONS, rows)
        self._settled |= were_deleted

    def _actions(self, cloud: OpenStackReader, server: str) -> dict[str, Any]:
        """A server's actions with their events; one that has not changed since it was read is not asked for again."""
        path, version = f"/servers/{server}/os-instance-actions", MICROVERSIONS[ACTIONS]
        listed = cloud.probe("compute", path, microversion=version) or {}
        found = {}
        for action in listed.get("instanceActions") or []:
            if not isinstance(action, dict) or not action.get("request_id"):
                continue
            key = f"{server}/{action['request_id']}"
            if self._known[ACTIONS].get(key, {}).get("updated_at") == action.get("updated_at"):
                continue
            one = cloud.probe("compute", f"{path}/{action['request_id']}", microversion=version)
            if one and isinstance(one.get("instanceAction"), dict):
                found[key] = one["instanceAction"]
        return found

    def _differing(self, listing: str, rows: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        known, at = self._known[listing], _now()
        ignored = HEARTBEATS.get(listing, frozenset())
        for key, row in rows.items():
            clean = scrub(row)
            before = known.get(key)
            if before is None or _without(clean, ignored) != _without(before, ignored):
                known[key] = clean
                yield {"at": at, "listing": listing, "key": key, "record": clean}

    def _gone(self, listing: str, rows: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        known, at = self._known[listing], _now()
        for key in [key for key in known if key not in rows]:
            del known[key]
            yield {"at": at, "listing": listing, "key": key, "record": None}


def _without(record: Mapping[str, Any], names: frozenset[str]) -> dict[str, Any]:
    return {name: value for name, value in record.items() if name not in names}


def _head(cloud: CloudSettings, scope: Scope, begins: str) -> dict[str, Any]:
    return {
        "format": FORMAT,
        "recorded_from": begins,
        "region": cloud.region or "RegionOne",
        "user_id": scope.user_id,
        "project_id": scope.project_id,
        "roles": sorted(scope.roles),
        "microversions": {name: version for name, version in MICROVERSIONS.items() if version},
    }


def _write(file: Any, line: Mapping[str, Any]) -> None:
    file.write(json.dumps(line, sort_keys=True, ensure_ascii=False) + "\n")


def _now() -> str:
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")
