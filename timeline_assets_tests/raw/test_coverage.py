"""Harvested is not proven: how a window comes to be called what, and what has to be read next."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from timeline_assets.raw.coverage import Place, due, refresh_tenants, status, status_after
from timeline_assets.raw.harvest import harvest
from timeline_assets.raw.windows import Window
from timeline_assets.sources.base import Shape
from timeline_assets_tests.raw.telling import SETTLE, Cloud, at, covered, failing, hour, rows


def run(pipeline, cloud: Cloud, window: str, when: str | None = None, source=None):
    if when:
        cloud.clock.now = at(when)
    source = source or cloud.source()
    return harvest(pipeline, "east", source, hour(window), reader=cloud, clock=cloud.clock, is_raising=False)


def wanted(pipeline, clouds, when: str) -> list[tuple[str, str]]:
    sources = [cloud.source(name) for name, cloud in clouds.items()]
    return [(source.name, window.key[8:13]) for source, window in due(pipeline, "east", sources, at(when))]


@pytest.mark.parametrize(
    ("before", "read_to", "read_at", "added", "expected"),
    [
        (None, "10:30", "10:30", 5, "open"),
        ("open", "10:59:59", "11:00:01", 0, "open"),
        ("open", "11:00", "11:00:02", 0, "settling"),
        ("gap", "11:00", "11:20", 0, "settling"),
        ("unknown", "11:00", "11:20", 0, "settling"),
        (None, "15:00", "15:00", 0, "settling"),
        ("settling", "11:05", "11:05", 0, "settling"),
        ("settling", "11:10", "11:10", 1, "settling"),
        ("settling", "11:10", "11:10", 0, "proven"),
        ("proven", "12:00", "12:00", 0, "proven"),
        ("proven", "12:00", "12:00", 1, "settling"),
    ],
)
def test_status_after_a_read(before, read_to, read_at, added, expected):
    found = status_after(before, hour("10"), read_to=at(read_to), read_at=at(read_at), settle=SETTLE, added=added)
    assert found == expected


# Log and mutable sources


def test_a_window_is_open_then_settling_then_proven(pipeline, things):
    cloud = things(Shape.MUTABLE)
    cloud.put("a", at("10:01"), n=1)
    assert run(pipeline, cloud, "10", "10:05").status == "open"
    assert run(pipeline, cloud, "10", "11:00:01").status == "open"  # read to a second before its end
    assert run(pipeline, cloud, "10", "11:00:02").status == "settling"
    assert run(pipeline, cloud, "10", "11:05").status == "settling"
    cloud.put("b", at("10:59"), n=1)
    assert run(pipeline, cloud, "10", "11:12").status == "settling"  # something was added
    assert run(pipeline, cloud, "10", "11:22").status == "proven"
    found = rows(
        pipeline,
        """select status, reason, rows, attempts, last_attempt_at, last_success_at, proven_to
        from timeline.coverage""",
    )
    assert found == [("proven", None, 2, 6, at("11:22"), at("11:22"), at("11:00"))]


def test_a_backfilled_window_needs_its_second_read_too(pipeline, things):
    cloud = things(Shape.LOG)
    assert run(pipeline, cloud, "05", "10:05").status == "settling"
    assert wanted(pipeline, {"things": cloud}, "10:14:59") == [("things", "22-10")]
    assert wanted(pipeline, {"things": cloud}, "10:15") == [("things", "22-10"), ("things", "22-05")]
    assert run(pipeline, cloud, "05", "10:15").status == "proven"
    assert rows(pipeline, "select read_to from raw.scans") == [(None,)]  # it says nothing of the hours after it
    assert run(pipeline, cloud, "10").status == "open"
    assert covered(pipeline).keys() == {"22 05", "22 10"}


def test_a_proven_window_stays_proven_when_it_cannot_be_read_again(pipeline, things):
    cloud = things(Shape.MUTABLE)
    run(pipeline, cloud, "08", "10:05")
    run(pipeline, cloud, "08", "10:06")
    cloud.error = failing()
    again = run(pipeline, cloud, "08", "10:07")
    assert (again.status, again.reason) == ("gap", "unreachable")
    assert covered(pipeline) == {"22 08": ("proven", None, 0)}


def test_hours_in_which_nobody_was_reading_are_gaps_and_are_read(pipeline, things):
    cloud = things(Shape.MUTABLE)
    run(pipeline, cloud, "05", "05:20")
    run(pipeline, cloud, "09", "09:00:30")
    assert covered(pipeline) == {
        "22 05": ("open", None, 0),
        "22 06": ("gap", "not_read", 0),
        "22 07": ("gap", "not_read", 0),
        "22 08": ("gap", "not_read", 0),
        "22 09": ("open", None, 0),
    }
    assert wanted(pipeline, {"things": cloud}, "09:00:40") == [
        ("things", "22-09"),
        ("things", "22-05"),
        ("things", "22-08"),
        ("things", "22-07"),
        ("things", "22-06"),
    ]
    assert run(pipeline, cloud, "07", "09:00:41").status == "settling"
    assert run(pipeline, cloud, "05", "09:00:42").status == "settling"
    assert [span.start for span in cloud.spans[-2:]] == [at("06:55"), at("05:14:58")]
    assert rows(pipeline, "select read_to from raw.scans") == [(at("09:00:40"),)]


# Snapshot sources


def scans(pipeline, cloud, *times: str, source=None) -> None:
    for time in times:
        run(pipeline, cloud, time[:2], time, source=source)


def test_an_hour_between_scans_close_enough_is_proven(pipeline, things):
    cloud = things(Shape.SNAPSHOT)
    source = cloud.source(interval=timedelta(minutes=15))
    scans(pipeline, cloud, "08:50", "09:20", "09:40", source=source)
    assert covered(pipeline) == {"22 08": ("unknown", "no_history", 0), "22 09": ("open", None, 0)}
    scans(pipeline, cloud, "10:05", source=source)
    assert covered(pipeline) == {
        "22 08": ("unknown", "no_history", 0),
        "22 09": ("proven", None, 0),
        "22 10": ("open", None, 0),
    }
    found = rows(
        pipeline,
        """select first_scan_at, last_scan_at, largest_gap_seconds, resolution_seconds, proven_to from timeline.coverage
        where window_start = %s""",
        at("09:00"),
    )
    assert found == [(at("09:20"), at("09:40"), 1800, 1800, at("10:00"))]
    assert run(pipeline, cloud, "09", source=source).status == "proven"
    assert len(cloud.spans) == 4  # a scan of now could tell nothing of then


def test_hours_between_scans_too_far_apart_are_gaps_with_the_time_between(pipeline, things):
    cloud = things(Shape.SNAPSHOT)
    source = cloud.source(interval=timedelta(minutes=15))
    scans(pipeline, cloud, "05:50", "06:10", "09:40", source=source)
    assert covered(pipeline) == {
        "22 05": ("unknown", "no_history", 0),
        "22 06": ("gap", "scan_interval_too_long", 0),
        "22 07": ("gap", "scan_interval_too_long", 0),
        "22 08": ("gap", "scan_interval_too_long", 0),
        "22 09": ("open", None, 0),
    }
    ((detail,),) = rows(pipeline, "select detail from timeline.coverage where window_start = %s", at("07:00"))
    assert detail == "12600 s between two scans; 1800 s at most would be proof"
    scans(pipeline, cloud, "09:55", "10:10", source=source)
    assert covered(pipeline)["22 09"] == ("gap", "scan_interval_too_long", 0)  # it was late for its beginning
    assert wanted(pipeline, {"things": cloud}, "10:30") == [("things", "22-10")]


def test_one_late_poll_of_a_source_that_is_polled_often_is_no_gap(pipeline, things):
    cloud = things(Shape.SNAPSHOT)
    source = cloud.source(interval=timedelta(seconds=1))
    minutes = [f"08:{minute}" for minute in range(54, 60, 2)] + [f"09:{minute:02}" for minute in range(0, 60, 2)]
    scans(pipeline, cloud, *minutes, "10:00", source=source)
    assert covered(pipeline)["22 09"] == ("proven", None, 0)
    scans(pipeline, cloud, "10:03", source=source)
    scans(pipeline, cloud, *(f"10:{minute:02}" for minute in range(5, 60, 2)), "11:00", source=source)
    assert covered(pipeline)["22 10"] == ("gap", "scan_interval_too_long", 0)


def test_a_failed_scan_is_a_gap_until_one_comes_soon_enough(pipeline, things):
    cloud = things(Shape.SNAPSHOT)
    source = cloud.source(interval=timedelta(minutes=20))
    scans(pipeline, cloud, "08:50", "09:20", source=source)
    cloud.error = failing("timeout")
    scans(pipeline, cloud, "09:40", source=source)
    assert covered(pipeline)["22 09"] == ("gap", "timeout", 0)
    cloud.error = None
    scans(pipeline, cloud, "09:59", "10:10", source=source)
    assert covered(pipeline)["22 09"] == ("proven", None, 0)
    cloud.error = failing("timeout")
    scans(pipeline, cloud, "10:30", source=source)
    cloud.error = None
    scans(pipeline, cloud, "12:10", source=source)
    assert covered(pipeline)["22 10"] == ("gap", "timeout", 0)  # why there was no scan
    assert covered(pipeline)["22 11"] == ("gap", "scan_interval_too_long", 0)


def test_an_hour_is_decided_by_a_scan_that_began_after_its_end(pipeline, things):
    cloud = things(Shape.SNAPSHOT)
    source = cloud.source(interval=timedelta(minutes=30))
    cloud.takes = timedelta(minutes=4)
    scans(pipeline, cloud, "08:55", "09:30", source=source)
    scans(pipeline, cloud, "09:58", source=source)  # to 10:02
    assert covered(pipeline)["22 09"] == ("open", None, 0)
    cloud.clock.now = at("10:20")
    harvest(pipeline, "east", source, hour("09"), reader=cloud, clock=cloud.clock)  # asked for, it is scanned
    assert covered(pipeline)["22 09"] == ("proven", None, 0)


def test_a_long_list_that_rests_between_its_readings_is_no_gap(pipeline, things):
    cloud = things(Shape.SNAPSHOT)
    cloud.takes = timedelta(seconds=31)
    for minute in range(55, 135, 5):
        when = at("09:00") + timedelta(minutes=minute)
        for is_resting in (False, True):
            cloud.is_resting, cloud.read_to = is_resting, when - timedelta(seconds=2) if is_resting else None
            run(pipeline, cloud, f"{when:%H}", f"{when + timedelta(minutes=2 * is_resting):%H:%M}")
            assert "gap" not in {status for status, *_ in covered(pipeline).values()}
    assert covered(pipeline)["22 10"][0] in ("settling", "proven")
    assert rows(pipeline, "select failures, reason from raw.scans") == [(0, None)]


# What is due


def test_open_windows_are_due_by_their_interval_and_wait_longer_after_failures(pipeline, things):
    cloud = things(Shape.SNAPSHOT)
    assert wanted(pipeline, {"things": cloud}, "10:05") == [("things", "22-10")]  # never read
    run(pipeline, cloud, "10", "10:05")
    assert wanted(pipeline, {"things": cloud}, "10:05:09") == []
    assert wanted(pipeline, {"things": cloud}, "10:05:10") == [("things", "22-10")]
    assert wanted(pipeline, {"things": cloud}, "11:00:00") == [("things", "22-11")]
    cloud.error = failing()
    run(pipeline, cloud, "10", "10:06")
    assert wanted(pipeline, {"things": cloud}, "10:06:19") == []
    assert wanted(pipeline, {"things": cloud}, "10:06:20") == [("things", "22-10")]
    for _ in range(10):
        run(pipeline, cloud, "10", "10:06")
    assert wanted(pipeline, {"things": cloud}, "10:10:59") == []
    assert wanted(pipeline, {"things": cloud}, "10:11") == [("things", "22-10")]
    cloud.error = None
    run(pipeline, cloud, "10", "10:11")
    assert wanted(pipeline, {"things": cloud}, "10:11:10") == [("things", "22-10")]


def test_who_asks_about_what_others_found_waits_until_they_were_read(pipeline, things):
    cloud = things(Shape.MUTABLE)
    asked, asking = cloud.source("things"), replace(cloud.source("askers"), reads=("things", "others"))
    assert due(pipeline, "east", [asking, asked], at("10:05")) == [(asked, Window(at("10:00")))]
    assert due(pipeline, "east", [asking], at("10:05")) == [(asking, Window(at("10:00")))]
    cloud.error = failing()
    run(pipeline, cloud, "10", "10:05")
    assert [source.name for source, _ in due(pipeline, "east", [asking, asked], at("10:05:01"))] == ["askers"]


def test_a_read_that_comes_back_and_proves_nothing_waits_longer_too(pipeline, things):
    cloud = things(Shape.MUTABLE)
    cloud.gap = "cell_down"
    for _ in range(11):
        run(pipeline, cloud, "10", "10:06")
    assert rows(pipeline, "select failures, reason, detail from raw.scans") == [(11, "cell_down", "why: cell_down")]
    assert wanted(pipeline, {"things": cloud}, "10:10:59") == []
    assert wanted(pipeline, {"things": cloud}, "10:11") == [("things", "22-10")]
    cloud.gap = None
    run(pipeline, cloud, "10", "10:11")
    assert rows(pipeline, "select failures, reason, detail from raw.scans") == [(0, None, None)]
    assert wanted(pipeline, {"things": cloud}, "10:11:10") == [("things", "22-10")]


def test_closed_windows_are_due_to_settle_and_gaps_again_after_growing_waits(pipeline, things):
    cloud = things(Shape.MUTABLE)
    run(pipeline, cloud, "09", "09:59:55")
    assert ("things", "22-09") not in wanted(pipeline, {"things": cloud}, "10:00:01")
    assert ("things", "22-09") in wanted(pipeline, {"things": cloud}, "10:00:05")
    cloud.error = failing()
    run(pipeline, cloud, "09", "10:00:05")
    # while a source fails, only its open window is tried
    assert wanted(pipeline, {"things": cloud}, "10:30") == [("things", "22-10")]
    cloud.error = None
    run(pipeline, cloud, "10", "10:00:30")
    assert wanted(pipeline, {"things": cloud}, "10:01:04") == [("things", "22-10")]
    assert wanted(pipeline, {"things": cloud}, "10:01:05") == [("things", "22-10"), ("things", "22-09")]
    cloud.error = failing("listing_moved")
    run(pipeline, cloud, "09", "10:10")
    cloud.error = None
    run(pipeline, cloud, "10", "10:10:01")
    assert ("things", "22-09") not in wanted(pipeline, {"things": cloud}, "10:19:59")
    assert ("things", "22-09") in wanted(pipeline, {"things": cloud}, "10:20")
    run(pipeline, cloud, "09", "10:20")
    assert ("things", "22-09") not in wanted(pipeline, {"things": cloud}, "10:29:59")
    assert ("things", "22-09") in wanted(pipeline, {"things": cloud}, "10:30")
    run(pipeline, cloud, "09", "10:30")
    assert covered(pipeline)["22 09"] == ("proven", None, 0)
    assert wanted(pipeline, {"things": cloud}, "10:59") == [("things", "22-10")]


def test_what_the_service_no_longer_keeps_is_not_asked_for(pipeline, things):
    cloud = things(Shape.LOG)
    cloud.error = failing()
    run(pipeline, cloud, "05", "10:00")
    cloud.error = None
    run(pipeline, cloud, "10", "10:00")
    source = cloud.source(retention=timedelta(hours=6))
    assert (source, hour("05")) in due(pipeline, "east", [source], at("11:59"))
    assert (source, hour("05")) not in due(pipeline, "east", [source], at("12:01"))


def test_open_windows_come_first_and_each_source_goes_its_own_way(pipeline, things):
    one, two = things(Shape.MUTABLE), things(Shape.SNAPSHOT)
    run(pipeline, one, "08", "10:00", source=one.source("one"))
    one.error = failing()
    run(pipeline, one, "10", "10:00", source=one.source("one"))
    clouds = {"one": one, "two": two}
    assert wanted(pipeline, clouds, "10:00:10") == [("two", "22-10")]
    assert wanted(pipeline, clouds, "10:30") == [("one", "22-10"), ("two", "22-10")]
    one.error = None
    run(pipeline, one, "10", "10:30", source=one.source("one"))
    assert wanted(pipeline, clouds, "10:31") == [("one", "22-10"), ("two", "22-10"), ("one", "22-08")]


def test_the_configuration_overrides_interval_and_settle_delay(pipeline, things):
    harvesting = pipeline.settings.harvest.model_copy(update={"poll_seconds": 60.0, "settle_seconds": 0})
    pipeline = replace(pipeline, settings=pipeline.settings.model_copy(update={"harvest": harvesting}))
    cloud = things(Shape.MUTABLE)
    run(pipeline, cloud, "10", "10:05")
    assert wanted(pipeline, {"things": cloud}, "10:05:59") == []
    assert wanted(pipeline, {"things": cloud}, "10:06") == [("things", "22-10")]
    run(pipeline, cloud, "10", "11:00:05")
    assert run(pipeline, cloud, "10", "11:00:06").status == "proven"


# What is shown


def test_the_status_of_every_source(pipeline, things):
    cloud = things(Shape.MUTABLE)
    run(pipeline, cloud, "05", "05:20")
    run(pipeline, cloud, "09", "09:00:30")
    run(pipeline, cloud, "07", "09:10")
    run(pipeline, cloud, "07", "09:11")
    cloud.error = failing("timeout")
    run(pipeline, cloud, "09", "09:20")
    found = status(pipeline, at("09:30")).to_dicts()
    assert found == [
        {
            "cloud": "east",
            "source": "things",
            "status": "gap",
            "read_to": at("09:10:58"),
            "lag_seconds": 1142.0,
            "proven_to": at("08:00"),
            "gaps": 3,
            "gap_reasons": "not_read: 2, timeout: 1",
            "oldest_gap_at": at("06:00"),
            "last_success_at": at("09:11"),
            "failures": 1,
            "reason": "timeout",
            "detail": "east: nobody answers",
        }
    ]


def test_a_tenant_sees_the_least_that_is_known_of_a_service(pipeline, things):
    query = """select service, to_char(window_start at time zone 'UTC', 'DD HH24'), status
        from timeline.tenant_coverage where cloud = 'east' order by 1, 2"""
    one, two = things(Shape.MUTABLE), things(Shape.MUTABLE)
    other = things(Shape.MUTABLE)
    run(pipeline, one, "08", "10:05", source=one.source("one"))
    run(pipeline, one, "08", "10:15", source=one.source("one"))
    run(pipeline, other, "08", "10:15", source=replace(other.source("other"), service="volume"))
    assert rows(pipeline, query) == [("compute", "22 08", "proven"), ("volume", "22 08", "settling")]
    two.error = failing()
    run(pipeline, two, "08", "10:15", source=two.source("two"))
    assert rows(pipeline, query)[0] == ("compute", "22 08", "gap")
    two.error = None
    run(pipeline, two, "08", "10:15", source=two.source("two"))
    assert rows(pipeline, query)[0] == ("compute", "22 08", "settling")
    run(pipeline, two, "08", "10:25", source=two.source("two"))
    assert rows(pipeline, query)[0] == ("compute", "22 08", "proven")


def test_refreshing_what_tenants_see_changes_no_row_that_is_right(pipeline, things):
    cloud = things(Shape.MUTABLE)
    run(pipeline, cloud, "10", "10:05")
    before = rows(pipeline, "select xmin::text from timeline.tenant_coverage")
    with pipeline.connect() as connection:
        refresh_tenants(Place(connection, "east", cloud.source()), [Window(at("10:00"))])
    assert rows(pipeline, "select xmin::text from timeline.tenant_coverage") == before
