"""From what people call things to ids, and back. Never a guess: a name of two things is an error that lists both."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import LiteralString

import psycopg
from psycopg.rows import class_row

from timeline_assets.errors import ConfigurationError

SHOWN = 12
SHORTEST_PREFIX = 8

PROJECTS: LiteralString = """
    select distinct r.cloud, r.resource_id as id, r.resource_type as type, r.name, d.resource_id as within_id,
        d.name as within
    from topology.resources r
    left join topology.ownership o on o.cloud = r.cloud and o.resource_id = r.resource_id
        and o.resource_type = 'project' and o.recorded_to is null
    left join topology.resources d on d.cloud = r.cloud and d.resource_id = o.domain_id
        and d.resource_type = 'domain' and d.recorded_to is null
    where r.resource_type = 'project' and r.recorded_to is null and (%(cloud)s::text is null or r.cloud = %(cloud)s)"""

RESOURCES: LiteralString = """
    select distinct r.cloud, r.resource_id as id, r.resource_type as type, r.name,
        coalesce(o.project_id, o.domain_id) as within_id, concat_ws('/', d.name, p.name) as within
    from topology.resources r
    left join topology.ownership o on o.cloud = r.cloud and o.resource_id = r.resource_id
        and o.resource_type = r.resource_type and o.recorded_to is null
    left join topology.resources p on p.cloud = r.cloud and p.resource_id = o.project_id
        and p.resource_type = 'project' and p.recorded_to is null and p.valid_to is null
    left join topology.ownership po on po.cloud = r.cloud and po.resource_id = o.project_id
        and po.resource_type = 'project' and po.recorded_to is null and po.valid_to is null
    left join topology.resources d on d.cloud = r.cloud and d.resource_id = coalesce(po.domain_id, o.domain_id)
        and d.resource_type = 'domain' and d.recorded_to is null and d.valid_to is null
    where r.recorded_to is null and (%(cloud)s::text is null or r.cloud = %(cloud)s)
      and (%(project)s::text is null or exists (select from topology.ownership w where w.cloud = r.cloud
          and w.resource_id = r.resource_id and w.recorded_to is null and w.project_id = %(project)s))"""


@dataclass(frozen=True)
class Named:
    """A project, `within` its domain, or another resource, `within` its project (``domain/project``)."""

    cloud: str
    id: str
    type: str
    name: str | None
    within_id: str | None
    within: str | None


def project(connection: psycopg.Connection, asked: str, *, cloud: str | None = None) -> Named:
    """The project of an id, a name, or ``domain/name``; former names count.

    Raises :class:`ConfigurationError` that lists the candidates where it means several, or says where to look.
    """
    domain, _, name = asked.rpartition("/")
    by_domain: LiteralString = " and r.name = %(name)s and (d.name = %(domain)s or d.resource_id = %(domain)s)"
    by_name: LiteralString = " and (r.resource_id = %(name)s or r.name = %(name)s)"
    values = {"cloud": cloud, "name": name, "domain": domain}
    found = _found(connection, PROJECTS + (by_domain if domain else by_name), values)
    return _only(
        found,
        f"project {asked!r}",
        "Give the id, or DOMAIN/NAME; `openstack project list --long` shows both. Projects are known once harvested.",
    )


def resources(
    connection: psycopg.Connection, asked: str, *, cloud: str | None = None, project_id: str | None = None
) -> list[Named]:
    """The resource of an id (or its beginning), or those of a name; `project_id` narrows to what a project owned.

    Several resources of one project may bear or have borne one name: they are all meant. In two projects it is two
    things. Raises :class:`ConfigurationError` like :func:`project`.
    """
    values = {"cloud": cloud, "project": project_id, "name": asked, "prefix": f"{asked}%"}
    is_prefix = len(asked) >= SHORTEST_PREFIX and all(c in "0123456789abcdef-" for c in asked.lower())
    by_name: LiteralString = " and (r.resource_id = %(name)s or r.name = %(name)s)"
    found = _found(connection, RESOURCES + by_name, values)
    if found and len({(one.cloud, one.type, one.within_id) for one in found}) == 1 and found[0].within_id:
        return found
    if not found and is_prefix:
        found = _found(connection, RESOURCES + " and r.resource_id like %(prefix)s", values)
    remedy = "Give its id, or narrow it: --tenant, --cloud. `timeline events` shows both."
    return [_only(found, f"resource {asked!r}", remedy)]


def known(connection: psycopg.Connection, ids: Iterable[tuple[str, str | None]]) -> dict[tuple[str, str], str]:
    """The newest known names of projects, users and domains: (cloud, id) → name."""
    wanted = {(cloud, id) for cloud, id in ids if id}
    rows = connection.execute(
        """select distinct on (r.cloud, r.resource_id) r.cloud, r.resource_id, r.name
        from unnest(%s::text[], %s::text[]) as w(cloud, id)
        join topology.resources r on r.cloud = w.cloud and r.resource_id = w.id and r.recorded_to is null
        where r.resource_type in ('project', 'user', 'domain') and r.name is not null
        order by r.cloud, r.resource_id, r.valid_from desc nulls last""",
        ([cloud for cloud, _ in wanted], [id for _, id in wanted]),
    )
    return {(cloud, id): name for cloud, id, name in rows}


def bearers(
    connection: psycopg.Connection, name: str, meant: Sequence[Named]
) -> list[tuple[str, datetime | None, datetime | None]]:
    """Those of one kind that bear or bore a name, by id, with the period in which they did; the first seen first."""
    return connection.execute(
        """select resource_id, case when bool_and(valid_from is not null) then min(valid_from) end as since,
            case when bool_and(valid_to is not null) then max(valid_to) end
        from topology.resources
        where cloud = %s and resource_type = %s and resource_id = any(%s) and name = %s and recorded_to is null
        group by resource_id order by since nulls first, resource_id""",
        (meant[0].cloud, meant[0].type, [one.id for one in meant], name),
    ).fetchall()


def at(connection: psycopg.Connection, asked: Iterable[tuple[str, str, str, datetime]]) -> list[str | None]:
    """What resources (cloud, type, id) were called at an instant, one by one; None where no name is known.

    Before the first name that is known of a resource it counts as called by that, after the last by that.
    """
    rows = connection.execute(
        """select r.name from unnest(%s::text[], %s::text[], %s::text[], %s::timestamptz[]) with ordinality
            as a(cloud, kind, id, at, number)
        left join lateral (
            select name from topology.resources r
            where r.cloud = a.cloud and r.resource_type = a.kind and r.resource_id = a.id and r.recorded_to is null
              and r.name is not null
            order by coalesce(r.valid_to <= a.at, false),
                case when r.valid_to <= a.at then null else r.valid_from end nulls first, r.valid_to desc
            limit 1) r on true
        order by a.number""",
        tuple(list(column) for column in zip(*asked, strict=True)) or ([], [], [], []),
    )
    return [name for (name,) in rows]


def _found(connection: psycopg.Connection, query: LiteralString, values: dict[str, str | None]) -> list[Named]:
    with connection.cursor(row_factory=class_row(Named)) as cursor:
        cursor.execute(query + " order by cloud, within, name, id limit 200", values)
        return cursor.fetchall()


def _only(found: list[Named], what: str, remedy: str) -> Named:
    by_id: dict[tuple[str, str, str], Named] = {}
    for candidate in found:
        by_id.setdefault((candidate.cloud, candidate.type, candidate.id), candidate)
    candidates = list(by_id.values())
    if len(candidates) == 1:
        return candidates[0]
    if not candidates:
        raise ConfigurationError(f"there is no {what}", remedy=remedy)
    lines = [f"{c.type} {c.id}  {_within(c)}{c.name or ''}  (cloud {c.cloud})" for c in candidates[:SHOWN]]
    more = [f"… and {len(candidates) - SHOWN} more"] if len(candidates) > SHOWN else []
    raise ConfigurationError(
        f"{what} is {len(candidates)} things; which one?\n  " + "\n  ".join([*lines, *more]), remedy=remedy
    )


def _within(candidate: Named) -> str:
    within = candidate.within or candidate.within_id
    return f"{within}/" if within else ""
