"""Each tenant reads its own rows, all of them, and nothing of anybody else: asked as the tenant, in SQL."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from dataclasses import dataclass

import polars as pl
import psycopg
import pytest

from timeline_assets.store.access import Scope, grant, revoke
from timeline_assets.store.copy import read_frame
from timeline_assets_tests.real_cloud.home import CLOUD
from timeline_assets_tests.real_cloud.story import Story

pytestmark = pytest.mark.cloud

#: Names that only the provider may see.
HOSTS = {"compute1", "compute2"}


@dataclass(frozen=True)
class Tenant:
    """A project, and a connection that was granted it and nothing else."""

    project_id: str
    connection: psycopg.Connection

    def rows(self, query: str) -> pl.DataFrame:
        return read_frame(self.connection, query, {})


@contextlib.contextmanager
def reading_as(story: Story, project_id: str, kind: str = "project") -> Iterator[Tenant]:
    database, login = story.home.database, f"{kind}_{project_id[:12]}_{secrets.token_hex(4)}"
    password = grant(database, login, [Scope(kind, CLOUD, project_id)])
    url = database.urls["provider"].set(username=login, password=password, query={})
    try:
        with psycopg.connect(url.render_as_string(hide_password=False), autocommit=True) as connection:
            yield Tenant(project_id, connection)
    finally:
        revoke(database, login)
        with database.connect("admin") as connection:
            connection.execute(f'drop role "{login}"')


@pytest.fixture(scope="module")
def tenants(story: Story) -> Iterator[list[Tenant]]:
    """Every project that ever owned anything, with a login of its own."""
    made = sorted({owner.project_id for owner in story.truth.first.values() if owner.project_id})
    with contextlib.ExitStack() as open_logins:
        yield [open_logins.enter_context(reading_as(story, project_id)) for project_id in made]


def test_a_tenant_reads_all_its_own_events_and_no_other(story, tenants):
    own = story.events.filter(visibility="operational")
    accept = story.one("volume_transfer.accept")
    of_volume = own.filter(resource_id=accept.details["volume_id"])
    handed = set(of_volume.filter(event_type="volume.transfer.accept.end")["event_id"])
    for tenant in tenants:
        seen = tenant.rows("select event_id::text, tenant_project_id, relation from timeline.tenant_events")
        assert set(seen["tenant_project_id"]) <= {tenant.project_id}
        expected = set(own.filter(owner_project_id=tenant.project_id)["event_id"])
        if tenant.project_id == accept.details["to_project_id"]:
            expected |= handed  # the giver's event; who it went to reads of its arrival
        assert set(seen.filter(relation="owner")["event_id"]) == expected


def test_no_row_of_a_tenant_names_anything_of_another(story, tenants):
    for tenant in tenants:
        text = "\n".join(
            tenant.rows(
                """select row_to_json(t)::text as row from timeline.tenant_events t
                union all select row_to_json(c)::text from timeline.tenant_changes c
                union all select row_to_json(v)::text from timeline.tenant_coverage v"""
            )["row"]
        )
        assert tenant.project_id in text
        foreign = {*story.truth.foreign_to(tenant.project_id), *operators_words(story, tenant)}
        assert {word for word in foreign if word in text} == set()


def operators_words(story: Story, tenant: Tenant) -> set[str]:
    """Hosts, who the operator is, and the requests that it made."""
    deeds = [
        deed for deed in story.deeds if deed.who.startswith("admin@") and deed.actor_project_id != tenant.project_id
    ]
    return HOSTS | {word for deed in deeds for word in (deed.actor_user_id, deed.request_id) if word}


def test_17_a_grant_on_a_subtree_reaches_the_nested_project(story, tenants):
    """Its parent's alone does not; the subtree's does, and ends there."""
    lab = story.one("project.create", resource_name="lab")
    parent = lab.details["parent_id"]
    query = "select distinct tenant_project_id from timeline.tenant_events order by 1"
    with reading_as(story, parent) as own, reading_as(story, parent, "subtree") as whole:
        assert own.rows(query)["tenant_project_id"].to_list() == [parent]
        assert whole.rows(query)["tenant_project_id"].to_list() == sorted([parent, lab.resource_id])


def test_18_a_domain_reader_reads_every_project_of_its_domain(story, tenants):
    lab = story.one("project.create", resource_name="lab")
    query = "select event_id::text, tenant_project_id from timeline.tenant_events"
    with reading_as(story, lab.owner_domain_id, "domain") as reader:
        seen = reader.rows(query)
    of_domain = story.home.rows(
        """select event_id::text, tenant_project_id from timeline.tenant_events
        where tenant_domain_id = %(id)s and visibility = 'operational'""",
        id=lab.owner_domain_id,
    )
    made = story.of_kind("project.create")
    projects = {deed.resource_id for deed in made if deed.owner_domain_id == lab.owner_domain_id}
    assert set(seen["event_id"]) == set(of_domain["event_id"])
    assert set(seen["tenant_project_id"]) - {None} == projects


def test_a_tenant_reads_none_of_the_tables_behind(tenants):
    for table in ("events", "event_keys", "attributions", "quarantine", "coverage", "contributions", "awaits"):
        for tenant in tenants:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                tenant.rows(f"select count(*) from timeline.{table}")


def test_a_tenant_reads_no_table_of_raw_and_topology(tenants):
    for table in ("raw.latest", "raw.scans", "topology.ownership", "topology.claims", "access.grants"):
        for tenant in tenants:
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                tenant.rows(f"select count(*) from {table}")


def test_a_transferred_volume_is_read_by_each_for_its_own_time(story, tenants):
    accept = story.one("volume_transfer.accept")
    by_project = {tenant.project_id: tenant for tenant in tenants}
    query = f"""select occurred_from, occurred_to from timeline.tenant_events
        where resource_id = '{accept.details["volume_id"]}' and relation = 'owner'
          and event_type <> 'volume.transfer.accept.end'"""
    giver = by_project[accept.owner_project_id].rows(query)
    taker = by_project[accept.details["to_project_id"]].rows(query)
    assert giver.filter(pl.col("occurred_from") > accept.latest).rows() == []
    assert taker.filter(pl.col("occurred_to") < accept.t).rows() == []
