"""The command line as a person runs it, on a database with a small story in it.

Two domains, acme and globex, each with a project `production` and a server `web-1`. A port is the provider's; one event
waits in quarantine.
"""

from __future__ import annotations

import sys
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from timeline_assets.cli import main
from timeline_assets.store.database import Database

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
CLOUD = "north"
RAW_REF = "north/nova_servers/2026/11/22/12/20261122T120000000000-00000000.parquet#0"


@dataclass(frozen=True)
class Ran:
    """How a command ended and what it said."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.out.splitlines()]


Timeline = Callable[..., Ran]


@pytest.fixture
def timeline(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path) -> Timeline:
    """Runs `timeline ARGUMENTS…` on a state folder of its own, with no database but its own."""
    monkeypatch.chdir(tmp_path)
    for name in ("TIMELINE_CONFIG", "TIMELINE_DATABASE_URL", "TIMELINE_DAGSTER_DATABASE_URL", "TIMELINE_DEMO"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TIMELINE_HOME", str(tmp_path / "state"))
    monkeypatch.setenv("OS_CLOUD", CLOUD)

    def run(*arguments: str) -> Ran:
        monkeypatch.setattr(sys, "argv", ["timeline", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        said = capsys.readouterr()
        code = ended.value.code
        return Ran(code if isinstance(code, int) else int(code is not None), said.out, said.err)

    return run


@pytest.fixture
def on_database(timeline: Timeline, database: Database, monkeypatch: pytest.MonkeyPatch) -> Timeline:
    """The same on a migrated, empty database."""
    monkeypatch.setenv("TIMELINE_DATABASE_URL", database.libpq_url("admin"))
    return timeline


@pytest.fixture
def told(on_database: Timeline, database: Database) -> Timeline:
    """The same with the story in the database."""
    tell(database)
    return on_database


def event_id(number: int) -> uuid.UUID:
    """The id of an event of the story: its first 8 characters are its number."""
    return uuid.UUID(f"{number:08d}-0000-4000-8000-000000000000")


def tell(database: Database) -> None:
    """Write the story as the pipeline would have left it."""
    with database.connect("pipeline") as connection:
        for domain in ("acme", "globex"):
            resource(connection, "domain", f"d-{domain}", domain)
            resource(connection, "project", f"p-{domain}", "production", domain_id=f"d-{domain}")
            resource(connection, "server", f"s-{domain}", "web-1", project_id=f"p-{domain}")
            resource(connection, "user", f"u-{domain}", "alice", domain_id=f"d-{domain}")
        resource(connection, "project", "p-lab", "lab", domain_id="d-acme")
        event(connection, 1, 0, "Server web-1 created", "compute.instance.create.end", "s-acme", "p-acme")
        event(connection, 2, 1, "Server web-1 created", "compute.instance.create.end", "s-globex", "p-globex")
        event(connection, 3, 2, "Server web-1 rebooted", "compute.instance.reboot.end", "s-acme", "p-acme", severity=2)
        event(
            *(connection, 4, 3, "Server web-1 deleted", "compute.instance.delete.end", "s-acme", "p-acme"),
            severity=4,
            outcome="failure",
        )
        event(connection, 5, 4, "A step", "compute.instance.create.step", "s-acme", "p-acme", phase="progress")
        event(connection, 6, 5, "Volume v-1 created", "volume.create.end", "v-1", None, owner_scope="quarantine")
        connection.execute(
            """insert into timeline.quarantine (event_id, cloud, source, occurred_at, reason, detail)
            values (%s, %s, 'cinder_volumes', %s, 'NO_EVIDENCE', 'nobody knows v-1')""",
            (event_id(6), CLOUD, NOON + timedelta(minutes=5)),
        )
        connection.execute(
            """insert into timeline.attributions (event_id, version, valid_at, owner_scope, owner_project_id,
                owner_domain_id, rule, confidence, path, evidence, topology_recorded_at, reason)
            values (%s, 1, %s, 'project', 'p-acme', 'd-acme', 'resource_interval', 'certain',
                '[{"type": "server", "id": "s-acme"}]', '{"project_id": "p-acme"}', %s, 'it owned s-acme then')""",
            (event_id(1), NOON, NOON),
        )


def resource(connection, kind: str, id: str, name: str, *, project_id=None, domain_id=None) -> None:
    """A resource and who owns it, believed since noon and valid for ever."""
    connection.execute(
        """insert into topology.resources (cloud, resource_type, resource_id, name, recorded_from)
        values (%s, %s, %s, %s, %s)""",
        (CLOUD, kind, id, name, NOON),
    )
    if project_id or domain_id:
        connection.execute(
            """insert into topology.ownership (cloud, resource_type, resource_id, project_id, domain_id, is_exact,
                recorded_from) values (%s, %s, %s, %s, %s, true, %s)""",
            (CLOUD, kind, id, project_id, domain_id, NOON),
        )


def event(connection, number: int, minute: int, title: str, *what: str | None, **more: Any) -> None:
    """An event of the story (`what`: type, resource, owner); a tenant's row beside it where it has an owner."""
    event_type, resource_id, project_id = what
    occurred_at = NOON + timedelta(minutes=minute)
    domain_id = project_id and project_id.replace("p-", "d-")
    row = {
        "event_id": event_id(number),
        "cloud": CLOUD,
        "source": "nova_instance_actions",
        "source_key": str(number),
        "source_version": "span",
        "witnesses": "[]",
        "event_type": event_type,
        "category": "provisioning",
        "visibility": "operational",
        "severity": 1,
        "outcome": "success",
        "phase": "end",
        "occurred_at": occurred_at,
        "occurred_from": occurred_at,
        "occurred_to": occurred_at,
        "time_precision": "exact",
        "observed_at": occurred_at,
        "recorded_at": occurred_at,
        "resource_type": "server",
        "resource_id": resource_id,
        "owner_scope": "project",
        "owner_project_id": project_id,
        "owner_domain_id": domain_id,
        "actor_user_id": domain_id and domain_id.replace("d-", "u-"),
        "actor_kind": "human",
        "title": title,
        "raw_ref": RAW_REF,
        "raw_sha256": "0" * 64,
        "normalizer_version": "1",
        **more,
    }
    connection.execute("select timeline.ensure_partition(%s)", [occurred_at])
    insert(connection, "timeline.events", row)
    if project_id:
        shared = {name: row[name] for name in row if name in TENANT_COLUMNS}
        tenant = {
            "tenant_project_id": project_id,
            "tenant_domain_id": domain_id,
            "relation": "owner",
            "actor_label": "user",
        }
        insert(connection, "timeline.tenant_events", shared | tenant)


TENANT_COLUMNS = (
    *("event_id", "cloud", "event_type", "category", "visibility", "severity", "outcome", "phase", "occurred_at"),
    *("occurred_from", "occurred_to", "time_precision", "recorded_at", "resource_type", "resource_id", "title"),
)


def insert(connection, table: str, row: dict[str, Any]) -> None:
    columns, marks = ", ".join(row), ", ".join(f"%({name})s" for name in row)
    connection.execute(f"insert into {table} ({columns}) values ({marks})", row)
