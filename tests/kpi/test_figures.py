"""Formulas over cells: every kind of KPI by hand-made numbers, and why there is no value."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import date
from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.measures import Measure
from service.domain.money import MICROS
from service.kpi.catalogue import load_catalogue
from service.kpi.cells import Cell
from service.kpi.compute import LARGEST, Figure, Reason, computer, figure, filled
from service.kpi.formula import (
    BOOKED_AT_ORIGIN,
    QUANTITY_BY_LABEL,
    Factor,
    Formula,
    Quantity,
    Requirement,
    Term,
    is_money,
)
from service.kpi.money import MissingRate

CATALOGUE = load_catalogue()
TOO = Reason.TOO_LARGE
Number = int | Fraction


def cell(event: str = "", /, **amounts: Number) -> Cell:
    """Amounts by the labels of quantities, money in currency units; custom events of a name."""
    found = Cell()
    for name, amount in amounts.items():
        quantity = QUANTITY_BY_LABEL[name]
        where = (("event", event),) if event and name == "custom_events" else ()
        found.add((quantity, where), amount * (MICROS if is_money(quantity) else 1))
    return found


def asked(kpi_id: str, found: Cell, unknown: Iterable[Quantity] = ()) -> Figure:
    """The figure of a KPI's default view."""
    kpi = CATALOGUE.get(kpi_id)
    return figure(kpi.views[kpi.default_view], found, frozenset(unknown))


SOLD = {"gross_revenue": 1000, "refunds": 200, "orders": 8, "orders_with_cost": 8}
CUSTOMERS = {"distinct_customers": 4, "orders_of_customers": 8}

VALUES: tuple[tuple[str, Cell, Number], ...] = (
    ("units", cell(units=16), 16),
    ("custom_events", cell(custom_events=3), 3),
    ("custom_value", cell(custom_value=Fraction(1, 4)), Fraction(1, 4)),
    ("aov", cell(**SOLD), 100),
    ("gross_margin", cell(**SOLD, cost_of_goods=600), Fraction(1, 4)),
    ("gross_margin", cell(**SOLD, cost_of_goods=1000), Fraction(-1, 4)),
    ("breakeven_roas", cell(**SOLD, cost_of_goods=600), 4),
    ("breakeven_roas", cell(**SOLD, cost_of_goods=0), 1),
    ("poas", cell(**SOLD, cost_of_goods=600, spend=400), Fraction(1, 2)),
    ("returning_customer_rate", cell(returning_customers=1, **CUSTOMERS), Fraction(1, 4)),
    ("customer_retention", cell(retained_customers=1, first_time_customers=3), Fraction(1, 3)),
    ("orders_per_customer", cell(**CUSTOMERS), 2),
    ("clv_simple", cell(**SOLD, **CUSTOMERS), 200),
    ("cart_conversion", cell("cart", orders=3, custom_events=4), Fraction(3, 4)),
    ("cart_conversion", cell("cart", orders=5, custom_events=4), Fraction(5, 4)),
    ("cart_abandonment", cell("cart", orders=3, custom_events=4), Fraction(1, 4)),
    ("cart_abandonment", cell("cart", orders=5, custom_events=4), Fraction(-1, 4)),
    ("conversion_rate_clicks", cell(orders=3, clicks=2), Fraction(3, 2)),
    ("invalid_click_rate", cell(invalid_clicks=1, clicks=3), Fraction(1, 4)),
    ("invalid_click_rate", cell(invalid_clicks=1), 1),
    ("viewability", cell(viewable_impressions=1, measurable_impressions=2), Fraction(1, 2)),
    ("email_opens_total_rate", cell(email_opens=9, emails_delivered_period=2), Fraction(9, 2)),
    # Models split counts: a third of an order.
    ("cost_per_order", cell(spend=10, orders=Fraction(1, 3)), 30),
    ("clv_simple", cell(gross_revenue=10, orders=Fraction(1, 3), **CUSTOMERS), 60),
)  # fmt: skip


@pytest.mark.parametrize(("kpi", "found", "value"), VALUES)
def test_values(kpi: str, found: Cell, value: Number) -> None:
    computed = asked(kpi, found)
    assert (computed.value, computed.reason) == (value, None)


NULLS: tuple[tuple[str, Cell, str], ...] = (
    ("breakeven_roas", cell(**SOLD, cost_of_goods=800), "zero_denominator"),
    ("breakeven_roas", cell(**SOLD, cost_of_goods=801), "negative_denominator"),
    ("breakeven_roas", cell(**{**SOLD, "orders_with_cost": 7}), "missing_cost_of_goods"),
    ("gross_margin", cell(gross_revenue=1, refunds=2), "negative_denominator"),
    ("gross_margin", cell(gross_revenue=2, refunds=2), "zero_denominator"),
    ("gross_margin", cell(orders=1), "missing_cost_of_goods"),
    ("orders_per_customer", cell(orders_of_customers=0), "zero_denominator"),
    ("clv_simple", cell(**SOLD), "zero_denominator"),
    ("clv_simple", cell(**CUSTOMERS), "zero_denominator"),
    ("cart_conversion", cell(orders=3), "zero_denominator"),
    ("cart_abandonment", cell("checkout", orders=3, custom_events=4), "zero_denominator"),
    ("invalid_click_rate", cell(), "zero_denominator"),
    ("viewability", cell(impressions=5), "zero_denominator"),
    ("customer_retention", cell(distinct_customers=5), "zero_denominator"),
    ("email_opens_total_rate", cell(email_opens=1), "zero_denominator"),
)  # fmt: skip


