"""From claims to intervals: one test a rule, exact rows, times in minutes after noon."""

from __future__ import annotations

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from timeline_assets.normalize.schema import EVIDENCE
from timeline_assets.topology.intervals import CONFLICTS, EDGES, OWNERSHIP, RESOURCES, believe
from timeline_assets_tests.topology.claims import claim, frame, minutes

OWNER = ("project_id", "valid_from", "valid_to", "valid_to_from", "is_exact", "ending")
NAME = ("name", "valid_from", "valid_to", "valid_to_from")
EDGE = ("to_id", "valid_from", "valid_to", "valid_to_from", "ending")


def owners(*claims: dict, columns: tuple[str, ...] = OWNER, **options: object) -> list[tuple]:
    return minutes(believe(frame(claims), **options).ownership, *columns)


def names(*claims: dict) -> list[tuple]:
    return minutes(believe(frame(claims)).resources, *NAME)


def edges(*claims: dict) -> list[tuple]:
    return minutes(believe(frame(claims)).edges, *EDGE)


def conflicts(*claims: dict) -> list[tuple]:
    return minutes(believe(frame(claims)).conflicts, "project_ids", "domain_ids", "valid_from", "valid_to")


def server(what: str, when: float, since: float | None = None, **columns: object) -> dict:
    return claim("server", "s", what, when, since, **columns)


def volume(what: str, when: float, since: float | None = None, **columns: object) -> dict:
    return claim("volume", "v", what, when, since, **columns)


def port(what: str, when: float, since: float | None = None, *to: str, relation: str = "device") -> dict:
    return claim("port", "p", what, when, since, relation=relation, to_type="server", to_ids=list(to))


def test_nothing_claimed_nothing_believed() -> None:
    belief = believe(pl.DataFrame(schema=EVIDENCE))
    assert [rows.schema for rows in belief] == [RESOURCES, OWNERSHIP, CONFLICTS, EDGES]
    assert [rows.height for rows in belief] == [0, 0, 0, 0]


# whose it was


def test_a_kind_that_cannot_change_hands_is_owned_from_its_creation_however_late_it_is_seen() -> None:
    seen_late = (server("created", 0), server("seen", 90, name="web"), server("owner_since", 0, project_id="A"))
    assert owners(*seen_late) == [("A", 0, None, None, True, None)]


def test_its_owner_holds_from_its_creation_also_where_only_the_creation_is_dated() -> None:
    assert owners(server("created", 0), server("owner", 90, project_id="A")) == [("A", 0, None, None, True, None)]


def test_without_a_date_it_is_owned_from_the_first_claim_about_it() -> None:
    assert owners(server("seen", 3, name="web"), server("owner", 5, project_id="A")) == [
        ("A", 3, None, None, False, None)
    ]


def test_a_kind_that_can_change_hands_is_never_owned_before_the_first_evidence() -> None:
    claims = (volume("created", 0), volume("seen", 3, name="disk"), volume("owner", 5, project_id="A"))
    assert owners(*claims) == [("A", 5, None, None, False, None)]


def test_unless_a_date_says_so() -> None:
    assert owners(volume("created", 0), volume("owner_since", 2, project_id="A")) == [("A", 2, None, None, True, None)]


def test_a_cloud_that_forbids_transfers_has_volumes_that_cannot_change_hands() -> None:
    claims = (volume("created", 0), volume("owner", 5, project_id="A"))
    assert owners(*claims, transferable={"image"}) == [("A", 0, None, None, True, None)]


@pytest.mark.parametrize(("kind", "identity"), [("project", "p"), ("domain", "d")])
def test_projects_and_domains_are_from_the_beginning_and_their_names_from_the_first_scan(
    kind: str, identity: str
) -> None:
    belief = believe(
        frame([claim(kind, identity, "seen", 5, name="production"), claim(kind, identity, "owner", 5, domain_id="d")])
    )
    assert minutes(belief.ownership, "project_id", "domain_id", "valid_from", "valid_to", "is_exact") == [
        (None, "d", None, None, True)
    ]
    assert minutes(belief.resources, *NAME) == [(None, None, 5, 5), ("production", 5, None, None)]


