"""A rebuild of some months: exact in every tier, and never seen half done."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from service.domain.access import Site
from service.domain.dimensions import Dimension
from service.domain.kinds import Kind
from service.errors import InvalidError
from service.kit.clock import SystemClock
from service.project.compact import TIERS
from service.project.rebuild import months_of, rebuild_months
from service.project.runner import Runner
from service.store.engine import reading
from tests.project.agreement import check_rollups
from tests.project.facts import facts
from tests.project.log import Placed, Row, append
from tests.project.recount import recount
from tests.project.streams import Stream, streams
from tests.project.test_recount import play

NOON = datetime(2026, 5, 10, 12, tzinfo=UTC)
GOOGLE = Dimension("Organic Search", "google", "organic")

NewSite = Callable[..., Awaitable[Site]]


async def sums(engine: AsyncEngine, site_id: int) -> dict[str, set[tuple[Any, ...]]]:
    """Every rollup, as a reader sums it."""
    found = {}
    async with reading(engine) as connection:
        for tier in TIERS.values():
            keys = ", ".join(("bucket", *tier.keys))
            query = text(
                f"SELECT {keys}, sum(value) FROM {tier.name} WHERE site_id = :site_id"
                f" GROUP BY {keys} HAVING sum(value) <> 0"
            )
            rows = await connection.execute(query, {"site_id": site_id})
            found[tier.name] = {tuple(row) for row in rows}
    return found


async def spoil(engine: AsyncEngine, site_id: int) -> None:
    """Double one half of every rollup's rows, and lose the other."""
    async with engine.begin() as connection:
        for tier in TIERS:
            for statement in (
                f"UPDATE {tier} SET value = 2 * value WHERE site_id = :site_id AND value % 2 = 0",
                f"DELETE FROM {tier} WHERE site_id = :site_id AND value % 2 <> 0 AND bucket"
                f" <> (SELECT min(bucket) FROM {tier} WHERE site_id = :site_id)",
            ):
                await connection.execute(text(statement), {"site_id": site_id})


def days_of(found: dict[str, set[tuple[Any, ...]]], zone: str) -> list[date]:
    buckets = [row[0] for rows in found.values() for row in rows]
    return sorted(bucket.astimezone(ZoneInfo(zone)).date() for bucket in buckets)


