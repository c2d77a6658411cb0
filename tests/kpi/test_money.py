"""Amounts in several currencies: converted at the rate of their day, or not at all."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from service.errors import InvalidError
from service.kpi.money import OLDEST_RATE, Rates
from service.store.fx import FxRate, list_rates, put_rates
from tests.kpi.world import World, order, refund, spend, view

DAY = date(2026, 3, 10)
MARCH = {"start": "2026-03-01", "end": "2026-04-01"}
Make = Callable[..., Awaitable[World]]


def rate(base: str, quote: str, day: date, value: str) -> FxRate:
    return FxRate(base, quote, day, Decimal(value))


@pytest.fixture(autouse=True)
async def no_rates(warehouse: Any) -> None:
    async with warehouse.begin() as connection:
        await connection.execute(text("DELETE FROM fx_rate"))


# --- Finding a rate --------------------------------------------------------------------------


def test_the_rate_of_the_day_or_the_latest_before_it() -> None:
    rates = Rates(
        "DKK", [rate("EUR", "DKK", DAY, "7.46"), rate("EUR", "DKK", DAY - timedelta(1), "7")]
    )
    assert rates.at("EUR", DAY) == Fraction("7.46")
    assert rates.at("EUR", DAY - timedelta(1)) == 7
    assert rates.at("EUR", DAY + OLDEST_RATE) == Fraction("7.46")
    assert rates.at("EUR", DAY + OLDEST_RATE + timedelta(1)) is None
    assert rates.at("EUR", DAY - timedelta(2)) is None
    assert rates.at("USD", DAY) is None


def test_the_other_direction_serves_where_nobody_stated_this_one() -> None:
    inverse, direct = rate("DKK", "EUR", DAY, "0.125"), rate("EUR", "DKK", DAY, "7.5")
    assert Rates("DKK", [inverse]).at("EUR", DAY) == 8
    assert Rates("DKK", [direct, inverse]).at("EUR", DAY) == Fraction("7.5")
    assert Rates("DKK", [inverse, direct]).at("EUR", DAY) == Fraction("7.5")
    newer = rate("DKK", "EUR", DAY + timedelta(1), "0.125")
    assert Rates("DKK", [direct, newer]).at("EUR", DAY + timedelta(1)) == 8


@given(st.lists(st.integers(0, 40), unique=True), st.integers(0, 60))
def test_a_rate_is_found_as_by_looking_at_all_of_them(days: list[int], asked: int) -> None:
    rates = Rates("DKK", [rate("EUR", "DKK", DAY + timedelta(n), str(n + 1)) for n in days])
    near = [n for n in days if n <= asked <= n + OLDEST_RATE.days]
    assert rates.at("EUR", DAY + timedelta(asked)) == (max(near) + 1 if near else None)


# --- Answers ---------------------------------------------------------------------------------


async def test_each_day_has_its_own_rate(make_world: Make) -> None:
    world = await make_world()
    await put_rates(
        world.engine,
        [rate("EUR", "DKK", date(2026, 3, 2), "7.45"), rate("EUR", "DKK", date(2026, 3, 3), "7.5")],
    )
    await world.happen(
        order("2026-03-02T10:00", 100, "1", "EUR"),
        order("2026-03-03T10:00", 10, "2", "EUR"),
        order("2026-03-03T11:00", 1.25, "3", "DKK"),
        refund("2026-03-03T12:00", 10, "1", "EUR"),
        spend("2026-03-02T10:00", 50, "spring", "EUR"),
    )
    revenue = await world.ask_one("revenue", **MARCH)
    assert revenue["value"] == Decimal("746.25")  # 100 * 7.45 + 1.25
    assert revenue["currency"] == "DKK"
    assert "missing" not in revenue
    roas = await world.ask_one("roas", **MARCH)
    assert (roas["numerator"], roas["denominator"]) == (Decimal("746.25"), Decimal("372.5"))
    days = (await world.ask_one("revenue", grain="day", **MARCH))["series"]
    assert [day["value"] for day in days[:4]] == [0, 745, Decimal("1.25"), 0]
    rows = (await world.ask_one("spend", by="campaign", **MARCH))["breakdown"]
    assert rows == [
        {"campaign": "spring", "value": Decimal("372.5"), "reason": None,
         "numerator": Decimal("372.5"), "denominator": None}
    ]  # fmt: skip


async def test_a_day_is_the_sites_own(make_world: Make) -> None:
    """23:30 UTC on March 2 is March 3 in Copenhagen, whatever zone the question is asked in."""
    world = await make_world()
    await put_rates(
        world.engine,
        [rate("EUR", "DKK", date(2026, 3, 2), "2"), rate("EUR", "DKK", date(2026, 3, 3), "3")],
    )
    await world.happen(
        order("2026-03-02T23:30", 1, "1", "EUR"),
        order("2026-03-02T22:59:59.999999", 10, "2", "EUR"),
    )
    for tz in ("Europe/Copenhagen", "America/New_York"):
        assert (await world.ask_one("revenue", tz=tz, **MARCH))["value"] == 23
    cut = {"start": "2026-03-02T22:59:59.5Z", "end": "2026-03-02T23:30:00.000001Z"}
    assert (await world.ask_one("revenue", **cut))["value"] == 23


async def test_a_missing_rate_makes_the_value_null_and_is_named(make_world: Make) -> None:
    world = await make_world()
    await put_rates(world.engine, [rate("EUR", "DKK", date(2026, 3, 2), "7.45")])
    await world.happen(
        order("2026-03-02T10:00", 100, "1", "EUR"),
        order("2026-03-20T10:00", 10, "2", "EUR", campaign="late"),
        order("2026-03-21T10:00", 10, "3", "USD", campaign="late"),
        spend("2026-03-02T10:00", 5),
    )
    revenue = await world.ask_one("revenue", grain="month", by="campaign", **MARCH)
    assert (revenue["value"], revenue["reason"]) == (None, "missing_fx_rate")
    assert revenue["missing"] == [
        {"currency": "EUR", "day": "2026-03-20"},
        {"currency": "USD", "day": "2026-03-21"},
    ]
    rows = {row["campaign"]: (row["value"], row["reason"]) for row in revenue["breakdown"]}
    assert rows == {None: (745, None), "late": (None, "missing_fx_rate")}
    roas = await world.ask_one("roas", **MARCH)
    assert (roas["value"], roas["numerator"], roas["denominator"]) == (None, None, 5)
    orders = await world.ask_one("orders", **MARCH)
    assert (orders["value"], orders["currency"]) == (3, None)
    assert (await world.ask_one("revenue", end="2026-03-09", start="2026-03-01"))["value"] == 745


async def test_another_reporting_currency(make_world: Make) -> None:
    world = await make_world()
    await put_rates(world.engine, [rate("EUR", "DKK", date(2026, 3, 2), "8")])
    await world.happen(
        order("2026-03-02T10:00", 100, "1"), order("2026-03-02T11:00", 1, "2", "EUR")
    )
    revenue = await world.ask_one("revenue", currency="eur", **MARCH)
    assert (revenue["value"], revenue["currency"]) == (Decimal("13.5"), "EUR")


async def test_amounts_that_cancel_on_different_days_still_count(make_world: Make) -> None:
    world = await make_world()
    await put_rates(
        world.engine,
        [rate("EUR", "DKK", date(2026, 3, 2), "7"), rate("EUR", "DKK", date(2026, 3, 3), "8")],
    )
    await world.happen(
        order("2026-03-02T10:00", 100, "1", "EUR"), refund("2026-03-03T10:00", 100, "1", "EUR")
    )
    assert (await world.ask_one("revenue", **MARCH))["value"] == -100


async def test_what_a_model_moves_away_needs_no_rate(make_world: Make) -> None:
    """The CHF belong to spring by the first touch: autumn is left with its DKK."""
    world = await make_world()
    await world.happen(
        view("2026-03-01T10:00", 1, "Email", "spring"),
        view("2026-03-02T10:00", 1, "Email", "autumn"),
        order("2026-03-02T10:10", 100, "1", "CHF", channel="", visitor=1),
        order("2026-03-02T10:10", 7, "2", channel="Email", campaign="autumn"),
    )
    of_autumn = MARCH | {"where": "campaign:autumn"}
    first = await world.ask_one("revenue", model="first", **of_autumn)
    assert (first["value"], first["reason"], "missing" in first) == (7, None, False)
    rows = (await world.ask_one("revenue", model="first", by="campaign", **MARCH))["breakdown"]
    assert {row["campaign"]: (row["value"], row["reason"]) for row in rows} == {
        "spring": (None, "missing_fx_rate"),
        "autumn": (7, None),
    }
    for model in ("last", "linear"):
        missing = await world.ask_one("revenue", model=model, **of_autumn)
        assert (missing["value"], missing["reason"]) == (None, "missing_fx_rate")


# --- The table of rates ----------------------------------------------------------------------


async def test_rates_are_kept_by_pair_and_day(warehouse: Any) -> None:
    first = [rate("eur", "dkk", DAY, "7.46"), rate("USD", "DKK", DAY, "6.9")]
    assert await put_rates(warehouse, first) == 2
    assert (
        await put_rates(warehouse, [rate("EUR", "DKK", DAY, "7"), rate("EUR", "DKK", DAY, "7.4")])
        == 2
    )
    newer = rate("EUR", "DKK", DAY + timedelta(1), "7.5")
    await put_rates(warehouse, [newer])
    found = await list_rates(warehouse)
    assert found == [newer, rate("EUR", "DKK", DAY, "7.4"), first[1]]
    assert await list_rates(warehouse, "EUR", "DKK", limit=1) == [newer]
    assert await list_rates(warehouse, base="USD") == [first[1]]
    assert await list_rates(warehouse, first=DAY + timedelta(1)) == [newer]
    assert await list_rates(warehouse, last=DAY, quote="DKK") == found[1:]
    assert await put_rates(warehouse, []) == 0


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (rate("EURO", "DKK", DAY, "7"), "base"),
        (rate("EUR", "D1K", DAY, "7"), "quote"),
        (rate("EUR", "eur", DAY, "1"), "quote"),
        (rate("EUR", "DKK", DAY, "0"), "rate"),
        (rate("EUR", "DKK", DAY, "-7"), "rate"),
        (rate("EUR", "DKK", DAY, "NaN"), "rate"),
        (rate("EUR", "DKK", DAY, "Infinity"), "rate"),
        (rate("EUR", "DKK", DAY, "1e9"), "rate"),
        (rate("EUR", "DKK", DAY, "0.0000000000001"), "rate"),
        (rate("EUR", "DKK", date(1899, 12, 31), "7"), "day"),
    ],
)
async def test_a_wrong_rate_is_refused_and_none_is_stored(
    warehouse: Any, wrong: FxRate, field: str
) -> None:
    with pytest.raises(InvalidError) as refused:
        await put_rates(warehouse, [rate("EUR", "DKK", DAY, "7"), wrong])
    assert refused.value.detail["field"] == field
    assert await list_rates(warehouse) == []
