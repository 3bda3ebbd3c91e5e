"""What the sources of Nova share: its spellings, and what it does not say by itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

import polars as pl

from timeline_assets.errors import SourceError
from timeline_assets.sources.base import Reader, Span

SERVICE = "compute"


def changed_in(span: Span) -> dict[str, str | None]:
    """The filters of what changed in a span; an open one reaches to the present, whatever the clocks say."""
    return {"changes-since": timestamp(span.start), "changes-before": None if span.is_open else timestamp(span.end)}


def timestamp(instant: datetime) -> str:
    """An instant as Nova's filters take it; they know whole seconds only."""
    return instant.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def parsed(text: Any) -> datetime | None:
    """An instant as Nova writes it, with or without fraction and ``Z``; None for anything else."""
    try:
        instant = datetime.fromisoformat(text)
        return instant.astimezone(UTC) if instant.tzinfo else instant.replace(tzinfo=UTC)
    except (TypeError, ValueError, OverflowError):
        return None


def bodies(frame: pl.DataFrame) -> dict[str, Any]:
    """Records of another source by key, parsed."""
    return {key: json.loads(body) for key, body in frame.select("key", "body").iter_rows()}


def first_offered(versions: Iterable[str], ask: Callable[[str], Any]) -> str:
    """The first of `versions` (newest first) with which `ask` is not refused; raises ``microversion_refused``."""
    refused: SourceError | None = None
    for version in versions:
        try:
            ask(version)
            return version
        except SourceError as error:
            if error.code != "microversion_refused":
                raise
            refused = error
    raise refused or ValueError("no version to ask for")


def down_cells(reader: Reader) -> str | None:
    """Hosts whose cell did not answer when the services were last read: no listing has the servers there."""
    services = bodies(reader.latest("nova_services")).values()
    hosts = sorted({str(service.get("host")) for service in services if service.get("status") == "UNKNOWN"})
    return ", ".join(hosts) or None


def now(name: str) -> pl.Expr:
    """A field of the record as it is now."""
    return pl.col("now").struct.field(name)


def was(name: str) -> pl.Expr:
    """A field of the record as it was observed before."""
    return pl.col("was").struct.field(name)
