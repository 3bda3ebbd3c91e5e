"""What is particular to Nova: what an action is, which servers are asked about, and what only a listing tells."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from timeline_assets.errors import SourceError
from timeline_assets.normalize.registry import REGISTRY, describe
from timeline_assets.normalize.registry.compute import ACTIONS, MIGRATIONS
from timeline_assets.sources import nova_instance_actions, nova_migrations, nova_servers, nova_services
from timeline_assets.sources.base import Span
from timeline_assets.topology.intervals import believe
from timeline_assets_tests.sources.fakecloud import Answer
from timeline_assets_tests.sources.looks import at, looks, prove, recorded, tell, told_at
from timeline_assets_tests.sources.recordings import replay, scans

SERVERS, ACTIONS_OF = "compute/v2.1/servers/detail", re.compile(r"compute/v2\.1/servers/([^/]+)/os-instance-actions$")
NOW = at(300)
OPEN = Span(at(-600), at(3600), NOW, is_open=True)
PAST = Span(at(-7200), at(-3600), NOW, is_open=False)

#: nova/compute/instance_actions.py, all releases.
NOVA_KNOWS = (
    *("attach_interface", "attach_volume", "changePassword", "confirmResize", "create", "createBackup", "createImage"),
    *("delete", "detach_interface", "detach_volume", "evacuate", "extend_volume", "live-migration"),
    *("live_migration_cancel", "live_migration_force_complete", "lock", "migrate", "pause", "reboot", "rebuild"),
    *("refresh_volume_attachment", "rescue", "resetState", "resize", "restore", "resume", "revertResize", "shelve"),
    *("shelveOffload", "start", "stop", "suspend", "swap_volume", "trigger_crash_dump", "unlock", "unpause"),
    *("unrescue", "unshelve"),
)


# What an action is --------------------------------------------------------------------------------------------------


def event(
    name: str, began: int, ended: int | None = None, result: str | None = "Success", **more: Any
) -> dict[str, Any]:
    finish = None if ended is None else told_at(ended)
    return {
        "event": name,
        "start_time": told_at(began),
        "finish_time": finish,
        "result": result if finish else None,
        "host": "compute1",
        "details": None,
    } | more


def action(
    name: str, *events: Mapping[str, Any], server: str = "s1", request: str = "req-1", **more: Any
) -> dict[str, Any]:
    """An action as Nova shows it with its events, newest first."""
    ends = [one["finish_time"] for one in events if one["finish_time"]]
    return {
        "action": name,
        "instance_uuid": server,
        "request_id": request,
        "user_id": "alice",
        "project_id": "theirs",
        "start_time": told_at(0),
        "updated_at": max(ends, default=told_at(0)),
        "message": "Error" if any(one["result"] == "Error" for one in events) else None,
        "events": list(events),
    } | more


def told_of(body: Mapping[str, Any]) -> tuple[str, str, Any]:
    """Type, outcome and end (seconds after ten) of one action."""
    facts = tell(nova_instance_actions.SOURCE, looks(nova_instance_actions.SOURCE, (300, [body]), key=KEY))
    ended = facts["ended_at"].item()
    return facts["event_type"].item(), facts["outcome"].item(), ended and (ended - at(0)).total_seconds()


KEY = "instance_uuid/request_id"
BUILD = "compute__do_build_and_run_instance"


def test_every_action_that_nova_knows_has_a_type():
    assert set(NOVA_KNOWS) == set(ACTIONS)
    spans = {
        f"{name}.{phase}" for name in (*ACTIONS.values(), *MIGRATIONS.values()) for phase in ("start", "end", "error")
    }
    assert spans <= set(REGISTRY)
    assert len(set(ACTIONS.values())) == len(ACTIONS)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (action("reboot"), ("compute.instance.reboot.start", "pending", None)),
        (action("reboot", event("compute_reboot_instance", 1)), ("compute.instance.reboot.start", "pending", None)),
        (action("reboot", event("compute_reboot_instance", 1, 9)), ("compute.instance.reboot.end", "success", 9)),
        (
            action("reboot", event("compute_reboot_instance", 1, 9, "Error")),
            ("compute.instance.reboot.error", "failure", 9),
        ),
        # each step begins after the one before has ended: between two of them nothing runs, and yet it is not over
        (
            action("resize", event("cold_migrate", 1, 2), event("conductor_migrate_server", 1, 2)),
            ("compute.instance.resize.start", "pending", None),
        ),
        (
            action("resize", event("compute_finish_resize", 5, 8), event("cold_migrate", 1, 2)),
            ("compute.instance.resize.end", "success", 8),
        ),
        (
            action("live-migration", event("compute_rollback_live_migration_at_destination", 5, 6)),
            ("compute.instance.live_migration.error", "failure", 6),
        ),
        # the second attempt of a build runs; then it ends, as Nova writes it, the event of the first one
        (action("create", event(BUILD, 5), event(BUILD, 1, 4)), ("compute.instance.create.start", "pending", None)),
        (action("create", event(BUILD, 5), event(BUILD, 1, 9)), ("compute.instance.create.end", "success", 9)),
        (
            action("create", event(BUILD, 5), event(BUILD, 1, 9), server_is={"status": "ERROR"}),
            ("compute.instance.create.error", "failure", 9),
        ),
        (
            action("create", event(BUILD, 1, 9), server_is={"status": "ERROR", "OS-SRV-USG:launched_at": told_at(9)}),
            ("compute.instance.create.end", "success", 9),
        ),
        (
            action("delete", server_is={"status": "DELETED", "OS-SRV-USG:terminated_at": told_at(7)}),
            ("compute.instance.delete.end", "success", 7),
        ),
        # the server's record is older than the action's: it will tell how the build ended
        (
            action("create", event(BUILD, 1, 9), server_is={"status": "BUILD"}),
            ("compute.instance.create.start", "pending", None),
        ),
        (action("delete", server_is={"status": "ACTIVE"}), ("compute.instance.delete.start", "pending", None)),
        (action("resetState"), ("compute.instance.reset_state.end", "success", 0)),
    ],
)
def test_an_action_is_over_when_its_last_step_is(body, told):
    if "server_is" in body:
        body["server"] = body.pop("server_is")
    assert told_of(body) == told


def test_one_that_is_finished_later_is_the_same_event():
    source = nova_instance_actions.SOURCE
    frame = looks(
        source,
        (10, [action("reboot", event("compute_reboot_instance", 1))]),
        (20, [action("reboot", event("compute_reboot_instance", 1, 12))]),
        key=KEY,
    )
    begun, ended = tell(source, frame[:1]), tell(source, frame[1:])
    assert begun["event_id"].item() == ended["event_id"].item()
    assert (begun["phase"].item(), ended["phase"].item()) == ("start", "end")
    assert (begun["occurred_at"].item(), ended["occurred_at"].item()) == (at(0), at(0))
    assert (begun["ended_at"].item(), ended["ended_at"].item()) == (None, at(12))
    assert tell(source, frame).equals(ended)


def test_an_action_of_a_later_release_is_kept_under_its_own_name():
    source = nova_instance_actions.SOURCE
    facts = tell(source, looks(source, (20, [action("attach_share", event("compute_allow_share", 1, 2))]), key=KEY))
    shown = describe(facts.lazy()).collect()
    assert (shown["event_type"].item(), shown["severity"].item()) == ("unmapped.compute.instance.attach_share.end", 0)


def test_who_acted_is_no_owner_and_nobody_is_the_system():
    source = nova_instance_actions.SOURCE
    acted = action("stop", event("compute_stop_instance", 1, 2))
    by_itself = action("start", event("compute_start_instance", 1, 2), request="req-2", user_id=None, project_id=None)
    facts = tell(source, looks(source, (20, [acted, by_itself]), key=KEY)).sort("request_id")
    assert facts["actor_user_id"].to_list() == ["alice", None]
    assert facts["actor_project_id"].to_list() == ["theirs", None]
    assert facts["actor_kind"].to_list() == ["unknown", "system"]
    assert facts["payload_project_id"].to_list() == [None, None]


def test_a_creation_proves_that_the_server_was_asked_for_and_where_it_began():
    source = nova_instance_actions.SOURCE
    claims = prove(source, looks(source, (20, [action("create", event(BUILD, 3, 8))]), key=KEY)).sort("claim")
    assert claims.select("claim", "resource_type", "resource_id", "at", "relation", "to_ids").rows() == [
        ("created", "server", "s1", at(0), None, None),
        ("edge_since", "server", "s1", at(8), "runs_on", ["compute1"]),
    ]


# Which servers are asked about --------------------------------------------------------------------------------------


class Nova:
    """A cloud's servers and their actions behind a fake cloud, and what the raw stage would say of them."""

    def __init__(self, cloud: Any, reading: Any) -> None:
        self.cloud, self.reading = cloud, reading
        self.known: dict[str, dict[str, Any]] = {}
        self.changes: dict[str, list[dict[str, Any]]] = {}
        self.cursor: Mapping[str, Any] = {"polled_at": OPEN.start.isoformat()}
        self.malformed: list[str] = []
        self.clock: Callable[[], datetime] | None = None
        self.since: list[datetime] = []
        cloud.answers["compute/v2.1/servers"] = {"servers": []}

    def has(self, server: str, *actions: Mapping[str, Any], status: str = "ACTIVE", **more: Any) -> None:
        """There is such a server, and this was done to it."""
        self.known[server] = {"id": server, "name": f"name of {server}", "status": status, **more}
        path = f"compute/v2.1/servers/{server}/os-instance-actions"
        rows = [{name: value for name, value in one.items() if name != "events"} for one in actions]
        self.cloud.answers[path] = {"instanceActions": rows}
        for one in actions:
            self.cloud.answers[f"{path}/{one['request_id']}"] = {"instanceAction": one}

    def poll(self, span: Span = OPEN) -> dict[str, Any]:
        """One fetch: its records by key."""
        self.cloud.requests.clear()
        reader = self.reading(
            "nova_instance_actions",
            cursor=self.cursor,
            latest=lambda source, after=None, limit=None, since=None: _frame(
                [b for b in self._of(source) if b["id"] > (after or "")][:limit]
            ),
            changed=self._changed,
            **({"clock": self.clock} if self.clock else {}),
        )
        self.malformed = []
        fetched = nova_instance_actions.fetch(reader, span)
        self.cursor = json.loads(json.dumps(fetched.cursor))
        self.malformed = [reason for reason, _ in fetched.malformed]
        return {record.key: record.body for record in fetched.records}

    def calls(self) -> int:
        """What the last poll sent to Nova."""
        return sum(one.path.startswith("compute/") for one in self.cloud.requests)

    def asked(self) -> dict[str, Mapping[str, list[str]]]:
        """The servers whose actions were listed by the last poll, with the query."""
        found = ((ACTIONS_OF.match(one.path), one.query) for one in self.cloud.requests)
        return {match[1]: query for match, query in found if match}

    def _changed(self, source: str, since: datetime) -> pl.DataFrame:
        self.since.append(since)
        return _frame(self.changes.get(source, []))

    def _of(self, source: str) -> list[dict[str, Any]]:
        return [self.known[key] for key in sorted(self.known)] if source == "nova_servers" else []


