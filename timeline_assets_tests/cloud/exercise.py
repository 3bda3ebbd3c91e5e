"""Work in the test cloud: tenants and an operator make, change, break and remove things; a ledger says what was done.

`python -m timeline_assets_tests.cloud.exercise --cloud FOLDER [--fast] [--parts build,work]`

The parts, in order. A source that keeps no history shows only what stands between two scans, so a suite that wants
to see a thing made, changed and removed harvests between the parts:

| part | what happens |
|---|---|
| tenants | domains, projects, users, grants, flavors, volume types, an image, the external network |
| build | each tenant: network, router, floating IP, security group, ports, volumes, servers |
| work | attachments, snapshots, backups, restores, reboots, resizes; what fails; what quotas refuse |
| share | a volume goes from one tenant to another; a tenant's network is used by another |
| operate | the operator reboots, stops, migrates tenants' servers and makes ports for two tenants in one call |
| identity | renames, disabled users, grants given and taken, failed log-ins |
| host_down, host_up | a compute is reported down, and back |
| evacuate | a compute is down and its servers are evacuated (not in the fast profile) |
| remove | detachments, deletions, revocations; a tenant removes its server and then its project is removed |

`heat`, `aodh`, `masakari`, `octavia`, `designate` and `mistral` are parts too, done when named: `extras.py`.

Two domains have a project `production` with a user `alice`: names prove nothing.
"""

import argparse
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import openstack
from openstack.config import OpenStackConfig

from timeline_assets_tests.cloud.actor import KINDS, Actor, ExerciseError, Owner, refused_log_in
from timeline_assets_tests.cloud.extras import EXTRA_PARTS
from timeline_assets_tests.cloud.ledger import Action, Ledger

log = logging.getLogger("exercise")


class Tenant(NamedTuple):
    domain: str
    project: str
    user: str
    parent: str | None = None

    @property
    def password(self) -> str:
        return f"{self.user}-of-{self.domain}"

    def __str__(self) -> str:
        return f"{self.domain}/{self.project}"


DONOR = Tenant("acme", "production", "alice")
TWIN = Tenant("globex", "production", "alice")  # the donor's names in another domain; also the recipient
TIGHT = Tenant("acme", "staging", "bob")  # meets its quotas
FAST_TENANTS = (DONOR, TWIN, TIGHT)
TENANTS = (
    *FAST_TENANTS,
    Tenant("globex", "research", "carol"),
    Tenant("initech", "web", "dave"),
    Tenant("initech", "batch", "erin"),
)
NESTED = Tenant("acme", "lab", "lena", parent="production")  # renamed by identity, gone after remove


