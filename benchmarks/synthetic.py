"""A synthetic cloud's raw records, in the shapes that real ones have: the input of the benchmarks.

200 projects in 20 domains, whose names repeat across the domains; servers, ports and volumes of theirs. Of the events
60 % are server actions (owned by the server's interval), 30 % changes of ports (owned by their record), 10 % changes of
volumes, a fifth of which nobody can own (first seen after they happened): 2 % ambiguous in all. 5 % are late: they were
observed an hour after they happened.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from random import Random

import polars as pl

from timeline_assets.normalize.schema import OBSERVATION
from timeline_assets.raw.scrub import sha256

PROJECTS, DOMAINS = 200, 20
ACTIONS = ("reboot", "stop", "start", "resize", "pause", "unpause", "lock", "attach_volume")
SHARES = {"nova_instance_actions": 0.6, "neutron_ports": 0.3, "cinder_volumes": 0.1}


@dataclass(frozen=True)
class Cloud:
    """What exists before anything happens: ids by kind, the owner of each, and when it all began."""

    name: str
    began: datetime
    domains: list[str]
    projects: list[str]
    servers: list[str]

    @classmethod
    def make(cls, name: str, began: datetime, *, servers: int = 10_000, seed: int = 1) -> Cloud:
        """A cloud of so many servers; the same seed gives the same ids."""
        random = Random(seed)
        return cls(
            name,
            began,
            [_hex(random) for _ in range(DOMAINS)],
            [_hex(random) for _ in range(PROJECTS)],
            [_uuid(random) for _ in range(servers)],
        )

    def project_of(self, number: int) -> str:
        """The project that owns resource `number` of any kind."""
        return self.projects[number % PROJECTS]

    def standing(self) -> dict[str, list[dict]]:
        """The records of what is there at the beginning, by source."""
        created = _plain(self.began - timedelta(days=1))
        projects = [
            {"id": id, "name": f"production-{n // DOMAINS}", "domain_id": self.domains[n % DOMAINS], "enabled": True}
            for n, id in enumerate(self.projects)
        ]
        domains = [{"id": id, "name": f"domain-{n}", "enabled": True} for n, id in enumerate(self.domains)]
        servers = [
            {"id": id, "name": f"web-{n % 50}", "tenant_id": self.project_of(n), "status": "ACTIVE", "created": created}
            for n, id in enumerate(self.servers)
        ]
        return {"keystone_domains": domains, "keystone_projects": projects, "nova_servers": servers}


def happenings(cloud: Cloud, events: int, *, seed: int = 2) -> Iterator[tuple[str, str, dict, dict | None, datetime]]:
    """`events` records that each tell of one event: (source, key, record, record before, when it happened)."""
    random = Random(seed)
    for _ in range(events):
        at = cloud.began + timedelta(seconds=random.uniform(0, 3500))
        source = random.choices(list(SHARES), SHARES.values())[0]
        owner = random.randrange(len(cloud.servers))
        match source:
            case "nova_instance_actions":
                key, now, before = _action(random, cloud, owner, at)
            case "neutron_ports":
                key, now, before = _port(random, cloud, owner, at)
            case _:
                key, now, before = _volume(random, cloud, owner, at, is_new=random.random() < 0.2)
        yield source, key, now, before, at


def observations(
    cloud: Cloud, rows: Iterator[tuple[str, str, dict, dict | None, datetime]], *, seed: int = 3
) -> dict[str, pl.DataFrame]:
    """Those records as observed (:data:`OBSERVATION`), by source; a twentieth of them an hour late."""
    random = Random(seed)
    by_source: dict[str, list[tuple]] = {}
    for source, key, now, before, at in rows:
        body = json.dumps(now, sort_keys=True, separators=(",", ":"))
        previous = json.dumps(before, sort_keys=True, separators=(",", ":")) if before else None
        observed = at + (timedelta(hours=1) if random.random() < 0.05 else timedelta(seconds=10))
        seen_from = observed - timedelta(seconds=10) if before else None
        row = (cloud.name, source, key, "seen", at, observed, seen_from, body, previous, sha256(body), "")
        by_source.setdefault(source, []).append(row)
    return {source: pl.DataFrame(rows, schema=OBSERVATION, orient="row") for source, rows in by_source.items()}


def _action(random: Random, cloud: Cloud, owner: int, at: datetime) -> tuple[str, dict, None]:
    server, request = cloud.servers[owner], f"req-{_uuid(random)}"
    began, ended = _plain(at), _plain(at + timedelta(seconds=3))
    action = random.choice(ACTIONS)
    step = {"event": f"compute_{action}", "start_time": began, "finish_time": ended, "result": "Success", "host": "h1"}
    return (
        f"{server}/{request}",
        {
            "action": action,
            "instance_uuid": server,
            "request_id": request,
            "user_id": f"user-{owner % 500}",
            "project_id": cloud.project_of(owner),
            "start_time": began,
            "updated_at": ended,
            "message": None,
            "events": [step],
            "server": {"name": f"web-{owner % 50}", "status": "ACTIVE"},
        },
        None,
    )


def _port(random: Random, cloud: Cloud, owner: int, at: datetime) -> tuple[str, dict, dict]:
    port = {
        "id": _uuid(random),
        "name": f"port-{owner}",
        "project_id": cloud.project_of(owner),
        "network_id": f"network-{owner % PROJECTS}",
        "device_id": cloud.servers[owner],
        "device_owner": "compute:nova",
        "admin_state_up": True,
        "created_at": _zulu(cloud.began - timedelta(days=1)),
    }
    before = port | {"status": "DOWN", "revision_number": 3, "updated_at": _zulu(at - timedelta(minutes=1))}
    return port["id"], port | {"status": "ACTIVE", "revision_number": 4, "updated_at": _zulu(at)}, before


def _volume(random: Random, cloud: Cloud, owner: int, at: datetime, *, is_new: bool) -> tuple[str, dict, dict | None]:
    volume = {
        "id": _uuid(random),
        "name": f"data-{owner % 50}",
        "size": 10,
        "created_at": _plain(at if is_new else cloud.began - timedelta(days=1)),
        "updated_at": _plain(at),
        "os-vol-tenant-attr:tenant_id": cloud.project_of(owner),
        "user_id": f"user-{owner % 500}",
        "attachments": [],
    }
    return volume["id"], volume | {"status": "available"}, None if is_new else volume | {"status": "error"}


def _plain(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")


def _zulu(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _uuid(random: Random) -> str:
    return str(uuid.UUID(int=random.getrandbits(128), version=4))


def _hex(random: Random) -> str:
    return uuid.UUID(int=random.getrandbits(128), version=4).hex
