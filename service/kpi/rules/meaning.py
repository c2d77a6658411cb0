"""Rules of meaning: whether a definition says something that can be computed and understood."""

from __future__ import annotations

import re

from service.domain.dimensions import DETAILS, PRODUCT, PROP_PREFIX
from service.kpi.definition import LANGUAGES, Kpi
from service.kpi.formula import (
    BOOKED_AT_ORIGIN,
    OF_PRODUCTS,
    WITHOUT_DETAILS,
    Additivity,
    Distinct,
    Formula,
    IntervalMethod,
    KpiKind,
    Quantity,
    Unit,
    is_money,
    label,
    money_side,
)
from service.kpi.rules.shape import PROPS, SNAKE_CASE
from service.kpi.rules.words import MOST_CHARACTERS, Problems, is_line, path

_MOST_OF_AN_ID = 64
_LARGEST_SCALE = 1_000_000
_LAST_VERSION = 10_000
_EITHER = {KpiKind.COHORT, KpiKind.DERIVED}
_DIVIDED = {KpiKind.RATIO, KpiKind.COHORT}


def identifier(kpi: Kpi) -> Problems:
    """Ids are snake_case, so that they can be Prometheus labels and parts of a URL."""
    if not re.fullmatch(SNAKE_CASE, kpi.id) or len(kpi.id) > _MOST_OF_AN_ID:
        yield "id", f"the id must be snake_case, of at most {_MOST_OF_AN_ID} characters"


def texts(kpi: Kpi) -> Problems:
    """Title, explanation and edge rule are one line each, in every language."""
    for name, text in (("title", kpi.title), ("about", kpi.about), ("edge", kpi.edge)):
        if set(text) != set(LANGUAGES):
            yield name, f"'{name}' must have the languages {' and '.join(LANGUAGES)}, and no others"
        for language, line in text.items():
            if not is_line(line):
                problem = f"must be one line of at most {MOST_CHARACTERS} characters"
                yield name, f"'{name}.{language}' {problem}"


def origin(kpi: Kpi) -> Problems:
    """Somebody owns the definition, it has a source and a version."""
    for name, value in (("source", kpi.source), ("owner", kpi.owner), ("theme", kpi.theme)):
        if not is_line(value):
            yield name, f"'{name}' must be one line of at most {MOST_CHARACTERS} characters"
    if not 1 <= kpi.version <= _LAST_VERSION:
        yield "version", f"'version' must be from 1 to {_LAST_VERSION}"


def kind(kpi: Kpi) -> Problems:
    """Simple is a sum, ratio and cohort are divided; distinct counts only what is distinct."""
    for formula in kpi.views.values():
        terms = (*formula.numerator, *formula.denominator)
        distinct = {isinstance(term.quantity, Distinct) for term in terms}
        if len(distinct) > 1:
            yield "kind", "a formula is of distinct counts or of measures, not of both"
        elif kpi.kind not in _EITHER and distinct != {kpi.kind is KpiKind.DISTINCT}:
            yield "kind", "kind 'distinct' is for distinct counts only, and they need it"
        if kpi.kind is KpiKind.SIMPLE and formula.denominator:
            yield "kind", "kind 'simple' has no denominator"
        if kpi.kind in _DIVIDED and not formula.denominator:
            yield "kind", f"kind '{kpi.kind}' needs a denominator"


def cohort(kpi: Kpi) -> Problems:
    """A cohort is followed in the view of that name, from where it began."""
    formula = kpi.views.get("cohort")
    if kpi.kind is not KpiKind.COHORT:
        if formula is not None and kpi.kind is not KpiKind.DERIVED:
            yield "views.cohort", "a view 'cohort' needs kind 'cohort'"
    elif formula is None:
        yield "kind", "kind 'cohort' needs a view 'cohort'"
    elif not all(term.quantity in BOOKED_AT_ORIGIN for term in formula.numerator):
        can = ", ".join(sorted(label(quantity) for quantity in BOOKED_AT_ORIGIN))
        yield "views.cohort.numerator", f"a cohort's numerator is booked at its origin: {can}"


def additivity(kpi: Kpi) -> Problems:
    """Sums add up; whatever is divided, multiplied or distinct does not."""
    if (kpi.additivity is Additivity.FULL) != (kpi.kind is KpiKind.SIMPLE):
        yield "additivity", "additivity is 'full' for kind 'simple' and 'none' for the others"


def sides(kpi: Kpi) -> Problems:
    """A side of a formula is all money or has none."""
    for view, formula in kpi.views.items():
        for name, side in (("numerator", formula.numerator), ("denominator", formula.denominator)):
            if len({is_money(term.quantity) for term in side}) > 1:
                yield path(view, name), f"the {name} mixes amounts and counts"


