"""Customers in any window, bucket and row, against a recount that groups their orders."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import NamedTuple
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.domain.dimensions import Dimension
from service.domain.kinds import Kind
from service.domain.models import Model
from service.kpi import customers
from service.kpi.cells import CellKey, Slice
from service.kpi.distinct import read_distinct
from service.kpi.filters import parse
from service.kpi.formula import Distinct
from service.store.engine import reading
from tests.kpi.world import Event, World, at, uid

MakeWorld = Callable[..., Awaitable[World]]
FIRST = at("2026-03-01T00:00")
DAY = timedelta(days=1)
MICRO = timedelta(microseconds=1)
DIMENSIONS = (
    Dimension("Email", campaign="may"),
    Dimension("Email", campaign="spring"),
    Dimension("Referral", "partner", campaign="may"),
)
COUNTS = (
    Distinct.CUSTOMERS,
    Distinct.FIRST_TIME_CUSTOMERS,
    Distinct.REPEAT_CUSTOMERS,
    Distinct.RETURNING_CUSTOMERS,
    Distinct.ORDERS_OF_CUSTOMERS,
    Distinct.RETAINED_CUSTOMERS,
)


class Bought(NamedTuple):
    """An order of somebody ('' for nobody), days after `FIRST`, from one of the dimensions."""

    day: int
    customer: str
    quantity: int
    said_new: bool | None
    dim: int
    refund: bool

    @property
    def event(self) -> Event:
        data: dict[str, object] = {"value": 1, "currency": "DKK", "quantity": self.quantity}
        if self.customer:
            data["customer"] = uid(self.customer)
        if self.said_new is not None:
            data["new"] = self.said_new
        if self.refund:
            data["order"] = uid("an order")
        kind = Kind.REFUND if self.refund else Kind.CONVERSION
        return Event(kind, FIRST + self.day * DAY, DIMENSIONS[self.dim], data)


# Few days, so that orders share instants with each other and with the bounds of buckets.
BOUGHT = st.builds(
    Bought,
    st.integers(0, 9),
    st.sampled_from(("ada", "ada", "bo", "cy", "")),
    st.sampled_from((1, 1, 1, 0, 2, 3)),
    st.sampled_from((None, None, None, True, False)),
    st.integers(0, len(DIMENSIONS) - 1),
    st.sampled_from((False, False, False, False, False, True)),
)
BATCHES = st.lists(st.lists(BOUGHT, min_size=1, max_size=6), min_size=1, max_size=4)
BOUNDS = st.lists(
    st.builds(lambda day, off: FIRST + day * DAY + off * MICRO, st.integers(-1, 10),
              st.sampled_from((0, 0, 1))),
    min_size=2, max_size=5, unique=True,
).map(sorted)  # fmt: skip


class Order(NamedTuple):
    """An order in the place that it has in its customer's life, from 0."""

    bought: Bought
    at: datetime
    place: int

    @property
    def is_new(self) -> bool:
        return self.place == 0 and self.bought.said_new is not False


def orders_of(log: Iterable[Bought]) -> list[Order]:
    """By time, then as they came in; of customers only."""
    found: list[Order] = []
    lives: dict[str, int] = defaultdict(int)
    for bought in sorted(log, key=lambda one: one.day):
        if bought.customer and not bought.refund:
            found.append(Order(bought, bought.event.at, lives[bought.customer]))
            lives[bought.customer] += 1
    return found


def counts_of(some: Sequence[Order], ever: Sequence[Order], days: int | None) -> dict[str, int]:
    """What the orders of one customer count for, of all that they ever placed."""
    first_time = any(order.is_new for order in some)
    twice = sum(max(1, order.bought.quantity) for order in some) > 1
    first = ever[0].at
    later = [one for one in ever[1:] if days is None or one.at < first + days * DAY]
    return {
        Distinct.CUSTOMERS: 1,
        Distinct.FIRST_TIME_CUSTOMERS: first_time,
        Distinct.REPEAT_CUSTOMERS: twice,
        Distinct.RETURNING_CUSTOMERS: twice or not first_time,
        Distinct.ORDERS_OF_CUSTOMERS: sum(order.bought.quantity for order in some),
        Distinct.RETAINED_CUSTOMERS: first_time and bool(later),
    }


Found = dict[tuple[CellKey, Distinct], int]