@pytest.mark.parametrize(("kpi", "found", "reason"), NULLS)
def test_why_there_is_no_value(kpi: str, found: Cell, reason: str) -> None:
    computed = asked(kpi, found)
    assert (computed.value, computed.reason) == (None, reason)


def test_a_negative_denominator_stays_visible() -> None:
    computed = asked("breakeven_roas", cell(**SOLD, cost_of_goods=900))
    assert (computed.numerator, computed.denominator) == (800, -100)


def test_what_is_derived_has_no_sides_and_the_reason_of_its_part() -> None:
    assert asked("clv_simple", cell(**SOLD, **CUSTOMERS)) == Figure(Fraction(200), None, None, None)
    unknown = asked("clv_simple", cell(**SOLD, **CUSTOMERS), [Measure.ORDERS])
    assert unknown == Figure(None, "no_data", None, None)


@pytest.mark.parametrize(
    ("margin", "value", "reason"),
    [(Fraction(1, 4), 8, None), (0, None, "zero_denominator"), (-1, None, "negative_denominator")],
)
def test_a_factor_may_be_divided_by(margin: Number, value: int | None, reason: str | None) -> None:
    part = Formula((Term(Measure.ORDERS, Fraction(1)),))
    formula = Formula(factors=(Factor("margin", -1, part),), weight=Fraction(2))
    found = figure(formula, cell(orders=margin), ())
    assert (found.value, found.reason) == (value, reason)


LARGE = Fraction(LARGEST)


@pytest.mark.parametrize(
    ("weight", "reason"), [(LARGE, None), (-LARGE, None), (LARGE + 1, TOO), (-LARGE - 1, TOO)]
)
def test_what_is_too_large_has_no_value(weight: Fraction, reason: str | None) -> None:
    formula = Formula((Term(Measure.ORDERS, weight),))
    found = figure(formula, cell(orders=1), ())
    assert (found.value, found.reason) == (None if reason else weight, reason)
    assert found.numerator == found.value
    derived = Formula(factors=(Factor("orders", 1, Formula((Term(Measure.ORDERS, LARGE),))),))
    doubled = replace(derived, weight=Fraction(2))
    assert figure(derived, cell(orders=1), ()).value == LARGE
    assert figure(doubled, cell(orders=1), ()) == Figure(None, TOO, None, None)


def test_a_side_that_is_too_large_is_left_out_and_the_other_stays() -> None:
    above, below = Term(Measure.ORDERS, LARGE * 2), Term(Measure.LEADS, Fraction(2))
    found = cell(orders=1, leads=1)
    assert figure(Formula((above,), (below,)), found, ()) == Figure(None, TOO, None, 2)
    assert figure(Formula((below,), (above,)), found, ()) == Figure(None, TOO, 2, None)
    tiny = replace(below, weight=1 / LARGE / 2)
    assert figure(Formula((below,), (tiny,)), found, ()) == Figure(None, TOO, 2, 1 / LARGE / 2)
    nothing = figure(Formula((above,), (Term(Measure.VISITS, Fraction(1)),)), found, ())
    assert nothing == Figure(None, "zero_denominator", None, 0)


def test_what_is_derived_reads_all_that_its_parts_read() -> None:
    clv, aov, per_customer = (
        CATALOGUE.get(name).views[""] for name in ("clv_simple", "aov", "orders_per_customer")
    )
    assert clv.keys == aov.keys | per_customer.keys
    assert clv.has_money
    sold, none = cell(orders=1), cell(visits=1)
    assert filled(clv, {("a",): sold, ("b",): none, ("c",): cell(orders=0)}) == {("a",): sold}


@given(
    st.lists(st.integers(0, 10**6), min_size=1, max_size=20),
    st.integers(0, 10**6),
    st.integers(1, 20),
)
def test_customer_value_is_revenue_per_customer_where_all_have_an_id(
    values: list[int], refunds: int, customers: int
) -> None:
    found = cell(
        gross_revenue=sum(values),
        refunds=refunds,
        orders=len(values),
        orders_of_customers=len(values),
        distinct_customers=customers,
    )
    assert asked("clv_simple", found).value == Fraction(sum(values) - refunds, customers)


