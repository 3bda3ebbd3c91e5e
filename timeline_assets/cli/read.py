"""``timeline status``, ``events`` and ``explain``: what is known, read as the provider's reader."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, LiteralString

import psycopg
import typer
from psycopg.rows import dict_row
from rich.cells import cell_len
from rich.text import Text

from timeline_assets.cli import names
from timeline_assets.cli.app import command, settings_of
from timeline_assets.cli.instants import instant
from timeline_assets.cli.output import (
    UNBOUNDED,
    Cell,
    coloured,
    console,
    duration,
    hint,
    json_document,
    json_line,
    say,
    table,
    text,
)
from timeline_assets.config import Settings
from timeline_assets.errors import ConfigurationError, TimelineError
from timeline_assets.store.database import Database, open_database

SEVERITIES = {"unknown": 0, "info": 1, "low": 2, "medium": 3, "high": 4, "critical": 5}
SEVERITY_WORDS = {number: word for word, number in SEVERITIES.items()}
SEVERITY_STYLES = {0: "dim", 3: "yellow", 4: "red", 5: "bold white on red"}
#: Characters: of a screen that has room for who did it, and of a title however narrow the screen.
LEAST_WIDE, LEAST_TITLE = 100, 16
STATUS_STYLES = {"gap": "red", "proven": "green", "unknown": "dim"}

CloudOption = Annotated[str | None, typer.Option("--cloud", metavar="NAME", help="Only this cloud.")]
JsonOption = Annotated[bool, typer.Option("--json", help="For a program: JSON instead of a table.")]


@contextmanager
def reading(settings: Settings) -> Iterator[psycopg.Connection]:
    """A connection as the operator's reader, who sees what only the security team may see, too.

    The embedded server is started for as long as it takes if nobody runs it.

    Raises :class:`TimelineError` where nothing was ever harvested.
    """
    with opened(settings) as database, database.connect("security") as connection:
        yield connection


@contextmanager
def opened(settings: Settings) -> Iterator[Database]:
    """The database, with the timeline's tables in it."""
    nothing = TimelineError("there is no timeline yet: nothing was ever harvested here", remedy="Start it: timeline up")
    if settings.database_url is None and not (settings.state_dir / "postgresql" / "data").exists():
        raise nothing
    with open_database(settings) as database:
        with database.connect("admin") as connection:
            if connection.execute("select to_regclass('timeline.events') is null").fetchone()[0]:
                raise nothing
        yield database


# status ---------------------------------------------------------------------------------------------------------------


@command()
def status(context: typer.Context, cloud: CloudOption = None, as_json: JsonOption = False) -> None:
    """Per cloud and source: proven up to when, how far behind, what is missing and why.

    [bold]proven[/]: read to its end and read again; nothing more is expected. [bold]gap[/]: could not be read; it is
    tried again by itself. A source that keeps no history is [bold]unknown[/] before its first reading.

    [dim]$[/] timeline status
    [dim]$[/] timeline status --json | jq '.sources[] | select(.gaps > 0)'
    """
    from timeline_assets.pipeline import open_pipeline
    from timeline_assets.raw import coverage
    from timeline_assets.up import running

    settings = settings_of(context)
    if cloud:
        settings.cloud(cloud)
    with opened(settings), open_pipeline(settings) as pipeline, pipeline.database.connect("security") as connection:
        sources = [row for row in coverage.status(pipeline).to_dicts() if cloud in (None, row["cloud"])]
        quarantine = query_rows(
            connection,
            """select cloud, reason, count(*) as events, min(occurred_at) as oldest_at, max(occurred_at) as newest_at
            from timeline.quarantine where resolved_at is null and (%(cloud)s::text is null or cloud = %(cloud)s)
            group by cloud, reason order by cloud, events desc""",
            {"cloud": cloud},
        )
    up = running(settings)
    if as_json:
        json_document(
            {"up": {"pid": up.pid, "url": up.url} if up else None, "sources": sources, "quarantine": quarantine}
        )
        return
    if up:
        say(f"Running: process {up.pid}, {up.url or 'still starting'}")
    else:
        say("Not running: nothing is being harvested. Start it with: timeline up")
    _show_sources(sources)
    _show_quarantine(quarantine)


