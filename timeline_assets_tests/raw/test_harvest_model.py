"""Any life of a source against a model of it in a few lines: nothing lost, nothing doubled, gone after two scans."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from datetime import timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from timeline_assets.raw import harvest as module
from timeline_assets.raw.harvest import harvest, poll
from timeline_assets.raw.windows import Window
from timeline_assets.sources.base import Record, Shape
from timeline_assets_tests.raw.telling import Clock, Cloud, at, failing, rows, told

KEYS, LATE, PAUSES = "abc", (0, 0, 3, 70, 130), (1, 10, 45)
READS = ("good", "good", "partial", "failed", "gap", "killed", "twice", "polled", "malformed", "keyless")
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("change"), st.sampled_from(KEYS), st.sampled_from(LATE)),
        st.tuples(st.sampled_from(["delete", "restore"]), st.sampled_from(KEYS)),
        st.tuples(st.just("read"), st.sampled_from(READS)),
        st.tuples(st.just("wait"), st.sampled_from(PAUSES)),
    ),
    max_size=20,
)
SHAPES = (Shape.SNAPSHOT, Shape.MUTABLE, Shape.LOG)
NUMBERS = itertools.count()


class Model:
    """What must be stored: `latest` and `told`, from what each good read showed."""

    def __init__(self, *, can_miss: bool) -> None:
        self.can_miss = can_miss
        self.latest: dict[str, int] = {}
        self.missed: set[str] = set()
        self.told: Counter = Counter()

    def read(self, shown: dict[str, int], *, is_complete: bool) -> None:
        for key, n in shown.items():
            if self.latest.get(key) != n:
                self.told["seen", key, n, self.latest.get(key)] += 1
                self.latest[key] = n
        self.missed -= shown.keys()
        if is_complete and self.can_miss:
            missing = self.latest.keys() - shown.keys()
            for key in missing & self.missed:
                self.told["gone", key, self.latest[key], self.latest[key]] += 1
                del self.latest[key]
            self.missed = missing - self.missed


class Life:
    """A source that lives, and the model of what must be stored of it."""

    def __init__(self, pipeline, shape: Shape) -> None:
        self.pipeline = pipeline
        self.name = f"cloud_{next(NUMBERS)}"
        self.clock = Clock(at("10:05"))
        self.cloud = Cloud(shape, self.clock)
        self.model = Model(can_miss=shape is not Shape.LOG)
        self.deleted: dict[str, dict] = {}
        self.versions = itertools.count(1)

    def change(self, key: str, minutes_late: int) -> None:
        self.cloud.put(key, self.clock.now - timedelta(minutes=minutes_late), n=next(self.versions))

    def delete(self, key: str) -> None:
        if key in self.cloud.bodies:
            self.deleted[key] = self.cloud.bodies.pop(key)

    def restore(self, key: str) -> None:
        if key in self.deleted:
            self.cloud.bodies.setdefault(key, self.deleted.pop(key))

    def wait(self, minutes: int) -> None:
        self.clock.tick(minutes=minutes)

    def read(self, how: str) -> None:
        cloud = self.cloud
        cloud.error = failing() if how == "failed" else None
        cloud.gap = "cell_down" if how == "gap" else None
        cloud.is_complete = how != "partial"
        cloud.more = {"malformed": [Record("x", None)], "keyless": [Record("", {}), Record("x", None)]}.get(how, [])
        shown = {key: body["n"] for key, body in cloud.bodies.items()}
        match how:
            case "failed":
                self._harvest()
            case "killed":
                self._killed()
            case "polled":
                self._poll(shown)
            case _:
                self._harvest()
                self.model.read(shown, is_complete=how not in ("partial", "gap", "keyless"))
        if how == "twice":
            self._harvest()  # at the same moment: no second scan
        self.clock.tick(seconds=10)

    def _harvest(self, **more) -> None:
        window = Window.of(self.clock.now)
        source = self.cloud.source()
        harvest(self.pipeline, self.name, source, window, reader=self.cloud, clock=self.clock, is_raising=False, **more)

    def _killed(self) -> None:
        with pytest.MonkeyPatch.context() as patch, pytest.raises(ZeroDivisionError):
            patch.setattr(module, "_gone", lambda _: 1 / 0)
            self._harvest()

    def _poll(self, shown: dict[str, int]) -> None:
        window = Window.of(self.clock.now)
        polled = poll(self.pipeline, self.name, self.cloud.source(), window, self.cloud, clock=self.clock)
        before = self.model.told.total()
        self.model.read(shown, is_complete=True)
        assert polled.is_new == (self.model.told.total() > before)
        if polled.is_new:
            self._harvest(fetched=polled.fetched)

    def check(self) -> None:
        query = "select key, body::jsonb->>'n' from raw.latest where cloud = %s and gone_at is null"
        assert {key: int(n) for key, n in rows(self.pipeline, query, self.name)} == self.model.latest

    def check_all(self) -> None:
        stored = told(self.pipeline, self.name)
        assert Counter(row[1:] for row in stored) == self.model.told
        counted = """select to_char(window_start at time zone 'UTC', 'DD HH24'), rows from timeline.coverage
            where cloud = %s and rows > 0"""
        assert dict(rows(self.pipeline, counted, self.name)) == Counter(row[0] for row in stored)


def live(pipeline, shape: Shape, steps) -> None:
    life = Life(pipeline, shape)
    for name, *arguments in steps:
        getattr(life, name)(*arguments)
        life.check()
    life.check_all()


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(shape=st.sampled_from(SHAPES), steps=STEPS)
def test_any_short_life_of_a_source(pipeline, shape, steps):
    live(pipeline, shape, steps)


@pytest.mark.parametrize("seed", range(6))
def test_a_long_life_of_a_source(pipeline, seed):
    """Hypothesis prefers short lives of few things; these are long, and everything happens in them."""
    chance = random.Random(seed)

    def step() -> tuple:
        match chance.choices(("change", "delete", "restore", "read", "wait"), (25, 18, 8, 46, 3))[0]:
            case "change":
                return "change", chance.choice(KEYS), chance.choice(LATE)
            case "delete" | "restore" as name:
                return name, chance.choice(KEYS)
            case "read":
                return "read", chance.choice(READS)
            case "wait":
                return "wait", chance.choice(PAUSES)

    live(pipeline, SHAPES[seed % 3], [step() for _ in range(80)])
