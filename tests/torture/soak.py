"""An hour at 70 % of capacity with the database away half the time: memory stays flat."""

from __future__ import annotations

import asyncio
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from statistics import linear_regression

from tests.torture.ledger import Ledger
from tests.torture.load import Load
from tests.torture.report import Line
from tests.torture.stack import Stack

SHARE = 0.7
AWAY, THERE = 30.0, 30.0
CALIBRATION = 10.0
SAMPLE = 5.0
WARM = 0.25
"""The part of the run in which memory may still grow: caches fill, the allocator settles."""

PROCESSES = 2
MOST_MIB = 300e6 / (1 << 20)
STEEPEST = 1.0
"""MiB an hour."""


@dataclass
class Memory:
    """Resident memory of processes by time, in MiB."""

    samples: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    async def watch(self, stack: Stack) -> None:
        """Sample until cancelled."""
        while True:
            for name, process in stack.processes().items():
                self.samples.setdefault(name, []).append((time.monotonic(), resident(process)))
            await asyncio.sleep(SAMPLE)

    def most(self) -> float:
        """The largest that any process was."""
        return max(size for samples in self.samples.values() for _, size in samples)

    def slope(self) -> float:
        """MiB an hour of the process that grows fastest, once it is warm."""
        slopes = []
        for samples in self.samples.values():
            warm = samples[int(WARM * len(samples)) :]
            slopes.append(linear_regression(*zip(*warm, strict=True)).slope * 3600)
        return max(slopes)


def resident(process: int) -> float:
    """Resident memory of a process in MiB."""
    for line in Path(f"/proc/{process}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("the process has ended")


async def run(short: bool) -> Line:
    """An hour, or a minute."""
    return await soaked(60.0 if short else 3600.0)


async def soaked(seconds: float) -> Line:
    """So long, after the capacity was measured."""
    with tempfile.TemporaryDirectory(prefix="kompas-soak-", dir="/var/tmp") as name:
        async with Stack(Path(name)) as stack:
            await stack.start()
            ledger, memory = Ledger(), Memory()
            capacity = await _capacity(stack, ledger)
            pixels, batched = 0.1 * SHARE * capacity, 0.9 * SHARE * capacity
            load = Load(stack.port, stack.key(), ledger, pixels, batched)
            watching = asyncio.create_task(memory.watch(stack))
            ends = time.monotonic() + seconds
            async with load.running():
                while time.monotonic() < ends:
                    await asyncio.sleep(min(THERE, seconds / 4))
                    await asyncio.to_thread(stack.server.stop)
                    await asyncio.sleep(min(AWAY, seconds / 4))
                    await asyncio.to_thread(stack.server.start)
            watching.cancel()
            drained = await stack.drained(seconds)
            verdict = await stack.verdict(ledger)
            counted = await stack.counts()
            await stack.stop()
    most, slope = memory.most(), memory.slope()
    # A process that died is measured no more.
    alive = not stack.deaths and len(memory.samples) == PROCESSES
    result = (
        f"{seconds / 60:.0f} min at {SHARE * capacity:,.0f} events/s, {verdict}; rollups"
        f" {'agree' if counted else 'DISAGREE'}; at most {most:.0f} MiB, {slope:+.1f} MiB/h;"
        f" drained in {drained:.0f} s"
    )
    flat = most <= MOST_MIB and (slope <= STEEPEST or seconds < 3600)
    target = f"at most {MOST_MIB:.0f} MB a process, at most {STEEPEST:.0f} MB/h"
    return Line("soak", target, result, verdict.holds and counted and alive, flat)


async def _capacity(stack: Stack, ledger: Ledger) -> float:
    """Events a second that are acknowledged when more are offered."""
    load = Load(stack.port, stack.key(), ledger, pixels=2_000, batched=100_000)
    before = len(ledger.acknowledged)
    async with load.running():
        await asyncio.sleep(CALIBRATION)
    return (len(ledger.acknowledged) - before) / CALIBRATION
