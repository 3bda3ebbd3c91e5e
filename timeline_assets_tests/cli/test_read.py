"""`timeline status`, `events` and `explain`: what they show, what they leave out, and what they refuse to guess."""

import json
import re
from datetime import timedelta

import pytest
from rich.console import Console

from timeline_assets.cli import output, read
from timeline_assets_tests.cli.conftest import CLOUD, NOON, RAW_REF, event, event_id, resource


def titles(ran) -> list[str]:
    assert ran.code == 0, ran.err
    return [json.loads(line)["title"] for line in ran.out.splitlines()]


def owners(ran) -> list[str]:
    assert ran.code == 0, ran.err
    return [json.loads(line)["owner_project_id"] for line in ran.out.splitlines()]


def test_before_anything_was_harvested_every_reader_says_how_to_begin(timeline):
    for command in (["status"], ["events"], ["explain", "00000001"]):
        ran = timeline(*command)
        assert (ran.code, ran.out) == (1, "")
        assert ran.err == (
            "Error: there is no timeline yet: nothing was ever harvested here\n  Start it: timeline up\n"
        )


def test_events_show_the_newest_last_with_names_for_ids(told):
    ran = told("events", "--wide")
    assert ran.code == 0
    header, *rows = [re.split(r"\s{2,}", line) for line in ran.lines]
    assert header == ["time (UTC)", "level", "what", "type", "resource", "owner", "by", "event"]
    create, reboot, delete = (f"compute.instance.{action}.end" for action in ("create", "reboot", "delete"))
    acme, globex = ("s-acme", "acme/production", "alice"), ("s-globex", "globex/production", "alice")
    nobody = ("v-1", "quarantine", "human")
    assert rows == [
        ["11-22 12:00:00", "info", "Server web-1 created", create, *acme, str(event_id(1))],
        ["11-22 12:01:00", "info", "Server web-1 created", create, *globex, str(event_id(2))],
        ["11-22 12:02:00", "low", "Server web-1 rebooted", reboot, *acme, str(event_id(3))],
        ["11-22 12:03:00", "high", "Server web-1 deleted", delete, *acme, str(event_id(4))],
        ["11-22 12:05:00", "info", "Volume v-1 created", "volume.create.end", *nobody, str(event_id(6))],
    ]


def test_a_pipe_gets_the_columns_of_a_usual_screen_and_no_title_cut(told, database):
    long = "Server " + "long " * 40 + "deleted"
    with database.connect("pipeline") as connection:
        event(connection, 8, 7, long, "compute.instance.create.end", "s-acme", "p-acme")
    header, *_, last = [re.split(r"\s{2,}", line) for line in told("events").lines]
    assert header == ["time (UTC)", "level", "what", "owner", "by", "event"]
    assert last == ["11-22 12:07:00", "info", long, "acme/production", "alice", "00000008"]


def test_a_title_shows_the_name_its_record_did_not_say(told, database):
    with database.connect("pipeline") as connection:
        connection.execute(
            "update topology.resources set valid_from = %s, valid_to = %s where resource_id = 's-acme'",
            (NOON + timedelta(minutes=2), NOON + timedelta(minutes=8)),
        )
        connection.execute(
            """insert into topology.resources (cloud, resource_type, resource_id, name, valid_from, recorded_from)
            values (%s, 'server', 's-acme', 'web-2', %s, %s)""",
            (CLOUD, NOON + timedelta(minutes=8), NOON),
        )
        for number, minute in ((10, 1), (11, 8), (12, 9)):
            event(connection, number, minute, "Server s-acme paused", "compute.instance.pause.end", "s-acme", "p-acme")
        event(connection, 13, 10, "Server s-none paused", "compute.instance.pause.end", "s-none", "p-acme")
    shown = told("events", "--type", "*.pause.end").lines[1:]
    assert [line.split()[4] for line in shown] == ["web-1", "web-2", "web-2", "s-none"]
    assert told("explain", "00000010").lines[0] == "Server web-1 paused"
    assert titles(told("events", "--json", "--type", "*.pause.end"))[0] == "Server s-acme paused"


