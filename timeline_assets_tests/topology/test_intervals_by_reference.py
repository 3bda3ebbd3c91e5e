"""The windowed expressions against the same rules written down instant by instant, on random sets of claims."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from timeline_assets.topology.intervals import believe
from timeline_assets_tests.topology.claims import at, frame
from timeline_assets_tests.topology.strategies import KINDS, TIMES, claims_about

#: Between the instants at which anything is claimed: there no rule says what happens on a boundary.
BETWEEN = [at(time + 0.5) for time in range(-1, len(TIMES))]
OBSERVED = ("seen", "owner", "edges")


@dataclass
class Life:
    start: datetime | None
    end: datetime | None
    claims: list[dict]

    def holds(self, instant: datetime) -> bool:
        return (self.start is None or self.start <= instant) and (self.end is None or instant <= self.end)


def lives(claims: list[dict]) -> Iterator[Life]:
    """The claims of existence cut by ``gone``."""
    line = sorted(
        (each for each in claims if each["claim"] not in ("edge_since", "edge_until")),
        key=lambda each: (each["at"], each["claim"] == "gone"),
    )
    groups: list[list[dict]] = []
    for before, each in pairwise([None, *line]):
        if before is None or (before["claim"] == "gone" and each["claim"] != "gone"):
            groups.append([])
        groups[-1].append(each)
    for number, group in enumerate(groups):
        ends = [each for each in group if each["claim"] == "gone"]
        dated = [each["at"] for each in ends if each["at"] == each["at_from"]]
        there = [each["at"] for each in group if each["claim"] != "gone"]
        is_always = number == 0 and group[0]["resource_type"] == "project"
        if there or is_always:
            yield Life(
                None if is_always else min(there),
                min(dated or [each["at"] for each in ends], default=None),
                [each for each in group if each["claim"] != "gone"],
            )


def last_scan_before(each: dict, claims: list[dict]) -> datetime | None:
    """The claim's `at_from`, if its source had observed the resource by then."""
    known = [c["at"] for c in claims if c["claim"] in OBSERVED and c["source"] == each["source"]]
    since = each["at_from"]
    return since if since and since < each["at"] and known and min(known) <= since else None


def owner_at(claims: list[dict], instant: datetime, *, can_move: bool) -> str | None:
    """Whose it was at an instant between all claims."""
    named = {owner for each in claims if (owner := each["project_id"] or each["domain_id"])}
    life = next((life for life in lives(claims) if life.holds(instant)), None)
    if life is None:
        return None
    said: dict[datetime, list[dict]] = {}
    for each in life.claims:
        if each["claim"] in ("owner", "owner_since"):
            said.setdefault(each["at"], []).append(each)
    if not said:
        return min(named) if len(named) == 1 and not can_move else None
    steps = []
    is_settled, before = True, None
    for when, each_said in sorted(said.items()):
        owners = {each["project_id"] or each["domain_id"] for each in each_said}
        dated = {each["project_id"] or each["domain_id"] for each in each_said if each["claim"] == "owner_since"}
        if can_move and len(dated) == 1:
            owners = dated
        owner = min(owners) if len(owners) == 1 else None
        is_dated = bool(dated) and owner is not None
        if not can_move:
            if owner is None or (steps and owner != before and not is_dated):
                is_settled = False
            elif is_dated:
                is_settled = True
        before = owner
        since = max((low for each in each_said if (low := last_scan_before(each, claims))), default=None)
        steps.append((when, owner if is_settled else None, is_dated, since))
    past = [step for step in steps if step[0] < instant]
    future = [step for step in steps if step[0] > instant]
    if not past:
        return None if can_move else steps[0][1]
    when, owner, _, _ = past[-1]
    if owner is None or not future:
        return owner
    _, follower, is_dated, since = future[0]
    if follower == owner or (follower is not None and is_dated) or (since and instant <= since):
        return owner
    return None


def edges_at(claims: list[dict], instant: datetime) -> set[tuple[str, str]]:
    """The edges that may have been there at an instant between all claims: the last sign before it says so."""
    there = set()
    ends = [life.end for life in lives(claims) if life.end]
    for relation in ("device", "on_network"):
        about = [each for each in claims if each["relation"] == relation]
        for target in ("x", "y"):
            signs = [(end, 4, False) for end in ends]
            for each in about:
                is_named = target in each["to_ids"]
                if each["claim"] == "edge_since" and is_named:
                    signs.append((each["at"], 3, True))
                elif each["claim"] == "edge_until" and is_named:
                    signs.append((each["at"], 1, False))
                elif each["claim"] == "edges":
                    together = [c for c in about if c["claim"] == "edges" and c["at"] == each["at"]]
                    is_there = any(target in c["to_ids"] for c in together)
                    signs.append((each["at"], 0 if is_there else 2, is_there))
            past = [sign for sign in signs if sign[0] < instant]
            if past and max(past)[2]:
                there.add((relation, target))
    return there


def holding(rows: pl.DataFrame, instant: datetime) -> list[dict]:
    return [
        row
        for row in rows.rows(named=True)
        if (row["valid_from"] is None or row["valid_from"] <= instant)
        and (row["valid_to"] is None or row["valid_to"] >= instant)
    ]


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_owners_lives_and_edges_are_those_of_the_rules(data: st.DataObject) -> None:
    kind = data.draw(st.sampled_from(KINDS))
    claims = data.draw(claims_about(kind, "k"))
    belief = believe(frame(claims))
    for instant in BETWEEN:
        owned = [row["project_id"] or row["domain_id"] for row in holding(belief.ownership, instant)]
        expected = owner_at(claims, instant, can_move=kind == "volume")
        assert owned == ([expected] if expected else [])
        assert len(holding(belief.resources, instant)) == any(life.holds(instant) for life in lives(claims))
        assert len(owned) + len(holding(belief.conflicts, instant)) <= 1
        edges = [(row["relation"], row["to_id"]) for row in holding(belief.edges, instant)]
        assert sorted(edges) == sorted(edges_at(claims, instant))
    for rows in (belief.resources, belief.ownership, belief.edges):
        low, high = pl.col("valid_to_from"), pl.col("valid_to")
        assert rows.filter((low > high) | (low < pl.col("valid_from")) | (low.is_null() != high.is_null())).is_empty()