def _frame(bodies: Iterable[Mapping[str, Any]]) -> pl.DataFrame:
    rows = [{"key": body["id"], "body": json.dumps(body)} for body in bodies]
    return pl.DataFrame(rows, schema={"key": pl.String, "body": pl.String})


@pytest.fixture
def nova(cloud, reading) -> Nova:
    return Nova(cloud, reading)


@pytest.fixture
def no_sweep(monkeypatch) -> None:
    monkeypatch.setattr(nova_instance_actions, "_next_in_turn", lambda *_: [])


def test_an_idle_cloud_costs_the_sweep_and_no_more(nova, monkeypatch):
    monkeypatch.setattr(nova_instance_actions, "SWEEP_SERVERS", 4)
    reboot = action("reboot", event("compute_reboot_instance", 1, 9))
    for number in range(10):
        nova.has(f"s{number}", {**reboot, "instance_uuid": f"s{number}"})
    nova.has("s9-gone", status="DELETED")
    first = [sorted(record.split("/")[0] for record in nova.poll()) for _ in range(3)]
    assert first == [["s0", "s1", "s2", "s3"], ["s4", "s5", "s6", "s7"], ["s8", "s9"]]
    for server in list(nova.known):
        nova.cloud.answers[f"compute/v2.1/servers/{server}/os-instance-actions"] = {"instanceActions": []}
    for expected in (["s0", "s1", "s2", "s3"], ["s4", "s5", "s6", "s7"], ["s8", "s9"], ["s0", "s1", "s2", "s3"]):
        assert nova.poll() == {}
        assert sorted(nova.asked()) == expected
        assert nova.calls() == len(expected)


