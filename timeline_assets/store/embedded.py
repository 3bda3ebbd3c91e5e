"""A PostgreSQL server of our own: the wheel's programs under our own supervision.

One folder holds everything: `data/` (the cluster), `secrets.json` (the passwords, made at first start), `server.json`
(the remembered port), `server.log`. The server listens on 127.0.0.1 only, has no socket file, and asks everybody for a
password.

Several processes may use one server: each `start` joins, each `stop` leaves, and the last to leave stops the server.
Joining is a shared lock on a file, so a user that was killed has left by that; a keeper, a small process of its own
(:mod:`timeline_assets.store.keeper`), stops the server when its users were all killed. The reasons and measurements are
in docs/decisions/0001-embedded-postgresql.md.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Self

import psutil
from sqlalchemy import URL

from timeline_assets.errors import DatabaseError
from timeline_assets.store.binaries import (
    ENVIRONMENT,
    MAJOR_VERSION,
    SERVER_UID,
    Account,
    named_account,
    programs_for,
)

SUPERUSER = "postgres"
LOGINS = (SUPERUSER, "timeline_admin", "timeline_pipeline", "timeline_reader", "timeline_operator", "timeline_dagster")

# below the range from which systems hand out ports to outgoing connections, so that a remembered port stays free
PORTS = range(15432, 25432)

READY_SECONDS = 300  # replaying the log after a crash of a busy server takes its time
STOP_SECONDS = 60
POLL_SECONDS = 0.02

# statements and details of failed rows carry tenants' data and passwords: they reach the client, not the log
SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "password_encryption": "scram-sha-256",
    "max_connections": 120,
    "shared_buffers": "128MB",
    "effective_cache_size": "1GB",
    "work_mem": "16MB",
    "maintenance_work_mem": "128MB",
    "max_wal_size": "1GB",
    "wal_compression": "pglz",
    "wal_level": "minimal",
    "max_wal_senders": 0,
    "random_page_cost": 1.1,
    # two cores, and containers give /dev/shm 64 MB: parallel workers would cost more than they bring
    "max_parallel_workers_per_gather": 0,
    "timezone": "UTC",
    "log_timezone": "UTC",
    "log_checkpoints": "off",
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}
NOT_DURABLE = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off"}

ACCESS = "# everybody is asked for a password\nhost all all 127.0.0.1/32 scram-sha-256\n"

LOG_BYTES = 5_000_000


class EmbeddedPostgres:
    """A PostgreSQL server in a folder, shared by the processes of one user.

    Args:
        folder: everything the server keeps; made on first start, readable by its owner only.
        durable: False trades safety in a crash for speed; for tests.
    """

    def __init__(self, folder: Path, *, durable: bool = True) -> None:
        self.folder = Path(folder).absolute()
        self._data = self.folder / "data"
        self._durable = durable
        self._process: subprocess.Popen[bytes] | None = None
        self._keeper: subprocess.Popen[bytes] | None = None
        self._users: int | None = None

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    def start(self) -> Self:
        """Join the running server of this folder, or start it; returns when it accepts connections.

        Called again by a user who has joined, it starts a server that has died in the meantime.

        Raises:
            DatabaseError: it cannot be started; nothing is left running.
        """
        self._make_folder()
        is_joining = self._users is None
        try:
            with self._exclusively():
                if is_joining:
                    self._users = self._open_lock("users.lock")
                    fcntl.flock(self._users, fcntl.LOCK_SH)
                try:
                    self._make_secrets()
                    self._have_keeper()
                    if not self._await_running():
                        self._launch()
                except BaseException:
                    if is_joining:
                        self._leave()
                    raise
        except BaseException:
            if is_joining:
                self._part_from_keeper(is_over=self._keeper is not None)
            raise
        return self

    def stop(self) -> None:
        """Leave the server; the last of its users stops it, and returns when it has stopped."""
        if self._users is None:
            return
        with self._exclusively():
            is_last = self._leave()
            if is_last:
                self._shut_down()
            elif self._process is not None:
                # it outlives us, and its last user stops it: nothing to wait for here any more
                self._process.returncode, self._process = 0, None
        self._part_from_keeper(is_over=is_last)

    def stop_unused(self, keeper_lock: int) -> bool:
        """For the keeper: stop the server, and give up the keeper's lock, unless the server has users."""
        with self._exclusively():
            users = self._open_lock("users.lock")
            try:
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            finally:
                os.close(users)
            self._shut_down()
            # before anybody else may start one, who would else count on us
            os.close(keeper_lock)
        return True

    def is_running(self) -> bool:
        """Whether this folder's server runs, whoever started it."""
        return self._postmaster() is not None

    @property
    def port(self) -> int:
        """The TCP port on 127.0.0.1; the same from start to start unless somebody else has taken it."""
        return json.loads(self._read("server.json"))["port"]

    def password(self, login: str) -> str:
        """The password of one of `LOGINS`."""
        return self._secrets()[login]

    def url(self, login: str, database: str) -> URL:
        """Where and as whom to connect; the driver is the caller's choice."""
        return URL.create("postgresql", login, self.password(login), "127.0.0.1", self.port, database)

    def note(self, name: str, text: str) -> None:
        """Keep a small private file beside the cluster, replaced in one step."""
        self._write_private(name, text)

    # what runs

    def _postmaster(self) -> psutil.Process | None:
        """The live server of this folder, if there is one."""
        with contextlib.suppress(FileNotFoundError, IndexError, ValueError):
            return self._if_ours(int(self._pid_lines()[0]))
        return None

    def _pid_lines(self) -> list[str]:
        return (self._data / "postmaster.pid").read_text().splitlines()

    def _says_ready(self) -> bool:
        with contextlib.suppress(FileNotFoundError, IndexError):
            return self._pid_lines()[7].strip() == "ready"
        return False

    def _if_ours(self, pid: int) -> psutil.Process | None:
        """The process of that id if it is a live one of this server: process ids are used again.

        All of them carry the cluster's name in their command line, which needs no privilege to be read, even by a root
        in a container.
        """
        with contextlib.suppress(psutil.Error):
            process = psutil.Process(pid)
            is_live = process.status() != psutil.STATUS_ZOMBIE and process.name() == "postgres"
            if is_live and self._cluster_name() in " ".join(process.cmdline()):
                return process
        return None

    def _cluster_name(self) -> str:
        found = self.folder.stat()
        return f"timeline-{found.st_dev:08x}-{found.st_ino:016x}"

    def _await_running(self) -> bool:
        """Wait until the server is ready (True) or gone (False), whichever it is on its way to."""
        deadline = time.monotonic() + READY_SECONDS
        while self._postmaster() is not None:
            if self._says_ready():
                return True
            self._give_up_after(deadline)
            time.sleep(POLL_SECONDS)
        return False

    def _give_up_after(self, deadline: float) -> None:
        if time.monotonic() > deadline:
            raise DatabaseError(
                f"The PostgreSQL server in {self.folder} did not get ready within {READY_SECONDS} seconds",
                remedy=f"Read {self.folder / 'server.log'}",
            )

    # starting

    def _launch(self) -> None:
        account = self._account()
        programs = programs_for(account)
        with self._explained():
            self._shut_down()
            self._clear_remains()
            if not self._data.exists():
                self._create_cluster(programs, account)
            found = (self._data / "PG_VERSION").read_text().strip()
            if found != MAJOR_VERSION:
                raise DatabaseError(
                    f"The cluster in {self._data} was made by PostgreSQL {found}; this release runs {MAJOR_VERSION}",
                    remedy="Move it with pg_upgrade, or keep the release that made it",
                )
            for is_last_try in (False, False, True):
                self._configure(account)
                if self._run(programs, account, is_last_try=is_last_try):
                    return
                (self.folder / "server.json").unlink()

    def _run(self, programs: Path, account: Account | None, *, is_last_try: bool) -> bool:
        """Run the server until it is ready; False if somebody took the port in the same moment."""
        log_path = self.folder / "server.log"
        if log_path.exists() and log_path.stat().st_size > LOG_BYTES:
            log_path.rename(log_path.with_suffix(".log.1"))
        with os.fdopen(self._open("server.log", os.O_WRONLY | os.O_APPEND | os.O_CREAT), "ab") as log:
            before = log.tell()
            self._process = subprocess.Popen(
                [
                    programs / "postgres",
                    "-D",
                    _as_seen_by(account, self._data),
                    f"--cluster-name={self._cluster_name()}",
                ],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # a Ctrl-C in the terminal is for its users, who stop the server when they are done
                start_new_session=True,
                **_in_folder(self._data, account),
            )
        deadline = time.monotonic() + READY_SECONDS
        try:
            while self._process.poll() is None:
                if self._says_ready():
                    return True
                self._give_up_after(deadline)
                time.sleep(POLL_SECONDS)
        except BaseException:
            self._shut_down()
            raise
        self._process = None
        with log_path.open("rb") as log:
            log.seek(before)
            said = log.read().decode(errors="replace")
        if "could not create any TCP/IP sockets" in said and not is_last_try:
            return False
        raise _explain(said, self.folder)

    def _create_cluster(self, programs: Path, account: Account | None) -> None:
        """`initdb` into a folder beside, renamed when it is whole, so that a killed start leaves no half cluster."""
        new = self.folder / "data.new"
        shutil.rmtree(new, ignore_errors=True)
        new.mkdir(mode=0o700)
        maker = account if account is None or account.has_name else named_account(account.gid)
        password = self._write_private("initdb.password", self.password(SUPERUSER), account=maker)
        if maker:
            os.chown(new, maker.uid, maker.gid)
        try:
            result = subprocess.run(
                [
                    programs / "initdb",
                    f"--pgdata={_as_seen_by(maker, new)}",
                    f"--username={SUPERUSER}",
                    f"--pwfile=../{password.name}",
                    "--auth=scram-sha-256",
                    "--encoding=UTF8",
                    "--locale=C",
                    "--locale-provider=builtin",
                    "--builtin-locale=C.UTF-8",
                    "--no-instructions",
                    *([] if self._durable else ["--no-sync"]),
                ],
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                check=False,
                start_new_session=True,
                **_in_folder(new, maker),
            )
            if result.returncode != 0:
                raise _explain(result.stderr, self.folder)
            if account and account != maker:
                for path in [new, *new.rglob("*")]:
                    os.chown(path, account.uid, account.gid, follow_symlinks=False)
            new.rename(self._data)
        finally:
            password.unlink()
            shutil.rmtree(new, ignore_errors=True)

    def _configure(self, account: Account | None) -> None:
        """Write the configuration anew: it follows the release; what an operator sets by ALTER SYSTEM wins over it."""
        settings = SETTINGS | {"port": self._choose_port()} | ({} if self._durable else NOT_DURABLE)
        lines = [f"{name} = '{value}'" for name, value in settings.items()]
        self._write_private("data/postgresql.conf", "\n".join([*lines, ""]), account=account)
        self._write_private("data/pg_hba.conf", ACCESS, account=account)

    def _choose_port(self) -> int:
        remembered = [self.port] if (self.folder / "server.json").exists() else []
        for port in (*remembered, *(secrets.choice(PORTS) for _ in range(100))):
            if _is_free(port):
                self._write_private("server.json", json.dumps({"port": port}))
                return port
        raise DatabaseError(
            f"No free TCP port between {PORTS.start} and {PORTS.stop - 1} on 127.0.0.1",
            remedy="Stop what listens there, or set TIMELINE_DATABASE_URL",
        )

    def _clear_remains(self) -> None:
        """After a kill -9: wait for the dead server's children to go, then remove what it could not."""
        deadline = time.monotonic() + STOP_SECONDS
        if not (self._data / "postmaster.pid").exists():
            return
        while any(self._if_ours(pid) for pid in psutil.pids()):
            if time.monotonic() > deadline:
                raise DatabaseError(
                    f"Processes of a PostgreSQL server that was killed still work in {self._data}",
                    remedy="End them, then start again",
                )
            time.sleep(POLL_SECONDS)
        (self._data / "postmaster.pid").unlink(missing_ok=True)

    # stopping

    def _leave(self) -> bool:
        """Give up our part in the server; True if nobody else has one."""
        users, self._users = self._users, None
        try:
            while True:
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    return True
                # others share it; not so the keeper, who may have it for a moment
                with contextlib.suppress(BlockingIOError):
                    fcntl.flock(users, fcntl.LOCK_SH | fcntl.LOCK_NB)
                    return False
                time.sleep(POLL_SECONDS)
        finally:
            os.close(users)

    def _have_keeper(self) -> None:
        """See that a keeper waits for the last user to go, started before there is anything that could be left."""
        lock = self._open_lock("keeper.lock")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._keeper = subprocess.Popen(
                [sys.executable, "-P", "-m", "timeline_assets.store.keeper", self.folder, str(lock)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                # the lock is the keeper's from now on
                pass_fds=[lock],
                cwd="/",
                start_new_session=True,
            )
        except BlockingIOError:
            pass  # there is one
        finally:
            os.close(lock)

    def _part_from_keeper(self, *, is_over: bool) -> None:
        """Wait until the keeper has gone where all `is_over`: until then the folder is not left alone.

        A keeper of our own that stays is not ours to wait for any more.
        """
        keeper, self._keeper = self._keeper, None
        has_gone = is_over and self._has_keeper_gone()
        if keeper is not None and has_gone:
            keeper.wait()
        elif keeper is not None:
            keeper.returncode = 0

    def _has_keeper_gone(self) -> bool:
        deadline = time.monotonic() + STOP_SECONDS
        lock = self._open_lock("keeper.lock")
        try:
            # somebody who starts the server again goes on with the same keeper
            while time.monotonic() < deadline and not self.is_running():
                # one who starts it must not take us for the keeper
                with self._exclusively(), contextlib.suppress(BlockingIOError):
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    fcntl.flock(lock, fcntl.LOCK_UN)
                    return True
                time.sleep(POLL_SECONDS)
        finally:
            os.close(lock)
        return False

    def _shut_down(self) -> None:
        # fast, then immediate (the next start replays the log), then by force
        for how in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError, psutil.NoSuchProcess):
                if (postmaster := self._postmaster()) is not None:
                    postmaster.send_signal(how)
                elif self._process is not None:
                    self._process.send_signal(how)
            deadline = time.monotonic() + STOP_SECONDS
            while self._is_alive() and time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
            if not self._is_alive():
                break
        self._process = None

    def _is_alive(self) -> bool:
        return (self._process is not None and self._process.poll() is None) or self._postmaster() is not None

    # the folder

    def _account(self) -> Account | None:
        if os.geteuid() != 0:
            return None
        if self._data.exists() and (owner := self._data.stat()).st_uid != 0:
            return Account(owner.st_uid, owner.st_gid)
        return Account(SERVER_UID, SERVER_UID)

    def _make_folder(self) -> None:
        with self._explained():
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            account = self._account()
        if account is None:
            return
        try:
            # the server may pass through, to its own folder, and see nothing else
            os.chown(self.folder, -1, account.gid)
            self.folder.chmod(0o710)
        except OSError as error:
            raise DatabaseError(
                f"PostgreSQL refuses to run as root, and root may not give {self.folder} to another user here: "
                f"{error.strerror}",
                remedy="Run as an ordinary user, give the container the capabilities CHOWN, SETUID, SETGID and KILL "
                "over more than one user id, or set TIMELINE_DATABASE_URL to a PostgreSQL 15 or newer",
            ) from error

    def _secrets(self) -> dict[str, str]:
        try:
            known = json.loads(self._read("secrets.json"))
        except ValueError:
            raise self._passwords_lost() from None
        if not isinstance(known, dict):
            raise self._passwords_lost()
        return known

    def _passwords_lost(self) -> DatabaseError:
        return DatabaseError(
            f"The passwords of the cluster in {self._data} are lost: secrets.json beside it is missing or damaged",
            remedy="Restore that file from a backup; without one, start the cluster's single-user mode as its owner "
            f"(postgres --single -D {self._data} postgres), give {', '.join(LOGINS)} new passwords by ALTER ROLE, and "
            'write them into the file as {"login": "password", …}',
        )

    def _make_secrets(self) -> None:
        path = self.folder / "secrets.json"
        with self._explained():
            known = self._secrets() if path.exists() else {}
            if not known and self._data.exists():
                raise self._passwords_lost()
            missing = [login for login in LOGINS if login not in known]
            if missing:
                made = {login: secrets.token_urlsafe(24) for login in missing}
                self._write_private(path.name, json.dumps(known | made, indent=2))

    def _open(self, name: str, flags: int) -> int:
        """Open a file of the folder, made readable by the folder's owner only."""
        descriptor = os.open(self.folder / name, flags, 0o600)
        if os.geteuid() == 0:
            os.fchown(descriptor, self.folder.stat().st_uid, -1)
        return descriptor

    def _write_private(self, name: str, text: str, *, account: Account | None = None) -> Path:
        """Replace a file in one step; readable by `account` only, or else by the folder's owner."""
        path = self.folder / name
        half = path.with_name(path.name + ".new")
        half.unlink(missing_ok=True)
        with os.fdopen(self._open(f"{name}.new", os.O_WRONLY | os.O_CREAT | os.O_EXCL), "w") as file:
            file.write(text)
            if account:
                os.fchown(file.fileno(), account.uid, account.gid)
            # what is renamed before it is on the disk may be empty after a crash
            file.flush()
            os.fsync(file.fileno())
        half.replace(path)
        return path

    def _read(self, name: str) -> str:
        try:
            return (self.folder / name).read_text()
        except FileNotFoundError as error:
            raise DatabaseError(
                f"There is no PostgreSQL server in {self.folder} yet", remedy="Start it: timeline up"
            ) from error

    def _open_lock(self, name: str) -> int:
        return self._open(name, os.O_RDWR | os.O_CREAT)

    @contextlib.contextmanager
    def _exclusively(self) -> Iterator[None]:
        """One process at a time starts, joins or stops."""
        with self._explained():
            lock = self._open_lock("start.lock")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise _explain(str(error), self.folder) from error


