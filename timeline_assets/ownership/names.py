"""What a record names without an id: who was called so, and whether one project provably was throughout.

A name proves an owner only together with its domain, and only where scans before and after the event show the same
project under it: Keystone allows a name once in a domain.
"""

from __future__ import annotations

from datetime import datetime

import polars as pl
import psycopg

from timeline_assets.ownership import decisions
from timeline_assets.topology import lookup

#: The sources whose complete scans show who has a name.
SCANS = {"project": "keystone_projects", "domain": "keystone_domains"}


def projects_named(connection: psycopg.Connection, cloud: str, events: pl.DataFrame, pin: datetime) -> pl.DataFrame:
    """The projects that provably had an event's `named_name` in its `named_domain` throughout its bounds.

    `row`, `found_project_id`: none, one, or several where the domain's name is another's id.
    """
    named = events.filter((pl.col("named_type") == "project") & pl.col("named_domain").is_not_null())
    if named.is_empty():
        return pl.DataFrame(schema={"row": pl.UInt32, "found_project_id": pl.String})
    projects = _held(connection, cloud, named.with_columns(name="named_name"), "project", pin)
    domains = _held(connection, cloud, named.with_columns(name="named_domain"), "domain", pin)
    meant = pl.concat(
        [named.select("row", domain_id="named_domain"), domains.select("row", domain_id="resource_id")]
    ).unique()
    keys = projects.select(
        pl.int_range(pl.len(), dtype=pl.UInt32).alias("row"),
        pl.lit(cloud).alias("cloud"),
        pl.lit("project").alias("resource_type"),
        "resource_id",
        at_from="occurred_from",
        at_to="occurred_to",
    )
    homes = lookup.owners_at(connection, keys, pin).filter(pl.col("status") == "owned")
    return (
        projects.with_columns(_key=pl.int_range(pl.len(), dtype=pl.UInt32))
        .join(homes.select("domain_id", _key="row"), on="_key")
        .join(meant, on=["row", "domain_id"])
        .select("row", found_project_id="resource_id")
        .unique()
    )


def called(connection: psycopg.Connection, cloud: str, events: pl.DataFrame, pin: datetime) -> pl.DataFrame:
    """Everything that ever had an event's `named_name`: `row`, `candidates` (JSON text, ``[{"type","id"}]``)."""
    named = events.select("row", resource_type="named_type", name="named_name")
    known = lookup.called(connection, cloud, named, pin)
    item = pl.struct(type="resource_type", id="resource_id").struct.json_encode()
    return (
        named.join(known, on=["resource_type", "name"])
        .group_by("row")
        .agg(candidates=pl.concat_str(pl.lit("["), item.unique().sort().str.join(","), pl.lit("]")))
    )


def awaited(connection: psycopg.Connection, cloud: str, rows: pl.DataFrame) -> pl.DataFrame:
    """What would tell more about the names of decided events: `row` and `resource_id` as in ``timeline.awaits``.

    Whoever gets or loses the name; and, where no scan after the event is known yet, the next one.
    """
    is_open = pl.col("rule").is_in(["qualified_name", "name", "none", decisions.RULE])
    waiting = rows.filter(is_open & pl.col("named_name").is_not_null())
    in_domain = waiting.filter((pl.col("named_type") == "project") & pl.col("named_domain").is_not_null())
    keys = [
        waiting.select("row", resource_id=pl.format("name:{}/{}", "named_type", "named_name")),
        in_domain.select("row", resource_id=pl.format("name:domain/{}", "named_domain")),
    ]
    if not in_domain.is_empty():
        for source in SCANS.values():
            until = lookup.scanned_until(connection, cloud, source)
            is_before = pl.lit(until is None) | (pl.col("occurred_to") > pl.lit(until, rows.schema["occurred_to"]))
            keys.append(in_domain.filter(is_before).select("row", resource_id=pl.lit(f"scan:{source}")))
    return pl.concat(keys)


def _held(connection: psycopg.Connection, cloud: str, events: pl.DataFrame, kind: str, pin: datetime) -> pl.DataFrame:
    """Events (with `name`) beside each resource of a kind that provably had the name throughout their bounds."""
    until = lookup.scanned_until(connection, cloud, SCANS[kind])
    known = lookup.called(connection, cloud, events.select("name", resource_type=pl.lit(kind)), pin)
    proven_to = pl.when(pl.col("valid_to").is_null()).then(pl.lit(until)).otherwise("valid_to_from")
    return (
        events.select("row", "name", "occurred_from", "occurred_to")
        .join(known, on="name")
        .filter((pl.col("valid_from") <= pl.col("occurred_from")) & (pl.col("occurred_to") <= proven_to))
    )
