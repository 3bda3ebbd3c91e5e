"""Instance actions: one row is one thing done to one server, from the request to its end, with its steps.

From ``GET /servers/{id}/os-instance-actions`` and, for every action that is new or has changed, the action itself with
its events. Nova lists actions per server only, so the question is which servers to ask about. At every poll: those
whose own row changed since the last one, those that a changed volume, port or migration names, and those with an action
still running; and, because detaching a volume or an interface touches nothing that still names the server,
`SWEEP_SERVERS` more in turn, over and over. So an idle cloud costs `SWEEP_SERVERS` small calls a poll, and what no row
betrays is found within (servers / `SWEEP_SERVERS`) polls: half a minute for 60 servers, 80 minutes for 10 000. A past
window asks about every server that lived in it and has changed since it began. Missing: what was archived or purged
with its server.

Beside the action as sent, a record carries under ``server`` a few fields of the server's newest record: an action does
not know its server's name, and two outcomes are not in it at all. A build that failed on its last host ends as
``Success`` (its server is in ERROR and was never launched, so a build is not over while its server is in BUILD), and a
deletion may leave no events.

Owner: the server's, which never changes; no field of an action tells it. `user_id` and `project_id` are who acted,
never whose it is; actions of periodic tasks have neither. Times are whole seconds.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote

import polars as pl

from timeline_assets.normalize.claims import claims, edge_since, together
from timeline_assets.normalize.facts import SECOND, decode, facts, filled, instant
from timeline_assets.normalize.registry.compute import ACTIONS
from timeline_assets.raw.scrub import scrub
from timeline_assets.sources.base import Fetched, Reader, Record, Shape, Source, Span
from timeline_assets.sources.nova import SERVICE, bodies, changed_in, first_offered, now, parsed, timestamp
from timeline_assets.sources.openstack import failure, records

#: With 2.84 events carry their details; with 2.62 still their host.
MICROVERSIONS = ("2.84", "2.62")

#: Servers asked about in turn at every poll, and how many records are looked at to find them.
SWEEP_SERVERS, SWEEP_RECORDS = 20, 200
#: How far back "since the last poll" reaches: other sources' records are a poll of theirs old when we see them.
LATE = timedelta(minutes=2)
#: How long Nova keeps a deleted server, and its actions with it.
RETENTION = timedelta(days=30)
#: An action that has not ended by then is no longer asked about at every poll.
PATIENCE = timedelta(days=1)
#: How far the cloud's clock is off before that matters: its `Date` has whole seconds only.
LEAST_SKEW_SECONDS = 5
#: No id of a server is longer. Ports and volumes name servers in fields that anybody may fill.
LONGEST_ID = 255

LAUNCHED_AT, TERMINATED_AT = "OS-SRV-USG:launched_at", "OS-SRV-USG:terminated_at"
SERVER_FIELDS = ("id", "name", "status", LAUNCHED_AT, TERMINATED_AT)

RECORD = pl.Struct(
    {
        "action": pl.String,
        "instance_uuid": pl.String,
        "request_id": pl.String,
        "user_id": pl.String,
        "project_id": pl.String,
        "start_time": pl.String,
        "updated_at": pl.String,
        "message": pl.String,
        "events": pl.List(
            pl.Struct(
                {
                    "event": pl.String,
                    "start_time": pl.String,
                    "finish_time": pl.String,
                    "result": pl.String,
                    "host": pl.String,
                    "details": pl.String,
                }
            )
        ),
        "server": pl.Struct(
            {
                "name": pl.String,
                "status": pl.String,
                LAUNCHED_AT: pl.String,
                TERMINATED_AT: pl.String,
                "fault": pl.Struct({"message": pl.String}),
            }
        ),
    }
)

#: Actions of several steps, each begun after the one before has ended: they are over with one of these, or an error.
LAST_STEPS: Mapping[str, tuple[str, ...]] = {
    "create": ("compute__do_build_and_run_instance",),
    "evacuate": ("compute_rebuild_instance",),
    "live-migration": ("compute_post_live_migration_at_destination",),
    "migrate": ("compute_finish_resize", "compute_finish_snapshot_based_resize_at_dest"),
    "rebuild": ("compute_rebuild_instance",),
    "resize": ("compute_finish_resize", "compute_finish_snapshot_based_resize_at_dest"),
    "revertResize": ("compute_finish_revert_resize", "compute_finish_revert_snapshot_based_resize_at_source"),
    "unshelve": ("compute_unshelve_instance", "compute_start_instance"),
}
#: Actions that Nova records without any step: they are over when they are seen.
STEPLESS = ("resetState",)


def fetch(reader: Reader, span: Span) -> Fetched:
    """New and changed actions of the candidates; `cursor` keeps what was seen, what runs and where the sweep stands."""
    reader.require_scope()
    memory = dict(reader.cursor())
    memory["microversion"] = memory.get("microversion") or first_offered(
        MICROVERSIONS, lambda version: reader.get(SERVICE, "/servers", {"limit": 1}, microversion=version)
    )
    running = memory.get("running", {})
    cloud_now = _cloud_now(reader, span, memory)
    if span.is_open:
        turn = _next_in_turn(reader, cloud_now, memory)
        questions = _merged(_candidates(reader, span, memory), turn, span)
        known = {key: mark for key, mark in memory.get("seen", {}).items() if key not in running}
    else:
        questions, known = [Question(*one, changed_in(span)) for one in _alive_in(reader, span).items()], {}
    answers = reader.many(lambda question: _ask(reader, memory["microversion"], known, question), questions)
    rows = [row for answer in answers for row in answer.rows]
    found, malformed = records(rows, key=_key, cursor_at=lambda row: row.get("updated_at"))
    if span.is_open:
        seen = known | {key: mark for answer in answers for key, mark in answer.marks.items()}
        asked_anew = {record.key for record in found}
        still = {key: began for key, began in running.items() if key not in asked_anew} | _unfinished(found)
        memory |= {
            "seen": {key: mark for key, mark in seen.items() if not _before(mark.split(" ")[0], span.start - LATE)},
            "running": {key: began for key, began in still.items() if not _before(began, span.now - PATIENCE)},
            "polled_at": timestamp(cloud_now),
        }
        _cloud_now(reader, span, memory)
    return Fetched(
        records=found,
        is_complete=False,
        read_to=reader.read_to(span.now),
        requests=reader.requests,
        cursor=scrub(memory),  # it repeats what records say
        malformed=malformed,
    )


@dataclass(frozen=True)
class Question:
    """One server to ask about: its newest record where it is known, and the filter of its actions."""

    server_id: str
    server: Mapping[str, Any] | None
    since: Mapping[str, str | None]


@dataclass
class Answer:
    """Actions of one server that are new or changed (or no actions at all), and a mark of the state of each listed."""

    rows: list[Any] = field(default_factory=list)
    marks: dict[str, str] = field(default_factory=dict)


def _ask(reader: Reader, version: str, known: Mapping[str, str], question: Question) -> Answer:
    """What is new of one server; nothing where it was purged."""
    path, server = f"/servers/{quote(question.server_id, safe='')}/os-instance-actions", question.server
    about = _about(server)
    answer = Answer()
    for action in _listed(reader, version, path, question.since):
        request = _request_of(action)
        if request is None:
            answer.rows.append(action)
            continue
        key = f"{question.server_id}/{request}"
        mark = f"{action.get('updated_at')} {action.get('message')}"
        if action.get("action") in ("create", "delete") and server:
            mark += f" {server.get('status')}"
        if known.get(key) != mark:
            one = reader.probe(SERVICE, f"{path}/{quote(request, safe='')}", microversion=version)
            told = one.get("instanceAction") if isinstance(one, dict) else one
            if one is not None and not isinstance(told, dict):
                answer.rows.append(one)
                continue
            if one is not None:
                answer.rows.append(told | ({"server": about} if about else {}))
        answer.marks[key] = mark
    return answer


def _listed(reader: Reader, version: str, path: str, since: Mapping[str, str | None]) -> list[Any]:
    """All pages of a server's actions (Nova gives a thousand at a time), nothing where the server was purged.

    An answer that is no listing is given as it is, for it is no record either. A marker that vanished begins the
    listing again, once.
    """
    for _ in range(2):
        found: list[Any] = []
        asked, markers = dict(since), set()
        while (page := reader.probe(SERVICE, path, asked, microversion=version)) is not None:
            actions = page.get("instanceActions") if isinstance(page, dict) else None
            if not isinstance(actions, list):
                return [*found, page]
            found += actions
            marker = next(filter(None, map(_request_of, reversed(actions))), None)
            if marker is None or not page.get("links"):
                return found
            if marker in markers:
                break
            markers.add(marker)
            asked["marker"] = marker
        if not markers:
            return []
    raise failure("listing_moved", f"{reader.cloud}: {SERVICE} {path}: its marker vanished again and again")


def _request_of(action: Any) -> str | None:
    """The id under which an action can be asked for, if it has one."""
    request = action.get("request_id") if isinstance(action, dict) else None
    return request if isinstance(request, str) and request else None


def _cloud_now(reader: Reader, span: Span, memory: dict[str, Any]) -> datetime:
    """Now by the cloud's clock, which dates its records and our observations of them; `memory` keeps how far it is off.

    A poll that asked nothing learned nothing of that clock.
    """
    ahead = getattr(reader, "clock_skew_seconds", None)
    if ahead is not None:
        memory.pop("ahead_seconds", None)
        memory |= {"ahead_seconds": round(ahead)} if abs(ahead) >= LEAST_SKEW_SECONDS else {}
    return span.now + timedelta(seconds=memory.get("ahead_seconds", 0))


def _about(server: Mapping[str, Any] | None) -> dict[str, Any]:
    """What an action's record carries of its server; of a fault no more than what it says (it holds a traceback)."""
    if not server:
        return {}
    about = {name: server[name] for name in SERVER_FIELDS if name in server}
    fault = server.get("fault")
    return about | ({"fault": {"message": fault.get("message")}} if isinstance(fault, dict) else {})


