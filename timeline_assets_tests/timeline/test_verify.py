"""The hash is of what is believed and of nothing else; each invariant finds what breaks it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from timeline_assets.timeline import verify as proof
from timeline_assets.timeline.verify import HASHED, INVARIANTS, LOST, UNFOUNDED, verify
from timeline_assets_tests.making import CLOUD, at, claims, facts
from timeline_assets_tests.timeline.landed import land

A_IS_OF_D1 = {"resource_type": "project", "resource_id": "A", "claim": "owner", "domain_id": "D1", "minute": -60}
SERVER_OF_A = {"resource_id": "server-1", "claim": "owner_since", "project_id": "A", "minute": -30}
STORY = (
    {"minute": 0, "source_key": "1"},
    {"minute": 1, "source_key": "2"},
    {"minute": 2, "source_key": "3", "resource_id": "unknown"},
)


@pytest.fixture
def told(pipeline, learn, happen):
    """Two events of A's server and one in quarantine; their facts lie in the raw store."""
    learn(claims(A_IS_OF_D1, SERVER_OF_A))
    happen(land(pipeline, facts(*STORY)))
    return pipeline


def broken(pipeline, statement: str) -> dict[str, int]:
    """The faults after a statement that only an administrator could run, by their sentence."""
    with pipeline.database.connect("admin") as connection:
        connection.execute("set role timeline_owner")
        for (table,) in connection.execute(
            """select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = relnamespace
            where relkind in ('r', 'p') and nspname in ('timeline', 'topology')"""
        ).fetchall():
            connection.execute(f"alter table {table} no force row level security")
        connection.execute(statement)
    return {fault.what: fault.count for fault in verify(pipeline, CLOUD).faults}


def test_what_is_whole_has_no_faults_and_the_same_hash_again(told):
    first, second = verify(told, CLOUD), verify(told, CLOUD)
    assert first.faults == second.faults == ()
    assert (first.before, second.before) == (None, first.verified_at)
    assert (second.hash, second.differences, second.is_good) == (first.hash, (), True)
    rows = {table: first.total(table).rows for table in first.tables}
    assert rows == {
        "timeline.events": 3,
        "timeline.event_keys": 3,
        "timeline.attributions": 3,
        "timeline.quarantine": 1,
        "timeline.tenant_events": 2,
        "topology.resources": 2,
        "topology.ownership": 2,
        "topology.conflicts": 0,
        "topology.edges": 0,
    }
    assert list(first.tables["timeline.events"]) == ["2026-11-22"]
    assert list(first.tables["topology.ownership"]) == ["project", "server"]


def test_another_cloud_is_another_hash(told):
    assert verify(told, "other").total("timeline.events").rows == 0


def test_a_difference_is_named_by_table_and_day(told, rows):
    before = verify(told, CLOUD)
    with told.connect() as connection:
        connection.execute("update timeline.events set title = 'another' where source_key = '1'")
    now = verify(told, CLOUD)
    [difference] = now.differences
    assert (difference.table, difference.part) == ("timeline.events", "2026-11-22")
    assert (difference.before.rows, difference.now.rows) == (3, 3)
    assert now.hash != before.hash
    assert not now.is_good
    assert rows("select faults, hash from timeline.verifications order by verification_id") == [
        {"faults": 0, "hash": before.hash},
        {"faults": 0, "hash": now.hash},
    ]


RUN_SPECIFIC = {
    "timeline.events": "recorded_at = now(), observed_at = now(), raw_ref = 'x', normalizer_version = '9'",
    "timeline.event_keys": "attribution = attribution",
    "timeline.quarantine": "first_seen = first_seen - interval '1 h', attempts = 7",
    "timeline.tenant_events": "recorded_at = now()",
    "topology.ownership": "raw_ref = 'x', recorded_from = recorded_from - interval '1 h'",
}


@pytest.mark.parametrize("table", RUN_SPECIFIC)
def test_what_a_run_leaves_is_not_hashed(told, table):
    before = verify(told, CLOUD)
    with told.connect() as connection:
        connection.execute(f"update {table} set {RUN_SPECIFIC[table]}")
    assert verify(told, CLOUD).tables[table] == before.tables[table]


@pytest.mark.parametrize(
    ("table", "what"),
    [
        ("timeline.events", "owner_project_id = 'B' where owner_project_id is not null"),
        ("timeline.event_keys", "payload_project_id = 'B'"),
        ("timeline.quarantine", "candidates = '[1]'"),
        ("timeline.tenant_events", "message = 'x'"),
        ("topology.ownership", "valid_from = valid_from - interval '1 d' where resource_type = 'server'"),
        ("topology.resources", "name = 'x'"),
    ],
)
def test_what_is_believed_is_hashed(told, table, what):
    before = verify(told, CLOUD)
    with told.connect() as connection:
        connection.execute(f"update {table} set {what}")
    changed = verify(told, CLOUD).tables
    assert {name for name in changed if changed[name] != before.tables[name]} == {table}


