"""KPIs that stay visible beside another one: totals, and only of what they can answer."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from decimal import Decimal
from typing import Any

import pytest

from service.kpi.catalogue import entry_of_json, load_catalogue
from service.kpi.engine import KpiEngine
from service.kpi.explain import Explainer
from service.kpi.formula import KpiKind
from service.kpi.query import KpiQuery
from tests.kpi.world import CATALOGUE, Shipped, World, micros, order, refund, spend, view

MARCH = {"start": "2026-03-01", "end": "2026-04-01"}
Make = Callable[..., Awaitable[World]]
OWN = entry_of_json(
    "sold",
    {
        "title": {"en": "Sold"},
        "about": {"en": "Sold."},
        "unit": "currency",
        "direction": "up",
        "kind": "simple",
        "numerator": {"gross_revenue": 1},
        "breakdowns": ["product", "country", "campaign"],
        "also_visible": ["visitors", "orders"],
    },
)


@pytest.fixture
async def world(make_world: Make) -> World:
    made = await make_world()
    sold = order("2026-03-05T10:00", 30, "1", campaign="spring", visitor=7)
    sold.data["lines"] = [["hat", 1, micros(20)], ["cap", 1, micros(10)]]
    sold.data["units"] = 2
    other = order("2026-03-06T10:00", 5, "2", campaign="autumn")
    seen = view("2026-03-05T09:00", 7, "Email", "spring")
    await made.happen(seen, sold, other, view("2026-03-07T09:00", 8))
    return made


def engine(world: World) -> KpiEngine:
    """With the own KPI beside those of Kompas."""
    return KpiEngine(world.engine, Shipped(load_catalogue(more=[OWN])), world.clock, 0.0)


async def ask(world: World, **query: Any) -> dict[str, Any]:
    (answer,) = await engine(world).answer(world.site, KpiQuery(("sold",), **MARCH, **query))
    return answer.as_dict()


async def test_a_breakdown_leaves_the_others_whole(world: World) -> None:
    """Visitors have no products: read by product they were an error of the database."""
    found = await ask(world, by="product")
    rows = {row["product"]: row["value"] for row in found["breakdown"]}
    assert rows == {"hat": 20, "cap": 10, None: 5}
    assert found["also"] == {"visitors": 2, "orders": 2}
    assert (await ask(world, by="campaign", grain="day"))["also"] == {"visitors": 2, "orders": 2}


@pytest.mark.parametrize(
    ("where", "also"),
    [
        (None, {"visitors": 2, "orders": 2}),
        ("campaign:spring", {"visitors": 1, "orders": 1}),
        ("!campaign:spring", {"visitors": 1, "orders": 1}),
        ("campaign:autumn", {"visitors": 0, "orders": 1}),
        ("product:hat", {}),
        ("product:hat,campaign:spring", {}),
        ("country:DK", {"visitors": 0, "orders": 0}),
    ],
)
async def test_a_filter_holds_for_those_that_have_it(
    world: World, where: str | None, also: dict[str, int]
) -> None:
    assert (await ask(world, where=where))["also"] == also


async def test_every_kpi_can_be_asked_in_every_way_that_it_has(world: World) -> None:
    for kpi in filter(lambda kpi: kpi.also_visible, CATALOGUE):
        for name in kpi.breakdowns:
            dimension = "props.plan" if name == "props" else name
            found = await world.ask_one(kpi.id, by=dimension, where=f"{dimension}:x", **MARCH)
            shown = [CATALOGUE.get(other) for other in kpi.also_visible]
            assert set(found["also"]) == {one.id for one in shown if name in one.breakdowns}


async def test_they_are_read_for_the_total_only(world: World) -> None:
    """Neither a series, nor a breakdown, nor the window before needs them."""
    explainer = Explainer(engine(world), world.engine, world.clock)
    for asked in ({"grain": "day"}, {"by": "campaign"}, {"compare": "previous_period"}):
        query = KpiQuery(("sold",), **MARCH, **asked)
        told = await explainer.explain(world.site, query)
        visits = [read for read in told.reads if "visit" in read.sql]
        assert len(visits) == 1, asked


async def test_a_horizon_has_none_of_them(make_world: Make) -> None:
    world = await make_world()
    await world.happen(order("2026-03-05T10:00", 30, "1"))
    for kpi in CATALOGUE:
        if kpi.kind is KpiKind.COHORT:
            found = await world.ask_one(kpi.id, view="cohort", horizon=30, **MARCH)
            assert found["also"] == {}, kpi.id


async def test_refunds_count_on_the_same_day_as_in_the_kpi(make_world: Make) -> None:
    world = await make_world()
    await world.happen(
        order("2026-03-05T10:00", 200, "1"),
        refund("2026-04-02T10:00", 40, "1"),
        spend("2026-03-05T10:00", 80),
    )
    by_refund = await world.ask_one("roas", **MARCH)
    assert (by_refund["numerator"], by_refund["also"]) == (200, {"revenue": 200})
    by_order = await world.ask_one("roas", refunds="order_date", **MARCH)
    assert (by_order["numerator"], by_order["also"]) == (160, {"revenue": Decimal(160)})