def _candidates(reader: Reader, span: Span, memory: Mapping[str, Any]) -> dict[str, Any]:
    """Servers that may have been acted on since the last poll, with their newest record where it is known."""
    polled_at = parsed(memory.get("polled_at"))
    if polled_at is None:
        return _alive_in(reader, span)  # all that is known was first seen just now: what changed tells nothing
    since = max(span.start, polled_at - LATE)
    servers = bodies(reader.changed("nova_servers", since))
    named = {
        *_servers_of_volumes(bodies(reader.changed("cinder_volumes", since)).values()),
        *_servers_of_ports(bodies(reader.changed("neutron_ports", since)).values()),
        *_servers_of_migrations(bodies(reader.changed("nova_migrations", since)).values()),
        *(key.partition("/")[0] for key in memory.get("running", {})),
    }
    return _with_records(reader, span, servers, named)


def _alive_in(reader: Reader, span: Span) -> dict[str, Any]:
    """Servers that may have been acted on in a past span: they lived in it, and something changed since it began."""
    servers = {
        key: body
        for key, body in bodies(reader.latest("nova_servers", since=span.start)).items()
        if _may_lie_in(span, body)
    }
    volumes = bodies(reader.latest("cinder_volumes")).values()
    migrations = bodies(reader.latest("nova_migrations")).values()
    named = {
        *_servers_of_volumes(volume for volume in volumes if _may_lie_in(span, volume)),
        *_servers_of_migrations(migration for migration in migrations if _may_lie_in(span, migration)),
    }
    return _with_records(reader, span, servers, named)


