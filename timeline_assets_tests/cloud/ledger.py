"""The ledger of the exercise: what was done in the cloud, by whom, to whose resource, and how it ended.

One JSON line per call that meant to change something, appended as soon as it is answered. When the exercise has seen
how an accepted call ended, a second short line says so; `read` joins the two.
"""

import json
import threading
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path


@dataclass(frozen=True)
class Action:
    """One call. Also the handle by which the exercise speaks of the resource that it made or touched."""

    number: int  #: its place in the ledger, from 1
    run: str  #: the exercise's run
    t: datetime  #: the request left; what happened, happened at or after it
    answered_at: datetime
    who: str  #: user@domain/project
    actor_user_id: str | None
    actor_project_id: str | None
    actor_domain_id: str | None  #: the user's domain
    op: str  #: <resource_type>.<verb>, e.g. server.reboot
    resource_type: str
    resource_id: str | None  #: null where a refused call made nothing, and for role assignments
    resource_name: str | None
    owner_scope: str  #: project, domain or provider
    owner_project_id: str | None  #: owner when it happened; of a transfer the donor
    owner_domain_id: str | None
    request_id: str | None
    status: int  #: HTTP status of the answer
    result: str  #: ok, failed (accepted, and then ended in error) or refused (4xx)
    settled_at: datetime | None = None  #: the state that was waited for was seen; null where nothing was waited for
    state: str | None = None  #: that state, GONE after a deletion
    details: dict = field(default_factory=dict)  #: ids of what else took part, and the values asked for

    @property
    def latest(self) -> datetime:
        """What happened, happened at or before it."""
        return self.settled_at or self.answered_at


class Ledger:
    """A ledger file and, in memory, all it says. Safe for several threads of one process."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._lock = threading.Lock()
        self._actions = {action.number: action for action in read(file)} if file.exists() else {}

    def __iter__(self) -> Iterator[Action]:
        return iter(list(self._actions.values()))

    def append(self, **fields) -> Action:
        with self._lock:
            action = Action(number=len(self._actions) + 1, **fields)
            self._actions[action.number] = action
            empty = {key for key, value in asdict(action).items() if key in {"settled_at", "state"} and value is None}
            self._write({key: value for key, value in asdict(action).items() if key not in empty})
        return action

    def settle(self, action: Action, **outcome) -> Action:
        """Adds how an action ended: `settled_at`, `state`, `result`."""
        with self._lock:
            action = replace(self._actions[action.number], **outcome)
            self._actions[action.number] = action
            self._write({"settles": action.number, **outcome})
        return action

    def note(self, action: Action, **details) -> Action:
        """Adds what was learned after the answer."""
        return self.settle(action, details={**action.details, **details})

    def find(self, resource_type: str, name: str, **owner: str) -> Action | None:
        """The action that made the newest such resource that was not deleted since, by its name, or description, then.

        `owner` narrows by `owner_project_id` or `owner_domain_id` at that time.
        """
        deleted = {action.resource_id for action in self if action.op.endswith(".delete") and action.result == "ok"}
        made = [
            action
            for action in self
            if action.op == f"{resource_type}.create"
            and name in {action.resource_name, action.details.get("description")}
            and action.resource_id not in {None, *deleted}
            and all(getattr(action, column) == value for column, value in owner.items())
        ]
        return made[-1] if made else None

    def _write(self, line: dict) -> None:
        with self._file.open("a") as opened:
            opened.write(json.dumps(line, default=lambda value: value.isoformat()) + "\n")


def read(file: Path) -> list[Action]:
    """All actions of a ledger, in the order in which they were answered."""
    actions: dict[int, Action] = {}
    for line in file.read_text().splitlines():
        fields = json.loads(line)
        for name in ("t", "answered_at", "settled_at"):
            if name in fields:
                fields[name] = datetime.fromisoformat(fields[name])
        if "settles" in fields:
            number = fields.pop("settles")
            actions[number] = replace(actions[number], **fields)
        else:
            actions[fields["number"]] = Action(**fields)
    return list(actions.values())
