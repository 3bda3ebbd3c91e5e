"""Where the SQL files are.

They stand at the project's root, beside the code that runs them, where an administrator finds them. An editable install
of a clone (`pip install -e .`) is the supported way to run the project; a wheel would not carry them.
"""

from __future__ import annotations

from pathlib import Path

from timeline_assets.errors import ConfigurationError

SQL = Path(__file__).resolve().parents[2] / "sql"


def migration_files() -> list[Path]:
    """The migrations, in their order.

    Raises:
        ConfigurationError: the project is not installed from a clone, so that they are missing.
    """
    files = sorted((SQL / "migrations").glob("*.sql"))
    if not files:
        raise ConfigurationError(
            f"There are no migrations in {SQL / 'migrations'}",
            remedy="install the project from a clone: pip install -e .",
        )
    return files
