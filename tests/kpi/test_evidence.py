"""What was never told is not 0, and what was stated as 0 is: the measures of newer fields."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from service.domain.measures import MEASURE_BY_LABEL
from service.kpi.evidence import STATED
from service.kpi.formula import QUANTITY_BY_LABEL, evidence
from tests.kpi.known import SHOWN_BY, SHOWN_BY_A_0, shows
from tests.kpi.world import Event, World, order, spend

MARCH = {"start": "2026-03-01", "end": "2026-04-01"}
Make = Callable[..., Awaitable[World]]


@pytest.mark.parametrize("name", QUANTITY_BY_LABEL)
def test_what_shows_a_quantity_is_what_the_decisions_say(name: str) -> None:
    found = {measure.label for measure in evidence(QUANTITY_BY_LABEL[name])}
    assert found == shows(name, set(MEASURE_BY_LABEL))


def test_the_table_of_the_decisions_is_about_what_there_is() -> None:
    assert SHOWN_BY.keys() <= QUANTITY_BY_LABEL.keys()
    assert set().union(*SHOWN_BY.values()) <= MEASURE_BY_LABEL.keys()
    assert {measure.label for measure in STATED} == SHOWN_BY_A_0


def stated(**fields: Any) -> Event:
    """A day's statement of 3 clicks with more fields."""
    event = spend("2026-03-05T10:00", 10, impressions=4, clicks=3)
    event.data.update(fields)
    return event


@pytest.mark.parametrize(
    ("kpi", "fields", "value", "reason"),
    [
        ("invalid_click_rate", {}, None, "no_data"),
        ("invalid_click_rate", {"invalid_clicks": 0}, 0, None),
        ("invalid_click_rate", {"invalid_clicks": 1}, 0.25, None),
        ("viewability", {"measurable": 2}, None, "no_data"),
        ("viewability", {"measurable": 2, "viewable": 0}, 0, None),
        ("viewability", {"measurable": 2, "viewable": 1}, 0.5, None),
        ("viewability", {"measurable": 0, "viewable": 0}, None, "zero_denominator"),
    ],
)
async def test_a_stated_0_is_a_0(
    make_world: Make, kpi: str, fields: dict[str, int], value: float | None, reason: str | None
) -> None:
    world = await make_world()
    await world.happen(stated(**fields))
    found = await world.ask_one(kpi, **MARCH)
    assert (found["value"], found["reason"]) == (value, reason)


async def test_who_sells_knows_refunds_and_customers_but_not_units_or_carts(
    make_world: Make,
) -> None:
    world = await make_world()
    await world.happen(order("2026-03-05T10:00", 100, "1"))
    reasons = {
        kpi: (await world.ask_one(kpi, **MARCH))["reason"]
        for kpi in ("units", "cart_conversion", "returning_customer_rate", "clv_simple")
    }
    assert reasons == {
        "units": "no_data",
        "cart_conversion": "no_data",
        "returning_customer_rate": "zero_denominator",  # the order has no customer
        "clv_simple": "zero_denominator",
    }
    by_order = await world.ask_one("revenue", refunds="order_date", **MARCH)
    assert by_order["value"] == 100
