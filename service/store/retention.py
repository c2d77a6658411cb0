"""Forget what has served its time; small steps, so that ingestion never waits behind them."""

from __future__ import annotations

from datetime import date, timedelta

from sqlalchemy import func, select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from service.store import patience
from service.store.engine import writing
from service.store.patience import patiently

KEY_DAYS = 30
STEP_ROWS = 5_000

_FORGET_KEYS = text(
    "DELETE FROM event_key WHERE ctid = ANY (ARRAY("
    # A key that somebody is using stays until the next time: nobody waits for the other.
    " SELECT ctid FROM event_key WHERE seen_on < :before LIMIT :rows FOR UPDATE SKIP LOCKED))"
)


async def forget_keys(engine: AsyncEngine, today: date) -> int:
    """Delete idempotency keys not seen for 30 days; answers how many."""
    before = today - timedelta(days=KEY_DAYS)
    forgotten = 0
    while True:
        step = await patiently(lambda: _forget_some(engine, before), "forget keys")
        forgotten += step
        if step < STEP_ROWS:
            return forgotten


async def _forget_some(engine: AsyncEngine, before: date) -> int:
    async with writing(engine) as connection:
        await connection.execute(
            select(func.set_config("lock_timeout", patience.LOCK_TIMEOUT, True))
        )
        result = await connection.execute(_FORGET_KEYS, {"before": before, "rows": STEP_ROWS})
        return result.rowcount
