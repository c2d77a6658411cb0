"""What a site decides for itself, as its answers show it: late events, the year's beginning."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

import pytest

from service.domain.access import SiteRules
from tests.kpi.world import World, order

Make = Callable[..., Awaitable[World]]


async def ruled(make_world: Make, **rules: Any) -> World:
    world = await make_world()
    return replace(world, site=replace(world.site, rules=SiteRules(**rules)))


@pytest.mark.parametrize(
    ("late_hours", "yesterday", "earlier"), [(0, False, False), (24, True, False), (72, True, True)]
)
async def test_a_site_says_how_late_events_may_come(
    make_world: Make, late_hours: int, *, yesterday: bool, earlier: bool
) -> None:
    """It is 14:34: yesterday ended 14 hours ago, the seventh of April 62."""
    world = await ruled(make_world, late_hours=late_hours)
    found = await world.ask_one("orders", window="yesterday")
    assert found["provisional"] is yesterday
    found = await world.ask_one("orders", start="2026-04-07", end="2026-04-08")
    assert found["provisional"] is earlier


@pytest.mark.parametrize(("horizon", "complete"), [(None, None), (9, True), (10, False)])
async def test_how_old_a_cohort_is(
    make_world: Make, horizon: int | None, *, complete: bool | None
) -> None:
    world = await make_world()
    march = {"start": "2026-03-01", "end": "2026-04-01", "horizon": horizon}
    for kpi in ("lead_to_customer", "customer_retention", "email_open_rate"):
        found = await world.ask_one(kpi, view="cohort", **march)
        assert found["cohort"] == {
            "youngest_days": 9,
            "oldest_days": 40,
            "horizon_days": horizon,
            "complete": complete,
        }
    assert (await world.ask_one("lead_to_customer", **march | {"horizon": None, "view": "period"}))[
        "cohort"
    ] is None


LONG = {"start": "2025-01-01", "end": "2026-04-10"}
BEGINNINGS = {
    (1, "year"): ["2025-01-01", "2026-01-01"],
    (4, "year"): ["2025-01-01", "2025-04-01", "2026-04-01"],
    (2, "year"): ["2025-01-01", "2025-02-01", "2026-02-01"],
    (4, "quarter"): ["2025-01-01", "2025-04-01", "2025-07-01", "2025-10-01", "2026-01-01",
                     "2026-04-01"],
    (2, "quarter"): ["2025-01-01", "2025-02-01", "2025-05-01", "2025-08-01", "2025-11-01",
                     "2026-02-01"],
}  # fmt: skip


@pytest.mark.parametrize(("month", "grain"), BEGINNINGS)
async def test_buckets_begin_with_the_sites_year(make_world: Make, month: int, grain: str) -> None:
    world = await ruled(make_world, fiscal_month=month)
    for when in ("2026-03-31T21:59:59.999999", "2026-03-31T22:00"):
        await world.happen(order(when, 1, when))
    series = (await world.ask_one("orders", grain=grain, **LONG))["series"]
    starts = BEGINNINGS[month, grain]
    assert [bucket["from"][:10] for bucket in series] == starts
    last = [1, 1] if starts[-1] == "2026-04-01" else [0, 2]
    assert [bucket["value"] for bucket in series][-2:] == last


@pytest.mark.parametrize(
    ("month", "window", "start", "end"),
    [
        (1, "this_year", "2026-01-01", "2026-04-10"),
        (4, "this_year", "2026-04-01", "2026-04-10"),
        (4, "last_year", "2025-04-01", "2026-04-01"),
        (2, "this_quarter", "2026-02-01", "2026-04-10"),
        (2, "last_quarter", "2025-11-01", "2026-02-01"),
    ],
)
async def test_presets_begin_with_the_sites_year(
    make_world: Make, month: int, window: str, start: str, end: str
) -> None:
    world = await ruled(make_world, fiscal_month=month)
    found = (await world.ask_one("orders", window=window))["window"]
    assert [found[side][:10] for side in ("from", "to")] == [start, end]