_Shape = tuple[bool, bool | None]
_UNIT_SHAPES: dict[Unit, tuple[_Shape, ...]] = {
    Unit.COUNT: ((False, None),),
    Unit.CURRENCY: ((True, None), (True, False)),
    Unit.FRACTION: ((False, False), (True, True)),
    Unit.FACTOR: ((False, False), (True, True)),
    Unit.POINTS: ((False, False),),
}
"""Which (numerator is money, denominator is money or absent) gives which unit."""


def unit(kpi: Kpi) -> Problems:
    """The unit follows from what is divided by what, or multiplied with what."""
    for view, formula in kpi.views.items():
        if not _gives(formula, kpi.unit):
            yield "unit", f"the formula does not give the unit '{kpi.unit}'"
        if formula.scale != 1 and kpi.unit not in {Unit.POINTS, Unit.CURRENCY}:
            yield (
                path(view, "scale"),
                "only points and amounts are scaled; ratios are fractions of 1",
            )
        if not 1 <= formula.scale <= _LARGEST_SCALE:
            yield path(view, "scale"), f"'scale' must be from 1 to {_LARGEST_SCALE}"
        if formula.plus and kpi.unit is Unit.CURRENCY:
            yield path(view, "plus"), "'plus' has no currency, so no amount can be added to"


def _gives(formula: Formula, unit: Unit) -> bool:
    if formula.factors:
        return formula.money_power == (unit is Unit.CURRENCY)
    below = money_side(formula.denominator) if formula.denominator else None
    return (money_side(formula.numerator), below) in _UNIT_SHAPES[unit]


def interval(kpi: Kpi) -> Problems:
    """Wilson is for shares, NPS for promoters minus detractors, delta for ratios of sums."""
    for view, formula in kpi.views.items():
        where = path(view, "interval")
        if formula.interval is IntervalMethod.WILSON and not _is_share(kpi, formula):
            yield where, "interval 'wilson' needs a bounded fraction of counts with weights 1"
        if formula.interval is IntervalMethod.NPS and not _is_score(formula):
            yield where, "interval 'nps' needs one term of weight 1, one of -1, and scale 100"
        if formula.interval is IntervalMethod.DELTA and not _is_ratio_of_sums(kpi, formula):
            yield where, "interval 'delta' needs kind 'ratio' or 'cohort', and no distinct counts"


def _is_share(kpi: Kpi, formula: Formula) -> bool:
    whole = bool(formula.denominator) and all(term.weight == 1 for term in formula.terms)
    return kpi.bounded and kpi.unit is Unit.FRACTION and whole and not formula.has_money


def _is_score(formula: Formula) -> bool:
    signs = sorted(term.weight for term in formula.numerator)
    return signs == [-1, 1] and formula.scale == 100


def _is_ratio_of_sums(kpi: Kpi, formula: Formula) -> bool:
    counts_people = any(isinstance(term.quantity, Distinct) for term in formula.terms)
    return kpi.kind in _DIVIDED and not counts_people


def bounded(kpi: Kpi) -> Problems:
    """Only a fraction can be a share of something."""
    if kpi.bounded and kpi.unit is not Unit.FRACTION:
        yield "bounded", "'bounded' is for fractions"


def breakdowns(kpi: Kpi) -> Problems:
    """Nothing is broken down by what none of its counts know: all would be in one row."""
    used = {term.quantity for formula in kpi.views.values() for term in formula.terms}
    stated, lines = used & WITHOUT_DETAILS, used - OF_PRODUCTS
    for name in kpi.breakdowns:
        if name in {*DETAILS, PROPS} and stated:
            yield "breakdowns", f"{_first(stated)} cannot be broken down by {name}"
        if name == PRODUCT and lines:
            yield "breakdowns", f"{_first(lines)} cannot be broken down by {name}"


def filters(kpi: Kpi) -> Problems:
    """Nothing is counted by what is not known of it: all of it would be left out."""
    for view, formula in kpi.views.items():
        for name, side in (("numerator", formula.numerator), ("denominator", formula.denominator)):
            stated = [term for term in side if term.quantity in WITHOUT_DETAILS]
            for one, by in ((label(term.quantity), by) for term in stated for by, _ in term.where):
                if by in DETAILS or by.startswith(PROP_PREFIX):
                    yield path(view, name), f"{one} cannot be filtered by {by}"


def _first(quantities: set[Quantity]) -> str:
    return min(label(quantity) for quantity in quantities)
