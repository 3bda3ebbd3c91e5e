"""The reader against a cloud on loopback that behaves as badly as a test wants."""

from __future__ import annotations

import socket
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from timeline_assets.config import CloudSettings
from timeline_assets.errors import ConfigurationError, SourceError
from timeline_assets.sources.openstack import ATTEMPTS, CODES, RESTARTS, connect, records
from timeline_assets_tests.sources.fakecloud import PASSWORD, TOKEN, Answer, FakeCloud, listing

PORTS = "network/v2.0/ports"
BY_ID = {"sort_key": "id", "sort_dir": "asc"}


def refused(ask, *, remedy: str | None = None) -> SourceError:
    """The error of `ask()`: one of the codes, with its remedy or the one given, and without a secret."""
    with pytest.raises(SourceError) as caught:
        ask()
    error = caught.value
    assert (remedy or CODES[error.code]) in error.remedy
    assert str(error).startswith("fake: ")
    assert PASSWORD not in f"{error!r} {error} {error.__cause__!r}"
    assert TOKEN not in f"{error!r} {error} {error.__cause__!r}"
    return error


def ids(rows) -> list[str]:
    return [row["id"] for row in rows]


# What is asked ------------------------------------------------------------------------------------------------------


def test_the_filter_is_in_the_url_and_the_token_in_the_header(cloud, reading):
    cloud.answers[PORTS] = {"ports": []}
    reading().get("network", "/ports", {"changed_since": "2026-11-22T10:00:00Z", "name": None, "fields": ["id", "x"]})
    [asked] = cloud.asked(PORTS)
    assert asked.query == {"changed_since": ["2026-11-22T10:00:00Z"], "fields": ["id", "x"]}
    assert asked.headers["x-auth-token"] == f"{TOKEN}1"


@pytest.mark.parametrize(
    ("service", "catalogue", "path"),
    [
        ("network", "/network", "network/v2.0/x"),
        ("network", "/network/v2.0/", "network/v2.0/x"),
        ("identity", "/identity", "identity/v3/x"),
        ("identity", "/identity/v2.0", "identity/v3/x"),
        ("identity", "/identity/v3", "identity/v3/x"),
        ("compute", "/compute/v2.1", "compute/v2.1/x"),
        ("compute", "/compute", "compute/v2.1/x"),
        ("volume", "/volume/v3/ours", "volume/v3/ours/x"),
    ],
)
def test_paths_are_relative_to_the_versioned_service(cloud, reading, service, catalogue, path):
    cloud.services[{"volume": "block-storage"}.get(service, service)] = catalogue
    cloud.answers[path] = {"found": True}
    assert reading().get(service, "/x") == {"found": True}


def test_a_volume_service_is_found_by_its_older_name(cloud, reading):
    cloud.services = {"identity": "/identity/v3", "volumev3": "/volume/v3"}
    cloud.answers["volume/v3/volumes"] = {"volumes": []}
    assert reading().get("volume", "/volumes") == {"volumes": []}


def test_an_endpoint_of_clouds_yaml_comes_before_the_catalogue(cloud, reading):
    cloud.answers["elsewhere/v2.0/ports"] = {"ports": []}
    config = {**cloud.config, "network_endpoint_override": f"{cloud.url}/elsewhere"}
    assert reading(config=config).get("network", "/ports") == {"ports": []}


def test_the_microversion_asked_for_has_to_be_the_one_answered(cloud, reading):
    cloud.answers["compute/v2.1/servers"] = {"servers": []}
    reading().get("compute", "/servers", microversion="2.69")
    assert cloud.asked("compute/v2.1/servers")[0].headers["openstack-api-version"] == "compute 2.69"
    cloud.answers["compute/v2.1/servers"] = Answer({"servers": []}, headers={"OpenStack-API-Version": "compute 2.1"})
    error = refused(lambda: reading().get("compute", "/servers", microversion="2.69"))
    assert (error.code, str(error)) == ("microversion_refused", "fake: compute /servers: asked for 2.69, answered 2.1")


def test_cinder_is_asked_for_its_microversion_by_its_own_name(cloud, reading):
    cloud.answers["volume/v3/volumes"] = {"volumes": []}
    reading().get("volume", "/volumes", microversion="3.60")
    assert cloud.asked("volume/v3/volumes")[0].headers["openstack-api-version"] == "volume 3.60"


def test_a_microversion_that_is_too_new_is_refused_by_the_service(cloud, reading):
    cloud.answers["compute/v2.1/servers"] = Answer({"computeFault": {"message": "Version 2.999 is not supported"}}, 406)
    error = refused(lambda: reading().get("compute", "/servers", microversion="2.999"))
    assert error.code == "microversion_refused"


