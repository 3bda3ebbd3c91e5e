"""The connection to an OpenStack cloud, and what every source asks of it.

openstacksdk's configuration, authentication, catalogue and session; never its resource proxies, which drop filters they
do not know without a word. Answers are the services' JSON as sent.

Paths are relative to a service's versioned root: ``/projects`` of identity is ``…/v3/projects``, ``/ports`` of network
is ``…/v2.0/ports``, ``/servers/detail`` of compute ``…/v2.1/servers/detail``.

Every failure is a :class:`~timeline_assets.errors.SourceError` with one of `CODES`; no message holds a secret.
"""

from __future__ import annotations

import json
import random
import re
import threading
import time
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import parse_qsl, urlsplit

import openstack.config
import openstack.connection
import openstack.exceptions
import openstack.warnings
import polars as pl
import yaml
from keystoneauth1 import exceptions as ksa
from requests.exceptions import ChunkedEncodingError

from timeline_assets.config import CloudSettings
from timeline_assets.errors import ConfigurationError, SourceError
from timeline_assets.raw.scrub import scrub_text
from timeline_assets.sources.base import Record

#: Every code of a gap that reading a cloud can give, with what to do about it.
CODES: Mapping[str, str] = {
    "unreachable": "Check that the address in clouds.yaml is right and that this machine can reach it.",
    "auth_failed": "Check user, password, project and domains of this cloud in clouds.yaml.",
    "service_missing": "Leave its sources out of the cloud's `sources`, or mend the catalogue (region, interface).",
    "forbidden": "Give the harvesting user a role that this service's policy lets list everything: admin, as a rule.",
    "scope_too_small": "Give the harvesting user the role admin; with less, services show its own project alone.",
    "rate_limited": "Nothing is lost; poll less often (harvest.poll_seconds) or raise the cloud's rate limit.",
    "server_error": "Look at the service's own log under the request id; the window is read again.",
    "timeout": "Raise the cloud's timeout_seconds, or find out what makes the service slow.",
    "malformed_answer": "Look for a proxy or a bug that cuts or rewrites the service's answers.",
    "listing_truncated": "Raise the service's list_limit: it cuts its listings, so nothing proves they are complete.",
    "listing_moved": "The list changed faster than it could be read; the window is read again.",
    "microversion_refused": "This source needs a newer release of the service than the cloud runs.",
    "keyless_answers": "See raw.set_aside for them: something between us and the service changes its answers.",
    "cell_down": "Bring the cell back: until then its servers are missing from every answer.",
}

#: How often one request is tried, and how long one wait may be; a longer Retry-After ends the attempt at once.
ATTEMPTS, TIMEOUT_ATTEMPTS, LONGEST_WAIT_SECONDS = 5, 2, 60.0
#: How often a listing whose marker vanished is begun again.
RESTARTS = 3
#: Records asked for at a time. Services may give fewer (their own maximum), never more.
PAGE_ROWS = 1000

#: Service types by the name sources use, with the version to add to an unversioned address of the catalogue.
_SERVICES = {
    "identity": ("identity", "v3"),
    "compute": ("compute", "v2.1"),
    "network": ("network", "v2.0"),
    "volume": ("block-storage", "v3"),
    "block-storage": ("block-storage", "v3"),
}
_VERSIONED = re.compile(r"/v\d+(\.\d+)?(/|$)")
_RETRIED_STATUS = frozenset({413, 429, 500, 502, 503, 504})
_CODE_OF_STATUS = {
    401: "auth_failed",
    403: "forbidden",
    406: "microversion_refused",
    413: "rate_limited",
    429: "rate_limited",
}
_RETRIED_CODES = frozenset({"unreachable", "timeout", "rate_limited", "server_error", "malformed_answer"})

_AUTH_URL = (
    "Set auth_url in clouds.yaml to the address of Keystone itself, which ends in /v3 as a rule: "
    "https://HOST:5000/v3, or https://HOST/identity/v3."
)
_MISSING = "the catalogue has no such service in this region"

T = TypeVar("T")
Key = Callable[[Mapping[str, Any]], str | None]
CursorAt = Callable[[Mapping[str, Any]], str | None]
#: Takes records and answers that are none, one by one, and `now`.
Spooling = Callable[..., Collection[Record]]


