"""Forget what has served its time; small steps, so that ingestion never waits behind them."""

from __future__ import annotations

from datetime import date, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from service.store.engine import writing

KEY_DAYS = 30
STEP_ROWS = 5_000

_FORGET_KEYS = text(
    "DELETE FROM event_key WHERE ctid = ANY (ARRAY("
    " SELECT ctid FROM event_key WHERE seen_on < :before LIMIT :rows))"
)


async def forget_keys(engine: AsyncEngine, today: date) -> int:
    """Delete idempotency keys not seen for 30 days; answers how many."""
    before = today - timedelta(days=KEY_DAYS)
    forgotten = 0
    while True:
        async with writing(engine) as connection:
            result = await connection.execute(_FORGET_KEYS, {"before": before, "rows": STEP_ROWS})
        forgotten += result.rowcount
        if result.rowcount < STEP_ROWS:
            return forgotten