# What goes wrong ----------------------------------------------------------------------------------------------------


def test_a_wrong_password(cloud, reading):
    config = cloud.config
    config["auth"]["password"] = f"{PASSWORD}x"
    assert refused(lambda: reading(config=config).get("network", "/ports")).code == "auth_failed"


def test_a_cloud_that_is_not_there(reading, cloud):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        config = cloud.config
        config["auth"]["auth_url"] = f"http://127.0.0.1:{free.getsockname()[1]}/v3"
        assert refused(lambda: reading(config=config).get("network", "/ports")).code == "unreachable"


@pytest.mark.parametrize(("status", "code"), [(401, "auth_failed"), (200, "unreachable")])
def test_an_auth_url_that_is_not_keystones_own(cloud, reading, status, code):
    config = cloud.config
    config["auth"]["auth_url"] = cloud.url
    cloud.answers[""] = Answer({"error": {"message": "who are you?"}}, status)
    ask = reading(config=config)
    error = refused(lambda: ask.get("network", "/ports"), remedy="Keystone itself, which ends in /v3")
    assert error.code == code and "no Keystone" in str(error)


def test_a_catalogue_without_the_service(cloud, reading):
    del cloud.services["network"]
    error = refused(lambda: reading().get("network", "/ports"))
    assert (error.code, str(error)) == (
        "service_missing",
        "fake: network: the catalogue has no such service in this region",
    )


def test_clouds_yaml_without_the_cloud(tmp_path, monkeypatch):
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "clouds.yaml"))
    (tmp_path / "clouds.yaml").write_text("clouds: {}\n")
    with pytest.raises(ConfigurationError, match=r"clouds\.yaml does not describe 'nowhere'"):
        connect(CloudSettings(name="fake", os_cloud="nowhere"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("clouds: {x: hello}", "cloud x: the entry 'x' of clouds.yaml is not built as one"),
        ("clouds: {x: }", "cloud x: the entry 'x' of clouds.yaml is not built as one"),
        ("clouds: {x: {auth: 5}}", "cloud x: the entry 'x' of clouds.yaml is not built as one"),
        ("clouds: {x: {auth: {auth_url: 5, password: hunter2}}}", "the entry 'x' of clouds.yaml is not built as one"),
        ("clouds: 5", "the entry 'x' of clouds.yaml is not built as one"),
        ("clouds:\n  x: [hunter2", "clouds.yaml, line 2: this is no YAML"),
        ("clouds: {y: {}}", "Cloud x was not found"),
    ],
)
def test_clouds_yaml_that_is_none(tmp_path, monkeypatch, text, said):
    path = tmp_path / "clouds.yaml"
    path.write_text(text)
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(path))
    with pytest.raises(ConfigurationError) as caught:
        connect(CloudSettings(name="x"))
    assert said in str(caught.value)
    assert caught.value.remedy
    assert "hunter2" not in f"{caught.value} {caught.value.__cause__}"


def test_a_token_that_expires_in_mid_harvest_is_replaced(cloud, reading):
    cloud.answers[PORTS] = listing("ports", [{"id": i} for i in "abc"])
    reader = reading(page_rows=2)
    pages = reader.pages("network", "/ports", "ports", BY_ID)
    assert ids(next(pages)) == ["a", "b"]
    cloud.expired.add(f"{TOKEN}1")
    assert ids(next(pages)) == ["c"]
    assert cloud.logins == 2


def test_a_token_that_is_refused_for_good(cloud, reading):
    cloud.answers[PORTS] = Answer({"error": {"message": "no"}}, 401)
    assert refused(lambda: reading().get("network", "/ports")).code == "auth_failed"


def test_forbidden_says_what_the_service_said(cloud, reading):
    cloud.answers[PORTS] = Answer({"NeutronError": {"message": "rule:get_port is disallowed\nby policy"}}, 403)
    error = refused(lambda: reading().get("network", "/ports"))
    assert (error.code, str(error)) == (
        "forbidden",
        "fake: network /ports: 403: rule:get_port is disallowed by policy",
    )


def test_what_the_service_said_is_repeated_without_its_secrets(cloud, reading):
    said = (
        f"{'no access, ' * 10}token {TOKEN}aaaaaaaaaaaaaaaa, {'jwt' * 15} eyJhbGciOiJ.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl"
    )
    cloud.answers[PORTS] = Answer({"error": {"message": f"{said} {'x' * 200}"}}, 403)
    error = refused(lambda: reading().get("network", "/ports"))
    assert "token <scrubbed>" in str(error)
    assert "eyJ" not in str(error)