def failure(code: str, message: str, *, remedy: str | None = None) -> SourceError:
    """The error of one of `CODES`, with its remedy; a service's own words in `message` may hold a secret."""
    return SourceError(scrub_text(message), code=code, remedy=remedy or CODES[code])


@dataclass(frozen=True)
class Scope:
    """What the harvesting user's token allows: from the token itself, not from what happened to be listed."""

    user_id: str | None
    project_id: str | None
    roles: frozenset[str]
    is_system: bool

    @property
    def is_admin(self) -> bool:
        """Whether services show all projects to it, as their policies are by default."""
        return "admin" in self.roles

    @property
    def is_system_reader(self) -> bool:
        """Whether the identity service shows everything to it; the other services may show it nothing at all."""
        return self.is_system and bool(self.roles & {"reader", "member", "admin"})


def connect(cloud: CloudSettings, *, config: Mapping[str, Any] | None = None) -> openstack.connection.Connection:
    """A connection as clouds.yaml describes it (or `config`, in the same words); nothing is sent yet.

    Raises :class:`ConfigurationError` where clouds.yaml has no such cloud or describes it incompletely.
    """
    name = cloud.os_cloud or cloud.name
    given: dict[str, Any] = {"region_name": cloud.region} if cloud.region else {}
    try:
        with warnings.catch_warnings():
            # 4.22 warns of its InfluxDB support being deprecated, whether it is configured or not
            warnings.simplefilter("ignore", openstack.warnings.RemovedInSDK60Warning)
            if config is None:
                loader = openstack.config.OpenStackConfig()
                _check_files(loader)
                region = loader.get_one(cloud=name, **given)
            else:
                loader = openstack.config.OpenStackConfig(load_yaml_config=False, load_envvars=False)
                region = loader.get_one(**{**given, **config})
        region.config["api_timeout"] = cloud.timeout_seconds
        return openstack.connection.Connection(config=region)
    except (AttributeError, TypeError, ValueError, KeyError):
        # the SDK looks into what it was given as if it were of the right kind; its words could show what stands there
        raise ConfigurationError(
            f"cloud {cloud.name}: the entry {name!r} of clouds.yaml is not built as one",
            remedy="An entry holds `auth:` with auth_url, username, password, project_name and the domains, all texts.",
        ) from None
    except (openstack.exceptions.ConfigException, ksa.MissingRequiredOptions, ksa.NoMatchingPlugin) as error:
        raise ConfigurationError(
            f"cloud {cloud.name}: clouds.yaml does not describe {name!r} well enough: {_first_line(error)}",
            remedy="See `openstack --os-cloud NAME token issue`; os_cloud in the configuration names the entry to use.",
        ) from None


def _check_files(loader: openstack.config.OpenStackConfig) -> None:
    """Refuse what the SDK passes over in silence: a clouds.yaml that is no YAML, or cannot be read."""
    for path in (*loader._config_files, *loader._secure_files):
        try:
            text = Path(path).read_text()
            yaml.safe_load(text)
            return
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as error:
            said = error.strerror if isinstance(error, OSError) else "it is no text in UTF-8"
            raise ConfigurationError(f"{path} cannot be read: {said}", remedy="Mend or move that file.") from None
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            where = f", line {mark.line + 1}" if mark else ""
            raise ConfigurationError(f"{path}{where}: this is no YAML", remedy="Mend the file there.") from None


def reader(
    connection: openstack.connection.Connection,
    cloud: CloudSettings,
    source: str,
    *,
    cursor: Mapping[str, Any] | None = None,
    latest: Callable[..., pl.DataFrame] | None = None,
    changed: Callable[[str, datetime], pl.DataFrame] | None = None,
    clock: Callable[[], datetime] | None = None,
    spool: Spooling | None = None,
) -> OpenStackReader:
    """A reader for one fetch of one source; `latest` and `changed` are the raw stage's accessors of other sources.

    The cloud's clock is compared with `clock` (default: this machine's). `spool` keeps records while they are read
    (default: they stay in memory).
    """
    given = {"clock": clock} if clock else {}
    given |= {"spool": spool} if spool else {}
    return OpenStackReader(connection, cloud, source, cursor=cursor, latest=latest, changed=changed, **given)


