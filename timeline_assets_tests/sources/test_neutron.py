"""How the network service's lists are read, and what its versions tell."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from timeline_assets.errors import SourceError
from timeline_assets.normalize.schema import EVIDENCE, OBSERVATION
from timeline_assets.sources import (
    neutron_floating_ips,
    neutron_networks,
    neutron_ports,
    neutron_routers,
    neutron_security_group_rules,
    neutron_subnets,
)
from timeline_assets.sources.base import Span
from timeline_assets.sources.neutron import SWEEP
from timeline_assets.sources.whole import PAUSE, SHORT_LIST
from timeline_assets_tests.sources.fakecloud import Answer, listing

NOW = datetime(2026, 11, 22, 10, 0, 30, tzinfo=UTC)
SPAN = Span(NOW - timedelta(minutes=5), NOW + timedelta(minutes=30), NOW, is_open=True)
PORTS, NETWORKS, EXTENSION = "network/v2.0/ports", "network/v2.0/networks", "network/v2.0/extensions/provider"
SINCE = "2026-11-22T09:55:30Z"


def port(port_id: str, **more: Any) -> dict[str, Any]:
    return {"id": port_id, "project_id": "theirs", "updated_at": "2026-11-22T09:59:00Z", "binding:host_id": ""} | more


def long_list(**more: Any) -> dict[str, Any]:
    """What is remembered of a long list that was read a moment ago and took three seconds."""
    read_at = NOW - timedelta(seconds=20)
    to = (read_at - timedelta(seconds=2)).isoformat()
    return {"rows": SHORT_LIST + 1, "read_at": read_at.isoformat(), "read_seconds": 3.0, "read_to": to} | more


# Reading ------------------------------------------------------------------------------------------------------------


def test_a_short_list_is_read_whole_every_time(cloud, reading):
    cloud.answers[PORTS] = listing("ports", [port("b"), port("a", updated_at=None)])
    fetched = neutron_ports.fetch(reading(), SPAN)
    assert [(r.key, r.cursor_at) for r in fetched.records] == [
        ("a", None),
        ("b", datetime(2026, 11, 22, 9, 59, tzinfo=UTC)),
    ]
    assert (fetched.is_complete, fetched.requests, fetched.malformed) == (True, 1, [])
    assert cloud.asked(PORTS)[0].query == {"limit": ["1000"], "sort_key": ["id"], "sort_dir": ["asc"]}
    assert fetched.cursor["rows"] == 2
    again = neutron_ports.fetch(reading(cursor=fetched.cursor), SPAN)
    assert (again.is_complete, again.requests) == (True, 1)


def test_a_long_list_is_asked_for_what_changed_once_that_is_known_to_work(cloud, reading):
    cloud.answers[PORTS] = listing("ports", [port("a")])
    fetched = neutron_ports.fetch(reading(cursor=long_list()), SPAN)
    probe, asked = cloud.asked(PORTS)
    assert probe.query == {"changed_since": [SINCE], "limit": ["1"]}
    assert asked.query == {"changed_since": [SINCE], "limit": ["1000"], "sort_key": ["id"], "sort_dir": ["asc"]}
    assert (fetched.is_complete, fetched.cursor) == (False, long_list(changed_since=True))
    neutron_ports.fetch(reading(cursor=fetched.cursor), SPAN)
    assert len(cloud.asked(PORTS)) == 3


def test_a_long_list_is_swept_now_and_then(cloud, reading):
    cloud.answers[PORTS] = listing("ports", [port("a")])
    swept = long_list(changed_since=True, read_at=(NOW - SWEEP).isoformat())
    fetched = neutron_ports.fetch(reading(cursor=swept), SPAN)
    assert (fetched.is_complete, "changed_since" in cloud.asked(PORTS)[0].query) == (True, False)
    assert (fetched.cursor["rows"], fetched.cursor["read_at"]) == (1, NOW.isoformat())


def test_a_service_that_does_not_know_the_filter_is_read_whole_with_pauses(cloud, reading):
    whole = listing("ports", [port("a")])
    refusal = Answer({"NeutronError": {"message": "['changed_since'] is invalid attribute for filtering"}}, 400)
    cloud.answers[PORTS] = lambda query: refusal if "changed_since" in query else whole(query)
    resting = neutron_ports.fetch(reading(cursor=long_list()), SPAN)
    assert (list(resting.records), resting.is_complete) == ([], False)
    assert resting.read_to.isoformat() == long_list()["read_to"]
    assert resting.cursor == long_list(changed_since=False)
    rested = {**resting.cursor, "read_at": (NOW - timedelta(seconds=3 * PAUSE)).isoformat()}
    fetched = neutron_ports.fetch(reading(cursor=rested), SPAN)
    assert (fetched.is_complete, fetched.requests) == (True, 1)


def test_a_filter_that_is_no_longer_known_is_asked_about_again(cloud, reading):
    whole = listing("ports", [port("a")])
    cloud.answers[PORTS] = lambda query: Answer({}, 400) if "changed_since" in query else whole(query)
    fetched = neutron_ports.fetch(reading(cursor=long_list(changed_since=True)), SPAN)
    assert (fetched.is_complete, "changed_since" in fetched.cursor) == (True, False)


def test_a_closed_window_is_read_whole(cloud, reading):
    cloud.answers[PORTS] = listing("ports", [port("a")])
    closed = Span(NOW - timedelta(hours=9), NOW - timedelta(hours=8), NOW, is_open=False)
    assert neutron_ports.fetch(reading(cursor=long_list(changed_since=True)), closed).is_complete


# Scope --------------------------------------------------------------------------------------------------------------

FLOATING = "network/v2.0/floatingips"


def fetch_floating(cloud, reading, rows: list[dict[str, Any]], networks: list[dict[str, Any]] | None = None):
    cloud.answers |= {FLOATING: listing("floatingips", rows), NETWORKS: {"networks": networks or []}}
    return neutron_floating_ips.fetch(reading("neutron_floating_ips"), SPAN)


def test_a_resource_of_another_project_proves_the_scope(cloud, reading):
    fetched = fetch_floating(cloud, reading, [{"id": "a", "project_id": "theirs"}])
    assert (fetched.is_complete, len(cloud.asked(NETWORKS))) == (True, 0)


@pytest.mark.parametrize("rows", [[], [{"id": "a", "project_id": "ours"}], [{"id": "a", "project_id": ""}]])
def test_in_a_cloud_of_one_project_what_only_admins_see_proves_it(cloud, reading, rows):
    shown = [{"id": "n", "provider:network_type": "vxlan"}]
    assert fetch_floating(cloud, reading, rows, shown).is_complete
    assert cloud.asked(NETWORKS)[0].query == {"limit": ["1"], "fields": ["id", "provider:network_type"]}


@pytest.mark.parametrize("rows", [[], [{"id": "a", "project_id": "ours"}]])
def test_an_admin_whom_policy_narrows_is_a_gap(cloud, reading, rows):
    cloud.answers[EXTENSION] = {"extension": {"alias": "provider"}}
    with pytest.raises(SourceError) as caught:
        fetch_floating(cloud, reading, rows, [{"id": "n"}])
    assert caught.value.code == "scope_too_small"


def test_where_nothing_can_prove_it_the_role_suffices(cloud, reading):
    assert fetch_floating(cloud, reading, [{"id": "a", "project_id": "ours"}], []).is_complete
    assert fetch_floating(cloud, reading, [{"id": "a", "project_id": "ours"}], [{"id": "n"}]).is_complete


def test_networks_of_others_prove_nothing_because_shared_ones_are_shown_to_all(cloud, reading):
    cloud.answers |= {NETWORKS: {"networks": [{"id": "n", "project_id": "theirs"}]}, EXTENSION: {"extension": {}}}
    with pytest.raises(SourceError) as caught:
        neutron_networks.fetch(reading("neutron_networks"), SPAN)
    assert caught.value.code == "scope_too_small"


# Versions -----------------------------------------------------------------------------------------------------------


def observed(body: dict[str, Any], previous: dict[str, Any] | None = None, **more: Any) -> pl.LazyFrame:
    row = {
        "cloud": "test",
        "source": "neutron_ports",
        "key": body["id"],
        "op": "seen",
        "observed_at": NOW,
        "seen_from": NOW - timedelta(seconds=10),
        "body": json.dumps(body),
        "previous": previous and json.dumps(previous),
        "sha256": "0",
        "raw_ref": "file#0",
    }
    return pl.DataFrame([row | more], schema=OBSERVATION).lazy()


def told(frame: pl.LazyFrame, source=neutron_ports) -> list[tuple[str, str]]:
    return source.normalize(frame).select("event_type", "source_version").collect().rows()


def full(**more: Any) -> dict[str, Any]:
    base = {"created_at": "2026-11-22T09:00:00Z", "revision_number": 4, "status": "ACTIVE", "device_id": ""}
    return port("a", name="p", **base) | more


def test_listing_and_bus_name_a_creation_alike_whatever_its_revision():
    assert told(observed(full(revision_number=7))) == [("port.create.end", "create")]


def test_an_updates_version_is_its_revision():
    assert told(observed(full(revision_number=6, name="q"), full())) == [("port.update.end", "6")]


def test_a_revision_in_which_nothing_tracked_changed_is_no_event():
    assert told(observed(full(revision_number=5, updated_at="2026-11-22T10:00:00Z"), full())) == []
    assert told(observed(full(revision_number=5, **{"binding:host_id": "compute9"}), full())) == []


def test_the_same_flap_twice_within_one_revision_is_two_events():
    flap = observed(full(status="DOWN"), full())
    later = observed(
        full(status="DOWN"), full(), seen_from=NOW + timedelta(minutes=1), observed_at=NOW + timedelta(hours=1)
    )
    versions = {version for frame in (flap, later) for _, version in told(frame)}
    assert len(versions) == 2
    assert all(version.startswith("4~") for version in versions)


def test_a_service_without_revisions_and_times_is_told_between_scans():
    bare = {"id": "a", "name": "p", "project_id": "theirs", "binding:host_id": ""}
    [update] = neutron_ports.normalize(observed(bare | {"name": "q"}, bare)).collect().to_dicts()
    assert (update["event_type"], update["time_precision"]) == ("port.update.end", "interval")
    assert update["source_version"].startswith("~2026-11-22T10:00:20.000000+00:00:")
    [birth] = neutron_ports.normalize(observed(bare)).collect().to_dicts()
    assert (birth["event_type"], birth["time_precision"]) == ("port.create.end", "interval")
    assert told(observed(bare, seen_from=None)) == []


def test_a_list_in_another_order_is_no_change():
    before = full(security_groups=["g1", "g2"], fixed_ips=[{"subnet_id": "s1"}, {"subnet_id": "s2"}])
    after = full(security_groups=["g2", "g1"], fixed_ips=[{"subnet_id": "s2"}, {"subnet_id": "s1"}], revision_number=5)
    assert told(observed(after, before)) == []


@pytest.mark.parametrize(("status", "severity"), [("ERROR", 4), ("DOWN", 2), ("BUILD", None)])
def test_the_severity_of_a_status(status, severity):
    [update] = neutron_ports.normalize(observed(full(status=status), full())).collect().to_dicts()
    assert update["severity"] == severity


def test_a_status_that_was_bad_before_is_not_told_again():
    before, after = full(status="ERROR"), full(status="ERROR", name="q", revision_number=5)
    [update] = neutron_ports.normalize(observed(after, before)).collect().to_dicts()
    assert (update["changes"], update["severity"]) == ('[{"path":"name","old":"p","new":"q"}]', None)


# Evidence -----------------------------------------------------------------------------------------------------------


def claims(source, body: dict[str, Any], **more: Any) -> set[tuple[Any, ...]]:
    frame = source.evidence(observed(body, **more)).collect()
    assert frame.schema == EVIDENCE
    rows = frame.select("claim", "relation", "to_type", pl.col("to_ids").list.join(","), "project_id", "at").rows()
    return {tuple(value for value in row if value is not None) for row in rows}


BORN = datetime(2026, 11, 22, 9, tzinfo=UTC)


def test_a_gateway_port_has_no_owner_and_was_made_for_its_router():
    gateway = full(project_id="", device_owner="network:router_gateway", device_id="r", network_id="n", name="")
    assert claims(neutron_ports, gateway) == {
        ("created", BORN),
        ("seen", NOW),
        ("edge_since", "on_network", "network", "n", BORN),
        ("edge_since", "device", "router", "r", BORN),
        ("edges", "in_subnet", "subnet", "", NOW),
        ("edges", "security_group", "security_group", "", NOW),
    }


def test_a_tenants_port_is_its_owners_since_it_was_created():
    bound = full(
        device_owner="compute:nova",
        device_id="s",
        network_id="n",
        fixed_ips=[{"subnet_id": "sub", "ip_address": "10.0.0.1"}],
        security_groups=["g2", "g1"],
    )
    assert claims(neutron_ports, bound) == {
        ("created", BORN),
        ("seen", NOW),
        ("owner_since", "theirs", BORN),
        ("edge_since", "on_network", "network", "n", BORN),
        ("edges", "device", "server", "s", NOW),
        ("edges", "in_subnet", "subnet", "sub", NOW),
        ("edges", "security_group", "security_group", "g1,g2", NOW),
    }


@pytest.mark.parametrize(
    ("device_owner", "device_id", "kind", "target"),
    [
        ("compute:nova", "s", "server", "s"),
        ("compute:az2", "s", "server", "s"),
        ("baremetal:none", "s", "server", "s"),
        ("network:router_interface", "r", "router", "r"),
        ("network:router_interface_distributed", "r", "router", "r"),
        ("network:router_ha_interface", "r", "router", "r"),
        ("network:router_centralized_snat", "r", "router", "r"),
        ("network:ha_router_replicated_interface", "r", "router", "r"),
        ("network:floatingip", "f", "floating_ip", "f"),
        ("Octavia", "lb-b", "load_balancer", "b"),
        ("trunk:subport", "t", "trunk", "t"),
        ("network:dhcp", "dhcp0123-n", None, ""),
        ("something:new", "x", None, ""),
        ("", "", None, ""),
        (None, None, None, ""),
    ],
)
def test_what_a_ports_device_is(device_owner, device_id, kind, target):
    frame = neutron_ports.evidence(observed(full(device_owner=device_owner, device_id=device_id))).collect()
    device = frame.filter(relation="device").select("to_type", pl.col("to_ids").list.join(",")).row(0)
    assert device == (kind, target)


def test_what_was_observed_may_have_become_so_since_the_scan_before_and_what_is_dated_not():
    frame = neutron_ports.evidence(observed(full(network_id="n"))).collect()
    bounds = dict(frame.select("claim", "at_from").unique().rows())
    before = NOW - timedelta(seconds=10)
    assert bounds == {"created": BORN, "seen": before, "owner_since": None, "edge_since": None, "edges": before}


def test_what_is_gone_proves_only_that():
    gone = claims(neutron_ports, full(device_id="s", device_owner="compute:nova"), op="gone")
    assert gone == {("gone", NOW)}


def test_routers_lead_to_their_gateways_network():
    router = {"id": "r", "project_id": "theirs", "external_gateway_info": {"network_id": "ext"}}
    assert ("edges", "gateway", "network", "ext", NOW) in claims(neutron_routers, router)
    assert ("edges", "gateway", "network", "", NOW) in claims(neutron_routers, router | {"external_gateway_info": None})


def test_floating_ips_lead_to_their_port_and_lie_on_their_network():
    floating = full(floating_network_id="ext", port_id="p")
    found = claims(neutron_floating_ips, floating)
    assert ("edges", "floating_port", "port", "p", NOW) in found
    assert ("edge_since", "on_network", "network", "ext", BORN) in found
    assert ("edges", "floating_port", "port", "", NOW) in claims(neutron_floating_ips, floating | {"port_id": None})


def test_rules_belong_to_their_group_and_subnets_to_their_network():
    rule = claims(neutron_security_group_rules, full(security_group_id="g"))
    assert ("edge_since", "of_group", "security_group", "g", BORN) in rule
    assert ("edge_since", "on_network", "network", "n", BORN) in claims(neutron_subnets, full(network_id="n"))


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (
            {
                "direction": "ingress",
                "ethertype": "IPv4",
                "protocol": "tcp",
                "port_range_min": 22,
                "port_range_max": 22,
            },
            "ingress IPv4 tcp 22 from anywhere",
        ),
        (
            {"direction": "ingress", "ethertype": "IPv6", "protocol": "udp", "port_range_min": 1, "port_range_max": 9},
            "ingress IPv6 udp 1-9 from anywhere",
        ),
        (
            {"direction": "egress", "ethertype": "IPv4", "remote_ip_prefix": "10.0.0.0/8"},
            "egress IPv4 any to 10.0.0.0/8",
        ),
        ({"direction": "ingress", "ethertype": "IPv4", "remote_group_id": "g"}, "ingress IPv4 any from group g"),
    ],
)
def test_a_rule_in_a_line(rule, message):
    [fact] = neutron_security_group_rules.normalize(observed(full(**rule))).collect().to_dicts()
    assert fact["message"] == message
