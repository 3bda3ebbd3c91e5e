"""Two tenants and what they must not see of each other: every string of a tenant's facts carries its canary."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
import psycopg
import pytest
from psycopg import sql

from timeline_assets.config import CloudSettings, Settings
from timeline_assets.pipeline import Pipeline
from timeline_assets.raw.store import RawStore
from timeline_assets.store.access import Scope, grant
from timeline_assets.store.database import Database
from timeline_assets.timeline.stage import resolve_facts
from timeline_assets.topology.merge import merge
from timeline_assets_tests.making import CLOUD, NOON, claims, facts

OTHER_CLOUD = "other"

Ask = Callable[..., list[tuple]]


def marked(tenant: str, what: str) -> str:
    """A string that belongs to one tenant (`a`, `b`), to be searched for by `canary-<tenant>`."""
    return f"canary-{tenant}-{what}"


def project(tenant: str) -> str:
    return marked(tenant, "project")


def domain(tenant: str) -> str:
    return marked(tenant, "domain")


def topology_of(tenant: str) -> pl.DataFrame:
    def mine(kind: str, what: str, **given) -> dict:
        return {
            "resource_type": kind,
            "resource_id": marked(tenant, what),
            "name": marked(tenant, f"{what}-name"),
            **given,
        }

    owned = {"claim": "owner_since", "project_id": project(tenant), "minute": -30}
    server = mine("server", "server")
    return claims(
        mine("project", "project", claim="owner", domain_id=domain(tenant), minute=-60),
        {**server, "claim": "created", "minute": -30, "at_from": NOON.replace(hour=11)},
        {**server, **owned},
        mine("volume", "volume", **owned),
        {
            **server,
            "claim": "edges",
            "minute": 0,
            "relation": "attached",
            "to_type": "volume",
            "to_ids": [marked(tenant, "volume")],
        },
    )


def facts_of(tenant: str, other: str, *, cloud: str = CLOUD) -> pl.DataFrame:
    """What happened to a tenant: by itself, by the other, at security's, nobody knows to whom.

    Its records name the other's resources, users and projects, as records on shared things do.
    """

    def mine(what: str) -> str:
        return marked(tenant, f"{what}-{cloud}")

    everything = {
        "cloud": cloud,
        "region": "region-one",
        "resource_id": marked(tenant, "server"),
        "resource_name": marked(tenant, "server-name"),
        "source_severity": mine("severity"),
        "related": [
            {"type": "volume", "id": marked(tenant, "volume"), "role": "related"},
            {"type": "volume", "id": marked(other, "volume"), "role": "related"},
            {"type": "server", "id": marked(other, "server"), "role": "affected"},
        ],
        "changes": [
            {"path": "name", "old": mine("old-name"), "new": mine("new-name")},
            {"path": "os-vol-host-attr:host", "old": marked(other, "host"), "new": marked(other, "host")},
            {"path": "security_groups", "old": marked(other, "group"), "new": None},
        ],
        "actor_user_id": marked(tenant, "user"),
        "actor_project_id": project(tenant),
        "actor_domain_id": domain(tenant),
        "actor_kind": "human",
        "actor_address": mine("address"),
        "request_id": mine("request"),
        "global_request_id": mine("global-request"),
        "host": mine("host"),
        "availability_zone": mine("zone"),
        "message": f"{mine('message')} {marked(other, 'message')}",
        "raw_ref": mine("file#0"),
    }
    foreign = {
        "actor_user_id": marked(other, "user"),
        "actor_project_id": project(other),
        "actor_domain_id": domain(other),
        "on_behalf_of_user_id": marked(other, "delegate"),
        "on_behalf_of_project_id": project(other),
        "request_id": marked(other, "request-elsewhere"),
    }
    if cloud != CLOUD:
        return facts(everything | {"source_key": mine("1"), "payload_project_id": project(tenant)})
    grant_of_a_role = {
        "event_type": "identity.role_assignment.created",
        "resource_type": "role_assignment",
        "resource_id": mine("assignment"),
        "target_project_id": project(tenant),
        "source_key": mine("grant"),
        "minute": 4,
        "changes": None,
        "related": None,
    }
    user = {
        "event_type": "identity.user.created",
        "resource_type": "user",
        "resource_id": marked(tenant, "user"),
        "target_domain_id": domain(tenant),
    }
    return facts(
        everything | {"source_key": mine("own"), "minute": 1},
        everything | foreign | {"source_key": mine("by-another"), "minute": 2},
        everything | {"source_key": mine("recorded"), "minute": 3, "payload_project_id": project(tenant)},
        everything | grant_of_a_role,
        # the same on another road, so that what each said is kept beside the event
        everything | grant_of_a_role | {"road_source": "audit", "road_key": mine("audit")},
        everything | user | {"source_key": mine("user"), "minute": 5, "changes": None, "related": None},
        everything
        | {"source_key": mine("lost"), "minute": 6, "resource_type": "volume", "resource_id": mine("lost-volume")},
    )


@dataclass
class World:
    """A database with the tenants `a` and `b`, and who may read it.

    Attributes:
        logins: the connection string by who it is: a, b, nobody (a tenant's login without a scope), domain (all of b's
            domain), provider, security.
        event_ids: the events of each tenant, those whose owner is not proven among them.
    """

    database: Database
    logins: dict[str, str] = field(default_factory=dict)
    event_ids: dict[str, set[str]] = field(default_factory=dict)

    def names(self) -> list[str]:
        return [psycopg.conninfo.conninfo_to_dict(login)["user"] for login in self.logins.values()]


SCOPES = {
    "a": [Scope("project", CLOUD, project("a"))],
    "b": [Scope("project", CLOUD, project("b"))],
    "domain": [Scope("domain", CLOUD, domain("b"))],
    "provider": [Scope("provider")],
    "security": [Scope("security")],
}


def fill(database: Database, folder: Path, tenants: str = "ab") -> dict[str, set[str]]:
    """The tenants' topology, events, coverage and records set aside; gives the ids of each tenant's events."""
    settings = Settings(state_dir=folder, clouds=(CloudSettings(name=CLOUD), CloudSettings(name=OTHER_CLOUD)))
    pipeline = Pipeline(settings, database, RawStore(folder / "raw"))
    with pipeline.connect() as connection:
        for tenant in tenants:
            merge(connection, topology_of(tenant))
    with pipeline.connect() as connection:
        for tenant in tenants:
            other = "b" if tenant == "a" else "a"
            resolve_facts(connection, pipeline, CLOUD, facts_of(tenant, other))
            # the same project's id in another cloud is another project
            resolve_facts(connection, pipeline, OTHER_CLOUD, facts_of(tenant, other, cloud=OTHER_CLOUD))
            connection.execute(
                """insert into raw.set_aside (cloud, source, sha256, stage, reason, detail, body, window_start,
                    first_seen_at, last_seen_at) values (%s, 's', %s, 'harvest', 'r', %s, %s, now(), now(), now())""",
                (CLOUD, *[marked(tenant, what) for what in ("sha256", "detail", "body")]),
            )
        connection.execute(
            """insert into timeline.coverage (cloud, source, service, window_start, window_end, status, detail)
            select c, 'nova_servers', 'compute', now(), now(), 'gap', %s from unnest(%s::text[]) c""",
            (marked("a", "detail") + marked("b", "detail"), [CLOUD, OTHER_CLOUD]),
        )
        connection.execute(
            """insert into timeline.tenant_coverage (cloud, service, window_start, window_end, status)
            select c, 'compute', now(), now(), 'gap' from unnest(%s::text[]) c""",
            ([CLOUD, OTHER_CLOUD],),
        )
        ids = "select event_id::text from timeline.events where source_key like %s"
        return {tenant: {row[0] for row in connection.execute(ids, (f"canary-{tenant}-%",))} for tenant in tenants}


@pytest.fixture(scope="module")
def world(postgres, migrated_template, tmp_path_factory) -> Iterator[World]:
    name = postgres.create(template=migrated_template)
    world = World(postgres.database(name))
    try:
        world.event_ids = fill(world.database, tmp_path_factory.mktemp("world"))
        for who in (*SCOPES, "nobody"):
            login = f"test_{secrets.token_hex(6)}"
            password = grant(world.database, login, SCOPES.get(who, SCOPES["a"]))
            url = world.database.urls["admin"].set(username=login, password=password, query={})
            world.logins[who] = url.render_as_string(hide_password=False)
            if who == "nobody":
                # with the group of a tenant, yet without a scope
                with world.database.connect("admin") as connection:
                    connection.execute("set local role timeline_owner")
                    connection.execute("delete from access.grants where login = %s", [login])
                    connection.execute("delete from access.projects where login = %s", [login])
        yield world
    finally:
        world.database.close()
        postgres.drop(name)
        with postgres.making() as connection:
            for login in world.names():
                connection.execute(sql.SQL("drop role {}").format(sql.Identifier(login)))


@pytest.fixture
def ask(world: World) -> Ask:
    """The rows of a query as one of the world's logins."""

    def ask(who: str, query: str, *values: object) -> list[tuple]:
        with psycopg.connect(world.logins[who]) as connection:
            return connection.execute(query, values or None).fetchall()

    return ask
