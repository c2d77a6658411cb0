"""kill -9 of service, worker and Postgres, at random, under load: nothing is lost or doubled."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from tests.torture.ledger import Ledger
from tests.torture.load import Load
from tests.torture.report import Line
from tests.torture.stack import KOMPAS, Stack

READY_SECONDS = 5.0
VICTIMS = ("service", "worker", "postgres", "service and postgres")


async def run(short: bool) -> Line:
    """The whole torture, or a few kills of it."""
    return await killed(6 if short else 200)


async def killed(
    cycles: int, program: Sequence[str] = KOMPAS, seed: int = 1, **environment: str
) -> Line:
    """So many kills, each at a random moment of one to two seconds of load."""
    chance = random.Random(seed)
    slowest = (0.0, "nothing")
    with tempfile.TemporaryDirectory(prefix="kompas-kill-", dir="/var/tmp") as name:
        async with Stack(Path(name), program) as stack:
            await stack.start(**environment)
            ledger = Ledger()
            load = Load(stack.port, stack.key(), ledger)
            async with load.running():
                for _ in range(cycles):
                    await asyncio.sleep(chance.uniform(1, 2))
                    started, victim = time.monotonic(), chance.choice(VICTIMS)
                    await _kill(stack, victim)
                    await stack.ready()
                    slowest = max(slowest, (time.monotonic() - started, victim))
                await asyncio.sleep(1)
            drained = await stack.drained()
            verdict = await stack.verdict(ledger)
            counted = await stack.counts()
            await stack.stop()
    result = (
        f"{cycles} kills, {verdict}; rollups {'agree' if counted else 'DISAGREE'}; ready again"
        f" within {slowest[0]:.1f} s (after that of {slowest[1]}), drained in {drained:.1f} s"
    )
    target = f"0 lost, 0 doubled, ready again in {READY_SECONDS:.0f} s"
    return Line("kill -9", target, result, verdict.holds and counted, slowest[0] <= READY_SECONDS)


async def _kill(stack: Stack, victim: str) -> None:
    if "postgres" in victim:
        stack.kill_postgres()
    if "service" in victim:
        stack.kill_service()
    if victim == "worker":
        stack.kill_worker()
    if "postgres" in victim:
        await stack.revive()