class Exercise:
    """The cloud, its ledger, and who works in it."""

    def __init__(self, cloud: Path, *, fast: bool, run: str) -> None:
        self.cloud = cloud
        self.fast = fast
        self.run = run
        self.tenants = FAST_TENANTS if fast else TENANTS
        self.ledger = Ledger(cloud / "ledger.jsonl")
        self._config = OpenStackConfig(config_files=[str(cloud / "clouds.yaml")], load_envvars=False)
        self._actors: dict[str | Tenant, Actor] = {}

    def connect(self, user: str, password: str, domain: str, **scope: str) -> openstack.connection.Connection:
        operator = self._config.get_one("admin")
        auth = {
            "auth_url": operator.config["auth"]["auth_url"],
            "username": user,
            "password": password,
            "user_domain_name": domain,
            **scope,
        }
        return openstack.connect(
            auth=auth, region_name=operator.region_name, load_yaml_config=False, load_envvars=False
        )

    def actor(self, who: str | Tenant) -> Actor:
        """A tenant's user, or the user of an entry of clouds.yaml."""
        if who not in self._actors:
            if isinstance(who, Tenant):
                connection = self.connect(who.user, who.password, who.domain, project_id=self.project(who).resource_id)
            else:
                connection = self.connect_entry(who)
            self._actors[who] = Actor(self.ledger, self.run, connection)
        return self._actors[who]

    def connect_entry(self, name: str) -> openstack.connection.Connection:
        """A connection of an entry of clouds.yaml."""
        return openstack.connection.Connection(config=self._config.get_one(name))

    @property
    def operator(self) -> Actor:
        return self.actor("admin")

    def domain(self, tenant: Tenant) -> Action:
        return self.known("domain", tenant.domain)

    def project(self, tenant: Tenant) -> Action:
        return self.known("project", tenant.project, owner_domain_id=self.domain(tenant).resource_id)

    def user(self, tenant: Tenant) -> Action:
        return self.known("user", tenant.user, owner_domain_id=self.domain(tenant).resource_id)

    def find(self, resource_type: str, name: str, tenant: Tenant) -> Action | None:
        """What a tenant made and has still."""
        return self.ledger.find(resource_type, name, owner_project_id=self.project(tenant).resource_id)

    def known(self, resource_type: str, name: str, **owner: str) -> Action:
        """What an earlier part made."""
        thing = self.ledger.find(resource_type, name, **owner)
        if thing is None:
            raise ExerciseError(f"the ledger knows no {resource_type} {name}; run the earlier parts first")
        return thing

    def of(self, tenant: Tenant, resource_type: str, name: str) -> Action:
        """What an earlier part made for a tenant."""
        return self.known(resource_type, name, owner_project_id=self.project(tenant).resource_id)

    def ensure(self, resource_type: str, name: str, **fields) -> Action:
        """What the operator makes once for all runs."""
        return self.ledger.find(resource_type, name) or self.operator.create(resource_type, name=name, **fields)

    def set_host(self, host: str, verb: str, **fields) -> None:
        """Changes how Nova sees a compute."""
        services = self.operator.get("compute", "/os-services?binary=nova-compute")["services"]
        service_id = next(service["id"] for service in services if service["host"] == host)
        self.operator.call(f"service.{verb}", "PUT", f"/os-services/{service_id}", fields, name=host, **fields)

    def bring_back(self, host: str) -> None:
        """Takes an evacuated compute back, once it has started again and closed the evacuations' records."""
        restart = Path(__file__).parent / "restart.sh"
        subprocess.run([restart, host], env={**os.environ, "CLOUD": str(self.cloud)}, check=True)
        path = f"/os-migrations?migration_type=evacuation&source_compute={host}"
        deadline = time.monotonic() + 120
        while any(move["status"] == "done" for move in self.operator.get("compute", path)["migrations"]):
            if time.monotonic() > deadline:
                raise ExerciseError(f"{host} did not close its evacuations")
            time.sleep(1)
        self.set_host(host, "force_up", forced_down=False, status="enabled")

    def in_parallel(self, work: Callable[[Tenant], None], tenants: Iterable[Tenant]) -> None:
        """Three tenants at a time; every failure is told, the first is raised."""
        for tenant in tenants:
            self.actor(tenant)
        with ThreadPoolExecutor(3) as pool:
            futures = {tenant: pool.submit(work, tenant) for tenant in tenants}
        failures = {tenant: error for tenant, future in futures.items() if (error := future.exception())}
        for tenant, error in failures.items():
            log.error("   %s: %s", tenant, error)
        if failures:
            raise next(iter(failures.values()))


# ------------------------------------------------------------------------------------------------------- tenants


def tenants(exercise: Exercise) -> None:
    operator = exercise.operator
    exercise.ensure("role", "auditor")
    for name in dict.fromkeys(tenant.domain for tenant in exercise.tenants):
        exercise.ensure("domain", name, description=f"{name} inc.")
    for tenant in (*exercise.tenants, NESTED):
        make_tenant(exercise, tenant)
    acme = exercise.known("domain", "acme").resource_id
    exercise.ensure("domain", "umbrella", description="leaves soon")
    exercise.ensure("project", "pilot", domain_id=acme)
    exercise.ensure("user", "temp", domain_id=acme, password="temp-of-acme")

    for name, ram, disk in (("m1.tiny", 512, 1), ("m1.small", 2048, 2), ("m1.huge", 512, 999_999)):
        exercise.ensure("flavor", name, vcpus=1, ram=ram, disk=disk)
    for name, backend in (("gold", "file1"), ("silver", "file2"), ("ghost", "nowhere")):
        exercise.ensure("volume_type", name, extra_specs={"volume_backend_name": backend})
    if exercise.ledger.find("network", "ext-net") is None:
        network = operator.create(
            "network",
            name="ext-net",
            **{
                "router:external": True,
                "provider:network_type": "flat",
                "provider:physical_network": "physnet1",
            },
        )
        operator.create(
            "subnet",
            name="ext-subnet",
            network_id=network.resource_id,
            ip_version=4,
            cidr="203.0.113.0/24",
            enable_dhcp=False,
        )
    if exercise.ledger.find("image", "cirros") is None:
        image = operator.create("image", name="cirros", disk_format="raw", container_format="bare", visibility="public")
        operator.upload(image, bytes(1 << 20))