@given(st.integers(0, 1000), st.integers(1, 1000))
def test_abandonment_and_conversion_are_the_whole(orders: int, carts: int) -> None:
    found = cell("cart", orders=orders, custom_events=carts)
    parts = [asked(kpi, found).value for kpi in ("cart_abandonment", "cart_conversion")]
    assert sum(part for part in parts if part is not None) == 1


@pytest.mark.parametrize("kpi", list(CATALOGUE), ids=lambda kpi: kpi.id)
def test_nothing_found_is_never_a_quotient(kpi: object) -> None:
    """No KPI makes a value out of a denominator of nothing; sums are 0."""
    found = next(one for one in CATALOGUE if one is kpi)
    for formula in found.views.values():
        computed = figure(formula, Cell(), ())
        divided = bool(formula.denominator or formula.factors)
        assert computed.value == (None if divided else 0)
        assert computed.reason == ("zero_denominator" if divided else None)


def test_the_outcomes_of_cohorts_are_used_in_the_view_of_that_name() -> None:
    used = {
        term.quantity
        for kpi in CATALOGUE
        for view, formula in kpi.views.items()
        if view == "cohort"
        for term in formula.numerator
    }
    assert used == BOOKED_AT_ORIGIN - {Measure.EMAILS_DELIVERED}


# --- The definition, in fractions alone ---------------------------------------------------------

COUNTS, SUMS = (Measure.ORDERS, Measure.LEADS, Measure.VISITS), (Measure.SPEND, Measure.REFUNDS)
EUROS = MissingRate("EUR", date(2026, 3, 1))
numbers_of = st.one_of(
    st.integers(-(10**9), 10**9), st.just(0), st.fractions(-9, 9, max_denominator=7)
)
weights = st.one_of(
    st.integers(-3, 3).map(Fraction), st.fractions(-9, 9, max_denominator=9), st.just(LARGE)
)


@st.composite
def sides(draw: st.DrawFn, least: int) -> tuple[Term, ...]:
    """Sides are never mixed: all amounts, or none."""
    quantities = draw(st.sampled_from([COUNTS, SUMS]))
    chosen = draw(st.lists(st.sampled_from(quantities), min_size=least, max_size=3, unique=True))
    return tuple(Term(quantity, draw(weights)) for quantity in chosen)


FORMULAS = st.builds(
    Formula,
    numerator=sides(1),
    denominator=sides(0),
    scale=st.sampled_from([1, 100, 1000]),
    requires=st.sampled_from([None, Requirement(Measure.ORDERS, Measure.LEADS, "unequal")]),
)
CELLS = st.builds(
    Cell,
    st.dictionaries(st.sampled_from([(m, ()) for m in (*COUNTS, *SUMS)]), numbers_of),
    st.dictionaries(st.sampled_from([(m, ()) for m in SUMS]), st.just({EUROS}), max_size=1),
)
UNKNOWN = st.frozensets(st.sampled_from([*COUNTS, *SUMS]), max_size=1)


def by_definition(formula: Formula, found: Cell, unknown: frozenset[Quantity]) -> Figure:
    def side(terms: Iterable[Term]) -> Fraction | None:
        total = Fraction(0)
        for term in terms:
            if term.quantity in unknown or term.key in found.missing:
                return None
            unit = MICROS if is_money(term.quantity) else 1
            total += term.weight * Fraction(found.amounts.get(term.key, 0)) / unit
        return total

    def amount(measure: Measure) -> Fraction:
        return Fraction(found.amounts.get((measure, ()), 0))

    top, requires = side(formula.numerator), formula.requires
    bottom = side(formula.denominator) if formula.denominator else None
    held = requires is None or amount(requires.left) == amount(requires.right)
    reason = value = None
    if not unknown.isdisjoint(key[0] for key in formula.keys):
        reason = "no_data"
    elif any(key in found.missing for key in formula.keys):
        reason = "missing_fx_rate"
    elif requires is not None and not held:
        reason, top = requires.reason, None
    elif formula.denominator and bottom is not None and bottom <= 0:
        reason = "negative_denominator" if bottom else "zero_denominator"
    elif top is not None:
        value = formula.scale * (top if bottom is None else top / bottom)
    if any(number is not None and abs(number) > LARGEST for number in (value, top, bottom)):
        top, bottom = (None if n is not None and abs(n) > LARGEST else n for n in (top, bottom))
        return Figure(None, reason or TOO, top, bottom)
    return Figure(value, reason, top, bottom)


@settings(max_examples=300)
@given(FORMULAS, CELLS, CELLS, UNKNOWN)
def test_figures_are_what_their_definition_says(
    formula: Formula, first: Cell, second: Cell, unknown: frozenset[Quantity]
) -> None:
    compute = computer(formula, unknown)
    for found in (first, second):
        assert compute(found) == by_definition(formula, found, unknown)
        assert all(isinstance(n, Fraction | None) for n in compute(found) if not isinstance(n, str))
