"""``timeline quarantine …``: events whose owner nothing proves, what would release them, and a person's decision."""

from __future__ import annotations

import os
import pwd
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from timeline_assets.cli import names
from timeline_assets.cli.app import app, command, settings_of
from timeline_assets.cli.output import duration, hint, json_document, say, table, text
from timeline_assets.cli.read import CloudOption, JsonOption, explain_event, opened, query_rows, reading
from timeline_assets.errors import ConfigurationError

commands = typer.Typer(no_args_is_help=True, help="Events whose owner is not proven: list, show, and release by hand.")
app.add_typer(commands, name="quarantine")

EventArgument = Annotated[
    str, typer.Argument(metavar="EVENT_ID", help="The event's id, or its first 8 characters or more.")
]


@command("list", of=commands)
def list_command(
    context: typer.Context,
    cloud: CloudOption = None,
    reason: Annotated[str | None, typer.Option(metavar="CODE", help="Only this reason: TOPOLOGY_GAP, …")] = None,
    events: Annotated[bool, typer.Option("--events", help="The events one by one, oldest first, not counts.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="With --events: so many.")] = 50,
    as_json: JsonOption = False,
) -> None:
    """What waits, by reason, source and type, with how long the oldest has waited.

    Nothing here belongs to anybody yet, and no tenant sees it. Evidence releases most of it by itself; the rest is for
    a person to decide.

    [dim]$[/] timeline quarantine list
    [dim]$[/] timeline quarantine list --events --reason NO_EVIDENCE
    """
    now = datetime.now(UTC)
    values = {"cloud": cloud, "reason": reason, "limit": limit}
    where = """from timeline.quarantine q
        join timeline.events e on e.event_id = q.event_id and e.occurred_at = q.occurred_at
        where q.resolved_at is null and (%(cloud)s::text is null or q.cloud = %(cloud)s)
          and (%(reason)s::text is null or q.reason = %(reason)s)"""
    with reading(settings_of(context)) as connection:
        if events:
            found = query_rows(
                connection,
                f"""select q.event_id, q.cloud, q.reason, e.occurred_at, e.title, e.event_type, e.resource_type,
                    e.resource_id, q.detail, q.first_seen {where}
                order by e.occurred_at, q.event_id limit %(limit)s""",
                values,
            )
        else:
            found = query_rows(
                connection,
                f"""select q.cloud, q.reason, q.source, e.event_type, count(*) as events,
                    min(q.first_seen) as waiting_since, min(q.occurred_at) as oldest_at,
                    max(q.occurred_at) as newest_at {where}
                group by 1, 2, 3, 4 order by 1, 5 desc, 2, 3, 4""",
                values,
            )
    if as_json:
        json_document(found)
    elif not found:
        say("Quarantine: empty. The owner of every event is proven.")
    elif events:
        table(
            ["time (UTC)", "reason", "what", "resource", "event"],
            ((r["occurred_at"], r["reason"], r["title"], r["resource_id"], str(r["event_id"])) for r in found),
        )
    else:
        table(
            ["cloud", "reason", "source", "type", {"header": "events", "justify": "right"}, "waiting", "oldest (UTC)"],
            (
                (
                    *(r[name] for name in ("cloud", "reason", "source", "event_type", "events")),
                    duration((now - r["waiting_since"]).total_seconds()),
                    r["oldest_at"],
                )
                for r in found
            ),
        )
        hint("One by one: --events. What would release one: timeline quarantine show EVENT_ID")


@command(of=commands)
def show(context: typer.Context, event_id: EventArgument, as_json: JsonOption = False) -> None:
    """One event: why nobody's, whose it might be, which evidence would prove it, and what a person decided.

    [dim]$[/] timeline quarantine show 3f2a9c1e
    """
    explain_event(settings_of(context), event_id, as_json=as_json)


@command(of=commands)
def release(
    context: typer.Context,
    event_id: EventArgument,
    why: Annotated[str, typer.Option(metavar="TEXT", help="The reason; it stands on the attribution for good.")],
    project: Annotated[
        str | None, typer.Option(metavar="ID", help="To this project of the event's cloud: its id, or DOMAIN/NAME.")
    ] = None,
    take_back: Annotated[
        bool, typer.Option("--take-back", help="Back into quarantine: an earlier release was wrong.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Decides by hand whose an event is that nothing proves: that project's tenants see it from now on.

    The decision is kept as a raw record, with your name and reason, so that a rebuild comes to the same. It holds until
    evidence proves an owner: then that is the owner, whatever was decided here. Another release replaces it.

    [dim]$[/] timeline quarantine release 3f2a9c1e --project acme/production --why "ticket 4711: alice's volume"
    [dim]$[/] timeline quarantine release 3f2a9c1e --take-back --why "ticket 4711 meant another volume"
    """
    from timeline_assets.pipeline import open_pipeline
    from timeline_assets.timeline.by_hand import release as decide
    from timeline_assets.timeline.explain import explain

    if (project is None) != take_back:
        raise ConfigurationError("whose is it?", remedy="Say --project ID, or --take-back for an earlier release.")
    settings = settings_of(context)
    with opened(settings) as database:
        with database.connect("security") as connection:
            cloud = explain(connection, event_id).event["cloud"]
            named = names.project(connection, project, cloud=cloud) if project else None
        with open_pipeline(settings) as pipeline:
            decided = decide(pipeline, event_id, named and named.id, why=why, by=_operator())
    newest: dict[str, Any] = decided.attribution
    if as_json:
        json_document({"event_id": decided.event_id, "attribution": newest})
    elif newest["owner_scope"] == "quarantine":
        say(f"Event {decided.event_id} waits in quarantine again.")
    else:
        owner = f"{named.within}/{named.name} " if named and named.within else ""
        say(f"Event {decided.event_id} is of {owner}{newest['owner_project_id']} by the rule {newest['rule']}.")
        say(f"Version {newest['version']} of its attribution, {text(newest['decided_at'])} UTC: {newest['reason']}")


def _operator() -> str:
    """Who runs this, as the machine knows them; what the environment says could be anybody."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid {os.getuid()}"
