"""No column reaches a tenant by being forgotten."""

from __future__ import annotations

from timeline_assets.sources import SOURCES
from timeline_assets.timeline.redact import AFFECTED, CHANGE_PATHS, OWNER, WITHHELD_PATHS
from timeline_assets.timeline.rows import TENANT_EVENT
from timeline_assets.timeline.write import EVENT_COLUMNS

COLUMNS = """select column_name::text from information_schema.columns
    where table_schema = 'timeline' and table_name = '{}' order by ordinal_position"""


def columns(rows, table: str) -> list[str]:
    return [row["column_name"] for row in rows(COLUMNS.format(table))]


def test_every_column_is_classified(rows):
    assert columns(rows, "events") == list(OWNER) == list(AFFECTED)


def test_the_writer_knows_every_column(rows):
    assert [c for c in columns(rows, "events") if c != "recorded_at"] == list(EVENT_COLUMNS)
    assert {c for c in columns(rows, "tenant_events") if c != "recorded_at"} == set(TENANT_EVENT)


def test_every_tracked_path_is_classified():
    assert {path for source in SOURCES for path in source.tracked} == {*CHANGE_PATHS, *WITHHELD_PATHS}
    assert not {*CHANGE_PATHS} & {*WITHHELD_PATHS}


def test_a_change_that_holds_ids_of_networks_and_subnets_is_withheld():
    """A port on a shared network, or a router's gateway, names a subnet that is another's."""
    assert {"external_gateway_info", "fixed_ips"} <= set(WITHHELD_PATHS)
    assert not {"external_gateway_info", "fixed_ips"} & set(CHANGE_PATHS)
