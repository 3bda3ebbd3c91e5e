"""A cloud told by its own records, from what services list down to what a tenant's login selects."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import psycopg
from psycopg.rows import dict_row

from timeline_assets.config import CloudSettings, Settings
from timeline_assets.pipeline import Pipeline
from timeline_assets.raw.store import RawStore
from timeline_assets.sources import (
    cinder_backups,
    cinder_snapshots,
    cinder_volumes,
    keystone_projects,
    neutron_networks,
    neutron_ports,
    nova_servers,
    nova_services,
)
from timeline_assets.sources.base import Source
from timeline_assets.store.access import Scope, grant
from timeline_assets.store.database import Database
from timeline_assets.timeline.stage import Resolved, reopen, resolve_facts
from timeline_assets.topology.merge import merge
from timeline_assets_tests.making import CLOUD
from timeline_assets_tests.sources.looks import looks, prove, recorded, tell, told_at

HOST, OTHER_HOST, BACKEND = "compute1.cloud", "compute2.cloud", "controller@file1"


@dataclass
class Cloud:
    """A pipeline on a database, and logins to it.

    Attributes:
        made: names of logins that were made, to be dropped with the database.
    """

    database: Database
    pipeline: Pipeline
    made: list[str]
    logins: dict[tuple[Scope, ...], str] = field(default_factory=dict)

    @classmethod
    def on(cls, database: Database, folder: Path, made: list[str], **settings: Any) -> Cloud:
        clouds = (CloudSettings(name=CLOUD, service_projects=("SVC",), **settings),)
        return cls(
            database, Pipeline(Settings(state_dir=folder, clouds=clouds), database, RawStore(folder / "raw")), made
        )

    def told(self, source: Source, *found: tuple[float, list[Mapping[str, Any]]], key: str = "id") -> pl.DataFrame:
        """What looks at a source (seconds after ten, all its records) say: evidence is learned, the facts come back."""
        seen = looks(source, *found, key=key)
        self.learn(prove(source, seen))
        return tell(source, seen)

    def learn(self, claims: pl.DataFrame) -> None:
        """Claims into the topology."""
        with self.pipeline.connect() as connection:
            merge(connection, claims)

    def happen(self, *facts: pl.DataFrame) -> Resolved:
        """Facts into the timeline, and what late evidence concerns."""
        done = Resolved()
        for frame in facts:
            with self.pipeline.connect() as connection:
                done += resolve_facts(connection, self.pipeline, CLOUD, frame)
        return done + reopen(self.pipeline, CLOUD)

    def login(self, *scopes: Scope) -> str:
        """The address of a login with these scopes, made by `timeline db grant`'s own function."""
        if scopes not in self.logins:
            name = f"test_{secrets.token_hex(6)}"
            self.made.append(name)
            password = grant(self.database, name, scopes)
            url = self.database.urls["admin"].set(username=name, password=password, query={})
            self.logins[scopes] = url.render_as_string(hide_password=False)
        return self.logins[scopes]

    def ask(self, query: str, *scopes: Scope) -> list[dict[str, Any]]:
        """The rows of a query as a login with these scopes."""
        with psycopg.connect(self.login(*scopes), row_factory=dict_row) as connection:
            return connection.execute(query).fetchall()

    def rows(self, project: str, columns: str = "*", where: str = "true") -> list[dict[str, Any]]:
        """What a login of one project selects of its events."""
        order = "occurred_at, relation, event_type, resource_id"
        query = f"select {columns} from timeline.tenant_events where {where} order by {order}"
        return self.ask(query, Scope("project", CLOUD, project))

    def text(self, *scopes: Scope) -> str:
        """Every row of every relation that a login can read, as text; quotes within it are single ones."""
        with psycopg.connect(self.login(*scopes)) as connection:
            names = connection.execute(
                """select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
                where c.relkind in ('r', 'p', 'v', 'm', 'f') and n.nspname in ('timeline', 'topology', 'raw', 'access')
                  and has_schema_privilege(n.oid, 'USAGE') and has_any_column_privilege(c.oid, 'SELECT')"""
            ).fetchall()
            read = [connection.execute(f"select t::text from {name} t").fetchall() for (name,) in names]
        return "\n".join(text for rows in read for (text,) in rows).replace('""', '"')


