"""Postgres is down for ten minutes: everything goes on being acknowledged, quickly, and is kept."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from tests.torture.ledger import Ledger
from tests.torture.load import Load
from tests.torture.patience import until
from tests.torture.report import Line
from tests.torture.stack import Stack


async def run(short: bool) -> Line:
    """Ten minutes, or ten seconds."""
    return await away(10 if short else 600)


async def away(seconds: float) -> Line:
    """Postgres is stopped for so long at 500 events a second, and comes back."""
    with tempfile.TemporaryDirectory(prefix="kompas-outage-", dir="/var/tmp") as name:
        async with Stack(Path(name)) as stack:
            await stack.start()
            ledger = Ledger()
            load = Load(stack.port, stack.key(), ledger, pixels=250, batched=250)
            async with load.running():
                await asyncio.sleep(2)
                await asyncio.to_thread(stack.server.stop)
                load.seconds.clear()
                await asyncio.sleep(seconds)
                slowest = sorted(load.seconds)
                spooled = stack.spooled()
                await asyncio.to_thread(stack.server.start)

                async def is_empty() -> bool:
                    return not stack.spooled()

                drained = await until(is_empty, 120)
            await stack.drained()
            verdict = await stack.verdict(ledger)
            counted = await stack.counts()
            await stack.stop()
    p99 = 1000 * slowest[int(0.99 * len(slowest))]
    result = (
        f"{seconds:.0f} s away, {verdict}; rollups {'agree' if counted else 'DISAGREE'}; p99"
        f" {p99:.1f} ms, {load.refused} refused; {spooled:,} bytes drained in {drained:.1f} s"
    )
    holds = verdict.holds and counted and not load.refused
    in_time = p99 <= 50 and drained <= 60
    target = "0 lost, p99 at most 50 ms, drained within 60 s"
    return Line("Postgres away", target, result, holds, in_time)