@pytest.mark.parametrize("status", [429, 413])
def test_too_many_requests_waits_as_long_as_it_is_told(cloud, reading, status):
    cloud.answers[PORTS] = [Answer({}, status, {"Retry-After": "17"}), {"ports": []}]
    reader = reading()
    assert reader.get("network", "/ports") == {"ports": []}
    assert reader.slept == [17.0]
    assert reader.requests == 2


def test_retry_after_may_be_a_date_by_the_servers_clock(cloud, reading):
    headers = {"Retry-After": "Sun, 22 Nov 2026 10:00:30 GMT"}
    cloud.ahead_seconds = (datetime(2026, 11, 22, 10, tzinfo=UTC) - datetime.now(UTC)).total_seconds()
    cloud.answers[PORTS] = [Answer({}, 503, headers), {"ports": []}]
    reader = reading()
    reader.get("network", "/ports")
    assert reader.slept[0] == pytest.approx(30, abs=5)


def test_being_told_to_come_back_much_later_is_a_gap_at_once(cloud, reading):
    cloud.answers[PORTS] = Answer({}, 429, {"Retry-After": "3600"})
    reader = reading()
    assert refused(lambda: reader.get("network", "/ports")).code == "rate_limited"
    assert (reader.slept, reader.requests) == ([], 1)


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_service_that_fails_is_tried_again_then_given_up(cloud, reading, status):
    cloud.answers[PORTS] = [Answer({}, status), Answer("<html>", status), {"ports": [1]}]
    reader = reading()
    assert reader.get("network", "/ports") == {"ports": [1]}
    assert reader.slept[0] < reader.slept[1]
    cloud.answers[PORTS] = Answer({}, status)
    reader = reading()
    assert refused(lambda: reader.get("network", "/ports")).code == "server_error"
    assert reader.requests == ATTEMPTS


def test_a_time_out(cloud, reading):
    cloud.answers[PORTS] = Answer({"ports": []}, wait=True)
    error = refused(lambda: reading(timeout_seconds=0.1).get("network", "/ports"))
    assert (error.code, str(error)) == ("timeout", "fake: network /ports: no answer within 0.1 s")
    assert len(cloud.asked(PORTS)) == 2


@pytest.mark.parametrize("broken", [Answer({"ports": [1, 2, 3]}, cut=4), Answer('{"ports": [1, 2')])
def test_a_page_that_breaks_off_is_read_again(cloud, reading, broken):
    cloud.answers[PORTS] = [broken, {"ports": [1, 2, 3]}]
    assert reading().get("network", "/ports") == {"ports": [1, 2, 3]}
    cloud.answers[PORTS] = broken
    assert refused(lambda: reading().get("network", "/ports")).code == "malformed_answer"


@pytest.mark.parametrize("body", [{}, {"ports": None}, {"ports": {}}, [], None, "text", 5])
def test_a_listing_without_its_list(cloud, reading, body):
    cloud.answers[PORTS] = Answer(body)
    assert refused(lambda: list(reading().rows("network", "/ports", "ports"))).code == "malformed_answer"


def test_an_error_that_is_no_json(cloud, reading):
    cloud.answers[PORTS] = Answer("<html>go away</html>", 400)
    error = refused(lambda: reading().get("network", "/ports"))
    assert (error.code, str(error)) == ("malformed_answer", "fake: network /ports: 400")


def test_a_probe_answers_nothing_where_the_service_does_not_know_the_filter(cloud, reading):
    cloud.answers[PORTS] = Answer({"NeutronError": {"message": "['changed_since'] is invalid attribute"}}, 400)
    assert reading().probe("network", "/ports", {"changed_since": "2026-11-22T10:00:00Z"}) is None
    cloud.answers[PORTS] = Answer({}, 403)
    assert refused(lambda: reading().probe("network", "/ports")).code == "forbidden"


# Pages --------------------------------------------------------------------------------------------------------------


def test_pages_follow_the_services_links_with_our_own_address(cloud, reading):
    cloud.answers[PORTS] = listing("ports", [{"id": i} for i in "abcde"])
    reader = reading(page_rows=2)
    assert ids(reader.rows("network", "/ports", "ports", BY_ID)) == list("abcde")
    assert [asked.query.get("marker") for asked in cloud.asked(PORTS)] == [None, ["b"], ["d"]]
    assert all(asked.query["sort_key"] == ["id"] for asked in cloud.asked(PORTS))
    assert reader.requests == 3


