"""Whose event is it: one rule, one function, one line in `RULES`.

A rule is handed the events that no earlier rule decided, and the topology as it was when each happened. It returns a
frame of :data:`VERDICT` for those it can decide and says nothing about the others. It may also find that nobody can
say: then the verdict is `quarantine` with the reason's code, and no later rule is asked. No rule reads an actor column:
who did it never decides whose it is (``test_no_rule_reads_an_actor`` holds them to it).

The first five rules go by evidence about the resource itself; only what they decide (`certain` or `high`) may be lent
to other events of the same request. The rules after them conclude from something beside the resource. They are not
asked where the evidence about the resource contradicts itself: a conclusion does not settle that.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import polars as pl

from timeline_assets.ownership import decisions
from timeline_assets.ownership.topology import Topology

#: What a rule says of one event; `row` is the event's number in the frame it was handed. `scope` is project, domain,
#: provider or quarantine; `path` and `evidence` are JSON text; `reason` one sentence for a person. In quarantine,
#: `quarantine_reason` is the code, and `candidates` (JSON text) whom or what it might concern. `withheld_project_id` is
#: the project that the rule led to where that is no owner: a service's, or one that two domains claim.
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
        "quarantine_reason": pl.String,
        "candidates": pl.String,
        "withheld_project_id": pl.String,
    }
)

#: What of an event a rule may read.
READABLE = (
    "row",
    "event_id",
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
    "request_id",
    "global_request_id",
    "request_path",
    "named_type",
    "named_name",
    "named_domain",
)

Rule = Callable[[pl.DataFrame, Topology], pl.DataFrame]


def provider_type(events: pl.DataFrame, topology: Topology) -> pl.DataFrame:
    """The type is about the provider's own: a service, agent, hypervisor, aggregate, flavor, pool."""
    return _verdicts(
        events.filter("is_provider"),
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
        project=pl.col("target_project_id"),
        domain=pl.when(has_domain).then("target_domain_id"),
        is_service=is_service,
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
    """The record itself names the owner of its resource, at the event's time.

    It wins over what the topology holds, which will learn of it. But where the topology only knows that the resource
    changed hands about then, and the record names neither of the two, nobody can say.
    """
    named = events.filter(pl.col("payload_project_id").fill_null("") != "")
    named = named.join(topology.handovers(named), on="row", how="left", maintain_order="left")
    party = pl.struct(type=pl.lit("project"), id="payload_project_id").struct.json_encode()
    is_stranger = ~pl.col("parties").str.contains(party, literal=True).fill_null(True)
    is_service = topology.is_service_project("payload_project_id")
    return _verdicts(
        named,
        project=pl.col("payload_project_id"),
        is_service=is_service,
        confidence=pl.lit("certain"),
        evidence=_evidence(payload_project_id="payload_project_id"),
        reason=pl.when(is_stranger)
        .then(pl.lit("the record names an owner, but the resource was changing hands between two others"))
        .when(is_service)
        .then(pl.lit("the record names a service project as owner, which is never a tenant"))
        .otherwise(pl.lit("the record itself names the resource's owner")),
        quarantine=pl.when(is_stranger).then(pl.lit("INTERVAL_OVERLAP")),
        candidates=pl.concat_str(pl.col("parties").str.strip_suffix("]"), pl.lit(","), party, pl.lit("]")),
    )


def resource_interval(events: pl.DataFrame, topology: Topology) -> pl.DataFrame:
    """The resource's ownership interval that was valid at the event's time."""
    owned = events.join(topology.owners(events), on="row", how="inner").filter(pl.col("owner_project_id").is_not_null())
    is_service = topology.is_service_project("owner_project_id")
    return _verdicts(
        owned,
        project=pl.col("owner_project_id"),
        is_service=is_service,
        confidence=pl.when("is_exact").then(pl.lit("high")).otherwise(pl.lit("medium")),
        path=_path_of_one(),
        evidence=_evidence(raw_ref="owner_raw_ref"),
        reason=pl.when(is_service)
        .then(pl.lit("the resource belonged to a service project, which is never a tenant"))
        .otherwise(pl.format("the {} was owned by this project when it happened", "resource_type")),
    )


def containment(events: pl.DataFrame, topology: Topology) -> pl.DataFrame:
    """What the resource hung on at that time: at most three steps, exactly one distinct owner."""
    found = topology.containers(events)
    reached = events.join(found, on="row", how="inner")
    is_service = topology.is_service_project("owner_project_id")
    return _verdicts(
        reached,
        project=pl.col("owner_project_id"),
        is_service=is_service,
        confidence=pl.when("is_exact").then(pl.lit("high")).otherwise(pl.lit("medium")),
        path=pl.col("path"),
        evidence=_evidence(raw_ref="owner_raw_ref"),
        reason=pl.format("the {} hung on something of this project's when it happened", "resource_type"),
    )


def request_sibling(events: pl.DataFrame, topology: Topology) -> pl.DataFrame:
    """Another event of the same request (by its global id, or by its id within one service) whose owner is proven.

    Siblings of several owners decide nothing: a request may touch several tenants' resources, and no sibling says which
    of them this one is about.
    """
    siblings = topology.siblings(_undisputed(events, topology))
    is_sole = pl.struct("scope", "project_id", "domain_id").n_unique().over("row") == 1
    told = siblings.filter(is_sole & (pl.col("scope") == "project")).unique("row", maintain_order=True)
    return _verdicts(
        events.join(told.select("row", "project_id"), on="row"),
        project=pl.col("project_id"),
        confidence=pl.lit("medium"),
        evidence=_evidence(request_id="request_id", global_request_id="global_request_id"),
        reason=pl.lit("every other event of the same request whose owner is proven is this project's"),
    )


def request_path(events: pl.DataFrame, topology: Topology) -> pl.DataFrame:
    """A resource that the request's path names by its id, and whose it was when it happened.

    A path often names the caller's project, too: a project or user there is no resource of anybody's and decides
    nothing. Resources of several owners, or one that was changing hands, decide nothing either.
    """
    found = events.join(topology.named_in_path(_undisputed(events, topology)), on="row")
    is_service = topology.is_service_project("owner_project_id")
    return _verdicts(
        found,
        project=pl.col("owner_project_id"),
        is_service=is_service,
        confidence=pl.lit("medium"),
        path=pl.col("path"),
        evidence=_evidence(request_path="request_path"),
        reason=pl.when(is_service)
        .then(pl.lit("the request's path names a resource of a service project, which is never a tenant"))
        .otherwise(pl.lit("the request's path names a resource that was owned by this project when it happened")),
    )


def qualified_name(events: pl.DataFrame, topology: Topology) -> pl.DataFrame:
    """The record names a project and its domain, and one project was called so in that domain throughout.

    Scans on both sides of the event have to show it; within a domain Keystone allows a name once.
    """
    named = topology.projects_named(_undisputed(events, topology))
    sole = named.filter(pl.len().over("row") == 1)
    is_service = topology.is_service_project("found_project_id")
    return _verdicts(
        events.join(sole, on="row"),
        project=pl.col("found_project_id"),
        is_service=is_service,
        confidence=pl.lit("medium"),
        evidence=_evidence(named_domain="named_domain", named_name="named_name"),
        reason=pl.when(is_service)
        .then(pl.lit("the name is a service project's, which is never a tenant"))
        .otherwise(pl.lit("this project alone had the name in its domain, before the event and after it")),
    )


def name(events: pl.DataFrame, topology: Topology) -> pl.DataFrame:
    """The record gives only a name. That never proves an owner, not even where one thing alone is called so today."""
    named = _undisputed(events, topology).filter(pl.col("named_name").is_not_null())
    known = topology.called(named)
    return _verdicts(
        named.join(known, on="row", how="left", maintain_order="left"),
        evidence=_evidence(named_type="named_type", named_domain="named_domain", named_name="named_name"),
        reason=pl.format("the record only names a {}, and a name proves nothing", "named_type"),
        quarantine=pl.lit("AMBIGUOUS_NAME"),
        candidates=pl.col("candidates").fill_null("[]"),
    )


#: In order: the first rule that yields one owner on valid evidence wins and is named on the attribution.
RULES: tuple[Rule, ...] = (
    provider_type,
    target_is_tenant,
    payload_owner,
    resource_interval,
    containment,
    request_sibling,
    request_path,
    qualified_name,
    name,
)


def decide(events: pl.DataFrame, topology: Topology) -> pl.DataFrame:
    """Applies `RULES` in order: one row of :data:`VERDICT` for every event.

    What no rule decides is in quarantine under the rule ``none``, with what the topology says of why. An owner about
    which the claims contradict each other (a project that seems to have moved to another domain) is no owner until that
    is settled: its events are in quarantine, under the rule that led to it.
    """
    open_events = events.select(READABLE)
    decided = [pl.DataFrame(schema=VERDICT)]
    for rule in RULES:
        if open_events.is_empty():
            break
        known = replace(topology, decided=pl.concat(decided))
        verdicts = rule(open_events, known).with_columns(rule=pl.lit(rule.__name__)).match_to_schema(VERDICT)
        decided.append(verdicts)
        open_events = open_events.join(verdicts, on="row", how="anti", maintain_order="left")
    undecided = _verdicts(
        open_events.join(topology.why_not(open_events), on="row", how="left", maintain_order="left"),
        evidence=pl.lit("{}"),
        reason=pl.col("why_not"),
        quarantine=pl.col("code"),
        candidates=pl.col("candidates"),
    ).with_columns(rule=pl.lit("none"))
    verdicts = _unless_disputed(pl.concat([*decided, undecided.match_to_schema(VERDICT)]), events, topology)
    return operator_decision(verdicts, events, topology)


def operator_decision(verdicts: pl.DataFrame, events: pl.DataFrame, topology: Topology) -> pl.DataFrame:
    """The verdicts, with those in quarantine about which a person has decided: after every rule, against none."""
    waiting = verdicts.filter(scope="quarantine").join(events.select("row", "event_id"), on="row")
    said = waiting.join(topology.decisions_about(waiting["event_id"]), on="event_id", suffix="_decided")
    if said.is_empty():
        return verdicts
    released = _verdicts(
        said,
        project=pl.col("project_id_decided"),
        confidence=pl.lit("medium"),
        evidence=_evidence(decided_by="decided_by", why="why", decided_at="decided_at", decision="decision_event_id"),
        reason=pl.format("released by hand by {}: {}", "decided_by", "why"),
    ).with_columns(said["withheld_project_id"], rule=pl.lit(decisions.RULE))
    rest = verdicts.join(released, on="row", how="anti", maintain_order="left")
    return pl.concat([rest, released.match_to_schema(VERDICT)])


def _unless_disputed(verdicts: pl.DataFrame, events: pl.DataFrame, topology: Topology) -> pl.DataFrame:
    """The verdicts, with those in quarantine whose project is itself claimed by several domains at that time."""
    disputes = topology.disputed_projects(verdicts.join(events.select("row", "occurred_from", "occurred_to"), on="row"))
    if disputes.is_empty():
        return verdicts
    withheld = verdicts.join(disputes, on="row").with_columns(
        scope=pl.lit("quarantine"),
        withheld_project_id="project_id",
        project_id=pl.lit(None, pl.String),
        domain_id=pl.lit(None, pl.String),
        confidence=pl.lit("none"),
        quarantine_reason=pl.lit("CONFLICT"),
        candidates=pl.col("claimed_by"),
        reason=pl.lit("its project seems to have moved to another domain, which is not possible: not confirmed yet"),
    )
    rest = verdicts.join(disputes, on="row", how="anti")
    return pl.concat([rest, withheld.select(VERDICT.names())])


def _undisputed(events: pl.DataFrame, topology: Topology) -> pl.DataFrame:
    """Events about whose resource the evidence at their time does not contradict itself."""
    return events.join(topology.disputed(events), on="row", how="anti", maintain_order="left")


def _verdicts(
    events: pl.DataFrame,
    *,
    evidence: pl.Expr,
    reason: pl.Expr,
    confidence: pl.Expr | None = None,
    project: pl.Expr | None = None,
    domain: pl.Expr | None = None,
    is_service: pl.Expr | None = None,
    path: pl.Expr | None = None,
    quarantine: pl.Expr | None = None,
    candidates: pl.Expr | None = None,
) -> pl.DataFrame:
    """Verdicts of these columns: quarantine where that has a code, else the project's, the domain's, or the provider's.

    A project that `is_service` is no owner: what is its is the provider's.
    """
    nothing = pl.lit(None, pl.String)
    code = nothing if quarantine is None else quarantine
    is_open = code.is_not_null()
    named = nothing if project is None else project
    services = pl.lit(False) if is_service is None else is_service
    owner = pl.when(~is_open & ~services).then(named)
    home = pl.when(~is_open).then(nothing if domain is None else domain)
    return events.select(
        "row",
        scope=pl.when(is_open)
        .then(pl.lit("quarantine"))
        .when(owner.is_not_null())
        .then(pl.lit("project"))
        .when(home.is_not_null())
        .then(pl.lit("domain"))
        .otherwise(pl.lit("provider")),
        project_id=owner,
        domain_id=home,
        rule=nothing,
        confidence=pl.when(is_open).then(pl.lit("none")).otherwise(nothing if confidence is None else confidence),
        path=pl.lit("[]") if path is None else path,
        evidence=evidence,
        reason=reason,
        quarantine_reason=code,
        candidates=pl.when(is_open).then(nothing if candidates is None else candidates),
        withheld_project_id=pl.when(services).then(named),
    )


def _evidence(**columns: str) -> pl.Expr:
    return pl.struct(**{name: pl.col(column) for name, column in columns.items()}).struct.json_encode()


def _path_of_one() -> pl.Expr:
    step = pl.struct(
        type="resource_type", id="resource_id", relation=pl.lit("owned"), valid_from="owner_from", valid_to="owner_to"
    ).struct.json_encode()
    return pl.concat_str(pl.lit("["), step, pl.lit("]"))
