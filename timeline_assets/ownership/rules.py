"""Whose event is it: one rule, one function, one line in `RULES`.

A rule is handed the events that no earlier rule decided, and the topology as it was when each happened. It returns a
frame of :data:`VERDICT` for those it can decide and says nothing about the others. No rule reads an actor column: who
did it never decides whose it is (``test_no_rule_reads_an_actor`` holds them to it).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import polars as pl

from timeline_assets.ownership.topology import Topology

#: What a rule says of one event; `row` is the event's number in the frame it was handed. `scope` is project, domain or
#: provider; `path` and `evidence` are JSON text; `reason` one sentence for a person.
VERDICT = pl.Schema(
    {
        "row": pl.UInt32,
        "scope": pl.String,
        "project_id": pl.String,
        "domain_id": pl.String,
        "rule": pl.String,
        "confidence": pl.String,
        "path": pl.String,
        "evidence": pl.String,
        "reason": pl.String,
    }
)

#: What of an event a rule may read.
READABLE = (
    "row",
    "cloud",
    "event_type",
    "is_provider",
    "target",
    "resource_type",
    "resource_id",
    "occurred_at",
    "occurred_from",
    "occurred_to",
    "payload_project_id",
    "payload_domain_id",
    "target_project_id",
    "target_domain_id",
)

Rule = Callable[[pl.DataFrame, Topology], pl.DataFrame]


def provider_type(events: pl.DataFrame, topology: Topology) -> pl.DataFrame:
    """The type is about the provider's own: a service, agent, hypervisor, aggregate, flavor, pool."""
    return _verdicts(
        events.filter("is_provider"),
        scope=pl.lit("provider"),
        confidence=pl.lit("certain"),
        evidence=_evidence(event_type="event_type"),
        reason=pl.format("{} is an event of the provider's own", "event_type"),
    )


def target_is_tenant(events: pl.DataFrame, topology: Topology) -> pl.DataFrame:
    """The target is itself a project or a domain, or a user (filed under the user's domain; unknown: the provider)."""
    targets = events.filter(pl.col("target").is_not_null())
    home = topology.home_of_users(targets.filter(pl.col("target") == "user"))
    targets = targets.join(home, on="row", how="left").with_columns(
        target_domain_id=pl.coalesce("target_domain_id", "home_domain_id")
    )
    is_service = topology.is_service_project("target_project_id")
    has_project = pl.col("target_project_id").is_not_null() & ~is_service
    has_domain = pl.col("target_domain_id").is_not_null() & pl.col("target_project_id").is_null()
    return _verdicts(
        targets,
        scope=pl.when(has_project)
        .then(pl.lit("project"))
        .when(has_domain)
        .then(pl.lit("domain"))
        .otherwise(pl.lit("provider")),
        project=pl.when(has_project).then("target_project_id"),
        domain=pl.when(has_domain).then("target_domain_id"),
        confidence=pl.lit("certain"),
        evidence=_evidence(target_project_id="target_project_id", target_domain_id="target_domain_id"),
        reason=pl.when(has_project)
        .then(pl.lit("the target is the project itself"))
        .when(has_domain)
        .then(pl.lit("the target is the domain, or a user of it"))
        .when(is_service)
        .then(pl.lit("the target is a service project, which is never a tenant"))
        .otherwise(pl.lit("the target names no project and no domain")),
    )


def payload_owner(events: pl.DataFrame, topology: Topology) -> pl.DataFrame:
    """The record itself names the owner of its resource, at the event's time."""
    named = events.filter(pl.col("payload_project_id").fill_null("") != "")
    is_service = topology.is_service_project("payload_project_id")
    return _verdicts(
        named,
        scope=pl.when(is_service).then(pl.lit("provider")).otherwise(pl.lit("project")),
        project=pl.when(~is_service).then("payload_project_id"),
        confidence=pl.lit("certain"),
        evidence=_evidence(payload_project_id="payload_project_id"),
        reason=pl.when(is_service)
        .then(pl.lit("the record names a service project as owner, which is never a tenant"))
        .otherwise(pl.lit("the record itself names the resource's owner")),
    )


