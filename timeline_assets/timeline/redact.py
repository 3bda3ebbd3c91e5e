"""What of an event a tenant may see: one line per column of `timeline.events`, and none is seen by default.

`TENANT` names for every column of the provider's event what becomes of it in the tenant's row. A column that is not
classified here fails ``test_every_column_is_classified``, so a new column cannot reach a tenant by being forgotten.
"""

from __future__ import annotations

from enum import Enum

import polars as pl


class Tenant(Enum):
    """What becomes of a column in the tenant's row."""

    COPY = "as it is"
    DROP = "never"
    ACTOR = "only if the actor belongs to the tenant (see `actor_label`)"
    PATHS = "only the changes of `CHANGE_PATHS`"
    OWN = "only resources that the same tenant owned"
    ALLOWED = "only for the types of `MESSAGE_TYPES`"


TENANT: dict[str, Tenant] = {
    "event_id": Tenant.COPY,
    "cloud": Tenant.COPY,
    "region": Tenant.COPY,
    "source": Tenant.DROP,
    "source_key": Tenant.DROP,
    "source_version": Tenant.DROP,
    "witnesses": Tenant.DROP,
    "event_type": Tenant.COPY,
    "category": Tenant.COPY,
    "visibility": Tenant.COPY,
    "severity": Tenant.COPY,
    "source_severity": Tenant.DROP,
    "outcome": Tenant.COPY,
    "phase": Tenant.COPY,
    "occurred_at": Tenant.COPY,
    "occurred_from": Tenant.COPY,
    "occurred_to": Tenant.COPY,
    "time_precision": Tenant.COPY,
    "ended_at": Tenant.COPY,
    "observed_at": Tenant.DROP,
    "recorded_at": Tenant.COPY,
    "resource_type": Tenant.COPY,
    "resource_id": Tenant.COPY,
    "resource_name": Tenant.COPY,
    "related": Tenant.OWN,
    "changes": Tenant.PATHS,
    "owner_scope": Tenant.DROP,
    "owner_domain_id": Tenant.COPY,
    "owner_project_id": Tenant.COPY,
    "actor_user_id": Tenant.ACTOR,
    "actor_project_id": Tenant.DROP,
    "actor_domain_id": Tenant.DROP,
    "actor_kind": Tenant.DROP,
    "on_behalf_of_user_id": Tenant.DROP,
    "on_behalf_of_project_id": Tenant.DROP,
    "actor_address": Tenant.DROP,
    "request_id": Tenant.ACTOR,
    "global_request_id": Tenant.DROP,
    "host": Tenant.DROP,
    "availability_zone": Tenant.DROP,
    "title": Tenant.COPY,
    "message": Tenant.ALLOWED,
    "raw_ref": Tenant.DROP,
    "raw_sha256": Tenant.DROP,
    "normalizer_version": Tenant.DROP,
}

#: Paths of changes whose old and new values are the tenant's own and name nobody else: no host, no id of another kind.
CHANGE_PATHS = (
    "name",
    "description",
    "status",
    "size",
    "bootable",
    "enabled",
    "admin_state_up",
    "locked",
    "vm_state",
    "power_state",
    "task_state",
    "flavor",
    "flavor.original_name",
    "OS-EXT-STS:vm_state",
    "OS-EXT-STS:power_state",
    "OS-EXT-STS:task_state",
    "fixed_ip_address",
    "floating_ip_address",
    "cidr",
    "enable_dhcp",
    "gateway_ip",
    "port_security_enabled",
    "mtu",
    "metadata",
    "tags",
    "fail_reason",
)

#: Types whose free text was read and found to name nobody but the tenant. Free text is never copied otherwise.
MESSAGE_TYPES: tuple[str, ...] = ()

OPERATOR = "provider operator"


def actor_label() -> pl.Expr:
    """Who did it, as the owner may know it: user, service, system, unknown, or the provider's operator.

    The user is shown if it acted in the owner's project, or its domain is the owner's. A service user is named as a
    service. Everyone else is somebody of the provider's.
    """
    acts_at_home = (
        (pl.col("actor_project_id") == pl.col("owner_project_id"))
        | (pl.col("actor_domain_id") == pl.col("owner_domain_id"))
    ).fill_null(False)
    return (
        pl.when(pl.col("actor_kind").is_in(["service", "system"]))
        .then("actor_kind")
        .when(pl.col("actor_user_id").is_null() & pl.col("actor_project_id").is_null())
        .then(pl.lit("unknown"))
        .when(acts_at_home)
        .then(pl.lit("user"))
        .otherwise(pl.lit(OPERATOR))
    )