def test_equal_claims_in_a_row_are_one_interval() -> None:
    claims = [volume("owner", when, project_id="A") for when in (5, 1, 3)]
    assert owners(*claims) == [("A", 1, None, None, False, None)]


def test_between_the_last_claim_of_one_and_the_first_of_another_it_is_nobodys() -> None:
    claims = [
        volume("owner", 1, project_id="A"),
        volume("owner", 3, project_id="A"),
        volume("owner", 7, project_id="B"),
    ]
    assert owners(*claims) == [("A", 1, 3, 3, False, "changed"), ("B", 7, None, None, False, None)]


def test_the_last_scan_before_the_change_narrows_the_hole() -> None:
    claims = [volume("owner", 1, project_id="A"), volume("owner", 7, 6, project_id="B")]
    assert owners(*claims) == [("A", 1, 6, 6, False, "changed"), ("B", 7, None, None, False, None)]


def test_a_scan_of_a_source_that_had_not_seen_the_resource_before_proves_nothing() -> None:
    claims = [volume("owner", 1, project_id="A", source="bus"), volume("owner", 7, 6, project_id="B")]
    assert owners(*claims) == [("A", 1, 1, 1, False, "changed"), ("B", 7, None, None, False, None)]


def test_a_dated_change_closes_the_former_owner_exactly_there() -> None:
    claims = [
        volume("owner", 1, project_id="A"),
        volume("owner_since", 5, project_id="B"),
        volume("owner", 9, project_id="B"),
    ]
    assert owners(*claims) == [("A", 1, 5, 5, False, "dated"), ("B", 5, None, None, True, None)]


def test_there_and_back_again() -> None:
    claims = [volume("owner", when, project_id=owner) for when, owner in ((1, "A"), (3, "B"), (5, "A"))]
    assert owners(*claims) == [
        ("A", 1, 1, 1, False, "changed"),
        ("A", 5, None, None, False, None),
        ("B", 3, 3, 3, False, "changed"),
    ]


def test_the_last_interval_ends_with_the_resource() -> None:
    claims = [server("owner_since", 0, project_id="A"), server("seen", 5, name="web"), server("gone", 9, 8)]
    assert owners(*claims) == [("A", 0, 9, 8, True, "gone")]


def test_a_dated_end_counts_more_than_an_inferred_one() -> None:
    claims = [server("owner_since", 0, project_id="A"), server("gone", 9, 6), server("gone", 7, 7, source="bus")]
    assert owners(*claims) == [("A", 0, 7, 7, True, "gone")]
    assert owners(claims[0], server("gone", 5, 4), claims[2]) == [("A", 0, 7, 7, True, "gone")]


def test_an_end_before_which_it_was_still_seen() -> None:
    claims = [
        server("owner_since", 0, project_id="A"),
        server("seen", 8.5, name="web", source="bus"),
        server("gone", 9, 6),
    ]
    assert owners(*claims) == [("A", 0, 9, 8.5, True, "gone")]


def test_what_comes_back_under_the_same_id_has_a_second_life() -> None:
    claims = [
        volume("owner", 0, project_id="A"),
        volume("gone", 3, 2),
        volume("owner", 6, project_id="B"),
        volume("gone", 9, 9),
    ]
    assert owners(*claims) == [("A", 0, 3, 2, False, "gone"), ("B", 6, 9, 9, False, "gone")]


