"""Bounded read-your-writes: wait until what was committed is projected, and say as of when."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from service.kit.clock import Clock
from service.store.engine import reading

FIRST_PAUSE = 0.005
LONGEST_PAUSE = 0.02

# Parked batches are not waited for: the runner has given them up for now. They still count for
# `as_of`, because what they hold is missing from the answer.
_BEHIND = text("""
    SELECT max(id) FILTER (WHERE parked_at IS NULL) AS newest, min(received_at) AS oldest_at
    FROM batch
    WHERE site_id = :site_id AND projected_at IS NULL AND id <= :target""")

_ALL = 2**63 - 1


@asynccontextmanager
async def reading_projected(
    engine: AsyncEngine, site_id: int, timeout_s: float, clock: Clock
) -> AsyncIterator[tuple[AsyncConnection, datetime]]:
    """A snapshot (see `reading`) with every batch committed before the call projected.

    Waits for that, at most `timeout_s` seconds. Beside the connection it gives the instant (UTC)
    as of which facts and rollups are complete in the snapshot: that of the call when all was
    projected, else when the oldest batch that is missing was received. What is committed during
    the wait is not waited for.
    """
    asked, deadline = clock.now(), clock.monotonic() + timeout_s
    target, pause = _ALL, FIRST_PAUSE
    while True:
        async with reading(engine) as connection:
            # In most cases nothing is missing, and the snapshot that shows it is read further.
            newest, oldest_at = await _behind(connection, site_id, target)
            if newest is None or clock.monotonic() >= deadline:
                yield connection, asked if oldest_at is None else min(asked, oldest_at)
                return
        target = newest if target == _ALL else target
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)


_OLDEST = text("""
    SELECT min(received_at) FROM batch WHERE projected_at IS NULL AND parked_at IS NULL""")


async def oldest_waiting(engine: AsyncEngine) -> datetime | None:
    """When the oldest batch of any site that waits for projection was received; None without one.

    Asked of the database, because the process that projects may be another one, or dead.
    """
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        oldest: datetime | None = await connection.scalar(_OLDEST)
    return oldest


async def _behind(
    connection: AsyncConnection, site_id: int, target: int
) -> tuple[int | None, datetime | None]:
    row = (await connection.execute(_BEHIND, {"site_id": site_id, "target": target})).one()
    return row.newest, row.oldest_at
