"""A listing of any length takes the memory of two chunks: what was read is put away before more is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest

from timeline_assets.config import CloudSettings
from timeline_assets.raw.scratch import Scratch
from timeline_assets.raw.spool import Spool
from timeline_assets.sources import keystone_users, neutron_ports, nova_servers
from timeline_assets.sources.base import Source, Span
from timeline_assets.sources.openstack import OpenStackReader, Scope
from timeline_assets_tests.raw.telling import at

PAGES, ROWS, CHUNK = 10, 100, 200


class Endless(OpenStackReader):
    """A cloud that makes its rows as they are asked for, and notes each page in `told`."""

    def __init__(self, told: list[str]) -> None:
        spool = partial(Spool, chunk_rows=CHUNK)
        super().__init__(None, CloudSettings(name="east"), "any", clock=lambda: at("10:05"), spool=spool)
        self.told = told

    def scope(self) -> Scope:
        return Scope(user_id="u", project_id="p", roles=frozenset({"admin"}), is_system=False)

    def rows(self, *_: Any, **__: Any) -> Iterator[dict[str, Any]]:
        for page in range(PAGES):
            self.told.append("page")
            for row in range(ROWS):
                yield {"id": f"{page}-{row}", "binding:host_id": "h", "updated": "2026-11-22T10:00:00Z"}


@pytest.mark.parametrize(
    ("source", "listings"),
    [(keystone_users.SOURCE, 1), (neutron_ports.SOURCE, 1), (nova_servers.SOURCE, 2)],
    ids=lambda given: getattr(given, "name", None),
)
def test_what_was_read_is_put_away_before_more_is_asked_for(monkeypatch, source: Source, listings: int):
    told: list[str] = []
    write = Scratch.write

    def noted(scratch: Scratch, *given: Any) -> Any:
        told.append("put away")
        return write(scratch, *given)

    monkeypatch.setattr(Scratch, "write", noted)
    span = Span(at("09:55"), at("11:00"), at("10:05"), is_open=True)
    fetched = source.fetch(Endless(told), span)
    # the first chunk stays in memory
    further = ["page", "page", "put away"] * (PAGES * listings * ROWS // CHUNK - 1)
    assert told == ["page", "page", *further]
    assert len(fetched.records) == PAGES * listings * ROWS
    assert max(frame.height for frame in fetched.records.frames()) == CHUNK
