"""Power cuts under spool and database: what was synced is all there is afterwards."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.torture.ledger import Ledger
from tests.torture.load import Load
from tests.torture.report import Line
from tests.torture.stack import KOMPAS, Stack, passable


@dataclass
class Disk:
    """A mounted file system that forgets; see `forgetful`."""

    folder: Path
    process: subprocess.Popen[bytes]

    def cut(self) -> None:
        """Power is lost: nobody may have a file open any more."""
        self.process.send_signal(signal.SIGUSR1)
        list(self.folder.iterdir())  # the signal is handled before the next request is


@contextmanager
def forgetful_disk(folder: Path) -> Iterator[Disk]:
    """The disk, mounted below `folder` while the block runs."""
    mountpoint, store = passable(folder) / "disk", folder / "store"
    mountpoint.mkdir()
    command = [sys.executable, "-m", "tests.torture.forgetful", str(mountpoint), str(store)]
    process = subprocess.Popen(command)
    try:
        deadline = time.monotonic() + 10
        while not os.path.ismount(mountpoint):
            assert time.monotonic() < deadline, "the disk was not mounted; is fuse3 installed?"
            time.sleep(0.02)
        yield Disk(mountpoint, process)
    finally:
        subprocess.run(["umount", "--lazy", str(mountpoint)], check=False)
        process.wait(10)


async def run(short: bool) -> Line:
    """The whole torture, or a few cuts of it."""
    return await powerless(2 if short else 50)


async def powerless(
    cycles: int, program: Sequence[str] = KOMPAS, seed: int = 1, **environment: str
) -> Line:
    """So many power cuts; in every other one Postgres was away for a while before."""
    chance = random.Random(seed)
    with (
        tempfile.TemporaryDirectory(prefix="kompas-power-", dir="/var/tmp") as name,
        forgetful_disk(Path(name)) as disk,
    ):
        async with Stack(disk.folder, program) as stack:
            await stack.start(**environment)
            ledger = Ledger()
            key = stack.key()
            for cycle in range(cycles):
                load = Load(stack.port, key, ledger, pixels=100, batched=300, connections=8)
                async with load.running():
                    await asyncio.sleep(chance.uniform(0.5, 1.5))
                    if cycle % 2:
                        stack.kill_postgres()
                        await asyncio.sleep(chance.uniform(1.5, 2.5))
                    stack.service.kill()
                    stack.kill_postgres()
                    stack.service.wait()
                disk.cut()
                await stack.revive()
                await stack.ready()
            await stack.drained()
            verdict = await stack.verdict(ledger)
            counted = await stack.counts()
            await stack.stop()
    result = f"{cycles} cuts, {verdict}; rollups {'agree' if counted else 'DISAGREE'}"
    return Line("power cut", "0 acknowledged lost", result, verdict.holds and counted)
