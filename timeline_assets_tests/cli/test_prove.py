"""`timeline verify`: what it says, and when it ends in an error."""

import json

import pytest

from timeline_assets_tests.cli.conftest import event_id


@pytest.fixture
def whole(on_database, database):
    """A timeline with nothing in it, which is whole."""
    return on_database


def test_the_first_time_there_is_nothing_to_compare_with_then_it_is_the_same(whole):
    first, second = whole("verify"), whole("verify")
    assert (first.code, second.code) == (0, 0), first.err
    assert first.lines[-1] == "Nothing to compare with: these records were not verified before by these rules."
    assert second.lines[-1].startswith("The same as on 20")
    assert second.lines[:-1] == first.lines[:-1]


def test_what_does_not_hold_is_named_with_examples_and_ends_in_an_error(told):
    ran = told("verify")
    assert ran.code == 1
    faults = [line for line in ran.lines if line.startswith("does not hold: ")]
    assert faults[0].startswith(
        f"does not hold: 6 events without the attribution that explains their owner: {event_id(1)}, {event_id(2)}, "
    )
    assert faults[0].endswith(", …")


def test_what_differs_is_named_by_table_and_part(whole, database):
    whole("verify")
    with database.connect("pipeline") as connection:
        connection.execute(
            """insert into topology.resources (cloud, resource_type, resource_id, name, recorded_from)
            values ('north', 'server', 's', 'web-1', now())"""
        )
    ran = whole("verify")
    assert ran.code == 1
    assert ran.lines[-3].startswith("DIFFERS from 20")
    assert ran.lines[-1].split() == ["topology.resources", "server", "0", "1", "1", "more"]
    document = json.loads(whole("verify", "--json").out)[0]
    assert (document["is_good"], document["differences"]) == (True, []), "compared with the last time"
    assert document["tables"]["topology.resources"]["parts"]["server"]["rows"] == 1


def test_a_cloud_there_is_not_is_refused_by_name(whole):
    ran = whole("verify", "--cloud", "nowhere")
    assert (ran.code, ran.out) == (2, "")
    assert "there is no cloud 'nowhere'" in ran.err
