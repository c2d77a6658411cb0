"""Do rollups and facts say what the recount says?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from sqlalchemy.ext.asyncio import AsyncEngine

from service.domain.access import Site
from tests.project.facts import edge, rollup
from tests.project.recount import Added, summed

QUARTER = timedelta(minutes=15)
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def quarter(at: datetime) -> datetime:
    return at - (at - EPOCH) % QUARTER


def local_day(zone: str) -> Callable[[datetime], object]:
    return lambda at: quarter(at).astimezone(ZoneInfo(zone)).date()


async def check_rollups(engine: AsyncEngine, site: Site, expected: list[Added]) -> None:
    quarters = await rollup(engine, site.id, "rollup_quarter")
    assert quarters == summed(expected, quarter)
    assert await rollup(engine, site.id, "rollup_total_quarter") == of_all_dimensions(quarters)
    days = await rollup(engine, site.id, "rollup_day")
    zone = ZoneInfo(site.timezone)
    by_date = {
        (at.astimezone(zone).date(), measure, currency, dim): value
        for (at, measure, currency, dim), value in days.items()
    }
    assert by_date == summed(expected, local_day(site.timezone))
    await check_coarser(engine, site, days)


async def check_coarser(engine: AsyncEngine, site: Site, days: dict[tuple[Any, ...], int]) -> None:
    """Months are their days, and the totals of days are all dimensions together."""
    zone = ZoneInfo(site.timezone)
    months: Counter[tuple[object, ...]] = Counter()
    for (at, measure, currency, dim), value in days.items():
        months[at.astimezone(zone).strftime("%Y-%m"), measure, currency, dim] += value
    stored = {
        (at.astimezone(zone).strftime("%Y-%m"), measure, currency, dim): value
        for (at, measure, currency, dim), value in (
            await rollup(engine, site.id, "rollup_month")
        ).items()
    }
    assert stored == {key: value for key, value in months.items() if value}
    assert await rollup(engine, site.id, "rollup_total") == of_all_dimensions(days)


def of_all_dimensions(rows: dict[tuple[Any, ...], int]) -> dict[tuple[object, ...], int]:
    totals: Counter[tuple[object, ...]] = Counter()
    for (at, measure, currency, _), value in rows.items():
        totals[at, measure, currency, 0] += value
    return {key: value for key, value in totals.items() if value}


async def check_edges(
    engine: AsyncEngine, site: Site, expected: list[Added], windows: list[tuple[int, int, int, int]]
) -> None:
    for first, first_off, last, last_off in windows:
        ends = [
            expected[number % len(expected)].at + timedelta(microseconds=off)
            for number, off in ((first, first_off), (last, last_off))
        ]
        lo, hi = sorted(ends)
        inside = [added for added in expected if lo <= added.at < hi]
        assert await edge(engine, site.id, lo, hi) == summed(inside)
        details = await edge(engine, site.id, lo, hi, detailed=True)
        assert details == summed(inside, detailed=True)
