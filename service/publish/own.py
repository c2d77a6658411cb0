"""The body of `PUT /v1/kpis/{id}` as a JSON Schema, made of the rules that check it."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from service.kpi.catalogue import OF_USERS
from service.kpi.definition import LANGUAGES, OF_A_FORMULA, VIEWS
from service.kpi.rules.form import REQUIRED, TYPES
from service.kpi.rules.shape import BREAKDOWNS, WORDS
from service.kpi.windows import PRESETS

UNDERSTOOD = {*OF_USERS, "id", "additivity"}
"""What the address says, what follows from the kind, and what has a default."""

_JSON: dict[object, dict[str, Any]] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    int | Decimal: {"type": "number"},
    list: {"type": "array", "items": {"type": "string"}},
    dict: {"type": "object"},
}
_TEXT = {
    "properties": {language: {"type": "string"} for language in LANGUAGES},
    "required": ["en"],
    "additionalProperties": False,
}
_TERM = {
    "type": "object",
    "properties": {
        "weight": {"type": "number"},
        "where": {"type": "object", "additionalProperties": {"type": "string"}},
    },
    "additionalProperties": False,
}
_SIDE = {"additionalProperties": {"anyOf": [{"type": "number"}, _TERM]}}
_MORE: dict[str, dict[str, Any]] = {
    "id": {"description": "That of the address, or left out."},
    "theme": {"description": "Under which it is listed."},
    "title": {**_TEXT, "examples": [{"en": "Spend per visit", "da": "Forbrug pr. besøg"}]},
    "about": {**_TEXT, "description": "What it is, in one line."},
    "edge": {**_TEXT, "description": "What happens where the formula alone does not say."},
    "additivity": {"description": "Whether parts add up to the whole; follows from the kind."},
    "numerator": {
        **_SIDE,
        "description": "Measures and their weights; unless kind is derived, here or in each view.",
        "examples": [{"spend": 1}],
    },
    "denominator": {**_SIDE, "examples": [{"visits": 1}]},
    "scale": {"description": "What the quotient is multiplied by, such as 1000."},
    "interval": {"description": "Which 95 % interval goes with a value."},
    "requires": {
        "properties": {
            "equal": {"type": "array", "items": {"type": "string"}, "minItems": 2, "maxItems": 2},
            "reason": {"type": "string"},
        },
        "required": ["equal", "reason"],
        "additionalProperties": False,
        "description": "Two measures; unless they are equal the value is null, with this reason.",
    },
    "factors": {
        "additionalProperties": {"enum": [1, -1]},
        "description": "Of kind derived: other KPIs to the power 1 or -1, multiplied.",
    },
    "weight": {"description": "Of kind derived: what the product is multiplied by."},
    "plus": {"description": "Of kind derived: what is added to the product."},
    "default_view": {"enum": list(VIEWS), "description": "Needed where there are views."},
    "bounded": {"description": "A share: above 1 it is flagged."},
    "also_visible": {"description": "KPIs whose totals are shown beside it."},
    "breakdowns": {
        "items": {"enum": list(BREAKDOWNS)},
        "description": "Dimensions that by= and where= take.",
    },
    "default_window": {"enum": list(PRESETS)},
    "version": {"description": "A change of meaning needs the next one."},
}


def own_kpi_schema() -> dict[str, Any]:
    """The keys of a `[[kpi]]` table; only what a user has to say is required."""
    properties = {key: _schema(key) for key in TYPES}
    properties["views"] |= {
        "properties": {view: _view() for view in VIEWS},
        "additionalProperties": False,
        "description": "Formulas by name; what they share may stand beside them.",
    }
    return {
        "title": "KpiDefinition",
        "description": "A KPI as data; all of its mistakes are answered at once.",
        "type": "object",
        "properties": properties,
        "required": [key for key in REQUIRED if key not in UNDERSTOOD],
        "additionalProperties": False,
    }


def _view() -> dict[str, Any]:
    formula = {key: _schema(key) for key in OF_A_FORMULA}
    return {"type": "object", "properties": formula, "additionalProperties": False}


def _schema(key: str) -> dict[str, Any]:
    words = {"enum": [word.value for word in WORDS[key]]} if key in WORDS else {}
    default = {"default": OF_USERS[key]} if key in OF_USERS else {}
    return {**_JSON[TYPES[key]], **words, **default, **_MORE.get(key, {})}
