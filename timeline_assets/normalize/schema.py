"""The frames that flow between the stages: observations, facts, evidence.

All times are ``Datetime("us", "UTC")``. JSON is carried as canonical text and becomes ``jsonb`` only at the database.
"""

from __future__ import annotations

import polars as pl

INSTANT = pl.Datetime("us", "UTC")

#: A record as observed, beside the version observed before it: the row of a raw attempt.
#: `op` is ``seen`` or ``gone``. `body` is the scrubbed canonical JSON (for ``gone``: the last one seen). `previous` is
#: the version observed before (null: never seen before). `seen_from` is the last complete scan before this one
#: (snapshot and read-in-full sources), or the previous version's `observed_at` otherwise; null when there was none:
#: what changed, changed in (seen_from, observed_at]. For ``gone``: `seen_from` is the last complete scan that still
#: had the key, `observed_at` the first that had not. `cursor_at` decides the window. `raw_ref` is ``<path>#<row>`` of
#: the attempt.
OBSERVATION = pl.Schema(
    {
        "cloud": pl.String,
        "source": pl.String,
        "key": pl.String,
        "op": pl.String,
        "cursor_at": INSTANT,
        "observed_at": INSTANT,
        "seen_from": INSTANT,
        "body": pl.String,
        "previous": pl.String,
        "sha256": pl.String,
        "raw_ref": pl.String,
    }
)

#: One thing that happened, seen on one road, before anybody knows whose it is.
#: (`source`, `source_key`, `source_version`) is the fact's identity, not the road's (`normalize/identity.py`);
#: (`road_source`, `road_key`) the witness. `payload_project_id` / `payload_domain_id` are filled only where this record
#: proves the owner *at the event's time*; `target_*` only where the target is itself a project or domain (or the domain
#: of the user for a user's events). `request_path` is the path of the request as sent (CADF's `requestPath`). `named_*`
#: is what the record names without giving its id: a `named_type` (project, user, server) called `named_name`, in
#: `named_domain` (id or name) where it says so; `named_type` and `named_name` come together or not at all. `related` is
#: ``[{"type","id","role"}]``, `changes` ``[{"path","old","new"}]``, JSON text or null. `severity` overrides the
#: registry's default where the record itself says so. `title` is null where the registry's template does
#: (`normalize/registry.py`); placeholders there are columns of this frame.
FACT = pl.Schema(
    {
        "event_id": pl.String,
        "cloud": pl.String,
        "region": pl.String,
        "source": pl.String,
        "source_key": pl.String,
        "source_version": pl.String,
        "road_source": pl.String,
        "road_key": pl.String,
        "event_type": pl.String,
        "severity": pl.Int16,
        "source_severity": pl.String,
        "outcome": pl.String,
        "phase": pl.String,
        "occurred_at": INSTANT,
        "occurred_from": INSTANT,
        "occurred_to": INSTANT,
        "time_precision": pl.String,
        "ended_at": INSTANT,
        "observed_at": INSTANT,
        "resource_type": pl.String,
        "resource_id": pl.String,
        "resource_name": pl.String,
        "related": pl.String,
        "changes": pl.String,
        "payload_project_id": pl.String,
        "payload_domain_id": pl.String,
        "target_project_id": pl.String,
        "target_domain_id": pl.String,
        "request_path": pl.String,
        "named_type": pl.String,
        "named_name": pl.String,
        "named_domain": pl.String,
        "actor_user_id": pl.String,
        "actor_project_id": pl.String,
        "actor_domain_id": pl.String,
        "actor_kind": pl.String,
        "on_behalf_of_user_id": pl.String,
        "on_behalf_of_project_id": pl.String,
        "actor_address": pl.String,
        "request_id": pl.String,
        "global_request_id": pl.String,
        "host": pl.String,
        "availability_zone": pl.String,
        "title": pl.String,
        "message": pl.String,
        "raw_ref": pl.String,
        "raw_sha256": pl.String,
        "normalizer_version": pl.String,
    }
)

#: One claim about the topology; the set of all claims about a resource decides its intervals, in whatever order they
#: came. `claim` is one of
#:
#: ========= ============================================================================================
#: created   the resource exists since `at` (dated by its service); `at_from` = `at`
#: seen      the resource existed at `at`, under `name` (null: unknown)
#: gone      the resource ceased to exist in (`at_from`, `at`] (equal: exact, dated by its service)
#: owner     `project_id` / `domain_id` owned it at `at`
#: owner_since  the same, and from `at` on (dated: `created_at` of kinds that cannot change hands, or a dated record)
#: edges     at `at`, its edges of `relation` led to exactly `to_ids` of `to_type` (an empty list: to none)
#: edge_since / edge_until  one dated edge began / ended at `at`
#: ========= ============================================================================================
#:
#: On ``seen``, ``owner`` and ``edges`` `at_from` is when the version before was last seen to be so (null: there was
#: none): what changed, changed in (`at_from`, `at`]. `raw_ref` is the evidence. A domain is owned by itself; a project
#: and a user by their domain (`domain_id`).
EVIDENCE = pl.Schema(
    {
        "cloud": pl.String,
        "resource_type": pl.String,
        "resource_id": pl.String,
        "claim": pl.String,
        "at_from": INSTANT,
        "at": INSTANT,
        "name": pl.String,
        "project_id": pl.String,
        "domain_id": pl.String,
        "relation": pl.String,
        "to_type": pl.String,
        "to_ids": pl.List(pl.String),
        "source": pl.String,
        "raw_ref": pl.String,
    }
)

#: Kinds of resource that can change hands: their owner holds from the first evidence on, never before it.
TRANSFERABLE = frozenset({"volume", "snapshot", "image", "zone"})
