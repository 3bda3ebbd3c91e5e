"""What every stage is handed: the settings, the database, the raw store. One object, made at the edge."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

import psycopg

from timeline_assets import clouds
from timeline_assets.config import Settings
from timeline_assets.raw.store import RawStore
from timeline_assets.store.database import Database, open_database
from timeline_assets.store.migrate import migrate, pending

if TYPE_CHECKING:
    from openstack.connection import Connection


@dataclass(frozen=True)
class Pipeline:
    """The pipeline's edges. Stages take it first, then (cloud, source, window)."""

    settings: Settings
    database: Database
    raw: RawStore

    def now(self, cloud: str) -> datetime:
        """Now, by the clock with which observations of this cloud are dated."""
        return clouds.clock(self.settings, cloud)()

    def openstack(self, cloud: str) -> Connection:
        """A connection to the cloud, kept for this process; nothing is sent yet.

        Raises :class:`ConfigurationError` where the configuration does not describe it.
        """
        return clouds.connection(self.settings, cloud)

    @contextmanager
    def connect(self) -> Iterator[psycopg.Connection]:
        """A connection as the pipeline's role; commits at the end of the block, rolls back on an error."""
        with self.database.connect("pipeline") as connection:
            yield connection


@contextmanager
def open_pipeline(settings: Settings) -> Iterator[Pipeline]:
    """The pipeline of a configuration: its database reachable (the embedded one started or joined) and migrated.

    Raises:
        ConfigurationError: a URL is malformed, or the raw store is another database's.
        DatabaseError: the database cannot be reached, is too old, or cannot be migrated.
        RawStoreError: the raw store cannot be read, or not be made.
    """
    with open_database(settings) as database:
        if pending(database):
            migrate(database)
        yield Pipeline(settings, database, own_store(settings, database))


def own_store(settings: Settings, database: Database) -> RawStore:
    """The configured raw store, which is this database's and no other's from now on.

    Two databases on one store would each take the other's files for nobody's.

    Raises:
        ConfigurationError: it is another database's.
        RawStoreError: it cannot be read, or not be made.
    """
    with database.connect("pipeline") as connection:
        connection.execute("insert into raw.store default values on conflict do nothing")
        (store_id,) = connection.execute("select store_id::text from raw.store").fetchone()
    raw = RawStore.of(settings)
    raw.claim(store_id)
    return raw
