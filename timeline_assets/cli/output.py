"""What the command line prints: answers on standard output, everything else on standard error."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from timeline_assets.errors import TimelineError

#: Wide enough for every column whole: what is not shown on a screen is read by a program, or by less -S.
UNBOUNDED = 400


def console(*, error: bool = False) -> Console:
    """A console on the stream as it is now; without a terminal lines are neither wrapped nor coloured."""
    stream = sys.stderr if error else sys.stdout
    return Console(stderr=error, highlight=False, soft_wrap=True, width=None if stream.isatty() else UNBOUNDED)


def say(text: str = "") -> None:
    """A line of the answer; text of the data is never markup."""
    console().print(text, markup=False)


def hint(text: str) -> None:
    """A line beside the answer: not part of what a pipe gets."""
    console(error=True).print(text, markup=False, style="dim")


def fail(error: TimelineError) -> None:
    """The error, then its remedy."""
    out = console(error=True)
    out.print(f"[bold red]Error:[/] {escape(str(error))}")
    if error.remedy:
        out.print(f"  {escape(error.remedy)}")


def table(columns: Iterable[str | Mapping[str, Any]], rows: Iterable[Iterable[Any]], *, is_wide: bool = False) -> None:
    """Rows under their names. A column may be a mapping of Rich's column options with its name as ``header``.

    Lines are as long as the terminal is wide at most, or as long as they get where the table `is_wide`.
    """
    shown = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for column in columns:
        options = {"header": column} if isinstance(column, str) else dict(column)
        shown.add_column(**{"no_wrap": True, "overflow": "ellipsis", **options})
    for row in rows:
        shown.add_row(*(cell if isinstance(cell, Cell) else escape(text(cell)) for cell in row))
    out = console()
    out.soft_wrap = False
    out.print(shown, width=UNBOUNDED if is_wide else None, crop=not is_wide)


class Cell(str):
    """A cell that is markup already."""


def coloured(value: str, style: str | None) -> str:
    """A cell in a colour."""
    return Cell(f"[{style}]{escape(value)}[/]") if style else value


def text(value: Any) -> str:
    """A value as a person reads it: instants in UTC to the second, nothing for None."""
    match value:
        case None:
            return ""
        case datetime():
            return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")
        case timedelta():
            return duration(value.total_seconds())
        case int() if not isinstance(value, bool):
            return f"{value:,}"
        case _:
            # a name may hold anything, a line break and an escape sequence too
            return "".join(c if c.isprintable() else "�" for c in str(value))


def duration(seconds: float | None) -> str:
    """A duration in its two largest units: ``1 d 3 h``, ``4 min 10 s``, ``9 s``."""
    if seconds is None:
        return ""
    left = max(0, round(seconds))
    parts = []
    for name, size in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, left = divmod(left, size)
        if count or (name == "s" and not parts):
            parts.append(f"{count} {name}")
    return " ".join(parts[:2])


def json_line(row: Mapping[str, Any]) -> None:
    """One row as a line of JSON; instants as ISO 8601 in UTC."""
    sys.stdout.write(json.dumps(row, default=_plain, ensure_ascii=False) + "\n")


def json_document(document: Any) -> None:
    """One document, indented."""
    sys.stdout.write(json.dumps(document, default=_plain, ensure_ascii=False, indent=2) + "\n")


def _plain(value: Any) -> Any:
    match value:
        case datetime():
            return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
        case date() | UUID():
            return str(value)
        case set() | frozenset() | tuple():
            return sorted(value)
    raise TypeError(f"{type(value).__name__} is no JSON")
