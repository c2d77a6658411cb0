"""What a slice reads: rollups and facts as they lie in the tables, written here by hand."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from service.domain.access import Site
from service.domain.measures import Measure
from service.domain.models import Model, moved
from service.errors import InvalidError
from service.kit.clock import SystemClock
from service.kpi import run
from service.kpi.cells import Cells, Slice
from service.kpi.filters import parse
from service.kpi.formula import Quantity
from service.kpi.grains import bounds
from service.kpi.money import MissingRate
from service.kpi.read import read
from service.kpi.run import LISTENER, Listener
from service.kpi.windows import explicit_window
from service.store.fx import FxRate, put_rates
from tests.kpi.world import at

M = Measure
COPENHAGEN = ZoneInfo("Europe/Copenhagen")
THIRD, PAID, NEWS = 333_333, 1, 2
DIMENSIONS = (
    (PAID, "Paid Search", "Google", "cpc", "spring_1"),
    (NEWS, "Email", "newsletter", "email", "Spring%"),
    (3, "Organic Search", "bing", "organic", ""),
)
DETAILS = (
    (11, "/sale/shoes", "DK", "mobile", "pro"),
    (12, "/sale/hats", "SE", "desktop", "free"),
    (13, "/", "DK", "desktop", ""),
)
EARLY, LATE = at("2026-03-10T02:00"), at("2026-03-10T20:00")
"""One day of the site: the day before in America, and the day after in Asia."""

VISITS = ((PAID, 11), (NEWS, 11), (NEWS, 12), (3, 13), (0, 0))


@pytest.fixture(scope="module")
async def site(warehouse: AsyncEngine, make_site: Callable[..., Awaitable[Site]]) -> Site:
    made = await make_site(warehouse, "read", "Europe/Copenhagen", "DKK")
    rows = "INSERT INTO rollup_{} VALUES (:s, :at, :d, :v, :m, :c)"
    async with warehouse.begin() as connection:

        async def put(statement: str, *values: dict[str, Any]) -> None:
            await connection.execute(text(statement), [{"s": made.id, **v} for v in values])

        await put(
            "INSERT INTO dimension VALUES (:s, :d, :channel, :source, :medium, :campaign)",
            *(dict(zip(("d", "channel", "source", "medium", "campaign"), row, strict=True))
              for row in DIMENSIONS),
        )  # fmt: skip
        await put(
            "INSERT INTO detail VALUES"
            " (:s, :d, :page, :country, :device, jsonb_build_object('plan', CAST(:plan AS text)))",
            *(dict(zip(("d", "page", "country", "device", "plan"), row, strict=True))
              for row in DETAILS),
        )  # fmt: skip
        await put(
            "INSERT INTO visit VALUES (:s, :n, :at, :at, NULL, :d, 1, 0, 2, :x)",
            *({"n": n, "at": EARLY + timedelta(minutes=n), "d": d, "x": x}
              for n, (d, x) in enumerate(VISITS)),
        )  # fmt: skip
        await put(
            "INSERT INTO lead (site_id, lead, won_at, visitor, own_dim, dim_id, converted_at)"
            " VALUES (:s, gen_random_uuid(), :at, 0, 0, :d, :then)",
            *(
                {"at": EARLY, "d": PAID, "then": EARLY + timedelta(days=days)}
                for days in (1, 7, 30)
            ),
        )
        rollups = [
            *((d, 1, M.VISITS, "") for d, _ in VISITS),
            (PAID, 2, M.ORDERS, ""),
            (PAID, 600, M.GROSS_REVENUE, "DKK"),
            (PAID, 90, M.GROSS_REVENUE, "EUR"),
            (NEWS, THIRD, moved(M.ORDERS, Model.LINEAR), ""),
            (PAID, -THIRD, moved(M.ORDERS, Model.LINEAR), ""),
            (NEWS, 200, moved(M.GROSS_REVENUE, Model.LINEAR), "DKK"),
            (PAID, -200, moved(M.GROSS_REVENUE, Model.LINEAR), "DKK"),
            (NEWS, 30, moved(M.GROSS_REVENUE, Model.LINEAR), "EUR"),
            (PAID, -30, moved(M.GROSS_REVENUE, Model.LINEAR), "EUR"),
            (PAID, -7, moved(M.GROSS_REVENUE, Model.FIRST), "DKK"),
        ]
        for row in rollups:
            values = dict(zip("dvmc", row, strict=True))
            quarter = values | {"at": LATE if values["c"] else EARLY}
            await put(rows.format("quarter"), quarter)
            await put(rows.format("total_quarter"), quarter | {"d": 0})
            await put(rows.format("day"), values | {"at": at("2026-03-09T23:00")})
            await put(rows.format("month"), values | {"at": at("2026-02-28T23:00")})
            await put(rows.format("total"), values | {"at": at("2026-03-09T23:00"), "d": 0})
    await put_rates(warehouse, [FxRate("EUR", "DKK", date(2026, 3, 10), Decimal("7.5"))])
    return made


Ask = Callable[..., Awaitable[Cells]]


@pytest.fixture
def ask(warehouse: AsyncEngine, site: Site) -> Ask:
    async def asked(*quantities: Quantity, by: str = "", where: str = "", **more: Any) -> Cells:
        tz, grain = ZoneInfo(more.pop("tz", "Europe/Copenhagen")), more.pop("grain", None)
        window = explicit_window("2026-03-01", "2026-04-01", tz)
        filters = parse(where, ("plan",))
        names = tuple(by.split(",")) if by else ()
        cuts = bounds(window, grain)
        currency = more.pop("currency", "DKK")
        piece = Slice(site.id, COPENHAGEN, cuts, names, filters, currency, **more)
        async with warehouse.connect() as connection:
            return await read(connection, piece, [(quantity, ()) for quantity in quantities])

    return asked


def amounts(cells: Cells, quantity: Quantity) -> dict[Any, int | Fraction]:
    return {
        key[0] if isinstance(key, tuple) and len(key) == 1 else key: cell.amounts[quantity, ()]
        for key, cell in cells.items()
        if (quantity, ()) in cell.amounts
    }


async def test_a_model_moves_millionths_of_counts(ask: Ask) -> None:
    third = Fraction(THIRD, 1_000_000)
    found = amounts(await ask(M.ORDERS, by="campaign", model=Model.LINEAR), M.ORDERS)
    assert found == {"spring_1": 2 - third, "Spring%": third}
    filtered = await ask(M.ORDERS, where="channel:Email", model=Model.LINEAR)
    assert amounts(filtered, M.ORDERS) == {1: third}
    assert amounts(await ask(M.ORDERS, by="campaign"), M.ORDERS) == {"spring_1": 2}


async def test_a_model_moves_amounts_in_their_own_currency(ask: Ask) -> None:
    found = await ask(M.GROSS_REVENUE, by="channel", model=Model.LINEAR)
    assert amounts(found, M.GROSS_REVENUE) == {
        "Paid Search": 400 + 60 * Fraction("7.5"),
        "Email": 200 + 30 * Fraction("7.5"),
    }
    first = await ask(M.GROSS_REVENUE, by="channel", model=Model.FIRST)
    assert amounts(first, M.GROSS_REVENUE) == {"Paid Search": 593 + 90 * Fraction("7.5")}


async def test_all_models_agree_on_a_total(ask: Ask) -> None:
    listener = run.Listener(SystemClock())
    token = run.LISTENER.set(listener)
    try:
        assert amounts(await ask(M.ORDERS, model=Model.LINEAR), M.ORDERS) == {1: 2}
    finally:
        run.LISTENER.reset(token)
    assert listener.ran[0].values["measures"] == [M.ORDERS]


@pytest.mark.parametrize(
    ("where", "visits"),
    [
        ("campaign:spring*", 1),
        ("campaign:Spring%*", 2),
        ("campaign:spring_*", 1),
        ("campaign:s%*,campaign:_pring*", 0),
        ("!campaign:spring*", 4),
        ("campaign:Spring%,campaign:spring*", 3),
        ("!campaign:", 3),
        ("campaign:", 2),
        ("source:GOOG*,medium:CPC", 1),
        ("!source:GOOGLE", 4),
        ("!source:GOOG*,!channel:email", 2),
        ("campaign:spring*,!campaign:spring_1", 0),
        # Details are read from the facts.
        ("country:dk", 3),
        ("device:MOBILE", 2),
        ("!country:dk", 2),
        ("landing_page:/sale/*", 3),
        ("landing_page:/sale/*,!page:/sale/hats", 2),
        ("props.plan:pro", 2),
        ("!props.plan:pro,channel:email", 1),
        ("props.plan:", 2),
    ],
)
async def test_filters(ask: Ask, where: str, visits: int) -> None:
    found = amounts(await ask(M.VISITS, where=where), M.VISITS)
    assert found == ({1: visits} if visits else {})


async def test_a_filter_is_looked_up_as_rows_are_read(ask: Ask, warehouse: AsyncEngine) -> None:
    """Which dimensions pass is found out once; what does not is neither joined nor summed."""
    listener = Listener(SystemClock())
    listening = LISTENER.set(listener)
    await ask(M.VISITS, where="channel:email", grain="day", tz="Asia/Kathmandu")
    LISTENER.reset(listening)
    (ran,) = listener.ran
    async with warehouse.connect() as connection:
        found = await connection.scalars(text(f"EXPLAIN {ran.sql}"), ran.values)
        plan = "\n".join(found)
    # Days, quarter hours at both ends of them, and those that move between buckets.
    assert plan.count("hashed SubPlan") == 4
    assert plan.count("CTE passing") == 1
    assert "Join" not in plan


async def test_several_dimensions_at_once(ask: Ask) -> None:
    assert amounts(await ask(M.VISITS, by="channel,campaign"), M.VISITS) == {
        ("Paid Search", "spring_1"): 1,
        ("Email", "Spring%"): 2,
        ("Organic Search", ""): 1,
        ("", ""): 1,
    }
    assert amounts(await ask(M.VISITS, by="device,props.plan,channel"), M.VISITS) == {
        ("mobile", "pro", "Paid Search"): 1,
        ("mobile", "pro", "Email"): 1,
        ("desktop", "free", "Email"): 1,
        ("desktop", "", "Organic Search"): 1,
        ("", "", ""): 1,
    }


async def test_a_horizon_is_read_from_facts(ask: Ask) -> None:
    for horizon, converted in ((None, None), (1, 0), (7, 1), (30, 2), (31, 3)):
        found = await ask(M.LEADS_CONVERTED, horizon=horizon)
        assert amounts(found, M.LEADS_CONVERTED).get(1) == (converted or None)


async def test_what_no_fact_holds_is_nothing(ask: Ask) -> None:
    assert await ask(M.NEW_CUSTOMERS, by="product") == {}


@pytest.mark.parametrize(
    ("tz", "early", "late"),
    [
        ("America/New_York", 9, 10),
        ("Pacific/Honolulu", 9, 10),
        ("Asia/Kathmandu", 10, 11),
        ("UTC", 10, 10),
    ],
)
async def test_days_of_another_zone(ask: Ask, tz: str, early: int, late: int) -> None:
    for where, visits in (("", 5), ("channel:email", 2)):
        found = amounts(await ask(M.VISITS, tz=tz, grain="day", where=where), M.VISITS)
        assert {day: count for day, count in found.items() if count} == {early: visits}
    revenue = amounts(await ask(M.GROSS_REVENUE, tz=tz, grain="day"), M.GROSS_REVENUE)
    amount = 600 + 90 * Fraction("7.5")
    assert {day: value for day, value in revenue.items() if value} == {late: amount}


async def test_what_lies_elsewhere_lacks_no_rate(ask: Ask) -> None:
    """Days are booked as a whole first: a rate is wanted only where amounts are left."""
    found = await ask(M.GROSS_REVENUE, tz="Asia/Kathmandu", grain="day", currency="SEK")
    day = date(2026, 3, 10)
    missing = {(M.GROSS_REVENUE, ()): {MissingRate("DKK", day), MissingRate("EUR", day)}}
    assert {key: cell.missing for key, cell in found.items() if cell.missing} == {11: missing}


async def test_too_many_facts_are_refused(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "MOST_ROWS", 0)
    with pytest.raises(InvalidError) as refused:
        await ask(M.VISITS, by="country")
    assert refused.value.code == "too_many_facts"
    assert amounts(await ask(M.VISITS, by="channel"), M.VISITS)["Email"] == 2
