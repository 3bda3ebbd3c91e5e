"""The launcher, without installing anything: which Python it takes, when it installs, what it says when it cannot."""

from __future__ import annotations

import ast
import importlib.machinery
import importlib.util
import os
import stat
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from timeline_assets.config import PROJECT

LAUNCHER = PROJECT / "timeline"


@pytest.fixture
def launcher(tmp_path: Path) -> ModuleType:
    """The launcher of a clone in a temporary folder."""
    for name in ("timeline", "pyproject.toml", "requirements.lock"):
        (tmp_path / name).write_bytes((PROJECT / name).read_bytes())
    loader = importlib.machinery.SourceFileLoader("launcher", str(tmp_path / "timeline"))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader("launcher", loader))
    loader.exec_module(module)
    return module


@pytest.fixture
def clone(launcher: ModuleType) -> Path:
    return Path(launcher.PROJECT)


@pytest.fixture
def ran(launcher: ModuleType, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What would have been executed in the launcher's place."""
    done = []
    monkeypatch.setattr(launcher.os, "execve", lambda program, arguments, environ: done.append(arguments))
    monkeypatch.setattr(launcher.os, "chdir", lambda path: done.append(["cd", path]))
    return done


def make_ready(launcher: ModuleType) -> None:
    python = Path(launcher.ENVIRONMENT) / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    Path(launcher.READY).write_text(launcher.fingerprint())


def test_it_can_be_run_and_read_by_an_old_python():
    source = LAUNCHER.read_text()
    assert LAUNCHER.stat().st_mode & stat.S_IXOTH
    assert source.startswith("#!/usr/bin/env python3\n")
    ast.parse(source, feature_version=(3, 7))
    assert not [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.JoinedStr | ast.NamedExpr)]


def test_it_needs_nothing_but_the_standard_library():
    tree = ast.parse(LAUNCHER.read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert imported <= set(sys.stdlib_module_names)


def test_a_ready_environment_is_used_at_once(launcher, ran, clone):
    make_ready(launcher)
    launcher.main(["events", "--limit", "1"])
    launcher.main([])
    launcher.main(["test", "-k", "x"])
    program = str(clone / ".venv" / "bin" / "timeline")
    python = str(clone / ".venv" / "bin" / "python")
    assert ran == [
        [program, "events", "--limit", "1"],
        [program, "--help"],
        ["cd", str(clone)],
        [python, "-m", "pytest", "-k", "x"],
    ]


@pytest.mark.parametrize("name", ["requirements.lock", "pyproject.toml"])
def test_what_was_asked_for_has_changed(launcher, clone, name):
    make_ready(launcher)
    assert launcher.is_ready()
    with (clone / name).open("a") as file:
        file.write("# more\n")
    assert not launcher.is_ready()


def test_a_clone_that_was_moved_is_made_ready_again(launcher, monkeypatch, tmp_path):
    make_ready(launcher)
    before = launcher.fingerprint()
    (tmp_path / "other").mkdir()
    for name in ("requirements.lock", "pyproject.toml"):
        (tmp_path / "other" / name).write_bytes((tmp_path / name).read_bytes())
    monkeypatch.setattr(launcher, "PROJECT", str(tmp_path / "other"))
    assert launcher.fingerprint() != before


def test_an_interrupted_environment_is_not_ready(launcher):
    make_ready(launcher)
    Path(launcher.READY).unlink()
    assert not launcher.is_ready()


def test_who_waited_for_another_start_does_not_install_again(launcher, ran, monkeypatch):
    monkeypatch.setattr(launcher, "prepare", lambda: pytest.fail("the other one has done it"))
    answers = iter([False, True])
    monkeypatch.setattr(launcher, "is_ready", lambda: next(answers))
    launcher.main(["status"])
    assert len(ran) == 1


def test_the_python_that_runs_it_is_taken_if_it_will_do(launcher, monkeypatch):
    monkeypatch.setattr(launcher, "succeeds", lambda command: True)
    assert launcher.usable_python() == sys.executable


def test_another_python_is_looked_for(launcher, monkeypatch):
    monkeypatch.setattr(launcher.shutil, "which", lambda name: f"/opt/{name}" if name == "python3.12" else None)
    monkeypatch.setattr(launcher, "succeeds", lambda command: command[0] == "/opt/python3.12")
    assert launcher.usable_python() == "/opt/python3.12"


def test_a_python_without_venv_says_what_to_install(launcher, monkeypatch):
    monkeypatch.setattr(launcher, "succeeds", lambda command: False)
    monkeypatch.setattr(launcher.sys, "version_info", (3, 11, 2))
    with pytest.raises(launcher.Failure) as error:
        launcher.usable_python()
    assert "sudo apt-get install python3.11-venv" in str(error.value)


@pytest.mark.parametrize("version", [(3, 9, 1), (3, 15, 0)])
def test_a_python_that_will_not_do_says_which_would(launcher, monkeypatch, version):
    monkeypatch.setattr(launcher, "succeeds", lambda command: False)
    monkeypatch.setattr(launcher.sys, "version_info", version)
    with pytest.raises(launcher.Failure) as error:
        launcher.usable_python()
    assert f"needs Python 3.11 to 3.14; this is {version[0]}.{version[1]}" in str(error.value)


@pytest.mark.parametrize(
    ("said", "remedy"),
    [
        ("ERROR: [Errno 28] No space left on device", "Free 1 GB"),
        ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE REQUIREMENTS FILE.", "not the one that was locked"),
        ("ERROR: No matching distribution found for polars==2.1.0", "try another Python from 3.11 to 3.14"),
        ("WARNING: Retrying\nERROR: Could not install: NewConnectionError", "reaches a Python package index"),
        ("ERROR: [Errno 13] Permission denied: '/x'", "the user to whom this folder belongs"),
    ],
)
def test_what_pip_said_comes_with_what_to_do(launcher, said, remedy):
    Path(launcher.LOG).write_text(f"Collecting polars\n{said}\n")
    failure = str(launcher.explained("The packages cannot be installed"))
    assert failure.startswith("The packages cannot be installed:\n  ")
    assert remedy in failure
    assert failure.endswith(f"All of it: {launcher.LOG}")


def test_a_failed_install_is_a_message_and_no_trace(clone):
    # the one Python of this PATH is ours; the folder that the environment should go to is a file
    (clone / ".venv").write_text("in the way")
    environ = {**os.environ, "PATH": str(Path(sys.executable).parent)}
    command = [sys.executable, clone / "timeline", "status"]
    said = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert said.returncode == 1
    assert "Traceback" not in said.stderr
    assert "The environment cannot be made" in said.stderr


def test_a_shells_own_settings_do_not_lead_pip_away(launcher, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    monkeypatch.setenv("PIP_TARGET", "/elsewhere")
    monkeypatch.setenv("OS_CLOUD", "north")
    environ = launcher.clean_environ()
    assert "PYTHONPATH" not in environ and "PIP_TARGET" not in environ and environ["OS_CLOUD"] == "north"


def test_packages_are_counted(launcher):
    assert 80 < launcher.packages_of(launcher.LOCK) < 150