@pytest.mark.parametrize("width", [60, 80, 100, 140, 200])
def test_events_fit_the_terminal(told, database, monkeypatch, width):
    with database.connect("pipeline") as connection:
        event(connection, 8, 7, "Server " + "long " * 40, "compute.instance.create.end", "s-acme", "p-acme")
    for module in (read, output):
        monkeypatch.setattr(module, "console", lambda **_: Console(width=width, highlight=False))
    ran = told("events")
    assert max(len(line) for line in ran.lines) <= width
    assert [line.split()[-1] for line in ran.lines[1:]] == [
        "00000001",
        "00000002",
        "00000003",
        "00000004",
        "00000006",
        "00000008",
    ]
    assert all(re.match(r"11-22 12:0\d:00  (info|low|high) ", line) for line in ran.lines[1:])
    assert ("compute.instance.reboot.end" in ran.out, "alice" in ran.out) == (width >= 130, width >= 100)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--tenant", "acme/production"], ["p-acme"] * 3),
        (["--tenant", "d-globex/production"], ["p-globex"]),
        (["--tenant", "p-globex"], ["p-globex"]),
        (["--tenant", "lab"], []),
        (["--resource", "s-globex"], ["p-globex"]),
        (["--resource", "web-1", "--tenant", "p-acme"], ["p-acme"] * 3),
        (["--type", "compute.instance.create*"], ["p-acme", "p-globex"]),
        (["--type", "volume_create%"], []),
        (["--severity", "low"], ["p-acme", "p-acme"]),
        (["--severity", "4"], ["p-acme"]),
        (["--since", "2026-11-22T12:01", "--until", "2026-11-22T12:03"], ["p-globex", "p-acme"]),
        (["--since", "2026-11-22T13:05+01:00"], [None]),
        (["--limit", "1"], [None]),
        (["--cloud", CLOUD, "--limit", "2"], ["p-acme", None]),
        (["--steps", "--type", "*.step"], ["p-acme"]),
    ],
)
def test_events_are_narrowed(told, arguments, expected):
    assert owners(told("events", "--json", *arguments)) == expected


def test_json_has_every_column_and_instants_in_utc(told, database):
    [row] = [json.loads(line) for line in told("events", "--json", "--severity", "high").out.splitlines()]
    with database.connect("provider") as connection:
        assert list(row) == [
            column.name for column in connection.execute("select * from timeline.events limit 0").description
        ]
    assert row["event_id"] == str(event_id(4))
    assert row["occurred_at"] == "2026-11-22T12:03:00Z"
    assert row["witnesses"] == []


def test_a_name_that_is_two_things_is_not_guessed(told):
    ran = told("events", "--tenant", "production")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.splitlines()[:3] == [
        "Error: project 'production' is 2 things; which one?",
        "  project p-acme  acme/production  (cloud north)",
        "  project p-globex  globex/production  (cloud north)",
    ]
    ran = told("events", "--resource", "web-1")
    assert ran.code == 2
    assert "server s-acme  acme/production/web-1  (cloud north)" in ran.err


def test_a_name_of_two_servers_of_one_project_means_both(told, database):
    with database.connect("pipeline") as connection:
        resource(connection, "server", "s-acme-2", "web-1", project_id="p-acme")
        connection.execute(
            """update topology.resources set valid_from = %s + case resource_id when 's-acme' then interval '1 minute'
                else interval '0' end, valid_to = case resource_id when 's-acme-2' then %s::timestamptz end
            where resource_id in ('s-acme', 's-acme-2')""",
            (NOON, NOON + timedelta(minutes=7)),
        )
        event(connection, 7, 6, "Server web-1 created again", "compute.instance.create.end", "s-acme-2", "p-acme")
    ran = told("events", "--json", "--resource", "web-1", "--tenant", "acme/production")
    assert len(titles(ran)) == 4
    assert ran.err.splitlines() == [
        "2 servers bear or bore the name acme/production/web-1:",
        "  s-acme-2  2026-11-22 12:00:00 to 2026-11-22 12:07:00",
        "  s-acme  2026-11-22 12:01:00 to now",
    ]
    assert told("events", "--resource", "web-1").code == 2, "globex has one, too"


def test_more_than_the_limit_is_said_beside_the_answer(told):
    ran = told("events", "--limit", "2", "--json")
    assert titles(ran) == ["Server web-1 deleted", "Volume v-1 created"]
    assert ran.err.startswith("The newest 2; there are more")


def test_nothing_found_is_said_beside_the_answer(told):
    ran = told("events", "--tenant", "lab")
    assert (ran.code, ran.out, ran.err) == (0, "", "No events match.\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--cloud", "south"], "there is no cloud 'south'"),
        (["--tenant", "nobody"], "there is no project 'nobody'"),
        (["--resource", "nothing"], "there is no resource 'nothing'"),
        (["--severity", "bad"], "--severity 'bad' is no severity"),
        (["--since", "soon"], "--since 'soon' is no time"),
        (["--since", "1h", "--until", "2h"], "is not after --since"),
    ],
)
def test_what_cannot_be_understood_is_named(told, arguments, said):
    ran = told("events", *arguments)
    assert (ran.code, ran.out) == (2, "")
    assert said in ran.err
    assert "Traceback" not in ran.err