def _merged(candidates: dict[str, Any], swept: list[Question], span: Span) -> list[Question]:
    """A question a server: one that is both a candidate and in turn is asked from the earlier of the two times."""
    recent = changed_in(span)["changes-since"]
    questions = {key: Question(key, server, {"changes-since": recent}) for key, server in candidates.items()}
    for question in swept:
        since = question.since["changes-since"]
        is_earlier = since is None or since < recent
        if question.server_id not in questions or is_earlier:
            questions[question.server_id] = question
    return list(questions.values())


def _next_in_turn(reader: Reader, now: datetime, memory: dict[str, Any]) -> list[Question]:
    """The sweep's next servers; moves its position in `memory`.

    A turn asks for what was done since the turn before it began: what was done later will show in the next one. The
    first turn asks for all that was ever done to the servers there are.
    """
    if memory.get("turn_at") is None:
        memory |= {"turn_since": memory.get("turn_began"), "turn_began": timestamp(now - LATE)}
    following = bodies(reader.latest("nova_servers", after=memory.get("turn_at"), limit=SWEEP_RECORDS, since=now))
    if not following and memory["turn_since"] is None:
        memory["turn_began"] = None  # no server was ever read: the first turn is still to come
        return []
    living = [key for key, body in following.items() if body.get("status") != "DELETED"]
    chosen, since = living[:SWEEP_SERVERS], {"changes-since": memory["turn_since"]}
    if len(living) > SWEEP_SERVERS:
        memory["turn_at"] = chosen[-1]
    else:
        memory["turn_at"] = max(following) if len(following) == SWEEP_RECORDS else None
    return [Question(key, following[key], since) for key in chosen]