def test_the_first_turn_asks_for_everything_and_the_next_since_the_one_before(nova):
    nova.has("s1")
    since = []
    for minutes in range(3):
        now = NOW + timedelta(minutes=minutes)
        nova.poll(Span(OPEN.start, OPEN.end, now, is_open=True))
        since.append(nova.asked()["s1"].get("changes-since"))
    assert since == [None, ["2026-11-22T10:03:00Z"], ["2026-11-22T10:04:00Z"]]


def test_a_turn_before_any_server_was_read_is_not_the_first(nova):
    nova.poll()
    nova.has("s1")
    nova.poll()
    assert "changes-since" not in nova.asked()["s1"]


def test_the_first_poll_asks_about_every_server_that_may_have_been_acted_on_in_the_window(nova, no_sweep):
    nova.cursor = {}
    nova.has("gone", status="DELETED", created="2026-11-22T09:51:00Z", updated="2026-11-22T09:58:00Z")
    nova.has("busy", created="2026-11-21T09:51:00Z", updated="2026-11-22T09:50:00Z")
    nova.has("quiet", created="2026-11-21T09:51:00Z", updated="2026-11-22T09:49:59Z")
    nova.poll()
    assert nova.asked() == {key: {"changes-since": ["2026-11-22T09:50:00Z"]} for key in ("busy", "gone")}


