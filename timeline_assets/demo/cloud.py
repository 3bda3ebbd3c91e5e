"""What the recorded cloud answers: Keystone's tokens and catalogue, and the listings as their services page and filter.

Nothing is passed over in silence: a query, a path or a microversion that the replay does not know is refused, so that a
source that asks for more than was recorded fails instead of looking complete.
"""

from __future__ import annotations

import hmac
import json
import re
import secrets
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlencode

from timeline_assets.demo.play import DOMAIN, PROJECT, USER
from timeline_assets.demo.record import ACTIONS, LISTINGS, Listing
from timeline_assets.demo.recording import Record, Recording

TOKEN_LIFE = timedelta(hours=1)
#: Most rows of one page, where a service has such a limit.
MOST_ROWS = 1000

Query = Mapping[str, list[str]]


@dataclass(frozen=True)
class Answer:
    """A response: status, JSON body, headers beside the usual ones."""

    status: int
    body: Any
    headers: Mapping[str, str] = field(default_factory=dict)


class _Refusal(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class _Service:
    """One service: `root` of its paths, its type in the catalogue, and the microversions of the release recorded.

    `error` makes the body of a refusal from status and message.
    """

    root: str
    type: str
    error: Callable[[int, str], dict[str, Any]]
    versions: tuple[str, str] | None = None


def _plain_error(status: int, message: str) -> dict[str, Any]:
    return {"error": {"code": status, "message": message}}


def _named_error(status: int, message: str) -> dict[str, Any]:
    name = {400: "badRequest", 404: "itemNotFound", 406: "computeFault"}.get(status, "computeFault")
    return {name: {"code": status, "message": message}}


def _neutron_error(status: int, message: str) -> dict[str, Any]:
    kind = {400: "HTTPBadRequest", 404: "HTTPNotFound"}.get(status, "HTTPException")
    return {"NeutronError": {"type": kind, "message": message, "detail": ""}}


#: By the names that sources use; the microversions are those of Zed.
SERVICES: Mapping[str, _Service] = {
    "identity": _Service("/identity/v3", "identity", _plain_error),
    "compute": _Service("/compute/v2.1", "compute", _named_error, ("2.1", "2.93")),
    "network": _Service("/network/v2.0", "network", _neutron_error),
    "block-storage": _Service("/volume/v3", "block-storage", _named_error, ("3.0", "3.70")),
}

#: Listings that come whole, whatever `limit` says.
_PAGELESS = frozenset({"nova_services"})
_COMPARED = re.compile(r"(gt|gte|lt|lte|eq):(.+)")


class RecordedCloud:
    """The cloud of a recording at `url`; the one user, `USER`, has `password`.

    `now` is the cloud's clock, `on_log_in` is told of every successful one before it is answered. `recording` is asked
    for after that, so that it may depend on when the first log-in was.
    """

    def __init__(
        self,
        url: str,
        password: str,
        recording: Callable[[], Recording],
        now: Callable[[], datetime],
        on_log_in: Callable[[], None] = lambda: None,
    ) -> None:
        self._url, self._password = url, password
        self._recording, self._now, self._on_log_in = recording, now, on_log_in
        self._tokens: dict[str, datetime] = {}
        self._lock = threading.Lock()
        self._listings = {SERVICES[listing.service].root + listing.path: listing for listing in LISTINGS}

    def log_in(self, body: bytes) -> Answer:
        """``POST /v3/auth/tokens``, by password."""
        try:
            user = json.loads(body)["auth"]["identity"]["password"]["user"]
            given = f"{user['name']}\n{user['password']}"
        except (ValueError, LookupError, TypeError):
            return Answer(400, _plain_error(400, "The request is malformed: log in with a user's name and password."))
        if not hmac.compare_digest(given.encode(), f"{USER}\n{self._password}".encode()):
            return Answer(401, _plain_error(401, "The request you have made requires authentication."))
        self._on_log_in()
        # a token's life is counted by the client's clock, which is not the recorded cloud's
        issued = datetime.now(UTC)
        token, expires = secrets.token_urlsafe(24), issued + TOKEN_LIFE
        with self._lock:
            self._tokens = {known: until for known, until in self._tokens.items() if until > issued}
            self._tokens[token] = expires
        return Answer(201, {"token": self._token(issued, expires)}, {"X-Subject-Token": token})

    def get(self, path: str, query: str, headers: Mapping[str, str]) -> Answer:
        """Any ``GET``; `headers` by their names in lower case."""
        path = path.rstrip("/")
        if path in _DOCUMENTS:
            return Answer(200, _DOCUMENTS[path](self._url))
        with self._lock:
            until = self._tokens.get(headers.get("x-auth-token", ""))
        if until is None or until <= datetime.now(UTC):
            return Answer(401, _plain_error(401, "The request you have made requires authentication."))
        service = next((s for s in SERVICES.values() if path.startswith(s.root + "/")), None)
        if service is None:
            return Answer(404, _plain_error(404, f"There is nothing at {path}."))
        try:
            versions = _microversion(service, headers)
            return Answer(200, self._answered(path, parse_qs(query, keep_blank_values=True)), versions)
        except _Refusal as refusal:
            return Answer(refusal.status, service.error(refusal.status, str(refusal)))

    def _answered(self, path: str, query: Query) -> Any:
        recording, now = self._recording(), self._now()
        compute = SERVICES["compute"].root
        if listing := self._listings.get(path):
            return self._listed(listing, recording.records(listing.name, now), query, path)
        if path == f"{compute}/servers":
            listing = self._listings[f"{compute}/servers/detail"]
            page = self._listed(listing, recording.records(listing.name, now), query, path)
            return page | {"servers": [_only(row, ("id", "name", "links")) for row in page["servers"]]}
        if match := re.fullmatch(rf"{compute}/servers/([^/]+)/os-instance-actions(?:/([^/]+))?", path):
            return self._actions(recording, now, query, *match.groups())
        if path == f"{SERVICES['network'].root}/extensions/provider":
            return {"extension": {"alias": "provider", "name": "Provider Network", "links": [], "updated": None}}
        raise _Refusal(404, f"The resource could not be found: {path} was not recorded.")

    def _listed(self, listing: Listing, rows: list[Record], query: Query, path: str) -> dict[str, Any]:
        match listing.service:
            case "identity":
                return {listing.collection: rows, "links": {"next": None, "previous": None, "self": self._url + path}}
            case "compute":
                rows = _nova_filtered(listing, rows, query)
            case "block-storage":
                rows = _cinder_filtered(rows, query)
            case "network":
                rows = _neutron_filtered(rows, query)
        if listing.name in _PAGELESS:
            return {listing.collection: rows}
        page = _page(rows, query, most=None if listing.service == "network" else MOST_ROWS)
        body: dict[str, Any] = {listing.collection: [_only(row, query.get("fields")) for row in page.rows]}
        if page.marker is not None:
            following = urlencode({**query, "marker": [page.marker]}, doseq=True)
            body[f"{listing.collection}_links"] = [{"rel": "next", "href": f"{self._url}{path}?{following}"}]
        return body

    def _actions(self, recording: Recording, now: datetime, query: Query, server: str, request: str | None) -> Any:
        """A server's actions without their events, or one with them. They outlive their server."""
        actions = [row for row in recording.records(ACTIONS, now) if row["instance_uuid"] == server]
        if request is not None:
            for action in actions:
                if action["request_id"] == request:
                    return {"instanceAction": action}
            raise _Refusal(404, f"Action for request_id {request} on instance {server} not found")
        if not actions:
            raise _Refusal(404, f"Instance {server} could not be found.")
        _known(query, "changes-since", "changes-before")
        actions = _changed_between(actions, query, "updated_at")
        newest_first = sorted(actions, key=lambda row: (row["start_time"], row["request_id"]), reverse=True)
        return {"instanceActions": [{k: v for k, v in row.items() if k != "events"} for row in newest_first]}

    def _token(self, issued: datetime, expires: datetime) -> dict[str, Any]:
        head = self._recording().head
        region = head["region"]
        place = {"interface": "public", "region": region, "region_id": region}
        domain = {"id": "default", "name": DOMAIN}
        return {
            "methods": ["password"],
            "issued_at": issued.isoformat().replace("+00:00", "Z"),
            "expires_at": expires.isoformat().replace("+00:00", "Z"),
            "user": {"id": head["user_id"], "name": USER, "domain": domain, "password_expires_at": None},
            "project": {"id": head["project_id"], "name": PROJECT, "domain": domain},
            "is_domain": False,
            "roles": [{"id": name, "name": name} for name in head["roles"]],
            "catalog": [
                {
                    "id": service.type,
                    "type": service.type,
                    "name": service.type,
                    "endpoints": [{"id": service.type, "url": self._url + service.root, **place}],
                }
                for service in SERVICES.values()
            ],
        }


# Versions ------------------------------------------------------------------------------------------------------------


def _document(service: _Service) -> Callable[[str], dict[str, Any]]:
    least, most = service.versions or ("", "")

    def document(url: str) -> dict[str, Any]:
        version = {
            "id": service.root.rpartition("/")[2],
            "status": "stable" if service.type == "identity" else "CURRENT",
            "links": [{"rel": "self", "href": f"{url}{service.root}/"}],
        }
        return version | ({"min_version": least, "version": most} if most else {})

    return document


def _documents() -> dict[str, Callable[[str], Any]]:
    """Version documents by path: of each service's versioned root, and of the address above it, which lists them."""
    found: dict[str, Callable[[str], Any]] = {}
    for service in SERVICES.values():
        document, is_identity = _document(service), service.type == "identity"
        found[service.root] = lambda url, document=document: {"version": document(url)}
        found[service.root.rpartition("/")[0]] = lambda url, document=document, is_identity=is_identity: {
            "versions": {"values": [document(url)]} if is_identity else [document(url)]
        }
    return found


_DOCUMENTS = _documents()


def _microversion(service: _Service, headers: Mapping[str, str]) -> dict[str, str]:
    """The headers that say which microversion was answered; refuses one that the release does not have."""
    if service.versions is None:
        return {}
    least, most = service.versions
    name, _, asked = headers.get("openstack-api-version", "").partition(" ")
    asked = {"": least, "latest": most}.get(asked, asked)
    if not re.fullmatch(r"\d+\.\d+", asked):
        raise _Refusal(400, f"API Version String {asked} is of invalid format.")
    if not _number(least) <= _number(asked) <= _number(most):
        raise _Refusal(406, f"Version {asked} is not supported by the API. Minimum is {least} and maximum is {most}.")
    return {"OpenStack-API-Version": f"{name or service.type} {asked}", "Vary": "OpenStack-API-Version"}


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


# Filters and pages ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Page:
    rows: list[Record]
    marker: str | None


def _page(rows: list[Record], query: Query, *, most: int | None) -> _Page:
    """The page asked for; a full one names the marker of the next, though that may be empty."""
    limit = most
    if "limit" in query:
        text = query["limit"][-1]
        if not text.isdigit():
            raise _Refusal(400, f"Invalid input for query parameters limit. Value: {text}.")
        limit = min(int(text), most) if most else int(text)
    if "marker" in query:
        marker = query["marker"][-1]
        at = next((i for i, row in enumerate(rows) if _id(row) == marker), None)
        if at is None:
            raise _Refusal(400, f"marker [{marker}] not found")
        rows = rows[at + 1 :]
    page = rows[:limit] if limit else rows
    return _Page(page, _id(page[-1]) if limit and page and len(page) == limit else None)


def _id(row: Record) -> str:
    return str(row["uuid"] if "uuid" in row else row["id"])


def _known(query: Query, *names: str) -> None:
    for name in query:
        if name not in names:
            raise _Refusal(400, f"Additional properties are not allowed ({name!r} was unexpected)")


def _nova_filtered(listing: Listing, rows: list[Record], query: Query) -> list[Record]:
    if listing.name == "nova_services":
        _known(query)
        return rows
    _known(query, "all_tenants", "changes-since", "changes-before", "limit", "marker")
    is_server = listing.name == "nova_servers"
    if is_server and "changes-since" not in query:
        rows = [row for row in rows if row["status"] != "DELETED"]
    rows = _changed_between(rows, query, "updated" if is_server else "updated_at")
    return _newest_first(rows, "created" if is_server else "created_at")


def _changed_between(rows: Iterable[Record], query: Query, field: str) -> list[Record]:
    """Rows whose `field` lies in the span asked for, both ends included; a row without one lies in none."""
    for name, is_inside in (("changes-since", datetime.__ge__), ("changes-before", datetime.__le__)):
        if name in query:
            limit = _instant(query[name][-1])
            rows = [row for row in rows if row[field] is not None and is_inside(_instant(row[field]), limit)]
    return list(rows)


def _cinder_filtered(rows: list[Record], query: Query) -> list[Record]:
    _known(query, "all_tenants", "updated_at", "limit", "marker")
    for asked in query.get("updated_at", []):
        match = _COMPARED.fullmatch(asked)
        if match is None:
            raise _Refusal(400, f"Invalid filter: {asked}")
        compare = getattr(datetime, f"__{match[1].replace('gte', 'ge').replace('lte', 'le')}__")
        limit = _instant(match[2])
        rows = [row for row in rows if row.get("updated_at") and compare(_instant(row["updated_at"]), limit)]
    return _newest_first(rows, "created_at")


def _neutron_filtered(rows: list[Record], query: Query) -> list[Record]:
    for name in query:
        if name not in ("fields", "sort_key", "sort_dir", "limit", "marker"):
            # as Zed has it: filters are validated, and `changed_since` is none of them
            raise _Refusal(400, f"Invalid input for operation: [{name!r}] is invalid attribute for filtering.")
    keys, directions = query.get("sort_key", ["id"]), query.get("sort_dir", [])
    for place, key in reversed(list(enumerate(keys))):
        is_descending = directions[place : place + 1] == ["desc"]
        try:
            rows = sorted(rows, key=lambda row: (row[key] is not None, row[key]), reverse=is_descending)
        except (KeyError, TypeError):
            raise _Refusal(400, f"Invalid input for operation: [{key!r}] is invalid attribute for sorting.") from None
    return rows


def _only(row: Record, names: Iterable[str] | None) -> Record:
    return row if names is None else {name: row[name] for name in names if name in row}


def _newest_first(rows: list[Record], field: str) -> list[Record]:
    return sorted(rows, key=lambda row: (row[field], _id(row)), reverse=True)


def _instant(text: str) -> datetime:
    try:
        instant = datetime.fromisoformat(text)
    except ValueError:
        raise _Refusal(400, f"Invalid input for a time: {text}") from None
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)
