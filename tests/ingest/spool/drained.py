"""A spool for a test, and what comes out of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from service.ingest.spool.folder import Spool
from service.ingest.spool.payload import Flush
from service.kit.clock import Clock
from service.telemetry import REGISTRY

MIB = 1024 * 1024


@asynccontextmanager
async def opened(
    root: Path, *, most_bytes: int = 16 * MIB, clock: Clock | None = None
) -> AsyncIterator[Spool]:
    spool = Spool(root, most_bytes, clock)
    await spool.open()
    try:
        yield spool
    finally:
        await spool.close()


async def drained(spool: Spool) -> list[Flush]:
    """Everything in it, in the order in which it is replayed; then it is empty."""
    flushes = []
    while (segment := await spool.next()) is not None:
        flushes += [flush async for flush in spool.flushes(segment)]
        await spool.done(segment)
    assert (spool.size, spool.records) == (0, 0)
    return flushes


def segments(root: Path) -> list[Path]:
    """The files of all folders, quarantine excepted."""
    return sorted(path for path in root.glob("2*/*.spool"))


def inside(root: Path) -> list[str]:
    """Names of what is in a folder."""
    return sorted(path.name for path in root.iterdir())


def metric(name: str, **labels: str) -> float:
    """What is exported now; 0 for a counter that has not counted yet."""
    return REGISTRY.get_sample_value(name, labels) or 0


def damaged(kind: str) -> float:
    """Records that were passed over so far."""
    return metric("kompas_spool_damaged_records_total", kind=kind)


def failures(action: str) -> float:
    """Errors of the disk so far."""
    return metric("kompas_spool_failures_total", action=action)
