"""The normalize stage: what the observations of one window mean, as facts, and what they prove, as evidence.

Works attempt by attempt on what the current normalizer has not seen, a chunk at a time. A record that a normalizer
cannot read is found by halving and set aside, and so is one whose fact says something impossible; neither is in the way
of the others. Facts and evidence are derived: they lie beside the raw file and can be made again at any time.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import polars as pl

from timeline_assets.normalize.claims import told_owners
from timeline_assets.normalize.facts import NORMALIZER_VERSION
from timeline_assets.normalize.identity import with_event_id
from timeline_assets.normalize.registry import REGISTRY
from timeline_assets.normalize.schema import EVIDENCE, FACT
from timeline_assets.pipeline import Pipeline
from timeline_assets.raw.coverage import Place
from timeline_assets.raw.harvest import write_set_aside
from timeline_assets.raw.scratch import Scratch
from timeline_assets.raw.scrub import scrub_text
from timeline_assets.raw.store import RawStoreError, derived_path
from timeline_assets.raw.windows import Window
from timeline_assets.sources.base import Source

FIRST_POSSIBLE = datetime(2000, 1, 1, tzinfo=UTC)
#: How far ahead of its observation a fact may lie: no clock is off by more.
WORST_CLOCK = timedelta(days=1)

#: What every fact must say, and the words it may use.
REQUIRED = (
    *("cloud", "source", "source_key", "source_version", "road_source", "road_key", "event_type", "outcome", "phase"),
    *("occurred_at", "occurred_from", "occurred_to", "time_precision", "observed_at", "resource_type", "resource_id"),
    *("raw_ref", "raw_sha256"),
)
WORDS: Mapping[str, tuple[str, ...]] = {
    "outcome": ("success", "failure", "pending", "unknown"),
    "phase": ("start", "progress", "end", "error", "point", "state"),
    "time_precision": ("exact", "second", "interval"),
}
TIMES = ("occurred_at", "occurred_from", "occurred_to", "ended_at")

#: A name may have this many characters (OpenStack's own limit); what is longer is cut, the whole of it stays in raw.
LONGEST_NAME = 255
NAMES = {
    "fact": ("resource_name", "named_name", "host", "availability_zone", "region"),
    "evidence": ("name",),
}
#: An id may have as many, a key that is made of several ids this many; a record that says more is set aside: each of
#: them is looked up by an index, and none of these holds more than a third of a page.
LONGEST_ID, LONGEST_KEY = 255, 512
IDS = {
    "fact": (
        *("event_type", "resource_type", "resource_id", "payload_project_id", "payload_domain_id", "target_project_id"),
        *("target_domain_id", "named_type", "named_domain", "actor_user_id", "actor_project_id", "actor_domain_id"),
        *("actor_kind", "on_behalf_of_user_id", "on_behalf_of_project_id", "actor_address", "request_id"),
        *("global_request_id", "source_severity"),
    ),
    "evidence": ("resource_type", "resource_id", "project_id", "domain_id", "relation", "to_type"),
}
KEYS = ("source_key", "source_version", "road_key")


@dataclass(frozen=True)
class Normalized:
    """What normalizing a window did: rows written, records set aside, attempts worked on; `unmapped`: event types that
    the registry does not know, with their facts."""

    facts: int = 0
    evidence: int = 0
    set_aside: int = 0
    attempts: int = 0
    unmapped: Mapping[str, int] = field(default_factory=dict)
    seconds: float = 0.0


def normalize(pipeline: Pipeline, cloud: str, source: Source, window: Window, *, again: bool = False) -> Normalized:
    """Normalize what is new in one window; `again` does all of it anew, or what a rebuild has not yet come to.

    Whatever was normalized is pending for the stages behind. A killed call leaves whole attempts; the next goes on.
    """
    started = time.monotonic()
    facts = evidence = set_aside = 0
    unmapped: Counter[str] = Counter()
    attempts = _attempts(pipeline, cloud, source, window, again=again)
    for attempt_id, path in attempts:
        work = _Attempt(pipeline, source, window, path)
        try:
            work.run()
            with pipeline.connect() as connection:
                _finish(Place(connection, cloud, source), window, attempt_id, work)
        finally:
            work.close()
        facts += work.facts.rows
        evidence += work.evidence.rows
        set_aside += work.aside.height
        unmapped += work.unmapped
    seconds = time.monotonic() - started
    return Normalized(facts, evidence, set_aside, len(attempts), dict(sorted(unmapped.items())), seconds)


def _attempts(pipeline: Pipeline, cloud: str, source: Source, window: Window, *, again: bool) -> list[tuple[int, str]]:
    with pipeline.connect() as connection:
        return connection.execute(
            """select attempt_id, path from raw.attempts
            where cloud = %s and source = %s and window_start = %s and replaced_by is null
              and (normalizer is distinct from %s or %s and normalized_at < coalesce(
                  (select begun_at from raw.rebuilds r where r.cloud = attempts.cloud), 'infinity'))
            order by attempt_id""",
            (cloud, source.name, window.start, NORMALIZER_VERSION, again),
        ).fetchall()


def _finish(place: Place, window: Window, attempt_id: int, work: _Attempt) -> None:
    """Note the attempt as normalized, and so as pending for the stages behind."""
    now = datetime.now(UTC)
    place.connection.execute(
        """update raw.attempts set facts_path = %s, evidence_path = %s, normalizer = %s, normalized_at = %s,
        absorbed_at = null, resolved_at = null where attempt_id = %s""",
        (work.facts.path, work.evidence.path, NORMALIZER_VERSION, now, attempt_id),
    )
    # what could be normalized this time is settled
    place.connection.execute(
        """update raw.set_aside set resolved_at = %s where cloud = %s and source = %s and stage = 'normalize'
        and resolved_at is null and sha256 = any(%s)""",
        (now, place.cloud, place.source.name, work.hashes),
    )
    write_set_aside(place, window, work.aside, stage="normalize", at=now)


class _Output:
    """The facts or the evidence of one attempt: chunks on disk, joined to one file at the end."""

    def __init__(self, schema: pl.Schema, scratch: Scratch, kind: str, target: str) -> None:
        self.rows = 0
        self.path: str | None = None
        self._schema, self._scratch, self._kind, self._target = schema, scratch, kind, target
        self._chunks: list[pl.LazyFrame] = []

    def add(self, frame: pl.DataFrame, *, is_last: bool) -> None:
        self.rows += frame.height
        if frame.is_empty():
            return
        if is_last:
            self._chunks.append(frame.lazy())
            return
        path = self._scratch.write(f"{self._kind}-{len(self._chunks)}", frame)
        self._chunks.append(pl.scan_parquet(path))

    def finish(self, pipeline: Pipeline) -> None:
        if self._chunks:
            pipeline.raw.write(self._target, pl.concat(self._chunks))
            self.path = self._target


class _Attempt:
    """One attempt on its way through its source's functions."""

    def __init__(self, pipeline: Pipeline, source: Source, window: Window, path: str) -> None:
        self._pipeline, self._source, self._window, self._path = pipeline, source, window, path
        self._scratch = Scratch("normalize")
        self.facts = _Output(FACT, self._scratch, "facts", derived_path(path, "facts", NORMALIZER_VERSION))
        self.evidence = _Output(EVIDENCE, self._scratch, "evidence", derived_path(path, "evidence", NORMALIZER_VERSION))
        self.aside = pl.DataFrame(schema=_ASIDE)
        self.hashes: list[str] = []
        self.unmapped: Counter[str] = Counter()

    def run(self) -> None:
        """Normalize all chunks and write the two files."""
        for observations, is_last in self._chunks():
            facts, evidence, bad = _normalized(self._source, observations)
            facts, evidence = (
                _with_short_names(frame, kind) for frame, kind in ((facts, "fact"), (evidence, "evidence"))
            )
            good, impossible = _possible(facts)
            bad = {**bad, **_oversized(facts, evidence), **impossible}
            good = good.filter(~pl.col("raw_ref").is_in(list(bad)))
            evidence = evidence.filter(~pl.col("raw_ref").is_in(list(bad)).fill_null(False))
            evidence = pl.concat([evidence, told_owners(good)])
            self.facts.add(good, is_last=is_last)
            self.evidence.add(evidence, is_last=is_last)
            self.unmapped.update(t for t in good["event_type"] if t not in REGISTRY)
            self.aside = pl.concat([self.aside, _aside(observations, bad)])
            self.hashes += observations["sha256"].to_list()
        self.facts.finish(self._pipeline)
        self.evidence.finish(self._pipeline)

    def close(self) -> None:
        self._scratch.close()

    def _chunks(self) -> Iterator[tuple[pl.DataFrame, bool]]:
        size = self._pipeline.settings.harvest.chunk_rows
        stored = self._pipeline.raw.scan([self._path])
        rows = self._read(stored.select(pl.len())).item()
        for offset in range(0, max(rows, 1), size):
            yield self._read(stored.slice(offset, size)), offset + size >= rows

    def _read(self, stored: pl.LazyFrame) -> pl.DataFrame:
        try:
            return stored.collect()
        except (pl.exceptions.PolarsError, OSError) as error:
            said = scrub_text(str(error)).strip().partition("\n")[0][:200]
            raise RawStoreError(
                f"the raw file {self._path} ({self._source.name}, window {self._window.key}) cannot be read: {said}",
                remedy="restore that file from a backup of the raw store; the other windows go on without it",
            ) from error


