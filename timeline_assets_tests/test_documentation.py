"""What the documents say is so: every key, every command, the two of the quick start, and what the lock holds."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from timeline_assets.config import PROJECT, CloudSettings, Settings, load
from timeline_assets_tests.cli.test_app import COMMANDS

README = (PROJECT / "README.md").read_text()
CONFIGURATION = (PROJECT / "docs" / "configuration.md").read_text()
DOCUMENTS = [PROJECT / "README.md", *(PROJECT / "docs").rglob("*.md")]


def rows() -> dict[str, list[str]]:
    """The rows of the configuration's tables as they have to stand in the document, by section."""
    found = {"the file": _rows(Settings, ""), "[clouds.NAME]": _rows(CloudSettings, "")}
    for name, field in Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            found[f"[{name}]"] = _rows(field.annotation, "")
    return found


def _rows(model: type[BaseModel], prefix: str) -> list[str]:
    found = []
    for name, field in model.model_fields.items():
        if field.description is None:
            assert name in ("name", "clouds") or isinstance(field.default, BaseModel), f"{name} is not described"
            continue
        given = field.default
        default = "" if given is None or given is PydanticUndefined or given == {} else f"`{_toml(given)}`"
        found.append(f"| `{prefix}{name}` | {default} | {field.description} |")
    return found


def _toml(value: object) -> str:
    return json.dumps(list(value) if isinstance(value, tuple) else value)


@pytest.mark.parametrize("section", rows())
def test_every_key_is_documented_with_its_default(section):
    missing = [row for row in rows()[section] if row not in CONFIGURATION]
    assert not missing, "docs/configuration.md lacks:\n" + "\n".join(missing)


def test_every_variable_is_documented():
    source = (PROJECT / "timeline_assets" / "config.py").read_text()
    variables = set(re.findall(r'"((?:TIMELINE|OS)_[A-Z_]+)"', source))
    assert variables
    assert {name for name in variables if f"`{name}`" not in CONFIGURATION} == set()


def test_the_example_of_the_configuration_is_one(tmp_path):
    examples = re.findall(r"```toml\n(.*?)```", CONFIGURATION, re.DOTALL)
    assert examples
    for number, example in enumerate(examples):
        path = tmp_path / f"{number}.toml"
        path.write_text(example)
        assert load(environ={"TIMELINE_CONFIG": str(path)}).clouds


def test_the_quick_start_is_two_commands():
    [block] = re.findall(r"## Quick start.*?```(?:console|sh)\n(.*?)```", README, re.DOTALL)
    commands = [line.removeprefix("$ ").split("#")[0].strip() for line in block.splitlines() if line.strip()]
    assert commands == ["./timeline up", "./timeline test"]


def test_every_command_is_in_the_operators_guide():
    guide = (PROJECT / "docs" / "operator.md").read_text()
    assert {name for name in COMMANDS if f"timeline {name}" not in guide} == set()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(PROJECT)))
def test_what_a_document_points_at_is_there(document):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", document.read_text()):
        if "://" not in target:
            assert (document.parent / target).exists(), target


def test_the_lock_holds_what_is_asked_for():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    asked = [
        *project["project"]["dependencies"],
        *project["project"]["optional-dependencies"]["test"],
        *project["build-system"]["requires"],
    ]
    lock = (PROJECT / "requirements.lock").read_text()
    locked = set(re.findall(r"^([a-z0-9.-]+)==", lock, re.MULTILINE))
    assert {re.split(r"[<>=\[]", one)[0].lower().replace("_", "-") for one in asked} <= locked
    assert "://" not in lock and "index-url" not in lock
    assert all("--hash=sha256:" in entry for entry in re.split(r"\n(?=[a-z0-9])", lock)[1:])


def test_the_code_imports_only_what_is_asked_for():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    asked = {re.split(r"[<>=\[]", one)[0].lower() for one in project["project"]["dependencies"]}
    modules = {name: name.replace("-", "_") for name in asked} | {"pyyaml": "yaml", "openstacksdk": "openstack"}
    imported = {
        name.split(".")[0]
        for path in (PROJECT / "timeline_assets").rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        for name in _names(node)
    }
    foreign = imported - set(sys.stdlib_module_names) - {"timeline_assets"}
    assert foreign <= set(modules.values())


def _names(node: ast.AST) -> list[str]:
    match node:
        case ast.Import(names):
            return [alias.name for alias in names]
        case ast.ImportFrom(module, _, 0):
            return [module]
    return []


def test_no_folder_of_one_persons_machine_is_in_the_project():
    tracked = subprocess.run(
        ["git", "ls-files"], cwd=PROJECT, capture_output=True, text=True, check=False
    ).stdout.split()
    if not tracked:
        pytest.skip("this is no clone")
    texts = [Path(PROJECT / name) for name in tracked if not name.endswith((".gz", ".parquet", ".png"))]
    here = re.compile(re.escape(f"{PROJECT}/"))
    assert [str(path) for path in texts if path.exists() and here.search(path.read_text(errors="replace"))] == []