def resource_interval(events: pl.DataFrame, topology: Topology) -> pl.DataFrame:
    """The resource's ownership interval that was valid at the event's time."""
    owned = events.join(topology.owners(events), on="row", how="inner").filter(pl.col("owner_project_id").is_not_null())
    is_service = topology.is_service_project("owner_project_id")
    return _verdicts(
        owned,
        scope=pl.when(is_service).then(pl.lit("provider")).otherwise(pl.lit("project")),
        project=pl.when(~is_service).then("owner_project_id"),
        confidence=pl.when("is_exact").then(pl.lit("high")).otherwise(pl.lit("medium")),
        path=_path_of_one(),
        evidence=_evidence(raw_ref="owner_raw_ref"),
        reason=pl.when(is_service)
        .then(pl.lit("the resource belonged to a service project, which is never a tenant"))
        .otherwise(pl.format("the {} was owned by this project when it happened", "resource_type")),
    )


def containment(events: pl.DataFrame, topology: Topology) -> pl.DataFrame:
    """What the resource hung on at that time: at most three steps, exactly one distinct owner."""
    found = topology.containers(events, steps=3)
    reached = events.join(found, on="row", how="inner")
    is_service = topology.is_service_project("owner_project_id")
    return _verdicts(
        reached,
        scope=pl.when(is_service).then(pl.lit("provider")).otherwise(pl.lit("project")),
        project=pl.when(~is_service).then("owner_project_id"),
        confidence=pl.when("is_exact").then(pl.lit("high")).otherwise(pl.lit("medium")),
        path=pl.col("path"),
        evidence=_evidence(raw_ref="owner_raw_ref"),
        reason=pl.format("the {} hung on something of this project's when it happened", "resource_type"),
    )


#: In order: the first rule that yields one owner on valid evidence wins and is named on the attribution.
RULES: tuple[Rule, ...] = (provider_type, target_is_tenant, payload_owner, resource_interval, containment)


@dataclass(frozen=True)
class Decision:
    """All verdicts of one frame of events, and for the undecided the reason code, a sentence and the candidates."""

    verdicts: pl.DataFrame
    undecided: pl.DataFrame


def decide(events: pl.DataFrame, topology: Topology) -> Decision:
    """Applies `RULES` in order. Every row of `events` is in exactly one of the two frames of the answer."""
    open_events = events.select(READABLE)
    decided = []
    for rule in RULES:
        if open_events.is_empty():
            break
        verdicts = rule(open_events, topology).with_columns(rule=pl.lit(rule.__name__)).match_to_schema(VERDICT)
        decided.append(verdicts)
        open_events = open_events.join(verdicts, on="row", how="anti", maintain_order="left")
    verdicts = pl.concat(decided) if decided else pl.DataFrame(schema=VERDICT)
    return Decision(verdicts, topology.why_not(open_events))


def _verdicts(
    events: pl.DataFrame,
    *,
    scope: pl.Expr,
    confidence: pl.Expr,
    evidence: pl.Expr,
    reason: pl.Expr,
    project: pl.Expr | None = None,
    domain: pl.Expr | None = None,
    path: pl.Expr | None = None,
) -> pl.DataFrame:
    nothing = pl.lit(None, pl.String)
    return events.select(
        "row",
        scope=scope,
        project_id=nothing if project is None else project,
        domain_id=nothing if domain is None else domain,
        rule=nothing,
        confidence=confidence,
        path=pl.lit("[]") if path is None else path,
        evidence=evidence,
        reason=reason,
    )


def _evidence(**columns: str) -> pl.Expr:
    return pl.struct(**{name: pl.col(column) for name, column in columns.items()}).struct.json_encode()


def _path_of_one() -> pl.Expr:
    step = pl.struct(
        type="resource_type", id="resource_id", relation=pl.lit("owned"), valid_from="owner_from", valid_to="owner_to"
    ).struct.json_encode()
    return pl.concat_str(pl.lit("["), step, pl.lit("]"))
