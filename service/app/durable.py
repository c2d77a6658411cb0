"""What makes events durable: the writer, and the spool with all that stands behind it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncEngine

from service.ingest.canary import Canary
from service.ingest.outage import Outage
from service.ingest.spool.drain import Drainer
from service.ingest.spool.folder import Spool
from service.ingest.writer import Writer
from service.kit.clock import Clock
from service.settings import Settings

MIB = 1024 * 1024


class Durable:
    """One writer, and unless the settings say otherwise one spool; made but not started."""

    def __init__(
        self,
        engine: AsyncEngine,
        settings: Settings,
        clock: Clock,
        wake: Callable[[], None] | None = None,
    ) -> None:
        outage = Outage()
        most = settings.spool_mb * MIB
        self._spool = Spool(settings.spool_dir, most, clock) if most else None
        self.writer = Writer(engine, clock, wake, spool=self._spool, outage=outage)
        self._canary = Canary(self.writer, self._spool, clock)
        self._drainer = (
            Drainer(self._spool, engine, clock, outage, wake=wake, seen=self._canary.seen)
            if self._spool
            else None
        )

    def held_since(self) -> datetime | None:
        """Since when there are acknowledged events that are only in the spool."""
        return self._spool.since if self._spool else None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Takes events while the block runs; afterwards nothing acknowledged is in memory.

        StartupError when the spool's folder cannot be used.
        """
        async with AsyncExitStack() as stack:
            if self._spool is not None:
                await self._spool.open()
                stack.push_async_callback(self._spool.close)
            if self._drainer is not None:
                draining = asyncio.create_task(self._drainer.run(), name="drainer")
                stack.push_async_callback(_ended, draining)
                stack.push_async_callback(self._drainer.stop)
            await self.writer.start()
            stack.push_async_callback(self.writer.stop)
            sending = asyncio.create_task(self._canary.run(), name="canary")
            stack.push_async_callback(_ended, sending)
            stack.callback(sending.cancel)
            yield


async def _ended(task: asyncio.Task[None]) -> None:
    await asyncio.gather(task, return_exceptions=True)
