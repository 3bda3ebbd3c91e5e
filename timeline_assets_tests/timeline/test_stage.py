"""Facts become events with an owner: each rule, quarantine and its release, repeats, tenants' rows."""

from __future__ import annotations

import polars as pl

from timeline_assets.normalize.schema import OBSERVATION
from timeline_assets.raw.windows import Window
from timeline_assets.timeline.founded import retract_unfounded
from timeline_assets.timeline.stage import Resolved
from timeline_assets.timeline.write import Written
from timeline_assets_tests.making import CLOUD, NOON, at, claims, facts

A_IS_OF_D1 = {"resource_type": "project", "resource_id": "A", "claim": "owner", "domain_id": "D1", "minute": -60}
B_IS_OF_D1 = {**A_IS_OF_D1, "resource_id": "B"}
SERVER_OF_A = {"resource_id": "server-1", "claim": "owner_since", "project_id": "A", "minute": -30}
CREATED = {"resource_id": "server-1", "claim": "created", "minute": -30, "at_from": at(-30)}

OWNERS = "select event_id, owner_scope, owner_project_id, owner_domain_id from timeline.events order by occurred_at"
NEWEST = """select rule, confidence, version from timeline.attributions a
    where version = (select max(version) from timeline.attributions b where b.event_id = a.event_id)
    order by valid_at"""
TENANTS = """select tenant_project_id, tenant_domain_id, resource_id, actor_label, actor_user_id
    from timeline.tenant_events order by occurred_at"""


def owner(scope: str, project: str | None = None, domain: str | None = None) -> dict:
    return {"owner_scope": scope, "owner_project_id": project, "owner_domain_id": domain}


def of(rows: list[dict]) -> list[dict]:
    return [{k: v for k, v in row.items() if k != "event_id"} for row in rows]


def record(pipeline) -> str:
    """The reference of a record that lies in the raw store."""
    observation = pl.DataFrame([dict.fromkeys(OBSERVATION) | {"key": "k"}], schema=OBSERVATION)
    window = Window(NOON)
    written = pipeline.raw.write_attempt(CLOUD, "nova_servers", window, observation)
    with pipeline.connect() as connection:
        connection.execute(
            "insert into raw.attempts (cloud, source, window_start, path, rows, bytes) values (%s, %s, %s, %s, 1, 1)",
            (CLOUD, "nova_servers", window.start, written.path),
        )
    return written.observations["raw_ref"][0]


def test_the_record_names_the_owner(learn, happen, rows):
    learn(claims(A_IS_OF_D1))
    happen(facts({"payload_project_id": "A"}))
    assert of(rows(OWNERS)) == [owner("project", "A", "D1")]
    assert rows(NEWEST) == [{"rule": "payload_owner", "confidence": "certain", "version": 1}]


def test_the_topology_knows_the_owner_and_the_actor_does_not_count(learn, happen, rows):
    learn(claims(A_IS_OF_D1, B_IS_OF_D1, SERVER_OF_A, CREATED))
    happen(facts({"actor_user_id": "admin", "actor_project_id": "B"}))
    assert of(rows(OWNERS)) == [owner("project", "A", "D1")]
    assert rows(NEWEST) == [{"rule": "resource_interval", "confidence": "high", "version": 1}]
    assert rows(TENANTS) == [
        {
            "tenant_project_id": "A",
            "tenant_domain_id": "D1",
            "resource_id": "server-1",
            "actor_label": "provider operator",
            "actor_user_id": None,
        }
    ]


def test_a_server_belongs_to_its_owner_a_moment_before_its_row_was_made(learn, happen, rows):
    learn(claims(A_IS_OF_D1, SERVER_OF_A, CREATED))
    happen(facts({"minute": -30.05}))
    assert of(rows(OWNERS)) == [owner("project", "A", "D1")]


