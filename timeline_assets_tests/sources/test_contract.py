"""What holds of every source: one suite over `SOURCES`.

A new source needs its recording (see `recordings`), the facts it tells in ``expected/<source>.jsonl``, and, where its
listing takes a time, a memory in `CURSORS` with which it asks for what changed.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import random
from datetime import UTC, datetime, timedelta

import polars as pl
import pytest

from timeline_assets import sources
from timeline_assets.errors import ConfigurationError, SourceError
from timeline_assets.normalize.registry import REGISTRY, describe
from timeline_assets.normalize.schema import EVIDENCE, FACT, OBSERVATION
from timeline_assets.raw.scrub import to_json
from timeline_assets.raw.spool import Spool
from timeline_assets.sources import LANDED, SOURCES, named
from timeline_assets.sources.base import Shape, Source, Span
from timeline_assets_tests.sources.recordings import (
    EXPECTED,
    RECORDINGS,
    as_lines,
    expected,
    observations,
    replay,
    scans,
)

NOW = datetime(2026, 11, 22, 10, 5, tzinfo=UTC)
#: With such a memory the next fetch asks for what changed; for sources whose first fetch does not.
CURSORS = {
    "neutron_": {"changed_since": True, "rows": 100_000, "read_at": (NOW - timedelta(minutes=1)).isoformat()},
}
#: Sources whose records' `project_id` and `user_id` are the actor's.
OF_ACTORS = {"nova_instance_actions", "nova_migrations"}
CLAIMS = {"created", "seen", "gone", "owner", "owner_since", "edges", "edge_since", "edge_until"}

each_source = pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.name)


@pytest.fixture
def recorded(source, cloud, reading) -> pl.DataFrame:
    """The observations of a source's recording."""
    return observations(source, replay(source, cloud, reading))


def normalized(source: Source, frame: pl.DataFrame) -> pl.DataFrame:
    return source.normalize(frame.lazy()).collect()


def claimed(source: Source, frame: pl.DataFrame) -> pl.DataFrame:
    return source.evidence(frame.lazy()).collect().sort(pl.all().exclude("to_ids"))


# What a source is ---------------------------------------------------------------------------------------------------


def test_every_source_file_is_in_the_one_list():
    modules = [importlib.import_module(f"{sources.__name__}.{m.name}") for m in pkgutil.iter_modules(sources.__path__)]
    assert {m.SOURCE.name for m in modules if hasattr(m, "SOURCE")} == {
        source.name for source in (*SOURCES, *LANDED)
    }


def test_names_are_unique_and_found():
    assert len({source.name for source in SOURCES}) == len(SOURCES)
    assert all(named(source.name) is source for source in SOURCES)
    with pytest.raises(ConfigurationError, match="there is no source 'neutron_port'") as caught:
        named("neutron_port")
    assert "neutron_ports" in caught.value.remedy


@each_source
def test_file_name_and_folders_are_one(source):
    module = importlib.import_module(f"{sources.__name__}.{source.name}")
    assert module.SOURCE is source
    assert (source.fetch, source.normalize, source.evidence) == (module.fetch, module.normalize, module.evidence)
    assert len(list((RECORDINGS / source.name).glob("scan-*.json"))) >= 2
    assert (EXPECTED / f"{source.name}.jsonl").stat().st_size > 0


@each_source
def test_its_description_says_what_a_row_is_whence_and_what_is_missing(source):
    module = importlib.import_module(f"{sources.__name__}.{source.name}")
    assert source.description == module.__doc__
    text = " ".join(source.description.split())
    assert "one row is" in text
    assert "From ``" in text
    assert len(text) > 200
    for function in (source.fetch, source.normalize, source.evidence):
        assert function.__doc__


@each_source
def test_what_it_is_made_of(source):
    assert source.name == source.name.lower()
    assert source.interval > timedelta(0)
    assert source.settle > timedelta(0)
    assert list(source.tracked) == sorted(set(source.tracked))
    if source.shape is Shape.SNAPSHOT:
        assert source.retention is None


# What it asks -------------------------------------------------------------------------------------------------------


@each_source
def test_a_role_that_is_too_small_is_refused_before_anything_is_asked(source, cloud, reading):
    cloud.roles = ("member", "reader")
    reader = reading(source.name)
    with pytest.raises(SourceError) as caught:
        source.fetch(reader, scans(source.name)[0].span)
    assert (caught.value.code, reader.requests) == ("scope_too_small", 0)


