"""Harvesting again, late, killed, of a cloud that goes away, and with a role that is too small."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator

import pytest
from polars.testing import assert_frame_equal

from timeline_assets.sources import SOURCES
from timeline_assets_tests.real_cloud.bring_up import OpenStack
from timeline_assets_tests.real_cloud.home import CLOUD, TOO_SMALL, Home, home
from timeline_assets_tests.real_cloud.story import OUTAGE, Story, events_of

pytestmark = pytest.mark.cloud

GAP_EXIT_CODE = 4


def contents(home: Home) -> dict[str, list[tuple]]:
    """All rows of the timeline, to be compared with themselves."""
    tables = ("events", "tenant_events", "attributions", "quarantine", "tenant_changes", "contributions")
    return {table: sorted(map(str, home.rows(f"select * from timeline.{table}").rows())) for table in tables}


def test_a_harvest_again_changes_no_row(story, late: Home):
    before = contents(late)
    results = late.harvest(story.began)
    # Nova itself touches the row of a deleted server once more, minutes later, when its host has cleaned up
    counts = {"nova_servers": ("new", "gone", "set_aside")}
    usual = ("new", "updated", "gone", "set_aside")
    changed = [r for r in results if any(r[name] for name in counts.get(r["source"], usual))]
    assert changed == []
    assert contents(late) == before


def test_a_harvest_of_what_was_watched_changes_no_row(story, watched: Home):
    before = contents(watched)
    watched.harvest(story.began)
    assert contents(watched) == before


#: When a harvest is killed: after some sources were stored, and with all of them stored but none told.
READING = "select count(distinct source) between 3 and %(sources)s - 1 from raw.attempts"
TELLING = """select count(normalized_at) > 0 and count(resolved_at) = 0
    and (select count(*) from raw.scans where cloud = 'real') = %(sources)s from raw.attempts"""


@pytest.fixture(scope="module")
def killed(story: Story, cloud: OpenStack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """A timeline like `late`, but its harvest was killed twice on its way and then asked for again."""
    with home(tmp_path_factory.mktemp("killed"), cloud.clouds_yaml) as killed:
        for moment in (READING, TELLING):
            harvest = killed.begin("harvest", "--since", story.began.isoformat(), "--cloud", CLOUD)
            killed.wait_until("the harvest is half done", moment, sources=len(SOURCES))
            harvest.kill()
            assert harvest.wait() == -signal.SIGKILL, "it was over before it could be killed"
            assert killed.rows("select count(*) from timeline.events").item() == 0
        killed.harvest(story.began)
        yield killed


def test_a_killed_harvest_loses_nothing_and_doubles_nothing(killed: Home, late: Home):
    assert_frame_equal(events_of(killed), events_of(late))
    stored = "select source, sum(rows)::bigint as rows from raw.attempts group by source order by source"
    assert_frame_equal(killed.rows(stored), late.rows(stored))


def test_the_follower_was_killed_with_work_on_its_way(story):
    """And what it then had not told is told: the ledger's tests look at the whole story."""
    assert story.killed_with_pending > 0
    assert story.home.rows("select count(*) from raw.attempts where resolved_at is null").item() == 0


def test_an_outage_is_a_gap_and_over_when_the_service_is_back(story):
    away = {source: (status, reason) for source, status, reason in story.outage["away"]}
    back = {source: (status, reason) for source, status, reason in story.outage["back"]}
    for source in OUTAGE:
        status, reason = away[source]
        assert status == "gap"
        assert reason in {"unreachable", "auth_failed", "server_error", "timeout"}
    assert {source for source, (status, _) in back.items() if status == "gap"} == set()


def test_what_was_done_after_the_outage_is_told(story):
    (deed,) = [deed for deed in story.of_kind("network.update") if deed.details.get("description") == "back again"]
    told = story.events.filter(resource_id=deed.resource_id, event_type="network.update.end")
    assert told.filter(told["changes"].str.contains("back again")).height == 1


def test_a_role_too_small_is_a_gap_for_every_source_and_no_empty_timeline(story, watched: Home):
    known = watched.rows(
        "select source, status, reason from timeline.coverage where cloud = %(cloud)s order by source", cloud=TOO_SMALL
    )
    assert set(known["source"]) == {source.name for source in SOURCES}
    assert set(known["status"]) == {"gap"}
    assert set(known["reason"]) == {"scope_too_small"}
    tenants = watched.rows("select distinct status from timeline.tenant_coverage where cloud = %(c)s", c=TOO_SMALL)
    assert tenants["status"].to_list() == ["gap"]
    for table in ("raw.attempts", "raw.latest", "timeline.events"):
        assert watched.rows(f"select count(*) from {table} where cloud = %(c)s", c=TOO_SMALL).item() == 0


def test_a_command_with_a_role_too_small_says_so(story, watched: Home):
    done = watched.run("harvest", "--since", story.began.isoformat(), "--cloud", TOO_SMALL, "--json")
    assert done.returncode == GAP_EXIT_CODE
    gaps = {result["source"]: result["gaps"] for result in json.loads(done.stdout)}
    assert {name for name, gap in gaps.items() if not gap} == set()
    why = [reason for gap in gaps.values() for reason in gap.values()]
    assert {reason["reason"] for reason in why} == {"scope_too_small"}
    assert "admin" in why[0]["detail"]
