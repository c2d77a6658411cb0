"""What of a process makes events durable, for tests that let its database fail."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from service.ingest.lane import Patience
from service.ingest.outage import Outage
from service.ingest.spool.drain import Drainer
from service.ingest.spool.folder import Spool
from service.ingest.writer import Writer
from service.kit.clock import SystemClock
from service.store.engine import make_engine
from service.telemetry import REGISTRY

QUICK = Patience(attempt=0.4, total=0.4, insists=False)
"""For databases that hang."""
CALM = Patience(attempt=5.0, total=5.0, insists=False)
"""For those that break, on machines that are busy: nothing is to be given up for its duration."""
MIB = 1024 * 1024


@dataclass
class Process:
    """What of a process makes events durable."""

    engine: AsyncEngine
    spool: Spool
    outage: Outage
    writer: Writer
    drainer: Drainer


@asynccontextmanager
async def process(
    url: str, folder: Path, *, patience: Patience = CALM, most: int = MIB
) -> AsyncIterator[Process]:
    """With the drainer not running yet."""
    engine, clock, outage = make_engine(url), SystemClock(), Outage()
    spool = Spool(folder, most, clock)
    await spool.open()
    writer = Writer(engine, clock, spool=spool, outage=outage, patience=patience)
    drainer = Drainer(spool, engine, clock, outage)
    await writer.start()
    yield Process(engine, spool, outage, writer, drainer)
    await writer.stop()
    await drainer.stop()
    await spool.close()
    await engine.dispose()


@asynccontextmanager
async def draining(made: Process) -> AsyncIterator[None]:
    task = asyncio.create_task(made.drainer.run())
    yield
    await made.drainer.stop()
    await task


async def eventually(holds: Callable[[], Awaitable[bool]]) -> None:
    """Until it holds; fails after ten seconds."""
    async with asyncio.timeout(10):
        while True:
            if await holds():
                return
            await asyncio.sleep(0.01)


async def drained(made: Process) -> None:
    """Until the spool is empty and the outage over."""

    async def is_over() -> bool:
        return not (made.spool.records or made.outage.is_on)

    await eventually(is_over)


async def until(engine: AsyncEngine, query: str) -> None:
    """Until the query has an answer."""

    async def has_answer() -> bool:
        return bool(await rows_of(engine, query))

    await eventually(has_answer)


async def rows_of(engine: AsyncEngine, query: str) -> list[Any]:
    async with engine.connect() as connection:
        return list((await connection.execute(text(query))).all())


async def count(engine: AsyncEngine, table: str = "event") -> int:
    [(number,)] = await rows_of(engine, f"SELECT count(*) FROM {table}")
    return int(number)


def counted(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"kompas_{name}", labels) or 0.0
