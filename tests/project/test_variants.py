"""Facts as they are read for questions that no rollup answers: horizons and products."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from service.domain.access import Site
from service.domain.dimensions import Dimension, dimension_id
from service.domain.kinds import Kind
from service.domain.measures import Measure
from service.domain.models import Model, moved
from service.kit.clock import SystemClock
from service.project.runner import Runner
from service.store.contributions import FACTS, edge_contributions, facts
from service.store.engine import reading
from tests.project.log import Row, append, uid

NOON = datetime(2026, 5, 10, 12, tzinfo=UTC)
DAY = timedelta(days=1)
GOOGLE = Dimension("Organic Search", "google", "organic")
SPRING = Dimension("Paid Search", "google", "cpc", "spring")
COLUMNS = ("at", "measure", "currency", "dim_id", "detail_id", "own_id", "product", "value")

NewSite = Callable[..., Awaitable[Site]]


async def read(
    engine: AsyncEngine, site: Site, *, horizon: int | None = None, product: bool = False
) -> Counter[tuple[int, int, str]]:
    """Sums of May by (number, dimension, product)."""
    sums: Counter[tuple[int, int, str]] = Counter()
    span = {"lo": NOON - 9 * DAY, "hi": NOON + 20 * DAY, "horizon": horizon}
    async with reading(engine) as connection:
        for fact in facts(horizon=horizon is not None, product=product):
            query = text(edge_contributions(fact))
            rows = await connection.execute(query, {"site_id": site.id, **span})
            assert tuple(rows.keys()) == COLUMNS
            for row in rows:
                sums[row.measure, row.dim_id, row.product] += row.value
    return sums


async def project(engine: AsyncEngine, site: Site, rows: list[Row]) -> None:
    await append(engine, site.id, rows)
    await Runner(engine, SystemClock()).run_once()


def test_the_plain_facts_are_those_of_the_rollups() -> None:
    assert facts() is FACTS
    assert {fact.detailed for fact in facts(detailed=True)} == {True}
    everything = frozenset().union(*(fact.measures for fact in facts()))
    assert frozenset().union(*(fact.measures for fact in facts(detailed=True))) == everything


async def test_an_outcome_counts_within_its_horizon(engine: AsyncEngine, new_site: NewSite) -> None:
    site = await new_site()
    mail = {"message": uid("message")}
    order = {"order": uid("order"), "value": 1, "currency": "DKK", "lead": uid("lead")}
    rows = [
        Row(Kind.EMAIL_SENT, NOON, data=mail),
        Row(Kind.EMAIL_BOUNCED, NOON, data=mail),
        Row(Kind.EMAIL_OPENED, NOON + 3 * DAY, data=mail),
        Row(Kind.LEAD, NOON, data={"lead": uid("lead")}),
        Row(Kind.CONVERSION, NOON + 3 * DAY, data=order),
    ]
    await project(engine, site, rows)
    for days, counted in ((3, 0), (4, 1)):
        sums = await read(engine, site, horizon=days)
        for measure in (Measure.EMAILS_OPENED, Measure.EMAILS_DELIVERED, Measure.LEADS_CONVERTED):
            assert sums[measure, 0, ""] == counted, measure
        # As far as anybody knew by then it had bounced.
        assert sums[Measure.EMAILS_BOUNCED, 0, ""] == 1 - counted
        # The period view has no origin to be near to.
        assert sums[Measure.EMAILS_OPENED_PERIOD, 0, ""] == 1
        assert sums[Measure.CUSTOMERS_FROM_LEADS, 0, ""] == 1
        assert sums[Measure.EMAILS_SENT, 0, ""] == sums[Measure.LEADS, 0, ""] == 1


def sold(lines: list[list[Any]]) -> Row:
    units = sum(quantity or 0 for _, quantity, _ in lines)
    paid = {"order": uid("order"), "value": 100, "currency": "DKK", "quantity": 1}
    data = {**paid, "units": units, "lines": lines}
    return Row(Kind.CONVERSION, NOON + DAY, visitor=1, data=data)


async def test_products_have_what_their_lines_say(engine: AsyncEngine, new_site: NewSite) -> None:
    site = await new_site()
    page = {"page": "shop.example/"}
    refund = {"order": uid("order"), "value": 30, "currency": "DKK"}
    rows = [
        Row(Kind.PAGE_VIEW, NOON, GOOGLE, 1, data=page),
        Row(Kind.PAGE_VIEW, NOON + timedelta(hours=2), SPRING, 1, data=page),
        sold([["tea", 2, 61], ["cup", None, 60], ["tea", 1, None], ["", None, -11]]),
        Row(Kind.REFUND, NOON + 2 * DAY, data=refund),
    ]
    await project(engine, site, rows)
    sums = await read(engine, site, product=True)
    google, spring = dimension_id(GOOGLE), dimension_id(SPRING)
    linear = moved(Measure.GROSS_REVENUE, Model.LINEAR)
    of_orders = {
        (Measure.GROSS_REVENUE, spring, "tea"): 61,
        (Measure.GROSS_REVENUE, spring, "cup"): 60,
        # A discount, and what the lines leave: 100 - 110.
        (Measure.GROSS_REVENUE, spring, ""): -11 - 10,
        (Measure.UNITS, spring, "tea"): 3,
        (Measure.REFUNDS, spring, ""): 30,
        (Measure.REFUNDS_BY_ORDER, spring, ""): 30,
        (linear, google, "tea"): 30,
        (linear, spring, "tea"): -30,
        (linear, google, "cup"): 30,
        # Rounded down: -6 and -5 of -11 and -10.
        (linear, google, ""): -6 - 5,
        (linear, spring, ""): 6 + 5,
    }
    for key, value in of_orders.items():
        assert sums[key] == value, key
    assert sum(v for (number, *_), v in sums.items() if number == Measure.GROSS_REVENUE) == 100
    assert Measure.ORDERS not in {number for number, *_ in sums}
    assert Measure.VISITS in {number for number, *_ in sums}


AGES = (21, 14, 7, 0)
SHARES: dict[Model, dict[int, tuple[int, ...]]] = {
    Model.FIRST: {4: (-11, 0, 0, 0), 2: (-11, 0)},
    Model.LAST: {4: (0, 0, 0, -11), 2: (0, -11)},
    Model.LINEAR: {4: (-3, -3, -3, -2), 2: (-6, -5)},
    Model.POSITION_BASED: {4: (-5, -2, -2, -2), 2: (-6, -5)},
    Model.TIME_DECAY: {4: (-1, -2, -3, -5), 2: (-4, -7)},
}
"""Of -11 over the last 4 or 2 touches of `AGES` (in days): rounded down, the last has the rest."""


@pytest.mark.parametrize("touches", [4, 2])
async def test_a_discount_is_shared_without_a_remainder(
    engine: AsyncEngine, new_site: NewSite, touches: int
) -> None:
    site = await new_site()
    sale = replace(sold([["tea", 1, 111], ["coupon", 1, -11]]), at=NOON + 19 * DAY)
    dims = [Dimension("Email", campaign=f"mail {number}") for number in range(touches)]
    visits = [
        Row(Kind.PAGE_VIEW, sale.at - age * DAY, dim, 1, data={"page": "shop.example/"})
        for age, dim in zip(AGES[-touches:], dims, strict=True)
    ]
    await project(engine, site, [*visits, sale])
    sums = await read(engine, site, product=True)

    def of(number: int) -> list[int]:
        return [sums[number, dimension_id(dim), "coupon"] for dim in dims]

    plain = of(Measure.GROSS_REVENUE)
    assert plain == [0] * (touches - 1) + [-11]
    for model, shares in SHARES.items():
        changes = of(moved(Measure.GROSS_REVENUE, model))
        assert tuple(map(sum, zip(plain, changes, strict=True))) == shares[touches], model