def test_servers_that_changed_or_are_named_by_what_changed_are_asked_about(nova, no_sweep):
    for server in ("changed", "attached", "wired", "moved", "idle"):
        nova.has(server)
    nova.changes = {
        "nova_servers": [nova.known["changed"]],
        "cinder_volumes": [{"id": "v1", "attachments": [{"server_id": "attached"}]}, {"id": "v2", "attachments": None}],
        "neutron_ports": [
            {"id": "p1", "device_owner": "compute:nova", "device_id": "wired"},
            {"id": "p2", "device_owner": "network:dhcp", "device_id": "idle"},
        ],
        "nova_migrations": [{"id": "m1", "instance_uuid": "moved"}],
    }
    nova.poll()
    assert sorted(nova.asked()) == ["attached", "changed", "moved", "wired"]
    assert nova.asked()["changed"] == {"changes-since": ["2026-11-22T09:50:00Z"]}


def test_an_action_is_read_again_while_it_runs_and_not_after(nova, no_sweep):
    nova.has("s1", action("reboot", event("compute_reboot_instance", 0)))
    nova.changes = {"nova_servers": [nova.known["s1"]]}
    assert list(nova.poll()) == ["s1/req-1"]
    nova.changes = {}
    # it ends within the second in which it began: nothing in the list tells
    nova.has("s1", action("reboot", event("compute_reboot_instance", 0, 0)))
    assert nova.poll()["s1/req-1"]["events"][0]["result"] == "Success"
    assert nova.poll() == {}
    assert nova.asked() == {}
    nova.changes = {"nova_servers": [nova.known["s1"]]}
    assert nova.poll() == {}
    assert nova.calls() == 1


def test_a_build_that_failed_in_silence_is_read_again_when_its_server_shows_it(nova, no_sweep):
    built = action("create", event(BUILD, 1, 9))
    for status, outcome in (("BUILD", "pending"), ("ERROR", "failure")):
        nova.has("s1", built, status=status, **{"OS-SRV-USG:launched_at": None})
        nova.changes = {"nova_servers": [nova.known["s1"]]}
        assert told_of(nova.poll()["s1/req-1"])[1] == outcome


def test_a_server_that_was_purged_meanwhile_is_no_error(nova):
    nova.has("s1")
    nova.cloud.answers.pop("compute/v2.1/servers/s1/os-instance-actions")
    assert nova.poll() == {}


def test_a_server_with_more_actions_than_a_page_holds(nova):
    nova.has("s1", *(action("reboot", event("compute_reboot_instance", 1, 9), request=f"req-{n}") for n in range(3)))
    path = "compute/v2.1/servers/s1/os-instance-actions"
    rows = nova.cloud.answers[path]["instanceActions"]

    def page(query: Mapping[str, list[str]]) -> Answer:
        first = [row["request_id"] for row in rows].index(query["marker"][0]) + 1 if "marker" in query else 0
        more = {"links": [{"rel": "next", "href": "http://x"}]} if first + 2 < len(rows) else {}
        return Answer({"instanceActions": rows[first : first + 2], **more})

    nova.cloud.answers[path] = page
    assert sorted(nova.poll()) == ["s1/req-0", "s1/req-1", "s1/req-2"]


