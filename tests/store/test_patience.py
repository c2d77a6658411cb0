"""Upkeep waits for others, is done in the end, and lets nobody who sends events wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import uuid4

import asyncpg
import pytest
from sqlalchemy import insert, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from service.domain.access import Site
from service.store import patience
from service.store.append import Batch, Log
from service.store.partitions import ensure_partitions
from service.store.patience import patiently
from service.store.retention import forget_keys
from service.store.tables import event_key
from tests.conftest import Database
from tests.submissions import AT, row

MakeSite = Callable[..., Awaitable[Site]]
LATER = AT + timedelta(days=70)
MONTHS = text("SELECT count(*) FROM pg_inherits WHERE inhparent = 'event'::regclass")


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "LOCK_TIMEOUT", "100ms")
    monkeypatch.setattr(patience, "PAUSE_SECONDS", 0.05)


@asynccontextmanager
async def ingesting(engine: AsyncEngine, make_site: MakeSite) -> AsyncIterator[Log]:
    """A log with the months around AT, whose statements may take half a second."""
    await ensure_partitions(engine, AT)
    await make_site(engine)
    log = await Log.open(engine, 0.5)
    yield log
    await log.close()


async def append_some(log: Log) -> None:
    for _ in range(10):
        [result] = await log.append([Batch(1, rows=[row(0), row(1)])], AT, again=False)
        assert result.seqs is None
        await asyncio.sleep(0.03)


async def months(engine: AsyncEngine) -> int:
    async with engine.connect() as connection:
        return int(await connection.scalar(MONTHS) or 0)


async def test_months_are_made_beside_a_dump_and_a_long_transaction(
    database: Database, make_site: MakeSite
) -> None:
    async with ingesting(database.engine, make_site) as log, database.engine.connect() as dump:
        await dump.execute(text("LOCK TABLE ONLY event IN ACCESS SHARE MODE"))
        await dump.execute(text("SELECT count(*) FROM event"))
        before = await months(database.engine)
        async with asyncio.timeout(2):
            await ensure_partitions(database.engine, LATER)
        assert await months(database.engine) > before
        await append_some(log)


async def test_making_months_waits_for_who_is_in_the_way_and_nobody_for_it(
    database: Database, make_site: MakeSite
) -> None:
    """As an index that is being built, or a vacuum, is in the way."""
    async with ingesting(database.engine, make_site) as log:
        before = await months(database.engine)
        async with database.engine.begin() as other:
            await other.execute(text("INSERT INTO event SELECT * FROM event"))
            await other.execute(text("LOCK TABLE event IN SHARE UPDATE EXCLUSIVE MODE"))
            making = asyncio.create_task(ensure_partitions(database.engine, LATER))
            await append_some(log)
            assert not making.done()
            assert await months(database.engine) == before
        async with asyncio.timeout(5):
            await making
        assert await months(database.engine) > before
        await append_some(log)


async def test_forgetting_keys_waits_for_nobody_who_uses_one(
    database: Database, make_site: MakeSite
) -> None:
    today = AT.date()
    old = [{"site_id": 1, "key": uuid4(), "seen_on": today - timedelta(days=60)} for _ in range(5)]
    async with ingesting(database.engine, make_site) as log:
        async with database.engine.begin() as connection:
            await connection.execute(insert(event_key), old)
        async with database.engine.begin() as other:
            used = event_key.c.key == old[0]["key"]
            await other.execute(event_key.update().where(used).values(seen_on=today))
            async with asyncio.timeout(2):
                assert await forget_keys(database.engine, today) == 4
            await append_some(log)
        assert await forget_keys(database.engine, today) == 0


async def test_forgetting_keys_is_done_when_the_table_is_free(
    database: Database, make_site: MakeSite
) -> None:
    today = AT.date()
    async with ingesting(database.engine, make_site) as log:
        old = {"site_id": 1, "key": uuid4(), "seen_on": today - timedelta(days=60)}
        async with database.engine.begin() as connection:
            await connection.execute(insert(event_key), [old])
        async with database.engine.begin() as other:
            await other.execute(text("LOCK TABLE event_key IN SHARE MODE"))
            forgetting = asyncio.create_task(forget_keys(database.engine, today))
            await append_some(log)
            assert not forgetting.done()
        async with asyncio.timeout(5):
            assert await forgetting == 1


async def test_patience_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patience, "ATTEMPTS", 3)
    attempts: list[Exception] = []

    async def blocked() -> None:
        attempts.append(DBAPIError("SELECT", {}, asyncpg.LockNotAvailableError("busy")))
        raise attempts[-1]

    with pytest.raises(DBAPIError):
        await patiently(blocked, "wait")
    assert len(attempts) == 3


async def test_another_failure_is_not_tried_again() -> None:
    attempts = []

    async def failing() -> None:
        attempts.append(1)
        raise asyncpg.UndefinedTableError("no such table")

    with pytest.raises(asyncpg.UndefinedTableError):
        await patiently(failing, "fail")
    assert attempts == [1]
