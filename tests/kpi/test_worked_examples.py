"""The reference's worked examples, through the engine.

Vectors were computed independently and lie outside the project; where they are missing the tests
that need them say so and skip.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from service.domain.dimensions import Dimension
from service.domain.kinds import Flag, Kind
from service.domain.models import Model
from tests.kpi.world import Event, World, at, order, uid

VECTORS = Path(__file__).parents[3] / "shared" / "answers" / "vectors.json"
needs_vectors = pytest.mark.skipif(
    not VECTORS.is_file(), reason="the vectors (../shared) are not on this machine"
)
Make = Callable[..., Awaitable[World]]
SOLD_AT = at("2026-04-01T12:00")
CONSENT = int(Flag.DATED | Flag.CONSENT)


def vectors(name: str) -> Any:
    return json.loads(VECTORS.read_text())[name] if VECTORS.is_file() else []


# --- Cohort and period (R9) ------------------------------------------------------------------


def _leads() -> list[Event]:
    """January has 10 leads, February 5; of January's 2 buy in January, 1 in February."""

    def lead(day: str, name: str) -> Event:
        return Event(Kind.LEAD, at(f"{day}T10:00"), Dimension("Email"), {"lead": uid("lead", name)})

    won = [lead(f"2026-01-{day:02}", f"january {day}") for day in range(1, 11)]
    won += [lead(f"2026-02-{day:02}", f"february {day}") for day in range(1, 6)]
    bought = {
        "january 1": "2026-01-20",
        "january 2": "2026-01-21",
        "january 3": "2026-02-20",
        "february 1": "2026-02-21",
    }
    for name, day in bought.items():
        sold = order(f"{day}T10:00", 1, name)
        sold.data["lead"] = uid("lead", name)
        won.append(sold)
    return won


async def test_cohort_and_period_are_different_numbers(make_world: Make) -> None:
    world = await make_world()
    await world.happen(*_leads())
    months = {"start": "2026-01-01", "end": "2026-03-01", "grain": "month"}

    async def rates(**how: Any) -> list[tuple[int, int]]:
        found = await world.ask_one("lead_to_customer", **months, **how)
        return [(point["numerator"], point["denominator"]) for point in found["series"]]

    assert await rates() == [(3, 10), (1, 5)]
    assert await rates(view="period") == [(2, 10), (2, 5)]
    # They needed 19, 19 and 48 days, and 20: before the last day given is over.
    assert await rates(horizon=19) == [(0, 10), (0, 5)]
    assert await rates(horizon=20) == [(2, 10), (0, 5)]
    assert await rates(horizon=21) == [(2, 10), (1, 5)]
    assert await rates(horizon=48) == [(2, 10), (1, 5)]
    assert await rates(horizon=49) == [(3, 10), (1, 5)]


async def test_a_customer_is_retained_before_the_last_day_given_is_over(make_world: Make) -> None:
    world = await make_world()
    micro = timedelta(microseconds=1)
    for name, after in (("a", timedelta(days=30)), ("b", timedelta(days=30) - micro)):
        first = order("2026-02-01T10:00", 1, f"{name} 1", customer=name)
        again = order("2026-02-01T10:00", 1, f"{name} 2", customer=name)
        await world.happen(replace(again, at=first.at + after), first)
    window = {"start": "2026-02-01", "end": "2026-02-02"}
    counts = [
        (await world.ask_one("customer_retention", horizon=days, **window))["numerator"]
        for days in (29, 30, 31, None)
    ]
    assert counts == [0, 1, 2, 2]


# --- Credit ----------------------------------------------------------------------------------


def touches(*ages: float, visitor: int = 1) -> list[Event]:
    """Visits so many days before the sale, each of a campaign of its own, named by its place."""
    return [
        Event(
            Kind.PAGE_VIEW,
            SOLD_AT - timedelta(days=age),
            Dimension("Email", "newsletter", "email", f"touch {place}"),
            {},
            visitor,
        )
        for place, age in enumerate(ages)
    ]


def sale(value: int, visitor: int = 1, **people: str) -> Event:
    data = {"order": uid("order", 1), "quantity": 1, "value": value, "currency": "DKK"}
    data |= {name: uid(name, person) for name, person in people.items()}
    return Event(Kind.CONVERSION, SOLD_AT, Dimension(), data, visitor, CONSENT)


APRIL = {"start": "2026-04-01", "end": "2026-04-02"}


