from __future__ import annotations

import json
import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import create_async_engine

from service.errors import StartupError
from service.store import embedded, embedded_cluster, embedded_host
from service.store.embedded import EmbeddedPostgres

REPOSITORY = Path(__file__).parents[2]
LOOSE = {"fsync": "off"}  # the files of a test need not outlive a power cut
IS_ROOT = os.geteuid() == 0
as_root = pytest.mark.skipif(not IS_ROOT, reason="only root can act as several users")

# A service in a process of its own: imports, becomes another user if asked to, starts, tells,
# and stops when its standard input closes.
SERVICE = """
import json, os, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from service.store.embedded import EmbeddedError, EmbeddedPostgres
uid = int(sys.argv[3])
if uid != os.geteuid():
    os.setgroups([]), os.setgid(uid), os.setuid(uid)
server = EmbeddedPostgres(Path(sys.argv[2]), {"fsync": "off"})
try:
    print(json.dumps({"url": server.start()}), flush=True)
except EmbeddedError as error:
    print(json.dumps({"error": str(error)}), flush=True)
sys.stdin.read()
server.stop()
"""


def _folder() -> Path:
    # In memory where there is room: ext4 is twenty times slower at making a thousand files just
    # after a thousand were removed. Short, for the socket; open to the server's account.
    memory = Path("/dev/shm")  # noqa: S108 (mkdtemp makes a name of its own in it)
    roomy = memory.is_dir() and shutil.disk_usage(memory).free > 1 << 30
    folder = Path(tempfile.mkdtemp(prefix="kp-", dir=memory if roomy else None))
    folder.chmod(0o711)
    return folder


@pytest.fixture
def home() -> Iterator[Path]:
    """A folder for data directories; a server that still runs in it is ended."""
    folder = _folder()
    yield folder
    for cluster in folder.rglob("postmaster.pid"):
        pid = int(cluster.read_text().splitlines()[0])
        name = embedded_host.short_name(cluster.parents[1])
        if pid in embedded_cluster.server_processes(cluster.parent, name):
            os.kill(pid, signal.SIGQUIT)
            _until(lambda pid=pid: not _alive(pid))  # type: ignore[misc]  # this round's own pid
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def data(home: Path) -> Path:
    return home / "data"


@pytest.fixture
def fresh(data: Path) -> Iterator[EmbeddedPostgres]:
    """A server without a cluster."""
    server = EmbeddedPostgres(data, LOOSE)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Path]:
    """A cluster to copy, which is quicker than making one."""
    folder = _folder()
    server = EmbeddedPostgres(folder / "data", LOOSE)
    server.start()
    server.stop()
    yield server.cluster
    shutil.rmtree(folder)


@pytest.fixture
def server(fresh: EmbeddedPostgres, cluster: Path) -> EmbeddedPostgres:
    """A server with a cluster, not started."""
    fresh.data_dir.mkdir()
    fresh.data_dir.chmod(0o711)
    subprocess.run(["cp", "-a", cluster, fresh.cluster], check=True)
    return fresh


def _until(condition: Callable[[], object], seconds: float = 30.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def _alive(pid: int) -> bool:
    listed = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, check=False)
    return listed.stdout.strip() not in (b"", b"Z", b"Zs")


def _sql(server: EmbeddedPostgres, url: str, statement: str) -> str:
    psql = str(server.bin_dir / "psql")
    command = [psql, "-XAtq", "-v", "ON_ERROR_STOP=1", url, "-c", statement]
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout.strip()


def _postmaster(server: EmbeddedPostgres) -> int:
    return int((server.cluster / "postmaster.pid").read_text().splitlines()[0])


def _servers(server: EmbeddedPostgres) -> dict[int, bool]:
    name = embedded_host.short_name(server.data_dir)
    return embedded_cluster.server_processes(server.cluster, name)


@contextmanager
def _service(data: Path, uid: int | None = None) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            SERVICE,
            REPOSITORY,
            data,
            str(os.geteuid() if uid is None else uid),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        yield process
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.close()
        process.wait(20)


