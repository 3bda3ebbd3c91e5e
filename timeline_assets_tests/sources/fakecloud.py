"""A cloud of one process on loopback: Keystone's tokens and whatever answers a test gives it.

Answers stand under ``<service><path>`` (``network/v2.0/ports``) and are a body, an :class:`Answer`, a list of these
that are given one after the other (the last one stays), or a function of the query. What was asked is in `requests`.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

PASSWORD, TOKEN = "s3cret-of-the-harvester", "gAAAAAB-token-"
SERVICES = {
    "identity": "/identity/v3",
    "network": "/network",
    "compute": "/compute/v2.1",
    "block-storage": "/volume/v3",
}


@dataclass(frozen=True)
class Answer:
    """One answer. `cut` sends so many bytes less than announced; `wait` holds it back until the cloud is closed."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: int = 0
    wait: bool = False


@dataclass(frozen=True)
class Asked:
    """One request: path, query (each name's values), headers in lower case."""

    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]


class FakeCloud:
    """Use as a context manager; `config` is what `connect` takes."""

    def __init__(self, *, roles: tuple[str, ...] = ("admin",), project_id: str = "ours", system: bool = False) -> None:
        self.roles, self.project_id, self.system = roles, project_id, system
        self.services = dict(SERVICES)
        self.answers: dict[str, Any] = {}
        self.requests: list[Asked] = []
        self.logins = 0
        self.expired: set[str] = set()
        self.ahead_seconds = 0.0
        self.closing = threading.Event()
        cloud = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                cloud._get(self)

            def do_POST(self) -> None:
                cloud._log_in(self)

            def log_message(self, *_: object) -> None: ...

            def date_time_string(self, timestamp: float | None = None) -> str:
                return format_datetime(datetime.fromtimestamp(_now() + cloud.ahead_seconds, UTC), usegmt=True)

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, *_: object) -> None: ...  # a client that went away

        self._server = Server(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        links = [{"rel": "self", "href": f"{self.url}/identity/v3/"}]
        self.answers["identity/v3"] = {"version": {"id": "v3.14", "status": "stable", "links": links}}
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)

    @property
    def config(self) -> dict[str, Any]:
        """The cloud in clouds.yaml's words."""
        project = {"project_name": "ops", "project_domain_name": "Default"}
        return {
            "region_name": "RegionOne",
            "auth": {
                "auth_url": f"{self.url}/identity/v3",
                "username": "harvester",
                "password": PASSWORD,
                "user_domain_name": "Default",
                **({"system_scope": "all"} if self.system else project),
            },
        }

    def asked(self, path: str) -> list[Asked]:
        """The requests for one path, in order."""
        return [request for request in self.requests if request.path == path]

    def __enter__(self) -> FakeCloud:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _log_in(self, handler: BaseHTTPRequestHandler) -> None:
        asked = json.loads(handler.rfile.read(int(handler.headers["Content-Length"])))
        if asked["auth"]["identity"]["password"]["user"]["password"] != PASSWORD:
            _send(handler, Answer({"error": {"message": "The request requires authentication.", "code": 401}}, 401))
            return
        self.logins += 1
        place = {"interface": "public", "region_id": "RegionOne", "region": "RegionOne"}
        catalogue = [
            {"type": kind, "endpoints": [{**place, "url": self.url + at}]} for kind, at in self.services.items()
        ]
        token = {
            "methods": ["password"],
            "issued_at": "2026-11-22T00:00:00.000000Z",
            "expires_at": "2126-11-22T00:00:00.000000Z",
            "user": {"id": "harvester-id", "name": "harvester", "domain": {"id": "default", "name": "Default"}},
            "roles": [{"id": name, "name": name} for name in self.roles],
            "catalog": catalogue,
        }
        if self.system:
            token["system"] = {"all": True}
        else:
            token["project"] = {"id": self.project_id, "name": "ops", "domain": {"id": "default", "name": "Default"}}
        _send(handler, Answer({"token": token}, 201, {"X-Subject-Token": f"{TOKEN}{self.logins}"}))

    def _get(self, handler: BaseHTTPRequestHandler) -> None:
        parts = urlsplit(handler.path)
        headers = {name.lower(): value for name, value in handler.headers.items()}
        request = Asked(parts.path.strip("/"), parse_qs(parts.query, keep_blank_values=True), headers)
        self.requests.append(request)
        if headers.get("x-auth-token") in self.expired:
            _send(handler, Answer({"error": {"message": "expired"}}, 401))
            return
        answer = self.answers.get(request.path, Answer({"error": {"message": "no such thing"}}, 404))
        if isinstance(answer, list):
            answer = answer.pop(0) if len(answer) > 1 else answer[0]
        if isinstance(answer, Callable):
            answer = answer(request.query)
        answer = answer if isinstance(answer, Answer) else Answer(answer)
        if answer.wait:
            self.closing.wait()
        asked_version = headers.get("openstack-api-version")
        given = {"OpenStack-API-Version": asked_version} if asked_version else {}
        _send(handler, Answer(answer.body, answer.status, {**given, **answer.headers}, answer.cut))


def listing(collection: str, rows: list[dict[str, Any]]) -> Callable[[Mapping[str, list[str]]], Answer]:
    """A listing by id with `limit` and `marker` as Neutron pages: a marker that is no longer there is 404."""

    def answer(query: Mapping[str, list[str]]) -> Answer:
        ordered = sorted(rows, key=lambda row: row["id"])
        marker = query.get("marker", [None])[0]
        if marker is not None and marker not in {row["id"] for row in ordered}:
            return Answer({"NeutronError": {"message": f"{marker} could not be found."}}, 404)
        left = [row for row in ordered if marker is None or row["id"] > marker]
        limit = int(query.get("limit", [len(left) or 1])[0])
        page = left[:limit]
        body: dict[str, Any] = {collection: page}
        if len(left) > limit:
            href = f"http://only.the.service.knows/?limit={limit}&marker={page[-1]['id']}"
            body[f"{collection}_links"] = [{"rel": "next", "href": href}]
        return Answer(body)

    return answer


def _send(handler: BaseHTTPRequestHandler, answer: Answer) -> None:
    data = answer.body.encode() if isinstance(answer.body, str) else json.dumps(answer.body).encode()
    handler.send_response(answer.status)
    for name, value in {"Content-Type": "application/json", **answer.headers}.items():
        handler.send_header(name, value)
    handler.send_header("Content-Length", str(len(data)))
    if answer.cut:
        handler.close_connection = True
    handler.end_headers()
    handler.wfile.write(data[: len(data) - answer.cut])


def _now() -> float:
    return datetime.now(UTC).timestamp()
