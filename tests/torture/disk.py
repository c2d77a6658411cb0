"""Disks that fill up and fail: what cannot be kept is refused, what was acknowledged is there."""

from __future__ import annotations

import asyncio
import math
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.torture.ledger import Ledger
from tests.torture.load import Load
from tests.torture.patience import until
from tests.torture.report import Line
from tests.torture.stack import Stack, passable

SPOOL_MIB = 4
DATABASE_MIB = 400


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
    result = "; ".join(text for text, _ in found)
    target = "0 lost, 503 within 1 s, recovers without restart"
    return Line("disk full, I/O errors", target, result, all(holds for _, holds in found))


async def _spool_fills(rounds: int) -> tuple[str, bool]:
    with (
        tempfile.TemporaryDirectory(prefix="kompas-disk-", dir="/var/tmp") as name,
        small_disk(Path(name) / "spool", SPOOL_MIB) as spool,
    ):
        async with Stack(Path(name)) as stack:
            await stack.start(KOMPAS_SPOOL_DIR=str(spool))
            ledger = Ledger()
            load = Load(stack.port, stack.key(), ledger)
            refused = True
            async with load.running():
                for _ in range(rounds):
                    await asyncio.to_thread(stack.server.stop)
                    refused = await _refusing(load) and refused
                    await asyncio.to_thread(stack.server.start)
                    refused = await _taking(load) and refused
            return await _result(f"spool of {SPOOL_MIB} MiB full", stack, ledger, refused)


async def _everything_fills(rounds: int) -> tuple[str, bool]:
    with (
        tempfile.TemporaryDirectory(prefix="kompas-disk-", dir="/var/tmp") as name,
        small_disk(Path(name) / "disk", DATABASE_MIB) as disk,
    ):
        async with Stack(disk) as stack:
            await stack.start()
            ledger = Ledger()
            load = Load(stack.port, stack.key(), ledger)
            refused = True
            async with load.running():
                for _ in range(rounds):
                    await asyncio.sleep(1)
                    ballast = disk / "ballast"
                    await asyncio.to_thread(_fill, ballast)
                    refused = await _refusing(load) and refused
                    ballast.unlink()
                    await stack.revive()
                    refused = await _taking(load) and refused
            return await _result("disk full under everything", stack, ledger, refused)


def _fill(ballast: Path) -> None:
    """Take all the room that is left."""
    block = bytes(64 * 1024)
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while file.write(block):
            pass


async def _errors(rounds: int) -> tuple[str, bool]:
    with tempfile.TemporaryDirectory(prefix="kompas-disk-", dir="/var/tmp") as name:
        program = ("-m", "tests.torture.sabotaged")
        async with Stack(Path(name), program) as stack:
            await stack.start(KOMPAS_SABOTAGE="errors")
            ledger = Ledger()
            load = Load(stack.port, stack.key(), ledger)
            async with load.running():
                for _ in range(rounds):
                    await asyncio.to_thread(stack.server.stop)
                    await asyncio.sleep(3)
                    await asyncio.to_thread(stack.server.start)
                    taking = await _taking(load)
            return await _result("every third sync fails", stack, ledger, taking)


async def _refusing(load: Load) -> bool:
    """Whether requests come to be refused, and no answer takes more than a second for it."""
    enough = load.refused + 100

    async def refuses() -> bool:
        return load.refused >= enough

    taken = await until(refuses, 60)
    load.seconds.clear()
    await asyncio.sleep(2)
    return taken < math.inf and max(load.seconds, default=math.inf) <= 1.0


async def _taking(load: Load) -> bool:
    """Whether events are acknowledged again, without a restart."""
    enough = len(load.ledger.acknowledged) + 200

    async def takes() -> bool:
        return len(load.ledger.acknowledged) >= enough

    return await until(takes, 30) < math.inf


async def _result(what: str, stack: Stack, ledger: Ledger, kept: bool) -> tuple[str, bool]:
    await stack.drained()
    verdict = await stack.verdict(ledger)
    counted = await stack.counts()
    await stack.stop()
    holds = verdict.holds and counted and kept
    return f"{what}: {verdict}{'' if kept else ', SLOW or not recovered'}", holds
