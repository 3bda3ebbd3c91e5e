"""Somebody who works in the cloud: every call is made with openstacksdk's session and written into the ledger."""

import time
from datetime import UTC, datetime
from typing import NamedTuple

from keystoneauth1.exceptions.http import Unauthorized
from openstack.connection import Connection

from timeline_assets_tests.cloud.ledger import Action, Ledger

POLL_SECONDS = 0.5
WAIT_SECONDS = 300
MICROVERSIONS = {"compute": "2.90", "block-storage": "3.70"}
SECRETS = {"password", "auth_key"}


class Kind(NamedTuple):
    """Where a kind of resource lives: its service, the path of its collection, the key around its fields, if any."""

    service: str
    path: str
    key: str


KINDS = {
    "domain": Kind("identity", "/domains", "domain"),
    "project": Kind("identity", "/projects", "project"),
    "user": Kind("identity", "/users", "user"),
    "role": Kind("identity", "/roles", "role"),
    "server": Kind("compute", "/servers", "server"),
    "flavor": Kind("compute", "/flavors", "flavor"),
    "service": Kind("compute", "/os-services", "service"),
    "volume": Kind("block-storage", "/volumes", "volume"),
    "snapshot": Kind("block-storage", "/snapshots", "snapshot"),
    "backup": Kind("block-storage", "/backups", "backup"),
    "volume_transfer": Kind("block-storage", "/volume-transfers", "transfer"),
    "volume_type": Kind("block-storage", "/types", "volume_type"),
    "stack": Kind("orchestration", "/stacks", "stack"),
    "alarm": Kind("alarming", "/v2/alarms", ""),
    "segment": Kind("instance-ha", "/segments", "segment"),
    "ha_notification": Kind("instance-ha", "/notifications", "notification"),
    "load_balancer": Kind("load-balancer", "/v2/lbaas/loadbalancers", "loadbalancer"),
    "zone": Kind("dns", "/v2/zones", ""),
    "workflow": Kind("workflow", "/workflows", ""),
    "execution": Kind("workflow", "/executions", ""),
    "image": Kind("image", "/v2/images", ""),
    "network": Kind("network", "/v2.0/networks", "network"),
    "subnet": Kind("network", "/v2.0/subnets", "subnet"),
    "port": Kind("network", "/v2.0/ports", "port"),
    "router": Kind("network", "/v2.0/routers", "router"),
    "floating_ip": Kind("network", "/v2.0/floatingips", "floatingip"),
    "security_group": Kind("network", "/v2.0/security-groups", "security_group"),
    "security_group_rule": Kind("network", "/v2.0/security-group-rules", "security_group_rule"),
    "rbac_policy": Kind("network", "/v2.0/rbac-policies", "rbac_policy"),
}
PROVIDER_KINDS = {"role", "flavor", "volume_type", "service", "segment", "ha_notification"}
ID_FIELDS = ("notification_uuid", "uuid", "alarm_id", "id")  # Masakari's id is a number that no URL takes


class ExerciseError(Exception):
    """The cloud did not do what the exercise counts on."""


class Owner(NamedTuple):
    scope: str  # project, domain or provider
    project_id: str | None = None
    domain_id: str | None = None


PROVIDER = Owner("provider")


def now() -> datetime:
    return datetime.now(UTC)


def is_error(state: str) -> bool:
    return state.lower().startswith("error") or state.lower().endswith("failed")


