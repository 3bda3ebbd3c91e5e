"""The story that every test looks at: tenants and an operator work for some minutes while `timeline follow` watches.

Between the parts the follower is given the time to catch up. In the middle of the tenants' work it is killed and
started again; later two of the cloud's services are away for a while. Nothing of either may be missing afterwards.
"""

from __future__ import annotations

import json
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import polars as pl

from timeline_assets_tests.cloud import exercise as exercises
from timeline_assets_tests.cloud.exercise import Exercise
from timeline_assets_tests.cloud.ledger import Action, read
from timeline_assets_tests.real_cloud import deeds
from timeline_assets_tests.real_cloud.bring_up import OpenStack
from timeline_assets_tests.real_cloud.home import CLOUD, LOOK_SECONDS, Follower, Home
from timeline_assets_tests.real_cloud.told import ONE_BY_ONE, Made, kind_of
from timeline_assets_tests.real_cloud.truth import Truth, look

#: What is stopped for the outage, and the sources that must say so.
AWAY = ("neutron-server", "keystone")
OUTAGE = ("neutron_ports", "keystone_users")


@dataclass(frozen=True, repr=False)
class Story:
    """What was done, and where it was told.

    `outage` is what coverage said of the sources of `OUTAGE` while their services were away and after they were back;
    `on_lost_host` are the servers that Nova listed on the host that was then lost.
    """

    began: datetime
    is_first: bool
    deeds: list[Action]
    truth: Truth
    outage: dict[str, list[tuple]]
    killed_with_pending: int
    on_lost_host: list[str]
    home: Home
    events: pl.DataFrame

    @cached_property
    def made(self) -> Made:
        """What was made, by its id."""
        return {deed.resource_id: deed for deed in self.deeds if deed.op.endswith(".create") and deed.resource_id}

    def of_kind(self, kind: str) -> list[Action]:
        """The deeds of one line of the table."""
        return [deed for deed in self.deeds if kind_of(deed, self.made) == kind]

    def one(self, op: str, **columns: Any) -> Action:
        """The one such deed."""
        (found,) = [
            deed
            for deed in self.deeds
            if deed.op == op and all(getattr(deed, name) == value for name, value in columns.items())
        ]
        return found


EVENTS = """
select e.event_id::text, e.source, e.event_type, e.outcome, e.phase, e.occurred_at, e.occurred_from, e.occurred_to,
    e.time_precision, e.ended_at, e.resource_type, e.resource_id, e.resource_name, e.related::text, e.changes::text,
    e.owner_scope, e.owner_project_id, e.owner_domain_id, e.actor_user_id, e.actor_project_id, e.actor_domain_id,
    e.actor_kind, e.request_id, e.host, e.visibility, k.rule, k.confidence, q.reason as quarantine_reason
from timeline.events e join timeline.event_keys k using (event_id)
left join timeline.quarantine q on q.event_id = e.event_id and q.resolved_at is null
where e.cloud = %(cloud)s order by e.occurred_at, e.event_id
"""


def events_of(home: Home) -> pl.DataFrame:
    """All events of the cloud, with the rule and reason of their owners."""
    return home.rows(EVENTS, cloud=CLOUD)


def told(home: Home, cloud: OpenStack, memory: Path) -> Story:
    """The story, from what was remembered of it when it took place."""
    known = json.loads(memory.read_text())
    ledger = read(cloud.ledger)
    began = datetime.fromisoformat(known["began"])
    return Story(
        began=began,
        is_first=known["is_first"],
        deeds=[deed for deed in ledger if deed.run in known["runs"]],
        truth=Truth.of(known["seen"], ledger),
        outage=known["outage"],
        killed_with_pending=known["killed_with_pending"],
        on_lost_host=known["on_lost_host"],
        home=home,
        events=events_of(home),
    )


def take_place(home: Home, cloud: OpenStack, memory: Path) -> None:
    """Let it happen, and remember what only a witness can know."""
    with warnings.catch_warnings():
        # openstacksdk warns of parts of itself, whether they are used or not
        warnings.simplefilter("default")
        remembered = _take_place(home, cloud)
    memory.write_text(json.dumps(remembered, default=str))


def _take_place(home: Home, cloud: OpenStack) -> dict[str, Any]:
    began = datetime.now(UTC)
    is_first = not cloud.ledger.exists()
    usual = began.strftime("%H%M%S")
    apart = f"{usual}-{ONE_BY_ONE}"
    seen: list[dict[str, Any]] = []
    on_lost_host: list[str] = []
    follower = Follower(home)
    follower.start()

    def do(part: Callable[[Exercise], None], run: str = usual) -> None:
        part(Exercise(cloud.folder, fast=True, run=run))

    def catch_up() -> None:
        home.catch_up()
        do(lambda by: seen.append(look(by.operator)))

    def after(part: Callable[[Exercise], None], run: str = usual) -> None:
        do(part, run)
        catch_up()

    try:
        catch_up()  # a birth shows only where an earlier scan lacked the newborn
        after(exercises.tenants)
        after(exercises.build)
        with _killing(follower, home) as killed:
            do(exercises.work)
        catch_up()
        after(exercises.share)
        after(exercises.operate)
        after(exercises.identity)
        after(deeds.one_by_one, apart)
        do(deeds.in_passing)
        do(deeds.taken_away, apart)
        do(lambda by: on_lost_host.extend(deeds.servers_on_lost_host(by)))
        after(exercises.host_down)
        after(exercises.host_up)
        outage = _outage(home, cloud)
        after(deeds.after_the_outage, apart)
        after(exercises.remove)
    finally:
        follower.stop()
    return {
        "began": began.isoformat(),
        "is_first": is_first,
        "runs": [usual, apart],
        "seen": seen,
        "outage": outage,
        "killed_with_pending": killed[0],
        "on_lost_host": on_lost_host,
    }


def _outage(home: Home, cloud: OpenStack) -> dict[str, list[tuple]]:
    """Two services go away and come back; what was known of their sources' open windows then."""
    cloud.stop(*AWAY)
    home.wait_until("the outage is known as a gap", _IS_GAP, cloud=CLOUD, sources=list(OUTAGE), n=len(OUTAGE))
    away = _standing(home)
    cloud.up()
    home.catch_up()
    return {"away": away, "back": _standing(home)}


_IS_GAP = """
select count(distinct source) = %(n)s from timeline.coverage
where cloud = %(cloud)s and source = any(%(sources)s) and status = 'gap' and window_end > now()
"""


def _standing(home: Home) -> list[tuple]:
    return home.rows(
        """select source, status, reason from timeline.coverage
        where cloud = %(cloud)s and window_end > now() order by source""",
        cloud=CLOUD,
    ).rows()


class _killing:
    """Kills the follower the moment something is on its way through the stages, and starts it again.

    Gives a list that holds, once it has happened, how many attempts were pending then.
    """

    def __init__(self, follower: Follower, home: Home) -> None:
        self._follower, self._home = follower, home
        self._killed: list[int] = []
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._kill)

    def __enter__(self) -> list[int]:
        self._thread.start()
        return self._killed

    def __exit__(self, *_: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _kill(self) -> None:
        while not self._is_over.wait(LOOK_SECONDS):
            if self._pending():
                self._follower.kill()
                self._killed.append(self._pending())
                self._follower.start()
                return

    def _pending(self) -> int:
        return self._home.rows("select count(*) from raw.attempts where resolved_at is null").item()