def _with_records(reader: Reader, span: Span, servers: dict[str, Any], named: set[str]) -> dict[str, Any]:
    unknown = named - set(servers)
    latest = bodies(reader.latest("nova_servers", since=span.start)) if unknown else {}
    return servers | {key: latest.get(key) for key in sorted(unknown)}


def _servers_of_volumes(volumes: Iterable[Mapping[str, Any]]) -> set[str]:
    lists = (volume.get("attachments") for volume in volumes)
    attachments = (attachment for found in lists if isinstance(found, list) for attachment in found)
    return _ids(attachment.get("server_id") for attachment in attachments if isinstance(attachment, dict))


def _servers_of_ports(ports: Iterable[Mapping[str, Any]]) -> set[str]:
    return _ids(port.get("device_id") for port in ports if str(port.get("device_owner")).startswith("compute:"))


def _servers_of_migrations(migrations: Iterable[Mapping[str, Any]]) -> set[str]:
    return _ids(migration.get("instance_uuid") for migration in migrations)


def _ids(values: Iterable[Any]) -> set[str]:
    """Those of the values that can be ids: what a record may say instead is no reason to ask nobody."""
    return {value for value in values if isinstance(value, str) and 0 < len(value) <= LONGEST_ID}


def _may_lie_in(span: Span, record: Mapping[str, Any]) -> bool:
    """Whether a record existed in the span and has changed since it began, as far as its own times tell."""
    created, updated = (record.get(name) or record.get(f"{name}_at") for name in ("created", "updated"))
    return not _before(updated, span.start) and (parsed(created) is None or _before(created, span.end))


def _before(text: Any, instant: datetime) -> bool:
    """Whether a time of a record lies before `instant`; an unknown one does not."""
    at = parsed(text)
    return at is not None and at < instant


def _key(row: Mapping[str, Any]) -> str | None:
    server, request = row["instance_uuid"], _request_of(row)
    return f"{server}/{request}" if isinstance(server, str) and server and request else None


# ------------------------------------------------------------------------------------------------- what an action is


def normalize(observations: pl.LazyFrame) -> pl.LazyFrame:
    """One span an action: ``.start`` while it runs, then ``.end`` or ``.error``; see `ACTIONS` for the types."""
    frame = _judged(decode(observations, RECORD, required=("instance_uuid", "request_id", "action", "start_time")))
    started = instant(now("start_time"))
    phase = (
        pl.when(~pl.col("is_over"))
        .then(pl.lit("start"))
        .when("has_failed")
        .then(pl.lit("error"))
        .otherwise(pl.lit("end"))
    )
    span = now("action").replace_strict(ACTIONS, default=pl.lit("compute.instance.") + now("action"))
    details = _of_events(pl.when(_event("result") == "Error").then(_event("details"))).list.drop_nulls().list.first()
    return facts(
        frame.with_columns(phase=phase),
        source=SOURCE.name,
        source_version="span",
        event_type=pl.concat_str(span, pl.lit("."), pl.col("phase")),
        outcome=pl.col("phase").replace_strict({"start": "pending", "end": "success", "error": "failure"}),
        occurred_at=started,
        occurred_from=started,
        occurred_to=started + SECOND,
        time_precision="second",
        resource_type="server",
        resource_id=now("instance_uuid"),
        resource_name=filled(_server("name")),
        actor_user_id=filled(now("user_id")),
        actor_project_id=filled(now("project_id")),
        actor_kind=pl.when(filled(now("user_id")).is_null()).then(pl.lit("system")).otherwise(pl.lit("unknown")),
        request_id=now("request_id"),
        host=filled(_newest("host")),
        message=pl.when("has_failed").then(
            pl.coalesce(details, _server("fault").struct.field("message")).str.strip_chars()
        ),
    )


