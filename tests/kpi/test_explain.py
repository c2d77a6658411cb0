"""A formula with its numbers filled in reads like the formula in names."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction
from typing import Any
from uuid import UUID

import pytest

from service.domain.measures import Measure
from service.kpi.answer import Number
from service.kpi.catalogue import load_catalogue
from service.kpi.document import readable
from service.kpi.explain import _plain, filled
from service.kpi.formula import Factor, Formula, Term
from service.kpi.run import scans

REVENUE = (Term(Measure.GROSS_REVENUE, Fraction(1)), Term(Measure.REFUNDS, Fraction(-1)))
SPEND, POSTS = Term(Measure.SPEND, Fraction(1)), Term(Measure.POSTS, Fraction(1))
ROAS = Formula(REVENUE, (SPEND,))
PROMOTED = Term(Measure.NPS_PROMOTERS, Fraction(1), (("channel", "Email"), ("source", "x")))
VALUES: dict[str, Number] = {
    "gross_revenue": Decimal("1200"),
    "refunds": Decimal("100.005"),
    "spend": Decimal("550.5"),
    "posts": 1234567,
    "nps_promoters": 7,
    "nps_promoters[channel = Email, source = x]": 3,
}


@pytest.mark.parametrize(
    ("formula", "names", "numbers"),
    [
        (ROAS, "(gross_revenue - refunds) / spend", "(1,200.00 - 100.005) / 550.50"),
        (Formula(REVENUE), "gross_revenue - refunds", "1,200.00 - 100.005"),
        (
            Formula((POSTS,), (PROMOTED,), scale=100),
            "100 * posts / nps_promoters[channel = Email, source = x]",
            "100 * 1,234,567 / 3",
        ),
        (
            Formula((Term(Measure.POSTS, Fraction(-5, 2)),)),
            "-2.5 * posts",
            "-2.5 * 1,234,567",
        ),
        (
            Formula(factors=(Factor("roas", 1, ROAS), Factor("posts", -1, Formula((POSTS,))))),
            "roas / posts",
            "((1,200.00 - 100.005) / 550.50) / 1,234,567",
        ),
        (
            Formula(
                factors=(Factor("posts", -1, Formula((POSTS,))),),
                weight=Fraction(-1, 4),
                plus=Fraction(1),
            ),
            "1 - 0.25 / posts",
            "1 - 0.25 / 1,234,567",
        ),
    ],
)
def test_numbers_stand_where_names_do(formula: Formula, names: str, numbers: str) -> None:
    assert readable(formula) == names
    assert filled(formula, VALUES) == numbers


def test_what_is_negative_or_not_known_shows() -> None:
    values: dict[str, Number] = {"gross_revenue": Decimal("-5"), "refunds": Decimal("-0.5")}
    assert filled(ROAS, values) == "((-5.00) - (-0.50)) / ?"
    assert filled(ROAS, {**values, "refunds": None}) == "((-5.00) - ?) / ?"


def test_every_formula_of_the_catalogue_is_filled_completely() -> None:
    """Nothing but numbers is left of it: no name that somebody forgot to fill in."""
    for kpi in load_catalogue():
        for formula in kpi.views.values():
            names = {term.label for term in formula.terms}
            assert not any(name in filled(formula, {}) for name in names), kpi.id


PLAIN: tuple[tuple[Any, Any], ...] = (
    (None, None),
    (7, 7),
    (Decimal("0.10"), Decimal("0.10")),
    (datetime(2026, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))), "2026-01-01T00:00:00Z"),
    (date(2026, 1, 1), "2026-01-01"),
    (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    ([datetime(2026, 1, 1, tzinfo=UTC), "x"], ["2026-01-01T00:00:00Z", "x"]),
    ((1, (2,)), [1, [2]]),
    ({"a": date(2026, 1, 1)}, {"a": "2026-01-01"}),
    (b"secret", "…"),
)


@pytest.mark.parametrize(("value", "plain"), PLAIN)
def test_values_of_statements_are_json(value: Any, plain: Any) -> None:
    assert _plain(value) == plain


def test_rows_that_were_left_out_were_read_as_well() -> None:
    index = {"Node Type": "Bitmap Index Scan", "Actual Rows": 9, "Actual Loops": 1}
    heap = {
        "Node Type": "Bitmap Heap Scan",
        "Relation Name": "rollup_day",
        "Actual Rows": 2.5,
        "Actual Loops": 4,
        "Rows Removed by Filter": 1,
        "Rows Removed by Index Recheck": 2,
        "Plans": [index],
    }
    seq = {"Node Type": "Seq Scan", "Relation Name": "visit", "Actual Rows": 5, "Actual Loops": 1}
    plan = {"Node Type": "Append", "Plans": [heap, {"Node Type": "Hash", "Plans": [seq]}]}
    assert list(scans(plan, "Actual Rows")) == [("rollup_day", 22), ("visit", 5)]
