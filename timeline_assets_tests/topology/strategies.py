"""Random sets of claims: contradictory, late, repeated, with transfers, renames, deletions and second lives."""

from __future__ import annotations

from hypothesis import strategies as st

from timeline_assets_tests.topology.claims import claim

KINDS = ("server", "volume", "project")
TIMES = range(9)


@st.composite
def claims_about(draw: st.DrawFn, kind: str, key: str) -> list[dict]:
    """Up to twelve claims on a small grid of times, so that instants meet."""
    return draw(st.lists(_claim(kind, key), max_size=12))


@st.composite
def _claim(draw: st.DrawFn, kind: str, key: str) -> dict:
    what = draw(
        st.sampled_from(
            ["created", "seen", "gone", "owner", "owner", "owner_since", "edges", "edge_since", "edge_until"]
        )
    )
    when = draw(st.sampled_from(TIMES))
    since = draw(st.none() | st.integers(0, when))
    columns: dict[str, object] = {"source": draw(st.sampled_from(["listing", "bus"]))}
    if what == "seen":
        columns["name"] = draw(st.sampled_from(["web", "www", None]))
    elif what in ("owner", "owner_since"):
        columns["domain_id" if kind == "project" else "project_id"] = draw(st.sampled_from(["A", "B"]))
    elif what.startswith("edge"):
        columns |= {"relation": draw(st.sampled_from(["device", "on_network"])), "to_type": "thing"}
        columns["to_ids"] = draw(st.lists(st.sampled_from(["x", "y"]), max_size=2, unique=True))
    return claim(kind, key, what, when, since, **columns)


@st.composite
def resources(draw: st.DrawFn) -> list[dict]:
    """Claims about a few resources of different kinds, in any order, some repeated."""
    claims = [each for kind in KINDS for each in draw(claims_about(kind, kind[0]))]
    claims += draw(st.lists(st.sampled_from(claims), max_size=3)) if claims else []
    return draw(st.permutations(claims))


@st.composite
def repetitions(draw: st.DrawFn) -> list[dict]:
    """Claims about one volume that mostly say the same again and again."""
    one = st.builds(
        claim,
        st.just("volume"),
        st.just("v"),
        st.sampled_from(["owner"] * 7 + ["gone"]),
        st.sampled_from(TIMES),
        st.none() | st.just(3),
        project_id=st.sampled_from("AAAAAAB"),
        source=st.sampled_from(["listing", "listing", "bus"]),
    )
    return draw(st.lists(one, min_size=6, max_size=14))