def test_a_volume_belongs_to_nobody_before_it_was_first_seen(learn, happen, rows):
    learn(
        claims(
            A_IS_OF_D1,
            {"resource_type": "volume", "resource_id": "v", "claim": "owner", "project_id": "A", "minute": 0},
        )
    )
    event = {"resource_type": "volume", "resource_id": "v", "event_type": "volume.create.end"}
    happen(facts(event | {"minute": -5, "source_key": "early"}, event | {"minute": 5, "source_key": "late"}))
    assert of(rows(OWNERS)) == [owner("quarantine"), owner("project", "A", "D1")]
    assert rows("select reason, candidates::text as candidates from timeline.quarantine") == [
        {"reason": "TOPOLOGY_GAP", "candidates": '[{"id": "A", "type": "project"}]'}
    ]


def test_what_is_between_two_owners_is_nobodys(learn, happen, rows):
    volume = {"resource_type": "volume", "resource_id": "v", "claim": "owner"}
    learn(claims(A_IS_OF_D1, volume | {"project_id": "A", "minute": 0}, volume | {"project_id": "B", "minute": 10}))
    happen(facts({"resource_type": "volume", "resource_id": "v", "minute": 5}))
    assert of(rows(OWNERS)) == [owner("quarantine")]
    assert rows("select reason from timeline.quarantine") == [{"reason": "INTERVAL_OVERLAP"}]


def test_a_port_without_an_owner_belongs_to_its_routers(learn, happen, rows):
    router = {"resource_type": "router", "resource_id": "r"}
    learn(
        claims(
            A_IS_OF_D1,
            router | {"claim": "owner_since", "project_id": "A", "minute": -30},
            {
                "resource_type": "port",
                "resource_id": "p",
                "claim": "edges",
                "relation": "device",
                "to_type": "router",
                "to_ids": ["r"],
                "minute": -20,
            },
        )
    )
    happen(
        facts({"resource_type": "port", "resource_id": "p", "event_type": "port.update.end", "payload_project_id": ""})
    )
    assert of(rows(OWNERS)) == [owner("project", "A", "D1")]
    assert rows("select rule, path #>> '{0,id}' as through from timeline.attributions") == [
        {"rule": "containment", "through": "r"}
    ]


def test_late_evidence_releases_what_waits_and_keeps_what_was_said(learn, happen, rows):
    first = happen(facts({}))
    assert (first.written.quarantined, first.by_reason) == (1, {"NO_EVIDENCE": 1})
    learn(claims(A_IS_OF_D1, SERVER_OF_A, CREATED))
    second = happen()
    assert (second.reopened, second.written.released) == (1, 1)
    assert of(rows(OWNERS)) == [owner("project", "A", "D1")]
    assert rows("select version, owner_scope, rule from timeline.attributions order by version") == [
        {"version": 1, "owner_scope": "quarantine", "rule": "none"},
        {"version": 2, "owner_scope": "project", "rule": "resource_interval"},
    ]
    assert rows("select resolved_at is not null as released from timeline.quarantine") == [{"released": True}]
    assert happen() == Resolved(), "nothing is left to do"


def test_a_correction_takes_the_row_from_the_one_and_gives_it_to_the_other(learn, happen, rows):
    volume = {"resource_type": "volume", "resource_id": "v"}
    learn(claims(A_IS_OF_D1, B_IS_OF_D1, volume | {"claim": "owner", "project_id": "A", "minute": 0}))
    happen(facts({"resource_type": "volume", "resource_id": "v", "minute": 5, "event_type": "volume.update.end"}))
    assert [row["tenant_project_id"] for row in rows(TENANTS)] == ["A"]
    learn(claims(volume | {"claim": "owner_since", "project_id": "B", "minute": 4}))
    happen()
    assert [row["tenant_project_id"] for row in rows(TENANTS)] == ["B"]
    assert rows("select operation, tenant_project_id from timeline.tenant_changes order by sequence") == [
        {"operation": "upsert", "tenant_project_id": "A"},
        {"operation": "retract", "tenant_project_id": "A"},
        {"operation": "upsert", "tenant_project_id": "B"},
    ]


