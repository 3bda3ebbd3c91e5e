"""The schema that the migrations result in, as one text: `sql/schema.sql`, to be read and to be compared.

`python -m timeline_assets.store.schema` writes it anew, from a server of its own that is gone afterwards.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from timeline_assets.errors import DatabaseError, TimelineError
from timeline_assets.store.binaries import ENVIRONMENT, wheel_programs
from timeline_assets.store.database import Database, open_database
from timeline_assets.store.files import SQL
from timeline_assets.store.migrate import migrate

SCHEMA_FILE = SQL / "schema.sql"

HEADER = """\
-- What the migrations result in. Generated: python -m timeline_assets.store.schema
"""

# who wrote the dump and for which session, which says nothing of the schema
NOISE = re.compile(
    r"^(--|-- (Name|Data for Name|TOC entry|Dependencies|Dumped|PostgreSQL database dump).*|SET [a-z_]+ = .*;"
    r"|SELECT pg_catalog\.set_config.*|\\(un)?restrict.*)\n",
    re.MULTILINE,
)


@dataclass(frozen=True)
class _Own:
    """The settings of a server that exists for one dump."""

    state_dir: Path
    database_url: None = None
    dagster_database_url: None = None


def dump_schema(database: Database) -> str:
    """Every schema, table, function, policy and grant of the database, in an order that is always the same.

    Raises:
        DatabaseError: `pg_dump` refuses, for a server newer than the wheel's PostgreSQL for instance.
    """
    url = database.urls["admin"]
    result = subprocess.run(
        [
            wheel_programs() / "pg_dump",
            "--schema-only",
            "--exclude-schema=dagster",
            f"--dbname={url._replace(password=None).render_as_string()}",
        ],
        capture_output=True,
        text=True,
        check=False,
        env={**ENVIRONMENT, **({"PGPASSWORD": str(url.password)} if url.password else {})},
    )
    if result.returncode != 0:
        raise DatabaseError(
            f"The schema of {url.database} cannot be dumped: {' '.join(result.stderr.split())}",
            remedy="dump it from the embedded server: python -m timeline_assets.store.schema",
        )
    return HEADER + "\n" + re.sub(r"\n{3,}", "\n\n", NOISE.sub("", result.stdout)).strip() + "\n"


def main() -> None:
    """Write `sql/schema.sql`."""
    with tempfile.TemporaryDirectory() as folder, open_database(_Own(Path(folder))) as database:
        migrate(database)
        SCHEMA_FILE.write_text(dump_schema(database))


if __name__ == "__main__":
    try:
        main()
    except TimelineError as error:
        sys.exit(f"{error}\n{error.remedy}")