@pytest.mark.parametrize(
    "source", [s for s in SOURCES if s.shape in (Shape.LOG, Shape.MUTABLE)], ids=lambda source: source.name
)
def test_the_time_asked_for_is_in_the_url(source, cloud, reading):
    """The services ignore a filter they are not sent; the SDK drops those it does not know without a word."""
    for scan in scans(source.name):
        cloud.answers |= scan.answers
    cursor = next((memory for prefix, memory in CURSORS.items() if source.name.startswith(prefix)), {})
    span = Span(NOW - timedelta(minutes=7), NOW + timedelta(minutes=30), NOW, is_open=True)
    source.fetch(reading(source.name, cursor=cursor, **scans(source.name)[-1].memory), span)
    sent = [value for request in cloud.requests for values in request.query.values() for value in values]
    assert any("2026-11-22T09:58:00" in value for value in sent), cloud.requests


@each_source
def test_a_read_ends_before_the_present(source, cloud, reading):
    for scan, fetched in replay(source, cloud, reading):
        assert fetched.read_to < scan.at
        assert fetched.malformed == []
        assert fetched.requests >= 1


@each_source
def test_what_is_kept_outside_of_memory_is_the_same(source, cloud, reading):
    scan = scans(source.name)[0]
    cloud.answers |= scan.answers
    clock = {"clock": lambda: scan.at}
    in_memory = source.fetch(reading(source.name, **scan.memory, **clock), scan.span)
    kept = source.fetch(reading(source.name, spool=Spool, **scan.memory, **clock), scan.span)
    scrubbed = Spool(in_memory.records, now=scan.at)
    # a record that two listings told is told twice
    assert {(r.key, r.cursor_at, to_json(r.body)) for r in kept.records} == {
        (r.key, r.cursor_at, to_json(r.body)) for r in scrubbed
    }
    assert (kept.is_complete, kept.gap, kept.malformed) == (in_memory.is_complete, in_memory.gap, [])
    assert (kept.cursor or {}).keys() == (in_memory.cursor or {}).keys()


@each_source
def test_answers_that_are_no_records_are_set_apart(source, cloud, reading):
    scan = scans(source.name)[0]
    whole = replay(source, cloud, reading)[0][1]
    cloud.answers |= {path: _spoilt(answer) for path, answer in scan.answers.items()}
    spoilt = source.fetch(reading(source.name, **scan.memory), scan.span)
    assert {record.key for record in spoilt.records} == {record.key for record in whole.records}
    assert spoilt.malformed
    assert all(isinstance(reason, str) and json.loads(text) is not Ellipsis for reason, text in spoilt.malformed)


def _spoilt(answer: object) -> object:
    """The same answer with a few things in every list of records that are none."""
    if not isinstance(answer, dict):
        return answer
    lists = {name for name, value in answer.items() if isinstance(value, list) and not name.endswith("links")}
    bad = [None, [], 5, {"name": "no id"}]
    return {name: [*bad, *value] if name in lists else value for name, value in answer.items()}


# What it tells ------------------------------------------------------------------------------------------------------


@each_source
def test_the_recording_tells_exactly_the_expected_facts(source, recorded):
    assert as_lines(normalized(source, recorded)) == expected(source.name)


@each_source
def test_the_shapes_are_facts_and_evidence(source, recorded):
    assert normalized(source, recorded).schema == FACT
    assert claimed(source, recorded).schema == EVIDENCE


@each_source
def test_nothing_comes_of_nothing(source):
    nothing = pl.DataFrame(schema=OBSERVATION)
    assert normalized(source, nothing).equals(pl.DataFrame(schema=FACT))
    assert claimed(source, nothing).equals(pl.DataFrame(schema=EVIDENCE))


@each_source
def test_facts_are_whole_and_their_types_registered(source, recorded):
    facts = describe(normalized(source, recorded).lazy()).collect()
    assert set(facts["event_type"]) <= set(REGISTRY)
    for column in ("event_id", "cloud", "source", "source_key", "source_version", "road_source", "road_key", "phase"):
        assert facts[column].null_count() == 0, column
    for column in ("occurred_at", "occurred_from", "occurred_to", "observed_at", "resource_type", "resource_id"):
        assert facts[column].null_count() == 0, column
    assert facts.filter(~pl.col("occurred_at").is_between("occurred_from", "occurred_to")).is_empty()
    assert set(facts["outcome"]) <= {"success", "failure", "pending", "unknown"}
    assert set(facts["phase"]) <= {"start", "progress", "end", "error", "point", "state"}
    assert set(facts["time_precision"]) <= {"exact", "second", "interval"}
    assert facts["title"].str.contains(r"[{}]").any() is False
    compared = facts.filter(time_precision="interval")
    assert compared["title"].str.ends_with(" (seen between two scans)").all()
    assert facts["event_id"].is_unique().all()