def test_a_list_of_actions_that_moves_is_begun_again_once_and_never_taken_for_whole(nova):
    nova.has("s1", *(action("reboot", event("compute_reboot_instance", 1, 9), request=f"req-{n}") for n in range(2)))
    path = "compute/v2.1/servers/s1/os-instance-actions"
    rows = nova.cloud.answers[path]["instanceActions"]
    first = Answer({"instanceActions": rows[:1], "links": [{"rel": "next", "href": "http://x"}]})
    refused = Answer({"badRequest": {"message": "marker [req-0] not found"}}, 400)
    nova.cloud.answers[path] = [first, refused, first, Answer({"instanceActions": rows[1:]})]
    assert sorted(nova.poll()) == ["s1/req-0", "s1/req-1"]
    nova.cursor = {}
    for pages in ([first, refused, first, refused], [first]):  # refused again, and leading in a circle
        nova.cloud.answers[path] = pages
        with pytest.raises(SourceError) as caught:
            nova.poll()
        assert caught.value.code == "listing_moved"


def test_what_no_record_may_say_keeps_nobody_from_being_asked_about(nova, no_sweep):
    for server in ("attached", "wired", "moved"):
        nova.has(server)
    odd = (None, 7, "text", ["list"], {"an": "object"}, [None, 7, "text", {"server_id": ["a list"]}, {}], "x" * 300)
    nova.changes = {
        "cinder_volumes": [{"id": f"v{n}", "attachments": value} for n, value in enumerate(odd)]
        + [{"id": "v", "attachments": ["no object", {"server_id": "attached"}]}],
        "neutron_ports": [
            {"id": f"p{n}", "device_owner": "compute:nova", "device_id": value} for n, value in enumerate(odd)
        ]
        + [{"id": "p", "device_owner": "compute:nova", "device_id": "wired"}],
        "nova_migrations": [{"id": f"m{n}", "instance_uuid": value} for n, value in enumerate(odd)]
        + [{"id": "m", "instance_uuid": "moved"}],
    }
    nova.poll()
    assert sorted(nova.asked()) == ["attached", "moved", "text", "wired"]
    past = {source: {one["id"]: one for one in found} for source, found in nova.changes.items()}
    nova._of = lambda source: list(past.get(source, {}).values())
    nova.poll(PAST)
    assert sorted(nova.asked()) == ["attached", "moved", "text"]  # a past window asks no ports


def test_an_id_that_leads_elsewhere_is_asked_for_as_it_is(nova, no_sweep):
    nova.changes = {"nova_migrations": [{"id": "m1", "instance_uuid": "../flavors?x=/"}]}
    nova.poll()
    [asked] = [one.path for one in nova.cloud.requests if "os-instance-actions" in one.path]
    assert asked == "compute/v2.1/servers/..%2Fflavors%3Fx%3D%2F/os-instance-actions"


@pytest.mark.parametrize(
    "odd",
    [
        {"events": "a text"},
        {"events": ["a text"]},
        {"events": [{"event": ["a list"]}]},
        {"action": None},
        {"action": ["a list"]},
        {"start_time": "soon", "events": []},
        {"updated_at": "0001-01-01T00:00:00+14:00"},
        {"message": {"an": "object"}},
    ],
)
def test_an_action_that_nobody_can_read_is_in_the_way_of_no_other(nova, no_sweep, odd):
    reboot = event("compute_reboot_instance", 1)
    bad = (
        action("reboot", request="req-bad", **{"events": [reboot]} | odd)
        if "events" not in odd
        else {
            **action("reboot", request="req-bad"),
            **odd,
        }
    )
    nova.has("s1", action("reboot", reboot, request="req-good"), bad)
    nova.changes = {"nova_servers": [nova.known["s1"]]}
    assert sorted(nova.poll()) == ["s1/req-bad", "s1/req-good"]
    assert "s1/req-good" in nova.cursor["running"]


