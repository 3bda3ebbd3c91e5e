"""The keeper of an embedded server: stops it when the last of its users has gone without doing so.

Every user holds a shared lock (:mod:`timeline_assets.store.embedded`). The system gives an exclusive one as soon as
nobody does, whatever ended them, a kill -9 too; until then the keeper costs nothing.
"""

from __future__ import annotations

import fcntl
import signal
import sys
from pathlib import Path


def keep(folder: Path, keeper_lock: int) -> None:
    """Wait until the server in `folder` has no user, and stop it; `keeper_lock` says that it has a keeper."""
    is_stopped = False
    while not is_stopped:
        with (folder / "users.lock").open("rb") as users:
            fcntl.flock(users, fcntl.LOCK_EX)
        from timeline_assets.store.embedded import EmbeddedPostgres  # noqa: PLC0415 - a keeper is small while it waits

        # somebody may have come in between
        is_stopped = EmbeddedPostgres(folder).stop_unused(keeper_lock)


if __name__ == "__main__":
    # asked to stop by whoever ends everything, it still has its work to do
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    keep(Path(sys.argv[1]), int(sys.argv[2]))
