"""Computes a formula over a cell, exactly: sums of integers, then one division of fractions."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from service.domain.money import MICROS
from service.kpi.cells import Cell
from service.kpi.formula import (
    Formula,
    Quantity,
    Term,
    TermKey,
    is_money,
)
from service.kpi.money import MissingRate


class Reason(StrEnum):
    """Why there is no value; a formula's `requires` brings reasons of its own."""

    NO_DATA = "no_data"
    MISSING_FX_RATE = "missing_fx_rate"
    ZERO_DENOMINATOR = "zero_denominator"
    NOT_ADDITIVE = "not_additive"
    """Of the rest of a breakdown: counts of people do not add up."""
    NEGATIVE_DENOMINATOR = "negative_denominator"
    """Break-even at a negative margin, growth from below zero: the quotient would mislead."""
    TOO_LARGE = "too_large"
    """Beyond `LARGEST`: weights that nobody can have meant."""


LARGEST = 10**30
"""No value and no side is larger: sums and squares of such are still doubles."""


@dataclass(frozen=True, slots=True)
class Figure:
    """One computed value, in base units (amounts in currency units), or the reason for none.

    A side is None where it is not known, or not whole; a plain sum has no denominator, and what is
    derived from other KPIs has neither.
    """

    value: Fraction | None
    reason: str | None
    numerator: Fraction | None
    denominator: Fraction | None


@dataclass(frozen=True, slots=True)
class _Case:
    formula: Formula
    cell: Cell
    unknown: Collection[Quantity]
    denominator: Fraction | None


def _no_data(case: _Case) -> str | None:
    known = not case.unknown or all(
        quantity not in case.unknown for quantity, _ in case.formula.keys
    )
    return None if known else Reason.NO_DATA


def _missing_rate(case: _Case) -> str | None:
    return Reason.MISSING_FX_RATE if missing_rates(case.formula, case.cell) else None


def _requirement(case: _Case) -> str | None:
    requires = case.formula.requires
    if requires is None:
        return None
    left, right = (case.cell.amounts.get((m, ()), 0) for m in (requires.left, requires.right))
    return None if left == right else requires.reason


def _zero_denominator(case: _Case) -> str | None:
    is_zero = bool(case.formula.denominator) and not case.denominator
    return Reason.ZERO_DENOMINATOR if is_zero else None


def _negative_denominator(case: _Case) -> str | None:
    is_negative = case.denominator is not None and case.denominator < 0
    return Reason.NEGATIVE_DENOMINATOR if is_negative else None


REASONS: tuple[Callable[[_Case], str | None], ...] = (
    _no_data,
    _missing_rate,
    _requirement,
    _zero_denominator,
    _negative_denominator,
)
"""Why a value may be null; the first reason that holds is the one given."""


def figure(formula: Formula, cell: Cell, unknown: Collection[Quantity]) -> Figure:
    """The value of a formula; `unknown` are the quantities that the site has never counted."""
    compute = _product if formula.factors else _quotient
    return _bearable(compute(formula, cell, unknown))


def _bearable(found: Figure) -> Figure:
    if not any(map(is_too_large, (found.value, found.numerator, found.denominator))):
        return found
    top, bottom = (None if is_too_large(a) else a for a in (found.numerator, found.denominator))
    return Figure(None, found.reason or Reason.TOO_LARGE, top, bottom)


def is_too_large(number: Fraction | None) -> bool:
    """Whether a number is beyond `LARGEST`, on either side of 0."""
    # Multiplied out, because fractions are slow to compare.
    return number is not None and abs(number.numerator) > LARGEST * number.denominator


def _quotient(formula: Formula, cell: Cell, unknown: Collection[Quantity]) -> Figure:
    numerator = _side(formula.numerator, cell, unknown)
    denominator = _side(formula.denominator, cell, unknown) if formula.denominator else None
    case = _Case(formula, cell, unknown, denominator)
    reason = next((found for rule in REASONS if (found := rule(case))), None)
    if reason is not None or numerator is None:
        # What the requirement asks for is part of the numerator: without it, half is missing.
        whole = formula.requires is None or reason != formula.requires.reason
        return Figure(None, reason, numerator if whole else None, denominator)
    value = formula.scale * (numerator if denominator is None else numerator / denominator)
    return Figure(value, None, numerator, denominator)


def _product(formula: Formula, cell: Cell, unknown: Collection[Quantity]) -> Figure:
    value = formula.weight
    for factor in formula.factors:
        part = figure(factor.formula, cell, unknown)
        if part.value is None:
            return Figure(None, part.reason, None, None)
        if factor.power < 0 and part.value <= 0:
            is_zero = part.value == 0
            reason = Reason.ZERO_DENOMINATOR if is_zero else Reason.NEGATIVE_DENOMINATOR
            return Figure(None, reason, None, None)
        value *= part.value**factor.power
    return Figure(value + formula.plus, None, None, None)


def _side(terms: Iterable[Term], cell: Cell, unknown: Collection[Quantity]) -> Fraction | None:
    side: int | Fraction = 0
    unit = 1
    for term in terms:
        if term.quantity in unknown or term.key in cell.missing:
            return None
        side += _times(term.weight, cell.amounts.get(term.key, 0))
        unit = MICROS if is_money(term.quantity) else 1
    return Fraction(side, unit)


def _times(weight: Fraction, amount: int | Fraction) -> int | Fraction:
    # Nearly all weights are whole, and integers are many times faster than fractions.
    return (weight.numerator if weight.denominator == 1 else weight) * amount


def missing_rates(formula: Formula, cell: Cell) -> frozenset[MissingRate]:
    """The exchange rates that a formula's amounts lack."""
    if not cell.missing:
        return frozenset()
    return frozenset(rate for key in formula.keys for rate in cell.missing.get(key, ()))


def is_absent(formula: Formula, cell: Cell) -> bool:
    """Whether a cell has nothing that the formula is about."""
    keys: frozenset[TermKey] = frozenset(term.key for term in formula.terms)
    return not any(cell.amounts.get(key) or key in cell.missing for key in keys)