def test_a_repeat_changes_no_row(learn, happen, rows):
    learn(claims(A_IS_OF_D1, SERVER_OF_A, CREATED))
    frame = facts(
        {"source_key": "1"},
        {"source_key": "2", "resource_id": "unknown"},
        {"source_key": "3", "payload_project_id": "A"},
    )
    happen(frame)
    stamps = " union all ".join(
        f"select xmin::text, ctid::text from timeline.{table}" for table in ("events", "tenant_events")
    )
    before = rows(stamps)
    again = happen(frame)
    assert again.written == Written(unchanged=3)
    assert rows(stamps) == before


def test_a_resource_is_called_what_it_was_called_then(learn, happen, rows):
    event = {"payload_project_id": "A", "resource_name": None}
    happen(facts(event | {"minute": 5, "source_key": "1"}, event | {"minute": 15, "source_key": "2"}))
    titles = "select title from timeline.events order by occurred_at"
    assert rows(titles) == [{"title": "Server server-1 rebooted"}] * 2
    named = {"resource_id": "server-1", "claim": "seen"}
    renames = [
        named | {"name": "old", "minute": 0},
        named | {"name": "old", "minute": 9},
        named | {"name": "new", "minute": 11},
    ]
    learn(claims(A_IS_OF_D1, SERVER_OF_A, CREATED, *renames))
    happen()
    assert rows(titles) == [{"title": "Server old rebooted"}, {"title": "Server new rebooted"}]


def test_a_span_is_one_row_from_start_to_end(happen, rows):
    running = {
        "event_type": "compute.instance.reboot.start",
        "phase": "start",
        "outcome": "pending",
        "observed_at": at(1),
    }
    happen(facts(running))
    done = happen(facts({"ended_at": at(2), "observed_at": at(3)}))
    assert done.written.updated == 1
    assert rows("select event_type, phase, outcome, ended_at from timeline.events") == [
        {"event_type": "compute.instance.reboot.end", "phase": "end", "outcome": "success", "ended_at": at(2)}
    ]
    assert happen(facts(running)).written == Written(unchanged=1), "an older observation undoes nothing"


def test_a_better_estimate_moves_the_event_to_another_month(learn, happen, rows):
    learn(claims(A_IS_OF_D1))
    scan = {"payload_project_id": "A", "road_source": "listing", "road_key": "x", "time_precision": "interval"}
    happen(facts(scan | {"minute": 0, "occurred_from": at(-60 * 24 * 30)}))
    happen(facts({"payload_project_id": "A", "minute": -60 * 24 * 25}))
    assert rows("select occurred_at, jsonb_array_length(witnesses) as roads from timeline.events") == [
        {"occurred_at": at(-60 * 24 * 25), "roads": 2}
    ]
    assert rows("select occurred_at from timeline.tenant_events") == [{"occurred_at": at(-60 * 24 * 25)}]
    assert rows("select occurred_at from timeline.event_keys") == [{"occurred_at": at(-60 * 24 * 25)}]


def test_what_no_fact_gives_any_more_is_taken_back(pipeline, learn, happen, rows):
    learn(claims(A_IS_OF_D1))
    stored = record(pipeline)
    nobodys = {"source_key": "2", "resource_id": "unknown", "raw_ref": stored}
    happen(facts({"payload_project_id": "A", "raw_ref": stored}, nobodys))
    assert retract_unfounded(pipeline, "other") == 0, "another cloud's rebuild takes nothing of this one"
    assert retract_unfounded(pipeline, CLOUD) == 2
    for table in ("events", "event_keys", "tenant_events", "quarantine", "awaits"):
        assert rows(f"select count(*) as n from timeline.{table}") == [{"n": 0}], table
    assert rows("select operation, tenant_project_id from timeline.tenant_changes order by sequence") == [
        {"operation": "upsert", "tenant_project_id": "A"},
        {"operation": "retract", "tenant_project_id": "A"},
    ]


