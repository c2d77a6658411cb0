"""The same batch ten times at once, again after kill -9, and 29 days later: counted once."""

from __future__ import annotations

import asyncio
import json
import tempfile
from contextlib import suppress
from pathlib import Path

from service.kit.clock import SystemClock
from service.store.engine import make_engine
from service.store.retention import forget_keys
from tests.torture.ledger import Ledger
from tests.torture.load import Connection, event, post
from tests.torture.report import Line
from tests.torture.stack import Stack

EVENTS = 500
AT_ONCE = 10
MONTH_LATER = "UPDATE event_key SET seen_on = seen_on - 29"


async def run(short: bool) -> Line:
    """Three rounds of one batch, or of twenty."""
    rounds = 1 if short else 20
    with tempfile.TemporaryDirectory(prefix="kompas-same-", dir="/var/tmp") as name:
        async with Stack(Path(name)) as stack:
            await stack.start()
            ledger = Ledger()
            new = 0
            for _ in range(rounds):
                marks = ledger.marks(EVENTS)
                request = post("/v1/events", stack.key(), [event(mark) for mark in marks])
                new += await _at_once(stack, request)
                repeating = asyncio.create_task(_at_once(stack, request))
                await asyncio.sleep(0.01)
                stack.kill_service()
                await stack.ready()
                await repeating
                new += await _at_once(stack, request)
                await stack.ask(MONTH_LATER)
                await _forget(stack)
                new += await _at_once(stack, request)
                ledger.acknowledge(marks)
            await stack.drained()
            verdict = await stack.verdict(ledger)
            counted = await stack.counts()
            await stack.stop()
    holds = verdict.holds and counted and new == rounds * EVENTS == verdict.stored
    result = f"{new:,} said to be new, {verdict}"
    return Line("same batch again", f"exactly {rounds * EVENTS:,}", result, holds)


async def _forget(stack: Stack) -> None:
    """Forget the keys that are old enough, as the worker does."""
    engine = make_engine(stack.url)
    await forget_keys(engine, SystemClock().now().date())
    await engine.dispose()


async def _at_once(stack: Stack, request: bytes) -> int:
    """How many events were said to be new, in all answers together."""
    answers = await asyncio.gather(*(_sent(stack, request) for _ in range(AT_ONCE)))
    return sum(answers)


async def _sent(stack: Stack, request: bytes) -> int:
    connection = Connection(stack.port)
    with suppress(OSError):
        status, body = await connection.exchange(request)
        connection.drop()
        return int(json.loads(body)["accepted"]) if status == 200 else 0
    return 0