async def credits(
    world: World, model: Model, kpi: str = "gross_revenue", **how: Any
) -> dict[str | None, Decimal]:
    found = await world.ask_one(kpi, by="campaign", model=model.label, **(APRIL | how))
    rows = {row["campaign"]: Decimal(row["value"]) for row in found["breakdown"]}
    assert sum(rows.values()) == found["value"]
    return rows


async def test_time_decay_halves_every_week(make_world: Make) -> None:
    """14, 7 and 0 days: 1/7, 2/7 and 4/7; the last touch gets what cannot be shared."""
    world = await make_world()
    await world.happen(*touches(14, 7, 0), sale(700_000_000))
    assert await credits(world, Model.TIME_DECAY) == {
        "touch 0": 100,
        "touch 1": 200,
        "touch 2": 400,
    }
    assert await credits(world, Model.TIME_DECAY, "orders") == {
        "touch 0": Decimal("0.142857"),
        "touch 1": Decimal("0.285714"),
        "touch 2": Decimal("0.571429"),
    }


async def test_what_cannot_be_shared_is_the_last_touch_s(make_world: Make) -> None:
    world = await make_world()
    await world.happen(*touches(3, 2, 1), sale(1_000_000))
    assert await credits(world, Model.LINEAR) == {
        "touch 0": Decimal("0.333333"),
        "touch 1": Decimal("0.333333"),
        "touch 2": Decimal("0.333334"),
    }
    assert await credits(world, Model.POSITION_BASED, "orders") == {
        "touch 0": Decimal("0.4"),
        "touch 1": Decimal("0.2"),
        "touch 2": Decimal("0.4"),
    }


async def test_a_refund_takes_back_where_its_order_was_credited(make_world: Make) -> None:
    world = await make_world()
    back = Event(Kind.REFUND, at("2026-04-20T10:00"), Dimension("Direct"), {
        "order": uid("order", 1), "value": 50_000_000, "currency": "DKK"})  # fmt: skip
    await world.happen(back)
    await world.happen(sale(100_000_000))
    await world.happen(*touches(10, 5))  # late: what was credited is credited again
    month = {"start": "2026-04-01", "end": "2026-05-01"}
    assert await credits(world, Model.LINEAR, "revenue", **month) == {"touch 0": 25, "touch 1": 25}
    assert await credits(world, Model.LINEAR, "revenue") == {"touch 0": 50, "touch 1": 50}
    by_order = await credits(world, Model.LINEAR, "revenue", refunds="order_date")
    assert by_order == {"touch 0": 25, "touch 1": 25}
    assert await credits(world, Model.FIRST, "refunds", refunds="order_date") == {"touch 0": 50}


async def test_an_identify_event_stitches_devices(make_world: Make) -> None:
    """The order comes from the laptop; the mail was opened on the phone, which said who it is."""
    world = await make_world()
    await world.happen(*touches(5, visitor=2), sale(10_000_000, visitor=1, customer="a"))
    assert await credits(world, Model.LAST_NON_DIRECT) == {None: 10}
    who = {"name": "identify", "customer": uid("customer", "a")}
    said = Event(Kind.CUSTOM, at("2026-04-20T10:00"), Dimension(event="identify"), who, 2, CONSENT)
    await world.happen(said)
    for model in Model:
        assert await credits(world, model) == {"touch 0": 10}, model


@pytest.mark.parametrize(("count", "winner"), [(20, "touch 0"), (21, None)])
@pytest.mark.parametrize("shared", [False, True])
async def test_nobody_is_twenty_one_people(
    make_world: Make, count: int, winner: str | None, *, shared: bool
) -> None:
    """Neither the "guest" of a shop nor the visitor of a machine that everybody logs in at."""
    world = await make_world()
    logins = [
        Event(
            Kind.CUSTOM,
            SOLD_AT - timedelta(days=60),
            Dimension(event="login"),
            {"name": "login", "customer": uid("customer", str(number) if shared else "0")},
            2 if shared else 2 + number,
            CONSENT,
        )
        for number in range(count)
    ]
    await world.happen(*logins[:-1], *touches(5, visitor=2), sale(10_000_000, 0, customer="0"))
    assert await credits(world, Model.LAST_NON_DIRECT) == {"touch 0": 10}
    await world.happen(logins[-1])
    assert await credits(world, Model.LAST_NON_DIRECT) == {winner: 10}


