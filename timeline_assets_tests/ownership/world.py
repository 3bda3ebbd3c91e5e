"""A small cloud that is looked at: records in the services' own shapes go the whole way, from the record to the rows.

What a look finds is compared, normalized, absorbed and resolved as the stages do it. Seconds count from ten o'clock.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from timeline_assets.normalize.claims import told_owners
from timeline_assets.pipeline import Pipeline
from timeline_assets.sources import SOURCES, keystone_role_assignments
from timeline_assets.store.copy import read_frame
from timeline_assets.timeline.stage import Resolved, reopen, resolve_facts
from timeline_assets.topology.merge import merge
from timeline_assets_tests.making import CLOUD, facts
from timeline_assets_tests.sources.looks import at, looks, recorded, told_at

Record = Mapping[str, Any]
SOURCE = {source.name: source for source in SOURCES}
KEYS = {"nova_instance_actions": "instance_uuid/request_id", "nova_migrations": "uuid"}


class World:
    """What was seen of a cloud so far, and what came of it."""

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._looks: dict[str, list[tuple[float, list[Record]]]] = {}
        self._known: dict[str, int] = {}

    def look(self, seconds: float, **listings: list[Record]) -> Resolved:
        """Whole lists of some sources at that second, all the way into the timeline."""
        found = []
        for name, bodies in listings.items():
            seen = self._looks.setdefault(name, [])
            seen.append((seconds, bodies))
            frame = looks(SOURCE[name], *seen, key=KEYS.get(name, "id")) if name != _ROLES else _assignments(seen)
            found.append((SOURCE[name], frame.slice(self._known.get(name, 0))))
            self._known[name] = frame.height
        with self._pipeline.connect() as connection:
            for source, frame in found:
                told = source.normalize(frame.lazy()).collect()
                merge(connection, pl.concat([source.evidence(frame.lazy()).collect(), told_owners(told)]))
                connection.execute(
                    """insert into raw.scans (cloud, source, last_complete_from) values (%s, %s, %s)
                    on conflict (cloud, source) do update set last_complete_from = excluded.last_complete_from""",
                    (CLOUD, source.name, at(seconds)),
                )
        return self.resolve(*(source.normalize(frame.lazy()).collect() for source, frame in found))

    def hear(self, seconds: float, **fact: Any) -> Resolved:
        """A message of the bus at that second, as the fact that it tells."""
        told = message(seconds, **fact)
        with self._pipeline.connect() as connection:
            merge(connection, told_owners(told))
        return self.resolve(told)

    def resolve(self, *told: pl.DataFrame) -> Resolved:
        """What late evidence concerns, then facts into the timeline: what the last stage does."""
        done = reopen(self._pipeline, CLOUD)
        for frame in told:
            with self._pipeline.connect() as connection:
                done += resolve_facts(connection, self._pipeline, CLOUD, frame)
        return done

    def rows(self, query: str, **params: Any) -> list[tuple]:
        """Rows of a query."""
        with self._pipeline.connect() as connection:
            return read_frame(connection, query, params).rows()

    def owners(self, resource_id: str | None = None) -> list[tuple[str, str]]:
        """(type, owner) of the events in order: a project, ``domain <id>``, ``provider``, or the quarantine's code."""
        return self.rows(
            """select e.event_type, case e.owner_scope when 'project' then e.owner_project_id
                when 'domain' then 'domain ' || e.owner_domain_id when 'quarantine' then q.reason
                else e.owner_scope end
            from timeline.events e left join timeline.quarantine q using (event_id)
            where %(id)s::text is null or e.resource_id = %(id)s order by e.occurred_at, e.event_type""",
            id=resource_id,
        )

    def rules(self, resource_id: str | None = None) -> list[tuple[str, str]]:
        """(rule, confidence) of the newest attributions, in order."""
        return self.rows(
            """select k.rule, k.confidence from timeline.event_keys k join timeline.events e using (event_id)
            where %(id)s::text is null or e.resource_id = %(id)s order by e.occurred_at, e.event_type""",
            id=resource_id,
        )

    def tenants(self, resource_id: str | None = None) -> list[tuple[str, str]]:
        """(type, project or domain) of the owners' rows in order."""
        return self.rows(
            """select event_type, coalesce(tenant_project_id, tenant_domain_id) from timeline.tenant_events
            where relation = 'owner' and (%(id)s::text is null or resource_id = %(id)s)
            order by occurred_at, event_type, 2""",
            id=resource_id,
        )

    def labels(self, resource_id: str) -> list[tuple[str, str | None]]:
        """Who did it, as the owners see it: (label, user)."""
        return self.rows(
            """select actor_label, actor_user_id from timeline.tenant_events where resource_id = %(id)s
            order by occurred_at, event_type""",
            id=resource_id,
        )