class OpenStackReader:
    """One cloud as one source's `fetch` sees it, for one fetch: :class:`~timeline_assets.sources.base.Reader`.

    `requests` counts what was sent to services (log-ins not included).
    """

    def __init__(
        self,
        connection: openstack.connection.Connection,
        cloud: CloudSettings,
        source: str,
        *,
        cursor: Mapping[str, Any] | None = None,
        latest: Callable[..., pl.DataFrame] | None = None,
        changed: Callable[[str, datetime], pl.DataFrame] | None = None,
        page_rows: int = PAGE_ROWS,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        spool: Spooling | None = None,
    ) -> None:
        self.cloud = cloud.name
        self.source = source
        self.page_rows = page_rows
        self.requests = 0
        self._connection = connection
        self._concurrency = cloud.concurrency
        self._timeout = cloud.timeout_seconds
        self._cursor = dict(cursor or {})
        self._latest, self._changed = latest, changed
        self._sleep, self._clock, self._spool = sleep, clock, spool
        self._lock = threading.Lock()
        self._behind: timedelta | None = None
        self._ahead: timedelta | None = None

    # What was read before -------------------------------------------------------------------------------------------

    def cursor(self) -> Mapping[str, Any]:
        """What the last successful fetch of this source remembered."""
        return self._cursor

    def latest(
        self, source: str, *, after: str | None = None, limit: int | None = None, since: datetime | None = None
    ) -> pl.DataFrame:
        """Latest live records of another source of this cloud by key: `key`, `body`; see the protocol."""
        given = {"after": after, "limit": limit, "since": since}
        narrowed = {name: value for name, value in given.items() if value is not None}
        return self._latest(source, **narrowed) if self._latest else _NOTHING.clone()

    def changed(self, source: str, since: datetime) -> pl.DataFrame:
        """Latest records of another source whose last change was observed at or after `since`: `key`, `body`."""
        return self._changed(source, since) if self._changed else _NOTHING.clone()

    # Time -----------------------------------------------------------------------------------------------------------

    def read_to(self, started: datetime, margin: timedelta = timedelta(seconds=2)) -> datetime:
        """Source time up to which a read begun at `started` (our clock) is good: never beyond the server's own now."""
        return started + min(self._behind or timedelta(0), timedelta(0)) - margin

    @property
    def clock_skew_seconds(self) -> float | None:
        """How far the cloud's clock is ahead of ours (negative: behind); known to about a second, None: unknown."""
        if self._behind is None or self._ahead is None:
            return None
        return ((self._behind + self._ahead) / 2).total_seconds()

    # Scope ----------------------------------------------------------------------------------------------------------

    def scope(self) -> Scope:
        """What the token says; raises ``unreachable`` or ``auth_failed`` where there is none to be had."""
        auth = self._connection.session.auth
        access = self._guarded("the log-in", lambda: auth.get_access(self._connection.session))
        return Scope(
            user_id=access.user_id,
            project_id=access.project_id,
            roles=frozenset(name.lower() for name in access.role_names),
            is_system=bool(access.system_scoped),
        )

    def require_scope(self, *, is_reader_enough: bool = False) -> Scope:
        """The scope, if services show all projects to it; else raises ``scope_too_small`` before anything is asked.

        `is_reader_enough`: a reader of the whole system will do.
        """
        scope = self.scope()
        if scope.is_admin or (is_reader_enough and scope.is_system_reader):
            return scope
        held = ", ".join(sorted(scope.roles)) or "no role at all"
        raise failure("scope_too_small", f"{self.cloud}: the harvesting user holds {held}; it has to be admin")

    # Reading --------------------------------------------------------------------------------------------------------

    def get(
        self,
        service: str,
        path: str,
        params: Mapping[str, Any] | None = None,
        *,
        microversion: str | None = None,
    ) -> Any:
        """One GET: the parsed JSON body; raises :class:`SourceError` with a stable code.

        Answers 429 and 5xx, broken connections, cut bodies and time-outs are tried again with growing, jittered waits;
        a 401 in the middle of a harvest logs in again. `params` with the value None are left out.
        """
        status, body = self._get(service, path, params, microversion)
        if status >= 400:
            raise self._refusal(status, service, path, body)
        return body

    def probe(
        self, service: str, path: str, params: Mapping[str, Any] | None = None, *, microversion: str | None = None
    ) -> Any | None:
        """The same, or None where the service does not know what is asked (400 or 404): to find out what it can do."""
        status, body = self._get(service, path, params, microversion)
        if status in (400, 404):
            return None
        if status >= 400:
            raise self._refusal(status, service, path, body)
        return body

    def pages(
        self,
        service: str,
        path: str,
        collection: str,
        params: Mapping[str, Any] | None = None,
        *,
        microversion: str | None = None,
    ) -> Iterator[list[Any]]:
        """The pages of a listing in the order asked for; stop reading when far enough.

        A marker that vanished begins the listing again, so a record may come twice and none is skipped: store by key.
        Raises ``listing_moved`` after too many such restarts, ``listing_truncated`` where the service cut the list.
        """
        what = f"{self.cloud}: {service} {path}"
        first = {"limit": self.page_rows, **(params or {})}
        asked, seen, restarts = first, set(), 0
        while True:
            status, body = self._get(service, path, asked, microversion)
            if status in (400, 404) and asked is not first:
                restarts += 1
                if restarts > RESTARTS:
                    raise failure("listing_moved", f"{what}: its marker vanished again and again")
                asked, seen = first, set()
                continue
            if status >= 400:
                raise self._refusal(status, service, path, body)
            rows = body.get(collection) if isinstance(body, dict) else None
            if not isinstance(rows, list):
                raise failure("malformed_answer", f"{what}: the answer has no list {collection!r}")
            following = _next_query(body, collection)
            if following is None and body.get("truncated"):
                raise failure("listing_truncated", f"{what}: the service cut its own list")
            yield rows
            if following is None or not rows:
                return
            marker = following.get("marker")
            if marker in seen:  # some listings of Neutron do not refuse a marker that vanished: they begin again
                restarts += 1
                if restarts > RESTARTS:
                    raise failure("listing_moved", f"{what}: its pages lead in a circle")
                seen = set()
            seen.add(marker)
            asked = {**first, **following}

    def rows(self, service: str, path: str, collection: str, params=None, *, microversion=None) -> Iterator[Any]:
        """The records of all pages, one after the other; see :meth:`pages`."""
        for page in self.pages(service, path, collection, params, microversion=microversion):
            yield from page

    def keep(
        self,
        rows: Iterable[Any],
        *,
        key: Key = lambda row: row.get("id"),
        cursor_at: CursorAt | None = None,
    ) -> tuple[Collection[Record], list[tuple[str, str]]]:
        """Rows as records and those that are none, like :func:`records`, but kept outside of memory as they come.

        What is none is kept among the records then, and the list of them is empty.
        """
        if self._spool is None:
            return records(rows, key=key, cursor_at=cursor_at)

        def now() -> datetime:
            return self._clock() + timedelta(seconds=max(self.clock_skew_seconds or 0, 0))

        return self._spool(_each(rows, key, cursor_at), now=now), []

    def many(self, work: Callable[[T], Any], items: list[T]) -> list[Any]:
        """`work` of each item, in order, as many at a time as the cloud's `concurrency` allows; an error ends it."""
        if len(items) < 2 or self._concurrency == 1:
            return [work(item) for item in items]
        with ThreadPoolExecutor(min(self._concurrency, len(items))) as pool:
            return list(pool.map(work, items))

    # Inside ---------------------------------------------------------------------------------------------------------

    def _get(self, service: str, path: str, params: Mapping[str, Any] | None, microversion: str | None):
        """Status and parsed body of one GET, after all that may be tried again was; below 400 the body is JSON."""
        url = self._endpoint(service) + path
        query = {name: value for name, value in (params or {}).items() if value is not None}
        what = f"{service} {path}"
        timeouts = 0
        for attempt in range(1, ATTEMPTS + 1):
            sent = self._clock()
            try:
                response = self._connection.session.get(
                    url,
                    params=query,
                    headers={"Accept": "application/json"},
                    microversion=microversion,
                    endpoint_filter={"service_type": _SERVICES[service][0]} if microversion else None,
                    raise_exc=False,
                    connect_retries=0,
                    timeout=self._timeout,
                )
            except ksa.ClientException as error:
                problem, wait = self._translated(what, error), None
                timeouts += problem.code == "timeout"
                if problem.code not in _RETRIED_CODES or attempt == ATTEMPTS or timeouts >= TIMEOUT_ATTEMPTS:
                    raise problem from None
            else:
                self._count(sent, response)
                if response.status_code in _RETRIED_STATUS:
                    problem = self._refusal(response.status_code, service, path, _json(response))
                    wait = _retry_after(response)
                else:
                    body = _json(response)
                    if response.status_code >= 400 or body is not None:
                        self._check_microversion(what, microversion, response)
                        return response.status_code, body
                    problem = failure("malformed_answer", f"{self.cloud}: {what}: the answer breaks off or is no JSON")
                    wait = None
                if attempt == ATTEMPTS or (wait or 0) > LONGEST_WAIT_SECONDS:
                    raise problem
            backoff = min(0.25 * 2**attempt, 8.0) * random.uniform(0.5, 1.0)
            self._sleep(max(wait or 0.0, backoff))
        raise AssertionError("the last attempt returns or raises")

    def _endpoint(self, service: str) -> str:
        service_type, version = _SERVICES[service]
        config = self._connection.config
        url = config.get_endpoint(service_type) or self._guarded(
            service,
            lambda: self._connection.session.get_endpoint(
                service_type=service_type,
                interface=config.get_interface(service_type),
                region_name=config.get_region_name(service_type),
                skip_discovery=True,
            ),
        )
        if not url:
            raise failure("service_missing", f"{self.cloud}: {service}: {_MISSING}")
        url = url.rstrip("/")
        if service == "identity":
            url = re.sub(r"/v2\.0$", "", url)
        return url if _VERSIONED.search(urlsplit(url).path) else f"{url}/{version}"

    def _guarded(self, what: str, ask: Callable[[], T]) -> T:
        """`ask()`, tried again where that can help; for what keystoneauth sends by itself (log-in, catalogue)."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                self._require_keystone()
                return ask()
            except ksa.ClientException as error:
                problem = self._translated(what, error)
                if attempt == ATTEMPTS or problem.code not in ("rate_limited", "server_error"):
                    raise problem from None
            self._sleep(min(0.25 * 2**attempt, 8.0) * random.uniform(0.5, 1.0))
        raise AssertionError("the last attempt returns or raises")

    def _require_keystone(self) -> None:
        """Before the first log-in: see that auth_url is open to everybody, as Keystone's versions are.

        Where it answers 401, keystoneauth asks again with a token, for which it waits for itself for ever.
        """
        auth = self._connection.session.auth
        url = getattr(auth, "auth_url", None)
        if url is None or auth.auth_ref is not None:
            return
        answer = self._connection.session.get(
            url, authenticated=False, raise_exc=False, connect_retries=0, timeout=self._timeout
        )
        if answer.status_code == HTTPStatus.UNAUTHORIZED:
            raise failure("auth_failed", f"{self.cloud}: no Keystone at {url}, it answers 401", remedy=_AUTH_URL)

    def _count(self, sent: datetime, response) -> None:
        """One more answer: its `Date` lies between sending and receiving on the server's clock, cut to the second."""
        received = self._clock()
        try:
            date = parsedate_to_datetime(response.headers.get("Date", ""))
        except (TypeError, ValueError):
            date = None
        with self._lock:
            self.requests += 1
            if date is None:
                return
            date = date.replace(tzinfo=UTC) if date.tzinfo is None else date
            behind, ahead = date - received, date + timedelta(seconds=1) - sent
            self._behind = behind if self._behind is None else max(behind, self._behind)
            self._ahead = ahead if self._ahead is None else min(ahead, self._ahead)

    def _check_microversion(self, what: str, asked: str | None, response) -> None:
        if asked is None or response.status_code >= 400:
            return
        answered = response.headers.get("OpenStack-API-Version", "").split()
        if not answered or answered[-1] != asked:
            said = answered[-1] if answered else "none"
            raise failure("microversion_refused", f"{self.cloud}: {what}: asked for {asked}, answered {said}")

    def _refusal(self, status: int, service: str, path: str, body: Any) -> SourceError:
        otherwise = "server_error" if status >= 500 else "malformed_answer"
        return failure(_CODE_OF_STATUS.get(status, otherwise), f"{self.cloud}: {service} {path}: {status}{_said(body)}")

    def _translated(self, what: str, error: ksa.ClientException) -> SourceError:
        match error:
            case ksa.ConnectTimeout():
                code, said = "timeout", f"no answer within {self._timeout:g} s"
            case ksa.UnknownConnectionError() if isinstance(error.original, ChunkedEncodingError):
                code, said = "malformed_answer", "the answer breaks off"
            case ksa.DiscoveryFailure():
                return failure("unreachable", f"{self.cloud}: {what}: no Keystone at auth_url", remedy=_AUTH_URL)
            case ksa.ConnectionError():
                code, said = "unreachable", f"the cloud cannot be reached ({type(error).__name__})"
            case ksa.EndpointNotFound() | ksa.EmptyCatalog():
                code, said = "service_missing", _MISSING
            case ksa.HttpError() if error.http_status in (413, 429):
                code, said = "rate_limited", "too many requests"
            case ksa.HttpError() if error.http_status >= 500:
                code, said = "server_error", str(error.http_status)
            case _:
                code, said = "auth_failed", f"refused ({type(error).__name__})"
        return failure(code, f"{self.cloud}: {what}: {said}")


