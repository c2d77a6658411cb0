"""SIGTERM with fifty slow clients half-way: the end comes in time, and promises are kept."""

from __future__ import annotations

import asyncio
import json
import math
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from tests.torture.ledger import Ledger
from tests.torture.load import Connection, Load, event, post
from tests.torture.report import Line
from tests.torture.slow import crowd, public_key
from tests.torture.stack import Stack

SECONDS = 10.0
SLOW = 40
FINISHING = 10
"""Clients that are half-way as well, and send the rest three seconds after the signal."""
LATER = 3.0


async def run(short: bool) -> Line:
    """So many stops under load, each of a new process."""
    ledger = Ledger()
    slowest, finished, cycles = 0.0, 0, 1 if short else 10
    with tempfile.TemporaryDirectory(prefix="kompas-drain-", dir="/var/tmp") as name:
        async with Stack(Path(name)) as stack:
            await stack.start()
            for _ in range(cycles):
                taken, answered = await _stopped(stack, ledger)
                slowest, finished = max(slowest, taken), finished + answered
                stack.start_service()
                await stack.ready()
            await stack.drained()
            verdict = await stack.verdict_of_sent(ledger)
            await stack.stop()
    wanted = cycles * FINISHING
    result = (
        f"{cycles} stops, exit within {slowest:.1f} s, {finished} of {wanted} who finished were"
        f" answered; {verdict}"
    )
    holds = finished == wanted and verdict.holds
    target = f"exit within {SECONDS:.0f} s, 0 acknowledged lost"
    return Line(
        f"SIGTERM with {SLOW + FINISHING} slow clients", target, result, holds, slowest <= SECONDS
    )


async def _stopped(stack: Stack, ledger: Ledger) -> tuple[float, int]:
    """Seconds until the process is gone, and how many of those who finished were answered 200."""
    load = Load(stack.port, public_key(stack), ledger, pixels=200, batched=200)
    signalled = asyncio.Event()
    async with crowd(stack, SLOW), load.running():
        halves = [asyncio.create_task(_half(stack, ledger, signalled)) for _ in range(FINISHING)]
        await asyncio.sleep(2)
        process = stack.service
        started = time.monotonic()
        process.terminate()
        signalled.set()
        code = await asyncio.to_thread(process.wait, 60)
        taken = time.monotonic() - started if code == 0 else math.inf
        answered = sum(await asyncio.gather(*halves))
    return taken, answered


class _Halved(Connection):
    """Sends a request in two parts."""

    async def exchange_in_parts(self, request: bytes, go_on: asyncio.Event) -> tuple[int, bytes]:
        """Status and body; the second half follows some seconds after the event."""
        self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        half = len(request) - 20
        self._streams[1].write(request[:half])
        await go_on.wait()
        await asyncio.sleep(LATER)
        return await self.exchange(request[half:])


async def _half(stack: Stack, ledger: Ledger, signalled: asyncio.Event) -> bool:
    marks = ledger.marks(3)
    request = post("/v1/events", stack.key(), [event(mark) for mark in marks])
    with suppress(OSError):
        status, body = await _Halved(stack.port).exchange_in_parts(request, signalled)
        if status == 200 and json.loads(body)["accepted"] == len(marks):
            ledger.acknowledge(marks)
            return True
    return False
