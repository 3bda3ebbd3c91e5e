"""What `timeline up` decides before it starts anything; the whole of it is tried in test_whole.py."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
from pathlib import Path

import pytest

from timeline_assets import up
from timeline_assets.config import CloudSettings, Settings
from timeline_assets.errors import ConfigurationError, DatabaseError, TimelineError
from timeline_assets.pipeline import Pipeline
from timeline_assets.raw.harvest import harvest
from timeline_assets.raw.store import RawStore
from timeline_assets.raw.windows import Window
from timeline_assets.sources.base import Shape
from timeline_assets.store.database import Database, parse_url
from timeline_assets.up import AlreadyRunning, running
from timeline_assets_tests.cli.conftest import tell
from timeline_assets_tests.raw.telling import Clock, Cloud, at


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state_dir=tmp_path / "state", clouds=(CloudSettings(name="north"),))


def test_nothing_runs_where_nothing_was_ever_started(settings):
    assert running(settings) is None
    assert not settings.state_dir.exists()


def test_who_runs_is_known_by_process_and_address(settings):
    with up._alone(settings) as note:
        found = running(settings)
        assert (found.pid, found.url) == (os.getpid(), None)
        note("http://127.0.0.1:3000")
        assert running(settings).url == "http://127.0.0.1:3000"
    assert running(settings) is None, "a lock ends with its holder, whatever the file says"
    assert json.loads((settings.state_dir / "up.json").read_text())["pid"] == os.getpid()


def test_a_second_one_beside_the_first_is_refused(settings):
    with up._alone(settings) as note:
        note("http://127.0.0.1:3000")
        with pytest.raises(AlreadyRunning) as error, up._alone(settings):
            pass
        assert f"process {os.getpid()}, since " in str(error.value)
        assert str(error.value).endswith("its web server at http://127.0.0.1:3000")
        assert error.value.remedy.endswith(f"kill {os.getpid()}")
        assert running(settings).url == "http://127.0.0.1:3000", "the first one's note is untouched"


def test_a_database_that_does_not_answer_is_said_first(tmp_path):
    dead = Settings(
        state_dir=tmp_path / "state",
        database_url="postgresql://u:p@127.0.0.1:1/d",
        clouds=(CloudSettings(name="demo"),),
    )
    said = []
    with pytest.raises(DatabaseError):
        up.up(dead, said.append)
    assert said == []


def test_while_the_first_has_not_said_anything_yet(settings):
    with up._alone(settings):
        (settings.state_dir / "up.json").write_text("")
        with pytest.raises(AlreadyRunning) as error, up._alone(settings):
            pass
    assert str(error.value) == "timeline up already runs here: still starting"


def test_the_state_is_nobody_elses_business(settings):
    with up._alone(settings):
        assert stat.S_IMODE(settings.state_dir.stat().st_mode) == 0o700
        assert stat.S_IMODE((settings.state_dir / "up.json").stat().st_mode) == 0o600


def test_a_state_folder_that_cannot_be_used(tmp_path):
    (tmp_path / "file").write_text("")
    settings = Settings(state_dir=tmp_path / "file" / "state", clouds=(CloudSettings(name="north"),))
    with pytest.raises(TimelineError, match="cannot be used: Not a directory") as error, up._alone(settings):
        pass
    assert "TIMELINE_HOME" in error.value.remedy


def test_a_port_that_is_taken_gives_way_to_the_next():
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        assert taken < up._free_port("127.0.0.1", taken) <= taken + up.PORTS_TO_TRY
    assert up._free_port("127.0.0.1", 0) > 0


def test_no_port_is_free(monkeypatch):
    monkeypatch.setattr(up, "PORTS_TO_TRY", 1)
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        with pytest.raises(TimelineError, match=f"No free port from {taken} to {taken}"):
            up._free_port("127.0.0.1", taken)


def test_an_address_that_is_not_of_this_machine():
    with pytest.raises(TimelineError, match=r"cannot listen on 192\.0\.2\.1"):
        up._free_port("192.0.2.1", 3000)


@pytest.mark.parametrize(
    ("host", "visible"),
    [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("::1", "[::1]"), ("north", "north")],
)
def test_the_address_is_one_that_a_browser_here_can_open(host, visible):
    assert up._visible(host) == visible


def test_a_deep_state_folder_gets_its_socket_elsewhere(tmp_path):
    deep = tmp_path / ("x" * 100)
    deep.mkdir()
    with contextlib.ExitStack() as stack:
        path = up._socket(deep, stack)
        assert len(os.fsencode(path)) <= up.LONGEST_SOCKET_PATH
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert not path.parent.exists()


def test_the_demo_is_named_as_what_it_is(tmp_path):
    demo = Settings(state_dir=tmp_path, clouds=(CloudSettings(name="demo"),))
    assert "demo" in up._about(demo) and "OS_CLOUD" in up._about(demo)


def test_a_real_cloud_is_named(settings):
    assert up._about(settings) == f"Starting the timeline of north; state in {settings.state_dir}"


def test_a_cloud_that_clouds_yaml_does_not_have_ends_the_start_at_once(tmp_path, monkeypatch, settings):
    (tmp_path / "clouds.yaml").write_text("clouds: {}\n")
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "clouds.yaml"))
    said = []
    with pytest.raises(ConfigurationError, match=r"clouds\.yaml does not describe 'north'"):
        up.up(settings, said.append)
    assert said == []
    assert running(settings) is None


def test_a_source_that_is_none_ends_the_start_at_once(settings):
    settings = settings.model_copy(update={"clouds": (CloudSettings(name="demo", sources=("nova_servres",)),)})
    with pytest.raises(ConfigurationError, match="there is no source 'nova_servres'"):
        up.up(settings, lambda _: None)


def test_news_are_told_once(database, monkeypatch):
    monkeypatch.setattr(up, "NEWS_SECONDS", 0)
    said = []
    news = up.News(database, said.append)
    news.look()
    assert said == []
    with database.connect("pipeline") as connection:
        connection.execute(
            """insert into raw.scans (cloud, source, failures, reason, detail) values
            ('north', 'nova_servers', 2, 'auth_failed', 'north: refused'),
            ('north', 'nova_services', 3, 'auth_failed', 'north: refused'),
            ('south', 'nova_servers', 2, 'unreachable', 'south: no answer'),
            ('south', 'nova_services', 1, 'timeout', 'south: once is nothing to tell of')"""
        )
    news.look()
    news.look()
    assert [line for line in said if not line.startswith("  ")] == [
        "north: 2 sources cannot be read: auth_failed: north: refused",
        "south: nova_servers cannot be read: unreachable: south: no answer",
    ]
    assert said[1] == (
        "  Check user, password, project and domains of this cloud in clouds.yaml. It is tried again by itself."
    )
    said.clear()
    with database.connect("pipeline") as connection:
        connection.execute("update raw.scans set failures = 0, reason = null where cloud = 'north'")
    news.look()
    assert said == ["north: no longer auth_failed"]
    said.clear()
    tell(database)
    news.look()
    news.look()
    assert said == ["The first events are in: ./timeline events"]


def test_a_gap_that_repeats_is_told_though_the_source_answers(database, monkeypatch, tmp_path):
    monkeypatch.setattr(up, "NEWS_SECONDS", 0)
    settings = Settings(state_dir=tmp_path, clouds=(CloudSettings(name="east"),))
    pipeline = Pipeline(settings, database, RawStore(tmp_path / "raw"))
    cloud = Cloud(Shape.MUTABLE, Clock(at("10:05")), gap="cell_down")
    said = []
    news = up.News(database, said.append)
    for _ in range(3):
        harvest(pipeline, "east", cloud.source(), Window.of(cloud.clock.now), reader=cloud, clock=cloud.clock)
        news.look()
    assert said[:1] == ["east: things cannot be read: cell_down: why: cell_down"]
    cloud.gap = None
    harvest(pipeline, "east", cloud.source(), Window.of(cloud.clock.now), reader=cloud, clock=cloud.clock)
    news.look()
    assert said[2:] == ["east: no longer cell_down"]


def test_events_that_were_there_are_no_news(database, monkeypatch):
    monkeypatch.setattr(up, "NEWS_SECONDS", 0)
    tell(database)
    said = []
    news = up.News(database, said.append)
    news.look()
    news.look()
    assert said == []


def test_news_wait_while_the_database_is_away(monkeypatch):
    away = Database({"pipeline": parse_url("postgresql://nobody@127.0.0.1:1/nothing", "a test")})
    up.News(away, pytest.fail).look()
