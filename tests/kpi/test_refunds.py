"""Refunds booked when the order was placed, in every part of a formula."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from service.domain.measures import Measure
from service.kpi.definition import Kpi
from service.kpi.formula import Quantity
from service.kpi.variants import by_order_date
from tests.kpi.world import CATALOGUE, World, order, refund

Make = Callable[..., Awaitable[World]]

MARCH = {"start": "2026-03-01", "end": "2026-04-01"}
SWAPPED: dict[Quantity, Quantity] = {Measure.REFUNDS: Measure.REFUNDS_BY_ORDER}


@pytest.mark.parametrize("kpi", tuple(CATALOGUE), ids=lambda kpi: kpi.id)
def test_every_refund_of_a_formula_is_booked_by_order(kpi: Kpi) -> None:
    for formula in kpi.views.values():
        keys = {(SWAPPED.get(quantity, quantity), where) for quantity, where in formula.keys}
        assert by_order_date(formula).keys == keys


@pytest.mark.parametrize(
    ("kpi", "by_refund", "by_order"),
    [
        ("revenue", 250, 300),
        ("aov", 250, 300),
        ("clv_simple", 250, 300),
        ("gross_margin", 0.4, 0.5),
    ],
)
async def test_a_refund_of_an_earlier_order(
    make_world: Make, kpi: str, by_refund: float, by_order: float
) -> None:
    world = await make_world()
    await world.happen(
        order("2026-02-10T10:00", 100, "1", customer="ada", cost=10),
        order("2026-03-10T10:00", 300, "2", customer="ada", cost=150),
        refund("2026-03-20T10:00", 50, "1"),
    )
    for refunds, value in (("refund_date", by_refund), ("order_date", by_order)):
        found = await world.ask_one(kpi, refunds=refunds, **MARCH)
        assert float(found["value"]) == value, refunds
