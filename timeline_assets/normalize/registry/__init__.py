"""The registry of event types: for each its category, visibility, default severity, title, and whose it can be.

One module per service holds the entries; `REGISTRY` is all of them. A type that is not here is not dropped: it becomes
``unmapped.<raw type>`` with severity 0 and is counted by a check.

Titles are templates: ``{name}`` is the resource's name as it was (its id where the name is unknown). Nothing else of a
record enters a title, because titles reach tenants. What was derived from comparing two scans says so at its end.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import polars as pl

from timeline_assets.normalize.schema import FACT

INFERRED = " (seen between two scans)"


@dataclass(frozen=True)
class Step:
    """One step through the topology: along the edges of `relation`, or with `is_back` against them."""

    relation: str
    is_back: bool = False


@dataclass(frozen=True)
class Affects:
    """Whom an event concerns beside its owner: the tenants of what hangs on its target when it happens.

    Each of `ways` is followed from the target; what is reached at any step concerns the tenant that owns it. That
    tenant is told by `title`, a sentence without placeholders, that it happened to a `kind` of thing. With
    `is_for_services` only events of service projects' resources are followed.
    """

    kind: str
    title: str
    ways: tuple[tuple[Step, ...], ...]
    is_for_services: bool = False


@dataclass(frozen=True)
class Handover:
    """An event by which its target changes hands: the change at `path` names the giver (old) and the taker (new).

    Both have a row of their own. `left` is the giver's title, `arrived` the taker's: templates like `title`.
    """

    path: str
    left: str
    arrived: str


@dataclass(frozen=True)
class EventType:
    """One type. `severity` is OCSF's (events.md); `is_provider` types never have a tenant owner of their own.

    `target` says that the event's target is itself a tenant (``project`` or ``domain``) or a ``user`` (filed under the
    user's domain): the only types whose `target_*` columns prove an owner. `affects` and `handover` say which tenants
    have a row beside the owner's.
    """

    name: str
    category: str
    title: str
    severity: int = 1
    visibility: str = "operational"
    is_provider: bool = False
    target: str | None = None
    affects: Affects | None = None
    handover: Handover | None = None


def span(
    name: str, category: str, title: str, failed: str, *, severity: int = 1, affects: Affects | None = None, **more
) -> tuple[EventType, ...]:
    """The types of one span: ``<name>.start`` (running), ``<name>.end``, ``<name>.error`` (severity 4).

    The title of `affects` is the sentence's beginning: what became of it follows.
    """

    def told(what: str) -> Affects | None:
        return affects and replace(affects, title=f"{affects.title} {what}")

    return (
        EventType(
            f"{name}.start", category, f"{title} (running)", severity, affects=told("is being worked on"), **more
        ),
        EventType(f"{name}.end", category, title, severity, affects=told("was worked on"), **more),
        EventType(f"{name}.error", category, failed, 4, affects=told("failed at an operation"), **more),
    )


def _assemble(modules: Iterable[tuple[EventType, ...]]) -> dict[str, EventType]:
    types: dict[str, EventType] = {}
    for entries in modules:
        for entry in entries:
            if entry.name in types:
                raise ValueError(f"event type {entry.name} is registered twice")
            types[entry.name] = entry
    return types


from timeline_assets.normalize.registry import compute, decisions, identity, network, volume  # noqa: E402 - they need EventType

REGISTRY = _assemble((identity.TYPES, compute.TYPES, volume.TYPES, network.TYPES, decisions.TYPES))
#: The service of each type, by the name of its module: ids of requests are a service's own.
SERVICES = {
    entry.name: module.__name__.rpartition(".")[2]
    for module in (identity, compute, volume, network)
    for entry in module.TYPES
}


def registry_frame() -> pl.DataFrame:
    """The registry as a frame: one row a type, columns as :class:`EventType`'s, `name` as ``event_type``."""
    return pl.DataFrame(
        [(t.name, t.category, t.visibility, t.severity, t.title, t.is_provider, t.target) for t in REGISTRY.values()],
        schema={
            "event_type": pl.String,
            "category": pl.String,
            "visibility": pl.String,
            "default_severity": pl.Int16,
            "template": pl.String,
            "is_provider": pl.Boolean,
            "target": pl.String,
        },
        orient="row",
    )


def describe(facts: pl.LazyFrame) -> pl.LazyFrame:
    """Facts with the registry's columns: `category`, `visibility`, `severity`, `title`, `is_provider`, `target`.

    An unregistered type becomes ``unmapped.<type>``, severity 0, visible to the provider only (it may hold anything).
    """
    is_known = pl.col("category").is_not_null()
    described = facts.join(registry_frame().lazy(), on="event_type", how="left", maintain_order="left").with_columns(
        event_type=pl.when(is_known).then("event_type").otherwise(pl.lit("unmapped.") + pl.col("event_type")),
        category=pl.col("category").fill_null("provider"),
        visibility=pl.col("visibility").fill_null("system"),
        severity=pl.when(is_known).then(pl.coalesce("severity", "default_severity")).otherwise(pl.lit(0, pl.Int16)),
        title=pl.coalesce(
            "title",
            titled(pl.col("template")),
            pl.lit("Unknown event ") + pl.col("event_type"),
        ),
        is_provider=pl.col("is_provider").fill_null(False),
    )
    return described.select(*FACT.names(), "category", "visibility", "is_provider", "target")


def titled(template: pl.Expr) -> pl.Expr:
    """A template filled in: with the resource's name, and with how it is known."""
    name = pl.coalesce("resource_name", "resource_id")
    inferred = pl.when(pl.col("time_precision") == "interval").then(pl.lit(INFERRED)).otherwise(pl.lit(""))
    return template.str.replace("{name}", name, literal=True) + inferred
