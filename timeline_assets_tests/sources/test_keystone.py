"""What is particular to the identity service: no times, whole lists, assignments without an id."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from timeline_assets.normalize.registry import describe
from timeline_assets.normalize.schema import OBSERVATION
from timeline_assets.sources import keystone_domains, keystone_projects, keystone_role_assignments, keystone_users
from timeline_assets.sources.base import Span
from timeline_assets.sources.whole import PAUSE, SHORT_LIST
from timeline_assets_tests.sources.fakecloud import Answer

NOW = datetime(2026, 11, 22, 10, 0, 30, tzinfo=UTC)
BEFORE = NOW - timedelta(seconds=10)
SPAN = Span(NOW - timedelta(minutes=5), NOW + timedelta(minutes=30), NOW, is_open=True)
ASSIGNMENTS, ROLES = "identity/v3/role_assignments", "identity/v3/roles"


def observed(body: dict[str, Any], previous: dict[str, Any] | None = None, **more: Any) -> pl.LazyFrame:
    row = {
        "cloud": "test",
        "source": "keystone",
        "key": body.get("id", "key"),
        "op": "seen",
        "observed_at": NOW,
        "seen_from": BEFORE,
        "body": json.dumps(body),
        "previous": previous and json.dumps(previous),
        "sha256": "0",
        "raw_ref": "file#0",
    }
    return pl.DataFrame([row | more], schema=OBSERVATION).lazy()


PROJECT = {"id": "p", "name": "web", "domain_id": "d", "parent_id": "d", "enabled": True, "tags": [], "description": ""}
GRANT = {"role": {"id": "r", "name": "member"}, "user": {"id": "u"}, "scope": {"project": {"id": "p"}}}


# Reading ------------------------------------------------------------------------------------------------------------


def test_lists_are_asked_for_whole(cloud, reading):
    cloud.answers["identity/v3/projects"] = {"projects": [PROJECT], "links": {"next": None}}
    fetched = keystone_projects.fetch(reading("keystone_projects"), SPAN)
    assert [(record.key, record.cursor_at) for record in fetched.records] == [("p", None)]
    assert (fetched.is_complete, fetched.requests) == (True, 1)
    assert cloud.asked("identity/v3/projects")[0].query == {}


def test_a_long_list_is_not_read_all_the_time(cloud, reading):
    cloud.answers["identity/v3/users"] = {"users": [], "links": {"next": None}}
    to = (NOW - timedelta(seconds=40)).isoformat()
    long = {"rows": SHORT_LIST + 1, "read_at": (NOW - timedelta(seconds=30)).isoformat(), "read_to": to}
    resting = keystone_users.fetch(reading("keystone_users", cursor=long | {"read_seconds": 31 / PAUSE}), SPAN)
    assert (list(resting.records), resting.is_complete, resting.read_to.isoformat()) == ([], False, to)
    assert cloud.asked("identity/v3/users") == []
    assert keystone_users.fetch(reading("keystone_users", cursor=long | {"read_seconds": 3.0}), SPAN).is_complete


def test_assignments_are_keyed_by_their_parts_and_given_their_roles_names(cloud, reading):
    rows = [
        {"role": {"id": "r"}, "user": {"id": "u"}, "scope": {"project": {"id": "p"}}},
        {
            "role": {"id": "r"},
            "group": {"id": "g"},
            "scope": {"domain": {"id": "d"}, "OS-INHERIT:inherited_to": "projects"},
        },
        {"role": {"id": "unknown"}, "user": {"id": "u"}, "scope": {"system": {"all": True}}},
    ]
    cloud.answers |= {ASSIGNMENTS: {"role_assignments": rows}, ROLES: {"roles": [{"id": "r", "name": "member"}]}}
    fetched = keystone_role_assignments.fetch(reading("keystone_role_assignments"), SPAN)
    assert {record.key: record.body["role"] for record in fetched.records} == {
        "r/user/u/project/p": {"id": "r", "name": "member"},
        "r/group/g/domain/d/inherited": {"id": "r", "name": "member"},
        "unknown/user/u/system/all": {"id": "unknown"},
    }
    assert fetched.requests == 2


@pytest.mark.parametrize(
    "row",
    [
        {"role": {"id": "r"}, "scope": {"project": {"id": "p"}}},
        {"role": {"id": "r"}, "user": {"id": "u"}},
        {"role": {"id": "r"}, "user": {"id": "u"}, "scope": {}},
        {"role": {"id": "r"}, "user": [], "scope": {"project": {"id": "p"}}},
        {"role": "r", "user": {"id": "u"}, "scope": {"project": {"id": "p"}}},
        {"user": {"id": "u"}, "scope": {"project": {"id": "p"}}},
    ],
)
def test_an_assignment_that_lacks_a_part_is_set_apart(cloud, reading, row):
    cloud.answers |= {ASSIGNMENTS: {"role_assignments": [row]}, ROLES: {"roles": []}}
    fetched = keystone_role_assignments.fetch(reading("keystone_role_assignments"), SPAN)
    assert (fetched.records, fetched.malformed) == ([], [("no id", json.dumps(row))])


def test_role_names_that_cannot_be_read_are_a_gap_not_a_guess(cloud, reading):
    cloud.answers |= {ASSIGNMENTS: {"role_assignments": [GRANT]}, ROLES: Answer({}, 403)}
    with pytest.raises(Exception, match="identity /roles: 403"):
        keystone_role_assignments.fetch(reading("keystone_role_assignments"), SPAN)


# Meaning ------------------------------------------------------------------------------------------------------------


def test_what_the_first_scan_finds_was_not_born_then():
    for source, body in ((keystone_projects, PROJECT), (keystone_role_assignments, GRANT)):
        assert source.normalize(observed(body, seen_from=None)).collect().is_empty()
        assert source.normalize(observed(body)).collect().height == 1


def test_a_change_lies_between_two_scans():
    [fact] = keystone_projects.normalize(observed(PROJECT | {"enabled": False}, PROJECT)).collect().to_dicts()
    assert fact["changes"] == '[{"path":"enabled","old":true,"new":false}]'
    assert (fact["occurred_from"], fact["occurred_at"], fact["occurred_to"]) == (
        BEFORE,
        NOW - timedelta(seconds=5),
        NOW,
    )
    assert (fact["target_project_id"], fact["target_domain_id"]) == ("p", "d")


def test_the_same_change_twice_is_two_facts():
    def version(seen_from: datetime) -> str:
        changed = observed(PROJECT | {"enabled": False}, PROJECT, seen_from=seen_from)
        return keystone_projects.normalize(changed).collect()["source_version"].item()

    assert version(BEFORE) == version(BEFORE)
    assert version(BEFORE) != version(BEFORE - timedelta(minutes=1))


def test_what_is_not_tracked_is_no_event():
    user = {"id": "u", "name": "alice", "domain_id": "d", "enabled": True, "password_expires_at": None}
    assert keystone_users.normalize(observed(user | {"password_expires_at": "[gone]"}, user)).collect().is_empty()


@pytest.mark.parametrize(
    ("scope", "project_id", "domain_id"),
    [
        ({"project": {"id": "p"}}, "p", None),
        ({"domain": {"id": "d"}, "OS-INHERIT:inherited_to": "projects"}, None, "d"),
        ({"system": {"all": True}}, None, None),
    ],
)
def test_a_grants_target_is_what_it_is_held_on(scope, project_id, domain_id):
    [fact] = describe(keystone_role_assignments.normalize(observed(GRANT | {"scope": scope}))).collect().to_dicts()
    assert (fact["target_project_id"], fact["target_domain_id"]) == (project_id, domain_id)
    assert (fact["target"], fact["visibility"], fact["severity"]) == ("project", "security", 3)
    assert fact["title"] == "Role member granted (seen between two scans)"


def test_a_role_granted_again_is_another_grant():
    again = observed(GRANT, observed_at=NOW + timedelta(hours=1), seen_from=NOW)
    ids = [
        keystone_role_assignments.normalize(frame).collect()["event_id"].item() for frame in (observed(GRANT), again)
    ]
    assert ids[0] != ids[1]


def test_a_role_that_is_renamed_is_not_granted_again():
    renamed = GRANT | {"role": {"id": "r", "name": "operator"}}
    assert keystone_role_assignments.normalize(observed(renamed, GRANT)).collect().is_empty()


# Evidence -----------------------------------------------------------------------------------------------------------


def claims(source, body: dict[str, Any]) -> set[tuple[Any, ...]]:
    frame = source.evidence(observed(body)).collect()
    columns = ("resource_type", "claim", "name", "project_id", "domain_id", "relation", "to_type")
    rows = frame.select(*columns, pl.col("to_ids").list.join(",")).rows()
    return {tuple(value for value in row if value is not None) for row in rows}


def test_projects_belong_to_their_domain_and_nest():
    child = PROJECT | {"parent_id": "elder"}
    assert claims(keystone_projects, child) == {
        ("project", "seen", "web"),
        ("project", "owner", "d"),
        ("project", "edges", "child_of", "project", "elder"),
    }
    assert ("project", "edges", "child_of", "project", "") in claims(keystone_projects, PROJECT)


def test_domains_belong_to_themselves_and_users_to_their_domain():
    assert claims(keystone_domains, {"id": "d", "name": "acme"}) == {
        ("domain", "seen", "acme"),
        ("domain", "owner", "d"),
    }
    user = {"id": "u", "name": "alice", "domain_id": "d", "default_project_id": "p"}
    assert claims(keystone_users, user) == {("user", "seen", "alice"), ("user", "owner", "d")}


def test_assignments_tie_holder_role_and_scope():
    assert claims(keystone_role_assignments, GRANT) == {
        ("role_assignment", "seen", "member"),
        ("role_assignment", "edges", "held_by", "user", "u"),
        ("role_assignment", "edges", "held_on", "project", "p"),
    }