def _told(process: subprocess.Popen[str]) -> dict[str, str]:
    assert process.stdout is not None
    told: dict[str, str] = json.loads(process.stdout.readline())
    return told


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    _until(lambda: not _alive(pid))


def test_first_and_later_starts_are_quick_and_keep_the_data(
    data: Path, fresh: EmbeddedPostgres
) -> None:
    began = time.monotonic()
    url = fresh.start()
    assert time.monotonic() - began < 4.0
    assert fresh.start() == url
    assert _sql(fresh, url, "SHOW server_encoding") == "UTF8"
    _sql(fresh, url, "CREATE TABLE kept AS SELECT 'æble' AS word")
    fresh.stop()
    assert not fresh.is_running()
    assert _servers(fresh) == {}

    again = EmbeddedPostgres(data, LOOSE)
    began = time.monotonic()
    assert again.start() == url
    assert time.monotonic() - began < 1.2
    assert _sql(again, url, "SELECT word FROM kept") == "æble"
    again.stop()


async def test_the_url_serves_asyncpg_and_sqlalchemy_whatever_the_environment_says(
    server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"PGPORT": "9", "PGHOST": "nowhere", "PGUSER": "x"}.items():
        monkeypatch.setenv(name, value)
    url = server.start()
    connection = await asyncpg.connect(url)
    assert await connection.fetchval("SELECT current_user || '@' || current_database()") == (
        "kompas@kompas"
    )
    await connection.close()
    engine = create_async_engine(url.replace("postgresql://", "postgresql+asyncpg://"))
    async with engine.connect() as session:
        assert await session.scalar(text("SHOW timezone")) == "UTC"
    await engine.dispose()


def test_the_server_is_closed_to_others_and_in_a_session_of_its_own(
    server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KOMPAS_BOOTSTRAP_ADMIN_KEY", "sk_secret")
    url = server.start()
    pid = _postmaster(server)
    folder = server.data_dir / "socket"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert folder.stat().st_uid == server.cluster.stat().st_uid != 0
    assert os.getsid(pid) == pid != os.getsid(0)
    assert _sql(server, url, "SHOW listen_addresses") == ""
    assert b"sk_secret" not in Path(f"/proc/{pid}/environ").read_bytes()


def test_durability_is_on_unless_a_caller_turns_it_off(server: EmbeddedPostgres) -> None:
    server = EmbeddedPostgres(server.data_dir)
    url = server.start()
    wanted = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on",
              "data_checksums": "on", "jit": "off", "max_connections": "50"}  # fmt: skip
    rows = _sql(server, url, f"SELECT name, setting FROM pg_settings WHERE name IN {(*wanted,)}")
    server.stop()
    assert dict(line.split("|") for line in rows.splitlines()) == wanted


def test_settings_are_written_anew_and_may_hold_any_character(server: EmbeddedPostgres) -> None:
    for value in ("it's", 'back\\slash "quoted"'):
        server = EmbeddedPostgres(server.data_dir, {**LOOSE, "kompas.note": value})
        url = server.start()
        assert _sql(server, url, "SHOW kompas.note") == value
        server.stop()


