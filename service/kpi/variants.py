"""Formulas as a question wants them: the same KPI, with something booked another way."""

from __future__ import annotations

from dataclasses import replace

from service.domain.measures import Measure
from service.kpi.formula import Formula, Term


def by_order_date(formula: Formula) -> Formula:
    """The formula with refunds booked when the order was placed."""
    return replace(
        formula,
        numerator=_swapped(formula.numerator),
        denominator=_swapped(formula.denominator),
        factors=tuple(
            replace(factor, formula=by_order_date(factor.formula)) for factor in formula.factors
        ),
    )


def _swapped(terms: tuple[Term, ...]) -> tuple[Term, ...]:
    return tuple(
        replace(term, quantity=Measure.REFUNDS_BY_ORDER)
        if term.quantity is Measure.REFUNDS
        else term
        for term in terms
    )
