"""A recording of the recorded cloud is the recording again."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from timeline_assets.config import CloudSettings
from timeline_assets.demo import RECORDING, client
from timeline_assets.demo import record as recorder
from timeline_assets.demo.cloud import Answer
from timeline_assets.demo.record import ACTIONS, HEARTBEATS, LISTINGS, _Recorder, key_of, record
from timeline_assets.demo.recording import read
from timeline_assets.errors import ConfigurationError, SourceError

#: Servers of the small cloud: alive throughout, dead before, made in between and alive, made in between and deleted.
ALIVE, DEAD, MADE, ENDED = range(4)


@pytest.fixture(scope="module")
def small(recording, tmp_path_factory) -> Path:
    """The shipped recording with four of its servers."""
    kept = {}
    for server, of_key in recording.versions["nova_servers"].items():
        was, now = (next(iter(recording_at(of_key, at)), None) for at in (recording.began_at, recording.ended_at))
        kept.setdefault(KINDS.get((was, now)), server)
    path = tmp_path_factory.mktemp("small") / "small.jsonl.gz"
    head, *changes, tail = lines(RECORDING)
    servers = [kept[kind] for kind in range(4)]
    own = [line for line in changes if line["listing"] not in ("nova_servers", ACTIONS) or line["key"][:36] in servers]
    path.write_bytes(gzip.compress("".join(json.dumps(line) + "\n" for line in (head, *own, tail)).encode()))
    return path


KINDS = {("ACTIVE", "ACTIVE"): ALIVE, ("DELETED", "DELETED"): DEAD, (None, "ACTIVE"): MADE, (None, "DELETED"): ENDED}


def recording_at(of_key, at) -> list[str]:
    return [record["status"] for since, record in of_key if since <= at][-1:]


@pytest.fixture
def server(starting, small):
    return starting(recording=small)


@pytest.fixture
def cloud(settings, server, monkeypatch, tmp_path) -> CloudSettings:
    """The recorded cloud, as an entry of clouds.yaml."""
    path = tmp_path / "clouds.yaml"
    path.write_text(json.dumps({"clouds": {"recorded": client.place(settings).config}}))
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(path))
    monkeypatch.setattr(recorder.time, "sleep", lambda _: None)
    return CloudSettings(name="recorded")


class Rounds:
    """Every round moves our clock, and so what the cloud shows; over after `last`."""

    def __init__(self, server, clock, last: int, wait: float = 20) -> None:
        self.seen_at = []
        self._server, self._clock, self._last, self._wait = server, clock, last, wait

    def progress(self, rounds: int, records: int, seconds: float) -> None:
        self.seen_at.append(self._server.now())
        self._clock.wait(self._wait)

    def is_over(self) -> bool:
        return len(self.seen_at) == self._last


def in_any_order(listing: str, rows) -> list[str]:
    """The rows, without their heartbeats."""
    ignored = HEARTBEATS.get(listing, frozenset())
    return sorted(json.dumps({k: v for k, v in row.items() if k not in ignored}, sort_keys=True) for row in rows)


def test_it_shows_what_the_cloud_showed(cloud, server, clock, small, tmp_path):
    rounds, path = Rounds(server, clock, 4), tmp_path / "again.jsonl.gz"
    written = record(cloud, path, is_over=rounds.is_over, progress=rounds.progress)
    again, original = read(path), read(small)
    assert written == sum(len(of_key) for by_key in again.versions.values() for of_key in by_key.values())
    assert again.head == original.head | {"recorded_from": again.head["recorded_from"]}
    original = original.shifted(server.play.asked_at - original.ended_at)
    for name in [*(listing.name for listing in LISTINGS), ACTIONS]:
        shown = in_any_order(name, again.records(name, again.ended_at))
        assert shown == in_any_order(name, original.records(name, rounds.seen_at[-1])), name
    assert [len(again.records("nova_servers", at)) for at in (again.began_at, again.ended_at)] == [2, 4]


def test_what_stays_as_it_is_costs_nothing(cloud, server, clock, monkeypatch, tmp_path):
    answered, asked, about_actions, written = server._http.cloud.get, [], [], []

    def get(path, query, headers):
        asked.append(path)
        return answered(path, query, headers)

    monkeypatch.setattr(server._http.cloud, "get", get)
    rounds = Rounds(server, clock, 5, wait=100)  # from the second on the play is over

    def progress(*told) -> None:
        about_actions.append([path for path in asked if "os-instance-actions" in path])
        written.append(told[1])
        asked.clear()
        rounds.progress(*told)

    record(cloud, tmp_path / "r.gz", is_over=rounds.is_over, progress=progress)
    assert written[1] > written[0]
    assert len(set(written[1:])) == 1
    # a deleted server is asked once more after it was found deleted; an action only when it has changed
    assert [len(paths) for paths in about_actions[2:]] == [3, 2, 2]
    assert len(about_actions[1]) > 4


def test_ctrl_c_ends_it_whole(cloud, tmp_path):
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    path = tmp_path / "r.gz"
    assert record(cloud, path, progress=interrupted) == len(list(lines(path))) - 2
    assert read(path).records("keystone_domains", read(path).ended_at)


def test_what_was_written_when_the_cloud_refuses_is_whole(cloud, server, monkeypatch, tmp_path):
    path = tmp_path / "r.gz"

    def break_off(*_: object) -> None:
        monkeypatch.setattr(server._http.cloud, "get", lambda *_: Answer(403, {"error": {"message": "no longer"}}))

    with pytest.raises(SourceError) as caught:
        record(cloud, path, progress=break_off)
    assert caught.value.code == "forbidden"
    assert len(read(path).records("nova_servers", read(path).ended_at)) == 2


def test_secrets_are_scrubbed(cloud, server, monkeypatch, tmp_path):
    answered = server._http.cloud.get

    def get(path, query, headers):
        answer = answered(path, query, headers)
        if path.endswith("/users"):
            answer.body["users"][0]["password"] = "hunter2"
        return answer

    monkeypatch.setattr(server._http.cloud, "get", get)
    path = tmp_path / "r.gz"
    record(cloud, path, is_over=lambda: True)
    assert any(line.get("record", {}).get("password") == "<scrubbed>" for line in lines(path) if line.get("record"))
    assert "hunter2" not in gzip.decompress(path.read_bytes()).decode()


def test_a_heartbeat_alone_makes_no_line_and_a_change_does():
    known = _Recorder(lambda: None)
    service = {"id": "1", "state": "up", "updated_at": "2026-11-22T10:00:00"}
    assert len(list(known._differing("nova_services", {"1": service}))) == 1
    assert list(known._differing("nova_services", {"1": service | {"updated_at": "2026-11-22T10:00:09"}})) == []
    down = service | {"state": "down", "updated_at": "2026-11-22T10:00:09"}
    assert [line["record"] for line in known._differing("nova_services", {"1": down})] == [down]
    assert len(list(known._differing("nova_servers", {"1": service}))) == 1
    assert len(list(known._differing("nova_servers", {"1": down}))) == 1


def test_keys():
    assignment = {"role": {"id": "r"}, "user": {"id": "u"}, "scope": {"project": {"id": "p"}}, "links": {"x": 1}}
    assert key_of("keystone_role_assignments", assignment) == (
        '{"role": {"id": "r"}, "scope": {"project": {"id": "p"}}, "user": {"id": "u"}}'
    )
    assert key_of("nova_migrations", {"id": 7, "uuid": "u"}) == "u"
    assert key_of("nova_services", {"id": 7}) == "7"


class Odd:
    """A cloud that answers what is no record among those that are."""

    def rows(self, service, path, collection, params, *, microversion=None):
        return [None, "text", ["a list"], {"id": "s1"}]

    def many(self, work, items):
        return [work(item) for item in items]

    def probe(self, service, path, *, microversion=None):
        if path.endswith("os-instance-actions"):
            return {
                "instanceActions": [
                    None,
                    "text",
                    {},
                    *({"request_id": name, "updated_at": "2026"} for name in ("whole", "broken")),
                ]
            }
        return {"instanceAction": None if path.endswith("broken") else {"request_id": "whole"}}


def test_what_is_no_record_is_left_out_and_ends_nothing():
    told = {(line["listing"], line["key"]) for line in _Recorder(Odd).round()}
    assert told == {(listing.name, "s1") for listing in LISTINGS} | {(ACTIONS, "s1/whole")}


def test_a_file_that_cannot_be_written_is_named(cloud, tmp_path):
    path = tmp_path / "nowhere" / "r.gz"
    with pytest.raises(ConfigurationError, match="No such file") as caught:
        record(cloud, path)
    assert str(path) in str(caught.value)


def lines(path):
    return [json.loads(line) for line in gzip.decompress(path.read_bytes()).splitlines()]