def test_pages_of_keystone(cloud, reading):
    links = [{"next": f"{cloud.url}/identity/v3/users?marker=a", "self": "x"}, {"next": None, "self": "x"}]
    cloud.answers["identity/v3/users"] = [
        {"users": [{"id": "a"}], "links": links[0]},
        {"users": [{"id": "b"}], "links": links[1]},
    ]
    assert ids(reading().rows("identity", "/users", "users", {"limit": None})) == ["a", "b"]
    assert [asked.query for asked in cloud.asked("identity/v3/users")] == [{}, {"marker": ["a"]}]


def test_who_has_read_far_enough_asks_for_no_further_page(cloud, reading):
    cloud.answers[PORTS] = listing("ports", [{"id": i} for i in "abcd"])
    assert ids(next(reading(page_rows=2).pages("network", "/ports", "ports", BY_ID))) == ["a", "b"]
    assert len(cloud.asked(PORTS)) == 1


def test_a_marker_that_vanishes_begins_the_listing_again(cloud, reading):
    rows = [{"id": i} for i in "abcd"]
    cloud.answers[PORTS] = listing("ports", rows)
    read = reading(page_rows=2).rows("network", "/ports", "ports", BY_ID)
    assert next(read)["id"] == "a"
    rows.remove({"id": "b"})
    assert ids(read) == ["b", "a", "c", "d"]


def test_a_service_that_begins_again_by_itself_loses_nothing(cloud, reading):
    """Neutron's rules and floating IPs take no notice of a marker that is gone: the first page comes once more."""
    rows = [{"id": i} for i in "abcd"]
    page = listing("ports", rows)
    gone = {"b"}

    def forgiving(query):
        if query.get("marker", [""])[0] in gone:
            gone.clear()
            query = {**query, "marker": [None]}
        return page(query)

    cloud.answers[PORTS] = forgiving
    assert ids(reading(page_rows=2).rows("network", "/ports", "ports", BY_ID)) == ["a", "b", "a", "b", "c", "d"]


def test_a_marker_that_always_vanishes_ends(cloud, reading):
    href = f"{cloud.url}/network/v2.0/ports?marker=b"
    more = {"ports": [{"id": "a"}], "ports_links": [{"rel": "next", "href": href}]}
    cloud.answers[PORTS] = lambda query: Answer({}, 404) if "marker" in query else Answer(more)
    assert refused(lambda: list(reading().rows("network", "/ports", "ports"))).code == "listing_moved"
    assert len(cloud.asked(PORTS)) == 2 * (RESTARTS + 1)


def test_pages_that_lead_in_a_circle_end(cloud, reading):
    href = f"{cloud.url}/network/v2.0/ports?marker=b"
    cloud.answers[PORTS] = {"ports": [{"id": "a"}], "ports_links": [{"rel": "next", "href": href}]}
    assert refused(lambda: list(reading().rows("network", "/ports", "ports"))).code == "listing_moved"


def test_a_listing_that_the_service_cut_is_not_complete(cloud, reading):
    cloud.answers["identity/v3/users"] = {"users": [{"id": "a"}], "links": {"next": None}, "truncated": True}
    error = refused(lambda: list(reading().rows("identity", "/users", "users")))
    assert error.code == "listing_truncated"


def test_the_first_request_is_refused_as_such(cloud, reading):
    cloud.answers[PORTS] = Answer({"NeutronError": {"message": "bad filter"}}, 400)
    assert refused(lambda: list(reading().rows("network", "/ports", "ports", {"x": 1}))).code == "malformed_answer"


@pytest.mark.parametrize("concurrency", [1, 4])
def test_many_keeps_the_order_and_counts(cloud, reading, concurrency):
    for number in range(10):
        cloud.answers[f"{PORTS}/{number}"] = {"port": number}
    reader = reading(concurrency=concurrency)
    assert reader.many(lambda n: reader.get("network", f"/ports/{n}")["port"], list(range(10))) == list(range(10))
    assert (reader.requests, cloud.logins) == (10, 1)


def test_many_ends_with_the_first_error(cloud, reading):
    cloud.answers[PORTS] = Answer({}, 403)
    reader = reading()
    assert refused(lambda: reader.many(lambda _: reader.get("network", "/ports"), [1, 2, 3])).code == "forbidden"


