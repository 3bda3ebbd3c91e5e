"""Ports of the network service: one row is one port as it stood.

From ``GET /v2.0/ports``, whole every 10 seconds while there are no more than 2 000, else what changed and the whole
every 5 minutes, or, where the service cannot say what changed, the whole with pauses. Times are the service's, to the
second; a deletion lies between two scans, and of several changes between two polls only the sum is seen (the message
bus has each). Ports that the service makes for itself (gateways, HA, DVR, floating IPs) have no owner of their own;
they hang on what they were made for.
"""

from __future__ import annotations

import polars as pl

from timeline_assets.normalize.claims import edge, edge_since, edges, together
from timeline_assets.normalize.facts import decode, filled, related
from timeline_assets.sources import neutron
from timeline_assets.sources.base import Fetched, Reader, Shape, Source, Span
from timeline_assets.sources.neutron import COMMON, born, field

RECORD = pl.Struct(
    {
        **COMMON,
        "name": pl.String,
        "description": pl.String,
        "network_id": pl.String,
        "mac_address": pl.String,
        "status": pl.String,
        "admin_state_up": pl.Boolean,
        "device_id": pl.String,
        "device_owner": pl.String,
        "fixed_ips": pl.List(pl.Struct({"subnet_id": pl.String, "ip_address": pl.String})),
        "allowed_address_pairs": pl.List(pl.Struct({"ip_address": pl.String, "mac_address": pl.String})),
        "security_groups": pl.List(pl.String),
        "port_security_enabled": pl.Boolean,
        "qos_policy_id": pl.String,
        "dns_name": pl.String,
        "tags": pl.List(pl.String),
        "binding:host_id": pl.String,
    }
)
#: The binding's host is the provider's: it is the fact's `host`, never one of its changes.
TRACKED = (
    "admin_state_up",
    "allowed_address_pairs",
    "description",
    "device_id",
    "device_owner",
    "dns_name",
    "fixed_ips",
    "mac_address",
    "name",
    "port_security_enabled",
    "qos_policy_id",
    "security_groups",
    "status",
    "tags",
)

#: What a port's device is, by the beginning of its `device_owner`.
DEVICES = {
    "compute:": "server",
    "baremetal:": "server",
    "network:router_": "router",
    "network:ha_router_": "router",
    "network:floatingip": "floating_ip",
    "Octavia": "load_balancer",
    "trunk:": "trunk",
}
KINDS = sorted(set(DEVICES.values()))


def fetch(reader: Reader, span: Span) -> Fetched:
    """All ports of all projects, the service's own among them."""
    return neutron.fetch(reader, span, "/ports", admins_field="binding:host_id")


def normalize(observations: pl.LazyFrame) -> pl.LazyFrame:
    """``port.create.end``, ``port.update.end``, ``port.delete.end``."""
    devices = [(kind, pl.when(device_type() == kind).then(device_id()), "container") for kind in KINDS]
    return neutron.normalize(
        observations,
        RECORD,
        resource_type="port",
        events="port",
        tracked=TRACKED,
        host=pl.when(pl.col("life") != "created").then(filled(field("binding:host_id"))),  # bound since
        related=related(*devices, ("network", field("network_id"), "container")),
    )


def evidence(observations: pl.LazyFrame) -> pl.LazyFrame:
    """A port exists since it was created, has been its owner's since, and never leaves its network.

    Its device, subnets and groups are as observed. A port without an owner was made for its device and never leaves it.
    """
    frame = decode(observations, RECORD)
    is_made_for_it = filled(field("project_id")).is_null()
    subnets = field("fixed_ips").list.eval(pl.element().struct.field("subnet_id"))
    return together(
        *neutron.standing(frame, "port"),
        edge_since(frame, "port", "on_network", "network", field("network_id"), at=born()),
        edge_since(frame.filter(is_made_for_it), "port", "device", device_type(), device_id(), at=born()),
        edge(frame.filter(~is_made_for_it), "port", "device", device_type(), device_id()),
        edges(frame, "port", "in_subnet", "subnet", subnets),
        edges(frame, "port", "security_group", "security_group", field("security_groups")),
    )


def device_type() -> pl.Expr:
    """The kind of resource that a port's `device_id` names; null where it names none that has an id (DHCP)."""
    kind = pl.lit(None, pl.String)
    for beginning, known in DEVICES.items():
        kind = pl.when(field("device_owner").str.starts_with(beginning)).then(pl.lit(known)).otherwise(kind)
    return kind


def device_id() -> pl.Expr:
    """The id of a port's device, null where there is none; Octavia writes ``lb-`` before its balancer's."""
    named = field("device_id").str.strip_prefix("lb-")
    return pl.when(device_type().is_not_null()).then(filled(named))


SOURCE = Source(
    name="neutron_ports",
    service="network",
    shape=Shape.MUTABLE,
    resource_type="port",
    fetch=fetch,
    normalize=normalize,
    evidence=evidence,
    description=__doc__,
    tracked=TRACKED,
)