def records(
    rows: Iterable[Any],
    *,
    key: Key = lambda row: row.get("id"),
    cursor_at: CursorAt | None = None,
) -> tuple[list[Record], list[tuple[str, str]]]:
    """Rows of a listing as records, once a key (the last one read stays), and those that are none: (reason, JSON text).

    `cursor_at` gives the text of the time that decides a record's window; one that is missing or no time leaves it to
    the time of observation.
    """
    found: dict[str, Record] = {}
    malformed = []
    for one in _each(rows, key, cursor_at):
        if isinstance(one, Record):
            found[one.key] = one
        else:
            malformed.append(one)
    return list(found.values()), malformed


def _each(rows: Iterable[Any], key: Key, cursor_at: CursorAt | None) -> Iterator[Record | tuple[str, str]]:
    for row in rows:
        try:
            name = key(row)
        except (AttributeError, KeyError, TypeError):
            name = None
        if isinstance(name, str) and name:
            yield Record(name, row, _instant(cursor_at(row)) if cursor_at else None)
        else:
            yield "no id" if isinstance(row, dict) else "no object", json.dumps(row)


def _instant(text: Any) -> datetime | None:
    try:
        instant = datetime.fromisoformat(text)
        return instant.replace(tzinfo=UTC) if instant.tzinfo is None else instant.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return None