class Actor:
    """One user with one scope. Not for several threads at once."""

    def __init__(self, ledger: Ledger, run: str, connection: Connection) -> None:
        self._ledger = ledger
        self._run = run
        self._session = connection.session
        access = self._session.auth.get_access(self._session)
        self.who = f"{access.username}@{access.user_domain_name}/{access.project_name}"
        self.user_id = access.user_id
        self.project_id = access.project_id
        self.owns = Owner("project", access.project_id, access.project_domain_id)
        self._user_domain_id = access.user_domain_id
        self.answer: dict = {}  #: the body of the newest answer

    def get(self, service: str, path: str) -> dict | None:
        """Reads, without the ledger; None where there is nothing."""
        status, body, _ = self._request(service, "GET", path, None)
        if status == 404:
            return None
        if status >= 400:
            raise ExerciseError(f"GET {path} of {service} answered {status}: {body}")
        return body

    def create(
        self,
        resource_type: str,
        *,
        owner: Owner | None = None,
        refused: bool = False,
        **fields,
    ) -> Action:
        """Makes a resource; `refused` says that the cloud must answer 4xx."""
        kind = KINDS[resource_type]
        body = {kind.key: fields} if kind.key else fields
        return self.call(f"{resource_type}.create", "POST", kind.path, body, owner=owner, refused=refused, **fields)

    def create_together(self, resource_type: str, wanted: list[tuple[Owner, dict]]) -> list[Action]:
        """One call that makes several resources, for several owners."""
        kind = KINDS[resource_type]
        begun = now()
        body = {f"{kind.key}s": [fields for _, fields in wanted]}
        status, answer, request_id = self._request(kind.service, "POST", kind.path, body)
        if status >= 400:
            raise ExerciseError(f"{self.who}: POST {kind.path} answered {status}: {answer}")
        return [
            self._record(
                f"{resource_type}.create",
                begun,
                status,
                request_id,
                resource_id=made["id"],
                resource_name=made["name"],
                owner=owner,
                details=fields,
            )
            for made, (owner, fields) in zip(answer[f"{kind.key}s"], wanted, strict=True)
        ]

    def upload(self, image: Action, data: bytes) -> None:
        """Gives an image its bytes."""
        self._session.put(
            f"{KINDS['image'].path}/{image.resource_id}/file",
            data=data,
            headers={"Content-Type": "application/octet-stream"},
            endpoint_filter={"service_type": "image", "interface": "public"},
        )

    def update(self, thing: Action, verb: str = "update", **fields) -> Action:
        kind = KINDS[thing.resource_type]
        # Keystone alone updates by PATCH
        method = "PATCH" if kind.service == "identity" else "PUT"
        return self.call(
            f"{thing.resource_type}.{verb}",
            method,
            f"{kind.path}/{thing.resource_id}",
            {kind.key: fields},
            thing,
            **fields,
        )

    def delete(self, thing: Action) -> Action:
        path = f"{KINDS[thing.resource_type].path}/{thing.resource_id}"
        return self.call(f"{thing.resource_type}.delete", "DELETE", path, None, thing)

    def act(self, thing: Action, verb: str, body: dict, *states: str, refused: bool = False, **details) -> Action:
        """Posts an action of a server or volume and waits for one of the states."""
        path = f"{KINDS[thing.resource_type].path}/{thing.resource_id}/action"
        action = self.call(f"{thing.resource_type}.{verb}", "POST", path, body, thing, refused=refused, **details)
        return self.until(action, *states) if states else action

    def call(
        self,
        op: str,
        method: str,
        path: str,
        body: dict | None,
        thing: Action | None = None,
        *,
        service: str | None = None,
        owner: Owner | None = None,
        refused: bool = False,
        **details,
    ) -> Action:
        """One call and its line in the ledger. Without a `thing` it makes one: the answer tells its id."""
        resource_type = op.split(".", maxsplit=1)[0]
        kind = KINDS.get(resource_type)
        begun = now()
        status, self.answer, request_id = self._request(service or kind.service, method, path, body)
        if thing:
            resource_id, name = thing.resource_id, thing.resource_name
            owner = owner or Owner(thing.owner_scope, thing.owner_project_id, thing.owner_domain_id)
        else:
            made = {} if kind is None else self.answer.get(kind.key, {}) if kind.key else self.answer
            resource_id = next((made[field] for field in ID_FIELDS if field in made), None)
            name = details.pop("name", None)
            owner = owner or self._owner_of(resource_type, made)
        action = self._record(
            op,
            begun,
            status,
            request_id,
            resource_id=resource_id,
            resource_name=name,
            owner=owner,
            details={key: value for key, value in details.items() if key not in SECRETS},
        )
        if (status >= 400) != refused:
            raise ExerciseError(f"{self.who}: {op}, {method} {path}, answered {status}: {self.answer}")
        return action

    def settled(self, action: Action, state: str) -> Action:
        """Writes down in which state an accepted action ended."""
        result = "failed" if is_error(state) else action.result
        return self._ledger.settle(action, settled_at=now(), state=state, result=result)

    def note(self, action: Action, **details) -> Action:
        """Adds to an action what only its answer told."""
        return self._ledger.note(action, **details)

    def _record(
        self,
        op: str,
        begun: datetime,
        status: int,
        request_id: str | None,
        *,
        resource_id: str | None,
        resource_name: str | None,
        owner: Owner,
        details: dict,
    ) -> Action:
        return self._ledger.append(
            run=self._run,
            t=begun,
            answered_at=now(),
            who=self.who,
            actor_user_id=self.user_id,
            actor_project_id=self.project_id,
            actor_domain_id=self._user_domain_id,
            op=op,
            resource_type=op.split(".", maxsplit=1)[0],
            resource_id=resource_id,
            resource_name=resource_name,
            owner_scope=owner.scope,
            owner_project_id=owner.project_id,
            owner_domain_id=owner.domain_id,
            request_id=request_id,
            status=status,
            result="ok" if status < 400 else "refused",
            details=details,
        )

    def until(self, action: Action, *states: str, of: tuple[str, str] | None = None) -> Action:
        """Waits until the action's resource, or the one named by `of` (type, id), is in one of the states."""
        resource_type, resource_id = of or (action.resource_type, action.resource_id)
        deadline = time.monotonic() + WAIT_SECONDS
        state = None
        while time.monotonic() < deadline:
            state = self._state(resource_type, resource_id)
            if state in states or is_error(state):
                action = self.settled(action, state)
                if state in states:
                    return action
                break
            time.sleep(POLL_SECONDS)
        raise ExerciseError(
            f"{self.who}: {action.op}: {resource_type} {resource_id} is {state}, not {' or '.join(states)}"
        )

    def _state(self, resource_type: str, resource_id: str) -> str:
        kind = KINDS[resource_type]
        body = self.get(kind.service, f"{kind.path}/{resource_id}")
        if body is None:
            return "GONE"
        fields = body[kind.key]
        task = fields.get("OS-EXT-STS:task_state")
        return f"{fields['status']} ({task})" if task else fields["status"]

    def _owner_of(self, resource_type: str, made: dict) -> Owner:
        if resource_type in PROVIDER_KINDS:
            return PROVIDER
        if resource_type == "project":
            return Owner("project", made["id"], made["domain_id"])
        if resource_type == "domain":
            return Owner("domain", None, made["id"])
        if resource_type == "user":
            return Owner("domain", None, made["domain_id"])
        return self.owns

    def _request(self, service: str, method: str, path: str, body: dict | None) -> tuple[int, dict, str | None]:
        content = (
            {"data": body, "headers": {"Content-Type": "text/plain"}}
            if service == "workflow" and isinstance(body, str)
            else {"json": body}
        )
        response = self._session.request(
            path,
            method,
            **content,
            microversion=MICROVERSIONS.get(service),
            endpoint_filter={"service_type": service, "interface": "public"},
            raise_exc=False,
        )
        try:
            answer = response.json() if response.content else {}
        except ValueError:
            answer = {"text": response.text[:300]}
        return response.status_code, answer, response.headers.get("x-openstack-request-id")


def refused_log_in(ledger: Ledger, run: str, connection: Connection, user: str, domain_id: str) -> None:
    """A log-in that must fail, and its line in the ledger."""
    begun = now()
    try:
        connection.session.get_token()
    except Unauthorized as error:
        request_id = error.request_id
    else:
        raise ExerciseError(f"{user} could log in and should not")
    ledger.append(
        run=run,
        t=begun,
        answered_at=now(),
        who=user,
        actor_user_id=None,
        actor_project_id=None,
        actor_domain_id=domain_id,
        op="user.log_in",
        resource_type="user",
        resource_id=None,
        resource_name=user.split("@", maxsplit=1)[0],
        owner_scope="domain",
        owner_project_id=None,
        owner_domain_id=domain_id,
        request_id=request_id,
        status=401,
        result="refused",
    )
