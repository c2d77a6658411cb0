"""Rules of shape: whether what was written is in the closed vocabulary of formulas."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import Any

from service.domain.dimensions import DETAILS, DIMENSIONS, PRODUCT, PROP_PREFIX
from service.domain.measures import MEASURE_BY_LABEL
from service.kpi.definition import OF_A_FORMULA, UNNAMED, VIEWS, Entry, parts
from service.kpi.formula import (
    QUANTITY_BY_LABEL,
    Additivity,
    Direction,
    IntervalMethod,
    KpiKind,
    Status,
    Unit,
)
from service.kpi.rules.words import Problems, is_line, is_number, unknown
from service.kpi.windows import PRESETS

PROPS = PROP_PREFIX.rstrip(".")
"""The breakdown that means any prop which the site declares."""

BREAKDOWNS = (*DIMENSIONS, *DETAILS, PRODUCT, PROPS)
SNAKE_CASE = r"[a-z][a-z0-9]*(_[a-z0-9]+)*"
MOST_FACTORS = 6
MOST_TERMS = 20

WORDS: dict[str, type[StrEnum]] = {
    "unit": Unit,
    "direction": Direction,
    "kind": KpiKind,
    "additivity": Additivity,
    "status": Status,
    "interval": IntervalMethod,
}
"""Keys whose value is a word of a closed set; `interval` may differ between views."""

_OF_DERIVED = ("factors", "weight", "plus")


def _sides(entry: Entry) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for view, part in parts(entry):
        for side in ("numerator", "denominator"):
            if side in part:
                yield entry.path(view, side), side, part[side]


def words(entry: Entry) -> Problems:
    """Words come from their closed sets."""
    said = [(key, key, entry.data[key]) for key in WORDS if key not in OF_A_FORMULA]
    for view, part in parts(entry):
        interval = part.get("interval", IntervalMethod.NONE)
        said.append((entry.path(view, "interval"), "interval", interval))
    for where, key, word in said:
        names = [one.value for one in WORDS[key]]
        if word not in names:
            yield where, unknown(key, word, names)
    window = entry.data["default_window"]
    if window not in PRESETS:
        yield "default_window", unknown("default_window", window, list(PRESETS))


def view_names(entry: Entry) -> Problems:
    """Views have the names that a request can ask for."""
    for view in entry.data.get("views", {}):
        if view not in VIEWS:
            yield f"views.{view}", unknown("view", view, VIEWS)


def default_view(entry: Entry) -> Problems:
    """Named views have a default among them."""
    if entry.data.get("default_view", UNNAMED) not in dict(parts(entry)):
        yield "default_view", "'default_view' must name one of the views"


def parts_of_kind(entry: Entry) -> Problems:
    """What is derived has factors and no sides; everything else has sides and no factors."""
    is_derived = entry.data["kind"] == KpiKind.DERIVED
    for view, part in parts(entry):
        for key in part:
            if is_derived and key not in _OF_DERIVED:
                yield entry.path(view, key), f"kind 'derived' has no {key}"
            if not is_derived and key in _OF_DERIVED:
                yield entry.path(view, key), f"'{key}' is for kind 'derived'"


def quantities(entry: Entry) -> Problems:
    """Formulas are written over measures and distinct counts that exist."""
    for where, side, terms in _sides(entry):
        for name in terms:
            if name not in QUANTITY_BY_LABEL:
                yield where, unknown(f"measure of the {side}", name, list(QUANTITY_BY_LABEL))


def weights(entry: Entry) -> Problems:
    """A weight is a number other than 0, or a table of `weight` and `where`."""
    for where, side, terms in _sides(entry):
        if not 1 <= len(terms) <= MOST_TERMS:
            amount = f"more than {MOST_TERMS}" if terms else "no"
            yield where, f"the {side} has {amount} terms"
        for name, value in terms.items():
            term = value if isinstance(value, dict) else {"weight": value}
            weight = term.get("weight", 1)
            if not is_number(weight) or not weight:
                yield where, f"the weight of '{name}' must be a number other than 0"
            if set(term) - {"weight", "where"}:
                yield where, f"the term '{name}' has keys other than weight and where"
            if not _is_filter(term.get("where", {})):
                yield where, f"the where of '{name}' must be a table of texts"


def _is_filter(where: object) -> bool:
    return isinstance(where, dict) and all(is_line(value) for value in where.values())


def factors(entry: Entry) -> Problems:
    """Factors are KPIs to the power 1 or -1, and what is put around them are numbers."""
    for view, part in parts(entry):
        given = part.get("factors", {"x": 1})
        where = entry.path(view, "factors")
        if not 1 <= len(given) <= MOST_FACTORS:
            yield where, f"there must be 1 to {MOST_FACTORS} factors"
        for name, power in given.items():
            if type(power) is not int or power not in (1, -1):  # 1.0 and True equal 1
                yield where, f"the power of '{name}' must be 1 or -1"
        if not is_number(part.get("weight", 1)) or not part.get("weight", 1):
            yield entry.path(view, "weight"), "'weight' must be a number other than 0"
        if not is_number(part.get("plus", 0)):
            yield entry.path(view, "plus"), "'plus' must be a number"


def dimensions(entry: Entry) -> Problems:
    """Breakdowns and filters are over dimensions that exist."""
    breakdowns = entry.data["breakdowns"]
    for name in breakdowns:
        if name not in BREAKDOWNS:
            yield "breakdowns", unknown("dimension", name, BREAKDOWNS)
        elif breakdowns.count(name) > 1:
            yield "breakdowns", f"the breakdown '{name}' is there twice"
    names = (*DIMENSIONS, *DETAILS)
    for where, _, terms in _sides(entry):
        for value in terms.values():
            said = value.get("where") if isinstance(value, dict) else None
            for name in said if isinstance(said, dict) else ():
                if name not in names and not re.fullmatch(r"props\.[a-z][a-z0-9_]{0,31}", name):
                    yield where, unknown("dimension", name, names)


def requirements(entry: Entry) -> Problems:
    """`requires` is two measures that must be equal, and a reason."""
    for view, part in parts(entry):
        if "requires" not in part:
            continue
        where = entry.path(view, "requires")
        pair, reason = part["requires"].get("equal"), part["requires"].get("reason")
        is_pair = isinstance(pair, list) and len(pair) == 2
        if not is_pair or not all(isinstance(measure, str) for measure in pair):
            yield where, "'requires' needs equal = [measure, measure]"
        else:
            for name in pair:
                if name not in MEASURE_BY_LABEL:
                    yield where, unknown("measure of requires", name, list(MEASURE_BY_LABEL))
        if not isinstance(reason, str) or not re.fullmatch(SNAKE_CASE, reason):
            yield where, "'requires' needs a reason in snake_case"
        if set(part["requires"]) - {"equal", "reason"}:
            yield where, "'requires' has keys other than equal and reason"