def test_a_killed_postmaster_is_replaced_though_a_backend_still_works(
    server: EmbeddedPostgres,
) -> None:
    url = server.start()
    _sql(server, url, "CREATE TABLE kept AS SELECT 1 AS n")
    # Counting never looks up: this backend does not notice that its postmaster is gone.
    busy = subprocess.Popen(
        [server.bin_dir / "psql", "-Xq", url, "-c",
         "SET application_name = 'busy'; SELECT count(*) FROM generate_series(1, 1e11::bigint)"],
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    asked = "SELECT pid FROM pg_stat_activity WHERE application_name = 'busy' AND state = 'active'"
    _until(lambda: _sql(server, url, asked))
    orphan = int(_sql(server, url, asked))
    _kill(_postmaster(server))
    _until(lambda: not server.is_running())
    assert _alive(orphan)

    assert server.start() == url
    assert not _alive(orphan)
    assert _sql(server, url, "SELECT n FROM kept") == "1"
    busy.wait(5)


def test_a_killed_service_leaves_a_server_that_the_next_one_adopts(
    data: Path, server: EmbeddedPostgres
) -> None:
    with _service(data) as service:
        url = _told(service)["url"]
        pid = _postmaster(server)
        service.kill()
    assert _alive(pid)
    assert server.start() == url
    assert _postmaster(server) == pid
    assert server.is_running()
    server.stop()
    assert not _alive(pid)


def test_a_service_and_its_postmaster_killed_together_are_recovered_from(
    data: Path, server: EmbeddedPostgres
) -> None:
    with _service(data) as service:
        url = _told(service)["url"]
        _sql(server, url, "CREATE TABLE kept AS SELECT 2 AS n")
        pid = _postmaster(server)
        service.kill()
        _kill(pid)
    assert _sql(server, server.start(), "SELECT n FROM kept") == "2"
    assert _postmaster(server) != pid


@pytest.mark.parametrize("now", ["another process", "a zombie", "nobody"])
def test_a_stale_pid_file_does_not_keep_the_server_away(now: str, server: EmbeddedPostgres) -> None:
    url = server.start()
    lines = (server.cluster / "postmaster.pid").read_text().splitlines()
    server.stop()
    # Of the server's own account: Postgres believes such a process to be its former self.
    account = embedded_host.choose_account(server.cluster)
    other = account.spawn(["/bin/sleep", "60"])
    if now == "a zombie":
        other.kill()
        _until(lambda: not _alive(other.pid))
    elif now == "nobody":
        other.kill()
        other.wait()
    text = "\n".join([str(other.pid), *lines[1:]]) + "\n"
    lock = server.data_dir / "socket" / ".s.PGSQL.5432.lock"
    for path in (server.cluster / "postmaster.pid", lock):
        path.write_text(text)
        account.own(path)

    assert server.start() == url
    assert _postmaster(server) != other.pid
    assert _sql(server, url, "SELECT 1") == "1"
    assert now != "another process" or other.poll() is None
    other.kill()
    other.wait()


def test_an_interrupted_initdb_is_begun_again(data: Path, fresh: EmbeddedPostgres) -> None:
    with _service(data) as service:
        _until(lambda: list(data.glob(".postgres-new-*/base")))
        service.kill()
    assert not fresh.cluster.exists()
    assert _sql(fresh, fresh.start(), "SELECT 1") == "1"
    assert list(data.glob(".postgres-new-*/PG_VERSION")) == []


@pytest.mark.parametrize("stage", ["initdb", "postgres"])
def test_a_stop_while_starting_leaves_nothing_behind(
    stage: str, data: Path, request: pytest.FixtureRequest
) -> None:
    server: EmbeddedPostgres = request.getfixturevalue("fresh" if stage == "initdb" else "server")
    caught: list[Exception] = []

    def start() -> None:
        try:
            server.start()
        except StartupError as error:
            caught.append(error)

    thread = threading.Thread(target=start)
    thread.start()
    _until(lambda: list(data.glob(".postgres-new-*")) if stage == "initdb" else _servers(server))
    began = time.monotonic()
    server.stop()
    thread.join()
    assert time.monotonic() - began < 2.0
    assert not server.is_running()
    assert _servers(server) == {}
    if stage == "initdb":
        assert "told to stop" in str(caught[0])
        assert not server.cluster.exists()
    assert _sql(server, server.start(), "SELECT 1") == "1"


def test_a_server_that_does_not_stop_is_made_to(
    server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embedded, "FAST_SECONDS", 0.1)
    monkeypatch.setattr(embedded, "KILL_SECONDS", 0.1)
    url = server.start()
    _sql(server, url, "CREATE TABLE kept AS SELECT 3 AS n")
    pid = _postmaster(server)
    os.kill(pid, signal.SIGSTOP)
    server.stop()
    assert not _alive(pid)
    monkeypatch.undo()
    assert _sql(server, server.start(), "SELECT n FROM kept") == "3"


def test_a_second_service_is_refused_until_the_first_is_gone(
    data: Path, server: EmbeddedPostgres
) -> None:
    url = server.start()
    with _service(data) as second:
        said = _told(second)["error"]
    assert f"{data} is in use by another Kompas (process {os.getpid()})" in said
    with pytest.raises(StartupError, match="in use by another Kompas"):
        EmbeddedPostgres(data, LOOSE).start()
    assert _sql(server, url, "SELECT 1") == "1"
    server.stop()
    third = EmbeddedPostgres(data, LOOSE)
    third.start()
    third.stop()


def test_a_command_finds_the_server_of_the_running_service(
    data: Path, server: EmbeddedPostgres
) -> None:
    beside = EmbeddedPostgres(data)
    assert beside.running_url() is None
    url = server.start()
    assert beside.running_url() == url
    _kill(_postmaster(server))
    assert beside.running_url() is None
    server.start()  # and clears the shared memory away, which the kill left lying


def test_a_cluster_of_another_major_version_is_left_alone(
    data: Path, fresh: EmbeddedPostgres
) -> None:
    cluster = data / "postgres"
    cluster.mkdir(parents=True)
    (cluster / "PG_VERSION").write_text("17\n")
    if IS_ROOT:
        os.chown(cluster, pwd.getpwnam("nobody").pw_uid, -1)
    data.chmod(0o711)
    with pytest.raises(StartupError) as caught:
        fresh.start()
    said = str(caught.value)
    assert f"{cluster} was made by Postgres 17; this Kompas carries Postgres 18" in said
    assert [path.name for path in cluster.iterdir()] == ["PG_VERSION"]


def test_foreign_files_are_not_overwritten(data: Path, fresh: EmbeddedPostgres) -> None:
    cluster = data / "postgres"
    cluster.mkdir(parents=True)
    (cluster / "letter.txt").write_text("mine")
    if IS_ROOT:
        os.chown(cluster, pwd.getpwnam("nobody").pw_uid, -1)
    data.chmod(0o711)
    with pytest.raises(StartupError, match="holds files but no database"):
        fresh.start()
    assert (cluster / "letter.txt").read_text() == "mine"


@pytest.mark.parametrize("below", ["", "deeper/still"])
def test_a_file_in_the_way_is_named(below: str, home: Path) -> None:
    (home / "file").write_text("")
    with pytest.raises(StartupError, match=r"cannot be the data directory: .* is a file"):
        EmbeddedPostgres(home / "file" / below).start()


def test_postgres_own_reason_is_passed_on(data: Path, server: EmbeddedPostgres) -> None:
    server = EmbeddedPostgres(data, {**LOOSE, "shared_buffers": "plenty"})
    with pytest.raises(StartupError, match=r"did not start on .*configuration file .* errors"):
        server.start()
    assert _servers(server) == {}
    mended = EmbeddedPostgres(data, LOOSE)
    mended.start()
    mended.stop()


@as_root
def test_an_ordinary_user_needs_no_root(home: Path) -> None:
    nobody = pwd.getpwnam("nobody").pw_uid
    _skip_unless_reachable(nobody)
    os.chown(home, nobody, -1)
    data = home / "data"
    probe = EmbeddedPostgres(data)
    for _ in range(2):
        with _service(data, nobody) as service:
            assert _sql(probe, _told(service)["url"], "SELECT 1") == "1"
            owners = {path.stat().st_uid for path in (data, probe.cluster, data / "socket")}
            assert owners == {nobody}
            assert stat.S_IMODE(data.stat().st_mode) == 0o700
        assert _servers(probe) == {}
    # Root finds the same data, and runs it as the user whom it belongs to.
    url = probe.start()
    assert Path(f"/proc/{_postmaster(probe)}").stat().st_uid == nobody
    assert _sql(probe, url, "SELECT 1") == "1"
    probe.stop()


@as_root
def test_an_ordinary_user_is_told_what_he_may_not(home: Path) -> None:
    nobody = pwd.getpwnam("nobody").pw_uid
    _skip_unless_reachable(nobody)
    with _service(home / "data", nobody) as service:
        assert "nobody may not write there" in _told(service)["error"]
    (home / "data" / "postgres").mkdir(parents=True)
    os.chown(home / "data", nobody, -1)
    (home / "data" / "postgres").chmod(0o700)
    os.chown(home / "data" / "postgres", 12345, -1)
    with _service(home / "data", nobody) as service:
        assert "belongs to uid 12345" in _told(service)["error"]


@as_root
def test_a_user_without_a_name_is_told_so(home: Path) -> None:
    os.chown(home, 54321, -1)
    with _service(home / "data", 54321) as service:
        assert "uid 54321 has no entry in /etc/passwd" in _told(service)["error"]


@as_root
def test_folders_of_others_keep_their_permissions(home: Path) -> None:
    closed = home / "closed"
    closed.mkdir(mode=0o700)
    with pytest.raises(StartupError, match=r"out of reach for .*chmod o\+x"):
        EmbeddedPostgres(closed / "data").start()
    assert stat.S_IMODE(closed.stat().st_mode) == 0o700


@as_root
def test_binaries_out_of_reach_are_copied_once(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_host, "_runs", lambda _program, _account: False)
    account = embedded_host.choose_account(home / "postgres")
    before = os.umask(0o077)
    try:
        copied = embedded_host.find_binaries(home, account)
    finally:
        os.umask(before)
    assert copied.is_relative_to(home / next(home.iterdir()).name)
    assert account.spawn([str(copied / "initdb"), "--version"], stdout=-3).wait() == 0
    made = copied.stat().st_ino
    assert embedded_host.find_binaries(home, account).stat().st_ino == made
    assert len(list(home.iterdir())) == 1


def test_a_long_path_gets_its_socket_in_a_short_place(home: Path, cluster: Path) -> None:
    data = home / ("d" * 60) / ("e" * 60)
    for name in (data.parent, data):
        name.mkdir()
        name.chmod(0o711)
    subprocess.run(["cp", "-a", cluster, data], check=True)
    server = EmbeddedPostgres(data, LOOSE)
    url = server.start()
    folder = Path(_sql(server, url, "SHOW unix_socket_directories").strip('"'))
    assert _sql(server, url, "SELECT 1") == "1"
    server.stop()
    assert folder.name == embedded_host.short_name(data)
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert server.start() == url
    server.stop()
    folder.rmdir()


def test_a_socket_folder_of_somebody_else_is_refused(data: Path, fresh: EmbeddedPostgres) -> None:
    data.mkdir()
    data.chmod(0o711)
    (data / "socket").symlink_to("/tmp")  # noqa: S108 (what an attacker would choose)
    with pytest.raises(StartupError, match="does not belong to"):
        fresh.start()


def test_ps_and_proc_name_the_same_servers(
    server: EmbeddedPostgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not Path("/bin/ps").exists():
        pytest.skip("no ps here, and none is needed where /proc is")
    server.start()
    found = _servers(server)
    assert found[_postmaster(server)] is True
    assert len(found) > 3

    def by_ps() -> dict[int, bool]:
        with monkeypatch.context() as patch:
            patch.setattr(embedded_cluster, "_command_lines", embedded_cluster._command_lines_of_ps)
            return _servers(server)

    _until(lambda: by_ps() == _servers(server))  # workers come and go


def test_last_weeks_logs_go(server: EmbeddedPostgres) -> None:
    server.start()
    server.stop()
    old = server.cluster / "log" / "postgres-old.log"
    old.write_text("")
    os.utime(old, (0, time.time() - 7 * 86400))
    server.start()
    assert not old.exists()
    assert list((server.cluster / "log").glob("*.log"))


def _skip_unless_reachable(uid: int) -> None:
    account = embedded_host.Account(uid, uid)
    installed = EmbeddedPostgres(Path("/")).bin_dir
    if not account.can_enter(installed) or not account.can_enter(REPOSITORY):
        pytest.skip("this checkout or its venv is out of reach for an ordinary user")
