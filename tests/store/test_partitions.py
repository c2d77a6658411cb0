from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from service.store.engine import connect
from service.store.partitions import Month, Partitions, ensure_partitions, months_between
from tests.conftest import Database

NOW = datetime(2026, 1, 20, tzinfo=UTC)

INSERT = """
INSERT INTO event (site_id, batch_id, occurred_at, visitor, dim_id, seq, kind, flags, data)
VALUES (1, 1, '{at}', 0, 0, 0, 1, 0, '{{}}')"""


async def tables(engine: AsyncEngine) -> list[str]:
    query = "SELECT inhrelid::regclass::text FROM pg_inherits WHERE inhparent = 'event'::regclass"
    async with engine.connect() as connection:
        return sorted(await connection.scalars(text(query)))


@given(st.datetimes(datetime(1989, 1, 1), datetime(2200, 1, 1)), st.integers(0, 2000))
def test_months_follow_each_other_without_a_gap(first: datetime, days: int) -> None:
    first = first.replace(tzinfo=UTC)
    last = first + timedelta(days=days)
    months = list(months_between(first, last))
    assert months[0].start <= first
    assert months[-1].start <= last < months[-1].next().start
    assert all(month.next() == after for month, after in pairwise(months))


async def test_the_months_around_now_are_made_once(database: Database) -> None:
    for _ in range(2):
        await ensure_partitions(database.engine, NOW)
    made = ["event_y2025m12", "event_y2026m01", "event_y2026m02", "event_y2026m03"]
    assert await tables(database.engine) == made
    await ensure_partitions(database.engine, NOW, days_back=60, days_ahead=0)
    assert await tables(database.engine) == ["event_y2025m11", *made]


async def test_a_partition_takes_its_month_and_has_every_index(database: Database) -> None:
    await ensure_partitions(database.engine, NOW, days_back=0, days_ahead=13)
    edges = ["2026-01-01 00:00+00", "2026-01-31 23:59:59.999999+00", "2026-02-01 00:00+00"]
    async with database.engine.begin() as connection:
        for at in edges:
            await connection.execute(text(INSERT.format(at=at)))
        homes = await connection.scalars(
            text("SELECT tableoid::regclass::text FROM event ORDER BY occurred_at")
        )
        assert list(homes) == ["event_y2026m01", "event_y2026m01", "event_y2026m02"]
        indexes = await connection.execute(
            text("SELECT inhparent, count(*) FROM pg_inherits JOIN pg_index"
                 " ON indexrelid = inhrelid GROUP BY 1")
        )  # fmt: skip
        assert sorted(count for _, count in indexes) == [2, 2, 2]


async def test_processes_that_need_a_month_at_once_make_it_once(database: Database) -> None:
    months = list(months_between(NOW, NOW + timedelta(days=150)))
    connections = [await connect(database.engine, {}) for _ in range(4)]
    await asyncio.gather(*(Partitions().make(each, months) for each in connections))
    assert await tables(database.engine) == [month.table for month in months]
    for connection in connections:
        await connection.close()


async def test_making_a_month_blocks_no_insert_and_waits_for_none(database: Database) -> None:
    await ensure_partitions(database.engine, NOW, days_back=0, days_ahead=0)
    maker, inserter = [await connect(database.engine, {"lock_timeout": "2s"}) for _ in range(2)]
    early = inserter.transaction()
    await early.start()
    await inserter.execute(INSERT.format(at=NOW))
    making = maker.transaction()
    await making.start()
    await Partitions().make(maker, [Month(2026, 2)])
    await inserter.execute(INSERT.format(at=NOW))
    assert await inserter.fetchval("SELECT count(*) FROM event") == 2
    await early.commit()
    await making.commit()
    assert await tables(database.engine) == ["event_y2026m01", "event_y2026m02"]
    await maker.close()
    await inserter.close()


async def test_a_known_month_is_not_asked_for_again(database: Database) -> None:
    connection = await connect(database.engine, {})
    partitions = Partitions()
    missing = partitions.missing([NOW, NOW + timedelta(days=31), NOW], NOW + timedelta(days=31))
    assert missing == [Month(2026, 1), Month(2026, 2)]
    await partitions.make(connection, missing)
    assert partitions.missing([NOW], NOW) == []
    partitions.forget()
    assert partitions.missing([NOW], NOW) == [Month(2026, 1)]
    # Another process made it: found out with the first one that is missing.
    await partitions.make(connection, [Month(2026, 3)])
    assert partitions.missing([NOW], NOW) == []
    await connection.close()


@pytest.mark.parametrize(
    "at", [datetime(1988, 12, 31, tzinfo=UTC), datetime(2026, 3, 1, tzinfo=UTC)]
)
def test_no_month_is_made_that_no_event_may_have(at: datetime) -> None:
    assert Partitions().missing([at], NOW + timedelta(days=2)) == []
