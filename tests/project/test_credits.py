"""Attribution models and lookbacks: the worked examples, and a lookback that changes."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from fractions import Fraction

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from service.domain.access import Site
from service.domain.dimensions import Dimension, dimension_id
from service.domain.kinds import Kind
from service.domain.measures import Measure
from service.domain.models import Model, moved
from service.kit.clock import SystemClock
from service.project import runner
from service.project.backlog import lock
from service.project.rebuild import rebuild
from service.project.recredit import recredit
from service.project.runner import Runner
from tests.project.agreement import check_rollups
from tests.project.facts import facts, rollup
from tests.project.log import Row, append, uid
from tests.project.recount import recount

NOON = datetime(2026, 12, 10, 12, tzinfo=UTC)
DAY = timedelta(days=1)
HUNDRED = 100_000_000

NewSite = Callable[..., Awaitable[Site]]

_LOOK_BACK = text("UPDATE site SET lookback_days = :days WHERE id = :site_id")
_DAYS = text("SELECT lookback_days, credited_days FROM site WHERE id = :site_id")


def touch(number: int) -> Dimension:
    return Dimension("Paid Search", "google", "cpc", f"campaign {number}")


def order(**data: object) -> Row:
    paid = {"order": uid("order"), "quantity": 1, "value": HUNDRED, "currency": "DKK"}
    return Row(Kind.CONVERSION, NOON, visitor=1, data={**paid, **data})


def visits(ages: list[float], dims: list[Dimension]) -> list[Row]:
    data = {"page": "shop.example/"}
    return [
        Row(Kind.PAGE_VIEW, NOON - age * DAY, dim, 1, data=data)
        for age, dim in zip(ages, dims, strict=True)
    ]


async def project(engine: AsyncEngine, site: Site, rows: list[Row]) -> None:
    await append(engine, site.id, rows)
    await Runner(engine, SystemClock()).run_once()


async def look_back(engine: AsyncEngine, site: Site, days: int) -> None:
    async with engine.begin() as connection:
        await connection.execute(_LOOK_BACK, {"site_id": site.id, "days": days})


async def credits_of(
    engine: AsyncEngine, site: Site, measure: Measure
) -> dict[Model, dict[int, int]]:
    """What each model gives to each dimension."""
    sums = await rollup(engine, site.id, "rollup_day")
    found: dict[Model, dict[int, int]] = {}
    for model in Model:
        given: dict[int, int] = defaultdict(int)
        for (_, number, _, dim), value in sums.items():
            if number in {measure, moved(measure, model)}:
                given[dim] += value
        found[model] = {dim: value for dim, value in given.items() if value}
    return found


# Google Ads: time decay with a half-life of one week, position based 40/20/40. Positions of two
# touches share equally.
EXAMPLES: dict[tuple[float, ...], dict[Model, list[Fraction]]] = {
    (0,): {model: [Fraction(1)] for model in Model},
    (7, 0): {
        Model.POSITION_BASED: [Fraction(1, 2), Fraction(1, 2)],
        Model.TIME_DECAY: [Fraction(1, 3), Fraction(2, 3)],
    },
    (14, 7, 0): {
        Model.LAST_NON_DIRECT: [Fraction(0), Fraction(0), Fraction(1)],
        Model.LAST: [Fraction(0), Fraction(0), Fraction(1)],
        Model.FIRST: [Fraction(1), Fraction(0), Fraction(0)],
        Model.LINEAR: [Fraction(1, 3)] * 3,
        Model.POSITION_BASED: [Fraction(2, 5), Fraction(1, 5), Fraction(2, 5)],
        Model.TIME_DECAY: [Fraction(1, 7), Fraction(2, 7), Fraction(4, 7)],
    },
    (21, 14, 7, 0): {
        Model.POSITION_BASED: [Fraction(2, 5), Fraction(1, 10), Fraction(1, 10), Fraction(2, 5)],
        Model.TIME_DECAY: [Fraction(n, 15) for n in (1, 2, 4, 8)],
    },
    (10.5, 3.5): {Model.TIME_DECAY: [Fraction(1, 3), Fraction(2, 3)]},
    (30, 1): {Model.TIME_DECAY: [Fraction("0.05357497154519725"), Fraction("0.9464250284548028")]},
    (6, 5, 4, 3, 2, 1, 0): {
        Model.LINEAR: [Fraction(1, 7)] * 7,
        Model.POSITION_BASED: [Fraction(2, 5), *[Fraction(1, 25)] * 5, Fraction(2, 5)],
    },
}
"""Ages of touches in days, and each one's share of the credit."""


@pytest.mark.parametrize("ages", EXAMPLES, ids=str)
async def test_worked_examples(
    engine: AsyncEngine, new_site: NewSite, ages: tuple[float, ...]
) -> None:
    site = await new_site()
    dims = [touch(number) for number in range(len(ages))]
    await project(engine, site, [*visits(list(ages), dims), order()])
    credited = await credits_of(engine, site, Measure.GROSS_REVENUE)
    for model, shares in EXAMPLES[ages].items():
        given = [credited[model].get(dimension_id(dim), 0) for dim in dims]
        assert sum(given) == HUNDRED
        for value, share in zip(given[:-1], shares[:-1], strict=True):
            assert value == share * HUNDRED // 1
    assert {sum(given.values()) for given in credited.values()} == {HUNDRED}


