"""The answer is a function of what is known, not of the order in which it came: every rule at once, shuffled."""

from __future__ import annotations

import random

import polars as pl
import pytest

from timeline_assets.normalize.schema import INSTANT
from timeline_assets.ownership import services
from timeline_assets_tests.making import CLOUD, at, claims, facts

REBOOT = {"event_type": "compute.instance.reboot.end", "resource_type": "server"}
FAILED = {"event_type": "volume.error", "resource_type": "volume"}
AUDIT = {"event_type": "audit", "resource_type": "api"}
S1 = "0d2c5b2e-6a0f-4f6e-9a52-2f8e1f0c1a01"
S2 = "0d2c5b2e-6a0f-4f6e-9a52-2f8e1f0c1a02"


def server(name: str, owner: str) -> dict:
    return {"resource_id": name, "claim": "owner_since", "project_id": owner, "minute": -60}


def project(name: str, minute: float, *, called: str, home: str = "D1", since: float | None = None) -> list[dict]:
    known = {"resource_type": "project", "resource_id": name, "minute": minute, "source": "keystone_projects"}
    at_from = None if since is None else at(since)
    return [
        known | {"claim": "owner", "domain_id": home, "at_from": at_from},
        known | {"claim": "seen", "name": called, "at_from": at_from},
    ]


def assignment(key: str, role: str, holder: str, on: str) -> list[dict]:
    held = {"resource_type": "role_assignment", "resource_id": key, "minute": -60, "source": "keystone"}
    return [
        held | {"claim": "seen", "name": role},
        held | {"claim": "edges", "relation": "held_by", "to_type": "user", "to_ids": [holder]},
        held | {"claim": "edges", "relation": "held_on", "to_type": "project", "to_ids": [on]},
    ]


LEARNT = [
    project("A", -60, called="web"),
    project("B", -60, called="shop"),
    project("C", -60, called="web", home="D2"),
    project("S", -60, called="robots"),
    project("M", -60, called="mover"),
    project("M", 30, called="mover", home="D2", since=25),
    assignment("k1", "service", "heat", "S"),
    [server("s1", "A")],
    [server("s2", "B")],
    [server("s3", "S")],
    [server("s4", "M")],
    [server(S1, "A")],
    [server(S2, "B")],
    [{"resource_type": "volume", "resource_id": "v", "claim": "owner", "project_id": "A", "minute": -50}],
    [{"resource_type": "volume", "resource_id": "v", "claim": "owner", "project_id": "A", "minute": 10}],
    [{"resource_type": "volume", "resource_id": "v", "claim": "owner", "project_id": "B", "minute": 20}],
    [{"resource_type": "router", "resource_id": "r", "claim": "owner_since", "project_id": "A", "minute": -60}],
    [{"resource_type": "port", "resource_id": "p", "claim": "edge_since", "relation": "device", "to_type": "router",
      "to_ids": ["r"], "minute": -60}],
]  # fmt: skip
TOLD = [
    {**REBOOT, "resource_id": "s1", "minute": 1, "global_request_id": "g1", "request_id": "r1"},
    {**FAILED, "resource_id": "of-g1", "minute": 1, "global_request_id": "g1"},
    {**REBOOT, "resource_id": "of-r1", "minute": 1, "request_id": "r1"},
    {**REBOOT, "resource_id": "s1", "minute": 2, "global_request_id": "g2"},
    {**REBOOT, "resource_id": "s2", "minute": 2, "global_request_id": "g2"},
    {**FAILED, "resource_id": "of-g2", "minute": 2, "global_request_id": "g2"},
    {**REBOOT, "resource_id": "s3", "minute": 3, "global_request_id": "g3"},
    {**FAILED, "resource_id": "of-g3", "minute": 3, "global_request_id": "g3"},
    {**AUDIT, "resource_id": "path-1", "minute": 4, "request_path": f"/servers/{S1}"},
    {**AUDIT, "resource_id": "path-2", "minute": 4, "request_path": f"/servers/{S1}/to/{S2}"},
    {**AUDIT, "resource_id": "name-1", "minute": 5, "named_type": "project", "named_name": "web"},
    {**AUDIT, "resource_id": "name-2", "minute": 5, "named_type": "project", "named_name": "web",
     "named_domain": "D2"},
    {**FAILED, "resource_id": "v", "minute": 5},
    {**FAILED, "resource_id": "v", "minute": 15},
    {**FAILED, "resource_id": "v", "minute": 16, "payload_project_id": "C"},
    {**FAILED, "resource_id": "v", "minute": 17, "payload_project_id": "A"},
    {**FAILED, "resource_id": "v", "minute": 20},
    {**REBOOT, "resource_id": "s4", "minute": 20},
    {**REBOOT, "resource_id": "s4", "minute": 40},
    {"event_type": "port.update.end", "resource_type": "port", "resource_id": "p", "minute": 6},
    {"event_type": "identity.authenticate", "resource_type": "user", "resource_id": "u", "minute": 7},
]  # fmt: skip