def make_tenant(exercise: Exercise, tenant: Tenant) -> None:
    domain = exercise.domain(tenant).resource_id
    if exercise.ledger.find("project", tenant.project, owner_domain_id=domain):
        return
    operator = exercise.operator
    fields = {"name": tenant.project, "domain_id": domain}
    if tenant.parent:
        fields["parent_id"] = exercise.known("project", tenant.parent, owner_domain_id=domain).resource_id
    project = operator.create("project", **fields)
    user = operator.create("user", name=tenant.user, domain_id=domain, password=tenant.password)
    for role in ("member", "heat_stack_owner", "load-balancer_member"):
        grant(operator, "grant", role, user, project)


def grant(operator: Actor, verb: str, role: str, user: Action, project: Action) -> Action:
    """Gives or takes a role; the assignment has no id of its own."""
    role_id = operator.get("identity", f"/roles?name={role}")["roles"][0]["id"]
    return operator.call(
        f"role_assignment.{verb}",
        "PUT" if verb == "grant" else "DELETE",
        f"/projects/{project.resource_id}/users/{user.resource_id}/roles/{role_id}",
        None,
        service="identity",
        owner=Owner("project", project.resource_id, project.owner_domain_id),
        role_id=role_id,
        role_name=role,
        user_id=user.resource_id,
        project_id=project.resource_id,
    )


# --------------------------------------------------------------------------------------------------------- build


def build(exercise: Exercise) -> None:
    exercise.in_parallel(lambda tenant: build_tenant(exercise, tenant), exercise.tenants)
    lena = exercise.actor(NESTED)
    volume = lena.create("volume", name="lab-data", size=1)
    server = lena.create("server", **server_fields(exercise, "lab-1"), networks="none")
    lena.until(volume, "available")
    lena.until(server, "ACTIVE")
    small = exercise.actor("toosmall")
    small.create("network", name="small-net")
    small.until(small.create("volume", name="small-data", size=1), "available")


def server_fields(exercise: Exercise, name: str, flavor: str = "m1.tiny") -> dict:
    return {
        "name": name,
        "flavorRef": exercise.known("flavor", flavor).resource_id,
        "imageRef": exercise.known("image", "cirros").resource_id,
    }


def build_tenant(exercise: Exercise, tenant: Tenant) -> None:
    actor = exercise.actor(tenant)
    external = exercise.known("network", "ext-net").resource_id
    network = actor.create("network", name="private").resource_id
    subnet = actor.create("subnet", name="private-subnet", network_id=network, ip_version=4, cidr="10.0.0.0/24")
    router = actor.create("router", name="gateway", external_gateway_info={"network_id": external})
    change_interface(actor, "add", router, subnet)
    group = actor.create("security_group", name="web")
    actor.create(
        "security_group_rule",
        security_group_id=group.resource_id,
        direction="ingress",
        protocol="tcp",
        port_range_min=443,
        port_range_max=443,
        description="https",
    )
    port = actor.create("port", name="web-1-port", network_id=network, security_groups=[group.resource_id])
    address = actor.create("floating_ip", floating_network_id=external, description="web-1")
    volumes = [actor.create("volume", name="data-1", size=1, metadata={"purpose": "db"})]
    if tenant in {DONOR, TIGHT}:
        volumes.append(actor.create("volume", name="handover", size=1, volume_type="silver"))
    servers = [
        actor.create("server", **server_fields(exercise, "web-1"), networks=[{"port": port.resource_id}]),
        actor.create("server", **server_fields(exercise, "db-1"), networks=[{"uuid": network}]),
    ]
    for volume in volumes:
        actor.until(volume, "available")
    for server in servers:
        actor.until(server, "ACTIVE")
    actor.update(address, "associate", port_id=port.resource_id)


def change_interface(actor: Actor, verb: str, router: Action, subnet: Action) -> None:
    action = actor.call(
        f"router.{verb}_interface",
        "PUT",
        f"{KINDS['router'].path}/{router.resource_id}/{verb}_router_interface",
        {"subnet_id": subnet.resource_id},
        router,
        subnet_id=subnet.resource_id,
    )
    actor.note(action, port_id=actor.answer["port_id"])


