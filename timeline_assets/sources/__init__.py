"""Where it comes from: one file per source, and the one list of them."""

from __future__ import annotations

from timeline_assets.errors import ConfigurationError
from timeline_assets.sources import (
    cinder_backups,
    cinder_snapshots,
    cinder_transfers,
    cinder_volumes,
    keystone_domains,
    keystone_projects,
    keystone_role_assignments,
    keystone_users,
    neutron_floating_ips,
    neutron_networks,
    neutron_ports,
    neutron_routers,
    neutron_security_group_rules,
    neutron_security_groups,
    neutron_subnets,
    nova_instance_actions,
    nova_migrations,
    nova_servers,
    nova_services,
    operator_decisions,
)
from timeline_assets.sources.base import Source

SOURCES: tuple[Source, ...] = (
    keystone_domains.SOURCE,
    keystone_projects.SOURCE,
    keystone_users.SOURCE,
    keystone_role_assignments.SOURCE,
    nova_servers.SOURCE,
    nova_instance_actions.SOURCE,
    nova_migrations.SOURCE,
    nova_services.SOURCE,
    cinder_volumes.SOURCE,
    cinder_snapshots.SOURCE,
    cinder_backups.SOURCE,
    cinder_transfers.SOURCE,
    neutron_networks.SOURCE,
    neutron_subnets.SOURCE,
    neutron_ports.SOURCE,
    neutron_routers.SOURCE,
    neutron_floating_ips.SOURCE,
    neutron_security_groups.SOURCE,
    neutron_security_group_rules.SOURCE,
)

#: What is landed here and fetched from nowhere; every cloud has it.
LANDED: tuple[Source, ...] = (operator_decisions.SOURCE,)


def named(name: str) -> Source:
    """The source of that name; :class:`ConfigurationError` names those there are."""
    for source in SOURCES:
        if source.name == name:
            return source
    known = ", ".join(source.name for source in SOURCES)
    raise ConfigurationError(f"there is no source {name!r}", remedy=f"Sources: {known}.")