def message(seconds: float, **fact: Any) -> pl.DataFrame:
    """The facts of one message (or one reading of another service); what matters is given."""
    instants = {"occurred_at": at(seconds), "observed_at": at(seconds + 1)}
    return facts({"source": "bus", "source_key": f"message-{seconds}", "source_version": "1", **instants, **fact})


# ------------------------------------------------------------------------------------------------- records, as sent


def project(name: str, domain: str = "D1", *, called: str | None = None, parent: str | None = None) -> Record:
    kept = recorded(SOURCE["keystone_projects"], "projects")
    return kept | {"id": name, "name": called or name, "domain_id": domain, "parent_id": parent or domain}


def domain(name: str, *, called: str | None = None) -> Record:
    return recorded(SOURCE["keystone_domains"], "domains") | {"id": name, "name": called or name}


def user(name: str, domain: str = "D1") -> Record:
    return recorded(SOURCE["keystone_users"], "users") | {"id": name, "name": name, "domain_id": domain}


def role(name: str, holder: str, on: str, *, inherited: bool = False) -> Record:
    scope: dict[str, Any] = {"project": {"id": on}}
    if inherited:
        scope["OS-INHERIT:inherited_to"] = "projects"
    return {"role": {"id": f"role-{name}", "name": name}, "user": {"id": holder}, "scope": scope}


def server(server_id: str, owner: str, **more: Any) -> Record:
    kept = recorded(SOURCE["nova_servers"], "servers")
    return kept | {"id": server_id, "name": server_id, "tenant_id": owner} | more


def action(server_id: str, request: str, seconds: int, *, user: str | None, project: str | None, **more: Any) -> Record:
    """An instance action; `project` is the actor's, as in every real one."""
    step = {"event": "compute_reboot_instance", "start_time": told_at(seconds), "finish_time": told_at(seconds + 1)}
    return {
        "action": "reboot",
        "instance_uuid": server_id,
        "request_id": request,
        "user_id": user,
        "project_id": project,
        "start_time": told_at(seconds),
        "updated_at": told_at(seconds + 1),
        "message": None,
        "events": [step | {"result": "Success", "traceback": None, "host": "compute1", "hostId": "h", "details": None}],
        "server": {"id": server_id, "name": server_id, "status": "ACTIVE", "OS-SRV-USG:launched_at": told_at(-3600)},
        **more,
    }


def migration(server_id: str, kind: str, seconds: int, *, by: str) -> Record:
    kept = recorded(SOURCE["nova_migrations"], "migrations", 1)
    return kept | {
        "uuid": f"migration-{seconds}",
        "instance_uuid": server_id,
        "migration_type": kind,
        "project_id": by,
        "user_id": f"user-of-{by}",
        "created_at": told_at(seconds),
        "updated_at": told_at(seconds + 5),
    }


def volume(name: str, owner: str, **more: Any) -> Record:
    kept = recorded(SOURCE["cinder_volumes"], "volumes", 1)
    return kept | {"id": name, "name": name, "os-vol-tenant-attr:tenant_id": owner} | more


def snapshot(name: str, of: str, owner: str, **more: Any) -> Record:
    kept = recorded(SOURCE["cinder_snapshots"], "snapshots", 1)
    return kept | {"id": name, "volume_id": of, "os-extended-snapshot-attributes:project_id": owner} | more


def backup(name: str, of: str, owner: str, **more: Any) -> Record:
    kept = recorded(SOURCE["cinder_backups"], "backups", 1)
    return kept | {"id": name, "volume_id": of, "os-backup-project-attr:project_id": owner} | more


def network(name: str, owner: str, **more: Any) -> Record:
    kept = recorded(SOURCE["neutron_networks"], "networks")
    return kept | {"id": name, "name": name, "project_id": owner, "tenant_id": owner} | more


def router(name: str, owner: str, **more: Any) -> Record:
    kept = recorded(SOURCE["neutron_routers"], "routers")
    return kept | {"id": name, "name": name, "project_id": owner, "tenant_id": owner} | more


def port(name: str, owner: str, *, device: str = "", device_owner: str = "", **more: Any) -> Record:
    kept = recorded(SOURCE["neutron_ports"], "ports", 1)
    given = {"id": name, "name": name, "project_id": owner, "tenant_id": owner}
    return kept | given | {"device_id": device, "device_owner": device_owner} | more


_ROLES = "keystone_role_assignments"


def _assignments(seen: list[tuple[float, list[Record]]]) -> pl.DataFrame:
    key = keystone_role_assignments.key
    return looks(
        SOURCE[_ROLES], *((seconds, [body | {"id": key(body)} for body in bodies]) for seconds, bodies in seen)
    )