# Scope and time -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("roles", "system", "is_admin", "is_reader"),
    [
        (("admin", "member", "reader"), False, True, False),
        (("Admin",), False, True, False),
        (("admin",), True, True, True),
        (("member", "reader"), False, False, False),
        ((), False, False, False),
        (("reader",), True, False, True),
        (("administrator",), False, False, False),
    ],
)
def test_the_scope_is_what_the_token_says(reading, cloud, roles, system, is_admin, is_reader):  # noqa: PLR0917
    cloud.roles, cloud.system = roles, system
    scope = reading().scope()
    assert (scope.is_admin, scope.is_system_reader) == (is_admin, is_reader)
    assert (scope.user_id, scope.project_id) == ("harvester-id", None if system else "ours")
    for enough, is_allowed in ((False, is_admin), (True, is_admin or is_reader)):
        if is_allowed:
            assert reading().require_scope(is_reader_enough=enough) == scope
            continue
        error = refused(lambda: reading().require_scope(is_reader_enough=enough))  # noqa: B023 - called at once
        held = ", ".join(sorted(roles)) or "no role at all"
        assert (error.code, str(error)) == (
            "scope_too_small",
            f"fake: the harvesting user holds {held}; it has to be admin",
        )


@pytest.mark.parametrize(("ahead", "expected"), [(90, 0), (0, 0), (-90, -90)])
def test_nothing_is_read_beyond_the_servers_own_now(cloud, reading, ahead, expected):
    cloud.ahead_seconds = ahead
    cloud.answers[PORTS] = {"ports": []}
    reader = reading()
    started = datetime.now(UTC)
    reader.get("network", "/ports")
    read_to = reader.read_to(started, margin=timedelta(seconds=2))
    assert (read_to - started).total_seconds() == pytest.approx(expected - 2, abs=1.5)
    assert read_to <= started - timedelta(seconds=2)
    assert reader.clock_skew_seconds == pytest.approx(ahead, abs=1.5)


def test_a_server_without_a_date_leaves_our_own_clock(cloud, reading):
    reader = reading()
    started = datetime(2026, 11, 22, 10, tzinfo=UTC)
    assert reader.read_to(started) == started - timedelta(seconds=2)
    assert reader.clock_skew_seconds is None


# What was read before -----------------------------------------------------------------------------------------------


def test_a_reader_hands_out_what_the_raw_stage_gave_it(reading):
    frame = pl.DataFrame({"key": ["a", "b", "c"], "body": ["{}", "{}", "{}"]})
    asked = []

    def latest(source, **narrowed):
        asked.append((source, narrowed))
        return frame

    reader = reading(cursor={"rows": 3}, latest=latest, changed=lambda source, since: frame.filter(key="c"))
    assert reader.cursor() == {"rows": 3}
    assert reader.latest("nova_servers")["key"].to_list() == ["a", "b", "c"]
    reader.latest("nova_servers", after="a", limit=1)
    assert asked == [("nova_servers", {}), ("nova_servers", {"after": "a", "limit": 1})]
    assert reader.changed("nova_servers", datetime.now(UTC))["key"].to_list() == ["c"]
    assert reading().latest("nova_servers").is_empty()


def test_rows_that_are_no_records_are_set_apart():
    rows = [{"id": "a", "n": 1}, None, [], "x", {"id": None}, {"id": ""}, {"id": 7}, {"name": "b"}, {"id": "a", "n": 2}]
    found, malformed = records(rows)
    assert [(record.key, record.body["n"]) for record in found] == [("a", 2)]
    assert malformed == [
        ("no object", "null"),
        ("no object", "[]"),
        ("no object", '"x"'),
        ("no id", '{"id": null}'),
        ("no id", '{"id": ""}'),
        ("no id", '{"id": 7}'),
        ("no id", '{"name": "b"}'),
    ]


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-11-22T09:00:00Z", datetime(2026, 11, 22, 9, tzinfo=UTC)),
        ("2026-11-22T09:00:00.5", datetime(2026, 11, 22, 9, 0, 0, 500000, tzinfo=UTC)),
        ("0001-01-01T00:00:00+14:00", None),
        ("soon", None),
        (None, None),
        (5, None),
    ],
)
def test_a_records_window_is_that_of_its_time_if_it_has_one(text, instant):
    [record] = records([{"id": "a", "updated_at": text}], cursor_at=lambda row: row["updated_at"])[0]
    assert record.cursor_at == instant


def test_the_fake_cloud_is_gone_after_its_test():
    with FakeCloud() as fake:
        address = fake._server.server_address
    with pytest.raises(ConnectionRefusedError), socket.create_connection(address):
        pass
