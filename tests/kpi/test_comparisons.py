"""What a comparison says about chance, in the answers themselves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from service.domain.dimensions import Dimension
from service.domain.kinds import Kind
from tests.kpi.world import Event, World, at, order, spend, uid

Make = Callable[..., Awaitable[World]]

FEBRUARY = {"start": "2026-02-08", "end": "2026-02-22"}
WEEK = {"start": "2026-03-08", "end": "2026-03-15"}


def orders(day: str, count: int) -> list[Event]:
    return [order(f"{day}T10:00", 1, f"{day}-{number}") for number in range(count)]


def leads(day: str, count: int, *, won: bool) -> list[Event]:
    """Leads of a day, and the orders that some of them made a day later."""
    found = []
    for number in range(count):
        lead = {"lead": uid("lead", day, number)}
        found.append(Event(Kind.LEAD, at(f"{day}T10:00"), Dimension("Email"), lead))
        if won:
            sold = order(f"{day}T20:00", 1, f"{day}-{number}")
            found.append(replace(sold, data=sold.data | lead))
    return found


@pytest.mark.parametrize(("usual", "beyond"), [(2, True), (9, False)])
async def test_counts_by_how_days_differ(make_world: Make, usual: int, *, beyond: bool) -> None:
    world = await make_world()
    counts = {f"2026-03-{day:02}": 8 + day % 3 for day in range(8, 15)}
    counts |= {f"2026-03-{day:02}": usual + day % 3 - 1 for day in range(1, 8)}
    await world.happen(*(one for day, count in counts.items() for one in orders(day, count)))
    found = (await world.ask_one("orders", compare="previous_period", **WEEK))["compare"]
    assert (found["beyond_noise"], found["noise_method"]) == (beyond, "daily_totals")


@pytest.mark.parametrize(("clicks", "beyond"), [(20, True), (55, False)])
async def test_shares(make_world: Make, clicks: int, *, beyond: bool) -> None:
    world = await make_world()
    await world.happen(
        spend("2026-03-10T10:00", 1, impressions=1000, clicks=60),
        spend("2026-03-03T10:00", 1, impressions=1000, clicks=clicks),
    )
    found = (await world.ask_one("ctr", compare="previous_period", **WEEK))["compare"]
    assert (found["beyond_noise"], found["noise_method"]) == (beyond, "newcombe")


async def test_a_cohort_is_compared_once_it_has_grown_up(make_world: Make) -> None:
    """The window ended 47 days ago: a horizon of 30 has passed, one of 60 has not."""
    world = await make_world()
    await world.happen(*leads("2026-02-10", 12, won=True), *leads("2026-01-28", 12, won=False))

    async def noise(**more: object) -> tuple[bool | None, str | None]:
        asked = FEBRUARY | {"compare": "previous_period"} | more
        found = (await world.ask_one("lead_to_customer", **asked))["compare"]
        assert found["change"] == 1, more
        return found["beyond_noise"], found["noise_method"]

    assert await noise(horizon=30) == (True, "newcombe")
    assert await noise(horizon=60) == (None, None)
    assert await noise() == (None, None)
    same = await world.ask_one(
        "lead_to_customer", compare="2026-02-09/2026-02-22", horizon=30, **FEBRUARY
    )
    assert same["compare"]["beyond_noise"] is False


@pytest.mark.parametrize(
    ("earlier", "beyond"),
    [
        ("2026-02-01/2026-02-08", True),
        ("2026-02-02/2026-02-08", True),
        ("2026-01-31/2026-02-08", True),
        ("2026-02-03/2026-02-08", None),
        ("2026-01-30/2026-02-08", None),
    ],
)
async def test_totals_of_windows_of_nearly_the_same_length(
    make_world: Make, earlier: str, beyond: bool | None
) -> None:
    """A day more or less may be one of the clocks or the calendar; two are another window."""
    world = await make_world()
    await world.happen(*(one for day in range(8, 15) for one in orders(f"2026-03-{day:02}", day)))
    await world.happen(*orders("2026-02-04", 1))
    compared = (await world.ask_one("orders", compare=earlier, **WEEK))["compare"]
    assert compared["change"] == sum(range(8, 15)) - 1
    assert compared["beyond_noise"] is beyond
