"""Half-open and trickling connections: the others do not notice."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.running import Service
from tests.torture.crowd import HALF_OPEN, MANNERS
from tests.torture.ledger import Ledger
from tests.torture.load import Load
from tests.torture.report import Line
from tests.torture.stack import Stack

SHARE = 0.999
P99 = 0.1
PIXELS, BATCHED = 100, 100
CROWD = 500
BEYOND = 4500
"""More than a service accepts, all half-open: those who wait for the longest make room."""
A_SECOND = 300
"""Connections that a crowd makes."""


@dataclass(frozen=True)
class Seen:
    """What good clients saw: requests, those without a 200, the answer time of 99 % in seconds;
    and how often hostile ones were closed."""

    number: int
    bad: int
    p99: float
    closed: int

    @property
    def holds(self) -> bool:
        """Whether hardly anybody was refused."""
        return 0 < self.number * (1 - SHARE) >= self.bad

    def __str__(self) -> str:
        share = 1 - self.bad / self.number
        return f"{share:.2%} of {self.number:,} good, p99 {self.p99 * 1000:.0f} ms"


async def run(short: bool) -> Line:
    """A load alone, then beside five hundred of them, then beside more than are accepted."""
    with tempfile.TemporaryDirectory(prefix="kompas-slow-", dir="/var/tmp") as name:
        async with Stack(Path(name)) as stack:
            await stack.start()
            alone = await _beside(stack, 0, 5 if short else 10)
            crowded = await _beside(stack, CROWD, 14 if short else 90)
            result = f"{crowded} ({alone.p99 * 1000:.0f} ms alone), {crowded.closed:,} closed"
            holds = crowded.holds and crowded.closed > 0
            if not short:
                beyond = await _beside(stack, BEYOND, 30, HALF_OPEN)
                result += f"; beside {BEYOND:,} half-open ones: {beyond}"
                holds = holds and beyond.holds
            await stack.stop()
    target = f"good requests at least {SHARE:.1%}, p99 at most {P99 * 1000:.0f} ms"
    return Line(
        f"{CROWD} half-open and trickling connections", target, result, holds, crowded.p99 <= P99
    )


def public_key(stack: Stack) -> str:
    """A key of the same site such as web pages carry: pixels take no other."""
    service = Service(stack.port)
    body = {"site": "torture", "name": "page", "scopes": ["public"]}
    try:
        stack.key()  # makes the site
        return str(service.post("/v1/keys", body).json["key"])
    finally:
        service.close()


async def _beside(stack: Stack, number: int, seconds: float, kinds: int = len(MANNERS)) -> Seen:
    load = Load(stack.port, public_key(stack), Ledger(), pixels=PIXELS, batched=BATCHED)
    async with crowd(stack, number, kinds) as closed:
        if number:
            await asyncio.sleep(number / A_SECOND)
        async with load.running():
            await asyncio.sleep(seconds)
    times = sorted(load.seconds) or [float("inf")]
    answered = len(load.seconds) + len(load.late) - load.refused
    return Seen(answered, len(load.late), times[int(len(times) * 0.99)], sum(closed))


@asynccontextmanager
async def crowd(stack: Stack, number: int, kinds: int = len(MANNERS)) -> AsyncIterator[list[int]]:
    """So many hostile clients during the block; after it the list says how many were closed."""
    closed: list[int] = []
    arguments = (str(stack.port), stack.key(), str(number), str(kinds))
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.torture.crowd", *arguments), stdout=asyncio.subprocess.PIPE
    )
    try:
        yield closed
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        printed, _ = await process.communicate()
        closed.append(int(printed))
