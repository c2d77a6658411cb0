"""Compaction changes no answer, whatever the rows are."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from service.domain.access import Site
from service.project.compact import TIERS, compact
from service.project.rebuild import DERIVED
from service.project.rollups import LARGEST
from service.store.engine import reading, writing
from service.store.tables import metadata
from tests.project.facts import ROLLUPS

NOON = datetime(2026, 5, 10, 12, tzinfo=UTC)
DAY = timedelta(days=1)
HUGE = int(LARGEST)

Key = tuple[datetime, int, int, str]
A: Key = (NOON, 1, 41, "DKK")
ROWS: tuple[tuple[Key, list[int], list[int]], ...] = (
    (A, [1, 2, 3], [6]),
    ((NOON, 1, 41, "EUR"), [7], [7]),
    ((NOON, 1, 42, "DKK"), [8], [8]),
    ((NOON, 2, 41, "DKK"), [9], [9]),
    ((NOON + timedelta(minutes=15), 1, 41, "DKK"), [10], [10]),
    ((NOON, 3, 41, "DKK"), [5, -2, -3], []),
    ((NOON, 4, 41, "DKK"), [HUGE, HUGE], [HUGE, HUGE]),
    ((NOON - 40 * DAY, 1, 41, "DKK"), [1, 1], [2]),
    ((NOON + 40 * DAY, 1, 41, "DKK"), [1, 1], [2]),
)
"""A key, its rows, and its rows after compaction."""


def test_every_rollup_is_compacted_and_rebuilt() -> None:
    rollups = {name for name in metadata.tables if name.startswith("rollup_")}
    assert set(TIERS) == rollups
    assert rollups <= set(DERIVED)


@pytest.mark.parametrize("tier", ROLLUPS)
async def test_rows_with_one_key_become_one(
    engine: AsyncEngine, new_site: Callable[..., Awaitable[Site]], tier: str
) -> None:
    site, neighbour = await new_site(), await new_site()
    for each in (site, neighbour):
        await put(engine, each, tier, {key: before for key, before, _ in ROWS})
    saved = await compact(engine, site.id, NOON + 100 * DAY)
    assert saved == sum(len(before) - len(after) for _, before, after in ROWS)
    assert await rows(engine, site, tier) == {key: after for key, _, after in ROWS if after}
    assert await rows(engine, neighbour, tier) == {key: sorted(before) for key, before, _ in ROWS}


async def test_only_buckets_that_have_begun_are_compacted(
    engine: AsyncEngine, new_site: Callable[..., Awaitable[Site]]
) -> None:
    site = await new_site()
    await put(engine, site, "rollup_quarter", {A: [1, 2]})
    assert await compact(engine, site.id, NOON) == 0
    assert await compact(engine, site.id, NOON + DAY, since=NOON + 4 * DAY) == 0
    assert await compact(engine, site.id, NOON + DAY, since=NOON) == 1


async def put(engine: AsyncEngine, site: Site, tier: str, rows: dict[Key, list[int]]) -> None:
    insert = text(
        f"INSERT INTO {tier} (site_id, bucket, dim_id, measure, currency, value)"
        " VALUES (:site_id, :bucket, :dim_id, :measure, :currency, :value)"
    )
    names = ("bucket", "dim_id", "measure", "currency")
    async with writing(engine) as connection:
        for key, values in rows.items():
            fixed = {"site_id": site.id, **dict(zip(names, key, strict=True))}
            await connection.execute(insert, [{**fixed, "value": value} for value in values])


async def rows(engine: AsyncEngine, site: Site, tier: str) -> dict[Key, list[int]]:
    query = text(
        "SELECT bucket, dim_id, measure, currency, array_agg(value ORDER BY value)"
        f" FROM {tier} WHERE site_id = :site_id GROUP BY 1, 2, 3, 4"
    )
    async with reading(engine) as connection:
        found = await connection.execute(query, {"site_id": site.id})
        return {(at, dim, measure, currency): v for at, dim, measure, currency, v in found}


async def test_so_does_recency(
    engine: AsyncEngine, new_site: Callable[..., Awaitable[Site]]
) -> None:
    site = await new_site()
    insert = text(
        "INSERT INTO rollup_recency (site_id, bucket, previous, dim_id, scope, value)"
        " SELECT :site_id, :at, CAST(previous AS timestamptz), dim_id, scope, value"
        " FROM (VALUES ('-infinity', 0, 0, 2), ('-infinity', 0, 0, 3), ('2026-05-01Z', 0, 0, 1),"
        " ('-infinity', 7, 1, 4), ('-infinity', 7, 1, -4)) AS v (previous, dim_id, scope, value)"
    )
    async with writing(engine) as connection:
        await connection.execute(insert, {"site_id": site.id, "at": NOON})
    assert await compact(engine, site.id, NOON + DAY, since=NOON) == 3
    query = text(
        "SELECT scope, isfinite(previous), value FROM rollup_recency WHERE site_id = :site_id"
    )
    async with reading(engine) as connection:
        found = await connection.execute(query, {"site_id": site.id})
        assert sorted(map(tuple, found)) == [(0, False, 5), (0, True, 1)]


@pytest.mark.parametrize("tier", ["rollup_month", "rollup_recency"])
async def test_the_month_in_which_it_starts_is_compacted(
    engine: AsyncEngine, new_site: Callable[..., Awaitable[Site]], tier: str
) -> None:
    """What is gained on the last of May is booked in the bucket of May."""
    site = await new_site()
    may = datetime(2026, 4, 30, 22, tzinfo=UTC)
    keys = {"rollup_month": ("measure, currency", "41, 'DKK'"),
            "rollup_recency": ("scope, previous", "1, '-infinity'")}  # fmt: skip
    names, values = keys[tier]
    insert = text(
        f"INSERT INTO {tier} (site_id, bucket, dim_id, {names}, value)"
        f" SELECT :site_id, :at, 7, {values}, n FROM generate_series(1, 3) AS n"
    )
    async with writing(engine) as connection:
        await connection.execute(insert, {"site_id": site.id, "at": may})
    last = datetime(2026, 5, 31, 21, tzinfo=UTC)
    assert await compact(engine, site.id, last + DAY, since=last) == 2
    async with reading(engine) as connection:
        query = text(f"SELECT value FROM {tier} WHERE site_id = :site_id")
        assert (await connection.scalars(query, {"site_id": site.id})).all() == [6]