EXPECTED = [
    ("name-1", 5, "quarantine", None, "name", "AMBIGUOUS_NAME", ["A", "C"]),
    ("name-2", 5, "project", "C", "qualified_name", None, None),
    ("of-g1", 1, "project", "A", "request_sibling", None, None),
    ("of-g2", 2, "quarantine", None, "none", "NO_EVIDENCE", []),
    ("of-g3", 3, "quarantine", None, "none", "NO_EVIDENCE", []),
    ("of-r1", 1, "project", "A", "request_sibling", None, None),
    ("p", 6, "project", "A", "containment", None, None),
    ("path-1", 4, "project", "A", "request_path", None, None),
    ("path-2", 4, "quarantine", None, "none", "NO_EVIDENCE", []),
    ("s1", 1, "project", "A", "resource_interval", None, None),
    ("s1", 2, "project", "A", "resource_interval", None, None),
    ("s2", 2, "project", "B", "resource_interval", None, None),
    ("s3", 3, "provider", None, "resource_interval", None, None),
    ("s4", 20, "project", "M", "resource_interval", None, None),
    ("s4", 40, "quarantine", None, "resource_interval", "CONFLICT", ["D1", "D2"]),
    ("u", 7, "domain", None, "target_is_tenant", None, None),
    ("v", 5, "project", "A", "resource_interval", None, None),
    ("v", 15, "quarantine", None, "none", "INTERVAL_OVERLAP", ["A", "B"]),
    ("v", 16, "quarantine", None, "payload_owner", "INTERVAL_OVERLAP", ["A", "B", "C"]),
    ("v", 17, "project", "A", "payload_owner", None, None),
    ("v", 20, "project", "B", "resource_interval", None, None),
]


def scan(pipeline) -> None:
    with pipeline.connect() as connection:
        for source in ("keystone_projects", "keystone_domains"):
            connection.execute(
                "insert into raw.scans (cloud, source, last_complete_from) values (%s, %s, %s)", (CLOUD, source, at(60))
            )


@pytest.mark.parametrize("seed", range(8))
def test_in_whatever_order_and_portions_it_comes_the_answer_is_the_same(pipeline, learn, happen, rows, seed):
    user = {"resource_type": "user", "resource_id": "u", "claim": "owner", "domain_id": "D1", "minute": 50}
    steps = [lambda told=told: learn(claims(*told)) for told in [*LEARNT, [user]]]
    numbered = [fact | {"source_key": str(number)} for number, fact in enumerate(TOLD)]
    shuffled = random.Random(seed)
    shuffled.shuffle(numbered)
    while numbered:
        size = shuffled.randint(1, 5)
        steps.append(lambda part=numbered[:size]: happen(facts(*part)))
        numbered = numbered[size:]
    steps.append(lambda: scan(pipeline))
    if seed:
        shuffled.shuffle(steps)
    for step in steps:
        step()
    happen()
    assert _answers(rows) == EXPECTED
    owned = [(row[0], row[1]) for row in EXPECTED if row[2] in ("project", "domain")]
    assert [(r["resource_id"], r["minute"]) for r in rows(_TENANTS)] == owned
    assert happen().reopened == 0, "nothing is left to do"


_MINUTE = "(extract(epoch from e.occurred_at - '2026-11-22T12:00Z') / 60)::int as minute"
_ANSWERS = f"""select resource_id, {_MINUTE}, owner_scope, owner_project_id, rule, q.reason,
        (select array_agg(c->>'id' order by c->>'id') from jsonb_array_elements(q.candidates) c) as candidates
    from timeline.events e join timeline.event_keys k using (event_id)
    left join timeline.quarantine q on q.event_id = e.event_id and q.resolved_at is null order by 1, 2"""
_TENANTS = f"""select resource_id, {_MINUTE} from timeline.tenant_events e where relation = 'owner' order by 1, 2"""


def _answers(rows) -> list[tuple]:
    found = [tuple(row.values()) for row in rows(_ANSWERS)]
    return [(*row[:6], row[6] if row[5] is None else row[6] or []) for row in found]


# ------------------------------------------------------------------------------------- periods of service projects


@pytest.mark.parametrize("seed", range(50))
def test_periods_of_services_are_what_the_members_say_minute_by_minute(seed):
    """Against the same rule written down instant by instant: who is a member then, and are all of them services?"""
    dice = random.Random(seed)
    members = []
    for _ in range(dice.randint(1, 6)):
        start = dice.randint(0, 8)
        end = dice.choice([None, dice.randint(start + 1, 10)])
        members.append(("P", dice.choice("xyz"), dice.random() < 0.6, start, end))
    schema = {
        "project_id": pl.String,
        "holder": pl.String,
        "is_service": pl.Boolean,
        "valid_from": INSTANT,
        "valid_to": INSTANT,
    }
    told_of = [(p, h, s, at(a), None if b is None else at(b)) for p, h, s, a, b in members]
    found = services.of_members(pl.DataFrame(told_of, schema=schema, orient="row"))

    def expected(minute: float) -> bool:
        known = [t for t in range(11) if _held(members, t)]
        asked = max([t for t in known if t <= minute], default=known[0])
        held = _held(members, asked)
        return all(any(s for h, s in held if h == holder) for holder, _ in held)

    def told(minute: float) -> bool:
        return any(
            (start is None or start <= at(minute)) and (end is None or at(minute) < end)
            for _, start, end in found.iter_rows()
        )

    minutes = [m - 0.5 for m in range(13)]
    assert [told(m) for m in minutes] == [expected(m) for m in minutes]


def _held(members: list[tuple], minute: float) -> list[tuple[str, bool]]:
    return [(h, s) for _, h, s, start, end in members if start <= minute and (end is None or minute < end)]