# ---------------------------------------------------------------------------------------------------------- work


def work(exercise: Exercise) -> None:
    def one(tenant: Tenant) -> None:
        for step in steps_of(exercise, tenant):
            begun = time.monotonic()
            step(exercise, tenant)
            log.info("   %-20s %-18s %6.1f s", tenant, step.__name__, time.monotonic() - begun)

    exercise.in_parallel(one, exercise.tenants)


def steps_of(exercise: Exercise, tenant: Tenant) -> tuple[Callable[[Exercise, Tenant], None], ...]:
    """Fast: each deed once, by one tenant. Else everybody does nearly everything."""
    if exercise.fast:
        return {
            DONOR: (attach, snapshot, back_up, reboot),
            TWIN: (stop_and_start, resize, save_image, fail_servers),
            TIGHT: (fail_storage, meet_quotas),
        }[tenant]
    everything = (attach, snapshot, reboot, stop_and_start, resize, fail_servers, fail_storage, back_up)
    return (*everything, save_image, *((meet_quotas,) if tenant == TIGHT else (shelve, rebuild, lock)))


def attach(exercise: Exercise, tenant: Tenant) -> None:
    server, volume = exercise.of(tenant, "server", "db-1"), exercise.of(tenant, "volume", "data-1")
    actor = exercise.actor(tenant)
    action = actor.call(
        "server.attach_volume",
        "POST",
        f"/servers/{server.resource_id}/os-volume_attachments",
        {"volumeAttachment": {"volumeId": volume.resource_id}},
        server,
        volume_id=volume.resource_id,
    )
    actor.until(action, "in-use", of=("volume", volume.resource_id))


def snapshot(exercise: Exercise, tenant: Tenant) -> None:
    actor, volume = exercise.actor(tenant), exercise.of(tenant, "volume", "data-1")
    nightly = actor.create("snapshot", name="nightly", volume_id=volume.resource_id)
    actor.until(nightly, "available")
    clone = actor.create("volume", name="clone-1", size=1, snapshot_id=nightly.resource_id)
    actor.until(clone, "available")
    actor.act(clone, "extend", {"os-extend": {"new_size": 2}}, "available", new_size=2)
    if tenant == DONOR:
        handover = exercise.of(tenant, "volume", "handover").resource_id
        actor.until(actor.create("snapshot", name="handover-snapshot", volume_id=handover), "available")


def back_up(exercise: Exercise, tenant: Tenant) -> None:
    actor, volume = exercise.actor(tenant), exercise.of(tenant, "volume", "data-1")
    nightly = exercise.of(tenant, "snapshot", "nightly")
    fields = {"volume_id": volume.resource_id, "force": True}
    weekly = actor.create("backup", name="weekly", snapshot_id=nightly.resource_id, **fields)
    actor.until(weekly, "available")
    restore = actor.call(
        "backup.restore",
        "POST",
        f"{KINDS['backup'].path}/{weekly.resource_id}/restore",
        {"restore": {"name": "restored-1"}},
        weekly,
    )
    restored = actor.answer["restore"]["volume_id"]
    actor.note(restore, volume_id=restored)
    actor.until(restore, "available", of=("volume", restored))
    if not exercise.fast:
        actor.until(actor.create("backup", name="daily", incremental=True, **fields), "available")
    if tenant == DONOR:
        handover = exercise.of(tenant, "volume", "handover").resource_id
        actor.until(actor.create("backup", name="handover-backup", volume_id=handover), "available")


def reboot(exercise: Exercise, tenant: Tenant) -> None:
    actor, server = exercise.actor(tenant), exercise.of(tenant, "server", "web-1")
    actor.act(server, "reboot", {"reboot": {"type": "SOFT"}}, "ACTIVE", type="SOFT")
    if not exercise.fast:
        actor.act(server, "pause", {"pause": None}, "PAUSED")
        actor.act(server, "unpause", {"unpause": None}, "ACTIVE")
        actor.act(server, "suspend", {"suspend": None}, "SUSPENDED")
        actor.act(server, "resume", {"resume": None}, "ACTIVE")


def stop_and_start(exercise: Exercise, tenant: Tenant) -> None:
    actor, server = exercise.actor(tenant), exercise.of(tenant, "server", "db-1")
    actor.act(server, "stop", {"os-stop": None}, "SHUTOFF")
    actor.act(server, "start", {"os-start": None}, "ACTIVE")


