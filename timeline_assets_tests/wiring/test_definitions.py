"""What Dagster is told: names, lineage, policies, limits. Nothing here connects to anything."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
import yaml

from timeline_assets import STAGES
from timeline_assets.config import CloudSettings, HarvestSettings, RetentionSettings, Settings
from timeline_assets.errors import ConfigurationError
from timeline_assets.raw.windows import Window
from timeline_assets.sources import SOURCES
from timeline_assets.wiring import columns, keys, measures
from timeline_assets.wiring.build import build_defs, sources_of
from timeline_assets.wiring.instance import STORAGE_VARIABLE, instance_config, instance_yaml
from timeline_assets.wiring.partitions import WINDOWS_PER_RUN, hourly

PROJECT = Path(__file__).parents[2]
MOST_PARTITIONS = 100_000


@pytest.fixture
def graph(settings):
    return build_defs(settings).resolve_asset_graph()


def test_every_source_of_every_cloud_is_an_asset_on_two_stages(graph):
    names = {source.name for source in SOURCES}
    for stage in ("raw", "normalize"):
        for cloud in ("east", "west"):
            assert {key.path[2] for key in graph.get_all_asset_keys() if key.path[:2] == [stage, cloud]} == names
    assert {key.path[0] for key in graph.get_all_asset_keys()} == set(STAGES)


def test_groups_are_stages(graph):
    for key in graph.get_all_asset_keys():
        assert graph.get(key).group_name == key.path[0]


def test_the_lineage_reads_as_the_flow_and_no_cloud_reaches_into_another(graph):
    for key in graph.get_all_asset_keys():
        for parent in graph.get(key).parent_keys:
            assert keys.cloud_of(parent) == keys.cloud_of(key)
            assert STAGES.index(parent.path[0]) <= STAGES.index(key.path[0])
    east = [keys.facts_key("east", source.name) for source in SOURCES]
    assert graph.get(keys.topology_key("east")).parent_keys == set(east)
    attributions, quarantine, events, tenant_events = keys.final_keys("east")
    assert graph.get(attributions).parent_keys == {keys.topology_key("east"), *east}
    assert graph.get(quarantine).parent_keys == graph.get(events).parent_keys == {attributions}
    assert graph.get(tenant_events).parent_keys == {events}


def test_policies_are_the_same_everywhere(graph):
    policies = {graph.get(key).backfill_policy for key in graph.get_all_asset_keys()}
    assert policies == {dg.BackfillPolicy.multi_run(max_partitions_per_run=WINDOWS_PER_RUN)}
    for key in graph.get_all_asset_keys():
        node = graph.get(key)
        is_raw = key.path[0] == "raw"
        assert list(node.owners) == ["team:timeline"]
        assert (node.freshness_policy is not None) == is_raw
        assert (node.automation_condition is None) == is_raw
        assert "dagster/column_schema" in node.metadata
        assert len(node.description) > 40


def test_a_source_tells_what_it_is_in_its_own_words(graph):
    for source in SOURCES:
        assert graph.get(keys.raw_key("east", source.name)).description == source.description


def test_every_source_declares_its_record():
    for source in SOURCES:
        assert measures.declared(source).fields


def test_ten_clouds_over_ten_years_stay_under_the_limit(tmp_path):
    start = datetime.now(UTC) - timedelta(days=3653)
    clouds = tuple(CloudSettings(name=f"cloud{number}") for number in range(10))
    settings = Settings(state_dir=tmp_path, clouds=clouds, harvest=HarvestSettings(start=start))
    graph = build_defs(settings).resolve_asset_graph()
    assert len(graph.get_all_asset_keys()) == 10 * (2 * len(SOURCES) + 5)
    partitions = {graph.get(key).partitions_def for key in graph.get_all_asset_keys()}
    assert len(partitions) == 1
    assert 87_000 < partitions.pop().get_num_partitions() < MOST_PARTITIONS


def test_a_partition_is_a_window_by_the_same_name(settings):
    partitions = hourly(settings)
    now = datetime(2024, 5, 2, 10, 5, tzinfo=UTC)
    found = partitions.get_partition_keys(current_time=now)
    assert found[0] == "2024-05-01-00:00"
    assert found[-1] == Window.of(now).key
    assert partitions.time_window_for_partition_key(found[-1]).start == Window.of(now).start


def test_a_cloud_has_the_sources_that_its_configuration_names(tmp_path):
    chosen = CloudSettings(name="east", sources=("nova_servers", "keystone_projects"))
    settings = Settings(
        state_dir=tmp_path, clouds=(chosen,), harvest=HarvestSettings(start=datetime(2024, 5, 1, tzinfo=UTC))
    )
    assert [source.name for source in sources_of(settings, "east")] == ["keystone_projects", "nova_servers"]


def test_an_unknown_source_in_the_configuration_is_refused_by_name(tmp_path):
    settings = Settings(state_dir=tmp_path, clouds=(CloudSettings(name="east", sources=("nova_serverz",)),))
    with pytest.raises(ConfigurationError, match="cloud east: there is no source 'nova_serverz'"):
        build_defs(settings)


def test_every_column_of_the_timeline_is_described():
    tables = columns.tables()
    for table in ("timeline.events", "timeline.tenant_events"):
        assert tables[table].columns[0].name == "event_id"
        assert tables[table].columns[0].type == "uuid"
    assert all(column.description for column in tables["timeline.events"].columns)


def test_the_committed_instance_is_the_one_that_is_generated():
    committed = yaml.safe_load((PROJECT / "dagster.yaml").read_text())
    assert committed == instance_config(2, RetentionSettings())


def test_a_generated_instance_holds_no_secret(settings):
    written = yaml.safe_load(instance_yaml(settings, cores=8))
    assert written["storage"] == {"postgres": {"postgres_url": {"env": STORAGE_VARIABLE}}}
    assert written["concurrency"]["runs"]["max_concurrent_runs"] == 8
    assert written["concurrency"]["runs"]["tag_concurrency_limits"] == [{"key": "dagster/backfill", "limit": 7}]


def test_definitions_validate_from_a_bare_checkout(tmp_path):
    """In a process of its own: importing the definitions connects to nothing and needs no configuration."""
    environ = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "TIMELINE_HOME": str(tmp_path / "state")}
    environ |= {"DAGSTER_HOME": str(tmp_path), "TIMELINE_DATABASE_URL": "postgresql://nobody@127.0.0.1:1/nowhere"}
    done = subprocess.run(
        [sys.executable, "-m", "dagster", "definitions", "validate", "-w", "workspace.yaml"],
        cwd=PROJECT,
        env=environ,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All code locations passed validation" in done.stdout + done.stderr
