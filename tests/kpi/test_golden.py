"""The SQL that is run, as files to review. `UPDATE_GOLDEN=1 pytest tests/kpi/test_golden.py`
writes them again."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from service.domain.measures import Measure
from service.domain.models import Model
from service.kpi import customers, respondents, visitors
from service.kpi.cells import Slice
from service.kpi.compile import Shape, shape_of, sql, variant_of
from service.kpi.filters import parse
from service.kpi.formula import Distinct, Where
from service.kpi.grains import bounds
from service.kpi.tiers import cover, facts_alone
from service.kpi.windows import explicit_window

GOLDEN = Path(__file__).parent / "golden"
COPENHAGEN = ZoneInfo("Europe/Copenhagen")
WHOLE, CUT = ("2026-03-01", "2026-04-01"), ("2026-03-01T10:07:00Z", "2026-03-31T09:59:59.5Z")
ORGANIC: Where = (("channel", "Organic Search"),)
M = Measure


def piece(
    *by: str,
    span: tuple[str, str] = WHOLE,
    tz: str = "Europe/Copenhagen",
    grain: str | None = None,
    where: str = "",
    **more: Any,
) -> Slice:
    cuts = bounds(explicit_window(*span, ZoneInfo(tz)), grain)
    return Slice(1, COPENHAGEN, cuts, by, parse(where, ("plan",)), "DKK", **more)


def shape(
    measures: list[Measure],
    asked: Slice | None = None,
    *,
    own: Where = (),
    daily: bool = False,
    moved: bool = False,
) -> Shape:
    asked = asked or piece()
    variant = variant_of(asked.names_with((own,)), asked.horizon)
    return shape_of(
        facts_alone(asked.bounds) if variant else cover(asked.bounds, COPENHAGEN),
        measures,
        series=asked.is_series,
        by=asked.by,
        filters=asked.filters,
        where=own,
        daily=daily,
        variant=variant,
        moved=moved,
    )


def counted(asked: Slice, *distinct: Distinct) -> str:
    if distinct:
        return customers.query(asked, (), distinct).statement.text
    return visitors.query(asked, ()).statement.text


REVENUE = [M.GROSS_REVENUE, M.REFUNDS]
FILTERED = "channel:Email,channel:Referral,campaign:a"
CUSTOMERS, BY_ORDER = customers.BY_CUSTOMER, customers.BY_ORDER
STATEMENTS = {
    "revenue": sql(shape(REVENUE)),
    "revenue_by_campaign": sql(shape(REVENUE, piece("campaign"))),
    "revenue_in_other_currencies": sql(shape(REVENUE, daily=True)),
    "revenue_by_channel_and_campaign_of_a_summer": sql(
        shape(REVENUE, piece("channel", "campaign", where="campaign:summer*,!campaign:summer-test"))
    ),
    "revenue_by_product_of_a_campaign": sql(shape(REVENUE, piece("product", where="campaign:a"))),
    "visits_in_new_york_by_day": sql(shape([M.VISITS], piece(tz="America/New_York", grain="day"))),
    "visits_by_hour": sql(shape([M.VISITS], piece(grain="hour"))),
    "visits_by_landing_page_of_mobiles": sql(
        shape([M.VISITS], piece("landing_page", where="device:mobile,country:dk"))
    ),
    "orders_by_campaign_and_prop": sql(shape([M.ORDERS], piece("campaign", "props.plan"))),
    "organic_visits_by_day_filtered": sql(
        shape([M.VISITS], piece(grain="day", where="campaign:a,campaign:b"), own=ORGANIC)
    ),
    "organic_visits_in_new_york_by_day": sql(
        shape([M.VISITS], piece(tz="America/New_York", grain="day"), own=ORGANIC)
    ),
    "conversion_rate_of_a_cut_window": sql(shape([M.ORDERS, M.VISITS], piece(span=CUT))),
    "orders_by_landing_page_linear": sql(shape([M.ORDERS], piece("landing_page"), moved=True)),
    "leads_converted_within_30_days": sql(
        shape([M.LEADS_IDENTIFIED, M.LEADS_CONVERTED], piece(horizon=30))
    ),
    "visitors": counted(piece()),
    "visitors_in_new_york_by_day": counted(piece(tz="America/New_York", grain="day")),
    "visitors_in_new_york": counted(piece(tz="America/New_York")),
    "visitors_in_new_york_by_week": counted(piece(tz="America/New_York", grain="week")),
    "visitors_by_campaign": counted(piece("campaign")),
    "visitors_by_channel": counted(piece("channel", where=FILTERED)),
    "customers": counted(piece(), *CUSTOMERS, *BY_ORDER[1:]),
    "customers_in_new_york_by_day": counted(piece(tz="America/New_York", grain="day"), *CUSTOMERS),
    "orders_of_customers_by_campaign": counted(piece("campaign"), *BY_ORDER),
    "customers_by_campaign_and_day": counted(
        piece("campaign", grain="day", where=FILTERED), *CUSTOMERS
    ),
    "customers_by_campaign_linear": counted(piece("campaign", model=Model.LINEAR), *CUSTOMERS),
    "retained_customers": counted(piece(horizon=90), Distinct.RETAINED_CUSTOMERS),
    "retained_customers_by_campaign": counted(piece("campaign"), Distinct.RETAINED_CUSTOMERS),
    "respondents_by_survey": respondents.query(piece("survey"), ()).statement.text,
}


@pytest.mark.parametrize("name", STATEMENTS)
def test_golden(name: str) -> None:
    path = GOLDEN / f"{name}.sql"
    text = STATEMENTS[name] + "\n"
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.mkdir(exist_ok=True)
        path.write_text(text)
    assert path.read_text() == text


def test_nothing_golden_is_left_over() -> None:
    assert {path.stem for path in GOLDEN.glob("*.sql")} == set(STATEMENTS)


def test_the_text_depends_on_the_form_only() -> None:
    """Two months, one text: the database and the driver know it already."""
    february = piece(span=("2026-02-01", "2026-03-01"))
    assert shape([M.ORDERS]) == shape([M.ORDERS], february)
    assert shape([M.ORDERS], piece("channel")) != shape([M.ORDERS])


def test_no_value_is_part_of_a_text() -> None:
    """Whatever is asked for travels as a parameter."""
    one, other = (f"campaign:{value}*,!term:{value}" for value in ("x'; --", "y"))
    assert shape([M.ORDERS], piece(where=one)) == shape([M.ORDERS], piece(where=other))
    # For rollups a model is only other numbers to read.
    assert shape([M.ORDERS], piece("campaign"), moved=True) == shape([M.ORDERS], piece("campaign"))
    week, month = piece(horizon=7), piece(horizon=30)
    assert shape([M.LEADS_CONVERTED], week) == shape([M.LEADS_CONVERTED], month)
