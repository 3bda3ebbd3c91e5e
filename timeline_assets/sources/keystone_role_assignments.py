"""Role assignments of the identity service: one row is one role that a user or group holds on a project, a domain or
the whole system.

From ``GET /v3/role_assignments`` (direct ones; `role.name` is completed from ``GET /v3/roles``, as `include_names`
would, which takes the service ten times as long), whole, every 10 seconds (more than 2 000 of them: with pauses). The
service keeps no times and no history: a grant and a revocation are dated between two scans, what was undone before
the second scan after it is not seen (the message bus tells of it), and who granted is never told. The first scan
knows no births.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import polars as pl

from timeline_assets.normalize.claims import edge, existence, together
from timeline_assets.normalize.facts import decode, facts, lifecycle, related
from timeline_assets.sources import keystone
from timeline_assets.sources.base import Fetched, Reader, Shape, Source, Span

_ID = pl.Struct({"id": pl.String})
RECORD = pl.Struct(
    {
        "role": pl.Struct({"id": pl.String, "name": pl.String}),
        "user": _ID,
        "group": _ID,
        "scope": pl.Struct({"project": _ID, "domain": _ID, "OS-INHERIT:inherited_to": pl.String}),
    }
)


def fetch(reader: Reader, span: Span) -> Fetched:
    """All direct assignments, with the names of their roles."""
    names = cache(lambda: _role_names(reader))

    def with_name(row: Any) -> Any:
        match row:
            case {"role": {"id": str(role_id)} as role} if role_id in names():
                return {**row, "role": {**role, "name": names()[role_id]}}
        return row

    return keystone.fetch(reader, span, "/role_assignments", key=key, complete=with_name)


def key(row: Mapping[str, Any]) -> str:
    """An assignment has no id; its parts are: ``<role>/<user|group>/<id>/<project|domain|system>/<id>[/inherited]``."""
    holder = next((kind for kind in ("user", "group") if kind in row), "")
    scope = row["scope"]
    place = next((kind for kind in ("project", "domain", "system") if kind in scope), "")
    where = "all" if place == "system" else scope[place]["id"]
    inherited = "/inherited" if scope.get("OS-INHERIT:inherited_to") else ""
    return f"{row['role']['id']}/{holder}/{row[holder]['id']}/{place}/{where}{inherited}"


def normalize(observations: pl.LazyFrame) -> pl.LazyFrame:
    """``identity.role_assignment.created`` and ``.deleted``: the target is the project or domain it is held on.

    The same role may be granted again after it was revoked, so both facts are named by the scan that showed them.
    """
    frame = lifecycle(decode(observations, RECORD, required=("role", "scope")), changes=pl.lit("[]"))
    return facts(
        frame,
        event_type=pl.lit("identity.role_assignment.") + pl.col("life"),
        source_version=pl.concat_str("life", pl.lit(":"), pl.col("occurred_to").dt.to_string("iso:strict")),
        resource_type="role_assignment",
        resource_id=pl.col("key"),
        resource_name=pl.coalesce(_of("role", "name"), _of("role", "id")),
        related=related(
            ("user", _of("user", "id"), "related"),
            ("group", _of("group", "id"), "related"),
            ("project", _of("scope", "project", "id"), "container"),
            ("domain", _of("scope", "domain", "id"), "container"),
        ),
        target_project_id=_of("scope", "project", "id"),
        target_domain_id=_of("scope", "domain", "id"),
    )


def evidence(observations: pl.LazyFrame) -> pl.LazyFrame:
    """An assignment exists under its role's name, held by a user or group, on a project or domain."""
    frame = decode(observations, RECORD, required=("role", "scope"))
    found = [existence(frame, "role_assignment", name=pl.coalesce(_of("role", "name"), _of("role", "id")))]
    for relation, kind, target in (
        ("held_by", "user", _of("user", "id")),
        ("held_by", "group", _of("group", "id")),
        ("held_on", "project", _of("scope", "project", "id")),
        ("held_on", "domain", _of("scope", "domain", "id")),
    ):
        found.append(edge(frame.filter(target.is_not_null()), "role_assignment", relation, kind, target))
    return together(*found)


def _role_names(reader: Reader) -> dict[str, str]:
    roles = reader.rows("identity", "/roles", "roles", {"limit": None})
    return {role["id"]: role["name"] for role in roles if isinstance(role, dict) and {"id", "name"} <= role.keys()}


def _of(*names: str) -> pl.Expr:
    value = pl.col("now")
    for name in names:
        value = value.struct.field(name)
    return value


SOURCE = Source(
    name="keystone_role_assignments",
    service="identity",
    shape=Shape.SNAPSHOT,
    resource_type="role_assignment",
    fetch=fetch,
    normalize=normalize,
    evidence=evidence,
    description=__doc__,
)
