"""The ledger is what the real-cloud suite believes: it must give back exactly what was written."""

from datetime import UTC, datetime

import pytest

from timeline_assets_tests.cloud.ledger import Ledger, read

SENT = datetime(2026, 1, 1, 12, 0, 0, 250000, tzinfo=UTC)
ANSWERED = datetime(2026, 1, 1, 12, 0, 1, tzinfo=UTC)
SETTLED = datetime(2026, 1, 1, 12, 0, 9, tzinfo=UTC)


def line(op: str, resource_id: str | None, name: str | None, project: str = "project-a", **fields) -> dict:
    return {
        "run": "r1",
        "t": SENT,
        "answered_at": ANSWERED,
        "who": "alice@acme/production",
        "actor_user_id": "user-1",
        "actor_project_id": project,
        "actor_domain_id": "domain-1",
        "op": op,
        "resource_type": op.split(".", maxsplit=1)[0],
        "resource_id": resource_id,
        "resource_name": name,
        "owner_scope": "project",
        "owner_project_id": project,
        "owner_domain_id": "domain-1",
        "request_id": "req-1",
        "status": 202,
        "result": "ok",
        "details": {},
        **fields,
    }


@pytest.fixture
def ledger(tmp_path) -> Ledger:
    return Ledger(tmp_path / "ledger.jsonl")


def test_gives_back_what_was_written_joined_with_how_it_ended(ledger, tmp_path):
    made = ledger.append(**line("server.create", "server-1", "web-1"))
    other = ledger.append(**line("volume.create", "volume-1", "data-1"))
    failed = ledger.settle(made, settled_at=SETTLED, state="ERROR", result="failed")
    noted = ledger.note(other, port_id="port-1")
    assert read(tmp_path / "ledger.jsonl") == [failed, noted]
    assert (failed.number, failed.t, failed.state, failed.result, failed.latest) == (
        1,
        SENT,
        "ERROR",
        "failed",
        SETTLED,
    )
    assert (noted.number, noted.settled_at, noted.details, noted.latest) == (2, None, {"port_id": "port-1"}, ANSWERED)


def test_goes_on_where_an_earlier_process_stopped(ledger, tmp_path):
    first = ledger.append(**line("server.create", "server-1", "web-1"))
    again = Ledger(tmp_path / "ledger.jsonl")
    second = again.append(**line("server.reboot", "server-1", "web-1"))
    assert read(tmp_path / "ledger.jsonl") == [first, second]
    assert second.number == 2


def test_finds_the_newest_that_is_not_deleted(ledger):
    ledger.append(**line("server.create", "server-1", "web-1"))
    second = ledger.append(**line("server.create", "server-2", "web-1"))
    assert ledger.find("server", "web-1") == second
    ledger.append(**line("server.delete", "server-2", "web-1"))
    assert ledger.find("server", "web-1").resource_id == "server-1"
    ledger.append(**line("server.delete", "server-1", "web-1", status=409, result="refused"))
    assert ledger.find("server", "web-1").resource_id == "server-1"


def test_tells_twins_apart_by_their_owner_and_skips_what_was_refused(ledger):
    ledger.append(**line("volume.create", "volume-a", "data-1", "project-a"))
    ledger.append(**line("volume.create", "volume-b", "data-1", "project-b"))
    ledger.append(**line("volume.create", None, "data-1", "project-a", status=413, result="refused"))
    assert ledger.find("volume", "data-1", owner_project_id="project-a").resource_id == "volume-a"
    assert ledger.find("volume", "data-1", owner_project_id="project-b").resource_id == "volume-b"
    assert ledger.find("volume", "data-1", owner_project_id="project-c") is None