def project(id: str, *, domain: str = "D1", parent: str | None = None) -> dict[str, Any]:
    """A project as Keystone lists it."""
    given = {"id": id, "name": f"name-of-{id}", "domain_id": domain, "parent_id": parent or domain}
    return recorded(keystone_projects.SOURCE, "projects") | given


def server(id: str, owner: str, *, host: str = HOST, **more: Any) -> dict[str, Any]:
    """A running server as Nova lists it to an administrator."""
    given = {"id": id, "name": f"name-of-{id}", "tenant_id": owner, "user_id": f"user-of-{owner}"}
    given |= {"OS-EXT-SRV-ATTR:host": host, "OS-EXT-SRV-ATTR:hypervisor_hostname": host}
    times = {"created": "2026-11-22T09:00:00Z", "updated": "2026-11-22T09:01:00Z"}
    return recorded(nova_servers.SOURCE, "servers") | given | times | more


def service(state: str = "up", *, host: str = HOST, binary: str = "nova-compute", **more: Any) -> dict[str, Any]:
    """A service as Nova lists it."""
    given = {"id": f"{binary}-of-{host}", "binary": binary, "host": host, "state": state, "status": "enabled"}
    return recorded(nova_services.SOURCE, "services") | given | {"forced_down": False, "disabled_reason": None} | more


def network(id: str, owner: str, **more: Any) -> dict[str, Any]:
    """A shared network as Neutron lists it."""
    given = {"id": id, "name": f"name-of-{id}", "project_id": owner, "tenant_id": owner, "shared": True}
    times = {"created_at": "2026-11-22T09:00:00Z", "updated_at": "2026-11-22T09:00:00Z", "revision_number": 1}
    return recorded(neutron_networks.SOURCE, "networks") | given | times | more


def port(id: str, owner: str, *, on: str, **more: Any) -> dict[str, Any]:
    """A port as Neutron lists it."""
    given = {"id": id, "name": f"name-of-{id}", "project_id": owner, "tenant_id": owner, "network_id": on}
    times = {"created_at": "2026-11-22T09:10:00Z", "updated_at": "2026-11-22T09:10:00Z", "revision_number": 1}
    nothing = {"device_id": "", "device_owner": "", "fixed_ips": [], "security_groups": []}
    return recorded(neutron_ports.SOURCE, "ports") | given | times | nothing | more


def volume(id: str, owner: str, *, attached_to: Iterable[str] = (), **more: Any) -> dict[str, Any]:
    """A volume as Cinder lists it to an administrator."""
    attachments = [
        {"attachment_id": f"{id}-at-{target}", "server_id": target, "attached_at": told_at(-1800)}
        for target in attached_to
    ]
    given = {"id": id, "name": f"name-of-{id}", "status": "in-use" if attachments else "available", "size": 1}
    times = {"created_at": told_at(-3600), "updated_at": told_at(-3500)}
    places = {cinder_volumes.OWNER: owner, cinder_volumes.BACKEND: f"{BACKEND}#pool"}
    return recorded(cinder_volumes.SOURCE, "volumes") | given | times | places | {"attachments": attachments} | more


def snapshot(id: str, owner: str, *, of: str, **more: Any) -> dict[str, Any]:
    """A snapshot as Cinder lists it to an administrator."""
    given = {"id": id, "name": f"name-of-{id}", "volume_id": of, "status": "available"}
    times = {"created_at": told_at(-600), "updated_at": told_at(-590)}
    proof = {cinder_snapshots.OWNER: owner, cinder_snapshots.PROGRESS: "100%"}
    return recorded(cinder_snapshots.SOURCE, "snapshots") | given | times | proof | more


def backup(id: str, owner: str, *, of: str, **more: Any) -> dict[str, Any]:
    """A backup as Cinder lists it to an administrator."""
    given = {"id": id, "name": f"name-of-{id}", "volume_id": of, "status": "available"}
    times = {"created_at": told_at(-600), "updated_at": told_at(-590)}
    return recorded(cinder_backups.SOURCE, "backups") | given | times | {cinder_backups.OWNER: owner} | more
