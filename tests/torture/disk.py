"""Disks that fill up and fail: what cannot be kept is refused, what was acknowledged is there."""

from __future__ import annotations

import asyncio
import math
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from tests.torture.ledger import Ledger, Verdict
from tests.torture.load import Load
from tests.torture.patience import until
from tests.torture.report import Line
from tests.torture.stack import Stack, passable

SPOOL_MIB = 4
DATABASE_MIB = 400
REFUSAL_SECONDS = 1.0


@contextmanager
def small_disk(folder: Path, mebibytes: int) -> Iterator[Path]:
    """A disk of so many MiB in memory; only root can make one."""
    passable(folder.parent)
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "none", str(folder)]
    subprocess.run(command, check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)


async def run(short: bool) -> Line:
    """A full spool, a full disk under everything, and a disk with errors."""
    rounds = 1 if short else 5
    found = [await _spool_fills(rounds), await _everything_fills(rounds), await _errors(rounds)]
    result = "; ".join(str(one) for one in found)
    target = "0 lost, 503 within 1 s, recovers without restart"
    holds = all(one.holds for one in found)
    in_time = all(one.slowest <= REFUSAL_SECONDS for one in found)
    return Line("disk full, I/O errors", target, result, holds, in_time)


@dataclass
class Found:
    """What came of one kind of full or failing disk.

    `slowest` are the most seconds for a refusal, infinite where none came; `recovers` says whether
    events were taken again afterwards each time.
    """

    what: str
    slowest: float = 0.0
    recovers: bool = True
    verdict: Verdict | None = None
    counted: bool = False

    @property
    def holds(self) -> bool:
        """Whether nothing was lost, and no restart needed."""
        return (
            self.recovers and self.counted and self.slowest < math.inf
            and self.verdict is not None and self.verdict.holds
        )  # fmt: skip

    def __str__(self) -> str:
        recovers = "" if self.recovers else ", NOT RECOVERED"
        refused = f", refused within {self.slowest:.2f} s" if self.slowest else ""
        return f"{self.what}: {self.verdict}{refused}{recovers}"


async def _spool_fills(rounds: int) -> Found:
    with (
        tempfile.TemporaryDirectory(prefix="kompas-disk-", dir="/var/tmp") as name,
        small_disk(Path(name) / "spool", SPOOL_MIB) as spool,
    ):
        async with Stack(Path(name)) as stack:
            await stack.start(KOMPAS_SPOOL_DIR=str(spool))
            ledger = Ledger()
            load = Load(stack.port, stack.key(), ledger)
            found = Found(f"spool of {SPOOL_MIB} MiB full")
            async with load.running():
                for _ in range(rounds):
                    await asyncio.to_thread(stack.server.stop)
                    found.slowest = max(found.slowest, await _refusing(load))
                    await asyncio.to_thread(stack.server.start)
                    found.recovers &= await _taking(load)
            return await _judged(found, stack, ledger)


async def _everything_fills(rounds: int) -> Found:
    with (
        tempfile.TemporaryDirectory(prefix="kompas-disk-", dir="/var/tmp") as name,
        small_disk(Path(name) / "disk", DATABASE_MIB) as disk,
    ):
        async with Stack(disk) as stack:
            await stack.start()
            ledger = Ledger()
            load = Load(stack.port, stack.key(), ledger)
            found = Found("disk full under everything")
            async with load.running():
                for _ in range(rounds):
                    await asyncio.sleep(1)
                    ballast = disk / "ballast"
                    await asyncio.to_thread(_fill, ballast)
                    found.slowest = max(found.slowest, await _refusing(load))
                    ballast.unlink()
                    await stack.revive()
                    found.recovers &= await _taking(load)
            return await _judged(found, stack, ledger)


def _fill(ballast: Path) -> None:
    """Take all the room that is left."""
    block = bytes(64 * 1024)
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(block):
            pass


async def _errors(rounds: int) -> Found:
    with tempfile.TemporaryDirectory(prefix="kompas-disk-", dir="/var/tmp") as name:
        program = ("-m", "tests.torture.sabotaged")
        async with Stack(Path(name), program) as stack:
            await stack.start(KOMPAS_SABOTAGE="errors")
            ledger = Ledger()
            load = Load(stack.port, stack.key(), ledger)
            found = Found("every third sync fails")
            async with load.running():
                for _ in range(rounds):
                    await asyncio.to_thread(stack.server.stop)
                    await asyncio.sleep(3)
                    await asyncio.to_thread(stack.server.start)
                    found.recovers &= await _taking(load)
            return await _judged(found, stack, ledger)


async def _refusing(load: Load) -> float:
    """The most seconds until an answer once requests are refused; infinite if none is."""
    enough = load.refused + 100

    async def refuses() -> bool:
        return load.refused >= enough

    taken = await until(refuses, 60)
    load.seconds.clear()
    await asyncio.sleep(2)
    return max(load.seconds, default=math.inf) if taken < math.inf else math.inf


async def _taking(load: Load) -> bool:
    """Whether events are acknowledged again, without a restart."""
    enough = len(load.ledger.acknowledged) + 200

    async def takes() -> bool:
        return len(load.ledger.acknowledged) >= enough

    return await until(takes, 30) < math.inf


async def _judged(found: Found, stack: Stack, ledger: Ledger) -> Found:
    await stack.drained()
    found.verdict = await stack.verdict(ledger)
    found.counted = await stack.counts()
    found.recovers &= not stack.deaths
    await stack.stop()
    return found
