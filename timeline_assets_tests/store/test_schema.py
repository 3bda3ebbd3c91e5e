"""The committed schema is what the migrations result in."""

from __future__ import annotations

import os

import pytest

from timeline_assets.store.database import Database
from timeline_assets.store.migrate import migrate
from timeline_assets.store.schema import SCHEMA_FILE, dump_schema

embedded_only = pytest.mark.skipif(
    "TIMELINE_TEST_DATABASE_URL" in os.environ, reason="the dump is written from the embedded server's version"
)


@embedded_only
def test_the_committed_schema_is_not_stale(empty_database: Database) -> None:
    migrate(empty_database)
    assert dump_schema(empty_database) == SCHEMA_FILE.read_text(), "run: python -m timeline_assets.store.schema"


@embedded_only
def test_a_dump_shows_every_kind_of_object_and_no_noise(database: Database) -> None:
    with database.connect("admin") as connection:
        connection.execute(
            "SET ROLE timeline_owner; CREATE SCHEMA probe; CREATE TABLE probe.t (n int CHECK (n > 0)); "
            "ALTER TABLE probe.t FORCE ROW LEVEL SECURITY; CREATE POLICY p ON probe.t TO timeline_writer USING (true); "
            "GRANT SELECT ON probe.t TO timeline_provider; COMMENT ON TABLE probe.t IS 'numbers'; "
            "CREATE FUNCTION probe.f() RETURNS int LANGUAGE sql AS $$\n-- kept\nselect 1 $$"
        )
    dump = dump_schema(database)
    for line in (
        "CREATE TABLE probe.t (",
        "    CONSTRAINT t_n_check CHECK ((n > 0))",
        "ALTER TABLE probe.t OWNER TO timeline_owner;",
        "ALTER TABLE ONLY probe.t FORCE ROW LEVEL SECURITY;",
        "CREATE POLICY p ON probe.t TO timeline_writer USING (true);",
        "GRANT SELECT ON TABLE probe.t TO timeline_provider;",
        "COMMENT ON TABLE probe.t IS 'numbers';",
        "-- kept",
    ):
        assert f"\n{line}\n" in dump
    assert "restrict" not in dump
    assert "Dumped" not in dump
    assert dump_schema(database) == dump