def _show_sources(sources: Sequence[dict[str, Any]]) -> None:
    if not sources:
        say("\nNo source has been read yet.")
        return
    table(
        [
            "\nsource",
            "\nnow",
            "proven up to\n(UTC)",
            {"header": "\nlag", "justify": "right"},
            {"header": "\ngaps", "justify": "right"},
            "\nreasons",
        ],
        (
            (
                f"{row['cloud']} {row['source']}",
                coloured(row["status"] or "unknown", STATUS_STYLES.get(row["status"])),
                text(row["proven_to"])[:16],
                duration(row["lag_seconds"]),
                coloured(str(row["gaps"]), "red") if row["gaps"] else "",
                row["gap_reasons"],
            )
            for row in sources
        ),
    )
    for row in sources:
        if row["failures"]:
            times = f"{row['failures']} times" if row["failures"] > 1 else "once"
            say(f"\n{row['cloud']} {row['source']} failed {times} in a row: {text(row['detail'] or row['reason'])}")


def _show_quarantine(quarantine: Sequence[dict[str, Any]]) -> None:
    if not quarantine:
        say("\nQuarantine: empty. The owner of every event is proven.")
        return
    say("\nQuarantine: events whose owner is not proven; `timeline explain ID` says what would release one")
    table(
        ["cloud", "reason", {"header": "events", "justify": "right"}, "oldest (UTC)", "newest (UTC)"],
        ((row["cloud"], row["reason"], row["events"], row["oldest_at"], row["newest_at"]) for row in quarantine),
    )


# events ---------------------------------------------------------------------------------------------------------------


@command()
def events(
    context: typer.Context,
    tenant: Annotated[
        str | None,
        typer.Option(metavar="PROJECT", help="Of this project: its id, its name, or DOMAIN/NAME."),
    ] = None,
    resource: Annotated[
        str | None, typer.Option(metavar="ID|NAME", help="Of this resource: its id, the beginning of it, or its name.")
    ] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="From then on: 2h, 1d, 2026-11-22T10:00.")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Before then.")] = None,
    event_type: Annotated[
        str | None, typer.Option("--type", metavar="GLOB", help="Of these types: 'compute.instance.*', '*.delete.*'.")
    ] = None,
    severity: Annotated[
        str | None, typer.Option(metavar="LEVEL", help=f"At least: {', '.join(SEVERITIES)} (or 0 to 5).")
    ] = None,
    cloud: CloudOption = None,
    limit: Annotated[int, typer.Option(min=1, max=1_000_000, help="The newest so many.")] = 50,
    steps: Annotated[bool, typer.Option("--steps", help="Also the inner steps of longer actions.")] = False,
    wide: Annotated[bool, typer.Option("--wide", help="Every column, whole, however wide the lines get.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, every column.")] = False,
) -> None:
    """The newest events, oldest first, so that the latest stands above the prompt.

    Where a record did not say its resource's name, the title shows the name that is known of it.

    [dim]$[/] timeline events --tenant acme/production --since 2h
    [dim]$[/] timeline events --resource web-1
    [dim]$[/] timeline events --type 'compute.instance.delete*' --since 7d
    [dim]$[/] timeline events --severity high --json | jq -r '[.occurred_at, .title] | @tsv'
    """
    now = datetime.now(UTC)
    at_least = _severity(severity)
    start = instant(since, option="--since", now=now) if since else None
    end = instant(until, option="--until", now=now) if until else None
    if start and end and end <= start:
        raise ConfigurationError(
            f"--until {end:%Y-%m-%d %H:%M} is not after --since {start:%Y-%m-%d %H:%M} UTC", remedy="Swap them."
        )
    settings = settings_of(context)
    if cloud:
        settings.cloud(cloud)
    with reading(settings) as connection:
        owner = names.project(connection, tenant, cloud=cloud) if tenant else None
        targets = names.resources(connection, resource, cloud=cloud, project_id=owner and owner.id) if resource else []
        conditions: list[tuple[LiteralString, dict[str, Any]]] = [
            ("cloud = %(cloud)s", {"cloud": cloud}),
            (
                "cloud = %(owner_cloud)s and owner_project_id = %(owner)s",
                {"owner": owner and owner.id, "owner_cloud": owner and owner.cloud},
            ),
            (
                "cloud = %(target_cloud)s and resource_id = any(%(targets)s)",
                {"targets": [one.id for one in targets], "target_cloud": targets[0].cloud} if targets else {},
            ),
            ("occurred_at >= %(since)s", {"since": start}),
            ("occurred_at < %(until)s", {"until": end}),
            ("event_type like %(type)s", {"type": _like(event_type) if event_type else None}),
            ("severity >= %(severity)s", {"severity": at_least}),
        ]
        chosen = [
            (condition, values) for condition, values in conditions if any(v is not None for v in values.values())
        ]
        where = [condition for condition, _ in chosen] + ([] if steps else ["phase <> 'progress'"])
        query: LiteralString = "select * from timeline.events where " + " and ".join(where or ["true"])  # noqa: S608
        found = query_rows(
            connection,
            query + " order by occurred_at desc, event_id desc limit %(limit)s",
            {"limit": limit + 1, **{name: value for _, values in chosen for name, value in values.items()}},
        )
        known = {} if as_json else names.known(connection, _mentioned(found))
        found = found if as_json else _titled(connection, found)
        bearers = names.bearers(connection, resource, targets) if len(targets) > 1 else []
    if bearers:
        hint(f"{len(bearers)} {targets[0].type}s bear or bore the name {targets[0].within}/{resource}:")
        for id, first, last in bearers:
            hint(f"  {id}  {text(first) or 'ever'} to {text(last) or 'now'}")
    has_more, found = len(found) > limit, found[:limit][::-1]
    if as_json:
        for row in found:
            json_line(row)
    elif found:
        _show_events(found, known, is_wide=wide)
    else:
        hint("No events match." if chosen else "No events yet: the first come within a minute or two of `timeline up`.")
    if has_more:
        hint(f"The newest {limit:,}; there are more: --limit, or narrow it with --since, --tenant, --resource, --type.")


