"""What an answer says: values and reasons, intervals and flags, comparisons, series, breakdowns."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from service.domain.dimensions import Dimension
from service.domain.kinds import Kind
from service.domain.measures import Measure
from service.kit.json import dumps
from service.kpi.cells import Cell, sum_of
from service.kpi.formula import Distinct
from service.project.compact import compact
from service.project.rebuild import rebuild
from tests.kpi.world import (
    CATALOGUE,
    NOW,
    Event,
    World,
    answer,
    at,
    order,
    refund,
    spend,
    uid,
    view,
)

MARCH = {"start": "2026-03-01", "end": "2026-04-01"}
Make = Callable[..., Awaitable[World]]


def lead(when: str, name: str) -> Event:
    return Event(Kind.LEAD, at(when), Dimension(channel="Email"), {"lead": uid("lead", name)})


def values(rows: list[dict[str, Any]], *names: str) -> list[Any]:
    found = [tuple(row[name] for name in names) for row in rows]
    return [one[0] for one in found] if len(names) == 1 else found


# --- Values and reasons ----------------------------------------------------------------------


async def test_a_site_that_never_counted_something_has_no_value(make_world: Make) -> None:
    world = await make_world()
    for one in await world.ask(*CATALOGUE.kpis, **MARCH):
        assert (one["value"], one["reason"]) == (None, "no_data"), one["kpi"]


async def test_none_in_the_window_is_zero_where_the_site_counts_it(make_world: Make) -> None:
    world = await make_world()
    await world.happen(order("2026-01-05T10:00", 100, "1"))
    orders, revenue, refunds = await world.ask("orders", "revenue", "refunds", **MARCH)
    assert values([orders, revenue, refunds], "value", "reason") == [(0, None)] * 3
    aov, leads = await world.ask("aov", "leads", **MARCH)
    assert (aov["value"], aov["reason"], aov["numerator"]) == (None, "zero_denominator", 0)
    assert (leads["value"], leads["reason"]) == (None, "no_data")


@pytest.mark.parametrize("together", [True, False])
async def test_a_stated_zero_is_a_zero(make_world: Make, *, together: bool) -> None:
    """Whether the 0 came alone, replaced a figure before anybody looked, or after."""
    world = await make_world()
    figures = {"impressions": 10, "clicks": 0}
    first = spend("2026-03-05T10:00", 7, **figures)
    last = spend("2026-03-05T10:00", 0, **figures)
    await world.log(first)
    if not together:
        await world.project()
    await world.happen(last, order("2026-03-06T10:00", 0, "1"))
    ctr, clicks, cpc, paid, roas, revenue = await world.ask(
        "ctr", "clicks", "cpc", "spend", "roas", "revenue", **MARCH
    )
    assert values([ctr, clicks, paid, revenue], "value", "reason") == [(0, None)] * 4
    assert values([cpc, roas], "value", "reason") == [(None, "zero_denominator")] * 2
    await compact(world.engine, world.site.id, NOW)
    await rebuild(world.engine, world.site.id)
    again = await world.ask("ctr", "clicks", "spend", "revenue", **MARCH)
    assert values(again, "value", "reason") == [(0, None)] * 4


async def test_a_zero_denominator_leaves_the_numerator_visible(make_world: Make) -> None:
    world = await make_world()
    await world.happen(spend("2026-03-05T10:00", 100.25), order("2026-01-05T10:00", 1, "1"))
    cpa = await world.ask_one("cpa", **MARCH)
    assert (cpa["value"], cpa["reason"]) == (None, "zero_denominator")
    assert (cpa["numerator"], cpa["denominator"]) == (Decimal("100.25"), 0)
    assert cpa["also"] == {"spend": Decimal("100.25")}
    cpl = await world.ask_one("cpl", **MARCH)
    assert (cpl["value"], cpl["reason"], cpl["denominator"]) == (None, "no_data", None)
    assert cpl["numerator"] == Decimal("100.25")


async def test_profit_needs_the_cost_of_every_order(make_world: Make) -> None:
    world = await make_world()
    await world.happen(
        spend("2026-03-05T10:00", 100),
        order("2026-03-05T10:00", 300, "1", cost=50, campaign="a"),
        order("2026-03-06T10:00", 300, "2", campaign="b"),
    )
    poas = await world.ask_one("poas", grain="week", by="campaign", **MARCH)
    assert (poas["value"], poas["reason"]) == (None, "missing_cost_of_goods")
    assert (poas["numerator"], poas["denominator"]) == (None, 100)
    first_days = {"start": "2026-03-05", "end": "2026-03-06"}
    assert (await world.ask_one("poas", **first_days))["value"] == Decimal("2.5")
    rows = {row["campaign"]: row["reason"] for row in poas["breakdown"]}
    assert rows == {"a": "zero_denominator", "b": "missing_cost_of_goods", None: None}


async def test_share_of_search_needs_both_groups(make_world: Make) -> None:
    world = await make_world()

    def volume(group: str, count: int) -> Event:
        data = {"key": uid(group), "group": group, "volume": count}
        return Event(Kind.SEARCH_VOLUME, at("2026-03-05T10:00"), Dimension(source="google"), data)

    await world.happen(volume("brand", 30))
    share = await world.ask_one("share_of_search", **MARCH)
    assert (share["value"], share["reason"]) == (None, "no_data")
    await world.happen(volume("category", 90))
    share = await world.ask_one("share_of_search", by="source", **MARCH)
    assert share["value"] == Decimal("0.25")
    assert values(share["breakdown"], "source", "value") == [("google", Decimal("0.25"))]


async def test_numbers_are_exact_and_short(make_world: Make) -> None:
    world = await make_world()
    await world.happen(spend("2026-03-05T10:00", 100.25), order("2026-03-05T10:00", 50, "1"))
    found = {
        one["kpi"]: one for one in await world.ask("spend", "revenue", "romi", "orders", **MARCH)
    }
    assert str(found["spend"]["value"]) == "100.25"
    assert str(found["revenue"]["value"]) == "50"
    assert str(found["romi"]["value"]) == "-0.50124688279301746"
    assert type(found["orders"]["value"]) is int
    assert '"value":100.25' in dumps(found["spend"])


# --- Intervals and flags ---------------------------------------------------------------------


async def test_a_share_has_an_interval_until_it_exceeds_one(make_world: Make) -> None:
    world = await make_world()
    await world.happen(
        *(view("2026-03-05T10:00", visitor) for visitor in range(1, 31)),
        spend("2026-03-05T10:00", 1, impressions=30, clicks=1),
    )
    assert (await world.ask_one("bounce_rate", **MARCH))["flags"] == []  # exactly 1
    rate = await world.ask_one("ctr", **MARCH)
    assert rate["flags"] == []
    assert rate["interval"]["method"] == "wilson"
    assert rate["interval"]["level"] == Decimal("0.95")
    assert rate["interval"]["low"] < 1 / 30 < rate["interval"]["high"]
    await world.happen(spend("2026-03-05T11:00", 1, clicks=30))
    rate = await world.ask_one("ctr", **MARCH)
    assert rate["value"] == Decimal("1.0333333333333333")
    assert (rate["interval"], rate["flags"]) == (None, ["above_one"])


async def test_what_is_no_part_of_the_other_has_no_interval(make_world: Make) -> None:
    world = await make_world()
    await world.happen(view("2026-03-05T10:00", 1), order("2026-03-05T10:00", 1, "1"))
    assert (await world.ask_one("conversion_rate", **MARCH))["interval"] is None


async def test_a_small_sample_is_flagged(make_world: Make) -> None:
    world = await make_world()
    await world.happen(*(answer("2026-03-05T10:00", "nps", 1, n) for n in range(5)))
    nps = await world.ask_one("nps", **MARCH)
    assert (nps["value"], nps["numerator"], nps["denominator"]) == (100, 5, 5)
    assert nps["flags"] == ["small_sample"]
    assert nps["interval"]["low"] == pytest.approx(17.49145303416897)
    assert nps["interval"]["method"] == "adjusted_wald"
    await world.happen(*(answer("2026-03-05T10:00", "nps", -1, n) for n in range(5, 30)))
    nps = await world.ask_one("nps", **MARCH)
    assert (nps["numerator"], nps["denominator"], nps["flags"]) == (-20, 30, [])
    assert nps["interval"]["low"] < nps["value"] < nps["interval"]["high"] < 0


# --- Comparisons -----------------------------------------------------------------------------


async def test_a_comparison_says_by_how_much(make_world: Make) -> None:
    world = await make_world()
    await world.happen(
        order("2026-02-05T10:00", 80, "1"),
        order("2026-03-05T10:00", 100, "2"),
        order("2025-03-31T21:59:59.999999", 200, "3"),
    )
    revenue = await world.ask_one("revenue", window="last_month", compare="previous_period")
    assert revenue["compare"] == {
        "window": {
            "from": "2026-02-01T00:00:00+01:00",
            "to": "2026-03-01T00:00:00+01:00",
            "tz": "Europe/Copenhagen",
        },
        "value": 80,
        "reason": None,
        "change": 20,
        "change_ratio": Decimal("0.25"),
        "beyond_noise": None,  # of months that are 28 and 31 days long
        "noise_method": None,
    }
    year = (await world.ask_one("revenue", window="last_month", compare="previous_year"))["compare"]
    assert (year["value"], year["change"], year["change_ratio"]) == (200, -100, Decimal("-0.5"))


async def test_a_comparison_with_nothing_has_no_ratio(make_world: Make) -> None:
    world = await make_world()
    await world.happen(order("2026-03-05T10:00", 100, "2"), refund("2026-02-05T10:00", 50, "2"))
    orders, aov = await world.ask("orders", "aov", compare="previous_period", **MARCH)
    assert values([orders["compare"]], "value", "change", "change_ratio") == [(0, 1, None)]
    assert values([aov["compare"]], "value", "reason", "change") == [
        (None, "zero_denominator", None)
    ]
    # From -50 to 100 is a rise.
    revenue = await world.ask_one("revenue", compare="previous_period", **MARCH)
    assert (revenue["compare"]["change"], revenue["compare"]["change_ratio"]) == (150, 3)


async def test_today_is_held_against_the_same_span_of_yesterday(make_world: Make) -> None:
    world = await make_world()
    await world.happen(
        view("2026-04-10T12:34:56.789122", 1),
        view("2026-04-10T12:34:56.789123", 2),
        view("2026-04-09T12:34:56.789122", 3),
        view("2026-04-09T12:34:56.789123", 4),
    )
    visits = await world.ask_one("visits", window="today", compare="previous_period")
    assert (visits["value"], visits["compare"]["value"]) == (1, 1)
    assert visits["window"]["to"] == "2026-04-10T14:34:56.789123+02:00"


# --- Series and breakdowns -------------------------------------------------------------------


async def test_empty_buckets_are_there(make_world: Make) -> None:
    world = await make_world()
    await world.happen(order("2026-03-28T23:30", 100, "1"), view("2026-03-29T10:00", 1))
    asked = {"start": "2026-03-28", "end": "2026-03-31", "grain": "day"}
    orders, rate = await world.ask("orders", "conversion_rate", **asked)
    assert values(orders["series"], "value") == [0, 1, 0]  # 00:30 local on the 23-hour day
    assert values(rate["series"], "value", "reason") == [
        (None, "zero_denominator"), (1, None), (None, "zero_denominator"),
    ]  # fmt: skip
    assert orders["series"][1]["from"] == "2026-03-29T00:00:00+01:00"
    assert orders["series"][1]["to"] == "2026-03-30T00:00:00+02:00"


async def test_rows_come_by_importance_and_what_has_no_value_is_null(make_world: Make) -> None:
    world = await make_world()
    await world.happen(
        order("2026-03-05T10:00", 100, "1", campaign="spring"),
        order("2026-03-06T10:00", 100, "2", campaign="autumn"),
        order("2026-03-06T10:00", 500, "3"),
        refund("2026-03-07T10:00", 900, "9"),
    )
    revenue = await world.ask_one("revenue", by="campaign", **MARCH)
    assert values(revenue["breakdown"], "campaign", "value") == [
        (None, -400), ("autumn", 100), ("spring", 100),
    ]  # fmt: skip
    assert sum(values(revenue["breakdown"], "value")) == revenue["value"]
    by_channel = await world.ask_one("orders", by="channel", **MARCH)
    assert values(by_channel["breakdown"], "channel", "value") == [("Email", 3)]


async def test_a_ratios_rows_come_by_its_larger_side(make_world: Make) -> None:
    world = await make_world()
    await world.happen(
        spend("2026-03-05T10:00", 10, "small", impressions=1000, clicks=100),
        spend("2026-03-05T10:00", 1, "large", impressions=5000, clicks=1),
    )
    ctr, cpc = await world.ask("ctr", "cpc", by="campaign", **MARCH)
    assert values(ctr["breakdown"], "campaign", "denominator") == [("large", 5000), ("small", 1000)]
    assert values(cpc["breakdown"], "campaign") == ["small", "large"]  # more clicks than money


async def test_a_row_is_only_there_for_what_the_kpi_is_about(make_world: Make) -> None:
    world = await make_world()
    await world.happen(
        view("2026-03-05T10:00", 1, "Organic Search"),
        view("2026-03-05T10:00", 2, "Direct"),
        view("2026-03-06T10:00", 2, "Email"),
    )
    visits, organic, share, people = await world.ask(
        "visits", "organic_visits", "organic_share", "visitors", by="channel", **MARCH
    )
    assert values(visits["breakdown"], "channel") == ["Direct", "Email", "Organic Search"]
    assert values(organic["breakdown"], "channel", "value") == [("Organic Search", 1)]
    assert values(share["breakdown"], "channel", "value") == [
        ("Direct", 0), ("Email", 0), ("Organic Search", 1),
    ]  # fmt: skip
    # A visitor counts in every row in which they have a visit, once in the total.
    assert values(people["breakdown"], "value") == [1, 1, 1]
    assert people["value"] == 2


async def test_filters(make_world: Make) -> None:
    world = await make_world()
    await world.happen(
        order("2026-03-05T10:00", 1, "1", campaign="spring", channel="Email"),
        order("2026-03-05T10:00", 10, "2", campaign="spring", channel="Direct"),
        order("2026-03-05T10:00", 100, "3", campaign="Spring, late", channel="Email"),
        order("2026-03-05T10:00", 1000, "4", channel="Email"),
    )
    for where, expected in {
        "campaign:spring": 11,
        "campaign:spring,channel:Email": 1,
        "channel:email": 1101,
        "campaign:Spring": 0,
        "campaign:spring,campaign:Spring\\, late": 111,
        "campaign:": 1000,
        "channel:email,channel:direct": 1111,
        "campaign:nobody": 0,
    }.items():
        for grain in (None, "day"):
            found = await world.ask_one("revenue", where=where, grain=grain, **MARCH)
            assert found["value"] == expected, where


# --- Distinct people -------------------------------------------------------------------------


async def test_visitors_are_counted_once_a_window(make_world: Make) -> None:
    world = await make_world()
    await world.happen(
        view("2026-03-04T22:59:59.999999", 1),  # 23:59:59.999999 in Copenhagen
        view("2026-03-05T23:00:00", 1),  # midnight
        view("2026-03-06T09:00:00", 1),
        view("2026-03-06T22:59:59.999999", 2),
        view("2026-03-07T10:00:00", 2),
    )
    for start, end, counts in (
        ("2026-03-05", "2026-03-07", [0, 2]),
        ("2026-03-04", "2026-03-07", [1, 0, 2]),
        ("2026-03-06", "2026-03-08", [2, 1]),
        ("2026-03-07", "2026-03-08", [1]),
    ):
        for where in (None, "channel:Direct"):
            asked = {"start": start, "end": end, "where": where}
            visitors = await world.ask_one("visitors", grain="day", **asked)
            assert values(visitors["series"], "value") == counts
            total = (await world.ask_one("visitors", **asked))["value"]
            assert visitors["value"] == total == (1 if len(counts) == 1 else 2)


def test_distinct_people_are_never_summed() -> None:
    people = Cell({(Distinct.VISITORS, ()): 1, (Measure.VISITS, ()): 1})
    assert sum_of([people, people]).amounts == {(Measure.VISITS, ()): 2}


async def test_customers_are_counted_once_a_window(make_world: Make) -> None:
    world = await make_world()
    await world.happen(
        order("2026-02-05T10:00", 1, "1", customer="old"),
        order("2026-03-05T10:00", 1, "2", customer="old"),
        order("2026-03-06T10:00", 1, "3", customer="old", campaign="spring"),
        order("2026-03-07T10:00", 1, "4", customer="new", campaign="spring"),
        order("2026-03-08T10:00", 1, "5", customer="said to be old", new=False),
        order("2026-03-09T10:00", 1, "6"),
    )
    repeat, new = await world.ask("repeat_purchase_rate", "new_customer_rate", **MARCH)
    assert (repeat["numerator"], repeat["denominator"]) == (1, 3)
    assert (new["numerator"], new["denominator"]) == (1, 3)
    spring = await world.ask_one("repeat_purchase_rate", where="campaign:spring", **MARCH)
    assert (spring["numerator"], spring["denominator"]) == (0, 2)
    days = await world.ask_one(
        "new_customer_rate", grain="month", start="2026-02-01", end="2026-04-01"
    )
    assert values(days["series"], "numerator", "denominator") == [(1, 1), (1, 3)]
    assert (days["numerator"], days["denominator"]) == (2, 3)


# --- The frame -------------------------------------------------------------------------------


async def test_the_frame_of_an_answer(make_world: Make) -> None:
    world = await make_world()
    await world.happen(lead("2026-03-05T10:00", "a"))
    found = await world.ask_one("lead_to_customer", tz="America/New_York", **MARCH)
    assert list(found) == [
        "kpi", "version", "unit", "direction", "currency", "view", "model", "counting", "window",
        "value", "reason", "numerator", "denominator", "interval", "flags", "also", "compare",
        "series", "breakdown", "rest", "benchmark", "provisional", "cohort", "as_of",
    ]  # fmt: skip
    assert (found["view"], found["unit"], found["direction"]) == ("cohort", "fraction", "up")
    assert found["window"] == {
        "from": "2026-03-01T00:00:00-05:00",
        "to": "2026-04-01T00:00:00-04:00",
        "tz": "America/New_York",
    }
    assert found["as_of"] == "2026-04-10T12:34:56.789123Z"
    leads = await world.ask_one("leads", **MARCH)
    assert leads["view"] is None


async def test_each_kpi_has_its_own_default_window(make_world: Make) -> None:
    world = await make_world()
    nps, spent, ces = await world.ask("nps", "spend", "ces")
    assert nps["window"]["from"] == ces["window"]["from"] == "2026-01-10T00:00:00+01:00"
    assert spent["window"]["from"] == "2026-03-11T00:00:00+01:00"
    both = await world.ask("spend", "spend", window="today")
    assert values(both, "kpi") == ["spend", "spend"]


async def test_a_kpi_shows_the_view_it_was_asked_for(make_world: Make) -> None:
    world = await make_world()
    await world.happen(lead("2026-03-05T10:00", "a"))
    for asked, shown in ((None, "cohort"), ("cohort", "cohort"), ("period", "period")):
        assert (await world.ask_one("lead_to_customer", view=asked, **MARCH))["view"] == shown
        assert (await world.ask_one("leads", view=asked, **MARCH))["view"] is None


async def test_what_is_not_projected_is_left_out_whole(make_world: Make) -> None:
    """Neither the tiers nor an edge that reads the log see it, and `as_of` says so."""
    world = await make_world()
    await world.happen(view("2026-04-10T12:32", 1), view("2026-04-10T11:00", 2))
    world.clock.set(NOW + timedelta(seconds=9))
    await world.log(view("2026-04-10T12:33", 3), view("2026-04-10T11:01", 4))
    views = await world.ask_one("page_views", window="today", wait_ms=0)
    assert views["value"] == 2
    assert views["as_of"] == "2026-04-10T12:34:56.789123Z"
    await world.project()
    views = await world.ask_one("page_views", window="today")
    assert views["value"] == 4
    assert views["as_of"] == "2026-04-10T12:35:05.789123Z"


async def test_sites_do_not_see_each_other(make_world: Make) -> None:
    one, other = await make_world(), await make_world()
    await one.happen(order("2026-03-05T10:07", 100, "1", customer="a"), view("2026-03-05T10:07", 1))
    await other.happen(order("2026-03-05T10:07", 1, "1", customer="a"), view("2026-03-05T10:07", 1))
    cut = {"start": "2026-03-05T10:06:00Z", "end": "2026-03-05T10:08:00Z"}
    for window in (MARCH, cut):
        for kpi, value in {
            "revenue": 1,
            "visitors": 1,
            "new_customers": 1,
            "page_views": 1,
        }.items():
            assert (await other.ask_one(kpi, **window))["value"] == value
            assert (await other.ask_one(kpi, by="channel", **window))["breakdown"][0][
                "value"
            ] == value
