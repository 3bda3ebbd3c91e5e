"""How long a change at a real cloud takes to its row in the timeline, and what following costs the cloud.

::

    OS_CLIENT_CONFIG_FILE=clouds.yaml python -m benchmarks.latency --harvester real --operator admin --changes 48

Starts `timeline up` on a state folder of its own, waits for the first complete readings, makes changes of many kinds as
the operator at random distances, and looks five times a second for the row of each. A change's clock starts when the
cloud has answered, or, where it works on after its answer (volumes), when its API shows the result. Afterwards nothing
is done for `--idle` seconds and the requests made meanwhile are counted. `--servers` prints, from the sources' own
constants and without a cloud, what an idle minute comes to in a larger one.

The operator may create projects, flavors and images; everything that was made is removed again.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import random
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openstack
from openstack.connection import Connection

from timeline_assets.config import load
from timeline_assets.sources import SOURCES, cinder, nova_instance_actions, whole
from timeline_assets.sources.openstack import PAGE_ROWS
from timeline_assets.store.database import Database, open_database

CLOUD = "measured"
LOOK_SECONDS = 0.2
READY_SECONDS, LATEST_SECONDS, STOP_SECONDS = 300, 180, 60
TARGET_SECONDS = 30


# ------------------------------------------------------------------------------------------------------- the timeline


@dataclass
class Timeline:
    """A running `timeline up` and its database."""

    database: Database

    def value(self, query: str, *parameters: Any) -> Any:
        with self.database.connect("pipeline") as connection:
            return connection.execute(query, parameters).fetchone()[0]

    def rows(self, query: str, *parameters: Any) -> list[tuple]:
        with self.database.connect("pipeline") as connection:
            return connection.execute(query, parameters).fetchall()

    def wait_until_all_is_read(self) -> None:
        wait_until(
            "every source was read and all of it is told",
            lambda: (
                self.value("select count(*) from raw.scans where last_success_at is not null") == len(SOURCES)
                and not self.value("select count(*) from raw.attempts where resolved_at is null")
            ),
            READY_SECONDS,
        )


@contextlib.contextmanager
def following(harvester: str) -> Iterator[Timeline]:
    """`timeline up` on that entry of clouds.yaml, in a folder of its own."""
    folder = Path(tempfile.mkdtemp(prefix="timeline-latency-"))
    config = folder / "timeline.toml"
    config.write_text(f'state_dir = "{folder}/state"\n[web]\nport = 0\n[clouds.{CLOUD}]\nos_cloud = "{harvester}"\n')
    environment = {**os.environ, "TIMELINE_CONFIG": str(config)}
    command = [sys.executable, "-m", "timeline_assets.cli", "up"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT)
        try:
            with open_database(load(environ=environment)) as database:
                timeline = Timeline(database)
                wait_until("the tables are there", lambda: _has_tables(timeline), READY_SECONDS)
                yield timeline
        finally:
            process.terminate()
            process.wait(STOP_SECONDS)
            shutil.rmtree(folder, ignore_errors=True)


def _has_tables(timeline: Timeline) -> bool:
    return timeline.value(
        "select to_regclass('raw.attempts') is not null and to_regclass('timeline.events') is not null"
    )


def wait_until(what: str, is_so: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > deadline:
            raise SystemExit(f"{seconds} s passed and still not: {what}")
        time.sleep(LOOK_SECONDS)


# -------------------------------------------------------------------------------------------------------- the changes


@dataclass
class Change:
    """One change: what the row to wait for is about, and when it was effective and seen (monotonic seconds)."""

    kind: str
    event_type: str
    resource_id: str
    before: int
    effective: float = 0.0
    seen: float | None = None

    @property
    def seconds(self) -> float | None:
        return None if self.seen is None else max(self.seen - self.effective, 0.0)


class Watch:
    """Looks for the rows of all changes that are not told yet, in a thread of its own."""

    def __init__(self, timeline: Timeline) -> None:
        self.changes: list[Change] = []
        self._timeline = timeline
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def told(self, event_type: str, resource_id: str) -> int:
        """How often this was told."""
        return self._timeline.value(
            """select count(*) from timeline.events
            where cloud = %s and resource_id = %s and event_type like %s and phase <> 'start'""",
            *(CLOUD, resource_id, event_type),
        )

    def wait(self, resource_id: str | None = None) -> None:
        """Until all changes are told, or those of one resource, or it takes too long."""
        changes = [change for change in self.changes if resource_id in (None, change.resource_id)]
        deadline = time.monotonic() + LATEST_SECONDS
        while any(change.seen is None for change in changes) and time.monotonic() < deadline:
            time.sleep(LOOK_SECONDS)

    def _look(self) -> None:
        while not self._is_over.wait(LOOK_SECONDS):
            for change in [change for change in self.changes if change.seen is None]:
                if self.told(change.event_type, change.resource_id) > change.before:
                    change.seen = time.monotonic()


@dataclass
class Operator:
    """Makes changes, and tells the watch of each."""

    cloud: Connection
    watch: Watch
    made: list[Callable[[], Any]] = field(default_factory=list)
    name: str = field(default_factory=lambda: f"latency-{secrets.token_hex(3)}")

    def change(
        self,
        kind: str,
        event_type: str,
        resource_id: str | Callable[[Any], str],
        work: Callable[[], Any],
        is_done: Callable[[], bool] = lambda: True,
    ) -> Any:
        """Do the work; `resource_id` may follow from what it gives. `is_done` asks the cloud whether it took place."""
        known = None if callable(resource_id) else resource_id
        # two changes of one thing between two readings show as one: polling cannot tell them apart, nor is it measured
        if known:
            self.watch.wait(known)
        before = self.watch.told(event_type, known) if known else 0
        result = work()
        wait_until(f"{kind} took place", is_done, LATEST_SECONDS)
        effective = time.monotonic()
        target = known or resource_id(result)
        self.watch.changes.append(Change(kind, event_type, target, before, effective))
        return result

    def prepare(self) -> None:
        """What the changes are made on: a server without a network, a network, a group, a volume, a project."""
        cloud, name = self.cloud, self.name
        self.flavor = self._keep(cloud.compute.create_flavor(name=name, ram=64, vcpus=1, disk=1), "compute", "flavor")
        self.image = cloud.image.create_image(
            name=name, data=bytes(1 << 16), disk_format="raw", container_format="bare", validate_checksum=False
        )
        self._keep(self.image, "image", "image")
        self.network = self._keep(cloud.network.create_network(name=name), "network", "network")
        self.group = self._keep(cloud.network.create_security_group(name=name), "network", "security_group")
        self.project = self._keep(cloud.identity.create_project(name=name), "identity", "project")
        self.role = cloud.identity.find_role("member", ignore_missing=False)
        self.volume = self._keep(cloud.block_storage.create_volume(size=1, name=name), "block_storage", "volume")
        cloud.block_storage.wait_for_status(self.volume, "available", wait=LATEST_SECONDS, interval=1)
        self.server = cloud.compute.create_server(
            name=name, flavor_id=self.flavor.id, image_id=self.image.id, networks="none"
        )
        self._keep(self.server, "compute", "server")
        cloud.compute.wait_for_server(self.server, wait=LATEST_SECONDS, interval=1)

    def _keep(self, thing: Any, service: str, kind: str) -> Any:
        delete = getattr(getattr(self.cloud, service), f"delete_{kind}")
        self.made.append(lambda: delete(thing.id, ignore_missing=True))
        return thing

    def clean(self) -> None:
        for delete in reversed(self.made):
            with contextlib.suppress(openstack.exceptions.SDKException):
                delete()

    # Each of these makes changes that belong together, one at a time: what begins something also ends it.

    def server_actions(self) -> Iterator[None]:
        compute, server = self.cloud.compute, self.server
        actions = {
            "reboot": lambda: compute.reboot_server(server, "SOFT"),
            "lock": lambda: compute.lock_server(server),
            "unlock": lambda: compute.unlock_server(server),
        }
        for action, act in actions.items():
            self.change(f"server: {action}", f"compute.instance.{action}.%", server.id, act, self._is_idle)
            yield
        name = f"{self.name}-{secrets.token_hex(2)}"
        self.change(
            "server: renamed",
            "compute.instance.update",
            server.id,
            lambda: compute.update_server(server, name=name),
        )
        yield

    def attachment(self) -> Iterator[None]:
        compute, server, volume = self.cloud.compute, self.server, self.volume
        self.change(
            "volume: attached",
            "volume.attach.end",
            volume.id,
            lambda: compute.create_volume_attachment(server, volume_id=volume.id),
            lambda: self._volume_is("in-use", volume.id),
        )
        yield
        self.watch.wait(volume.id)  # it is the volume's listing that tells of the attachment
        self.change(
            "server: volume detached",
            "compute.instance.volume_detach.%",
            server.id,
            lambda: compute.delete_volume_attachment(server, volume.id),
            lambda: self._volume_is("available", volume.id),
        )
        yield

    def volume_life(self) -> Iterator[None]:
        storage = self.cloud.block_storage
        made = self.change(
            "volume: created",
            "volume.create.%",
            lambda volume: volume.id,
            lambda: storage.create_volume(size=1, name=self.name),
        )
        self.made.append(lambda: storage.delete_volume(made.id))
        wait_until("the volume is made", lambda: self._volume_is("available", made.id), LATEST_SECONDS)
        yield
        self.change(
            "volume: extended",
            "volume.resize.end",
            made.id,
            lambda: storage.extend_volume(made, 2),
            lambda: self._volume_is("available", made.id) and storage.get_volume(made.id).size == 2,
        )
        yield
        self.change(
            "volume: deleted",
            "volume.delete.end",
            made.id,
            lambda: storage.delete_volume(made),
            lambda: storage.find_volume(made.id) is None,
        )
        yield

    def port_life(self) -> Iterator[None]:
        network = self.cloud.network
        made = self.change(
            "port: created",
            "port.create.end",
            lambda port: port.id,
            lambda: network.create_port(network_id=self.network.id, name=self.name),
        )
        self.made.append(lambda: network.delete_port(made.id))
        yield
        self.change(
            "port: renamed", "port.update.end", made.id, lambda: network.update_port(made, name=f"{self.name}-renamed")
        )
        yield
        self.change("port: deleted", "port.delete.end", made.id, lambda: network.delete_port(made))
        yield

    def rule_life(self) -> Iterator[None]:
        network = self.cloud.network
        rule = {"direction": "ingress", "protocol": "tcp", "port_range_min": 80, "port_range_max": 80}
        made = self.change(
            "security group rule: created",
            "security_group_rule.create.end",
            lambda rule: rule.id,
            lambda: network.create_security_group_rule(security_group_id=self.group.id, **rule),
        )
        yield
        self.change(
            "security group rule: deleted",
            "security_group_rule.delete.end",
            made.id,
            lambda: network.delete_security_group_rule(made),
        )
        yield

    def tenancy(self) -> Iterator[None]:
        identity, project = self.cloud.identity, self.project
        assignment = f"{self.role.id}/user/{self.cloud.current_user_id}/project/{project.id}"
        path = f"/projects/{project.id}/users/{self.cloud.current_user_id}/roles/{self.role.id}"
        self.change("role: granted", "identity.role_assignment.created", assignment, lambda: identity.put(path))
        yield
        description = secrets.token_hex(4)
        self.change(
            "project: changed",
            "identity.project.updated",
            project.id,
            lambda: identity.update_project(project, description=description),
        )
        yield
        self.change("role: revoked", "identity.role_assignment.deleted", assignment, lambda: identity.delete(path))
        yield

    def _is_idle(self) -> bool:
        return self.cloud.compute.get_server(self.server.id).task_state is None

    def _volume_is(self, status: str, volume_id: str) -> bool:
        return self.cloud.block_storage.get_volume(volume_id).status == status


def make_changes(operator: Operator, count: int, farthest_seconds: float) -> None:
    """So many changes, in random order and at random distances."""
    chance = random.Random(20)
    kinds = ("server_actions", "attachment", "volume_life", "port_life", "rule_life", "tenancy")
    under_way = {kind: iter(()) for kind in kinds}
    watch = operator.watch
    while len(watch.changes) < count:
        kind = chance.choice(kinds)
        if next(under_way[kind], "ended") == "ended":
            under_way[kind] = getattr(operator, kind)()
            continue
        # not in step with the follower's own rhythm
        time.sleep(chance.uniform(0, farthest_seconds))


# ------------------------------------------------------------------------------------------------------- the requests


def idle_requests(timeline: Timeline, seconds: float) -> dict[str, float]:
    """Requests a minute by source, counted while nothing happens."""
    query = "select source, requests from raw.scans where cloud = %s"
    before = dict(timeline.rows(query, CLOUD))
    began = time.monotonic()
    time.sleep(seconds)
    minutes = (time.monotonic() - began) / 60
    return {source: (requests - before[source]) / minutes for source, requests in timeline.rows(query, CLOUD)}


def calculated_requests(servers: int, read_seconds: float = 1.0) -> dict[str, float]:
    """Requests of an idle minute, by source, from the sources' own constants.

    A cloud in which every server has a port, a volume and two security group rules, ten servers share a network, a
    subnet, a router, a group and a project; every second has a floating IP, every fifth a snapshot or a backup. The
    network service cannot say what changed (Zed), and a page of `PAGE_ROWS` takes `read_seconds`.
    """
    tenth = servers // 10
    rows = {
        "keystone_domains": 10,
        "keystone_projects": tenth,
        "keystone_users": tenth,
        "keystone_role_assignments": 3 * tenth,
        "cinder_volumes": servers,
        "cinder_snapshots": servers // 5,
        "cinder_backups": servers // 5,
        "cinder_transfers": 0,
        "neutron_ports": servers + 3 * tenth,
        "neutron_floating_ips": servers // 2,
        "neutron_security_group_rules": 2 * servers,
        **{f"neutron_{kind}": tenth for kind in ("networks", "subnets", "routers", "security_groups")},
    }
    return {
        source.name: _minute(source.name, source.interval.total_seconds(), rows, read_seconds) for source in SOURCES
    }


def _minute(name: str, interval: float, rows: Mapping[str, int], read_seconds: float) -> float:
    polls = 60 / interval
    if name == "nova_instance_actions":
        return polls * nova_instance_actions.SWEEP_SERVERS
    if name not in rows:
        # asked for what changed, which is nothing; migrations also for the newest page
        return polls * (2 if name == "nova_migrations" else 1)
    pages = max(math.ceil(rows[name] / PAGE_ROWS), 1)
    if rows[name] <= whole.SHORT_LIST:
        # role assignments are listed with the names of the roles
        return polls * (pages + (name == "keystone_role_assignments"))
    if name.startswith("cinder_"):
        sweeps = 60 / cinder.SWEEP.total_seconds()
        return (polls - sweeps) + sweeps * pages
    # read whole, with a pause of PAUSE times the reading
    return min(polls, 60 / (interval + whole.PAUSE * pages * read_seconds)) * pages


# --------------------------------------------------------------------------------------------------------- the report


def report(changes: list[Change]) -> bool:
    """Prints the latencies by kind and of all; whether the target was met."""
    by_kind: dict[str, list[float]] = defaultdict(list)
    for change in changes:
        by_kind[change.kind].append(math.inf if change.seconds is None else change.seconds)
    say(f"{'change':<32}{'n':>4}{'p50 s':>8}{'max s':>8}")
    for kind, seconds in sorted(by_kind.items()):
        say(f"{kind:<32}{len(seconds):>4}{statistics.median(seconds):>8.1f}{max(seconds):>8.1f}")
    every = sorted(second for seconds in by_kind.values() for second in seconds)
    p50, p95 = (every[math.ceil(len(every) * share) - 1] for share in (0.50, 0.95))
    say(f"{'all':<32}{len(every):>4}{p50:>8.1f}{every[-1]:>8.1f}   p95 {p95:.1f} s (at most {TARGET_SECONDS})")
    return p95 <= TARGET_SECONDS


def report_requests(what: str, by_source: Mapping[str, float]) -> None:
    say(f"\n{what}: {sum(by_source.values()):.0f} requests a minute")
    for source, requests in sorted(by_source.items(), key=lambda item: -item[1]):
        say(f"  {source:<32}{requests:>8.1f}")


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--harvester", default="real", help="entry of clouds.yaml that harvests (default: %(default)s)")
    parser.add_argument("--operator", default="admin", help="entry that makes the changes (default: %(default)s)")
    parser.add_argument("--changes", type=int, default=48)
    parser.add_argument("--farthest", type=float, default=8, help="seconds between two changes, at most")
    parser.add_argument("--idle", type=float, default=120, help="seconds to count requests for (default: %(default)s)")
    parser.add_argument("--servers", type=int, nargs="*", help="only calculate the requests of clouds with so many")
    chosen = parser.parse_args()
    for servers in chosen.servers or ():
        report_requests(f"calculated, {servers} servers, idle", calculated_requests(servers))
    if chosen.servers:
        return 0
    # openstacksdk warns of parts of itself, whether they are used or not
    warnings.simplefilter("ignore")
    is_met = False
    with following(chosen.harvester) as timeline:
        timeline.wait_until_all_is_read()
        with Watch(timeline) as watch:
            operator = Operator(openstack.connect(chosen.operator), watch)
            try:
                operator.prepare()
                make_changes(operator, chosen.changes, chosen.farthest)
                watch.wait()
            finally:
                operator.clean()
            is_met = report(watch.changes)
        timeline.wait_until_all_is_read()
        report_requests("counted, this cloud, idle", idle_requests(timeline, chosen.idle))
    return 0 if is_met else 1


if __name__ == "__main__":
    sys.exit(main())