@settings(
    max_examples=6,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(stream=streams())
async def test_all_months_together_are_everything(
    engine: AsyncEngine, new_site: NewSite, stream: Stream
) -> None:
    sites = [await new_site(zone) for zone in stream.zones]
    await play(engine, sites, stream)
    for site in sites:
        expected = await sums(engine, site.id)
        days = days_of(expected, site.timezone)
        if not days:
            continue
        made = await facts(engine, site.id)
        await spoil(engine, site.id)
        await rebuild_months(engine, site.id, days[0], days[-1] + timedelta(days=1))
        assert await sums(engine, site.id) == expected
        assert await facts(engine, site.id) == made


@pytest.mark.parametrize("zone", ["Europe/Copenhagen", "America/Havana", "Pacific/Kiritimati"])
async def test_a_month_is_made_again_and_its_neighbours_are_not(
    engine: AsyncEngine, new_site: NewSite, zone: str
) -> None:
    site = await new_site(zone)
    midnights = [datetime(2026, month, 1, tzinfo=ZoneInfo(zone)) for month in (10, 11, 12)]
    near = [timedelta(minutes=minutes) for minutes in (-90, -31, -1, 0, 1, 31, 59, 61, 121)]
    rows = [
        Row(Kind.PAGE_VIEW, at.astimezone(UTC) + offset, GOOGLE, number)
        for at in midnights
        for number, offset in enumerate(near, 1)
    ]
    await append(engine, site.id, rows)
    await Runner(engine, SystemClock()).run_once()
    expected = await sums(engine, site.id)
    await spoil(engine, site.id)
    spoilt = await sums(engine, site.id)
    assert spoilt != expected
    await rebuild_months(engine, site.id, date(2026, 11, 5), date(2026, 11, 6))

    def of(found: dict[str, set[tuple[Any, ...]]], *, november: bool) -> set[tuple[Any, ...]]:
        return {
            (tier, *row)
            for tier, tier_rows in found.items()
            for row in tier_rows
            if (row[0].astimezone(ZoneInfo(zone)).month == 11) is november
        }

    mended = await sums(engine, site.id)
    assert of(mended, november=True) == of(expected, november=True)
    assert of(mended, november=False) == of(spoilt, november=False)


async def test_readers_and_ingestion_go_on_beside_it(
    engine: AsyncEngine, new_site: NewSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between its statements: the answer is the old one, and what comes in is counted once."""
    site = await new_site()
    log: list[Placed] = []
    runner = Runner(engine, SystemClock())

    async def arrive(number: int) -> None:
        nonlocal log
        view = Row(Kind.PAGE_VIEW, NOON + timedelta(minutes=7 * number), GOOGLE, 1 + number % 2)
        log += await append(engine, site.id, [view])

    for number in range(4):
        await arrive(number)
    await runner.run_once()
    seen = await sums(engine, site.id)
    again = asyncio.Event()
    arrived = asyncio.Event()

    async def hold_up(*_: object) -> None:
        again.set()
        await arrived.wait()

    monkeypatch.setattr("service.project.rebuild._count_again", _after(hold_up))
    rebuilding = asyncio.create_task(
        rebuild_months(engine, site.id, date(2026, 5, 1), date(2026, 7, 1))
    )
    try:
        await again.wait()
        await arrive(4)
        assert await runner.run_once() == 0  # it waits for the lock
        assert await sums(engine, site.id) == seen
    finally:
        arrived.set()
        await rebuilding
    assert await sums(engine, site.id) == seen
    assert await runner.run_once() == 1
    await check_rollups(engine, site, recount(log))


def _after(hold_up: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    from service.project.rebuild import _count_again

    async def then(*arguments: Any) -> None:
        await _count_again(*arguments)
        await hold_up()

    return then


async def test_a_month_whose_log_is_gone_is_left_alone(
    engine: AsyncEngine, new_site: NewSite
) -> None:
    site = await new_site()
    await append(engine, site.id, [Row(Kind.PAGE_VIEW, NOON, GOOGLE, 1)])
    await Runner(engine, SystemClock()).run_once()
    expected = await sums(engine, site.id)
    async with engine.begin() as connection:
        await connection.execute(text("ALTER TABLE event DETACH PARTITION event_y2026m05"))
    try:
        with pytest.raises(InvalidError, match="2026-05"):
            await rebuild_months(engine, site.id, date(2026, 4, 1), date(2026, 6, 1))
    finally:
        async with engine.begin() as connection:
            await connection.execute(
                text(
                    "ALTER TABLE event ATTACH PARTITION event_y2026m05"
                    " FOR VALUES FROM ('2026-05-01Z') TO ('2026-06-01Z')"
                )
            )
    assert await sums(engine, site.id) == expected


DAYS = st.dates(date(1990, 1, 1), date(2100, 1, 1))


@given(DAYS, st.integers(1, 500), st.integers(0, 499))
def test_every_day_is_in_one_of_its_months(since: date, days: int, inside: int) -> None:
    before = since + timedelta(days=days)
    months = months_of(since, before)
    day = since + timedelta(days=min(inside, days - 1))
    assert months.count(day.replace(day=1)) == 1
    assert all(month.day == 1 and month < before for month in months)
    assert months[0] <= since


@pytest.mark.parametrize(
    ("since", "before"),
    [
        (date(2026, 5, 2), date(2026, 5, 1)),
        (date(2026, 5, 1), date(2026, 5, 1)),
        (date.min, date(2026, 5, 1)),
        (date(2026, 5, 1), date.max),
    ],
)
def test_there_must_be_a_day_to_make_again(since: date, before: date) -> None:
    with pytest.raises(InvalidError, match="no day"):
        months_of(since, before)
