"""What a catalogue entry must satisfy: an ordered list of small rules, all problems at once.

Form rules look at the keys of an entry and the types of their values; where they find nothing,
shape rules look at what was written; where those find nothing, meaning rules look at the
definition that was built from it; set rules look at all sound definitions together.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from decimal import Decimal
from enum import StrEnum
from typing import Any

from service.domain.dimensions import DIMENSIONS
from service.domain.measures import MEASURE_BY_LABEL
from service.kit.nearest import nearest
from service.kpi.definition import LANGUAGES, Entry, Kpi, build
from service.kpi.formula import (
    QUANTITY_BY_LABEL,
    Additivity,
    Direction,
    Distinct,
    Formula,
    IntervalMethod,
    KpiKind,
    Status,
    Unit,
    is_money,
    money_side,
)
from service.kpi.windows import PRESETS

Problems = Iterator[str]

_REQUIRED: dict[str, type] = {
    "id": str,
    "title": dict,
    "about": dict,
    "edge": dict,
    "unit": str,
    "direction": str,
    "kind": str,
    "additivity": str,
    "breakdowns": list,
    "default_window": str,
    "source": str,
    "owner": str,
    "version": int,
    "status": str,
}
_OF_A_FORMULA: dict[str, type] = {
    "numerator": dict,
    "denominator": dict,
    "scale": int,
    "interval": str,
    "requires": dict,
}
_OPTIONAL: dict[str, type] = {
    **_OF_A_FORMULA,
    "views": dict,
    "default_view": str,
    "bounded": bool,
    "also_visible": list,
}
_WORDS: dict[str, type[StrEnum]] = {
    "unit": Unit,
    "direction": Direction,
    "kind": KpiKind,
    "additivity": Additivity,
    "status": Status,
}


def _unknown(what: str, name: object, names: Sequence[str]) -> str:
    meant = nearest(str(name), names)
    return f"{what} '{name}' does not exist" + (f"; meant {' or '.join(meant)}?" if meant else "")


def _formulas(entry: Entry) -> Iterator[Mapping[str, Any]]:
    """What each view says, over what the entry says for all of them."""
    shared = {key: entry.data[key] for key in _OF_A_FORMULA if key in entry.data}
    views = entry.data.get("views")
    parts = views.values() if isinstance(views, dict) else [{}]
    yield from ({**shared, **part} for part in parts if isinstance(part, dict))


def _sides(entry: Entry) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for part in _formulas(entry):
        for side in ("numerator", "denominator"):
            if isinstance(part.get(side), dict):
                yield side, part[side]


def known_keys(entry: Entry) -> Problems:
    """Every key is one that something reads."""
    keys = [*_REQUIRED, *_OPTIONAL]
    yield from (_unknown("key", key, keys) for key in entry.data if key not in keys)
    if "views" in entry.data:
        yield from (
            _unknown("key of a view", key, list(_OF_A_FORMULA))
            for part in _formulas(entry)
            for key in part
            if key not in _OF_A_FORMULA
        )


def required_keys(entry: Entry) -> Problems:
    """Nothing that a definition needs is left out."""
    yield from (f"'{key}' is missing" for key in _REQUIRED if key not in entry.data)
    if any("numerator" not in part for part in _formulas(entry)):
        yield "'numerator' is missing"


def types(entry: Entry) -> Problems:
    """Values have the type that their key needs."""
    expected = {**_REQUIRED, **_OPTIONAL}
    for key, value in entry.data.items():
        wanted = expected.get(key, object)
        if not _is_a(value, wanted):
            yield f"'{key}' must be of type {wanted.__name__}"
    views = entry.data.get("views")
    for name, part in views.items() if isinstance(views, dict) else ():
        if not isinstance(part, dict):
            yield f"the view '{name}' must be of type dict"
            continue
        for key, value in part.items():
            if not _is_a(value, _OF_A_FORMULA.get(key, object)):
                yield f"'{key}' of the view '{name}' must be of type {_OF_A_FORMULA[key].__name__}"


def _is_a(value: object, wanted: type) -> bool:
    return isinstance(value, wanted) and not (wanted is int and isinstance(value, bool))


def words(entry: Entry) -> Problems:
    """Words come from their closed sets."""
    for key, enum in _WORDS.items():
        if key in entry.data and entry.data[key] not in list(enum):
            yield _unknown(key, entry.data[key], [word.value for word in enum])
    for part in _formulas(entry):
        if part.get("interval", "none") not in list(IntervalMethod):
            yield _unknown("interval", part["interval"], [word.value for word in IntervalMethod])
    if entry.data.get("default_window", "today") not in PRESETS:
        yield _unknown("default_window", entry.data["default_window"], list(PRESETS))


def quantities(entry: Entry) -> Problems:
    """Formulas are written over measures and distinct counts that exist."""
    for side, terms in _sides(entry):
        for name in terms:
            if name not in QUANTITY_BY_LABEL:
                yield _unknown(f"measure of the {side}", name, list(QUANTITY_BY_LABEL))


def weights(entry: Entry) -> Problems:
    """A weight is a number other than 0, or a table of `weight` and `where`."""
    for side, terms in _sides(entry):
        if not terms:
            yield f"the {side} has no terms"
        for name, value in terms.items():
            parts = value if isinstance(value, dict) else {"weight": value}
            if not _is_weight(parts.get("weight", 1)):
                yield f"the weight of '{name}' must be a number other than 0"
            if set(parts) - {"weight", "where"}:
                yield f"the term '{name}' has keys other than weight and where"
            if not _is_filter(parts.get("where", {})):
                yield f"the where of '{name}' must be a table of texts"


def _is_weight(value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return False
    return bool(value) and Decimal(value).is_finite()


def _is_filter(where: object) -> bool:
    return isinstance(where, dict) and all(isinstance(value, str) for value in where.values())


def dimensions(entry: Entry) -> Problems:
    """Breakdowns and filters are over dimensions that exist."""
    used = list(entry.data.get("breakdowns", []))
    for _, terms in _sides(entry):
        for value in terms.values():
            where = value.get("where") if isinstance(value, dict) else None
            used += where if isinstance(where, dict) else []
    yield from (_unknown("dimension", name, DIMENSIONS) for name in used if name not in DIMENSIONS)


def requirements(entry: Entry) -> Problems:
    """`requires` is two measures that must be equal, and a reason."""
    for part in _formulas(entry):
        requires = part.get("requires", {"equal": ["orders", "orders"], "reason": "x"})
        pair, reason = requires.get("equal"), requires.get("reason")
        known = isinstance(pair, list) and len(pair) == 2 and isinstance(reason, str) and reason
        if not known or not all(isinstance(measure, str) for measure in pair):
            yield "'requires' needs equal = [measure, measure] and a reason"
        else:
            yield from (
                _unknown("measure of requires", m, list(MEASURE_BY_LABEL))
                for m in pair
                if m not in MEASURE_BY_LABEL
            )


def identifier(kpi: Kpi) -> Problems:
    """Ids are snake_case, so that they can be Prometheus labels and parts of a URL."""
    if not re.fullmatch(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", kpi.id):
        yield "the id must be snake_case"


def texts(kpi: Kpi) -> Problems:
    """Title, explanation and edge rule are one line each, in every language."""
    for name, text in (("title", kpi.title), ("about", kpi.about), ("edge", kpi.edge)):
        if set(text) != set(LANGUAGES):
            yield f"'{name}' must have the languages {' and '.join(LANGUAGES)}, and no others"
        for language, line in text.items():
            if not isinstance(line, str) or not line.strip() or "\n" in line or len(line) > 300:
                yield f"'{name}.{language}' must be one line of at most 300 characters"


def origin(kpi: Kpi) -> Problems:
    """Somebody owns the definition, it has a source and a version."""
    for name, value in (("source", kpi.source), ("owner", kpi.owner)):
        if not value.strip():
            yield f"'{name}' must not be empty"
    if kpi.version < 1:
        yield "'version' starts at 1"


def views(kpi: Kpi) -> Problems:
    """Named views have a default among them."""
    if kpi.default_view not in kpi.views:
        yield "'default_view' must name one of the views"


def kind(kpi: Kpi) -> Problems:
    """Simple is a sum of measures, ratio a ratio of sums, distinct only distinct counts."""
    for formula in kpi.views.values():
        distinct = [isinstance(term.quantity, Distinct) for term in formula.terms]
        if (kpi.kind is KpiKind.DISTINCT) != all(distinct) or any(distinct) != all(distinct):
            yield "kind 'distinct' is for formulas of distinct counts only, and they need it"
        if kpi.kind is KpiKind.SIMPLE and formula.denominator:
            yield "kind 'simple' has no denominator"
        if kpi.kind is KpiKind.RATIO and not formula.denominator:
            yield "kind 'ratio' needs a denominator"


def additivity(kpi: Kpi) -> Problems:
    """Sums add up; ratios and distinct counts do not."""
    if (kpi.additivity is Additivity.FULL) != (kpi.kind is KpiKind.SIMPLE):
        yield "additivity is 'full' for kind 'simple' and 'none' for the others"


def sides(kpi: Kpi) -> Problems:
    """A side of a formula is all money or has none."""
    for formula in kpi.views.values():
        for name, side in (("numerator", formula.numerator), ("denominator", formula.denominator)):
            if len({is_money(term.quantity) for term in side}) > 1:
                yield f"the {name} mixes amounts and counts"


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
    """The unit follows from what is divided by what."""
    for formula in kpi.views.values():
        below = money_side(formula.denominator) if formula.denominator else None
        if (money_side(formula.numerator), below) not in _UNIT_SHAPES[kpi.unit]:
            yield f"the formula does not give the unit '{kpi.unit}'"
        if formula.scale != 1 and kpi.unit not in {Unit.POINTS, Unit.CURRENCY}:
            yield "only points and amounts are scaled; ratios are fractions of 1"
        if formula.scale < 1:
            yield "'scale' must be 1 or more"


def interval(kpi: Kpi) -> Problems:
    """Wilson is for shares; the NPS interval for promoters minus detractors, times 100."""
    for formula in kpi.views.values():
        if formula.interval is IntervalMethod.WILSON and not _is_share(kpi, formula):
            yield "interval 'wilson' needs a bounded fraction of counts with weights 1"
        if formula.interval is IntervalMethod.NPS and not _is_score(formula):
            yield "interval 'nps' needs one term of weight 1, one of -1, and scale 100"


def _is_share(kpi: Kpi, formula: Formula) -> bool:
    whole = all(term.weight == 1 for term in formula.terms)
    return kpi.bounded and kpi.unit is Unit.FRACTION and whole and not formula.has_money


def _is_score(formula: Formula) -> bool:
    signs = sorted(term.weight for term in formula.numerator)
    return signs == [-1, 1] and formula.scale == 100


def bounded(kpi: Kpi) -> Problems:
    """Only a fraction can be a share of something."""
    if kpi.bounded and kpi.unit is not Unit.FRACTION:
        yield "'bounded' is for fractions"


def unique_ids(kpis: Sequence[Kpi]) -> Iterator[tuple[Kpi, str]]:
    """An id names one KPI."""
    counts = Counter(kpi.id for kpi in kpis)
    for kpi in kpis:
        if counts[kpi.id] > 1:
            yield kpi, "the id is used more than once"


def references(kpis: Sequence[Kpi]) -> Iterator[tuple[Kpi, str]]:
    """What stays visible when the denominator is zero is a KPI of the catalogue."""
    ids = {kpi.id: kpi for kpi in kpis}
    for kpi in kpis:
        for other in kpi.also_visible:
            if str(other) not in ids or other == kpi.id:
                yield kpi, _unknown("KPI in also_visible", other, list(ids))


ShapeRule = Callable[[Entry], Problems]
MeaningRule = Callable[[Kpi], Problems]
SetRule = Callable[[Sequence[Kpi]], Iterator[tuple[Kpi, str]]]

FORM_RULES: tuple[ShapeRule, ...] = (known_keys, required_keys, types)
SHAPE_RULES: tuple[ShapeRule, ...] = (words, quantities, weights, dimensions, requirements)
MEANING_RULES: tuple[MeaningRule, ...] = (
    identifier, texts, origin, views, kind, additivity, sides, unit, interval, bounded,
)  # fmt: skip
SET_RULES: tuple[SetRule, ...] = (unique_ids, references)


def problems_of(entries: Sequence[Entry]) -> list[str]:
    """Every problem of a catalogue, each with the file and the KPI that has it."""
    problems = []
    sound: dict[int, Kpi] = {}
    for number, entry in enumerate(entries):
        found = [text for rule in FORM_RULES for text in rule(entry)]
        found = found or [text for rule in SHAPE_RULES for text in rule(entry)]
        if not found:
            sound[number] = kpi = build(entry)
            found = [text for rule in MEANING_RULES for text in rule(kpi)]
        problems += [f"{entry.file}: {entry.id}: {text}" for text in dict.fromkeys(found)]
    for set_rule in SET_RULES:
        for kpi, text in set_rule(list(sound.values())):
            problems.append(f"{kpi.theme}.toml: {kpi.id}: {text}")
    return problems
