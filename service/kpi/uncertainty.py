"""Which interval goes with a value, and what its reader should know."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from fractions import Fraction

from service.kpi.cells import Cell, Exact
from service.kpi.compute import Figure
from service.kpi.definition import Kpi
from service.kpi.formula import Distinct, Formula, IntervalMethod, money_side
from service.kpi.intervals import Interval, adjusted_wald, delta, filled_days, wilson

SMALL_SAMPLE = 30
FEW_DAYS = 7

Days = Sequence[Figure]
"""A formula's figure on each local day of a window, empty days included."""


class Flag(StrEnum):
    """What a reader of a value should know."""

    ABOVE_ONE = "above_one"
    BELOW_ZERO = "below_zero"
    SMALL_SAMPLE = "small_sample"
    FEW_DAYS = "few_days"


def interval(
    formula: Formula, cell: Cell, computed: Figure, days: Days | None, *, bounded: bool = False
) -> Interval | None:
    """The 95 % interval of a value; None where it has none.

    That is: without a value, for a share above 1 (`bounded` says that the value is a share), where
    counts are not whole because a model splits them, and for a ratio of sums whose days do not add
    up to it or are not at hand.
    """
    method = formula.interval
    if method is IntervalMethod.NONE or computed.value is None:
        return None
    if bounded and _above_one(computed.value):
        return None
    if method is IntervalMethod.DELTA:
        return _ratio(formula, days, bounded=bounded)
    return _share(computed) if method is IntervalMethod.WILSON else _score(formula, cell, computed)


def _share(computed: Figure) -> Interval | None:
    successes, trials = _count(computed.numerator), _count(computed.denominator)
    return None if successes is None or trials is None else wilson(successes, trials)


def _above_one(value: Fraction) -> bool:
    return value.numerator > value.denominator  # fractions are slow to compare


def _score(formula: Formula, cell: Cell, computed: Figure) -> Interval | None:
    answers = _count(computed.denominator)
    counts = {
        term.weight.numerator: _count(cell.amounts.get(term.key, 0)) for term in formula.numerator
    }
    promoters, detractors = counts[1], counts[-1]
    if answers is None or promoters is None or detractors is None:
        return None
    return adjusted_wald(promoters, detractors, answers)


def _count(amount: Exact | None) -> int | None:
    return None if amount is None or amount.denominator != 1 else amount.numerator


def _ratio(formula: Formula, days: Days | None, *, bounded: bool) -> Interval | None:
    sides = daily_sides(formula, days)
    found = None if sides is None else delta(*sides, formula.scale)
    if found is None:
        return None
    low, high = found.low, found.high
    if all(term.weight > 0 for term in formula.terms):
        low = max(0.0, low)
    return found._replace(low=low, high=min(1.0, high) if bounded else high)


def daily_sides(
    formula: Formula, days: Days | None
) -> tuple[list[Fraction], list[Fraction]] | None:
    """Numerators and denominators by day; None where days do not make up the whole."""
    if days is None or not adds_up(formula):
        return None
    tops = [day.numerator for day in days if day.numerator is not None]
    bottoms = [day.denominator for day in days if day.denominator is not None]
    return (tops, bottoms) if len(tops) == len(bottoms) == len(days) else None


def adds_up(formula: Formula) -> bool:
    """Whether the sides of a formula are sums of their days.

    Counts of distinct people are not, and what is derived from other KPIs has no sides.
    """
    people = any(isinstance(term.quantity, Distinct) for term in formula.terms)
    return not people and not formula.factors


def flags(kpi: Kpi, formula: Formula, computed: Figure, days: Days | None = None) -> list[Flag]:
    """What a reader of the value should know."""
    if computed.value is None:
        return []
    is_sample = formula.interval is not IntervalMethod.NONE
    is_counted = is_sample and not money_side(formula.denominator)
    holds = {
        Flag.ABOVE_ONE: kpi.bounded and _above_one(computed.value),
        Flag.BELOW_ZERO: kpi.bounded and computed.value < 0,
        Flag.SMALL_SAMPLE: is_counted and (computed.denominator or 0) < SMALL_SAMPLE,
        Flag.FEW_DAYS: _rests_on_few_days(formula, days),
    }
    return [flag for flag, does in holds.items() if does]


def _rests_on_few_days(formula: Formula, days: Days | None) -> bool:
    sides = daily_sides(formula, days) if formula.interval is IntervalMethod.DELTA else None
    return sides is not None and filled_days(*sides) < FEW_DAYS