def test_the_second_life_of_a_kind_that_cannot_change_hands_needs_no_claim_of_its_own() -> None:
    claims = [server("created", 0), server("owner_since", 0, project_id="A"), server("gone", 3, 2), server("seen", 6)]
    assert owners(*claims) == [("A", 0, 3, 2, True, "gone"), ("A", 6, None, None, False, None)]
    assert owners(volume("owner", 0, project_id="A"), volume("gone", 3, 2), volume("seen", 6)) == [
        ("A", 0, 3, 2, False, "gone")
    ]


def test_an_empty_owner_is_no_owner() -> None:
    assert owners(server("owner", 0, project_id=""), server("owner", 1), server("owner", 2, domain_id="")) == []


def test_only_gone_is_no_life() -> None:
    belief = believe(frame([server("gone", 3, 2)]))
    assert (belief.resources.height, belief.ownership.height) == (0, 0)


# contradictions


def test_two_owners_at_one_instant_of_a_kind_that_cannot_change_hands_are_a_conflict() -> None:
    claims = [
        server("owner_since", 0, project_id="A"),
        server("owner_since", 0, project_id="B", source="bus"),
        server("owner", 5, project_id="A"),
    ]
    assert owners(*claims) == []
    assert conflicts(*claims) == [(["A", "B"], [], 0, None)]


def test_a_project_that_seems_to_have_moved_is_in_conflict_from_then_until_a_date_settles_it() -> None:
    def project(what: str, when: float, since: float | None = None, **columns: object) -> dict:
        return claim("project", "p", what, when, since, **columns)

    columns = ("domain_id", "valid_from", "valid_to", "is_exact", "ending")
    moved = [
        project("owner", 1, domain_id="D1"),
        project("owner", 5, 4, domain_id="D2"),
        project("owner", 6, 5, domain_id="D2"),
    ]
    assert owners(*moved, columns=columns) == [("D1", None, 4, True, "changed")]
    assert conflicts(*moved) == [([], ["D1", "D2"], 4, None)]
    settled = [*moved, project("owner_since", 8, domain_id="D2"), project("owner", 9, domain_id="D2")]
    assert owners(*settled, columns=columns) == [("D1", None, 4, True, "changed"), ("D2", 8, None, True, None)]
    assert conflicts(*settled) == [([], ["D1", "D2"], 4, 8)]


def test_two_owners_at_one_instant_of_a_kind_that_can_change_hands() -> None:
    claims = [
        volume("owner", 1, project_id="A"),
        volume("owner", 3, project_id="A"),
        volume("owner", 3, project_id="B", source="bus"),
        volume("owner", 5, project_id="B"),
    ]
    assert owners(*claims) == [("A", 1, 1, 1, False, "changed"), ("B", 5, None, None, False, None)]
    assert conflicts(*claims) == [(["A", "B"], [], 1, 5)]


def test_a_date_counts_more_than_an_observation_of_the_same_instant() -> None:
    claims = [
        volume("owner", 1, project_id="A"),
        volume("owner", 3, project_id="A"),
        volume("owner_since", 3, project_id="B"),
    ]
    assert owners(*claims) == [("A", 1, 3, 3, False, "dated"), ("B", 3, None, None, True, None)]
    assert conflicts(*claims) == []


# what it was called


def test_a_rename_closes_a_row_and_opens_the_next() -> None:
    claims = [
        server("created", 0),
        server("seen", 2, name="web"),
        server("seen", 7, 6, name="www"),
        server("gone", 9, 8),
    ]
    assert names(*claims) == [(None, 0, 2, 2), (None, 6, 7, 7), ("web", 2, 6, 6), ("www", 7, 9, 8)]


def test_two_names_at_one_instant_are_no_name() -> None:
    claims = [
        server("seen", 1, name="a"),
        server("seen", 3, name="a"),
        server("seen", 3, name="b"),
        server("seen", 5, name="b"),
    ]
    assert names(*claims) == [(None, 1, 5, 5), ("a", 1, 1, 1), ("b", 5, None, None)]


def test_a_resource_without_a_name_is_one_row() -> None:
    assert names(server("created", 0), server("seen", 5), server("gone", 9, 9)) == [(None, 0, 9, 9)]