def _as_seen_by(account: Account | None, folder: Path) -> str:
    """A path to `folder` that a server under `account` can follow when it runs in it.

    Another account may be unable to pass the folders above (a state folder below /root). The process enters while it is
    still root, and from then on reaches the folder through itself.
    """
    return "/proc/self/cwd" if account and sys.platform == "linux" else str(folder)


def _in_folder(folder: Path, account: Account | None) -> dict[str, object]:
    return {"cwd": folder, "env": ENVIRONMENT, "umask": 0o077, **(account.popen if account else {})}


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        # as the server will ask for it, which may follow its own last connections
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


REASONS: Sequence[tuple[str, str, str]] = (
    ("No space left on device|Disk quota exceeded", "the disk is full", "Free space on that disk, then start again"),
    (
        "Permission denied|Operation not permitted|Read-only file system",
        "the folder cannot be used by this user",
        "Start as the user who owns it, or choose a state folder on a disk that this user can write",
    ),
    (
        "Not a directory|File exists",
        "there is a file where the folder should be",
        "Move it away, or choose another state folder",
    ),
    (
        "could not create any TCP/IP sockets",
        "no TCP port could be opened on 127.0.0.1",
        "See that the loopback interface is up and allows listening",
    ),
    (
        "could not create shared memory segment|could not map anonymous shared memory|Cannot allocate memory",
        "there is not enough memory",
        "Free some 200 MB of memory, then start again",
    ),
)


def _explain(said: str, folder: Path) -> DatabaseError:
    """What PostgreSQL or the system said, as an error with a remedy."""
    for pattern, reason, remedy in REASONS:
        if match := re.search(f"[^\n]*(?:{pattern})[^\n]*", said):
            return DatabaseError(f"PostgreSQL cannot run in {folder}: {reason} ({match[0].strip()})", remedy=remedy)
    lines = [line for line in said.splitlines() if re.search("FATAL|PANIC|error:", line)] or said.splitlines()[-1:]
    return DatabaseError(
        f"PostgreSQL cannot run in {folder}: {' '.join(lines) or 'it ended without a word'}",
        remedy=f"Read {folder / 'server.log'}",
    )
