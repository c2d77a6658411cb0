"""Every byte of a spool file flipped, and the file cut there: no crash, no loop, no other loss."""

from __future__ import annotations

import asyncio
import random
import tempfile
import time
from pathlib import Path

from service.ingest.spool.payload import Flush, encode
from service.ingest.spool.segment import segment_path
from service.kit.log import configure_logging
from tests.ingest.spool.drained import damaged, drained, opened, segments
from tests.ingest.spool.flushes import flush
from tests.ingest.spool.wounds import File, written
from tests.torture.report import Line

RECORDS = 12
LONGEST = 5.0
"""Seconds for one file; it takes milliseconds."""
ROOM = 0o700


async def run(short: bool) -> Line:
    """A bit of every byte and a cut at every byte, or of every 29th."""
    configure_logging("critical", "console")  # each damage is an error in the log
    with tempfile.TemporaryDirectory(prefix="kompas-flip-") as name:
        root = Path(name)
        given, whole = await _written(root)
        places = range(0, len(whole.data), 29 if short else 1)
        ends = {0, *(piece.end for piece in whole.whole)}
        chance = random.Random(1)
        wrong = lost = 0
        for place in places:
            flipped = whole.flipped(8 * place + chance.randrange(8))
            cut = whole.cut(place)
            # What was cut off as a whole leaves no trace; of a record, its beginning.
            torn = int(place not in ends)
            for hurt, counted in ((flipped, len(flipped.lost)), (cut, torn)):
                lost += len(hurt.lost)
                wrong += not await _is_read_rightly(root, given, hurt, counted)
    result = (
        f"{len(places):,} flips and {len(places):,} cuts of a file of {len(whole.data):,} bytes:"
        f" {lost:,} records damaged, {wrong} files read wrongly"
    )
    return Line("flipped bits", "only damaged records lost, and counted", result, not wrong)


async def _written(root: Path) -> tuple[list[Flush], File]:
    """Flushes, and the file that the spool makes of them."""
    given = [flush(1 + number % 3) for number in range(RECORDS)]
    async with opened(root / "first") as spool:
        for each in given:
            await spool.append(each)
    (path,) = segments(root / "first")
    whole = written([encode(each) for each in given])
    assert path.read_bytes() == whole.data
    return given, whole


async def _is_read_rightly(root: Path, given: list[Flush], hurt: File, counted: int) -> bool:
    """Whether a spool with that file answers all that is whole, and counts the others."""
    folder = root / f"{time.monotonic_ns()}" / "20260520T123000-1-00000000"
    folder.mkdir(ROOM, parents=True)
    segment_path(folder, 1, 0).write_bytes(hurt.data)
    before = _counted()
    async with asyncio.timeout(LONGEST), opened(folder.parent) as spool:
        found = await drained(spool)
    lost = set(hurt.lost)
    expected = [each for number, each in enumerate(given) if number not in lost]
    return found == expected and _counted() - before == counted


def _counted() -> float:
    return sum(damaged(kind) for kind in ("damaged", "torn", "unreadable"))