def resize(exercise: Exercise, tenant: Tenant) -> None:
    actor, server = exercise.actor(tenant), exercise.of(tenant, "server", "web-1")
    flavor = exercise.known("flavor", "m1.small").resource_id
    for verb, body in (("revert_resize", "revertResize"), ("confirm_resize", "confirmResize"))[exercise.fast :]:
        actor.act(server, "resize", {"resize": {"flavorRef": flavor}}, "VERIFY_RESIZE", flavor_id=flavor)
        actor.act(server, verb, {body: None}, "ACTIVE")


def save_image(exercise: Exercise, tenant: Tenant) -> None:
    actor, server = exercise.actor(tenant), exercise.of(tenant, "server", "db-1")
    action = actor.act(server, "create_image", {"createImage": {"name": "db-1-image"}}, name="db-1-image")
    actor.note(action, image_id=actor.answer["image_id"])
    actor.until(action, "ACTIVE")


def fail_servers(exercise: Exercise, tenant: Tenant) -> None:
    """One server that no host can hold, one that fails on every host."""
    actor = exercise.actor(tenant)
    for name, flavor in (("too-big", "m1.huge"), ("boot-fails", "m1.tiny")):
        actor.until(actor.create("server", **server_fields(exercise, name, flavor), networks="none"), "ERROR")


def fail_storage(exercise: Exercise, tenant: Tenant) -> None:
    """A volume of a type that no backend has, and a snapshot that the backend refuses."""
    actor, volume = exercise.actor(tenant), exercise.of(tenant, "volume", "data-1")
    actor.until(actor.create("volume", name="no-backend", size=1, volume_type="ghost"), "error")
    actor.until(actor.create("snapshot", name="snap-fails", volume_id=volume.resource_id), "error")


def meet_quotas(exercise: Exercise, tenant: Tenant) -> None:
    """The operator lowers the tenant's quotas to what is in use, the next volume and server are refused."""
    actor, project = exercise.actor(tenant), exercise.project(tenant)
    quotas = f"/os-quota-sets/{project.resource_id}"
    # the operator's own actor belongs to another thread
    operator = Actor(exercise.ledger, exercise.run, exercise.connect_entry("admin"))

    def limit(service: str, **limits: int) -> None:
        operator.call("quota.update", "PUT", quotas, {"quota_set": limits}, project, service=service, **limits)

    volumes = operator.get("block-storage", f"{quotas}?usage=True")["quota_set"]["volumes"]
    servers = operator.get("compute", f"{quotas}/detail")["quota_set"]["instances"]
    limit("block-storage", volumes=volumes["in_use"])
    limit("compute", instances=servers["in_use"])
    actor.create("volume", name="over-quota", size=1, refused=True)
    actor.create("server", **server_fields(exercise, "over-quota"), networks="none", refused=True)
    limit("block-storage", volumes=volumes["limit"])
    limit("compute", instances=servers["limit"])


def shelve(exercise: Exercise, tenant: Tenant) -> None:
    actor, server = exercise.actor(tenant), exercise.of(tenant, "server", "web-1")
    actor.act(server, "shelve", {"shelve": None}, "SHELVED_OFFLOADED")
    actor.act(server, "unshelve", {"unshelve": None}, "ACTIVE")


def rebuild(exercise: Exercise, tenant: Tenant) -> None:
    actor, server = exercise.actor(tenant), exercise.of(tenant, "server", "web-1")
    image = exercise.known("image", "cirros").resource_id
    actor.act(server, "rebuild", {"rebuild": {"imageRef": image}}, "ACTIVE", image_id=image)


def lock(exercise: Exercise, tenant: Tenant) -> None:
    actor, server = exercise.actor(tenant), exercise.of(tenant, "server", "web-1")
    actor.act(server, "lock", {"lock": {"locked_reason": "change freeze"}})
    actor.act(server, "unlock", {"unlock": None})


# --------------------------------------------------------------------------------------------------------- share


def share(exercise: Exercise) -> None:
    hand_over(exercise)
    donor, guest = exercise.actor(DONOR), exercise.actor(TWIN)
    network = exercise.of(DONOR, "network", "private").resource_id
    donor.create(
        "rbac_policy",
        object_type="network",
        object_id=network,
        action="access_as_shared",
        target_tenant=guest.project_id,
    )
    guest.create("port", name="guest-port", network_id=network)


