"""A formula as a line of text: in names, or with something else in their place."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction

from service.kpi.formula import Factor, Formula, Term

Terms = Callable[[Term], str]
Factors = Callable[[Factor], str]


def written(formula: Formula, term: Terms, factor: Factors) -> str:
    """A formula whose terms and factors are written as these say; weights are added here."""
    if formula.factors:
        return _product(formula, factor)
    grouped = bool(formula.denominator) or formula.scale != 1
    above = _side(formula.numerator, term, grouped=grouped)
    scaled = above if formula.scale == 1 else f"{formula.scale} * {above}"
    if not formula.denominator:
        return scaled
    return f"{scaled} / {_divisor(formula.denominator, term)}"


def _product(formula: Formula, factor: Factors) -> str:
    size = abs(formula.weight)
    above = [factor(one) for one in formula.factors if one.power > 0]
    below = [factor(one) for one in formula.factors if one.power < 0]
    if size != 1 or not above:
        above.insert(0, _weight(size))
    product = " / ".join([" * ".join(above), *below])
    if formula.plus:
        return f"{_weight(formula.plus)} {'-' if formula.weight < 0 else '+'} {product}"
    return f"{'-' if formula.weight < 0 else ''}{product}"


def _side(terms: tuple[Term, ...], write: Terms, *, grouped: bool) -> str:
    text = ""
    for term in terms:
        sign = "-" if term.weight < 0 else "+"
        size = abs(term.weight)
        sized = write(term) if size == 1 else f"{_weight(size)} * {write(term)}"
        text += f" {sign} {sized}" if text else f"{'-' if sign == '-' else ''}{sized}"
    return f"({text})" if grouped and len(terms) > 1 else text


def _divisor(terms: tuple[Term, ...], write: Terms) -> str:
    text = _side(terms, write, grouped=True)
    is_product = len(terms) == 1 and abs(terms[0].weight) != 1
    return f"({text})" if is_product else text


def _weight(weight: Fraction) -> str:
    return str(weight.numerator) if weight.denominator == 1 else str(float(weight))