def test_every_column_is_hashed_or_left_out_by_name(told, rows):
    for one in HASHED:
        schema, _, table = one.table.partition(".")
        columns = {
            row["column_name"]
            for row in rows(
                "select column_name::text from information_schema.columns "
                f"where table_schema = '{schema}' and table_name = '{table}'"
            )
        }
        assert set(one.left_out) | set(one.instead) <= columns, one.table


BREAKS = {
    "events without the attribution that explains their owner": (
        "delete from timeline.attributions where rule <> 'none'",
        2,
    ),
    "keys without their event": ("delete from timeline.events where source_key = '1'", 1),
    "events in quarantine that it does not list, or listed there and owned": (
        "update timeline.quarantine set resolved_at = now()",
        1,
    ),
    "events that their owner has no row of": ("delete from timeline.tenant_events", 2),
    "tenants' rows of an event that is not there, or whose owner is not proven": (
        """insert into timeline.tenant_events select event_id, cloud, region, 'D1', 'A', 'owner', visibility,
            event_type, category, severity, outcome, phase, occurred_at, occurred_from, occurred_to, time_precision,
            ended_at, recorded_at, resource_type, resource_id, resource_name, related, changes, null, 'system', null,
            title, null
        from timeline.events where owner_scope = 'quarantine'""",
        1,
    ),
    "affected rows without the event and the attribution behind them, or the other way round": (
        "update timeline.tenant_events set relation = 'affected'",
        2,
    ),
    "tenants' rows that say something else than their event": (
        "update timeline.tenant_events set severity = 5",
        2,
    ),
    "resources with two owners at once": (
        """alter table topology.ownership drop constraint ownership_one_owner_at_a_time;
        insert into topology.ownership select cloud, resource_type, resource_id, 'B', null, valid_from + interval '1 h',
            null, null, true, null, recorded_from, null, null from topology.ownership where resource_type = 'server'""",
        1,
    ),
}


@pytest.mark.parametrize("what", INVARIANTS)
def test_each_invariant_finds_what_breaks_it(told, what):
    statement, count = BREAKS[what]
    assert broken(told, statement)[what] == count


def test_a_fact_that_is_no_event_is_lost_and_an_event_without_a_fact_unfounded(told):
    assert broken(told, "delete from timeline.event_keys where road_key = '1'")[LOST] == 1
    with told.connect() as connection:
        connection.execute("update raw.attempts set facts_path = null")
    assert {fault.what: fault.count for fault in verify(told, CLOUD).faults}[UNFOUNDED] == 2


def test_what_retention_has_dropped_is_not_lost(told):
    dropped = f"insert into timeline.retention (dropped_before) values ('{at(0.5)}')"
    faults = broken(
        told,
        f"""{dropped}; delete from timeline.event_keys where road_key = '1';
        delete from timeline.events where source_key = '1';
        delete from timeline.attributions where valid_at = '{at(0)}';
        delete from timeline.tenant_events where occurred_at = '{at(0)}'""",
    )
    assert faults == {}


def test_with_records_on_their_way_nothing_is_compared_or_kept(told, rows):
    verify(told, CLOUD)
    with told.connect() as connection:
        connection.execute("update raw.attempts set resolved_at = null; update timeline.events set title = 'x'")
    found = verify(told, CLOUD)
    assert (found.pending, found.before, found.differences) == (1, None, ())
    assert rows("select count(*) as n from timeline.verifications") == [{"n": 1}]


def test_other_records_or_rules_are_not_compared(told, monkeypatch):
    verify(told, CLOUD)
    land(told, facts({"source_key": "4"}), is_resolved=True)
    assert verify(told, CLOUD).before is None
    first = verify(told, CLOUD)
    assert first.before is not None
    monkeypatch.setattr(proof, "RULES", ("ownership",))
    assert verify(told, CLOUD).before is None


def test_compacting_raw_files_is_no_other_raw_data(told):
    before = verify(told, CLOUD)
    with told.connect() as connection:
        connection.execute(
            """with new as (
                insert into raw.attempts (cloud, source, window_start, path, rows, bytes, facts_path, normalized_at,
                    absorbed_at, resolved_at)
                select cloud, source, window_start, 'sealed', rows, bytes, facts_path, now(), now(), now()
                from raw.attempts returning attempt_id)
            update raw.attempts a set replaced_by = new.attempt_id from new where a.replaced_by is null"""
        )
    now = verify(told, CLOUD)
    assert (now.raw, now.before, now.is_good) == (before.raw, before.verified_at, True)


def test_verifications_are_kept_only_so_many(told, rows, monkeypatch):
    monkeypatch.setattr(proof, "KEPT", 2)
    for _ in range(3):
        last = verify(told, CLOUD)
    assert last.verified_at - verify(told, CLOUD).verified_at < timedelta(0)
    assert rows("select count(*) as n from timeline.verifications") == [{"n": 2}]