@each_source
def test_evidence_is_whole(source, recorded):
    claims = claimed(source, recorded)
    assert set(claims["claim"]) <= CLAIMS
    for column in ("cloud", "resource_type", "resource_id", "claim", "at", "source", "raw_ref"):
        assert claims[column].null_count() == 0, column
    edges = claims.filter(pl.col("claim").is_in(["edges", "edge_since", "edge_until"]))
    assert edges["relation"].null_count() == edges["to_ids"].null_count() == 0
    assert claims.filter(pl.col("at_from") > pl.col("at")).is_empty()
    assert "" not in set(claims["project_id"]) | set(claims["domain_id"])
    owners = claims.filter(pl.col("claim").is_in(["owner", "owner_since"]))
    assert owners.filter(pl.col("project_id").is_null() & pl.col("domain_id").is_null()).is_empty()


@each_source
def test_nobody_is_no_owner(source, recorded):
    facts = normalized(source, recorded)
    for column in ("payload_project_id", "payload_domain_id", "target_project_id", "target_domain_id"):
        assert "" not in set(facts[column])
    ownerless = recorded.with_columns(_without_owner("body"), _without_owner("previous"))
    assert set(normalized(source, ownerless)["payload_project_id"]) <= {None}
    assert set(claimed(source, ownerless)["project_id"]) <= {None}


@each_source
def test_who_acted_does_not_own(source, recorded):
    """Where the record's project and user are the actor's, nothing of it becomes the owner."""
    if source.name in OF_ACTORS:
        assert set(normalized(source, recorded)["payload_project_id"]) == {None}
        assert set(claimed(source, recorded)["project_id"]) <= {None}
    else:
        assert set(normalized(source, recorded)["actor_project_id"]) <= {None}


def _without_owner(column: str) -> pl.Expr:
    def strip(text: str) -> str:
        body = json.loads(text)
        owners = {name for name in body if name.endswith(("project_id", "tenant_id")) and name != "default_project_id"}
        return json.dumps({name: "" if name in owners else value for name, value in body.items()})

    return pl.col(column).map_elements(strip, return_dtype=pl.String)


# What it does not mind ----------------------------------------------------------------------------------------------


@each_source
def test_twice_is_the_same(source, recorded):
    assert normalized(source, recorded).equals(normalized(source, recorded))
    assert claimed(source, recorded).equals(claimed(source, recorded))


@each_source
def test_order_and_repetition_change_nothing(source, recorded):
    shuffled = recorded.sample(fraction=1, shuffle=True, seed=7)
    assert as_lines(normalized(source, pl.concat([shuffled, recorded]))) == expected(source.name)
    assert claimed(source, shuffled).equals(claimed(source, recorded))


@each_source
def test_one_by_one_is_the_same_as_all_at_once(source, recorded):
    parts = pl.concat([normalized(source, recorded[row]) for row in range(len(recorded))])
    newest = parts.sort("observed_at").unique("event_id", keep="last", maintain_order=True)
    assert as_lines(newest) == expected(source.name)
    claims = pl.concat([claimed(source, recorded[row]) for row in range(len(recorded))])
    assert claims.sort(pl.all().exclude("to_ids")).equals(claimed(source, recorded))


@each_source
def test_fields_it_does_not_know_are_no_matter(source, recorded):
    extra = pl.lit('{"from_a_newer_release":{"a":[1,{"b":null}]},')
    newer = recorded.with_columns(
        pl.concat_str(extra, pl.col(name).str.slice(1)).alias(name) for name in ("body", "previous")
    )
    assert as_lines(normalized(source, newer)) == expected(source.name)
    assert claimed(source, newer).equals(claimed(source, recorded))


@each_source
@pytest.mark.parametrize("body", ["null", "[]", "5", '"text"', "{}", '{"id":[]}'])
def test_a_record_of_another_shape_can_be_told(source, recorded, body):
    row = random.Random(body).randrange(len(recorded))
    bad = recorded[row].with_columns(body=pl.lit(body), op=pl.lit("seen"))
    for make in (source.normalize, source.evidence):
        with pytest.raises((pl.exceptions.PolarsError, ValueError)):
            make(pl.concat([recorded, bad]).lazy()).collect()


@each_source
def test_a_field_of_a_megabyte_is_only_long(source, recorded):
    long = pl.concat_str(pl.lit('{"description":"' + "x" * 2**20 + '",'), pl.col("body").str.slice(1))
    assert len(normalized(source, recorded.with_columns(body=long))) >= len(expected(source.name))