@dataclass(frozen=True)
class Column:
    """A column of `timeline events`: shown on a screen of `least_screen` and wider, cut to `most` characters there."""

    header: str
    cell: Callable[[dict[str, Any]], str]
    least_screen: int = 0
    most: int | None = None


def _show_events(found: Sequence[dict[str, Any]], known: dict[tuple[str, str], str], *, is_wide: bool) -> None:
    """As many columns as the terminal has room for; without a terminal those of a usual one, but whole."""
    screen = UNBOUNDED if is_wide else console().width
    room = LEAST_WIDE if screen == UNBOUNDED and not is_wide else screen
    several = len({row["cloud"] for row in found}) > 1
    what = Column("what", lambda row: coloured(text(row["title"]), "red" if row["outcome"] == "failure" else None))
    columns = [
        Column("time (UTC)", _when),
        Column("level", lambda row: coloured(SEVERITY_WORDS[row["severity"]], SEVERITY_STYLES.get(row["severity"]))),
        *([Column("cloud", lambda row: row["cloud"])] if several else []),
        what,
        Column("type", lambda row: row["event_type"], least_screen=130, most=36),
        Column("resource", lambda row: row["resource_id"], least_screen=190, most=36),
        Column("owner", lambda row: _owner(row, known), least_screen=70, most=20 if screen < LEAST_WIDE else 32),
        Column("by", lambda row: _actor(row, known), least_screen=LEAST_WIDE, most=16),
        Column("event", lambda row: str(row["event_id"]) if is_wide else str(row["event_id"])[:8]),
    ]
    shown = [column for column in columns if room >= column.least_screen]
    cells = [[column.cell(row) for row in found] for column in shown]
    widths = {}
    if screen < UNBOUNDED:
        widths = {
            column.header: min(max(map(_width, [column.header, *values])), column.most or screen)
            for column, values in zip(shown, cells, strict=True)
            if column is not what
        }
        widths["what"] = max(screen - sum(widths.values()) - 2 * len(widths), LEAST_TITLE)
    table(
        [{"header": column.header, "max_width": widths.get(column.header)} for column in shown],
        ([column.cell(row) for column in shown] for row in found),
        is_wide=is_wide,
    )