def recount(
    orders: Sequence[Order],
    cuts: Sequence[datetime],
    by: Sequence[str] = (),
    *,
    campaign: str | None = None,
    days: int | None = None,
) -> Found:
    """Everything that is not 0, by grouping."""
    grouped: dict[tuple[CellKey, str], list[Order]] = defaultdict(list)
    for order in orders:
        dim = DIMENSIONS[order.bought.dim]
        for number, (start, end) in enumerate(pairwise(cuts), start=1):
            if start <= order.at < end and campaign in (None, dim.campaign):
                cell: CellKey = tuple(getattr(dim, name) for name in by) or number
                grouped[cell, order.bought.customer].append(order)
    found: Found = defaultdict(int)
    for (cell, customer), some in grouped.items():
        ever = [order for order in orders if order.bought.customer == customer]
        for distinct, count in counts_of(some, ever, days).items():
            found[cell, Distinct(distinct)] += count
    return {key: count for key, count in found.items() if count}


async def counted(
    world: World,
    cuts: Sequence[datetime],
    by: tuple[str, ...] = (),
    *,
    where: str = "",
    days: int | None = None,
    wanted: Iterable[Distinct] = COUNTS,
) -> Found:
    piece = Slice(
        world.site.id, ZoneInfo("UTC"), tuple(cuts), by, parse(where), "DKK", horizon=days
    )
    async with reading(world.engine) as connection:
        found = await read_distinct(connection, piece, [(distinct, ()) for distinct in wanted])
    return {(cell, Distinct(str(key[0]))): count for cell, key, count in found}


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    batches=BATCHES, cuts=BOUNDS, days=st.sampled_from((None, None, 1, 3)),
    wanted=st.sets(st.sampled_from(COUNTS), min_size=1),
)  # fmt: skip
async def test_customers_are_a_recount(
    make_world: MakeWorld,
    batches: list[list[Bought]],
    cuts: list[datetime],
    days: int | None,
    wanted: set[Distinct],
) -> None:
    """Of chains with all sorts of orders, in every bucket, as a whole and by dimensions."""
    world, other = await make_world(), await make_world()
    await other.happen(*(one.event for one in batches[0]))
    for batch in batches:
        await world.happen(*(one.event for one in batch))
    orders, whole = orders_of(one for batch in batches for one in batch), (cuts[0], cuts[-1])
    assert await counted(world, cuts, days=days) == recount(orders, cuts, days=days)
    for by in ((), ("campaign",), ("campaign", "channel")):
        expected = recount(orders, whole, by, days=days)
        assert await counted(world, whole, by, days=days) == expected
        some = {key: count for key, count in expected.items() if key[1] in wanted}
        assert await counted(world, whole, by, days=days, wanted=wanted) == some
    found = await counted(world, cuts, where="campaign:may", days=days)
    assert found == recount(orders, cuts, campaign="may", days=days)


@pytest.mark.parametrize("distinct", COUNTS)
async def test_an_order_for_none_is_an_order(make_world: MakeWorld, distinct: Distinct) -> None:
    """Who orders twice does so whatever the quantities are; the sum is what they say."""
    world = await make_world()
    await world.happen(*(Bought(day, "ada", 0, None, 0, False).event for day in (1, 2)))
    cuts = (FIRST, FIRST + 3 * DAY)
    expected = 0 if distinct is Distinct.ORDERS_OF_CUSTOMERS else 1
    for by in ((), ("campaign",)):
        found = await counted(world, cuts, by, wanted=[distinct])
        assert list(found.values()) == [1] * expected


C = Distinct
STATEMENTS: dict[str, tuple[str, set[Distinct], list[set[Distinct]]]] = {
    "all, along the chain": ("", {*COUNTS}, [{*COUNTS[:-1]}, {C.RETAINED_CUSTOMERS}]),
    "all": ("campaign", {*COUNTS}, [{*COUNTS[:-1]}, {C.RETAINED_CUSTOMERS}]),
    "new ones add up": ("campaign", {C.FIRST_TIME_CUSTOMERS}, [{C.FIRST_TIME_CUSTOMERS}]),
    "orders per customer": ("campaign", {*COUNTS[::4]}, [{*COUNTS[::4]}]),
    "orders add up": ("campaign", {C.ORDERS_OF_CUSTOMERS}, [{C.ORDERS_OF_CUSTOMERS}]),
    "new customer rate": ("campaign", {*COUNTS[:2]}, [{*COUNTS[:2]}]),
}  # fmt: skip


@pytest.mark.parametrize("question", STATEMENTS)
def test_what_one_statement_answers(question: str) -> None:
    by, wanted, expected = STATEMENTS[question]
    cuts = (FIRST, FIRST + DAY)
    piece = Slice(1, ZoneInfo("UTC"), cuts, (by,) if by else (), (), "DKK", Model.LAST_NON_DIRECT)
    assert [set(some) for some in customers.together(piece, (), wanted)] == expected
