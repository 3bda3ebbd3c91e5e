"""The configuration: one optional TOML file and a few environment variables, read here and nowhere else.

Nothing needs configuring before the first success. Environment: ``TIMELINE_CONFIG`` (the file; default
``timeline.toml`` in the working directory, if it is there), ``TIMELINE_HOME`` (state; default ``.timeline`` beside the
project), ``TIMELINE_DATABASE_URL``, ``TIMELINE_DAGSTER_DATABASE_URL``, ``OS_CLOUD`` (the one cloud, where the file
names none), ``TIMELINE_DEMO`` (the recorded cloud, whatever is configured). A variable wins over the file.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError

from timeline_assets.errors import ConfigurationError

PROJECT = Path(__file__).resolve().parent.parent
DEMO = "demo"
#: What Dagster takes for parts of asset keys, pools and tags.
_NAME = re.compile(r"[A-Za-z0-9_]{1,63}")


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError(
            "use up to 63 of the letters a to z, digits and underscores: the name becomes part of asset keys"
        )
    return value


Name = Annotated[str, AfterValidator(_name)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class CloudSettings(_Model):
    """One cloud. `os_cloud` is its name in clouds.yaml (default: the same name)."""

    name: Name
    os_cloud: str | None = Field(None, description="Its entry in clouds.yaml; default: the section's own name")
    region: str | None = Field(None, description="The region to read; default: the one clouds.yaml names")
    sources: tuple[str, ...] | None = Field(None, description="Names of the sources to harvest; default: all")
    service_projects: tuple[str, ...] = Field(
        ("service",), description="Projects of services, by id or by name in the service domain"
    )
    service_role: str = Field(
        "service", description="The role of services: a project all of whose members hold it is a service project, too"
    )
    service_domain: str = Field("default", description="Id of the domain in which service projects and users are named")
    service_users: tuple[str, ...] = Field(
        (
            "nova",
            "placement",
            "glance",
            "cinder",
            "neutron",
            "heat",
            "aodh",
            "masakari",
            "octavia",
            "designate",
            "mistral",
        ),
        description="Users that act for services, by id or by name in the service domain",
    )
    volume_transfers: bool = Field(
        True, description="False: this cloud's policy forbids transfers, so a volume's first owner is its only one"
    )
    concurrency: int = Field(4, ge=1, le=64, description="Requests to this cloud at a time")
    timeout_seconds: float = Field(30, gt=0, description="How long to wait for one answer")

    @property
    def is_demo(self) -> bool:
        return self.name == DEMO


class HarvestSettings(_Model):
    """How windows are read."""

    start: datetime | None = Field(
        None, description="First hour that can be harvested; default: 30 days before the first start"
    )
    overlap_seconds: int = Field(300, ge=0, description="How far before a window reading begins: what arrived late")
    slack_seconds: int = Field(30, ge=0, description="How far beyond a window's ends reading goes: clocks that differ")
    margin_seconds: int = Field(2, ge=0, description="Read up to so much before the cloud's own now")
    settle_seconds: int | None = Field(
        None, ge=0, description="When a closed hour is read again; default: each source's own"
    )
    poll_seconds: float | None = Field(
        None, gt=0, description="How often the open hour is read; default: each source's own"
    )
    chunk_rows: int = Field(100_000, ge=1000, description="Records handled at a time: bounds memory")


class RetentionSettings(_Model):
    """How long things are kept."""

    timeline_days: int = Field(400, ge=1, description="Events, by whole months")
    raw_extra_days: int = Field(30, ge=0, description="Raw records live this much longer than the timeline")
    dagster_event_log_days: int = Field(14, ge=1, description="Dagster's own log of finished runs")


class StoreSettings(_Model):
    """Where raw files lie: a folder, or any object store that Polars reads (``s3://…``, ``gs://…``, ``az://…``)."""

    raw_url: str | None = Field(
        None, description="A folder, or s3://…, gs://…, az://…; default: raw in the state folder"
    )
    storage_options: dict[str, SecretStr] = Field({}, description="What the object store needs: credentials, endpoint")


class WebSettings(_Model):
    """Where Dagster's web server listens."""

    host: str = Field(
        "127.0.0.1", description="Dagster's pages have no log-in: beyond loopback put a proxy before them"
    )
    port: int = Field(3000, ge=0, le=65535, description="Or the next free one; 0: any")


class Settings(_Model):
    """Everything a run needs to know; frozen. See :func:`load`."""

    state_dir: Path = Field(description="Database, raw records, logs, secrets; default: .timeline beside the project")
    database_url: str | None = Field(
        None, repr=False, description="PostgreSQL 15 or newer; default: one of our own in the state folder"
    )
    dagster_database_url: str | None = Field(
        None, repr=False, description="Where Dagster keeps its runs; default: beside the timeline"
    )
    clouds: tuple[CloudSettings, ...]
    harvest: HarvestSettings = HarvestSettings()
    retention: RetentionSettings = RetentionSettings()
    store: StoreSettings = StoreSettings()
    web: WebSettings = WebSettings()

    def cloud(self, name: str) -> CloudSettings:
        """The cloud of that name; :class:`ConfigurationError` names those there are."""
        for cloud in self.clouds:
            if cloud.name == name:
                return cloud
        known = ", ".join(cloud.name for cloud in self.clouds)
        raise ConfigurationError(f"there is no cloud {name!r}", remedy=f"Configured clouds: {known}.")

    @property
    def is_demo(self) -> bool:
        """Whether there is only the recorded cloud."""
        return all(cloud.is_demo for cloud in self.clouds)

    @property
    def raw_url(self) -> str:
        """Root of the raw store; the recorded cloud's lies in a folder of its own below the configured one."""
        if self.store.raw_url is None:
            return str(self.state_dir / "raw")
        return f"{self.store.raw_url.rstrip('/')}/{DEMO}" if self.is_demo else self.store.raw_url

    def first_window(self) -> datetime:
        """Start of the partitions: the configured one, else the one remembered at the first start."""
        if self.harvest.start is not None:
            return _hour(self.harvest.start)
        memory = self.state_dir / "first_window"
        if memory.exists():
            try:
                return _hour(datetime.fromisoformat(memory.read_text().strip()))
            except (ValueError, OverflowError, OSError):
                raise ConfigurationError(
                    f"{memory} does not hold the hour at which the timeline begins",
                    remedy="Write that hour into it, as 2026-11-22T10:00:00+00:00, or set harvest.start; without the "
                    "file the timeline begins 30 days before now.",
                ) from None
        first = _hour(datetime.now(UTC) - timedelta(days=30))
        self.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        replace_file(memory, first.isoformat())
        return first


def replace_file(path: Path, text: str) -> None:
    """Write a small file in one step: after a crash it holds the old text or the new one, and never a part."""
    half = path.with_name(f"{path.name}.{os.getpid()}.new")
    try:
        with half.open("w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _hour(instant: datetime) -> datetime:
    if instant.tzinfo is None:
        instant = instant.replace(tzinfo=UTC)
    return instant.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def load(*, demo: bool = False, environ: dict[str, str] | None = None) -> Settings:
    """The configuration as file and environment give it; `demo` replaces the clouds by the recorded one.

    The recorded cloud's state lies in a folder of its own, `demo` in the state folder, so that a real cloud configured
    later begins with nothing of it. Raises :class:`ConfigurationError` that names the file, the place in it and the
    remedy.
    """
    env = dict(os.environ) if environ is None else environ
    given = env.get("TIMELINE_CONFIG")
    path = Path(given) if given else Path("timeline.toml")
    data = _read(path, must_exist=bool(given))
    clouds = data.pop("clouds", None)
    if clouds is not None and not isinstance(clouds, dict):
        raise ConfigurationError(f"{path}: clouds is no table", remedy="Write one [clouds.NAME] section per cloud.")
    for name, body in (clouds or {}).items():
        if not isinstance(body, dict):
            raise ConfigurationError(
                f"{path}: clouds.{name} is no table", remedy=f"Write a section of its own: [clouds.{name}]."
            )
    listed = [{"name": name, **body} for name, body in (clouds or {}).items()]
    if demo or env.get("TIMELINE_DEMO"):
        listed = [{"name": DEMO}]
    elif not listed and env.get("OS_CLOUD"):
        os_cloud = env["OS_CLOUD"]
        name = re.sub(r"[^A-Za-z0-9_]", "_", os_cloud)[:63]
        listed = [{"name": name, "os_cloud": os_cloud}]
    elif not listed:
        listed = [{"name": DEMO}]
    variables = {
        "state_dir": Path(env["TIMELINE_HOME"]).absolute() if env.get("TIMELINE_HOME") else None,
        "database_url": env.get("TIMELINE_DATABASE_URL"),
        "dagster_database_url": env.get("TIMELINE_DAGSTER_DATABASE_URL"),
    }
    data = {"state_dir": PROJECT / ".timeline", **data, **{name: value for name, value in variables.items() if value}}
    try:
        settings = Settings(**{**data, "clouds": tuple(listed)})
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        raise ConfigurationError(
            f"{path}: {'; '.join(_said(one, listed) for one in found)}",
            remedy="See docs/configuration.md for every key and its default.",
        ) from None
    state = path.absolute().parent / settings.state_dir
    return settings.model_copy(update={"state_dir": state / DEMO if settings.is_demo else state})


def _said(error: Mapping[str, Any], clouds: list[dict]) -> str:
    """One mistake of the file: where, what, and what a key that there is not may have been meant to be."""
    *before, last = _places(error["loc"], clouds)
    if error["type"] != "extra_forbidden":
        return f"{'.'.join([*before, last])}: {error['msg']}"
    known = {name for model in _Model.__subclasses__() for name in model.model_fields}
    alike = get_close_matches(last, known, n=1)
    return f"there is no key {'.'.join([*before, last])}" + (f", did you mean {alike[0]}?" if alike else "")


def _places(found: tuple[int | str, ...], clouds: list[dict]) -> list[str]:
    """Where in the file, in its own words: a cloud by its name."""
    match found:
        case ("clouds", int(number), *rest):
            return ["clouds", clouds[number]["name"], *map(str, rest)]
    return [str(part) for part in found]


def inherited(settings: Settings, **more: str) -> dict[str, str]:
    """The environment for a process that we start: it loads the same settings, and finds `more`."""
    return {**os.environ, **({"TIMELINE_DEMO": "1"} if settings.is_demo else {}), **more}


def _read(path: Path, *, must_exist: bool) -> dict:
    if not path.exists():
        if must_exist:
            raise ConfigurationError(f"the configuration file {path} does not exist", remedy="Check TIMELINE_CONFIG.")
        return {}
    try:
        return tomllib.loads(path.read_text())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not valid TOML: {error}", remedy="Mend the file at that line.") from None
    except OSError as error:
        raise ConfigurationError(
            f"the configuration file {path} cannot be read: {error.strerror}",
            remedy="Check TIMELINE_CONFIG: it names one readable file.",
        ) from None