# what it hung on


def test_a_target_in_consecutive_sets_is_one_interval() -> None:
    assert edges(port("edges", 1, None, "x", "y"), port("edges", 3, 2, "x"), port("edges", 5, 4, "x", "y")) == [
        ("x", 1, None, None, None),
        ("y", 1, 3, 2, "changed"),
        ("y", 5, None, None, None),
    ]


def test_an_empty_set_ends_all() -> None:
    assert edges(port("edges", 1, None, "x"), port("edges", 3)) == [("x", 1, 3, 1, "changed")]


def test_relations_are_apart() -> None:
    claims = [port("edges", 1, None, "x"), port("edges", 3, None, "n", relation="on_network")]
    assert edges(*claims) == [("n", 3, None, None, None), ("x", 1, None, None, None)]


def test_claims_of_one_instant_are_one_set() -> None:
    other = {**port("edges", 1, None, "r"), "to_type": "router"}
    rows = believe(frame([port("edges", 1, None, "x"), other, port("edges", 3, None, "x")])).edges
    assert minutes(rows, "to_type", *EDGE) == [
        ("router", "r", 1, 3, 1, "changed"),
        ("server", "x", 1, None, None, None),
    ]


def test_dates_count_before_observations() -> None:
    assert edges(
        port("edge_since", 0, None, "x"),
        port("edges", 1, None, "x"),
        port("edge_until", 4, None, "x"),
        port("edge_since", 4, None, "y"),
        port("edges", 5, 1, "y"),
    ) == [("x", 0, 4, 4, "dated"), ("y", 4, None, None, None)]


def test_dates_count_before_observations_of_the_same_instant() -> None:
    begun = [port("edges", 4), port("edge_since", 4, None, "x")]
    ended = [port("edges", 1, None, "x"), port("edges", 4, None, "x"), port("edge_until", 4, None, "x")]
    again = [port("edge_since", 1, None, "x"), port("edge_until", 4, None, "x"), port("edge_since", 4, None, "x")]
    assert edges(*begun) == [("x", 4, None, None, None)]
    assert edges(*ended) == [("x", 1, 4, 4, "dated")]
    assert edges(*again) == [("x", 1, 4, 4, "dated"), ("x", 4, None, None, None)]


def test_edges_end_with_the_resource_and_begin_again_with_it() -> None:
    claims = [port("edges", 1, None, "x"), port("gone", 4, 3), port("edges", 7, None, "x")]
    assert edges(*claims) == [("x", 1, 4, 3, "gone"), ("x", 7, None, None, None)]


# a function of the set


def test_neither_order_nor_repetition_nor_neighbours_matter() -> None:
    claims = frame(
        [
            server("created", 0),
            server("owner_since", 0, project_id="A"),
            server("seen", 5, name="web"),
            port("edges", 1, None, "x", "y"),
            port("edges", 3, None, "y"),
            port("gone", 9, 8),
            volume("owner", 1, project_id="A"),
            volume("owner", 4, 2, project_id="B"),
        ]
    )
    belief = believe(claims)
    for seed in range(5):
        shuffled = believe(pl.concat([claims, claims]).sample(fraction=1, shuffle=True, seed=seed))
        for one, other in zip(belief, shuffled, strict=True):
            assert_frame_equal(one, other)
    alone = believe(claims.filter(pl.col("resource_type") == "volume"))
    assert_frame_equal(alone.ownership, belief.ownership.filter(pl.col("resource_type") == "volume"))


def test_the_same_id_in_two_clouds_is_two_resources() -> None:
    other = {**volume("owner", 4, project_id="B"), "cloud": "two"}
    assert owners(volume("owner", 1, project_id="A"), other, columns=("cloud", *OWNER)) == [
        ("one", "A", 1, None, None, False, None),
        ("two", "B", 4, None, None, False, None),
    ]
