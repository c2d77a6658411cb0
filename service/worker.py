"""Composition root of everything that runs in the background: `kompas worker`, or inside serve."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from service.kit.clock import Clock
from service.kit.log import get_logger
from service.kpi.engine import HeldSince, KpiEngine
from service.kpi.live import LiveCatalogue
from service.kpi.snapshot import SnapshotTask
from service.project.runner import Runner
from service.project.selfcheck import SelfCheck
from service.settings import Settings
from service.store.liveness import sever
from service.store.partitions import ensure_partitions
from service.store.retention import forget_keys

RESTART_SECONDS = 5.0
LEAVE_SECONDS = 1.0
RETRY_SECONDS = 60.0
"""How soon a chore that failed is tried again: an outage is no reason to be late by hours."""

_log = get_logger(__name__)


@dataclass(frozen=True)
class Chore:
    """Something done every so often; a failure is logged, and tried again after a minute."""

    name: str
    every_seconds: float
    do: Callable[[], Awaitable[object]]


class Worker:
    """Projection, snapshots for Prometheus, and chores; several workers may run at once.

    What must not run twice takes an advisory lock of its own in the database. `held_since` is that
    of the service that the worker runs in.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        clock: Clock,
        settings: Settings,
        held_since: HeldSince = lambda: None,
    ) -> None:
        self._engine = engine
        self._clock = clock
        self.runner = Runner(engine, clock)
        catalogue = LiveCatalogue(engine, clock, settings.kpi_dir)
        kpis = KpiEngine(engine, catalogue, clock, settings.read_wait_ms / 1000, held_since)
        self._snapshots = SnapshotTask(
            kpis, engine, clock, settings.metrics_windows, settings.metrics_refresh_seconds
        )
        self._chores = (
            Chore("make months", 6 * 3600, self._make_months),
            Chore("forget keys", 3600, self._forget_keys),
            Chore("self-check", 60, SelfCheck(engine, clock).run_once),
        )

    async def run(self) -> None:
        """Run until cancelled or stopped."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.runner.run())
            tasks.create_task(self._snapshots.run())
            for chore in self._chores:
                tasks.create_task(self._repeat(chore))

    async def stop(self) -> None:
        """Finish the transaction under way, start no other."""
        await asyncio.gather(self._snapshots.stop(), self.runner.stop())

    def leave(self) -> None:
        """Wait no longer for a database that does not answer."""
        sever(self._engine)

    async def _repeat(self, chore: Chore) -> None:
        while True:
            pause = chore.every_seconds
            try:
                await chore.do()
            except Exception:
                _log.exception("chore_failed", chore=chore.name)
                pause = min(pause, RETRY_SECONDS)
            await asyncio.sleep(pause)

    async def _make_months(self) -> None:
        await ensure_partitions(self._engine, self._clock.now())

    async def _forget_keys(self) -> None:
        await forget_keys(self._engine, self._clock.now().date())


@asynccontextmanager
async def working(worker: Worker, restart_seconds: float = RESTART_SECONDS) -> AsyncIterator[None]:
    """The worker runs while the block does, and finishes its transaction afterwards.

    Its parts outlive what they can foresee; when one ends with anything else, that is logged as
    an error and all are started again, because events must go on being counted.
    """
    task = asyncio.create_task(_kept_running(worker, restart_seconds))
    try:
        yield
    finally:
        await worker.stop()
        task.cancel()
        _, waiting = await asyncio.wait({task}, timeout=LEAVE_SECONDS)
        if waiting:
            worker.leave()
            await asyncio.wait({task}, timeout=LEAVE_SECONDS)


async def _kept_running(worker: Worker, restart_seconds: float) -> None:
    while True:
        try:
            await worker.run()
        except Exception:
            _log.exception("worker_failed", restart_seconds=restart_seconds)
        await asyncio.sleep(restart_seconds)