_ASIDE = pl.Schema({"key": pl.String, "body": pl.String, "sha256": pl.String, "reason": pl.String, "detail": pl.String})
#: Why a record was set aside, by its `raw_ref`: (reason, detail).
Bad = dict[str, tuple[str, str]]


def _normalized(source: Source, observations: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame, Bad]:
    """Facts and evidence of observations, and which of these a function of the source cannot read."""
    try:
        facts = exactly(source.normalize(observations.lazy()), FACT, ("event_id", "normalizer_version"))
        evidence = exactly(source.evidence(observations.lazy()), EVIDENCE)
        return _identified(facts).collect(), evidence.collect(), {}
    except Exception as error:
        if observations.height == 1:
            said = scrub_text(f"{type(error).__name__}: {error}")[:1000]
            bad = {observations["raw_ref"][0]: ("not_understood", said)}
            return pl.DataFrame(schema=FACT), pl.DataFrame(schema=EVIDENCE), bad
    middle = observations.height // 2
    left, right = (_normalized(source, part) for part in (observations[:middle], observations[middle:]))
    return pl.concat([left[0], right[0]]), pl.concat([left[1], right[1]]), {**left[2], **right[2]}


def exactly(frame: pl.LazyFrame, schema: pl.Schema, may_lack: tuple[str, ...] = ()) -> pl.LazyFrame:
    """The frame with exactly the schema's columns, order and types.

    Raises:
        ValueError: a column is missing (but those it `may_lack`) or unknown. A value that does not fit raises when
            the frame is collected.
    """
    has = frame.collect_schema().names()
    missing, unknown = set(schema) - set(has) - set(may_lack), set(has) - set(schema)
    if missing or unknown:
        raise ValueError(f"columns missing: {sorted(missing)}, unknown: {sorted(unknown)}")
    return frame.select(
        (pl.col(name) if name in has else pl.lit(None)).cast(dtype).alias(name) for name, dtype in schema.items()
    )