@pytest.mark.parametrize("detail", [{}, {"instanceAction": None}, {"instanceAction": "text"}, [], "text", 7])
def test_a_detail_that_is_no_action_is_set_apart_and_asked_for_again(nova, no_sweep, detail):
    nova.has("s1", *(action("reboot", event("compute_reboot_instance", 1, 9), request=f"req-{n}") for n in range(2)))
    nova.changes = {"nova_servers": [nova.known["s1"]]}
    whole = nova.cloud.answers["compute/v2.1/servers/s1/os-instance-actions/req-0"]
    nova.cloud.answers["compute/v2.1/servers/s1/os-instance-actions/req-0"] = Answer(json.dumps(detail))
    assert list(nova.poll()) == ["s1/req-1"]
    assert len(nova.malformed) == 1
    nova.cloud.answers["compute/v2.1/servers/s1/os-instance-actions/req-0"] = whole
    assert list(nova.poll()) == ["s1/req-0"]


@pytest.mark.parametrize("listed", [[], "text", {"instanceActions": "text"}, {"instanceActions": {}}, {}])
def test_a_list_of_actions_that_is_none_is_in_the_way_of_no_other_server(nova, no_sweep, listed):
    nova.has("s1", action("reboot", event("compute_reboot_instance", 1, 9)))
    nova.has("s2")
    nova.cloud.answers["compute/v2.1/servers/s2/os-instance-actions"] = Answer(json.dumps(listed))
    nova.changes = {"nova_servers": list(nova.known.values())}
    assert list(nova.poll()) == ["s1/req-1"]
    assert len(nova.malformed) == 1


def test_an_action_without_a_request_is_set_apart(nova, no_sweep):
    good = action("reboot", event("compute_reboot_instance", 1, 9))
    nova.has("s1", good)
    listed = nova.cloud.answers["compute/v2.1/servers/s1/os-instance-actions"]["instanceActions"]
    listed += ["text", {}, {"request_id": None}, {"request_id": ["a list"]}]
    nova.changes = {"nova_servers": [nova.known["s1"]]}
    assert list(nova.poll()) == ["s1/req-1"]
    assert len(nova.malformed) == 4


def test_what_is_remembered_holds_no_secret_and_nothing_that_cannot_be_stored(nova, no_sweep):
    reboot = action("reboot", event("compute_reboot_instance", 1, 9), message="bad\x00 password=hunter2", events=[])
    nova.has("s1", reboot)
    nova.changes = {"nova_servers": [nova.known["s1"]]}
    nova.poll()
    assert nova.cursor["seen"]
    assert "\\u0000" not in json.dumps(nova.cursor)
    assert "hunter2" not in json.dumps(nova.cursor)


@pytest.mark.parametrize("ahead", [-90, 0, 300])
def test_since_the_last_poll_is_asked_by_the_clock_that_dates_what_was_observed(nova, no_sweep, ahead):
    nova.cloud.ahead_seconds = ahead
    nova.clock = lambda: datetime.now(UTC)
    nova.has("s1", action("reboot", event("compute_reboot_instance", 1)))
    nova.changes = {"nova_servers": [nova.known["s1"]]}
    nova.poll()
    nova.since.clear()
    nova.poll(Span(OPEN.start, OPEN.end, NOW + timedelta(seconds=10), is_open=True))
    [since] = set(nova.since)
    assert abs(since - (NOW - nova_instance_actions.LATE + timedelta(seconds=ahead))) <= timedelta(seconds=2)


def test_a_past_window_asks_about_the_servers_that_lived_in_it(nova):
    nova.has("before", created=told_at(-9000), updated=told_at(-8000), status="DELETED")
    nova.has("within", created=told_at(-9000), updated=told_at(-5000))
    nova.has("since", created=told_at(-9000), updated=told_at(-60))
    nova.has("after", created=told_at(-3000), updated=told_at(-60))
    nova.poll(PAST)
    window = {"changes-since": ["2026-11-22T08:00:00Z"], "changes-before": ["2026-11-22T09:00:00Z"]}
    assert nova.asked() == {"since": window, "within": window}
    assert set(nova.cursor) == {"microversion", "polled_at"}


def test_an_older_cloud_is_asked_in_its_own_words(nova):
    refused = Answer({"computeFault": {"message": "too new"}}, 406)
    nova.cloud.answers["compute/v2.1/servers"] = [refused, Answer({"servers": []})]
    nova.poll()
    assert nova.cursor["microversion"] == "2.62"


# What only a listing tells ------------------------------------------------------------------------------------------