def hand_over(exercise: Exercise) -> None:
    """The donor's volume goes to its twin, with its snapshot and without its backup; another offer is left open."""
    donor, recipient = exercise.actor(DONOR), exercise.actor(TWIN)
    volume = exercise.of(DONOR, "volume", "handover")
    offer = donor.create("volume_transfer", name="handover", volume_id=volume.resource_id)
    accepted = recipient.call(
        "volume_transfer.accept",
        "POST",
        f"{KINDS['volume_transfer'].path}/{offer.resource_id}/accept",
        {"accept": {"auth_key": donor.answer["transfer"]["auth_key"]}},
        offer,
        volume_id=volume.resource_id,
        to_project_id=recipient.project_id,
        to_domain_id=recipient.owns.domain_id,
    )
    recipient.until(accepted, "available", of=("volume", volume.resource_id))
    owned = replace(volume, owner_project_id=recipient.owns.project_id, owner_domain_id=recipient.owns.domain_id)
    recipient.act(owned, "extend", {"os-extend": {"new_size": 2}}, "available", new_size=2)
    open_offer = exercise.of(TIGHT, "volume", "handover").resource_id
    exercise.actor(TIGHT).create("volume_transfer", name="regretted", volume_id=open_offer)


# ------------------------------------------------------------------------------------------------------- operate


def operate(exercise: Exercise) -> None:
    operator = exercise.operator
    server = exercise.of(DONOR, "server", "web-1")
    operator.act(server, "reboot", {"reboot": {"type": "HARD"}}, "ACTIVE", type="HARD")
    server = exercise.of(DONOR, "server", "db-1")
    operator.act(server, "migrate", {"migrate": None}, "VERIFY_RESIZE")
    operator.act(server, "confirm_resize", {"confirmResize": None}, "ACTIVE")
    server = exercise.of(TWIN, "server", "web-1")
    move = {"os-migrateLive": {"host": None, "block_migration": "auto"}}
    operator.act(server, "live_migrate", move, "ACTIVE")
    server = exercise.of(TIGHT, "server", "db-1")
    operator.act(server, "stop", {"os-stop": None}, "SHUTOFF")
    operator.act(server, "start", {"os-start": None}, "ACTIVE")
    ports = []
    for tenant in (DONOR, TWIN):
        actor, network = exercise.actor(tenant), exercise.of(tenant, "network", "private").resource_id
        ports.append((actor.owns, {"name": "operators-port", "network_id": network, "project_id": actor.project_id}))
    operator.create_together("port", ports)


# ------------------------------------------------------------------------------------------------------ identity


def identity(exercise: Exercise) -> None:
    operator = exercise.operator
    for tenant, password in ((DONOR, "wrong"), (DONOR, "Wrong1"), (TWIN, "wrong")):
        connection = exercise.connect(
            tenant.user, password, tenant.domain, project_id=exercise.project(tenant).resource_id
        )
        who = f"{tenant.user}@{tenant.domain}"
        refused_log_in(exercise.ledger, exercise.run, connection, who, exercise.domain(tenant).resource_id)
    operator.update(exercise.project(NESTED), name="laboratory")
    temp = exercise.known("user", "temp")
    operator.update(temp, name="temporary")
    operator.update(temp, enabled=False)
    operator.update(exercise.known("project", "pilot"), description="to be closed")
    operator.update(exercise.known("domain", "umbrella"), enabled=False)
    grant(operator, "grant", "auditor", exercise.user(DONOR), exercise.project(TWIN))


# --------------------------------------------------------------------------------------------------------- hosts


def host_down(exercise: Exercise) -> None:
    exercise.set_host("compute2", "force_down", forced_down=True, status="disabled", disabled_reason="no heartbeat")


def host_up(exercise: Exercise) -> None:
    exercise.set_host("compute2", "force_up", forced_down=False, status="enabled")


def evacuate(exercise: Exercise) -> None:
    operator = exercise.operator
    running = operator.get("compute", "/servers/detail?all_tenants=1&host=compute2&status=ACTIVE")["servers"]
    ids = [server["id"] for server in running]
    victims = [action for action in exercise.ledger if action.op == "server.create" and action.resource_id in ids][:2]
    host_down(exercise)
    for server in victims:
        operator.act(server, "evacuate", {"evacuate": {}}, "ACTIVE")
    exercise.bring_back("compute2")


# -------------------------------------------------------------------------------------------------------- remove


