"""Computes a formula over a cell, exactly: sums of integers, then one division of fractions."""

from __future__ import annotations

from collections.abc import Callable, Collection
from enum import StrEnum
from fractions import Fraction
from typing import NamedTuple

from service.domain.money import MICROS
from service.kpi.cells import Cell, Cells, Exact
from service.kpi.formula import Formula, Quantity, Term, is_money, money_side
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


class Figure(NamedTuple):
    """One computed value, in base units (amounts in currency units), or the reason for none.

    A side is None where it is not known, or not whole; a plain sum has no denominator, and what is
    derived from other KPIs has neither.
    """

    value: Fraction | None
    reason: str | None
    numerator: Fraction | None
    denominator: Fraction | None


Compute = Callable[[Cell], Figure]


class _Side:
    """One side of a formula: the keys to look up with their weights, and the units of 1."""

    def __init__(self, terms: Collection[Term], unknown: Collection[Quantity]) -> None:
        self._known = all(term.quantity not in unknown for term in terms)
        self.unit = MICROS if money_side(terms) else 1
        # Nearly all weights are whole, and integers are many times faster than fractions.
        self._weights = [(term.key, _whole(term.weight)) for term in terms]

    def of(self, cell: Cell) -> Exact | None:
        """The side in units; None where it is not known, or not whole."""
        if not self._known or (
            cell.missing and any(key in cell.missing for key, _ in self._weights)
        ):
            return None
        amounts = cell.amounts
        total: Exact = 0
        for key, weight in self._weights:
            total += weight * amounts.get(key, 0)
        return total

    def in_base(self, units: Exact | None) -> Fraction | None:
        """A number of units, in currency units if it is an amount."""
        return None if units is None else Fraction(units, self.unit)


def _whole(weight: Fraction) -> Exact:
    return weight.numerator if weight.denominator == 1 else weight


class Rule(NamedTuple):
    """Why there may be no value: whether a formula can meet it at all, and whether a cell does.

    `known` says that the site counts everything that the formula needs; the last argument of
    `reason` is the denominator.
    """

    concerns: Callable[[Formula, bool], bool]
    reason: Callable[[Formula, Cell, Exact | None], str | None]


def _no_data(_formula: Formula, _cell: Cell, _denominator: Exact | None) -> str:
    return Reason.NO_DATA


def _missing_rate(formula: Formula, cell: Cell, _: Exact | None) -> str | None:
    return Reason.MISSING_FX_RATE if missing_rates(formula, cell) else None


def _requirement(formula: Formula, cell: Cell, _: Exact | None) -> str | None:
    requires = formula.requires
    if requires is None:
        return None
    left, right = (cell.amounts.get((m, ()), 0) for m in (requires.left, requires.right))
    return None if left == right else requires.reason


def _denominator(_formula: Formula, _cell: Cell, denominator: Exact | None) -> str | None:
    if denominator is not None and denominator > 0:
        return None
    return Reason.NEGATIVE_DENOMINATOR if denominator else Reason.ZERO_DENOMINATOR


RULES: tuple[Rule, ...] = (
    Rule(lambda _, known: not known, _no_data),
    Rule(lambda formula, _: any(is_money(key[0]) for key in formula.keys), _missing_rate),
    Rule(lambda formula, _: formula.requires is not None, _requirement),
    Rule(lambda formula, _: bool(formula.denominator), _denominator),
)
"""The first reason that holds is the one given."""


def figure(formula: Formula, cell: Cell, unknown: Collection[Quantity]) -> Figure:
    """The value of a formula; `unknown` are the quantities that the site has never counted."""
    return computer(formula, unknown)(cell)


def computer(formula: Formula, unknown: Collection[Quantity]) -> Compute:
    """What computes a formula's figures: for many cells, as all that they share is found once."""
    compute = _product(formula, unknown) if formula.factors else _quotient(formula, unknown)
    return lambda cell: _bearable(compute(cell))


def _bearable(found: Figure) -> Figure:
    value, _, top, bottom = found
    if not (is_too_large(value) or is_too_large(top) or is_too_large(bottom)):
        return found
    top, bottom = (None if is_too_large(side) else side for side in (top, bottom))
    return Figure(None, found.reason or Reason.TOO_LARGE, top, bottom)


def is_too_large(number: Fraction | None) -> bool:
    """Whether a number is beyond `LARGEST`, on either side of 0."""
    # Multiplied out, because fractions are slow to compare; most are small enough as integers.
    if number is None or -LARGEST <= (over := number.numerator) <= LARGEST:
        return False
    return abs(over) > LARGEST * number.denominator


def _quotient(formula: Formula, unknown: Collection[Quantity]) -> Compute:
    above, below = _Side(formula.numerator, unknown), _Side(formula.denominator, unknown)
    known = all(quantity not in unknown for quantity, _ in formula.keys)
    reasons = [rule.reason for rule in RULES if rule.concerns(formula, known)]
    is_sum, scale = not formula.denominator, formula.scale

    def compute(cell: Cell) -> Figure:
        top, bottom = above.of(cell), None if is_sum else below.of(cell)
        numerator, denominator = above.in_base(top), below.in_base(bottom)
        for find in reasons:
            if reason := find(formula, cell, bottom):
                # What the requirement asks for is part of the numerator: half is missing.
                whole = formula.requires is None or reason != formula.requires.reason
                return Figure(None, reason, numerator if whole else None, denominator)
        if top is None or (is_sum and scale == 1):
            return Figure(numerator, None, numerator, denominator)
        # One division of integers, because fractions are slow to multiply and divide.
        unit = above.unit if bottom is None else above.unit * bottom
        return Figure(Fraction(scale * top * below.unit, unit), None, numerator, denominator)

    return compute


def _product(formula: Formula, unknown: Collection[Quantity]) -> Compute:
    factors = [(computer(one.formula, unknown), one.power) for one in formula.factors]

    def compute(cell: Cell) -> Figure:
        value = formula.weight
        for factor, power in factors:
            part = factor(cell)
            if part.value is None:
                return Figure(None, part.reason, None, None)
            if power < 0 and part.value <= 0:
                is_zero = part.value == 0
                reason = Reason.ZERO_DENOMINATOR if is_zero else Reason.NEGATIVE_DENOMINATOR
                return Figure(None, reason, None, None)
            value *= part.value**power
        return Figure(value + formula.plus, None, None, None)

    return compute


def missing_rates(formula: Formula, cell: Cell) -> frozenset[MissingRate]:
    """The exchange rates that a formula's amounts lack."""
    if not cell.missing:
        return frozenset()
    return frozenset(rate for key in formula.keys for rate in cell.missing.get(key, ()))


def filled(formula: Formula, cells: Cells) -> Cells:
    """Those of the cells that have anything that the formula is about."""
    keys = frozenset(term.key for term in formula.terms)
    return {
        label: cell
        for label, cell in cells.items()
        if any(cell.amounts.get(key) or key in cell.missing for key in keys)
    }
