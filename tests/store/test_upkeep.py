"""Rejections, freshness, retention: what stands beside the log."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import Table, func, insert, select
from sqlalchemy.ext.asyncio import AsyncEngine

from service.domain.access import Site
from service.kit.clock import Clock, SystemClock
from service.store import retention
from service.store.freshness import reading_projected
from service.store.rejections import list_rejections
from service.store.retention import forget_keys
from service.store.tables import batch, event_key, rejection
from tests.conftest import Database

MakeSite = Callable[..., Awaitable[Site]]
TODAY = date(2026, 5, 20)
AT = datetime(2026, 5, 20, 12, tzinfo=UTC)


async def put(engine: AsyncEngine, table: Table, rows: list[dict[str, object]]) -> None:
    async with engine.begin() as connection:
        await connection.execute(insert(table), rows)


# --- Rejections ---------------------------------------------------------------------------------


async def test_rejections_are_listed_newest_first_page_by_page(database: Database) -> None:
    refused = {"received_at": AT, "door": "events", "message": "", "field": "", "payload": ""}
    rows = [{**refused, "site_id": 1 + n % 2, "code": str(n)} for n in range(10)]
    await put(database.engine, rejection, rows)
    page = await list_rejections(database.engine, 1, 3)
    assert [row.code for row in page] == ["8", "6", "4"]
    assert (page[0].site_id, page[0].door, page[0].received_at) == (1, "events", AT)
    rest = await list_rejections(database.engine, 1, 3, before_id=page[-1].id)
    assert [row.code for row in rest] == ["2", "0"]
    assert await list_rejections(database.engine, 3, 3) == []


# --- Retention ----------------------------------------------------------------------------------


async def test_keys_are_forgotten_after_thirty_days(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "STEP_ROWS", 4)
    ages = [0, 29, 30, *[31] * 9]
    rows = [{"site_id": 1, "key": uuid4(), "seen_on": TODAY - timedelta(days=age)} for age in ages]
    await put(database.engine, event_key, rows)
    assert await forget_keys(database.engine, TODAY) == 9
    assert await forget_keys(database.engine, TODAY) == 0
    async with database.engine.connect() as connection:
        kept = await connection.scalars(select(event_key.c.seen_on))
        assert sorted((TODAY - day).days for day in kept) == [0, 29, 30]


# --- Freshness ----------------------------------------------------------------------------------


async def as_of_read(engine: AsyncEngine, timeout_s: float, clock: Clock) -> datetime:
    async with reading_projected(engine, 1, timeout_s, clock) as (_, as_of):
        return as_of


def a_batch(site_id: int, **more: object) -> dict[str, object]:
    times = {"received_at": AT, "first_at": AT, "last_at": AT}
    marks = {"projected_at": None, "parked_at": None}
    return {"site_id": site_id, "token": uuid4(), "events": 1, **times, **marks, **more}


async def test_a_read_that_has_nothing_to_wait_for_is_fresh(database: Database) -> None:
    clock = SystemClock()
    before = clock.now()
    await put(database.engine, batch, [a_batch(1, projected_at=AT), a_batch(2)])
    as_of = await as_of_read(database.engine, 5.0, clock)
    assert before <= as_of <= clock.now()


async def test_a_read_waits_for_what_was_committed_before_it(database: Database) -> None:
    clock = SystemClock()
    await put(database.engine, batch, [a_batch(1)])
    asked = clock.now()
    waiting = asyncio.create_task(as_of_read(database.engine, 5.0, clock))
    await asyncio.sleep(0.05)
    await put(database.engine, batch, [a_batch(1)])  # committed later: not waited for
    assert not waiting.done()
    async with database.engine.begin() as connection:
        await connection.execute(batch.update().where(batch.c.id == 1).values(projected_at=AT))
    as_of = await waiting
    assert asked <= as_of <= clock.now()


async def test_a_read_says_how_old_it_is_when_it_cannot_wait_longer(database: Database) -> None:
    later = AT + timedelta(minutes=1)
    await put(database.engine, batch, [a_batch(1, received_at=later), a_batch(1)])
    assert await as_of_read(database.engine, 0.03, SystemClock()) == AT


async def test_a_parked_batch_is_not_waited_for_and_not_hidden(database: Database) -> None:
    await put(database.engine, batch, [a_batch(1, parked_at=AT)])
    async with asyncio.timeout(1):
        assert await as_of_read(database.engine, 5.0, SystemClock()) == AT


async def test_what_is_read_is_what_was_found_complete(database: Database) -> None:
    """One snapshot tells what is projected and answers: nothing comes in between."""
    count = select(func.count()).select_from(batch)
    async with reading_projected(database.engine, 1, 5.0, SystemClock()) as (connection, _):
        await put(database.engine, batch, [a_batch(1, projected_at=AT)])
        assert await connection.scalar(count) == 0
    async with database.engine.connect() as connection:
        assert await connection.scalar(count) == 1