def remove(exercise: Exercise) -> None:
    exercise.in_parallel(lambda tenant: remove_from_tenant(exercise, tenant), exercise.tenants)
    operator = exercise.operator
    lena = exercise.actor(NESTED)
    delete(lena, exercise.of(NESTED, "server", "lab-1"))
    delete(lena, exercise.of(NESTED, "volume", "lab-data"))
    operator.delete(exercise.user(NESTED))
    operator.delete(exercise.project(NESTED))
    grant(operator, "revoke", "auditor", exercise.user(DONOR), exercise.project(TWIN))
    operator.delete(exercise.known("user", "temp"))
    operator.delete(exercise.known("project", "pilot"))
    operator.delete(exercise.known("domain", "umbrella"))


def delete(actor: Actor, thing: Action) -> None:
    action = actor.delete(thing)
    if KINDS[thing.resource_type].service in {"compute", "block-storage"} and thing.resource_type != "volume_transfer":
        actor.until(action, "GONE")


def remove_from_tenant(exercise: Exercise, tenant: Tenant) -> None:
    actor = exercise.actor(tenant)
    server, volume = exercise.of(tenant, "server", "db-1"), exercise.of(tenant, "volume", "data-1")
    attachment = f"/servers/{server.resource_id}/os-volume_attachments/{volume.resource_id}"
    if actor.get("compute", attachment):
        action = actor.call("server.detach_volume", "DELETE", attachment, None, server, volume_id=volume.resource_id)
        actor.until(action, "available", of=("volume", volume.resource_id))
    delete(actor, server)
    address = exercise.of(tenant, "floating_ip", "web-1")
    if actor.get("network", f"/v2.0/floatingips/{address.resource_id}")["floatingip"]["port_id"]:
        actor.update(address, "disassociate", port_id=None)
    delete(actor, address)
    delete(actor, exercise.of(tenant, "security_group_rule", "https"))
    router, subnet = exercise.of(tenant, "router", "gateway"), exercise.of(tenant, "subnet", "private-subnet")
    change_interface(actor, "remove", router, subnet)
    for resource_type, name in (
        ("server", "too-big"),
        ("server", "boot-fails"),
        ("snapshot", "snap-fails"),
        ("volume", "no-backend"),
        ("volume", "clone-1"),
        ("backup", "handover-backup"),
        ("volume_transfer", "regretted"),
    ):
        if thing := exercise.find(resource_type, name, tenant):
            delete(actor, thing)


PARTS = (tenants, build, work, share, operate, identity, host_down, host_up, evacuate, *EXTRA_PARTS, remove)
USUAL = [part.__name__ for part in PARTS if part not in EXTRA_PARTS]


def run(exercise: Exercise, parts: Iterable[str]) -> None:
    """Runs the named parts in their order; the first failure ends it."""
    for part in PARTS:
        if part.__name__ in parts:
            begun = time.monotonic()
            part(exercise)
            log.info("%-39s %6.1f s", part.__name__, time.monotonic() - begun)


def main() -> int:
    names = [part.__name__ for part in PARTS]
    parser = argparse.ArgumentParser(description="Work in the test cloud as several tenants and an operator.")
    default = os.environ.get("CLOUD") or Path(tempfile.gettempdir()) / "timeline-cloud"
    parser.add_argument("--cloud", type=Path, default=default, help="the cloud's folder (default: %(default)s)")
    parser.add_argument("--fast", action="store_true", help="three tenants, each deed once, no evacuation")
    parser.add_argument("--run", default=datetime.now(UTC).strftime("%H%M%S"), help="marks the lines of the ledger")
    parser.add_argument("--parts", help=f"some of {','.join(names)} (default: {','.join(USUAL)})")
    chosen = parser.parse_args()
    parts = (
        chosen.parts.split(",")
        if chosen.parts
        else [name for name in USUAL if not (chosen.fast and name == "evacuate")]
    )
    if unknown := set(parts) - set(names):
        parser.error(f"no such part: {', '.join(sorted(unknown))}")
    if not (chosen.cloud / "clouds.yaml").exists():
        parser.error(f"there is no clouds.yaml in {chosen.cloud}; bring the cloud up first")
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    logging.getLogger("keystoneauth").setLevel(logging.ERROR)
    try:
        run(Exercise(chosen.cloud, fast=chosen.fast, run=chosen.run), parts)
    except ExerciseError as error:
        log.error("FAILED: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
