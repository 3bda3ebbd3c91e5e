"""The asset checks: each passes on what the pipeline wrote, and fails for the one thing it is about."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import dagster as dg
import pytest

from timeline_assets.raw.windows import Window
from timeline_assets.wiring import checks, keys, upkeep
from timeline_assets.wiring.build import build_defs
from timeline_assets_tests.wiring.conftest import PROJECT

CLOUD = "east"
RAW = keys.raw_key(CLOUD, "neutron_networks")
_, QUARANTINE, EVENTS, TENANT_EVENTS = keys.final_keys(CLOUD)


@pytest.fixture
def harvested(world, harvest):
    """A cloud with some networks of the last minutes; gives their window."""
    world.now = datetime.now(UTC).replace(microsecond=0)
    window = Window.of(world.now)
    for number in range(5):
        world.network(CLOUD, f"n{number}", max(world.now - timedelta(minutes=1), window.start))
    harvest(window)
    return window


@pytest.fixture
def verdicts(settings, world, edge, instance):
    """Runs the job of all checks; gives what each said: (passed, severity, metadata)."""

    def run() -> dict[tuple[dg.AssetKey, str], dg.AssetCheckEvaluation]:
        defs = build_defs(settings, {"edge": edge, "sources": world.sources})
        result = defs.resolve_job_def(upkeep.CHECK).execute_in_process(instance=instance)
        assert result.success
        return {(said.asset_key, said.check_name): said for said in result.get_asset_check_evaluations()}

    return run


def failed(said) -> set[tuple[str, str]]:
    return {("/".join(key.path), name) for (key, name), verdict in said.items() if not verdict.passed}


def test_all_checks_of_all_clouds_pass_on_what_the_pipeline_wrote(harvested, verdicts, world):
    said = verdicts()
    assert failed(said) == set()
    per_cloud = 2 * len(world.sources) + 4
    assert len(said) == 2 * per_cloud
    assert said[RAW, checks.COVERAGE].metadata["gaps"].value == 0
    assert said[RAW, checks.DRIFT].metadata["records looked at"].value == 5
    assert said[QUARANTINE, checks.QUARANTINE].metadata["share"].value == 0


def test_a_gap_fails_the_coverage_of_its_source_with_its_reason(harvested, verdicts, world, harvest):
    world.fails(CLOUD, "neutron_networks", "timeout")
    before = Window(harvested.start - timedelta(hours=1))
    harvest(before, sources=["neutron_networks"])
    said = verdicts()
    assert failed(said) == {("raw/east/neutron_networks", checks.COVERAGE)}
    assert said[RAW, checks.COVERAGE].severity == dg.AssetCheckSeverity.ERROR
    assert f"| {before.start:%Y-%m-%d %H:%M:%S} | timeout |" in said[RAW, checks.COVERAGE].metadata["gap windows"].value


def test_a_record_set_aside_fails_the_schema(harvested, verdicts, world, harvest):
    world.network(CLOUD, "n9", harvested.start, mtu={"is": "no number"})
    harvest(harvested, sources=["neutron_networks"])
    said = verdicts()
    assert failed(said) == {("raw/east/neutron_networks", checks.DRIFT)}
    assert "| normalize | not_understood | 1 |" in said[RAW, checks.DRIFT].metadata["set aside"].value


def test_a_field_that_is_no_longer_sent_fails_the_schema(harvested, verdicts, world, harvest):
    for body in world.networks[CLOUD]:
        del body["mtu"]
        body["novelty"] = 1
    harvest(harvested, sources=["neutron_networks"])
    said = verdicts()
    assert failed(said) == {("raw/east/neutron_networks", checks.DRIFT)}
    assert said[RAW, checks.DRIFT].metadata["fields no longer sent"].value == "mtu"
    assert "novelty" in said[RAW, checks.DRIFT].metadata["fields sent but not read"].value


def test_an_unknown_type_fails_its_check_and_is_named(harvested, verdicts, pipeline):
    with pipeline.connect() as connection:
        connection.execute("update timeline.events set event_type = 'unmapped.network.dance' where resource_id = 'n1'")
    said = verdicts()
    assert failed(said) == {("timeline/east/events", checks.UNMAPPED)}
    assert "| unmapped.network.dance | 1 |" in said[EVENTS, checks.UNMAPPED].metadata["unmapped"].value


def test_too_many_events_without_an_owner_fail_their_check_by_reason(harvested, verdicts, world, harvest):
    world.network(CLOUD, "orphan", harvested.start, project_id=None, tenant_id=None)
    harvest(harvested, sources=["neutron_networks"])
    said = verdicts()
    assert failed(said) == {("ownership/east/quarantine", checks.QUARANTINE)}
    metadata = said[QUARANTINE, checks.QUARANTINE].metadata
    assert (metadata["events"].value, metadata["quarantined"].value) == (6, 1)
    assert "| neutron_networks | 1 |" in metadata["by reason"].value
    assert "| network.create.end | TOPOLOGY_GAP |" in metadata["waiting, newest"].value
    assert "a dated record of who owned the resource" in metadata["waiting, newest"].value
    assert "| payload_owner | certain |" in metadata["owned, by rule"].value


FAULTS = [
    ("delete from timeline.event_keys where event_id = %s", EVENTS, "events whose key says otherwise"),
    ("delete from timeline.events where event_id = %s", EVENTS, "keys without their event"),
    ("delete from timeline.events where event_id = %s", TENANT_EVENTS, "tenant rows without their event"),
    (
        "update timeline.tenant_events set tenant_project_id = 'another' where event_id = %s",
        TENANT_EVENTS,
        "tenant rows of another owner",
    ),
]


@pytest.mark.parametrize("case", FAULTS, ids=[named for _, _, named in FAULTS])
def test_rows_that_contradict_each_other_fail_their_check(harvested, verdicts, pipeline, case):
    fault, asset, named = case
    with pipeline.connect() as connection:
        (event_id,) = connection.execute(
            "select event_id from timeline.events where owner_project_id = %s limit 1", (PROJECT,)
        ).fetchone()
        connection.execute(fault, (event_id,))
    verdict = verdicts()[asset, checks.CONSISTENT]
    assert not verdict.passed
    assert {name: value.value for name, value in verdict.metadata.items()}[named] == 1
