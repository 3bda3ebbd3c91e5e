"""What of an event a tenant may see: one line per column of `timeline.events`, and none is seen by default.

`OWNER` names for every column of the provider's event what becomes of it in the row of the tenant it happened to,
`AFFECTED` in the rows of tenants whose resources only hung on it. The tenants' rows are made from these
(`timeline/write.py`): a column that is missing here cannot be written, and fails ``test_every_column_is_classified``.
"""

from __future__ import annotations

from enum import Enum

import polars as pl


class Tenant(Enum):
    """What becomes of a column in a tenant's row."""

    COPY = "as it is"
    DROP = "never"
    MADE = "made for the row, from the registry's words and its own id"
    MINUTE = "rounded to the beginning of its minute"
    MINUTE_END = "rounded to the end of its minute"
    ACTOR = "only if the actor belongs to the tenant (see `actor_label`)"
    PATHS = "only the changes of `CHANGE_PATHS`"
    OWN = "only resources that the same tenant owned"
    ALLOWED = "only for the types of `MESSAGE_TYPES`"


OWNER: dict[str, Tenant] = {
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
    "title": Tenant.MADE,
    "message": Tenant.ALLOWED,
    "raw_ref": Tenant.DROP,
    "raw_sha256": Tenant.DROP,
    "normalizer_version": Tenant.DROP,
}

AFFECTED: dict[str, Tenant] = {
    "event_id": Tenant.MADE,
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
    "occurred_at": Tenant.MINUTE,
    "occurred_from": Tenant.MINUTE,
    "occurred_to": Tenant.MINUTE_END,
    "time_precision": Tenant.MADE,
    "ended_at": Tenant.MINUTE,
    "observed_at": Tenant.DROP,
    "recorded_at": Tenant.MINUTE,
    "resource_type": Tenant.MADE,
    "resource_id": Tenant.MADE,
    "resource_name": Tenant.DROP,
    "related": Tenant.OWN,
    "changes": Tenant.DROP,
    "owner_scope": Tenant.DROP,
    "owner_domain_id": Tenant.DROP,
    "owner_project_id": Tenant.DROP,
    "actor_user_id": Tenant.DROP,
    "actor_project_id": Tenant.DROP,
    "actor_domain_id": Tenant.DROP,
    "actor_kind": Tenant.DROP,
    "on_behalf_of_user_id": Tenant.DROP,
    "on_behalf_of_project_id": Tenant.DROP,
    "actor_address": Tenant.DROP,
    "request_id": Tenant.DROP,
    "global_request_id": Tenant.DROP,
    "host": Tenant.DROP,
    "availability_zone": Tenant.DROP,
    "title": Tenant.MADE,
    "message": Tenant.DROP,
    "raw_ref": Tenant.DROP,
    "raw_sha256": Tenant.DROP,
    "normalizer_version": Tenant.DROP,
}

#: Paths of changes whose old and new values are the tenant's own and name nobody else. Every path that a source tracks
#: is here or in `WITHHELD_PATHS` (a test fails until a new one is).
CHANGE_PATHS = (
    "OS-EXT-STS:power_state",
    "admin_state_up",
    "allocation_pools",
    "allowed_address_pairs",
    "bootable",
    "cidr",
    "description",
    "distributed",
    "dns_domain",
    "dns_name",
    "dns_nameservers",
    "enable_dhcp",
    "enabled",
    "fixed_ip_address",
    "gateway_ip",
    "ha",
    "host_routes",
    "mac_address",
    "metadata",
    "mtu",
    "name",
    "port_security_enabled",
    "router:external",
    "routes",
    "shared",
    "size",
    "stateful",
    "status",
    "tags",
    "volume_type",
)
#: Paths that name a host, a tenant, or a resource that may be somebody else's (a port's device on a shared network).
WITHHELD_PATHS = (
    "attachments",
    "default_project_id",
    "device_id",
    "device_owner",
    "disabled_reason",
    "domain_id",
    "external_gateway_info",
    "fixed_ips",
    "forced_down",
    "os-extended-snapshot-attributes:project_id",
    "os-vol-host-attr:host",
    "os-vol-tenant-attr:tenant_id",
    "parent_id",
    "port_id",
    "qos_policy_id",
    "router_id",
    "security_groups",
    "state",
    "subnets",
    "zone",
)

#: Types whose free text was read and found to name nobody but the tenant. Free text is never copied otherwise.
MESSAGE_TYPES: tuple[str, ...] = ()

OPERATOR = "provider operator"


def actor_label() -> pl.Expr:
    """Who did it, as the owner may know it: user, service, system, unknown, or the provider's operator.

    A user is shown if it acted in the owner's project; in which project it acted decides, because operators and other
    tenants may be of the same domain. Where that is not known, and for a domain's own events, its domain does. A
    service user is named as a service. Everyone else is somebody of the provider's.
    """
    in_project, in_domain = (pl.col(f"actor_{kind}_id") == pl.col(f"owner_{kind}_id") for kind in ("project", "domain"))
    by_domain = pl.col("actor_project_id").is_null() | pl.col("owner_project_id").is_null()
    acts_at_home = pl.when(by_domain).then(in_domain).otherwise(in_project).fill_null(False)
    return (
        pl.when(pl.col("actor_kind").is_in(["service", "system"]))
        .then("actor_kind")
        .when(pl.col("actor_user_id").is_null() & pl.col("actor_project_id").is_null())
        .then(pl.lit("unknown"))
        .when(acts_at_home)
        .then(pl.lit("user"))
        .otherwise(pl.lit(OPERATOR))
    )