def test_a_glob_is_no_pattern_of_sql():
    assert read._like("a_b%*?\\") == r"a\_b\%%_\\"


def test_explain_tells_who_why_and_on_what_evidence(told):
    ran = told("explain", "00000001")
    assert ran.code == 0
    assert ran.lines == [
        "Server web-1 created",
        f"  event       {event_id(1)}",
        "  type        compute.instance.create.end, info, success",
        "  when (UTC)  2026-11-22 12:00:00",
        "  resource    server web-1 s-acme",
        "  by          human alice (u-acme)",
        f"  record      {RAW_REF}",
        "",
        "Owner: acme/production",
        "  ids         p-acme d-acme",
        "  rule        resource_interval, certain",
        "  because     it owned s-acme then",
        "  path        server s-acme",
        "  evidence    project_id = p-acme",
        ran.lines[14],
    ]
    assert re.fullmatch(
        r"  decided     \d{4}-\d\d-\d\d [\d:]{8}, on the topology as believed 2026-11-22 12:00:00", ran.lines[14]
    )


def test_explain_says_what_would_release_from_quarantine(told):
    ran = told("explain", str(event_id(6)))
    assert ran.lines[-4:] == [
        "In quarantine: its owner is not proven",
        "  reason      NO_EVIDENCE",
        "  detail      nobody knows v-1",
        "  released by a listing or a message that shows this resource and its owner",
    ]


def test_explain_as_json(told):
    document = json.loads(told("explain", "00000001", "--json").out)
    assert document["event"]["title"] == "Server web-1 created"
    assert document["attributions"][0]["rule"] == "resource_interval"
    assert document["quarantine"] is None


def test_explain_with_a_record_that_is_retired(told):
    ran = told("explain", "00000001", "--record")
    assert ran.lines[-2:] == [f"Record {RAW_REF}", "  no longer kept: it is past its retention"]
    assert json.loads(told("explain", "00000001", "--record", "--json").out)["record"] is None


def test_an_unknown_kind_of_actor_is_not_said(told, database):
    with database.connect("pipeline") as connection:
        event(connection, 14, 9, "X", "x", "s-acme", "p-acme", actor_kind="unknown")
    assert "  by          alice (u-acme)" in told("explain", "00000014").lines


@pytest.mark.parametrize(("asked", "code"), [("0", 2), ("zzzzzzzz", 2), ("99999999", 1)])
def test_explain_of_no_event(told, asked, code):
    ran = told("explain", asked)
    assert (ran.code, ran.out) == (code, "")
    assert "Error: " in ran.err


def test_status_without_a_reading(told):
    ran = told("status")
    assert ran.code == 0
    assert ran.lines[0] == "Not running: nothing is being harvested. Start it with: timeline up"
    assert "No source has been read yet." in ran.lines
    assert ran.lines[-2].split() == ["cloud", "reason", "events", "oldest", "(UTC)", "newest", "(UTC)"]
    assert re.split(r"\s{2,}", ran.lines[-1]) == [
        *("north", "NO_EVIDENCE", "1", "2026-11-22 12:05:00", "2026-11-22 12:05:00")
    ]


def test_status_shows_how_far_each_source_is_and_why_not_further(told, database):
    with database.connect("pipeline") as connection:
        connection.execute(
            """insert into raw.scans (cloud, source, read_to, failures, reason, detail)
            values ('north', 'nova_servers', now() - interval '90 s', 2, 'unreachable', 'north: no answer')"""
        )
        connection.execute(
            """insert into timeline.coverage (cloud, source, service, window_start, window_end, status, reason)
            select 'north', 'nova_servers', 'compute', start, start + interval '1 h', status, reason
            from (values (timestamptz '2026-11-22 10:00Z', 'proven', null),
                (timestamptz '2026-11-22 11:00Z', 'gap', 'unreachable')) as w(start, status, reason)"""
        )
    ran = told("status")
    row = next(line for line in ran.lines if "nova_servers" in line)
    assert re.split(r"\s{2,}", row)[:3] == ["north nova_servers", "gap", "2026-11-22 11:00"]
    assert re.search(r"1 min 3\d s\s+1\s+unreachable: 1$", row)
    assert "north nova_servers failed 2 times in a row: north: no answer" in ran.lines
    document = json.loads(told("status", "--json").out)
    assert document["up"] is None
    assert document["sources"][0]["gap_reasons"] == "unreachable: 1"
    assert document["quarantine"][0]["events"] == 1
    assert json.loads(told("status", "--json", "--cloud", CLOUD).out)["sources"]
    assert told("status", "--cloud", "south").code == 2
