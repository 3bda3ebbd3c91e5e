"""A configuration that cannot be used says where it is wrong and what to do, and never ends in a trace."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from timeline_assets.config import Settings, load, replace_file
from timeline_assets.errors import ConfigurationError


def loaded(path: Path, **environ: str) -> Settings:
    return load(environ={"TIMELINE_CONFIG": str(path), "TIMELINE_HOME": str(path.parent / "home"), **environ})


def refused(path: Path, text: str) -> str:
    path.write_text(text)
    with pytest.raises(ConfigurationError) as error:
        loaded(path)
    assert error.value.remedy
    return str(error.value).removeprefix(f"{path}: ")


def test_a_cloud_that_is_no_section(tmp_path):
    assert refused(tmp_path / "t.toml", "[clouds]\nx = 3") == "clouds.x is no table"
    assert refused(tmp_path / "t.toml", "clouds = 3") == "clouds is no table"


@pytest.mark.parametrize("name", ["é", "a-b", "a b", "", "x" * 64, "\N{ARABIC-INDIC DIGIT ONE}"])
def test_a_cloud_is_named_as_asset_keys_can_be(tmp_path, name):
    assert "letters a to z" in refused(tmp_path / "t.toml", f'[clouds."{name}"]')


@pytest.mark.parametrize(("os_cloud", "name"), [("my-cloud", "my_cloud"), ("café.eu", "caf__eu"), ("y" * 80, "y" * 63)])
def test_a_cloud_of_the_environment_gets_a_name_that_can_be_used(tmp_path, os_cloud, name):
    (tmp_path / "t.toml").touch()
    [cloud] = loaded(tmp_path / "t.toml", OS_CLOUD=os_cloud).clouds
    assert (cloud.name, cloud.os_cloud) == (name, os_cloud)


def test_every_mistake_of_a_file_is_named(tmp_path):
    wrong = "[harvest]\npoll_secnds = 5\nunheard = 1\n[web]\nport = 99999\n[clouds.north]\nx = 1"
    (tmp_path / "t.toml").write_text(wrong)
    with pytest.raises(ConfigurationError) as error:
        loaded(tmp_path / "t.toml")
    said = str(error.value)
    assert "there is no key harvest.poll_secnds, did you mean poll_seconds?" in said
    assert "there is no key harvest.unheard" in said
    assert "there is no key clouds.north.x" in said
    assert "web.port: Input should be less than or equal to 65535" in said


def test_a_folder_is_no_configuration(tmp_path):
    with pytest.raises(ConfigurationError, match="cannot be read: Is a directory"):
        loaded(tmp_path)


def test_the_first_window_is_remembered(tmp_path):
    (tmp_path / "t.toml").touch()
    first = loaded(tmp_path / "t.toml").first_window()
    assert (first.minute, first.tzinfo) == (0, UTC)
    home = loaded(tmp_path / "t.toml").state_dir
    replace_file(home / "first_window", "2026-11-01T05:30")
    assert loaded(tmp_path / "t.toml").first_window() == datetime(2026, 11, 1, 5, tzinfo=UTC)
    assert [path.name for path in home.iterdir()] == ["first_window"]


@pytest.mark.parametrize("text", ["", "soon", "0001-01-01T00:00:00+14:00"])
def test_a_first_window_that_is_none_is_named(tmp_path, text):
    (tmp_path / "t.toml").touch()
    settings = loaded(tmp_path / "t.toml")
    settings.first_window()
    (settings.state_dir / "first_window").write_text(text)
    with pytest.raises(ConfigurationError, match="first_window does not hold the hour") as error:
        settings.first_window()
    assert "harvest.start" in error.value.remedy


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "file"
    replace_file(path, "old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        replace_file(path, "new")
    assert path.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
