"""Which projects are of services, and when: those all of whose members held the service role.

Read from the harvested role assignments as believed at a pin. Before the first assignment that was ever seen of a
project, and while it has no member at all, what was so next to it is taken to be so. What a role is inherited from
elsewhere makes nobody a member: an operator's role on a whole domain would otherwise make a tenant of each service.
"""

from __future__ import annotations

from datetime import datetime

import polars as pl
import psycopg

from timeline_assets.normalize.schema import INSTANT
from timeline_assets.store.copy import read_frame

#: From when to when a project was a service's; null is without end.
PERIODS = pl.Schema({"project_id": pl.String, "valid_from": INSTANT, "valid_to": INSTANT})

# only projects on which somebody ever held the role can be any; the others' assignments are not even read
_MEMBERS = """
with posts as (
    select distinct e.to_id as project_id
    from topology.resources r
    join topology.edges e on e.from_id = r.resource_id and e.cloud = r.cloud and e.relation = 'held_on'
        and e.from_type = 'role_assignment' and e.to_type = 'project'
    where r.name = %(role)s and r.resource_type = 'role_assignment' and r.cloud = %(cloud)s
), members as (
    select p.project_id, o.from_id, o.valid_from, o.valid_to from posts p, lateral (
        select e.from_id, e.valid_from, e.valid_to from topology.edges e
        where e.to_id = p.project_id and e.relation = 'held_on' and e.cloud = %(cloud)s
          and e.from_type = 'role_assignment' and e.to_type = 'project' and e.from_id not like '%%/inherited'
          and e.recorded_from <= %(pin)s and (e.recorded_to is null or e.recorded_to > %(pin)s)
        offset 0) o
)
select m.project_id, m.valid_from, m.valid_to, h.holder, coalesce(h.is_service, false) as is_service
from members m, lateral (
    select e.to_type || '/' || e.to_id as holder, exists (
        select from topology.resources r where r.resource_id = m.from_id and r.resource_type = 'role_assignment'
          and r.cloud = %(cloud)s and r.name = %(role)s
          and r.recorded_from <= %(pin)s and (r.recorded_to is null or r.recorded_to > %(pin)s)) as is_service
    from topology.edges e
    where e.from_id = m.from_id and e.relation = 'held_by' and e.cloud = %(cloud)s
      and e.recorded_from <= %(pin)s and (e.recorded_to is null or e.recorded_to > %(pin)s)
    offset 0) h
"""


def periods(connection: psycopg.Connection, cloud: str, role: str, pin: datetime) -> pl.DataFrame:
    """The periods (:data:`PERIODS`) in which projects were services', as far as their members tell."""
    members = read_frame(connection, _MEMBERS, {"cloud": cloud, "role": role, "pin": pin})
    schema = {
        "project_id": pl.String,
        "valid_from": INSTANT,
        "valid_to": INSTANT,
        "holder": pl.String,
        "is_service": pl.Boolean,
    }
    return of_members(members.cast(schema))


def of_members(members: pl.DataFrame) -> pl.DataFrame:
    """The periods from memberships: `project_id`, `holder`, `is_service` (its role is the service role), `valid_from`,
    `valid_to`. A holder counts once, whatever other roles it holds beside the service role."""
    ends = ("valid_from", "valid_to")
    instants = pl.concat([members.select("project_id", at=end) for end in ends]).drop_nulls().unique()
    holders = (
        instants.join(members, on="project_id")
        .filter(
            (pl.col("valid_from") <= pl.col("at"))
            & (pl.col("valid_to").is_null() | (pl.col("at") < pl.col("valid_to")))
        )
        .group_by("project_id", "at", "holder")
        .agg(pl.col("is_service").any())
    )
    states = holders.group_by("project_id", "at").agg(pl.col("is_service").all()).sort("project_id", "at")
    is_first = pl.col("project_id").ne_missing(pl.col("project_id").shift())
    changed = states.filter(is_first | (pl.col("is_service") != pl.col("is_service").shift()))
    return (
        changed.with_columns(
            valid_from=pl.when(~is_first).then("at"), valid_to=pl.col("at").shift(-1).over("project_id")
        )
        .filter("is_service")
        .select(PERIODS.names())
        .cast(dict(PERIODS))
    )