@pytest.fixture
def server() -> dict[str, Any]:
    return recorded(nova_servers.SOURCE, "servers")


def test_what_an_action_explains_is_not_told_again(server):
    rebooting = server | {"OS-EXT-STS:task_state": "reboot_started", "OS-EXT-STS:power_state": 0}
    stopping = server | {"OS-EXT-STS:task_state": "powering-off"}
    stopped = server | {"status": "SHUTOFF", "OS-EXT-STS:vm_state": "stopped", "OS-EXT-STS:power_state": 4}
    moved = stopped | {"OS-EXT-SRV-ATTR:host": "compute2", "flavor": {"original_name": "m1.huge"}, "locked": True}
    deleted = moved | {
        "status": "DELETED",
        "OS-EXT-STS:vm_state": "deleted",
        "OS-EXT-STS:power_state": 0,
        "OS-SRV-USG:terminated_at": told_at(45),
    }
    found = looks(
        nova_servers.SOURCE,
        (10, [server]),
        (15, [rebooting]),
        (20, [stopping]),
        (30, [stopped]),
        (40, [moved]),
        (50, [deleted]),
    )
    assert len(found) == 6
    assert tell(nova_servers.SOURCE, found).is_empty()


@pytest.mark.parametrize(
    ("before", "is_told"),
    [
        ({"status": "ACTIVE"}, True),
        ({"status": "ACTIVE", "OS-EXT-STS:task_state": "rebuilding"}, False),
        ({"status": "BUILD"}, False),
        ({"status": "ERROR"}, False),
    ],
)
def test_an_error_is_told_where_no_action_does(server, before, is_told):
    broken = server | {"status": "ERROR", "fault": {"created": "2026-11-22T10:00:17Z", "message": "disk gone"}}
    facts = tell(nova_servers.SOURCE, looks(nova_servers.SOURCE, (10, [server | before]), (20, [broken])))
    expected = [("compute.instance.error", at(17), at(10), at(18), "interval", "disk gone")] if is_told else []
    columns = ("event_type", "occurred_at", "occurred_from", "occurred_to", "time_precision", "message")
    assert facts.select(columns).rows() == expected


def test_a_deleted_server_ended_when_it_was_terminated(server):
    deleted = server | {
        "status": "DELETED",
        "updated": "2026-11-22T10:01:22Z",
        "OS-SRV-USG:terminated_at": told_at(36),
    }
    belief = believe(prove(nova_servers.SOURCE, looks(nova_servers.SOURCE, (10, [server]), (90, [deleted]))))
    life = ("name", "valid_from", "valid_to", "valid_to_from")
    created = at(0).replace(hour=9, minute=12, second=40)
    assert belief.resources.filter(pl.col("name").is_not_null()).select(life).rows() == [
        ("web-1", at(10), at(36), at(36)),
    ]
    owned = belief.ownership.select("project_id", "valid_from", "valid_to", "is_exact", "ending").rows()
    assert owned == [(server["tenant_id"], created, at(36), True, "gone")]
    assert belief.edges.select("to_id", "valid_from", "valid_to", "ending").rows() == [
        ("compute1", at(10), at(36), "gone")
    ]


def test_one_that_was_never_seen_alive_has_a_life_and_a_name(server):
    deleted = server | {"status": "DELETED", "OS-SRV-USG:terminated_at": told_at(36)}
    belief = believe(prove(nova_servers.SOURCE, looks(nova_servers.SOURCE, (90, [deleted]))))
    assert belief.resources["name"].drop_nulls().to_list() == ["web-1"]
    assert belief.resources["valid_to"].max() == at(36)


def test_the_whole_list_is_read_once_a_day(cloud, reading):
    cloud.answers[SERVERS] = {"servers": []}
    asked = []
    cursor: Mapping[str, Any] = {}
    for hours in (0, 1, 24):
        cloud.requests.clear()
        now = NOW + timedelta(hours=hours)
        fetched = nova_servers.fetch(reading(cursor=cursor), Span(now - timedelta(minutes=5), now, now, is_open=True))
        cursor = fetched.cursor
        asked.append([one.query.get("changes-since") for one in cloud.asked(SERVERS)])
    assert asked == [
        [["2026-11-22T10:00:00Z"], None],
        [["2026-11-22T11:00:00Z"]],
        [["2026-11-23T10:00:00Z"], None],
    ]


