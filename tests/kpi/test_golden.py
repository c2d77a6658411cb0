"""The SQL that is run, as files to review. `UPDATE_GOLDEN=1 pytest tests/kpi/test_golden.py`
writes them again."""

from __future__ import annotations

import os
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from service.domain.measures import Measure
from service.kpi import distinct
from service.kpi.compile import Shape, shape_of, sql
from service.kpi.filters import Filters, parse
from service.kpi.formula import Where
from service.kpi.grains import bounds
from service.kpi.tiers import cover
from service.kpi.windows import explicit_window

GOLDEN = Path(__file__).parent / "golden"
COPENHAGEN = ZoneInfo("Europe/Copenhagen")
WHOLE, CUT = ("2026-03-01", "2026-04-01"), ("2026-03-01T10:07:00Z", "2026-03-31T09:59:59.5Z")
ORGANIC: Where = (("channel", "Organic Search"),)
M = Measure


def shape(
    measures: list[Measure],
    *,
    span: tuple[str, str] = WHOLE,
    tz: str = "Europe/Copenhagen",
    grain: str | None = None,
    by: str | None = None,
    filters: Filters = (),
    wheres: tuple[Where, ...] = ((),),
    daily: bool = False,
) -> Shape:
    window = explicit_window(*span, ZoneInfo(tz))
    cuts = bounds(window, grain)
    return shape_of(
        cover(cuts, COPENHAGEN),
        measures,
        series=len(cuts) > 2,
        by=by,
        filters=filters,
        wheres=wheres,
        daily=daily,
    )


FILTERED = (("channel", 2), ("campaign", 1))
STATEMENTS = {
    "revenue": sql(shape([M.GROSS_REVENUE, M.REFUNDS])),
    "revenue_by_campaign": sql(shape([M.GROSS_REVENUE, M.REFUNDS], by="campaign")),
    "revenue_in_other_currencies": sql(shape([M.GROSS_REVENUE, M.REFUNDS], daily=True)),
    "visits_in_new_york_by_day": sql(shape([M.VISITS], tz="America/New_York", grain="day")),
    "organic_share_by_day_filtered": sql(
        shape([M.VISITS], grain="day", filters=parse("campaign:a,campaign:b"), wheres=((), ORGANIC))
    ),
    "conversion_rate_of_a_cut_window": sql(shape([M.ORDERS, M.VISITS], span=CUT)),
    "visitors": distinct.sql(False, False, None, (), ()),
    "visitors_by_channel": distinct.sql(False, False, "channel", FILTERED, ()),
    "customers": distinct.sql(True, False, None, (), ()),
    "customers_by_campaign_and_day": distinct.sql(True, True, "campaign", FILTERED, ("channel",)),
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
    february = ("2026-02-01", "2026-03-01")
    assert shape([M.ORDERS]) == shape([M.ORDERS], span=february)
    assert shape([M.ORDERS], by="channel") != shape([M.ORDERS])
