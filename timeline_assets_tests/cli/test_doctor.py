"""`timeline doctor`: what is broken is named with what to do; the cloud is one that answers on loopback."""

import json

import pytest
import yaml

from timeline_assets.cli import doctor
from timeline_assets_tests.sources.fakecloud import Answer, FakeCloud

NAME = "north"
#: What an idle cloud lists.
NOTHING = {
    "identity/v3/projects": {"projects": []},
    "identity/v3/domains": {"domains": []},
    "network/v2.0/networks": {"networks": []},
}


@pytest.fixture
def cloud():
    with FakeCloud() as fake:
        fake.answers |= NOTHING
        yield fake


@pytest.fixture
def configured(timeline, cloud, tmp_path, monkeypatch):
    """`timeline` with `cloud` in its clouds.yaml and three sources of it."""
    (tmp_path / "clouds.yaml").write_text(yaml.safe_dump({"clouds": {NAME: dict(cloud.config)}}))
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "clouds.yaml"))
    (tmp_path / "timeline.toml").write_text(
        f'[clouds.{NAME}]\nsources = ["keystone_projects", "keystone_domains", "neutron_networks"]\n'
    )
    return timeline


def findings(ran) -> dict[str, list[tuple[str, str, str]]]:
    found: dict[str, list[tuple[str, str, str]]] = {}
    for one in json.loads(ran.out):
        found.setdefault(one["what"], []).append((one["verdict"], one["found"], one["remedy"]))
    return found


def test_a_cloud_that_lets_us_read_everything(configured):
    ran = configured("doctor", "--json")
    assert ran.code == 0
    found = findings(ran)
    assert found["configuration"] == [("fine", "north", "")]
    assert found["cloud north"] == [
        ("fine", "logged in with admin on project ours", ""),
        ("fine", "3 sources answer, 4 requests", ""),
    ]
    assert found["database"] == [("look", "embedded, not made yet", "The first `timeline up` makes it.")]


def test_a_role_too_small_is_named_with_what_is_missing(configured, cloud):
    cloud.roles = ("reader",)
    ran = configured("doctor")
    assert ran.code == 1
    line = next(line for line in ran.lines if "scope_too_small" in line)
    assert line.startswith("✗ cloud north")
    assert "holds reader; it has to be admin" in line
    assert "(keystone_domains, keystone_projects, neutron_networks)" in line
    assert ran.lines[ran.lines.index(line) + 1].strip().startswith("→ Give the harvesting user the role admin")


def test_what_one_service_refuses_does_not_hide_the_others(configured, cloud):
    cloud.answers["network/v2.0/networks"] = Answer({"forbidden": {"message": "policy"}}, status=403)
    ran = configured("doctor", "--json")
    assert ran.code == 1
    verdicts = [(verdict, found) for verdict, found, _ in findings(ran)["cloud north"]]
    assert verdicts[0][0] == "fine"
    assert verdicts[1][0] == "broken" and verdicts[1][1].startswith("forbidden: network /networks: 403")
    assert verdicts[2] == ("fine", "2 sources answer, 3 requests")


def test_a_wrong_password(configured, cloud, tmp_path):
    config = dict(cloud.config)
    config["auth"] = {**config["auth"], "password": "wrong-and-secret"}
    (tmp_path / "clouds.yaml").write_text(yaml.safe_dump({"clouds": {NAME: config}}))
    ran = configured("doctor")
    assert ran.code == 1
    assert "refused" in ran.out and "Check user, password" in ran.out
    assert "wrong-and-secret" not in ran.out + ran.err


def test_a_cloud_that_is_not_in_clouds_yaml(configured, tmp_path):
    (tmp_path / "clouds.yaml").write_text("clouds: {}\n")
    ran = configured("doctor")
    assert ran.code == 1
    assert any(line.startswith("✗ cloud north     clouds.yaml does not describe 'north'") for line in ran.lines)
    assert not any(line.startswith("✓ configuration") for line in ran.lines)


def test_an_auth_url_that_is_not_keystones_own(configured, cloud, tmp_path):
    config = dict(cloud.config)
    config["auth"] = {**config["auth"], "auth_url": cloud.url}
    (tmp_path / "clouds.yaml").write_text(yaml.safe_dump({"clouds": {NAME: config}}))
    for status in (401, 404):
        cloud.answers[""] = Answer({"error": {"message": "who are you?"}}, status)
        ran = configured("doctor")
        assert ran.code == 1 and ran.err == ""
        assert any(line.startswith("✗ cloud north") and "no Keystone" in line for line in ran.lines)
        assert "ends in /v3" in ran.lines[-1]


def test_a_long_name_stands_apart_from_what_was_found(capsys):
    doctor._show(doctor.Finding("cloud of-a-long-name", doctor.Verdict.FINE, "logged in"))
    assert capsys.readouterr().out == "✓ cloud of-a-long-name logged in\n"


def test_a_clock_that_is_off(configured, cloud):
    cloud.ahead_seconds = 90
    ran = configured("doctor")
    assert ran.code == 0
    assert any(
        "its clock is 90 s ahead of ours" in line or "its clock is 89 s ahead of ours" in line for line in ran.lines
    )
    cloud.ahead_seconds = -90
    assert any("s behind ours" in line for line in configured("doctor").lines)


def test_a_source_that_does_not_exist(configured, tmp_path):
    (tmp_path / "timeline.toml").write_text(f'[clouds.{NAME}]\nsources = ["nova_servres"]\n')
    ran = configured("doctor")
    assert ran.code == 1
    assert any("there is no source 'nova_servres'" in line for line in ran.lines)


def test_a_disk_that_is_almost_full(configured, monkeypatch):
    usage = doctor.shutil.disk_usage("/")
    for free, verdict in ((500_000_000, "broken"), (3_000_000_000, "look"), (9_000_000_000, "fine")):
        monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _, free=free: usage._replace(free=free))
        assert findings(configured("doctor", "--json"))["state"][0][0] == verdict


def test_the_database_and_its_roles(configured, database, monkeypatch):
    monkeypatch.setenv("TIMELINE_DATABASE_URL", database.libpq_url("admin"))
    found = findings(configured("doctor", "--json"))
    assert found["database"][0][0] == "fine" and "by TIMELINE_DATABASE_URL" in found["database"][0][1]
    assert found["tables"] == [("fine", "up to date", "")]
    assert not [what for what in found if what.startswith("role ")]
    with database.connect("admin") as connection:
        connection.execute("set role timeline_owner; revoke insert on timeline.events from timeline_writer")
    ran = configured("doctor", "--json")
    assert ran.code == 1
    assert findings(ran)["role pipeline"] == [("broken", "may not INSERT on timeline.events", "timeline db migrate")]


def test_a_database_that_does_not_answer(configured, monkeypatch):
    monkeypatch.setenv("TIMELINE_DATABASE_URL", "postgresql://somebody:s3cret@127.0.0.1:1/nothing")
    ran = configured("doctor")
    assert ran.code == 1
    assert any(line.startswith("✗ database") and "does not answer" in line for line in ran.lines)
    assert "s3cret" not in ran.out + ran.err


def test_of_the_clouds_only_one(timeline):
    ran = timeline("doctor", "--cloud", "south")
    assert ran.code == 2
    assert "there is no cloud 'south'" in ran.err and "Configured clouds: north." in ran.err
