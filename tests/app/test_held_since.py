"""An answer does not claim to be complete while events that it lacks are in the spool."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Any

import httpx
from sqlalchemy import text

from service.domain.access import Scope
from tests.conftest import Database
from tests.doors import doors

ORDER = {"order": "A-1", "value": "100.00", "currency": "DKK"}
QUESTION = "/v1/kpis/gross_revenue"


async def answered(client: httpx.AsyncClient) -> tuple[datetime, Any]:
    answer = await client.get(QUESTION, params={"window": "today"})
    assert answer.status_code == 200, answer.text
    found = answer.json()
    return datetime.fromisoformat(found["as_of"]), found["value"]


async def test_as_of_waits_for_what_is_spooled(database: Database) -> None:
    async with doors(database.engine, Scope.ADMIN, Scope.INGEST, worker=True) as client:
        assert (await answered(client))[0] <= datetime.now(UTC)
        async with database.engine.begin() as other:
            # Nobody can write to the log, everybody can read.
            await other.execute(text("LOCK TABLE event_key IN EXCLUSIVE MODE"))
            sent_at = datetime.now(UTC)
            assert (await client.post("/v1/conversions", json=ORDER)).status_code == 200
            acknowledged_at = datetime.now(UTC)
            as_of, value = await answered(client)
            assert sent_at <= as_of <= acknowledged_at
            assert value != 100
        # A question waits for what is projected, not for the spool.
        for _ in range(200):
            as_of, value = await answered(client)
            if as_of > acknowledged_at:
                break
            await asyncio.sleep(0.05)
        assert as_of > acknowledged_at
        assert value == 100
