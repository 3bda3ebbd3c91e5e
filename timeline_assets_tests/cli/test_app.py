"""The root of the command line: help that teaches, errors that a person reads."""

import signal
import subprocess
import sys

import psutil
import pytest

from timeline_assets.cli import output
from timeline_assets.cli.output import duration, text
from timeline_assets.config import CloudSettings

COMMANDS = ["up", "harvest", "follow", "rebuild", "record", "status", "events", "explain", "doctor", "db"]


def test_help_lists_the_commands_in_the_order_of_their_use(timeline):
    ran = timeline("--help")
    assert ran.code == 0
    found = [
        line.split()[1]
        for line in ran.lines
        if line.startswith("│ ") and line[2].isalpha() and line.split()[1] in COMMANDS
    ]
    assert found == COMMANDS


@pytest.mark.parametrize(
    "command",
    [[name] for name in COMMANDS if name != "db"]
    + [["db", name] for name in ("url", "psql", "migrate", "grant", "revoke")],
)
def test_every_command_teaches_with_an_example(timeline, command):
    ran = timeline(*command, "--help")
    assert ran.code == 0
    assert any(line.startswith(" $ ") and f"timeline {' '.join(command)}" in line for line in ran.lines)


def test_an_unknown_command_is_refused(timeline):
    ran = timeline("harvets")
    assert ran.code == 2
    assert "No such command 'harvets'" in ran.err


def test_a_command_loads_only_what_it_needs():
    loaded = "import sys, timeline_assets.cli; print(*{'polars', 'openstack', 'dagster'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", loaded], capture_output=True, text=True, check=True).stdout == "\n"


# a command that works with the embedded server until somebody ends it
LINGER = """
import sys, time
from pathlib import Path
from timeline_assets.cli.app import command, main
from timeline_assets.store.embedded import EmbeddedPostgres

@command()
def linger(folder: Path):
    "Waits."
    with EmbeddedPostgres(folder, durable=False):
        print("waiting", flush=True)
        time.sleep(600)

main()
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_command_and_the_server_that_it_started(tmp_path, number):
    command = [sys.executable, "-c", LINGER, "linger", str(tmp_path / "postgresql")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "waiting\n"
        started = psutil.Process(process.pid).children(recursive=True)
        assert {"postgres"} <= {one.name() for one in started}
        # `timeout` tells the process, and then its group
        process.send_signal(number)
        process.send_signal(number)
        assert process.wait(60) == 128 + number
    assert [one for one in started if one.is_running()] == []


@pytest.mark.parametrize(
    ("toml", "said"),
    [
        ("clouds = 3", "clouds is no table"),
        ("[clouds.north]\nconcurency = 4", "clouds.north.concurency"),
        ("[web]\nport = 70000", "web.port"),
        ("[web\n", "is not valid TOML"),
    ],
)
def test_a_malformed_configuration_names_file_place_and_remedy(timeline, tmp_path, toml, said):
    (tmp_path / "timeline.toml").write_text(toml)
    ran = timeline("status")
    assert (ran.code, ran.out) == (2, "")
    assert "timeline.toml" in ran.err and said in ran.err
    assert len(ran.err.splitlines()) == 2


def test_a_configuration_that_is_not_there(timeline, tmp_path, monkeypatch):
    monkeypatch.setenv("TIMELINE_CONFIG", str(tmp_path / "other.toml"))
    ran = timeline("status")
    assert ran.code == 2
    assert "other.toml does not exist" in ran.err and "Check TIMELINE_CONFIG." in ran.err


def test_a_mistake_of_ours_is_a_sentence_and_its_trace_a_file(timeline, monkeypatch, tmp_path):
    def broken(self):
        raise RuntimeError("the moon is down")

    monkeypatch.setattr(CloudSettings, "is_demo", property(broken))
    ran = timeline("status")
    assert ran.code == 70
    assert "Error: this should not have happened: RuntimeError: the moon is down" in ran.err
    assert "Traceback" not in ran.err + ran.out


def test_a_database_that_does_not_answer_shows_no_password(timeline, monkeypatch):
    monkeypatch.setenv("TIMELINE_DATABASE_URL", "postgresql://somebody:s3cret@127.0.0.1:1/nothing")
    ran = timeline("events")
    assert ran.code == 3
    assert "does not answer" in ran.err
    assert "s3cret" not in ran.err


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(None, ""), (0, "0 s"), (-3, "0 s"), (59.6, "1 min"), (61, "1 min 1 s"), (3600, "1 h"), (90061, "1 d 1 h")],
)
def test_durations(seconds, expected):
    assert duration(seconds) == expected


def test_a_name_cannot_move_the_cursor():
    assert text("web\x1b[2J\n1\u202e") == "web�[2J�1�"


def test_a_name_is_no_markup(capsys):
    output.table(["name"], [["[red]web[/red]"]])
    assert capsys.readouterr().out.splitlines()[1].strip() == "[red]web[/red]"
