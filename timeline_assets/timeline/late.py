"""Which events late evidence concerns: those whose answer it can change, found by index, and no others.

A resource whose belief has changed concerns its own events of that period which were not decided by their record
alone, and those that have put it down among what they await. Other evidence is no resource: another event of the same
request, whoever is called by a name, a scan after the event.
"""

# ruff: noqa: S608 - statements are put together from constants of this module; values are always parameters
from __future__ import annotations

import polars as pl
import psycopg

from timeline_assets.config import CloudSettings
from timeline_assets.normalize.schema import TRANSFERABLE
from timeline_assets.ownership import services, siblings
from timeline_assets.store.copy import copy_frame, read_frame
from timeline_assets.timeline.write import by_index
from timeline_assets.topology import lookup

_IN_PERIOD = """(t.changed_from is null or e.occurred_to >= t.changed_from)
    and (t.changed_to is null or e.occurred_from <= t.changed_to)"""

# A record that names its owner is only doubted where the resource could change hands; a user's events are filed by the
# user's domain, where the record does not name that.
_OWN = f"""
select e.event_id from taken t
join timeline.events e on e.resource_id = t.resource_id and e.cloud = t.cloud and {_IN_PERIOD}
join timeline.event_keys k on k.event_id = e.event_id
where k.confidence <> 'certain'
   or 'resource_name' = any(k.filled)
   or k.rule = 'payload_owner' and t.resource_type = any(%(transferable)s)
   or k.rule = 'target_is_tenant' and t.resource_type = 'user'"""

# A tenant's home is not asked for as of a time.
_AWAITING = f"""
select a.event_id from taken t
join timeline.awaits a on a.cloud = t.cloud and a.resource_id = t.resource_id
join timeline.event_keys k on k.event_id = a.event_id
join timeline.events e on e.event_id = k.event_id and e.occurred_at = k.occurred_at
where t.resource_type in ('project', 'domain', 'user') or {_IN_PERIOD}"""

# On the way to those whom an event affected: what was passed there has changed itself, or an edge that leads to it.
_WALKED = """
select w.event_id from (select * from taken union all select * from ends) t
join timeline.walked w on w.cloud = t.cloud and w.resource_id = t.resource_id
    and (t.changed_from is null or w.occurred_to >= t.changed_from)
    and (t.changed_to is null or w.occurred_from <= t.changed_to)"""

_NAMING = """
select a.event_id from taken t
join topology.resources r on r.resource_id = t.resource_id and r.resource_type = t.resource_type and r.cloud = t.cloud
join timeline.awaits a on a.cloud = t.cloud and a.resource_id = 'name:' || r.resource_type || '/' || r.name
where t.resource_type in ('project', 'domain', 'user')"""

_SCANNED = """
delete from timeline.awaits a using raw.scans s
where s.cloud = %(cloud)s and a.cloud = s.cloud and a.resource_id = 'scan:' || s.source
  and a.occurred_at <= s.last_complete_from
returning a.event_id"""

# What was withheld because of a project's members awaits the project, not their roles.
_MEMBERS = """
select p.project_id from taken t, lateral (
    select e.to_id as project_id from topology.edges e
    where e.from_id = t.resource_id and e.relation = 'held_on' and e.cloud = t.cloud and e.to_type = 'project'
    offset 0) p
where t.resource_type = 'role_assignment'
group by p.project_id"""
_OF_MEMBERS = """
select a.event_id from members m
join timeline.awaits a on a.cloud = %(cloud)s and a.resource_id = m.project_id"""
_OF_SERVICES = """
select e.event_id from service_periods s
join timeline.events e on e.owner_project_id = s.project_id and e.cloud = %(cloud)s
    and (s.valid_from is null or e.occurred_from >= s.valid_from)
    and (s.valid_to is null or e.occurred_from < s.valid_to)
where s.project_id in (select project_id from members)"""

_DISPUTED = f"""
select e.event_id from taken t
join timeline.events e on e.owner_project_id = t.resource_id and e.cloud = t.cloud and {_IN_PERIOD}
where t.resource_type = 'project' and exists (
    select from topology.conflicts c
    where c.resource_id = t.resource_id and c.resource_type = 'project' and c.cloud = t.cloud)"""

_QUERIES = (_OWN, _AWAITING, _WALKED, _NAMING, _OF_MEMBERS, _OF_SERVICES, _DISPUTED)


def concerned(connection: psycopg.Connection, cloud: CloudSettings) -> pl.DataFrame:
    """Takes what has changed off its lists, in the caller's transaction; gives `event_id` of the events concerned."""
    context = {"cloud": cloud.name, "transferable": list(TRANSFERABLE)}
    with connection.cursor() as cursor, by_index(cursor):
        for taken, touched in (("taken", "touched"), ("ends", "touched_ends")):
            cursor.execute(
                f"""create temp table {taken} on commit drop as
                with gone as (delete from topology.{touched} where cloud = %(cloud)s returning *) select * from gone""",
                context,
            )
        cursor.execute(f"create temp table members on commit drop as {_MEMBERS}")
        _copy_service_periods(connection, cloud)
        cursor.execute("create temp table concerned (event_id uuid) on commit drop")
        for query in _QUERIES:
            cursor.execute(f"insert into concerned {query}", context)
        cursor.execute(f"with released as ({_SCANNED}) insert into concerned select event_id from released", context)
    return read_frame(connection, "select distinct event_id from concerned order by event_id")


def waiting_siblings(connection: psycopg.Connection, cloud: str, events: pl.DataFrame) -> pl.DataFrame:
    """Other events of the requests of these: `event_id` of those that an owner proven there, or no more, can change."""
    requests = (
        siblings.keyed(events).unique().select(cloud=pl.lit(cloud), resource_id=pl.format("request:{}", "request"))
    )
    connection.execute(
        "create temp table if not exists made_requests (cloud text, resource_id text) on commit drop; "
        "truncate made_requests"
    )
    copy_frame(connection, requests, "made_requests")
    with connection.cursor() as cursor, by_index(cursor):
        waiting = read_frame(
            connection,
            """select distinct a.event_id::text as event_id from made_requests m
            join timeline.awaits a on a.cloud = m.cloud and a.resource_id = m.resource_id
            join timeline.event_keys k on k.event_id = a.event_id and k.rule = any(%(weak)s)""",
            {"weak": list(siblings.WEAK)},
        )
    return waiting.cast({"event_id": pl.String}).join(events, on="event_id", how="anti").sort("event_id")


def _copy_service_periods(connection: psycopg.Connection, cloud: CloudSettings) -> None:
    connection.execute(
        """create temp table service_periods (project_id text, valid_from timestamptz, valid_to timestamptz)
        on commit drop"""
    )
    if connection.execute("select exists (select from members)").fetchone()[0]:
        pin = lookup.pin(connection, cloud.name)
        periods = services.periods(connection, cloud.name, cloud.service_role, pin)
        copy_frame(connection, periods, "service_periods")
