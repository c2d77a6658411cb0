"""Rebuild: throw a site's facts and rollups away and project its whole log again."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from service.kit.clock import Clock, SystemClock
from service.project.backlog import Chunk, following, lock, mark
from service.project.projections import apply
from service.store.engine import writing

CHUNK_EVENTS = 50_000

DERIVED = (
    "visit",
    "message",
    "lead",
    "conversion",
    "statement",
    "identity",
    "answer",
    "rollup_quarter",
    "rollup_day",
    "rollup_month",
    "rollup_total",
    "rollup_recency",
)
"""Tables that hold nothing but what the projections made of the log."""

_CREDIT_ANEW = text("UPDATE site SET credited_days = lookback_days WHERE id = :site_id")
_FORGET = tuple(text(f"DELETE FROM {table} WHERE site_id = :site_id") for table in DERIVED)


async def rebuild(
    engine: AsyncEngine,
    site_id: int,
    clock: Clock | None = None,
    chunk_events: int = CHUNK_EVENTS,
) -> int:
    """Make all facts and rollups of a site again from its log; answers the events projected.

    One transaction under the runner's lock: readers see the old state until it commits, and
    an error leaves it as it was. Parked batches stay parked. What retention has dropped from
    the log is gone from the facts afterwards.
    """
    now = (clock or SystemClock()).now()
    async with writing(engine) as connection:
        await lock(connection, site_id)
        for statement in _FORGET:
            await connection.execute(statement, {"site_id": site_id})
        await connection.execute(_CREDIT_ANEW, {"site_id": site_id})
        return await _project_all(connection, site_id, now, chunk_events)


async def _project_all(
    connection: AsyncConnection, site_id: int, now: datetime, chunk_events: int
) -> int:
    events = after = 0
    chunk: Chunk | None
    while chunk := await following(connection, site_id, after, chunk_events):
        await apply(connection, chunk)
        await mark(connection, chunk, now)
        events += chunk.events
        after = chunk.batches[-1]
    return events