def test_an_event_outlives_the_record_that_retention_has_thinned(pipeline, happen, rows):
    happen(facts({"payload_project_id": "A", "raw_ref": record(pipeline)}))
    with pipeline.connect() as connection:
        connection.execute("delete from raw.attempts")
    assert retract_unfounded(pipeline, CLOUD) == 0
    assert of(rows(OWNERS)) == [owner("project", "A")]


def test_what_retention_has_dropped_is_not_made_again(pipeline, happen, rows):
    with pipeline.connect() as connection:
        connection.execute("insert into timeline.retention (dropped_before) values (%s)", (at(0),))
    happen(facts({"minute": -1}, {"source_key": "2", "minute": 0}))
    assert rows("select source_key from timeline.events") == [{"source_key": "2"}]


def test_a_type_nobody_registered_is_kept(happen, rows):
    done = happen(facts({"event_type": "teapot.whistled"}))
    assert done.unmapped == {"unmapped.teapot.whistled": 1}
    assert rows("select event_type, severity, visibility from timeline.events") == [
        {"event_type": "unmapped.teapot.whistled", "severity": 0, "visibility": "system"}
    ]


def test_a_service_project_is_never_a_tenant(learn, happen, rows):
    service = {"resource_type": "project", "resource_id": "svc-id"}
    learn(
        claims(
            service | {"claim": "owner", "domain_id": "default", "minute": -60},
            service | {"claim": "seen", "name": "service", "minute": -60},
        )
    )
    happen(facts({"payload_project_id": "svc-id"}))
    assert of(rows(OWNERS)) == [owner("provider")]
    assert rows(TENANTS) == []


def test_a_tenant_sees_its_own_related_resources_only(learn, happen, rows):
    network_of_b = {"resource_type": "network", "resource_id": "n", "claim": "owner_since", "project_id": "B"}
    learn(claims(A_IS_OF_D1, B_IS_OF_D1, SERVER_OF_A, CREATED, network_of_b | {"minute": -50}))
    related = [
        {"type": "server", "id": "server-1", "role": "related"},
        {"type": "network", "id": "n", "role": "container"},
        {"type": "host", "id": "h1", "role": "host"},
    ]
    happen(
        facts(
            {"resource_type": "port", "resource_id": "p", "payload_project_id": "A", "related": related, "host": "h1"}
        )
    )
    assert rows("select related::text as related from timeline.tenant_events") == [
        {"related": '[{"id": "server-1", "role": "related", "type": "server"}]'}
    ]


def test_related_resources_that_are_learnt_of_later_are_shown_then(learn, happen, rows):
    learn(claims(A_IS_OF_D1))
    related = [{"type": "server", "id": "server-1", "role": "related"}]
    happen(facts({"resource_type": "port", "resource_id": "p", "payload_project_id": "A", "related": related}))
    assert rows("select related::text as related from timeline.tenant_events") == [{"related": "[]"}]
    learn(claims(SERVER_OF_A, CREATED))
    happen()
    assert rows("select related::text as related from timeline.tenant_events") == [
        {"related": '[{"id": "server-1", "role": "related", "type": "server"}]'}
    ]


def test_a_tenant_sees_the_changes_that_name_nobody_else(learn, happen, rows):
    learn(claims(A_IS_OF_D1))
    changes = [{"path": "name", "old": "x", "new": "y"}, {"path": "binding:host_id", "old": "h1", "new": "h2"}]
    happen(facts({"payload_project_id": "A", "changes": changes, "message": "on h2"}))
    assert rows("select changes::text as changes, message from timeline.tenant_events") == [
        {"changes": '[{"new": "y", "old": "x", "path": "name"}]', "message": None}
    ]
