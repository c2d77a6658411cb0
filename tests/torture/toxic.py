"""A network between service and Postgres that swallows, cuts, tears, refuses and crawls."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.proxy import Mode, Proxy, proxy_to
from tests.torture.ledger import Ledger
from tests.torture.load import Load
from tests.torture.patience import until
from tests.torture.report import Line
from tests.torture.stack import Stack

FIRST_ANSWER = 1.5
RECOVERY = 2.0


def _set(proxy: Proxy, name: str, value: object) -> None:
    setattr(proxy, name, value)


EVILS: dict[str, Callable[[Proxy], None]] = {
    "black hole": lambda proxy: _set(proxy, "mode", Mode.SWALLOW),
    "cut after each commit": lambda proxy: _set(proxy, "mode", Mode.CUT),
    "torn answers": lambda proxy: _set(proxy, "answers_left", 5),
    "refused": lambda proxy: proxy.refuse(),
    "slow link": lambda proxy: _set(proxy, "delay", 0.3),
}


async def run(short: bool) -> Line:
    """Every evil for a while, once or several times."""
    rounds, seconds = (1, 3.0) if short else (10, 10.0)
    with tempfile.TemporaryDirectory(prefix="kompas-toxic-", dir="/var/tmp") as name:
        async with Stack(Path(name)) as stack:
            url = await asyncio.to_thread(stack.server.start)
            async with proxy_to(url) as proxy:
                stack.through = proxy.url
                await stack.start()
                ledger = Ledger()
                # In a thread: the proxy, which the service needs for it, runs in this loop.
                key = await asyncio.to_thread(stack.key)
                load = Load(stack.port, key, ledger, pixels=200, batched=200)
                slowest, recovery = 0.0, 0.0
                async with load.running():
                    await asyncio.sleep(2)
                    for _ in range(rounds):
                        for evil in EVILS.values():
                            load.seconds.clear()
                            evil(proxy)
                            await asyncio.sleep(seconds)
                            slowest = max([slowest, *load.seconds])
                            recovery = max(recovery, await _recovery(stack, proxy))
                await stack.drained()
                verdict = await stack.verdict(ledger)
                counted = await stack.counts()
                await stack.stop()
    result = (
        f"{verdict}; rollups {'agree' if counted else 'DISAGREE'}; slowest answer {slowest:.2f} s,"
        f" {load.refused} refused, in Postgres again after {recovery:.2f} s"
    )
    holds = verdict.holds and counted and not load.refused
    in_time = slowest <= FIRST_ANSWER and recovery <= RECOVERY
    target = f"0 lost, first answer within {FIRST_ANSWER} s, recovery within {RECOVERY} s"
    return Line("toxic network", target, result, holds, in_time)


async def _recovery(stack: Stack, proxy: Proxy) -> float:
    """Seconds from the network's return until Postgres takes events again."""
    proxy.mend()
    before = await _stored(stack)

    async def takes() -> bool:
        return await _stored(stack) > before

    return await until(takes, 60)


async def _stored(stack: Stack) -> int:
    return int((await stack.ask("SELECT coalesce(max(id), 0) FROM batch"))[0][0])