DIRECT = Dimension("Direct")
EMAIL = Dimension("Email", "newsletter", "email", "may")
ORGANIC = Dimension("Organic Search", "google", "organic")
PAID = touch(0)


CASES: list[tuple[list[tuple[Dimension, float]], int, Dimension]] = [
    ([(ORGANIC, 12), (EMAIL, 3), (DIRECT, 0)], 30, EMAIL),
    ([(PAID, 45), (DIRECT, 0)], 30, DIRECT),
    ([(PAID, 45), (DIRECT, 0)], 90, PAID),
    ([(DIRECT, 5), (DIRECT, 0)], 30, DIRECT),
    ([], 30, Dimension()),
]
"""Touches with their ages in days, the lookback, and who has the credit."""


@pytest.mark.parametrize("number", range(len(CASES)))
async def test_last_non_direct(engine: AsyncEngine, new_site: NewSite, number: int) -> None:
    touches, days, winner = CASES[number]
    site = await new_site()
    await look_back(engine, site, days)
    await recredit(engine, site.id)
    rows = visits([age for _, age in touches], [dim for dim, _ in touches])
    await project(engine, site, [*rows, order()])
    credited = await credits_of(engine, site, Measure.GROSS_REVENUE)
    assert credited[Model.LAST_NON_DIRECT] == {dimension_id(winner): HUNDRED}


async def test_touches_too_old_to_weigh_anything_share_equally(
    engine: AsyncEngine, new_site: NewSite
) -> None:
    site = await new_site()
    await look_back(engine, site, 365)
    await recredit(engine, site.id)
    await project(engine, site, [*visits([320, 310], [EMAIL, PAID]), order()])
    credited = await credits_of(engine, site, Measure.GROSS_REVENUE)
    half = HUNDRED // 2
    assert credited[Model.TIME_DECAY] == {dimension_id(EMAIL): half, dimension_id(PAID): half}


async def test_a_new_lookback_credits_everything_again(
    engine: AsyncEngine, new_site: NewSite
) -> None:
    site = await new_site()
    lead = Row(Kind.LEAD, NOON, visitor=1, data={"lead": uid("lead")})
    log = await append(engine, site.id, [*visits([45, 2], [PAID, DIRECT]), order(), lead])
    await Runner(engine, SystemClock()).run_once()
    await look_back(engine, site, 90)
    # What comes in meanwhile is credited as everything else is.
    log += await append(engine, site.id, [order(order=uid("other"))])
    await Runner(engine, SystemClock()).run_once()
    await check_rollups(engine, site, recount(log, 30))
    await recredit(engine, site.id, slice_rows=1)
    await check_rollups(engine, site, recount(log, 90))
    credited = await facts(engine, site.id)
    await rebuild(engine, site.id)
    assert await facts(engine, site.id) == credited
    await check_rollups(engine, site, recount(log, 90))


async def test_a_rebuild_takes_the_new_lookback(engine: AsyncEngine, new_site: NewSite) -> None:
    site = await new_site()
    log = await append(engine, site.id, [*visits([45, 2], [PAID, DIRECT]), order()])
    await look_back(engine, site, 90)
    await rebuild(engine, site.id)
    await check_rollups(engine, site, recount(log, 90))
    assert (await recredit(engine, site.id)).rows == 0


async def test_a_site_that_is_being_worked_on_keeps_its_lookback(
    engine: AsyncEngine, new_site: NewSite
) -> None:
    site = await new_site()
    await look_back(engine, site, 90)
    async with engine.begin() as another:
        await lock(another, site.id)
        await recredit(engine, site.id)
        assert (await another.execute(_DAYS, {"site_id": site.id})).one() == (90, 30)
    await recredit(engine, site.id)


async def test_the_runner_takes_up_a_new_lookback(
    engine: AsyncEngine, new_site: NewSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "RECREDIT_SECONDS", 0.0)
    site = await new_site()
    log = await append(engine, site.id, [*visits([45, 2], [PAID, DIRECT]), order()])
    running = Runner(engine, SystemClock())
    await running.run_once()
    task = asyncio.create_task(running.run())
    await look_back(engine, site, 90)
    async with asyncio.timeout(10), engine.connect() as connection:
        while (await connection.execute(_DAYS, {"site_id": site.id})).one() != (90, 90):
            await connection.rollback()
            await asyncio.sleep(0.02)
    await running.stop()
    await task
    await check_rollups(engine, site, recount(log, 90))


async def test_only_the_latest_fifty_visits_are_touches(
    engine: AsyncEngine, new_site: NewSite
) -> None:
    """Each touch costs every model a row: a visitor without end must not hold up a projection."""
    site = await new_site()
    ages = [0.1 * (60 - number) for number in range(60)]
    await project(engine, site, [*visits(ages, [touch(n) for n in range(60)]), order()])
    found = await credits_of(engine, site, Measure.GROSS_REVENUE)
    assert found[Model.FIRST] == {dimension_id(touch(10)): HUNDRED}
    assert found[Model.LINEAR] == {dimension_id(touch(n)): HUNDRED // 50 for n in range(10, 60)}
