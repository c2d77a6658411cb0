"""Kompas as an operator runs it, in processes that can be killed: Postgres, service, worker."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Self

import asyncpg

from service.domain.measures import Measure
from service.store.embedded import EmbeddedPostgres
from service.store.embedded_cluster import server_processes
from service.store.embedded_host import short_name
from tests.running import ADMIN_KEY, Service, free_port
from tests.torture.ledger import STORED, Ledger, Verdict
from tests.torture.patience import until

KOMPAS = ("-m", "service.cli")
DRAIN_SECONDS = 120.0
WAITING = "SELECT count(*) FROM batch WHERE projected_at IS NULL"
COUNTED = """
SELECT (SELECT coalesce(sum(value), 0) FROM rollup_total WHERE measure = $1)
     = (SELECT count(*) FROM event WHERE kind = 1)
   AND (SELECT coalesce(sum(value), 0) FROM rollup_total WHERE measure = $2)
     = (SELECT count(*) FROM event WHERE data->>'order' IS NOT NULL)
"""
"""Whether the rollups count every page view and order of the log exactly once."""


def passable(folder: Path) -> Path:
    """The folder, which another user may now pass through: Postgres runs as one."""
    folder.chmod(0o755)
    return folder


class Stack:
    """One Postgres, one service, one worker. `program` is what Python runs for `kompas`.

    `through` may replace the database's address that service and worker are told.
    """

    def __init__(self, folder: Path, program: Sequence[str] = KOMPAS) -> None:
        self.folder = passable(folder)
        self.port = free_port()
        self.server = EmbeddedPostgres(folder / "database")
        self.through: str | None = None
        self.environment: dict[str, str] = {}
        self._program = program
        self._service: subprocess.Popen[bytes] | None = None
        self._worker: subprocess.Popen[bytes] | None = None
        self._key = ""
        self.url = ""
        self.deaths = 0
        """How often the service ended that nobody had killed."""

    # --- Life ------------------------------------------------------------------------------------

    async def start(self, **environment: str) -> None:
        """Everything from nothing; `environment` is told to every Kompas."""
        self.environment = environment
        self.url = await asyncio.to_thread(self.server.start)
        done = await asyncio.to_thread(self._run("migrate").wait)
        assert done == 0, "kompas migrate failed"
        self.start_service()
        self.start_worker()
        await self.ready()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        for process in (self._service, self._worker):
            if process is not None and process.poll() is None:
                process.kill()
                process.wait()
        await asyncio.to_thread(self.server.stop)

    async def stop(self) -> None:
        """SIGTERM to Kompas, then a fast shutdown of Postgres."""
        for process in (self._service, self._worker):
            if process is not None and process.poll() is None:
                process.terminate()
        for process in (self._service, self._worker):
            if process is not None:
                await asyncio.to_thread(process.wait, 30)
        await asyncio.to_thread(self.server.stop)

    def start_service(self) -> None:
        """`kompas serve --no-worker`."""
        self._service = self._run("serve", "--no-worker", "--port", str(self.port))

    def start_worker(self) -> None:
        """`kompas worker`."""
        self._worker = self._run("worker")

    @property
    def service(self) -> subprocess.Popen[bytes]:
        """The service's process."""
        assert self._service is not None
        return self._service

    def processes(self) -> dict[str, int]:
        """The numbers of the Kompas processes that run."""
        found = {"service": self._service, "worker": self._worker}
        return {name: one.pid for name, one in found.items() if one and one.poll() is None}

    @property
    def spool(self) -> Path:
        """Where the service spools."""
        return self.folder / "service" / "spool"

    def _run(self, *arguments: str) -> subprocess.Popen[bytes]:
        environment = {
            **os.environ,
            "KOMPAS_DATABASE_URL": self.through or self.url,
            "KOMPAS_DATA_DIR": str(self.folder / "service"),
            "KOMPAS_BOOTSTRAP_ADMIN_KEY": ADMIN_KEY,
            "KOMPAS_LOG_LEVEL": "error",
            **self.environment,
        }
        with (self.folder / f"{arguments[0]}.log").open("ab") as log:
            return subprocess.Popen(
                [sys.executable, *self._program, *arguments],
                env=environment,
                stdout=log,
                stderr=log,
            )

    # --- Violence --------------------------------------------------------------------------------

    def kill_service(self) -> None:
        """SIGKILL, and a new one as a supervisor starts it."""
        self.service.kill()
        self.service.wait()
        self.start_service()

    def kill_worker(self) -> None:
        """SIGKILL, and a new one."""
        assert self._worker is not None
        self._worker.kill()
        self._worker.wait()
        self.start_worker()

    def kill_postgres(self) -> None:
        """SIGKILL to every process of the server, which are gone then."""
        name = short_name(self.server.data_dir)
        while processes := server_processes(self.server.cluster, name):
            for process in processes:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            time.sleep(0.01)

    async def revive(self) -> None:
        """Postgres again, and whichever Kompas ended meanwhile."""
        await asyncio.to_thread(self.server.start)
        self._start_again()
        if self._worker is None or self._worker.poll() is not None:
            self.start_worker()

    # --- Questions -------------------------------------------------------------------------------

    async def ready(self, seconds: float = 60.0) -> float:
        """Seconds until `/readyz` says yes; a service that gave up is started again."""

        async def is_ready() -> bool:
            self._start_again()
            return await asyncio.to_thread(self._is_ready)

        taken = await until(is_ready, seconds)
        assert taken < math.inf, f"the service did not become ready:\n{self._said()}"
        return taken

    def _start_again(self) -> None:
        if self.service.poll() is not None:
            self.deaths += 1
            self.start_service()

    def _said(self) -> str:
        """The last lines of all logs, and what the service answers now."""
        logs = sorted(self.folder.rglob("*.log"))
        tails = (f"{log.name}:\n{log.read_text(errors='replace')[-3000:]}" for log in logs)
        try:
            answer = repr(Service(self.port).get("/readyz"))
        except OSError as error:
            answer = repr(error)
        return "\n".join((*tails, f"process {self.service.poll()}, /readyz: {answer}"))

    def _is_ready(self) -> bool:
        service = Service(self.port)
        try:
            return service.get("/readyz").status == 200
        except OSError:
            return False
        finally:
            service.close()

    def key(self) -> str:
        """A key that may send everything; the same one for the life of the database."""
        if not self._key:
            service = Service(self.port)
            self._key = service.site_key("torture", "Europe/Copenhagen", "DKK")
            service.close()
        return self._key

    def spooled(self) -> int:
        """Bytes in all spool folders."""
        files = self.spool.rglob("*") if self.spool.exists() else []
        sizes: list[int] = []
        for path in files:
            if path.is_file() and path.name != "lock" and "quarantine" not in path.parts:
                try:
                    sizes.append(path.stat().st_size)
                except FileNotFoundError:
                    continue
        return sum(sizes)

    async def drained(self, seconds: float = DRAIN_SECONDS) -> float:
        """Seconds until the spool is empty and everything is projected."""

        async def is_drained() -> bool:
            return not self.spooled() and not (await self.ask(WAITING))[0][0]

        taken = await until(is_drained, seconds)
        assert taken < math.inf, f"{self.spooled():,} bytes are still spooled"
        return taken

    async def ask(self, statement: str, *values: object) -> Sequence[asyncpg.Record]:
        """Rows of a statement, on the database itself."""
        connection = await asyncpg.connect(self.url, timeout=10)
        try:
            return await connection.fetch(statement, *values)
        finally:
            await connection.close()

    async def verdict(self, ledger: Ledger) -> Verdict:
        """What the log holds of what was promised."""
        stored: Mapping[str, int] = dict(await self.ask(STORED))
        return ledger.verdict(stored)

    async def verdict_of_sent(self, ledger: Ledger) -> Verdict:
        """The same, where others have sent things as well."""
        stored = {mark: n for mark, n in await self.ask(STORED) if mark in ledger.sent}
        return ledger.verdict(stored)

    async def counts(self) -> bool:
        """Whether the rollups agree with the log."""
        numbers = (int(Measure.PAGE_VIEWS), int(Measure.ORDERS))
        return bool((await self.ask(COUNTED, *numbers))[0][0])