def _identified(facts: pl.LazyFrame) -> pl.LazyFrame:
    return with_event_id(facts).with_columns(normalizer_version=pl.lit(NORMALIZER_VERSION)).select(FACT.names())


def _with_short_names(frame: pl.DataFrame, kind: str) -> pl.DataFrame:
    """The frame with names of at most `LONGEST_NAME` characters; one that was cut ends in an ellipsis."""
    return frame.with_columns(
        pl.when(pl.col(name).str.len_chars() > LONGEST_NAME)
        .then(pl.col(name).str.slice(0, LONGEST_NAME - 1) + "…")
        .otherwise(name)
        .alias(name)
        for name in NAMES[kind]
    )


def _oversized(facts: pl.DataFrame, evidence: pl.DataFrame) -> Bad:
    """The records that lead to something by an id that no index could hold: what they are related to, what they prove.

    A fact's own ids are judged with all that it says.
    """
    linked = pl.col("related").str.json_decode(pl.List(pl.Struct({"id": pl.String})))
    is_long = pl.element().struct.field("id").str.len_chars() > LONGEST_ID
    related = facts.filter(pl.col("related").str.len_chars() > LONGEST_ID).filter(linked.list.eval(is_long).list.any())
    proven = evidence.filter(
        pl.any_horizontal(pl.col(name).str.len_chars() > LONGEST_ID for name in IDS["evidence"])
        | pl.col("to_ids").list.eval(pl.element().str.len_chars() > LONGEST_ID).list.any()
    )
    bad = pl.concat([related["raw_ref"], proven["raw_ref"]]).drop_nulls().unique()
    return dict.fromkeys(bad, ("id_too_long", f"it leads to an id of more than {LONGEST_ID} characters"))


def _possible(facts: pl.DataFrame) -> tuple[pl.DataFrame, Bad]:
    """The facts that say something possible, and the records of the others."""
    checks = [
        *((pl.col(name).is_null(), "fact_incomplete", f"the fact has no {name}") for name in REQUIRED),
        *((~pl.col(name).is_in(words), "fact_invalid", f"not a word for {name}") for name, words in WORDS.items()),
        *(
            (pl.col(name).str.len_chars() > limit, "id_too_long", f"{name} has more than {limit} characters")
            for names, limit in ((IDS["fact"], LONGEST_ID), (KEYS, LONGEST_KEY))
            for name in names
        ),
        (
            ~pl.col("occurred_at").is_between("occurred_from", "occurred_to"),
            "fact_invalid",
            "occurred_at lies outside its bounds",
        ),
        *(
            (
                (pl.col(name) < FIRST_POSSIBLE) | (pl.col(name) > pl.col("observed_at") + WORST_CLOCK),
                "time_impossible",
                f"{name} lies before 2000, or more than a day after the record was read",
            )
            for name in TIMES
        ),
    ]
    verdict = pl.coalesce(
        *(pl.when(is_bad).then(pl.lit(number, pl.Int8)) for number, (is_bad, _, _) in enumerate(checks)),
        pl.lit(None, pl.Int8),
    )
    judged = facts.with_columns(_verdict=verdict)
    bad = {
        raw_ref: checks[number][1:]
        for raw_ref, number in judged.filter(pl.col("_verdict").is_not_null()).select("raw_ref", "_verdict").iter_rows()
        if raw_ref is not None
    }
    return judged.filter(pl.col("_verdict").is_null()).drop("_verdict"), bad


def _aside(observations: pl.DataFrame, bad: Bad) -> pl.DataFrame:
    reasons = pl.DataFrame(
        [(raw_ref, reason, detail) for raw_ref, (reason, detail) in bad.items()],
        schema={"raw_ref": pl.String, "reason": pl.String, "detail": pl.String},
        orient="row",
    )
    return observations.join(reasons, on="raw_ref", maintain_order="left").select(_ASIDE.names())
