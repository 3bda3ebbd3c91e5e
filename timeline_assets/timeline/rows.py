"""Tenants' rows from events: the SELECTs that the rules of redaction come to, column by column.

They read `incoming` as `i` (:mod:`timeline_assets.timeline.write`) and, for tenants other than the owner, `shares` as
`s` (:mod:`timeline_assets.timeline.shares`). A column is copied or rounded only where `redact` says so; every other one
needs an expression here, and the module does not load if a rule and an expression contradict each other.
"""

from __future__ import annotations

from collections.abc import Mapping

from timeline_assets.timeline.redact import AFFECTED, OWNER, Tenant

TENANT_EVENT = (
    "event_id", "cloud", "region", "tenant_domain_id", "tenant_project_id", "relation", "visibility", "event_type",
    "category", "severity", "outcome", "phase", "occurred_at", "occurred_from", "occurred_to", "time_precision",
    "ended_at", "resource_type", "resource_id", "resource_name", "related", "changes", "actor_user_id", "actor_label",
    "request_id", "title", "message",
)  # fmt: skip

#: When a tenant's row was written, as it may know it: `relation` is in scope.
RECORDED_AT = "case when relation = 'affected' then date_trunc('minute', now()) else now() end"

#: Columns that only a tenant's row has.
_ADDED = ("tenant_domain_id", "tenant_project_id", "relation", "actor_label")
_BY_RULE = {
    Tenant.COPY: "i.{0}",
    Tenant.MINUTE: "date_trunc('minute', i.{0})",
    Tenant.MINUTE_END: "date_trunc('minute', i.{0}) + interval '1 minute'",
}

# The changes a tenant may see; almost all events have none, and those cost nothing.
_CHANGES = """case when i.changes = '[]' then i.changes else coalesce(
    (select jsonb_agg(c) from jsonb_array_elements(i.changes) c where c->>'path' = any(%(paths)s)), '[]') end"""
_MESSAGE = "case when i.event_type = any(%(messages)s) then i.message end"
_SHARE = {column: f"s.{column}" for column in (*_ADDED, "related", "title", "actor_user_id", "request_id")}


def _select(rules: Mapping[str, Tenant], given: Mapping[str, str]) -> str:
    expressions = []
    for column in TENANT_EVENT:
        rule = None if column in _ADDED else rules[column]
        if (column in given) == (rule in _BY_RULE):
            raise ValueError(f"{column} of a tenant's row: its rule is {rule}, its expression {given.get(column)}")
        expressions.append(given[column] if column in given else _BY_RULE[rule].format(column))
    return f"select {', '.join(expressions)}"


#: The row of the tenant it happened to.
OWNER_ROW = _select(
    OWNER,
    {
        "tenant_domain_id": "i.owner_domain_id",
        "tenant_project_id": "i.owner_project_id",
        "relation": "'owner'",
        "related": "i.tenant_related",
        "changes": _CHANGES,
        "actor_user_id": "i.tenant_actor_user_id",
        "actor_label": "i.actor_label",
        "request_id": "i.tenant_request_id",
        "title": "coalesce(i.tenant_title, i.title)",
        "message": _MESSAGE,
    },
)
#: The row of the tenant to whom its target went.
TAKER_ROW = _select(OWNER, {**_SHARE, "changes": _CHANGES, "message": _MESSAGE})
#: The row of a tenant whose resources hung on its target. What is rounded is an interval.
AFFECTED_ROW = _select(
    AFFECTED,
    {
        **_SHARE,
        "event_id": "s.row_id",
        "time_precision": "'interval'",
        "resource_type": "s.kind",
        "resource_id": "s.row_id::text",
        "resource_name": "null::text",
        "changes": "'[]'::jsonb",
        "message": "null::text",
    },
)