@needs_vectors
@pytest.mark.parametrize("ages", sorted(vectors("attribution")))
async def test_every_model_shares_as_the_vectors_say(make_world: Make, ages: str) -> None:
    names = {
        Model.FIRST: "first",
        Model.LAST: "last",
        Model.LINEAR: "linear",
        Model.POSITION_BASED: "position_40_20_40",
        Model.TIME_DECAY: "time_decay_half_life_7d",
    }
    world = await make_world()
    days = [float(age) for age in ages.removeprefix("ages ").split(",")]
    await world.happen(*touches(*days), sale(100_000_000))
    for model, name in names.items():
        found = await credits(world, model)
        for place, share in enumerate(vectors("attribution")[ages][name]):
            got = float(found.get(f"touch {place}", 0))
            assert got == pytest.approx(share, abs=1e-5), (model, place)


CHANNELS = {"direct": "Direct", "email": "Email", "organic_search": "Organic Search",
            "paid_search": "Paid Search"}  # fmt: skip


@needs_vectors
@pytest.mark.parametrize("case", vectors("last_non_direct"), ids=str)
async def test_the_last_non_direct_touch_wins(make_world: Make, case: dict[str, Any]) -> None:
    world = await make_world()
    async with world.engine.begin() as connection:
        asked = {"days": case["lookback_days"], "site": world.site.id}
        await connection.execute(
            text("UPDATE site SET lookback_days = :days, credited_days = :days WHERE id = :site"),
            asked,
        )
    visits = [
        Event(Kind.PAGE_VIEW, SOLD_AT - timedelta(days=days), Dimension(CHANNELS[name]), {}, 1)
        for name, days in case["touches"]
    ]
    await world.happen(*visits, sale(1_000_000))
    found = await world.ask_one("orders", by="channel", **APRIL)
    winner = case["winner"] and CHANNELS[case["winner"]]
    assert [(row["channel"], row["value"]) for row in found["breakdown"]] == [(winner, 1)]


# --- The calendar of Copenhagen --------------------------------------------------------------


def _vectors_by_grain() -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for vector in vectors("calendar_europe_copenhagen"):
        label = vector["label"]
        grain = "quarter" if "Q" in label else {4: "year", 7: "month"}.get(len(label), "day")
        found.setdefault(grain, []).append(vector)
    return found


@needs_vectors
@pytest.mark.parametrize("grain", ["month", "quarter", "year"])
async def test_units_of_four_years(make_world: Make, grain: str) -> None:
    """One page view at the first instant of each unit, and one just before."""
    world = await make_world()
    world.clock.set(datetime(2028, 2, 1, tzinfo=UTC))
    expected = _vectors_by_grain()[grain]
    starts = [datetime.fromisoformat(vector["start_utc"]) for vector in expected]
    micro = timedelta(microseconds=1)
    views = [Event(Kind.PAGE_VIEW, when, Dimension("Direct")) for when in starts]
    views += [Event(Kind.PAGE_VIEW, when - micro, Dimension("Direct")) for when in starts]
    await world.happen(*views)
    four_years = {"start": "2024-01-01", "end": "2028-01-01"}
    found = (await world.ask_one("page_views", grain=grain, **four_years))["series"]
    assert len(found) == len(expected) == {"month": 48, "quarter": 16, "year": 4}[grain]
    for point, vector in zip(found, expected, strict=True):
        _is(point, vector)
    assert [point["value"] for point in found] == [2] * (len(found) - 1) + [1]


@needs_vectors
async def test_days_on_which_clocks_change(make_world: Make) -> None:
    world = await make_world()
    world.clock.set(datetime(2028, 2, 1, tzinfo=UTC))
    expected = _vectors_by_grain()["day"]
    assert len(expected) == 8
    for vector in expected:
        day = datetime.fromisoformat(vector["label"][:10]).date()
        window = {"start": day.isoformat(), "end": (day + timedelta(days=1)).isoformat()}
        hours = (await world.ask_one("page_views", grain="hour", **window))["series"]
        _is({"from": hours[0]["from"], "to": hours[-1]["to"]}, vector)
        assert len(hours) == vector["hours"]


def _is(point: dict[str, Any], vector: dict[str, Any]) -> None:
    start, end = (datetime.fromisoformat(point[side]) for side in ("from", "to"))
    assert start == datetime.fromisoformat(vector["start_utc"]), vector["label"]
    assert end == datetime.fromisoformat(vector["end_utc_exclusive"]), vector["label"]
    assert (end - start) / timedelta(hours=1) == vector["hours"]
