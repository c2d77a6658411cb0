"""Composition root of everything that runs in the background: `kompas worker`, or inside serve."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog
from sqlalchemy.ext.asyncio import AsyncEngine

from service.kit.clock import Clock
from service.kpi.catalogue import load_catalogue
from service.kpi.engine import KpiEngine
from service.kpi.snapshot import SnapshotTask
from service.project.runner import Runner
from service.settings import Settings
from service.store.retention import forget_keys

log = structlog.get_logger()


@dataclass(frozen=True)
class Chore:
    """Something done every so often; a failure is logged and tried again the next time."""

    name: str
    every_seconds: float
    do: Callable[[], Awaitable[object]]


class Worker:
    """Projection, snapshots for Prometheus, and chores; several workers may run at once.

    What must not run twice takes an advisory lock of its own in the database.
    """

    def __init__(self, engine: AsyncEngine, clock: Clock, settings: Settings) -> None:
        self._engine = engine
        self._clock = clock
        self.runner = Runner(engine, clock)
        kpis = KpiEngine(engine, load_catalogue(), clock, settings.read_wait_ms / 1000)
        self._snapshots = SnapshotTask(
            kpis, engine, clock, settings.metrics_windows, settings.metrics_refresh_seconds
        )
        self._chores = (Chore("forget keys", 3600, self._forget_keys),)

    async def run(self) -> None:
        """Run until cancelled or stopped."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.runner.run())
            tasks.create_task(self._snapshots.run())
            for chore in self._chores:
                tasks.create_task(self._repeat(chore))

    async def stop(self) -> None:
        """Finish the transaction under way, start no other."""
        await self._snapshots.stop()
        await self.runner.stop()

    async def _repeat(self, chore: Chore) -> None:
        while True:
            try:
                await chore.do()
            except Exception:
                log.exception("chore failed", chore=chore.name)
            await asyncio.sleep(chore.every_seconds)

    async def _forget_keys(self) -> None:
        await forget_keys(self._engine, self._clock.now().date())
