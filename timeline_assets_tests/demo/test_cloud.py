"""What the recorded cloud answers: log-ins, versions, pages and filters as its services have them."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from urllib.parse import urlencode, urlsplit

import pytest

from timeline_assets.demo.cloud import SERVICES, Answer, RecordedCloud
from timeline_assets.demo.record import ACTIONS, LISTINGS

URL, PASSWORD = "http://127.0.0.1:1", "the password"
COMPUTE, VOLUME, NETWORK, IDENTITY = "/compute/v2.1", "/volume/v3", "/network/v2.0", "/identity/v3"


class Cloud:
    """The shipped recording at one instant of it, logged in."""

    def __init__(self, recording) -> None:
        self.recording = recording
        self.now = recording.ended_at
        self.log_ins = 0
        self.cloud = RecordedCloud(URL, PASSWORD, lambda: recording, lambda: self.now, self._count)
        self.token = self.log_in().headers["X-Subject-Token"]

    def _count(self) -> None:
        self.log_ins += 1

    def log_in(self, name: str = "harvester", password: str = PASSWORD) -> Answer:
        user = {"name": name, "password": password, "domain": {"name": "Default"}}
        body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}}}
        return self.cloud.log_in(json.dumps(body).encode())

    def get(self, path: str, query: dict | str = "", **headers: str) -> Answer:
        text = query if isinstance(query, str) else urlencode(query, doseq=True)
        given = {"x-auth-token": self.token} | {name.replace("_", "-"): value for name, value in headers.items()}
        return self.cloud.get(path, text, given)

    def rows(self, path: str, collection: str, query: dict | str = "") -> list[dict]:
        answer = self.get(path, query)
        assert answer.status == 200, answer.body
        return answer.body[collection]

    def refused(self, path: str, query: dict | str = "", **headers: str) -> int:
        answer = self.get(path, query, **headers)
        assert answer.status >= 400
        assert any(error["message"] for error in answer.body.values())
        return answer.status


@pytest.fixture
def cloud(recording) -> Cloud:
    return Cloud(recording)


def ids(rows: list[dict]) -> list[str]:
    return [row["uuid"] if "uuid" in row else row["id"] for row in rows]


# Log-in -------------------------------------------------------------------------------------------------------------


def test_a_token_says_who_one_is_and_where_everything_is(cloud, recording):
    answer = cloud.log_in()
    token = answer.body["token"]
    assert answer.status == 201
    assert token["user"]["id"] == recording.head["user_id"]
    assert token["project"]["id"] == recording.head["project_id"]
    assert {role["name"] for role in token["roles"]} == {"admin", "member", "reader"}
    assert {entry["type"]: entry["endpoints"][0]["url"] for entry in token["catalog"]} == {
        "identity": f"{URL}/identity/v3",
        "compute": f"{URL}/compute/v2.1",
        "network": f"{URL}/network/v2.0",
        "block-storage": f"{URL}/volume/v3",
    }
    life = datetime.fromisoformat(token["expires_at"]) - datetime.fromisoformat(token["issued_at"])
    assert life == timedelta(hours=1)


@pytest.mark.parametrize(("name", "password"), [("harvester", "wrong"), ("admin", PASSWORD), ("harvester", "")])
def test_only_the_one_user_with_its_password_gets_in_and_others_do_not_start_the_clock(cloud, name, password):
    assert cloud.log_in(name, password).status == 401
    assert cloud.log_ins == 1


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"auth": {"identity": {"methods": ["token"]}}}', b"\xff"])
def test_a_malformed_log_in_is_refused(cloud, body):
    assert cloud.cloud.log_in(body).status == 400


def test_nothing_is_told_without_a_token(cloud):
    for token in ("", "guessed"):
        assert cloud.cloud.get(f"{IDENTITY}/projects", "", {"x-auth-token": token}).status == 401
    assert cloud.cloud.get(f"{IDENTITY}/projects", "", {}).status == 401


# Versions -----------------------------------------------------------------------------------------------------------


def test_versions_are_told_to_everybody_above_and_at_each_root(cloud):
    for service in SERVICES.values():
        at_root = cloud.cloud.get(service.root + "/", "", {}).body["version"]
        above = cloud.cloud.get(service.root.rpartition("/")[0], "", {}).body["versions"]
        assert [at_root] == (above["values"] if service.type == "identity" else above)
        assert at_root["links"] == [{"rel": "self", "href": f"{URL}{service.root}/"}]
    assert cloud.cloud.get("/compute", "", {}).body["versions"][0]["version"] == "2.93"
    assert cloud.cloud.get("/identity/v3", "", {}).body["version"]["status"] == "stable"


@pytest.mark.parametrize(
    ("path", "asked", "answered"),
    [
        (f"{COMPUTE}/os-services", "compute 2.69", "compute 2.69"),
        (f"{COMPUTE}/os-services", "compute latest", "compute 2.93"),
        (f"{COMPUTE}/os-services", "", "compute 2.1"),
        (f"{VOLUME}/volumes/detail", "volume 3.60", "volume 3.60"),
        (f"{NETWORK}/ports", "network 2.0", None),
    ],
)
def test_the_microversion_answered_is_told(cloud, path, asked, answered):
    answer = cloud.get(path, openstack_api_version=asked)
    assert (answer.status, answer.headers.get("OpenStack-API-Version")) == (200, answered)


@pytest.mark.parametrize(("asked", "status"), [("2.94", 406), ("2.100", 406), ("2.0", 406), ("new", 400)])
def test_a_microversion_that_the_release_lacks_is_refused(cloud, asked, status):
    assert cloud.refused(f"{COMPUTE}/os-services", openstack_api_version=f"compute {asked}") == status


# Listings -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("listing", LISTINGS, ids=lambda listing: listing.name)
@pytest.mark.parametrize("share", [0, 0.5, 1])
def test_a_listing_shows_what_was_recorded_whole_and_page_by_page(cloud, recording, listing, share):
    cloud.now = recording.began_at + share * (recording.ended_at - recording.began_at)
    path = SERVICES[listing.service].root + listing.path
    params = {name: value for name, value in listing.params.items() if value is not None}
    expected = recording.records(listing.name, cloud.now)
    whole = cloud.rows(path, listing.collection, params)
    assert sorted(map(json.dumps, whole)) == sorted(map(json.dumps, expected))
    if listing.service == "identity" or listing.name == "nova_services":
        return
    paged, query = [], urlencode({**params, "limit": 4})
    while query is not None:
        body = cloud.get(path, query).body
        assert len(body[listing.collection]) <= 4
        paged += body[listing.collection]
        links = body.get(f"{listing.collection}_links")
        query = urlsplit(links[0]["href"]).query if links else None
    assert paged == whole


def test_nova_and_cinder_list_the_newest_first_and_neutron_as_asked(cloud):
    created = [row["created"] for row in cloud.rows(f"{COMPUTE}/servers/detail", "servers")]
    assert created == sorted(created, reverse=True)
    created = [row["created_at"] for row in cloud.rows(f"{VOLUME}/volumes/detail", "volumes")]
    assert created == sorted(created, reverse=True)
    up = cloud.rows(f"{NETWORK}/ports", "ports", {"sort_key": "id"})
    assert ids(up) == sorted(ids(up))
    by_two = cloud.rows(f"{NETWORK}/ports", "ports", "sort_key=status&sort_key=id&sort_dir=asc&sort_dir=desc")
    down = up[::-1]
    assert by_two == [row for status in ("ACTIVE", "DOWN", "N/A") for row in down if row["status"] == status]


def test_deleted_servers_are_listed_only_to_whoever_asks_for_changes(cloud):
    living = cloud.rows(f"{COMPUTE}/servers/detail", "servers", {"all_tenants": 1})
    ever = cloud.rows(f"{COMPUTE}/servers/detail", "servers", {"changes-since": "1970-01-01T00:00:00Z"})
    assert {row["status"] for row in living} == {"ACTIVE", "ERROR", "SHUTOFF"} & {row["status"] for row in ever}
    assert len(ever) - len(living) == sum(row["status"] == "DELETED" for row in ever) > 20
    brief = cloud.rows(f"{COMPUTE}/servers", "servers", {"limit": 1})
    assert brief == [{name: living[0][name] for name in ("id", "name", "links")}]


def test_changes_are_between_two_instants_both_included(cloud):
    path, since_ever = f"{COMPUTE}/servers/detail", {"changes-since": "1970-01-01T00:00:00Z"}
    ever = cloud.rows(path, "servers", since_ever)
    times = sorted({row["updated"] for row in ever})
    low, high = times[len(times) // 3], times[2 * len(times) // 3]
    found = cloud.rows(path, "servers", {"changes-since": low, "changes-before": high})
    assert found == [row for row in ever if low <= row["updated"] <= high]
    assert 0 < len(found) < len(ever)


def test_a_migration_that_was_never_updated_is_in_no_span(cloud, recording):
    rows = [
        (at, record)
        for of_key in recording.versions["nova_migrations"].values()
        for at, record in of_key
        if record and record["updated_at"] is None
    ]
    at, row = rows[0]
    cloud.now = at
    assert row in cloud.rows(f"{COMPUTE}/os-migrations", "migrations")
    assert row not in cloud.rows(f"{COMPUTE}/os-migrations", "migrations", {"changes-since": "1970-01-01T00:00:00Z"})


@pytest.mark.parametrize(
    ("operator", "compare"), [("gte", "__ge__"), ("gt", "__gt__"), ("lte", "__le__"), ("lt", "__lt__")]
)
def test_cinder_compares_when_something_was_updated(cloud, operator, compare):
    path = f"{VOLUME}/volumes/detail"
    whole = cloud.rows(path, "volumes")
    times = sorted(row["updated_at"] for row in whole if row["updated_at"])
    middle = times[len(times) // 2]
    found = cloud.rows(path, "volumes", {"updated_at": f"{operator}:{middle}"})
    assert found == [row for row in whole if row["updated_at"] and getattr(row["updated_at"], compare)(middle)]
    assert 0 < len(found) < len(whole)


def test_neutron_gives_the_fields_asked_for(cloud):
    rows = cloud.rows(f"{NETWORK}/networks", "networks", {"limit": 1, "fields": ["id", "provider:network_type", "x"]})
    assert [set(row) for row in rows] == [{"id", "provider:network_type"}]
    assert cloud.get(f"{NETWORK}/extensions/provider").body["extension"]["alias"] == "provider"


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        (f"{NETWORK}/ports", "changed_since=2026-01-01T00:00:00Z", 400),  # as Zed has it
        (f"{NETWORK}/ports", "sort_key=updated", 400),
        (f"{NETWORK}/ports", "limit=many", 400),
        (f"{NETWORK}/ports", "marker=unknown", 400),
        (f"{NETWORK}/ports/1", "", 404),
        (f"{NETWORK}/extensions/dns", "", 404),
        (f"{COMPUTE}/servers/detail", "marker=unknown", 400),
        (f"{COMPUTE}/servers/detail", "changes-since=yesterday", 400),
        (f"{COMPUTE}/servers/detail", "name=x", 400),
        (f"{COMPUTE}/os-services", "binary=nova-compute", 400),
        (f"{COMPUTE}/os-hypervisors", "", 404),
        (f"{VOLUME}/volumes/detail", "updated_at=2026-01-01", 400),
        (f"{VOLUME}/volumes/detail", "changes-since=2026-01-01T00:00:00Z", 400),
        (f"{VOLUME}/volumes", "", 404),
        ("/image/v2/images", "", 404),
    ],
)
def test_what_is_not_known_is_refused(cloud, path, query, status):
    assert cloud.refused(path, query) == status


def test_keystone_ignores_a_limit(cloud):
    assert len(cloud.rows(f"{IDENTITY}/users", "users", {"limit": 1})) == 14


# Instance actions ---------------------------------------------------------------------------------------------------


def test_actions_of_a_deleted_server_are_answered_without_events_and_one_by_one_with_them(cloud, recording):
    dead = {row["id"] for row in recording.records("nova_servers", cloud.now) if row["status"] == "DELETED"}
    recorded = [row for row in recording.records(ACTIONS, cloud.now) if row["instance_uuid"] in dead]
    server = next(row["instance_uuid"] for row in recorded if row["action"] == "delete")
    path = f"{COMPUTE}/servers/{server}/os-instance-actions"
    listed = cloud.rows(path, "instanceActions")
    own = {row["request_id"]: row for row in recorded if row["instance_uuid"] == server}
    assert [row["start_time"] for row in listed] == sorted((row["start_time"] for row in own.values()), reverse=True)
    assert {row["request_id"]: row for row in listed} == {
        request: {name: value for name, value in row.items() if name != "events"} for request, row in own.items()
    }
    for request, row in own.items():
        assert cloud.get(f"{path}/{request}").body == {"instanceAction": row}
    newest = listed[0]["updated_at"]
    assert cloud.rows(path, "instanceActions", {"changes-since": newest}) == [
        row for row in listed if row["updated_at"] == newest
    ]


def test_actions_of_a_server_that_never_was_are_not_found(cloud, recording):
    path = f"{COMPUTE}/servers/none/os-instance-actions"
    assert cloud.refused(path) == 404
    server = recording.records(ACTIONS, cloud.now)[0]["instance_uuid"]
    assert cloud.refused(f"{COMPUTE}/servers/{server}/os-instance-actions/req-none") == 404
    assert cloud.refused(f"{COMPUTE}/servers/{server}/os-instance-actions", "user=x") == 400
