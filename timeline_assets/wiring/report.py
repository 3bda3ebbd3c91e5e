"""What a materialization shows: counts, watermark, duration, status and a small table of the rows.

The stages' results are dataclasses; their fields become metadata under their own names, so that a count that a stage
learns to report is shown without a change here.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import dagster as dg
import polars as pl
import psycopg

from timeline_assets.errors import SourceError, TimelineError
from timeline_assets.pipeline import Pipeline
from timeline_assets.raw.windows import Window
from timeline_assets.store.copy import read_frame
from timeline_assets.store.database import DatabaseUnreachable

#: Rows of a preview, and characters of a cell.
PREVIEW_ROWS, CELL = 10, 60


def metadata(result: Any) -> dict[str, dg.MetadataValue]:
    """The fields of a stage's result; those without a value are left out, results within it are shown beside it."""
    shown: dict[str, dg.MetadataValue] = {}
    for field in fields(result):
        value = getattr(result, field.name)
        if is_dataclass(value):
            shown |= metadata(value)
        elif (entry := _entry(value)) is not None:
            shown["duration_seconds" if field.name == "seconds" else field.name] = entry
    return shown


def _entry(value: Any) -> dg.MetadataValue | None:  # noqa: PLR0911 - one line a type
    match value:
        case None | "":
            return None
        case bool():
            return dg.MetadataValue.bool(value)
        case int():
            return dg.MetadataValue.int(value)
        case float():
            return dg.MetadataValue.float(round(value, 3))
        case timedelta():
            return dg.MetadataValue.float(round(value.total_seconds(), 3))
        case datetime():
            return dg.MetadataValue.timestamp(value.astimezone(UTC))
        case str():
            return dg.MetadataValue.text(value)
        case Mapping():
            counts = pl.DataFrame({"": list(value), "rows": list(value.values())})
            return dg.MetadataValue.md(table(counts)) if value else None
        case Iterable():
            parts = [part.key if isinstance(part, Window) else str(part) for part in value]
            return dg.MetadataValue.text(", ".join(parts)) if parts else None
    return dg.MetadataValue.text(str(value))


def gaps(errors: Mapping[Window, SourceError], not_tried: int, *, may_retry: bool) -> dg.Failure:
    """What a person reads of a source that could not be read: what happened, in which windows, and what to do."""
    first = next(iter(errors.values()))
    more = [f"{len(errors)} windows are gaps."] if len(errors) > 1 else []
    more += [f"{not_tried} later windows were not tried."] if not_tried else []
    rows = pl.DataFrame([{"window": window.key, "code": e.code, "what": str(e)} for window, e in errors.items()])
    return _failure(first, first.code, more, may_retry, {"gaps": dg.MetadataValue.md(table(rows))})


@contextmanager
def explained(*, apart_from: type[TimelineError] | tuple[()] = ()) -> Iterator[None]:
    """An error that a person can act on fails the step with what happened and what to do, not with a stack trace."""
    try:
        yield
    except apart_from:
        raise
    except TimelineError as error:
        raise _failure(error, type(error).__name__, [], isinstance(error, DatabaseUnreachable), {}) from None


def _failure(error: TimelineError, code: str, more: list[str], may_retry: bool, metadata: dict[str, Any]) -> dg.Failure:
    return dg.Failure(
        description="\n".join(filter(None, [f"{error} [{code}]", error.remedy, *more])),
        metadata={"code": code, "detail": str(error), "remedy": error.remedy or "-", **metadata},
        allow_retries=may_retry,
    )


def table(rows: pl.DataFrame, longest: int = CELL) -> str:
    """A frame as a Markdown table, cells cut to a readable length."""
    if rows.is_empty():
        return "no rows"
    head = "| " + " | ".join(rows.columns) + " |\n|" + "---|" * rows.width
    body = "\n".join("| " + " | ".join(_cell(value, longest) for value in row) + " |" for row in rows.iter_rows())
    return f"{head}\n{body}"


def _cell(value: Any, longest: int) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
    text = " ".join(str(value).split()).replace("|", "\\|")
    return text if len(text) <= longest else text[: longest - 1] + "…"


# Previews: never a record's body, which belongs to the raw store and not to an event log


def raw_rows(connection: psycopg.Connection, cloud: str, source: str) -> pl.DataFrame:
    """The records of a source that changed last."""
    return read_frame(
        connection,
        """select key, observed_at, cursor_at, gone_at from raw.latest where cloud = %(cloud)s and source = %(source)s
        order by observed_at desc, key limit %(limit)s""",
        {"cloud": cloud, "source": source, "limit": PREVIEW_ROWS},
    )


def stored(connection: psycopg.Connection, cloud: str, source: str, windows: list[Window]) -> dict[Window, int]:
    """How many records each window holds by now, whenever they came."""
    found = connection.execute(
        "select window_start, rows from timeline.coverage where cloud = %s and source = %s and window_start = any(%s)",
        (cloud, source, [window.start for window in windows]),
    )
    return {Window(start): rows for start, rows in found}


def fact_rows(pipeline: Pipeline, cloud: str, source: str, windows: list[Window]) -> pl.DataFrame:
    """The newest facts of a source in some windows."""
    with pipeline.connect() as connection:
        found = connection.execute(
            """select facts_path from raw.attempts where cloud = %s and source = %s and window_start = any(%s)
            and replaced_by is null and facts_path is not null order by attempt_id desc limit 1""",
            (cloud, source, [window.start for window in windows]),
        ).fetchall()
    facts = pipeline.raw.scan_facts([path for (path,) in found])
    columns = ("occurred_at", "event_type", "outcome", "resource_type", "resource_name", "resource_id")
    return facts.select(columns).sort("occurred_at", descending=True).head(PREVIEW_ROWS).collect()


def final_rows(connection: psycopg.Connection, cloud: str, table: str, windows: list[Window]) -> pl.DataFrame:
    """The newest rows of one of the final tables in some windows, without what only the event itself should show."""
    return read_frame(
        connection,
        _FINAL[table],
        {"cloud": cloud, "start": min(windows).start, "end": max(windows).end, "limit": PREVIEW_ROWS},
    )


# each starts from the newest events of the windows, for which there is an index, whatever else is stored
_NEWEST = """with newest as (
    select event_id, occurred_at, event_type, severity, outcome, title, owner_scope from timeline.events
    where cloud = %(cloud)s and occurred_at >= %(start)s and occurred_at < %(end)s
    order by occurred_at desc, event_id desc limit %(limit)s) """
_FINAL = {
    "attributions": _NEWEST  # noqa: S608 - our own text
    + """
        select n.occurred_at, n.title, a.owner_scope, a.owner_project_id, a.rule, a.confidence
        from newest n cross join lateral (
            select * from timeline.attributions a where a.event_id = n.event_id order by a.version desc limit 1) a
        order by n.occurred_at desc""",
    "quarantine": """select occurred_at, source, reason, detail, attempts from timeline.quarantine
        where cloud = %(cloud)s and resolved_at is null order by occurred_at desc, event_id limit %(limit)s""",
    "events": _NEWEST  # noqa: S608 - our own text
    + """
        select occurred_at, event_type, severity, outcome, title, owner_scope from newest
        order by occurred_at desc""",
    "tenant_events": _NEWEST  # noqa: S608 - our own text
    + """
        select t.occurred_at, t.tenant_project_id, t.event_type, t.title, t.actor_label
        from newest n join timeline.tenant_events t on t.event_id = n.event_id and t.occurred_at = n.occurred_at
        order by t.occurred_at desc""",
}