def _titled(connection: psycopg.Connection, found: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows; those whose record did not say the resource's name have the one that is known in title and column."""
    nameless = [row for row in found if row["resource_name"] is None and row["resource_id"]]
    asked = [(row["cloud"], row["resource_type"], row["resource_id"], row["occurred_at"]) for row in nameless]
    called = {row["event_id"]: name for row, name in zip(nameless, names.at(connection, asked), strict=True) if name}
    return [_called(row, called[row["event_id"]]) if row["event_id"] in called else row for row in found]


def _called(row: dict[str, Any], name: str) -> dict[str, Any]:
    return {**row, "resource_name": name, "title": row["title"].replace(row["resource_id"], name)}


def _width(cell: str) -> int:
    return Text.from_markup(cell).cell_len if isinstance(cell, Cell) else cell_len(cell)


def _when(row: dict[str, Any]) -> str:
    mark = "~" if row["time_precision"] == "interval" else ""
    return mark + text(row["occurred_at"])[5:]


def _owner(row: dict[str, Any], known: dict[tuple[str, str], str]) -> str:
    if row["owner_scope"] in ("provider", "quarantine"):
        return coloured(row["owner_scope"], "yellow" if row["owner_scope"] == "quarantine" else "dim")
    owner = row["owner_project_id"] or row["owner_domain_id"]
    project = known.get((row["cloud"], owner), owner)
    domain = known.get((row["cloud"], row["owner_domain_id"]))
    return f"{domain}/{project}" if domain and row["owner_project_id"] else project


def _actor(row: dict[str, Any], known: dict[tuple[str, str], str]) -> str:
    actor = row["actor_user_id"]
    return known.get((row["cloud"], actor), actor) if actor else Cell(f"[dim]{row['actor_kind']}[/]")


def _mentioned(found: Sequence[dict[str, Any]]) -> Iterator[tuple[str, str | None]]:
    for row in found:
        for column in ("owner_project_id", "owner_domain_id", "actor_user_id", "actor_project_id"):
            yield row["cloud"], row[column]


def _severity(asked: str | None) -> int | None:
    if asked is None:
        return None
    said = asked.strip().lower()
    if said in SEVERITIES:
        return SEVERITIES[said]
    if said in {str(number) for number in SEVERITY_WORDS}:
        return int(said)
    raise ConfigurationError(
        f"--severity {asked!r} is no severity", remedy=f"Write one of {', '.join(SEVERITIES)}, or 0 to 5."
    )


def _like(glob: str) -> str:
    """The glob as a LIKE pattern: `*` any characters, `?` one."""
    escaped = glob.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return escaped.replace("*", "%").replace("?", "_")


# explain --------------------------------------------------------------------------------------------------------------


@command()
def explain(
    context: typer.Context,
    event_id: Annotated[
        str, typer.Argument(metavar="EVENT_ID", help="The event's id, or its first 8 characters or more.")
    ],
    record: Annotated[bool, typer.Option("--record", help="Also the record as the service sent it, scrubbed.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Whose an event is and why: by which rule, along which path, on what evidence, and what was believed when.

    [dim]$[/] timeline explain 3f2a9c1e
    [dim]$[/] timeline explain 3f2a9c1e --record
    """
    explain_event(settings_of(context), event_id, record=record, as_json=as_json)


def explain_event(settings: Settings, event_id: str, *, record: bool = False, as_json: bool = False) -> None:
    """Prints an event with every decision about its owner, what would release it, and what releases it by hand."""
    from timeline_assets.timeline.explain import explain as explanation_of

    with reading(settings) as connection:
        explanation = explanation_of(connection, event_id)
        candidates = (explanation.quarantine or {}).get("candidates") or []
        also = [(explanation.event["cloud"], one.get("id")) for one in candidates if isinstance(one, dict)]
        known = names.known(connection, [*_mentioned([explanation.event]), *also])
        [event] = _titled(connection, [explanation.event])
        sent = _record(settings, explanation.event["raw_ref"]) if record else None
    if as_json:
        json_document(
            {
                "event": explanation.event,
                "attributions": explanation.attributions,
                "quarantine": explanation.quarantine,
                "released_by": explanation.released_by,
                **({"record": sent} if record else {}),
            }
        )
        return
    _show_event(event, known)
    _show_decisions(explanation, known)
    if record:
        say(f"\nRecord {explanation.event['raw_ref']}")
        say(json.dumps(sent, indent=2, ensure_ascii=False) if sent else "  no longer kept: it is past its retention")


def _record(settings: Settings, raw_ref: str) -> Any:
    """What the service sent, from the raw store; None if it is retired."""
    from timeline_assets.pipeline import open_pipeline
    from timeline_assets.raw.seal import find

    with open_pipeline(settings) as pipeline:
        found = find(pipeline, raw_ref)
    return found and json.loads(found["body"])


def _show_event(event: dict[str, Any], known: dict[tuple[str, str], str]) -> None:
    console().print(text(event["title"]), style="bold", markup=False)
    resource = " ".join(filter(None, (event["resource_type"], event["resource_name"], event["resource_id"])))
    actor = event["actor_user_id"]
    who = f"{_actor(event, known)} ({actor})" if (event["cloud"], actor) in known else actor
    kind = event["actor_kind"] if event["actor_kind"] != "unknown" else None
    when = text(event["occurred_at"])
    if event["time_precision"] == "interval":
        when += f", between {text(event['occurred_from'])} and {text(event['occurred_to'])}"
    _facts(
        ("event", event["event_id"]),
        ("type", f"{event['event_type']}, {SEVERITY_WORDS[event['severity']]}, {event['outcome']}"),
        ("when (UTC)", when),
        ("until", text(event["ended_at"])),
        ("resource", resource),
        ("by", f"{kind} {who}" if kind and who else who or event["actor_kind"]),
        ("host", event["host"]),
        ("request", event["request_id"]),
        ("changes", "; ".join(f"{c['path']}: {c['old']} → {c['new']}" for c in event["changes"])),
        ("message", event["message"]),
        ("seen by", "; ".join(f"{w['source']} {w['key']} at {_time(w['observed_at'])}" for w in event["witnesses"])),
        ("record", event["raw_ref"]),
    )


def _show_decisions(explanation: Any, known: dict[tuple[str, str], str]) -> None:
    event = explanation.event
    for number, decision in enumerate(explanation.attributions):
        say()
        owner = {**event, **{name: decision[name] for name in ("owner_scope", "owner_project_id", "owner_domain_id")}}
        named = (
            _owner(owner, known)
            if decision["owner_project_id"] or decision["owner_domain_id"]
            else decision["owner_scope"]
        )
        ids = " ".join(filter(None, (decision["owner_project_id"], decision["owner_domain_id"])))
        say(f"{'Owner' if number == 0 else 'Before that'}: {named}")
        _facts(
            ("ids", ids),
            ("rule", f"{decision['rule']}, {decision['confidence']}"),
            ("because", decision["reason"]),
            ("path", " → ".join(_hop(hop) for hop in decision["path"])),
            ("evidence", "; ".join(f"{name} = {value}" for name, value in decision["evidence"].items())),
            (
                "decided",
                f"{text(decision['decided_at'])}, on the topology as believed {text(decision['topology_recorded_at'])}",
            ),
            ("run", decision["run_id"]),
        )
    quarantine = explanation.quarantine
    if quarantine:
        say()
        is_open = quarantine["resolved_at"] is None
        say(
            "In quarantine: its owner is not proven"
            if is_open
            else f"Was in quarantine until {text(quarantine['resolved_at'])}"
        )
        _facts(
            ("reason", quarantine["reason"]),
            ("detail", quarantine["detail"]),
            ("candidates", "; ".join(_candidate(event["cloud"], one, known) for one in quarantine["candidates"])),
            ("released by", explanation.released_by),
        )


def _candidate(cloud: str, candidate: Any, known: dict[tuple[str, str], str]) -> str:
    if not isinstance(candidate, dict):
        return str(candidate)
    id = candidate.get("id")
    name = known.get((cloud, id))
    return f"{candidate.get('type')} {id}" + (f" ({name})" if name else "")


def _hop(hop: dict[str, Any]) -> str:
    spell = (
        f" ({_time(hop['valid_from']) or 'ever'} to {_time(hop['valid_to']) or 'now'})" if "valid_from" in hop else ""
    )
    relation = f"{hop['relation']} " if hop.get("relation") else ""
    return f"{relation}{hop.get('type')} {hop.get('id')}{spell}"


def _time(written: str | None) -> str:
    """An instant of a JSON column as a person reads it."""
    return text(datetime.fromisoformat(written)) if written else ""


def _facts(*facts: tuple[str, Any]) -> None:
    """Names and values, one a line; what there is nothing of is left out."""
    for name, value in facts:
        if value not in (None, "", []):
            say(f"  {name:<12}{text(value)}")


def query_rows(connection: psycopg.Connection, query: LiteralString, values: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows of a query as mappings."""
    with connection.cursor(row_factory=dict_row) as cursor:
        cursor.execute(query, values)
        return cursor.fetchall()
