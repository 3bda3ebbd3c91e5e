"""What two tenants share: a host, a network, storage, a volume that changes hands. Neither learns of the other."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import errors, sql

from timeline_assets.sources import (
    cinder_volumes,
    keystone_projects,
    neutron_networks,
    neutron_ports,
    nova_servers,
    nova_services,
)
from timeline_assets.store.access import Scope, grant
from timeline_assets.store.database import Database
from timeline_assets_tests.isolation.conftest import World, marked
from timeline_assets_tests.isolation.test_probes import everything
from timeline_assets_tests.making import CLOUD, facts
from timeline_assets_tests.ownership.cloud import Cloud, network, port, project, server, service, volume
from timeline_assets_tests.sources.looks import at

HOST, BACKEND = marked("p", "host"), marked("p", "backend")
SCOPES = {
    "a": Scope("project", CLOUD, marked("a", "project")),
    "b": Scope("project", CLOUD, marked("b", "project")),
    "tree": Scope("subtree", CLOUD, marked("b", "project")),
    "domain": Scope("domain", CLOUD, marked("b", "domain")),
}
OTHERS = {"a": "b", "b": "a", "tree": "a", "domain": "a"}


def play(cloud: Cloud, tenants: str, *, handover: bool = False) -> None:
    """The provider's things and the tenants on them; every string of each carries its canary.

    The network is a's or, without a, nobody's who is known. With `handover` volumes go both ways.
    """

    def all_of(make: Any, what: str, **more: Any) -> list[dict[str, Any]]:
        return [make(marked(tenant, what), marked(tenant, "project"), **more) for tenant in tenants]

    projects = [project(marked(tenant, "project"), domain=marked(tenant, "domain")) for tenant in tenants]
    cloud.told(keystone_projects.SOURCE, (0, projects))
    cloud.told(nova_servers.SOURCE, (0, all_of(server, "server", host=HOST)))
    volumes = [
        volume(marked(t, "volume"), marked(t, "project"), attached_to=[marked(t, "server")])
        | {cinder_volumes.BACKEND: f"{BACKEND}#pool"}
        for t in tenants
    ]
    cloud.told(cinder_volumes.SOURCE, (0, volumes))
    told = [cloud.told(neutron_ports.SOURCE, (0, all_of(port, "port", on=marked("a", "network"))))]
    shared = network(marked("a", "network"), marked("a", "project"))
    changed = {**shared, "mtu": 1400, "revision_number": 2, "updated_at": "2026-11-22T10:00:15Z"}
    services = [service(state, host=HOST) for state in ("up", "up", "down")]
    told.append(cloud.told(nova_services.SOURCE, *((10 * n, [row]) for n, row in enumerate(services))))
    told.append(cloud.told(neutron_networks.SOURCE, (0, [shared]), (20, [changed])))
    failed = {"event_type": "volume.backend.error", "resource_type": "backend", "resource_id": BACKEND}
    told.append(facts({**failed, "resource_name": BACKEND, "message": BACKEND, "host": HOST, "occurred_at": at(20)}))
    if handover:
        for giver, taker in ("ab", "ba"):
            hands = [(10, [volume(f"volume-of-{giver}", marked(giver, "project"))])]
            hands.append((30, [volume(f"volume-of-{giver}", marked(taker, "project"))]))
            told.append(cloud.told(cinder_volumes.SOURCE, *hands))
    cloud.happen(*told)


@pytest.fixture(scope="module")
def shared(postgres, migrated_template, tmp_path_factory) -> Iterator[World]:
    name = postgres.create(template=migrated_template)
    world = World(postgres.database(name))
    try:
        play(Cloud.on(world.database, tmp_path_factory.mktemp("shared"), []), "ab", handover=True)
        for who, scope in SCOPES.items():
            login = f"test_{secrets.token_hex(6)}"
            password = grant(world.database, login, [scope])
            url = world.database.urls["admin"].set(username=login, password=password, query={})
            world.logins[who] = url.render_as_string(hide_password=False)
        yield world
    finally:
        world.database.close()
        postgres.drop(name)
        with postgres.making() as connection:
            for login in world.names():
                connection.execute(sql.SQL("drop role {}").format(sql.Identifier(login)))


def rows(address: str, query: str) -> list[tuple]:
    with psycopg.connect(address) as connection:
        return connection.execute(query).fetchall()


@pytest.mark.parametrize("who", SCOPES)
def test_each_is_told_of_what_is_shared(shared, who):
    told = "select event_type, relation from timeline.tenant_events where event_type !~ 'create' order by 1, 2"
    network_change = ("network.update.end", "owner" if who == "a" else "affected")
    handed_over = ("volume.transfer.accept.end", "owner")
    expected = [("compute.service.down", "affected"), network_change, ("volume.backend.error", "affected")]
    assert rows(shared.logins[who], told) == [*expected, handed_over, handed_over]


@pytest.mark.parametrize(("who", "other"), OTHERS.items())
def test_no_canary_of_another_tenant_or_of_the_providers_anywhere(shared, who, other):
    seen = everything(shared, who)
    assert f"canary-{OTHERS[other]}" in seen
    assert f"canary-{other}" not in seen
    assert "canary-p" not in seen


@pytest.mark.parametrize("who", SCOPES)
def test_no_row_says_when_or_with_what_else_it_was_written(shared, who):
    """The transaction and the place of a row are the same, or beside each other, for all whom one event concerned."""
    for column in ("xmin", "cmin", "ctid", "tableoid"):
        for table in ("tenant_events", "tenant_changes", "tenant_coverage"):
            with pytest.raises(errors.InsufficientPrivilege):
                rows(shared.logins[who], f"select {column} from timeline.{table}")


def test_two_tenants_of_one_event_have_nothing_in_common_but_the_minute(shared):
    affected = "select to_jsonb(t) from timeline.tenant_events t where relation = 'affected' and event_type = '{}'"
    common = {"cloud", "event_type", "category", "severity", "outcome", "phase", "visibility", "relation", "title"}
    common |= {"actor_label", "resource_type", "time_precision", "changes"}
    for event_type in ("compute.service.down", "volume.backend.error"):
        (a,), (b,) = (rows(shared.logins[who], affected.format(event_type))[0] for who in "ab")
        same = {name for name in a if a[name] == b[name] and a[name] is not None} - common
        assert same == {"occurred_at", "occurred_from", "occurred_to", "recorded_at"}
        assert all(":00+00:00" in a[name] for name in same)


def test_a_tenants_rows_are_the_same_without_the_others_records(
    database: Database, postgres, migrated_template, tmp_path: Path
):
    """But for the network, which only the other's records tell of."""
    found = """select to_jsonb(t) - 'recorded_at' from timeline.tenant_events t
        where tenant_project_id = 'canary-b-project' and event_type !~ '^network' order by occurred_at, event_type"""
    made = postgres.create(template=migrated_template)
    both = postgres.database(made)
    try:
        play(Cloud.on(both, tmp_path / "both", []), "ab")
        play(Cloud.on(database, tmp_path / "alone", []), "b")
        together, alone = ([row for (row,) in rows(d.libpq_url("pipeline"), found)] for d in (both, database))
    finally:
        both.close()
        postgres.drop(made)
    assert {row["relation"] for row in alone} == {"owner", "affected"}
    assert together == alone
