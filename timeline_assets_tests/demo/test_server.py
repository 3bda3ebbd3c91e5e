"""The recorded cloud over HTTP: every source reads it, by the real reader, on the replay's clock."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path

import polars as pl
import pytest
import requests

from timeline_assets import clouds
from timeline_assets.config import DEMO
from timeline_assets.demo import RECORDING, client
from timeline_assets.demo import play as plays
from timeline_assets.demo.server import Server, answering
from timeline_assets.errors import SourceError, TimelineError
from timeline_assets.sources import SOURCES
from timeline_assets.sources.base import Shape, Source, Span
from timeline_assets.sources.openstack import OpenStackReader
from timeline_assets_tests.demo.conftest import START

each_source = pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)

SERVERS = "nova_servers"
READ_WHOLE = {s.name for s in SOURCES if s.shape is Shape.SNAPSHOT or s.service in ("network", "block-storage")}


def fetched(source: Source, reader: OpenStackReader, *, since: timedelta = timedelta(hours=1)):
    now = reader._clock()
    return source.fetch(reader, Span(now - since, now + timedelta(hours=1), now, is_open=True))


def play(clock, share: float) -> None:
    """To where so much of the time of playing is over."""
    clock.now = START + timedelta(seconds=plays.CATCH_UP_SECONDS * share)


def latest(servers: pl.DataFrame, name: str, *, after: str = "", limit: int | None = None, **_) -> pl.DataFrame:
    """What the raw stage hands over of another source, as if it had read the servers just now."""
    return servers.filter(pl.col("key") > after).head(limit or servers.height) if name == SERVERS else servers.clear()


def bare(body) -> dict:
    """A record without what its source adds to it or takes from it."""
    role = {name: value for name, value in body.get("role", {}).items() if name != "name"}
    is_service = "binary" in body
    left_out = {"server", "host_status", *(["updated_at"] if is_service else [])}
    return {name: value for name, value in body.items() if name not in left_out} | ({"role": role} if role else {})


def in_any_order(rows) -> list[str]:
    return sorted(json.dumps(row, sort_keys=True) for row in rows)


def known(recording, at) -> pl.DataFrame:
    rows = [(row["id"], json.dumps(row)) for row in recording.records(SERVERS, at)]
    return pl.DataFrame(sorted(rows), schema=["key", "body"], orient="row")


# The sources' contract ----------------------------------------------------------------------------------------------


@each_source
def test_every_source_reads_all_there_is_at_any_time_of_the_play(source, server, reading, clock, recording):
    reading().scope()  # the first question
    shifted = recording.shifted(server.play.asked_at - recording.ended_at)
    for share, page_rows in ((0, 7), (0.55, 1000), (1, 7)):
        play(clock, share)
        servers = known(shifted, server.now())
        reader = reading(
            source.name,
            page_rows=page_rows,
            latest=partial(latest, servers),
            changed=lambda name, since, servers=servers: latest(servers, name),
        )
        result = fetched(source, reader)
        assert result.gap is None
        assert result.malformed == []
        shown = in_any_order(bare(record) for record in shifted.records(source.name, server.now()))
        assert in_any_order(bare(record.body) for record in result.records) == shown
        assert result.is_complete == (source.name in READ_WHOLE)
        assert timedelta(0) <= reader._clock() - result.read_to < timedelta(seconds=5)
        assert abs(reader.clock_skew_seconds) < 2


def test_what_changed_is_narrowed_by_the_service(server, reading, clock):
    reading().scope()
    play(clock, 1)
    (servers,) = (source for source in SOURCES if source.name == SERVERS)
    reader = reading(SERVERS, cursor={"swept_at": client.now(server._settings).strftime("%Y-%m-%dT%H:%M:%SZ")})
    recent = list(fetched(servers, reader, since=timedelta(minutes=2)).records)
    assert 0 < len(recent) < 40
    assert all(record.cursor_at >= clock() - timedelta(minutes=2) for record in recent)


# The clock ----------------------------------------------------------------------------------------------------------


def date_of(server: Server):
    return parsedate_to_datetime(requests.get(f"{server.play.url}/identity", timeout=5).headers["Date"])


def test_the_clock_stands_back_until_the_first_log_in_and_then_catches_up(server, reading, clock, settings):
    lead = timedelta(seconds=server.play.lead_seconds)
    clock.wait(1000)
    assert client.now(settings) == clock() - lead
    assert date_of(server) == (clock() - lead).replace(microsecond=0)
    assert server.play.asked_at is None
    reading().scope()
    assert server.play.asked_at == clock()
    assert client.now(settings) == clock() - lead
    clock.wait(plays.CATCH_UP_SECONDS / 2)
    assert client.now(settings) == clock() - lead / 2
    assert date_of(server) == (clock() - lead / 2).replace(microsecond=0)
    clock.wait(plays.CATCH_UP_SECONDS / 2)
    assert client.now(settings) == clock()
    clock.wait(1)
    assert client.now(settings) == clock()


def test_a_wrong_password_is_refused_and_does_not_start_the_play(server):
    user = {"name": "harvester", "password": "guessed", "domain": {"name": "Default"}}
    body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}}}
    answer = requests.post(f"{server.play.url}/identity/v3/auth/tokens", json=body, timeout=5)
    assert answer.status_code == 401
    assert server.play.asked_at is None


def test_only_log_ins_are_posted_and_none_is_long(server):
    assert requests.post(f"{server.play.url}/compute/v2.1/servers", json={}, timeout=5).status_code == 405
    long = requests.post(f"{server.play.url}/identity/v3/auth/tokens", data=b"x" * 70_000, timeout=5)
    assert long.status_code == 413


def test_what_is_not_there_has_no_time_of_its_own(settings, clock):
    assert client.now(settings) == clock()
    with pytest.raises(SourceError, match="was never started") as caught:
        clouds.connection(settings, DEMO)
    assert caught.value.code == "unreachable"
    assert not client.is_answering(settings)


# Starting again -----------------------------------------------------------------------------------------------------


def all_there_is(reading) -> dict[str, list]:
    return {
        source.name: [(record.key, record.body) for record in fetched(source, reading(source.name)).records]
        for source in SOURCES
    }


def test_after_a_restart_everything_is_as_it_was(server, starting, reading, clock, settings):
    reading().scope()
    play(clock, 1)
    before, place = all_there_is(reading), client.place(settings)
    server.stop()
    assert not client.is_answering(settings)
    clock.wait(86_400)
    assert starting().play == server.play
    assert client.place(settings) == place
    assert client.now(settings) == clock()
    after = all_there_is(reading)
    assert {name: after[name] for name in READ_WHOLE} == {name: before[name] for name in READ_WHOLE}


def test_a_reader_whose_token_is_of_the_server_before_logs_in_again(server, starting, reading):
    reader = reading("keystone_projects")
    assert len(list(reader.rows("identity", "/projects", "projects"))) == 9
    server.stop()
    starting()
    assert len(list(reader.rows("identity", "/projects", "projects"))) == 9


def test_another_port_leads_to_another_connection(starting, settings):
    first = starting()
    kept = clouds.connection(settings, DEMO)
    assert clouds.connection(settings, DEMO) is kept
    first.stop()
    with socket.create_server(("127.0.0.1", first.play.port)):
        second = starting()
    assert second.play.port != first.play.port
    assert clouds.connection(settings, DEMO) is not kept


def test_another_recording_does_not_go_on_with_this_timeline(starting, settings, tmp_path):
    starting().stop()
    other = tmp_path / "other.jsonl.gz"
    other.write_bytes(RECORDING.read_bytes()[:4] + b"\1\0\0\0" + RECORDING.read_bytes()[8:])  # another date in its head
    with pytest.raises(TimelineError, match="another recording") as caught:
        starting(recording=other)
    assert str(settings.state_dir) in str(caught.value)
    starting()


def test_one_process_answers_for_a_folder(starting, settings):
    starting()
    with pytest.raises(TimelineError, match="Another process answers"):
        starting()


def test_a_command_uses_the_server_that_answers_and_else_answers_itself(starting, settings):
    with answering(settings):
        assert client.is_answering(settings)
    assert not client.is_answering(settings)
    server = starting()
    with answering(settings):
        assert plays.load(settings) == server.play
    assert client.is_answering(settings)


def test_what_it_keeps_is_its_owner_s(starting, settings):
    starting()
    assert stat.S_IMODE(plays.path_of(settings).stat().st_mode) == 0o600


def test_a_folder_that_cannot_be_used_is_named(starting, settings):
    settings.state_dir.rmdir()
    with pytest.raises(TimelineError, match="cannot use") as caught:
        starting()
    assert "TIMELINE_HOME" in caught.value.remedy


# Many at once -------------------------------------------------------------------------------------------------------


def test_many_read_at_the_same_time_and_the_first_question_is_one(server, reading, clock):
    gate = threading.Barrier(8)

    def read(number: int):
        reader = reading(f"reader {number}")
        gate.wait()
        ports = list(reader.rows("network", "/ports", "ports", {"sort_key": "id"}))
        return server.play.asked_at, ports

    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(read, range(8)))
    assert all(result == results[0] for result in results)
    assert len(results[0][1]) == 24


# The program --------------------------------------------------------------------------------------------------------


@pytest.fixture
def program(tmp_path) -> Iterator:
    """Runs the server's program on a folder of its own."""
    started = []

    def run(*command: str, home: Path = tmp_path / "home") -> subprocess.Popen:
        (home / DEMO).mkdir(parents=True, exist_ok=True)
        environ = {**os.environ, "TIMELINE_HOME": str(home), "TIMELINE_DEMO": "1"}
        process = subprocess.Popen(
            command or (sys.executable, "-P", "-m", "timeline_assets.demo.server"),
            env=environ,
            cwd=tmp_path,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_program_says_where_it_answers_and_stops_when_told(program, number):
    process = program()
    line = process.stdout.readline()
    assert line.startswith("Recorded cloud of 2026-11-22 (5 minutes) replayed at http://127.0.0.1:")
    assert requests.get(line.split()[-1] + "/identity", timeout=5).status_code == 200
    process.send_signal(number)
    assert process.communicate(timeout=20) == ("", "")
    assert process.returncode == 0


def test_the_program_ends_with_whoever_started_it(program):
    # a parent that starts it, passes its line on, and ends when its own input does
    code = (
        "import subprocess, sys\n"
        "command = [sys.executable, '-P', '-m', 'timeline_assets.demo.server']\n"
        "p = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)\n"
        "print(p.pid, p.stdout.readline(), flush=True)\n"
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    parent = program(sys.executable, "-c", code)
    pid = int(parent.stdout.readline().split()[0])
    parent.wait(timeout=20)
    for _ in range(200):
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            break
        threading.Event().wait(0.05)
    else:
        os.kill(pid, signal.SIGKILL)
        pytest.fail("it outlived its parent by ten seconds")


def test_the_program_s_error_is_a_sentence(program, tmp_path):
    home = tmp_path / "home"
    (home / DEMO).mkdir(parents=True)
    (home / DEMO / "recorded-cloud.json").write_text("{")
    process = program(home=home)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out) == (1, "")
    assert "recorded-cloud.json cannot be read" in err
    assert "Traceback" not in err