def test_a_cell_that_is_down_is_a_gap(cloud, reading):
    cloud.answers[SERVERS] = {"servers": []}
    services = [
        {"id": "1", "host": "compute7", "status": "UNKNOWN"},
        {"id": "2", "host": "compute1", "status": "enabled"},
    ]
    reader = reading(latest=lambda source, **_: _frame(services))
    fetched = nova_servers.fetch(reader, OPEN)
    assert (fetched.gap, fetched.gap_detail) == ("cell_down", "the cell of compute7 does not answer")


# Migrations and services --------------------------------------------------------------------------------------------


def test_a_new_migration_is_found_though_no_filter_sees_it(cloud, reading):
    row = recorded(nova_migrations.SOURCE, "migrations")
    older = [row | {"uuid": f"m{number}", "created_at": told_at(-600 * number)} for number in range(1, 4)]
    new = row | {"uuid": "new", "created_at": told_at(5), "updated_at": None}
    pages = [{"migrations": [new, older[0]], "migrations_links": [{"rel": "next", "href": "http://x/?marker=m1"}]}]
    pages += [{"migrations": older[1:]}]

    def answer(query: Mapping[str, list[str]]) -> Answer:
        if "changes-since" in query:
            return Answer({"migrations": []})
        return Answer(pages["marker" in query])

    cloud.answers["compute/v2.1/os-migrations"] = answer
    first = nova_migrations.fetch(reading(), OPEN)
    assert [record.key for record in first.records] == ["new", "m1", "m2", "m3"]
    cloud.requests.clear()
    again = nova_migrations.fetch(reading(cursor=first.cursor), OPEN)
    assert [record.key for record in again.records] == ["new"]
    assert len(cloud.asked("compute/v2.1/os-migrations")) == 2
    assert again.records[0].cursor_at == at(5)


def test_the_move_is_dated_where_it_was_seen_and_bounded_where_it_was_not():
    row = recorded(nova_migrations.SOURCE, "migrations") | {
        "migration_type": "resize",
        "source_compute": "compute1",
        "dest_compute": "compute2",
        "instance_uuid": "s1",
        "created_at": told_at(0),
    }
    finished = row | {"uuid": "m1", "status": "finished", "updated_at": told_at(8)}
    confirmed = row | {"uuid": "m1", "status": "confirmed", "updated_at": told_at(90)}
    late = confirmed | {"uuid": "m2", "instance_uuid": "s2"}
    claims = prove(
        nova_migrations.SOURCE,
        looks(nova_migrations.SOURCE, (10, [finished]), (100, [confirmed, late]), key="uuid"),
    )
    rows = claims.unique(["resource_id", "claim", "at", "to_ids"]).sort("resource_id", "at", "claim")
    assert rows.select("resource_id", "claim", "at", "to_ids").rows() == [
        ("s1", "edge_since", at(8), ["compute2"]),
        ("s1", "edge_until", at(8), ["compute1"]),
        ("s2", "edge_until", at(0), ["compute1"]),
        ("s2", "edge_since", at(90), ["compute2"]),
    ]


def test_the_state_of_its_host_is_not_a_servers_own(cloud, reading):
    (_, fetched), *_ = replay(nova_servers.SOURCE, cloud, reading)
    assert fetched.records
    assert not any("host_status" in record.body for record in fetched.records)
    assert any("host_status" in str(answer) for answer in scans("nova_servers")[0].answers.values())


def test_a_heartbeat_is_nothing_new(cloud, reading):
    path = "compute/v2.1/os-services"
    service = {"id": "1", "binary": "nova-compute", "host": "compute1", "status": "enabled", "state": "up"}
    seen = []
    for beat in (1, 11):
        cloud.answers[path] = {"services": [service | {"updated_at": told_at(beat)}]}
        seen.append([record.body for record in nova_services.fetch(reading(), OPEN).records])
    assert seen[0] == seen[1] == [service]


def test_a_service_of_a_silent_cell_is_not_down():
    known = {"id": "1", "binary": "nova-compute", "host": "compute1", "status": "enabled", "state": "up"}
    silent = {"id": "1", "binary": "nova-compute", "host": "compute1", "status": "UNKNOWN"}
    found = looks(nova_services.SOURCE, (10, [known]), (20, [silent]), (30, [known]))
    assert tell(nova_services.SOURCE, found).is_empty()