_NOTHING = pl.DataFrame(schema={"key": pl.String, "body": pl.String})


def _next_query(body: Mapping[str, Any], collection: str) -> dict[str, str] | None:
    """The query of the next page, as the service's link has it: its host may be one that only the service can reach."""
    links = body.get(f"{collection}_links")
    href = None
    if isinstance(links, list):
        href = next((link.get("href") for link in links if link.get("rel") == "next"), None)
    if href is None and isinstance(body.get("links"), dict):
        href = body["links"].get("next")
    return dict(parse_qsl(urlsplit(href).query, keep_blank_values=True)) if href else None


def _retry_after(response) -> float | None:
    """Seconds to wait as `Retry-After` says it, in seconds or as a date (by the server's own clock)."""
    value = response.headers.get("Retry-After", "").strip()
    if value.isdigit():
        return float(value)
    try:
        wait = parsedate_to_datetime(value) - parsedate_to_datetime(response.headers["Date"])
        return max(wait.total_seconds(), 0.0)
    except (KeyError, TypeError, ValueError):
        return None


def _json(response) -> Any | None:
    try:
        return response.json()
    except ValueError:
        return None


def _said(body: Any) -> str:
    """The service's own words on an error, short: the first ``message`` in it."""
    if isinstance(body, dict):
        for value in body.values():
            message = value.get("message") if isinstance(value, dict) else None
            if isinstance(message, str):
                # cut behind what is taken out: half a secret is not known for one
                return ": " + " ".join(scrub_text(message).split())[:200]
    return ""


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