def evidence(observations: pl.LazyFrame) -> pl.LazyFrame:
    """A server exists since it was asked for, and ran where it was built from then on; its owner is the listing's."""
    frame = _judged(decode(observations, RECORD, required=("instance_uuid", "start_time")))
    creations = frame.filter(now("action") == "create")
    asked_for = instant(now("start_time"))
    built = creations.filter(
        pl.col("is_over") & ~pl.col("has_failed") & _newest("event").is_in(list(LAST_STEPS["create"]))
    )
    server_id = now("instance_uuid")
    return together(
        claims(creations, "server", "created", resource_id=server_id, at=asked_for, at_from=asked_for),
        edge_since(built, "server", "runs_on", "host", _newest("host"), at=pl.col("ended_at")).with_columns(
            resource_id=pl.col("resource_id").str.split("/").list.first()
        ),
    )


def _judged(frame: pl.LazyFrame) -> pl.LazyFrame:
    """Adds whether an action `is_over` and `has_failed`, and when it ended.

    An event that never finishes beside one of the same action that finished after it began is Nova's own slip: a
    second build attempt ends the first one's event.
    """
    status = _server("status")
    is_dead = status.is_in(["ERROR", "DELETED"]).fill_null(False)
    last_end = _of_events(_event("finish_time")).list.drop_nulls().list.max()
    last_open = _of_events(pl.when(_event("finish_time").is_null()).then(_event("start_time"))).list.max()
    is_rolled_back = _of_events(_event("event").str.starts_with("compute_rollback")).list.any().fill_null(False)
    is_unlaunched = (now("action") == "create") & _server(LAUNCHED_AT).is_null()
    never_built, is_building = is_unlaunched & is_dead, is_unlaunched & (status == "BUILD").fill_null(False)
    never_ran = (now("action") == "delete") & (status == "DELETED").fill_null(False)
    steps = pl.when(now("action").is_in(list(LAST_STEPS))).then(
        now("action").replace_strict(LAST_STEPS, default=None, return_dtype=pl.List(pl.String))
    )
    is_last = steps.is_null() | (_of_events(_event("event")).list.set_intersection(steps).list.len() > 0)
    has_failed = (now("message") == "Error").fill_null(False) | is_rolled_back | never_built
    has_ended = last_end.is_not_null() & (last_open < last_end).fill_null(True) & (is_last | has_failed)
    is_over = (has_ended & ~is_building) | never_built | never_ran | now("action").is_in(list(STEPLESS))
    ended = pl.coalesce(last_end, pl.when(never_ran).then(_server(TERMINATED_AT)), now("updated_at"))
    return frame.with_columns(is_over=is_over, has_failed=has_failed, ended_at=pl.when(is_over).then(instant(ended)))


def _unfinished(found: list[Record]) -> dict[str, str]:
    """Actions that have not ended, by key, and when they began; one that nobody can read is not waited for."""
    texts = [json.dumps(record.body) for record in found]
    frame = pl.LazyFrame(
        {"key": [record.key for record in found], "body": texts, "previous": None},
        schema={"key": pl.String, "body": pl.String, "previous": pl.String},
    )
    try:
        running = _judged(decode(frame, RECORD, required=("action",))).filter(~pl.col("is_over"))
        began = dict(running.select("key", now("start_time")).collect().iter_rows())
    except Exception:  # whatever the one record does to the frame, the others are judged without it
        if len(found) < 2:
            return {}
        middle = len(found) // 2
        return _unfinished(found[:middle]) | _unfinished(found[middle:])
    return {key: at for key, at in began.items() if parsed(at)}


def _of_events(value: pl.Expr) -> pl.Expr:
    return now("events").list.eval(value)


def _event(name: str) -> pl.Expr:
    return pl.element().struct.field(name)


def _newest(name: str) -> pl.Expr:
    """A field of the newest event: Nova lists them newest first."""
    return now("events").list.first().struct.field(name)


def _server(name: str) -> pl.Expr:
    return now("server").struct.field(name)


SOURCE = Source(
    name="nova_instance_actions",
    service=SERVICE,
    shape=Shape.MUTABLE,
    resource_type="server",
    fetch=fetch,
    normalize=normalize,
    evidence=evidence,
    description=__doc__,
    retention=RETENTION,
    microversion=MICROVERSIONS[0],
    reads=("nova_servers", "cinder_volumes", "neutron_ports", "nova_migrations"),
    # an action that nobody has written to for as long as the timeline lasts has ended
    is_over=lambda body: body.is_not_null(),
)
