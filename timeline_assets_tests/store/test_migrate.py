"""Migrations, tested as code: once, again, at once, edited, missing, failing."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from timeline_assets.errors import ConfigurationError, DatabaseError
from timeline_assets.store import files
from timeline_assets.store import migrate as migrate_module
from timeline_assets.store.database import Database
from timeline_assets.store.migrate import migrate, pending, read_migrations

FIRST = "CREATE SCHEMA a; CREATE TABLE a.one (n int);"
SECOND = "-- 100 % of {it}\nINSERT INTO a.one VALUES (1);"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of two migrations that stands in for the project's."""
    (tmp_path / "0001_first.sql").write_text(FIRST)
    (tmp_path / "0002_second.sql").write_text(SECOND)
    monkeypatch.setattr(migrate_module, "migration_files", lambda: sorted(tmp_path.glob("*.sql")))
    return tmp_path


def _names(migrations: list[migrate_module.Migration]) -> list[str]:
    return [f"{migration.number} {migration.name}" for migration in migrations]


def _rows(database: Database) -> list[tuple]:
    with database.connect("admin") as connection:
        return connection.execute("SELECT n FROM a.one").fetchall()


def test_all_of_the_projects_migrations_apply_once(empty_database: Database) -> None:
    expected = _names(read_migrations())
    assert _names(pending(empty_database)) == expected
    assert _names(migrate(empty_database)) == expected
    assert pending(empty_database) == []
    assert migrate(empty_database) == []
    with empty_database.connect("provider") as connection:
        recorded = connection.execute("SELECT number, name FROM timeline_meta.migrations ORDER BY 1").fetchall()
    assert [f"{number} {name}" for number, name in recorded] == expected


def test_several_processes_at_once_apply_each_migration_once(empty_database: Database, folder: Path) -> None:
    with ThreadPoolExecutor(6) as pool:
        applied = list(pool.map(lambda _: _names(migrate(empty_database)), range(6)))
    assert sorted(applied) == [[]] * 5 + [["1 first", "2 second"]]
    assert _rows(empty_database) == [(1,)]


def test_a_later_migration_is_applied_alone(empty_database: Database, folder: Path) -> None:
    migrate(empty_database)
    (folder / "0003_third.sql").write_text("INSERT INTO a.one VALUES (3);")
    assert _names(pending(empty_database)) == ["3 third"]
    assert _names(migrate(empty_database)) == ["3 third"]
    assert _rows(empty_database) == [(1,), (3,)]


def test_a_migration_that_fails_changes_nothing_and_is_named(empty_database: Database, folder: Path) -> None:
    (folder / "0003_third.sql").write_text("INSERT INTO a.one VALUES (3); SELECT 1/0;")
    with pytest.raises(DatabaseError, match="0003_third failed and changed nothing: division by zero"):
        migrate(empty_database)
    assert _rows(empty_database) == [(1,)]
    assert _names(pending(empty_database)) == ["3 third"]


def test_an_edited_migration_is_refused(empty_database: Database, folder: Path) -> None:
    migrate(empty_database)
    (folder / "0001_first.sql").write_text(FIRST + " ")
    for look in (pending, migrate):
        with pytest.raises(DatabaseError, match=r"0001_first\.sql is not what was applied"):
            look(empty_database)


def test_a_database_newer_than_the_code_is_refused(empty_database: Database, folder: Path) -> None:
    migrate(empty_database)
    (folder / "0002_second.sql").unlink()
    for look in (pending, migrate):
        with pytest.raises(DatabaseError, match="at migration 0002, newer than this release, which knows 0001"):
            look(empty_database)


def test_a_hole_in_what_was_applied_is_refused(empty_database: Database, folder: Path) -> None:
    migrate(empty_database)
    with empty_database.connect("admin") as connection:
        connection.execute("DELETE FROM timeline_meta.migrations WHERE number = 1")
    with pytest.raises(DatabaseError, match="has migration 0002 but not 0001_first"):
        migrate(empty_database)


@pytest.mark.parametrize("name", ["0004_late.sql", "3_short.sql", "0003-dash.sql", "0002_again.sql"])
def test_a_misnumbered_file_is_refused(folder: Path, name: str) -> None:
    (folder / name).write_text("")
    with pytest.raises(DatabaseError, match=r"stands where 000[23]_"):
        read_migrations()


def test_an_installation_without_the_files_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "SQL", tmp_path)
    with pytest.raises(ConfigurationError, match="no migrations") as caught:
        files.migration_files()
    assert "pip install -e ." in caught.value.remedy
