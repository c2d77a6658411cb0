"""Rules of form: the keys of an entry, and the types of their values."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from types import UnionType
from typing import Any

from service.kpi.definition import OF_A_FORMULA, Entry, parts
from service.kpi.formula import KpiKind
from service.kpi.rules.words import Problems, path, unknown

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
_TYPES: dict[str, type | UnionType] = {
    **_REQUIRED,
    "theme": str,
    "views": dict,
    "default_view": str,
    "bounded": bool,
    "also_visible": list,
    "numerator": dict,
    "denominator": dict,
    "scale": int,
    "interval": str,
    "requires": dict,
    "factors": dict,
    "weight": int | Decimal,
    "plus": int | Decimal,
}


def known_keys(entry: Entry) -> Problems:
    """Every key is one that something reads."""
    for key in entry.data:
        if key not in _TYPES:
            yield str(key), unknown("key", key, list(_TYPES))
    for view, part in _views(entry).items():
        for key in part if isinstance(part, dict) else ():
            if key not in OF_A_FORMULA:
                yield path(view, key), unknown("key of a view", key, OF_A_FORMULA)


def required_keys(entry: Entry) -> Problems:
    """Nothing that a definition needs is left out."""
    for key in _REQUIRED:
        if key not in entry.data:
            yield key, f"'{key}' is missing"
    needed = "factors" if entry.data.get("kind") == KpiKind.DERIVED else "numerator"
    for view, part in parts(entry):
        if needed not in part:
            yield path(view, needed), f"'{needed}' is missing"


def types(entry: Entry) -> Problems:
    """Values have the type that their key needs."""
    for key, value in entry.data.items():
        if not _is_a(value, _TYPES.get(key, object)):
            yield str(key), f"'{key}' must be of type {_name(_TYPES[key])}"
    for view, part in _views(entry).items():
        if not isinstance(part, dict):
            yield f"views.{view}", f"the view '{view}' must be of type dict"
            continue
        for key, value in part.items():
            if key in OF_A_FORMULA and not _is_a(value, _TYPES[key]):
                problem = f"'{key}' of the view '{view}' must be of type {_name(_TYPES[key])}"
                yield path(view, key), problem


def one_id(entry: Entry) -> Problems:
    """The id that a definition is stored under is the one it has."""
    given = entry.data.get("id")
    if isinstance(given, str) and given != entry.id:
        yield "id", f"the id is '{given[:100]}' inside and '{entry.id[:100]}' in the address"


def _views(entry: Entry) -> Mapping[str, Any]:
    views = entry.data.get("views")
    return views if isinstance(views, dict) else {}


def _is_a(value: object, wanted: type | UnionType) -> bool:
    return isinstance(value, wanted) and (wanted in (bool, object) or not isinstance(value, bool))


def _name(wanted: type | UnionType) -> str:
    return wanted.__name__ if isinstance(wanted, type) else "number"
