"""Why an event is whose it is: rule, path, evidence, and what was believed when."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

import psycopg
from psycopg.rows import dict_row

from timeline_assets.errors import ConfigurationError, TimelineError

#: What releases a quarantined event, by reason.
RELEASED_BY = {
    "NO_EVIDENCE": "a listing or a message that shows this resource and its owner",
    "TOPOLOGY_GAP": "a dated record of who owned the resource at that time (a message of the bus, a transfer): "
    "kinds that can change hands prove nothing about the time before they were first seen",
    "CONFLICT": "a dated record, or a person's decision, that settles which of the owners named for the same "
    "time is right",
    "INTERVAL_OVERLAP": "a dated record of the change of owner: the event lies in the time in which it is not known "
    "who owned the resource",
    "AMBIGUOUS_NAME": "an id; or, if the record names a project and its domain, scans before and after it that show "
    "the project under that name: a name alone never proves an owner",
}


class EventNotFound(TimelineError):
    """No event has this id, or more than one begins with it."""


@dataclass(frozen=True)
class Explanation:
    """An event (column → value), its attributions newest first, and its row of quarantine if it ever had one."""

    event: dict[str, Any]
    attributions: list[dict[str, Any]]
    quarantine: dict[str, Any] | None
    released_by: str | None


def explain(connection: psycopg.Connection, event_id: str) -> Explanation:
    """The explanation of one event, by its id or a beginning of it that only one event has (8 characters or more).

    The id of an affected tenant's row stands for the event behind it.

    Raises :class:`EventNotFound`, or :class:`ConfigurationError` for what can be no id.
    """
    with connection.cursor(row_factory=dict_row) as cursor:
        event = _find(cursor, event_id.strip().lower())
        cursor.execute(
            """select version, owner_scope, owner_domain_id, owner_project_id, rule, confidence, path, evidence,
                valid_at,
                      topology_recorded_at, reason, run_id, decided_at
            from timeline.attributions where event_id = %s order by version desc""",
            (event["event_id"],),
        )
        attributions = cursor.fetchall()
        cursor.execute(
            """select reason, detail, candidates, first_seen, attempts, resolved_at from timeline.quarantine
                where event_id = %s""",
            (event["event_id"],),
        )
        quarantine = cursor.fetchone()
    is_open = quarantine is not None and quarantine["resolved_at"] is None
    return Explanation(event, attributions, quarantine, RELEASED_BY[quarantine["reason"]] if is_open else None)


def _find(cursor: psycopg.Cursor, event_id: str) -> dict[str, Any]:
    digits = event_id.replace("-", "")
    if len(digits) < 8 or not all(c in "0123456789abcdef" for c in digits) or len(digits) > 32:
        raise ConfigurationError(
            f"{event_id!r} is no event id",
            remedy="Take it from `timeline events`: the whole id, or at least its first 8 characters.",
        )
    first, last = (uuid.UUID(digits.ljust(32, fill)) for fill in "0f")
    cursor.execute("select * from timeline.events where event_id between %s and %s limit 2", (first, last))
    found = cursor.fetchall()
    if not found:  # a tenant asks about the row that it has
        cursor.execute(
            """select e.* from timeline.affected a join timeline.events e using (event_id)
            where a.affected_id between %s and %s limit 2""",
            (first, last),
        )
        found = cursor.fetchall()
    if len(found) == 1:
        return found[0]
    if found:
        raise EventNotFound(f"more than one event begins with {event_id!r}", remedy="Give more of the id.")
    raise EventNotFound(
        f"there is no event {event_id!r}", remedy="It may lie in another database, or its month may be past retention."
    )
