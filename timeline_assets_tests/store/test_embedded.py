"""The embedded server: private, shared by its users, and back again after whatever was done to it."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import psycopg
import pytest

from timeline_assets.errors import DatabaseError
from timeline_assets.store import binaries, embedded
from timeline_assets.store.embedded import EmbeddedPostgres

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root changes its user")

# joins the server named, says so, and waits until it is killed or its input ends
USER = """
import sys
from pathlib import Path
from timeline_assets.store.embedded import EmbeddedPostgres
server = EmbeddedPostgres(Path(sys.argv[1]), durable=False).start()
print(server.port, flush=True)
sys.stdin.read()
server.stop()
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A place below a folder that only we may enter; afterwards nothing of it may still run."""
    with tempfile.TemporaryDirectory(prefix="timeline-test-") as private:
        path = Path(private) / "state" / "postgresql"
        yield path
        left_behind = _processes(path)
        for process in left_behind:
            process.kill()
        assert left_behind == []


def _processes(folder: Path) -> list[psutil.Process]:
    if not folder.exists():
        return []
    server = _server(folder)
    return [process for pid in psutil.pids() if (process := server._if_ours(pid)) is not None]


def _server(folder: Path) -> EmbeddedPostgres:
    return EmbeddedPostgres(folder, durable=False)


def _ask(server: EmbeddedPostgres, query: str) -> object:
    url = server.url("postgres", "postgres").render_as_string(hide_password=False)
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchone()[0]


def _do(server: EmbeddedPostgres, statement: str) -> None:
    url = server.url("postgres", "postgres").render_as_string(hide_password=False)
    with psycopg.connect(url) as connection:
        connection.execute(statement)


def _postmaster(folder: Path) -> psutil.Process:
    return psutil.Process(int((folder / "data" / "postmaster.pid").read_text().split()[0]))


def _keepers(user: subprocess.Popen[str]) -> list[psutil.Process]:
    """The keepers that a user has started."""
    return [p for p in psutil.Process(user.pid).children() if "timeline_assets.store.keeper" in p.cmdline()]


def _kill(process: psutil.Process) -> None:
    process.kill()
    process.wait(30)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def _user(folder: Path, **options: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", USER, str(folder)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **options,
    )


def test_nobody_comes_in_without_the_password(folder: Path) -> None:
    with _server(folder) as server:
        right = server.url("postgres", "postgres")
        for wrong in (right.set(password="guess"), right._replace(password=None)):
            with pytest.raises(psycopg.OperationalError, match="password"):
                psycopg.connect(wrong.render_as_string(hide_password=False), passfile="/nonexistent")

        assert (_ask(server, "SHOW listen_addresses"), _ask(server, "SHOW unix_socket_directories")) == (
            "127.0.0.1",
            "",
        )
        assert _ask(server, "SELECT string_agg(DISTINCT auth_method, ' ') FROM pg_hba_file_rules") == "scram-sha-256"
        stored = "SELECT count(*) FROM pg_authid WHERE rolcanlogin AND rolpassword NOT LIKE 'SCRAM-SHA-256$%'"
        assert _ask(server, stored) == 0

    assert _mode(folder / "secrets.json") == 0o600
    assert _mode(folder / "server.log") == 0o600
    assert _mode(folder / "data") == 0o700
    assert _mode(folder) == (0o710 if os.geteuid() == 0 else 0o700)
    assert not (folder / "initdb.password").exists()


def test_starting_again_keeps_port_passwords_and_rows(folder: Path) -> None:
    with _server(folder) as server:
        before = (server.port, server.password("timeline_admin"))
        _do(server, "CREATE TABLE kept AS SELECT 7 AS n")
    assert not server.is_running()

    with _server(folder) as again:
        assert (again.port, again.password("timeline_admin")) == before
        assert _ask(again, "SELECT n FROM kept") == 7


def test_a_port_that_was_taken_is_chosen_again(folder: Path) -> None:
    with _server(folder) as server:
        port = server.port
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        with _server(folder) as again:
            assert again.port != port
            assert _ask(again, "SELECT 1") == 1


def test_a_port_taken_in_the_last_moment_is_chosen_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        ports = iter([taken, *embedded.PORTS])
        monkeypatch.setattr(embedded.secrets, "choice", lambda _: next(ports))
        is_free = embedded._is_free
        monkeypatch.setattr(embedded, "_is_free", lambda port: port == taken or is_free(port))
        with _server(folder) as server:
            assert server.port in embedded.PORTS


def test_the_last_of_two_users_stops_the_server(folder: Path) -> None:
    first, second = _server(folder).start(), _server(folder).start()
    postmaster = _postmaster(folder)
    first.stop()
    assert second.is_running()
    assert _ask(second, "SELECT 1") == 1
    assert _postmaster(folder) == postmaster
    second.stop()
    assert not second.is_running()


def test_a_server_whose_users_were_all_killed_is_stopped(folder: Path) -> None:
    with _user(folder) as first, _user(folder) as second:
        for user in (first, second):
            user.stdout.readline()
        processes = _processes(folder)
        assert processes
        keepers = [*_keepers(first), *_keepers(second)]
        assert len(keepers) == 1
        for user in (first, second):
            user.kill()
    # not ours to wait for: psutil looks until they are gone
    assert psutil.wait_procs([*processes, *keepers], timeout=60)[1] == []
    with _server(folder) as server:
        assert _ask(server, "SELECT 1") == 1


def test_a_server_whose_user_was_killed_is_adopted_with_its_keeper(folder: Path) -> None:
    with _user(folder) as user:
        user.stdout.readline()
        [keeper] = _keepers(user)
        keeper.suspend()
        user.kill()
    postmaster = _postmaster(folder)
    with _server(folder) as server:
        keeper.resume()
        assert server._keeper is None
        assert _postmaster(folder) == postmaster
        assert _ask(server, "SELECT 1") == 1
    assert not _server(folder).is_running()
    assert psutil.wait_procs([keeper], timeout=60)[1] == []


def test_a_keeper_that_was_killed_is_replaced_by_the_next_user(folder: Path) -> None:
    with _server(folder) as server:
        _kill(psutil.Process(server._keeper.pid))
        with _user(folder) as user:
            user.stdout.readline()
            [keeper] = _keepers(user)
            user.communicate()
        assert keeper.is_running()
    assert psutil.wait_procs([keeper], timeout=60)[1] == []


def test_a_keeper_asked_to_stop_stays_while_the_server_is_used(folder: Path) -> None:
    with _user(folder) as user:
        user.stdout.readline()
        [keeper] = _keepers(user)
        processes = [keeper, *_processes(folder)]
        # it says nothing when it is ready to be asked
        while "SigIgn:\t0000000000000000" in Path(f"/proc/{keeper.pid}/status").read_text():
            assert keeper.is_running()
        keeper.terminate()
        user.kill()
    assert psutil.wait_procs(processes, timeout=60)[1] == []


def test_ctrl_c_in_the_terminal_is_not_for_the_server(folder: Path) -> None:
    with _server(folder), _user(folder, start_new_session=True) as user:
        user.stdout.readline()
        while user.poll() is None:
            # again and again: Python can miss a signal that comes right before it begins to read
            os.killpg(user.pid, signal.SIGINT)
            with suppress(subprocess.TimeoutExpired):
                user.wait(0.2)
        assert _server(folder).is_running()


def test_committed_rows_survive_a_killed_server(folder: Path) -> None:
    server = EmbeddedPostgres(folder).start()
    _do(server, "CREATE TABLE kept AS SELECT 7 AS n")
    _kill(_postmaster(folder))
    assert not server.is_running()
    with _server(folder) as again:
        assert _ask(again, "SELECT n FROM kept") == 7
        server.stop()
        assert again.is_running()


def test_a_user_starts_a_server_that_died_under_him(folder: Path) -> None:
    with _server(folder) as server:
        port = server.port
        _kill(_postmaster(folder))
        server.start()
        assert (server.port, _ask(server, "SELECT 1")) == (port, 1)
    assert not server.is_running()


def test_a_process_id_used_again_by_somebody_else_is_no_server(folder: Path) -> None:
    with _server(folder) as server:
        said = (folder / "data" / "postmaster.pid").read_text().splitlines()
        account = server._account()
    # of the server's own user, or PostgreSQL itself would see that it is none
    with subprocess.Popen(["/bin/sleep", "60"], **(account.popen if account else {})) as other:
        (folder / "data" / "postmaster.pid").write_text("\n".join([str(other.pid), *said[1:], ""]))
        assert not server.is_running()
        with _server(folder) as again:
            assert _ask(again, "SELECT 1") == 1
        other.kill()


def test_a_half_made_cluster_is_made_again(folder: Path) -> None:
    (folder / "data.new" / "base").mkdir(parents=True)
    (folder / "initdb.password").write_text("left over")
    with _server(folder) as server:
        assert _ask(server, "SELECT 1") == 1
    assert not (folder / "data.new").exists()


def test_users_who_come_at_once_share_one_server(folder: Path) -> None:
    users = [_user(folder) for _ in range(3)]
    ports = {user.stdout.readline() for user in users}
    assert len(ports) == 1
    assert _server(folder).is_running()
    for user in users:
        user.communicate()
        assert user.returncode == 0
    assert not _server(folder).is_running()


def test_a_start_that_fails_leaves_no_process_and_names_the_reason(folder: Path) -> None:
    with _server(folder):
        pass
    (folder / "data" / "global" / "pg_control").write_bytes(b"")
    with pytest.raises(DatabaseError, match=r"cannot run in .*pg_control") as caught:
        _server(folder).start()
    assert "server.log" in caught.value.remedy
    assert _processes(folder) == []


def test_an_interrupted_start_leaves_no_process(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(self: EmbeddedPostgres) -> bool:
        if self.is_running():
            raise KeyboardInterrupt
        return False

    monkeypatch.setattr(EmbeddedPostgres, "_says_ready", interrupt)
    with pytest.raises(KeyboardInterrupt):
        _server(folder).start()
    assert _processes(folder) == []


def test_a_cluster_of_another_release_is_named(folder: Path) -> None:
    with _server(folder):
        pass
    (folder / "data" / "PG_VERSION").write_text("16\n")
    with pytest.raises(DatabaseError, match="made by PostgreSQL 16"):
        _server(folder).start()


def test_a_file_in_the_way_is_named(folder: Path) -> None:
    folder.parent.mkdir()
    folder.write_text("")
    with pytest.raises(DatabaseError, match="there is a file where the folder should be"):
        _server(folder).start()


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("initdb: error: could not write to file: No space left on device", "the disk is full"),
        ("FATAL:  could not open file: Permission denied", "cannot be used by this user"),
        ("[Errno 30] Read-only file system: '/x'", "cannot be used by this user"),
        ("FATAL:  could not map anonymous shared memory: Cannot allocate memory", "not enough memory"),
        ("LOG: x\nFATAL:  something new\nLOG: y", "FATAL:  something new"),
        ("", "it ended without a word"),
    ],
)
def test_what_postgres_says_becomes_a_reason_and_a_remedy(said: str, reason: str) -> None:
    error = embedded._explain(said, Path("/state/postgresql"))
    with pytest.raises(DatabaseError, match=reason):
        raise error
    assert error.remedy


def test_asking_before_the_first_start_is_answered(folder: Path) -> None:
    server = EmbeddedPostgres(folder)
    assert not server.is_running()
    with pytest.raises(DatabaseError, match="no PostgreSQL server"):
        server.url("postgres", "postgres")


@as_root
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="setpriv takes rights away; it is not installed")
def test_root_needs_only_what_a_container_gives_it(folder: Path) -> None:
    rights = "+chown,+dac_override,+fowner,+kill,+setgid,+setuid"
    program = ["setpriv", f"--bounding-set=-all,{rights}", "--inh-caps=-all", sys.executable, "-c", USER, str(folder)]
    result = subprocess.run(program, input="", capture_output=True, text=True, timeout=60, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert not _server(folder).is_running()


@as_root
def test_root_runs_it_as_somebody_else_and_changes_no_folder_above(folder: Path) -> None:
    above = list(folder.parents)
    folder.parent.mkdir(mode=0o700)
    before = [path.stat() for path in above]
    with _server(folder):
        assert {process.uids().real for process in _processes(folder)} == {binaries.SERVER_UID}
    after = [path.stat() for path in above]
    assert [(s.st_mode, s.st_uid, s.st_gid) for s in after] == [(s.st_mode, s.st_uid, s.st_gid) for s in before]


@as_root
@pytest.mark.parametrize("umask", [0o022, 0o077])
def test_root_copies_programs_that_nobody_else_can_reach(
    folder: Path, monkeypatch: pytest.MonkeyPatch, umask: int
) -> None:
    original = binaries.wheel_programs().parents[1]
    hidden = folder.parents[1] / "site-packages"
    for name in (original.name, f"{original.name}.libs"):
        shutil.copytree(original.with_name(name), hidden / name, symlinks=True)
    shared = Path(tempfile.mkdtemp(prefix="timeline-test-"))
    shared.chmod(0o755)
    before = os.umask(umask)
    try:
        monkeypatch.setattr(binaries, "wheel_programs", lambda: hidden / original.name / "pginstall18" / "bin")
        monkeypatch.setattr(binaries, "SHARED_COPY", shared / "timeline_assets")
        with _server(folder) as server:
            assert Path(_postmaster(folder).cmdline()[0]).is_relative_to(shared)
            assert _ask(server, "SELECT 1") == 1
    finally:
        os.umask(before)
        shutil.rmtree(shared)


@as_root
def test_an_ordinary_user_runs_it_as_himself_and_root_afterwards_too(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # this interpreter may lie where only root can run it
    monkeypatch.setattr(EmbeddedPostgres, "_have_keeper", lambda _: None)
    nobody = binaries.named_account(65534)
    folder.parents[1].chmod(0o711)
    folder.parent.mkdir()
    os.chown(folder.parent, nobody.uid, nobody.gid)
    with _being(nobody), _server(folder) as server:
        assert {process.uids().real for process in _processes(folder)} == {nobody.uid}
        assert _ask(server, "SELECT 1") == 1
    assert {path.stat().st_uid for path in folder.rglob("*")} == {nobody.uid}

    with _server(folder) as server:
        assert {process.uids().real for process in _processes(folder)} == {nobody.uid}
        assert _ask(server, "SELECT 1") == 1
    assert {path.stat().st_uid for path in folder.rglob("*")} == {nobody.uid}
    with _being(nobody), _server(folder) as server:
        assert _ask(server, "SELECT 1") == 1


@as_root
def test_the_folder_of_another_user_is_named(folder: Path) -> None:
    with _server(folder):
        pass
    folder.parents[1].chmod(0o711)
    with _being(binaries.named_account(65534)), pytest.raises(DatabaseError, match="cannot be used by this user"):
        _server(folder).start()


@contextmanager
def _being(account: binaries.Account) -> Iterator[None]:
    """This process as an ordinary user, with nothing but root's right to change back."""
    groups = os.getgroups()
    os.setgroups([])
    os.setresgid(account.gid, account.gid, 0)
    os.setresuid(account.uid, account.uid, 0)
    try:
        yield
    finally:
        os.setresuid(0, 0, 0)
        os.setresgid(0, 0, 0)
        os.setgroups(groups)


def test_passwords_are_in_no_log(folder: Path) -> None:
    with _server(folder) as server:
        canary = secrets.token_hex(8)
        url = server.url("postgres", "postgres").render_as_string(hide_password=False)
        with psycopg.connect(url, autocommit=True) as connection, pytest.raises(psycopg.Error):
            connection.execute(f"CREATE ROLE postgres PASSWORD '{canary}'")
        with pytest.raises(psycopg.Error):
            psycopg.connect(url.replace(server.password("postgres"), canary))
    assert canary not in (folder / "server.log").read_text()


@pytest.mark.parametrize("left", [None, "", "{", "5"])
def test_lost_passwords_are_named_and_never_made_anew_for_an_old_cluster(folder: Path, left: str | None) -> None:
    (folder / "data").mkdir(parents=True)
    secrets = folder / "secrets.json"
    if left is not None:
        secrets.write_text(left)
    with pytest.raises(DatabaseError, match="passwords of the cluster") as error:
        EmbeddedPostgres(folder, durable=False).start()
    assert "ALTER ROLE" in error.value.remedy
    assert (secrets.read_text() if secrets.exists() else None) == left
