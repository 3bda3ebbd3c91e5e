"""The exercise's parts for the services beside the core: each needs its name in EXTRAS and the part build before it."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from timeline_assets_tests.cloud.actor import ExerciseError, now
from timeline_assets_tests.cloud.ledger import Action

if TYPE_CHECKING:
    from timeline_assets_tests.cloud.exercise import Exercise

WAIT_SECONDS = 180


def wait(read: Callable[[], str], *states: str) -> str:
    deadline = time.monotonic() + WAIT_SECONDS
    while (state := read()) not in states:
        if time.monotonic() > deadline:
            raise ExerciseError(f"still {state} after {WAIT_SECONDS} s, not {' or '.join(states)}")
        time.sleep(1)
    return state


def heat(exercise: "Exercise") -> None:
    """A stack that is updated, one that cannot be made, one that is made and deleted."""
    alice = exercise.actor(exercise.tenants[0])
    image, big = exercise.known("image", "cirros").resource_id, exercise.known("flavor", "m1.huge").resource_id
    tiny = exercise.known("flavor", "m1.tiny").resource_id

    def server(name: str, flavor: str) -> dict:
        fields = {"name": name, "image": image, "flavor": flavor, "networks": [{"allocate_network": "none"}]}
        return {"type": "OS::Nova::Server", "properties": fields}

    def template(**resources: dict) -> dict:
        return {"heat_template_version": "2018-08-31", "resources": resources}

    def volume(size: int) -> dict:
        return {"type": "OS::Cinder::Volume", "properties": {"size": size, "name": "stack-volume"}}

    def launch(name: str, content: dict, *states: str) -> Action:
        body = {"stack_name": f"{name}-{exercise.run}", "template": content, "disable_rollback": True}
        stack = alice.call("stack.create", "POST", "/stacks", body, name=body["stack_name"])
        return settle(stack, *states)

    def settle(action: Action, *states: str) -> Action:
        def read() -> str:
            return alice.get("orchestration", f"/stacks/{action.resource_id}")["stack"]["stack_status"]

        return alice.settled(action, wait(read, *states))

    app = launch("app", template(server=server("stack-server", tiny), volume=volume(1)), "CREATE_COMPLETE")
    path = f"/stacks/{app.resource_name}/{app.resource_id}"
    body = {"template": template(server=server("stack-server", tiny), volume=volume(2))}
    settle(alice.call("stack.update", "PUT", path, body, app), "UPDATE_COMPLETE")
    launch("too-big", template(server=server("stack-too-big", big)), "CREATE_FAILED")
    gone = launch("gone", template(text={"type": "OS::Heat::RandomString"}), "CREATE_COMPLETE")
    path = f"/stacks/{gone.resource_name}/{gone.resource_id}"
    settle(alice.call("stack.delete", "DELETE", path, None, gone), "DELETE_COMPLETE")


def aodh(exercise: "Exercise") -> None:
    """An alarm whose rule changes and whose state goes to alarm and back, and one that is deleted."""
    alice = exercise.actor(exercise.tenants[1])
    rule = {"event_type": "compute.instance.*"}
    alarm = alice.create("alarm", name=f"server-error-{exercise.run}", type="event", severity="low", event_rule=rule)
    path = f"/v2/alarms/{alarm.resource_id}"
    fields = {key: value for key, value in alice.answer.items() if value is not None} | {"severity": "critical"}
    alice.call("alarm.update", "PUT", path, fields, alarm, severity="critical")
    for state in ("alarm", "ok"):
        alice.call("alarm.set_state", "PUT", f"{path}/state", state, alarm, state=state)
    alice.delete(alice.create("alarm", name=f"doomed-{exercise.run}", type="event", event_rule=rule))


def masakari(exercise: "Exercise") -> None:
    """compute1 is reported to have failed, and a server that asks for it is moved."""
    operator = exercise.operator
    segment = exercise.ledger.find("segment", "rack-1") or operator.create(
        "segment", name="rack-1", recovery_method="auto", service_type="COMPUTE"
    )
    hosts = f"/segments/{segment.resource_id}/hosts"
    known = {host["name"]: host["uuid"] for host in operator.get("instance-ha", hosts)["hosts"]}
    for name in ("compute1", "compute2"):
        if name in known:  # an earlier failure left it on maintenance
            body = {"host": {"on_maintenance": False}}
            operator.call("segment.update_host", "PUT", f"{hosts}/{known[name]}", body, segment, host=name)
        else:
            body = {"host": {"name": name, "type": "KVM", "control_attributes": "SSH"}}
            operator.call("segment.add_host", "POST", hosts, body, segment, host=name)
    running = operator.get("compute", "/servers/detail?all_tenants=1&host=compute1&status=ACTIVE")["servers"]
    ids = {server["id"] for server in running}
    for server in [made for made in exercise.ledger if made.op == "server.create" and made.resource_id in ids][:1]:
        body = {"metadata": {"HA_Enabled": "True"}}
        operator.call("server.update_metadata", "POST", f"/servers/{server.resource_id}/metadata", body, server, **body)
    exercise.set_host("compute1", "force_down", forced_down=True)
    body = {
        "type": "COMPUTE_HOST",
        "hostname": "compute1",
        "generated_time": now().strftime("%Y-%m-%dT%H:%M:%S"),
        "payload": {"event": "STOPPED", "host_status": "NORMAL", "cluster_status": "OFFLINE"},
    }
    notification = operator.create("ha_notification", **body)
    path = f"/notifications/{notification.resource_id}"

    def read() -> str:
        return operator.get("instance-ha", path)["notification"]["status"]

    operator.settled(notification, wait(read, "finished", "failed", "error", "ignored"))
    exercise.bring_back("compute1")


def octavia(exercise: "Exercise") -> None:
    """A load balancer, which the drivers that do nothing leave in ERROR."""
    alice = exercise.actor(exercise.tenants[0])
    subnet = exercise.of(exercise.tenants[0], "subnet", "private-subnet").resource_id
    balancer = alice.create("load_balancer", name=f"balancer-{exercise.run}", vip_subnet_id=subnet)

    def read() -> str:
        path = f"/v2/lbaas/loadbalancers/{balancer.resource_id}"
        return alice.get("load-balancer", path)["loadbalancer"]["provisioning_status"]

    alice.settled(balancer, wait(read, "ACTIVE", "ERROR"))


def designate(exercise: "Exercise") -> None:
    alice = exercise.actor(exercise.tenants[1])
    zone = alice.create("zone", name=f"z{exercise.run.lower()}.globex.test.", email="ops@globex.test")
    record = {"name": f"www.{zone.resource_name}", "type": "A", "records": ["203.0.113.9"]}
    alice.call("zone.add_recordset", "POST", f"/v2/zones/{zone.resource_id}/recordsets", record, zone, **record)


def mistral(exercise: "Exercise") -> None:
    """A workflow of two tasks, the second of which fails."""
    bob = exercise.actor(exercise.tenants[2])
    name = f"w{exercise.run}"
    text = (
        f"---\nversion: '2.0'\n{name}:\n  tasks:\n    t1:\n      action: std.echo output='hello'\n"
        "      on-success: t2\n    t2:\n      action: std.fail\n"
    )
    bob.call("workflow.create", "POST", "/workflows", text, name=name)
    execution = bob.create("execution", workflow_name=name)

    def read() -> str:
        return bob.get("workflow", f"/executions/{execution.resource_id}")["state"]

    bob.settled(execution, wait(read, "ERROR", "SUCCESS"))


EXTRA_PARTS = (heat, aodh, masakari, octavia, designate, mistral)
