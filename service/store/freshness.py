"""Bounded read-your-writes: wait until what was committed is projected, and say as of when."""

from __future__ import annotations

import asyncio
from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from service.kit.clock import Clock

FIRST_PAUSE = 0.005
LONGEST_PAUSE = 0.02

# Parked batches are not waited for: the runner has given them up for now. They still count for
# `as_of`, because what they hold is missing from the answer.
_BEHIND = text("""
    SELECT max(id) FILTER (WHERE parked_at IS NULL) AS newest, min(received_at) AS oldest_at
    FROM batch
    WHERE site_id = :site_id AND projected_at IS NULL AND id <= :target""")

_ALL = 2**63 - 1


async def wait_until_projected(
    engine: AsyncEngine, site_id: int, timeout_s: float, clock: Clock
) -> datetime:
    """Wait, at most `timeout_s` seconds, until every batch committed before the call is projected.

    Answers the instant (UTC) as of which facts and rollups are complete: that of the call when
    all was projected, else when the oldest batch that is missing was received. What is committed
    during the wait is not waited for.
    """
    asked = clock.now()
    deadline = clock.monotonic() + timeout_s
    pause = FIRST_PAUSE
    target, oldest_at = await _behind(engine, site_id, _ALL)
    newest = target
    while target is not None and newest is not None and clock.monotonic() < deadline:
        await asyncio.sleep(pause)
        pause = min(2 * pause, LONGEST_PAUSE)
        newest, oldest_at = await _behind(engine, site_id, target)
    return asked if oldest_at is None else min(asked, oldest_at)


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
    engine: AsyncEngine, site_id: int, target: int
) -> tuple[int | None, datetime | None]:
    async with engine.connect() as connection:
        # A single statement needs no transaction of its own around it.
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        row = (await connection.execute(_BEHIND, {"site_id": site_id, "target": target})).one()
    return row.newest, row.oldest_at
