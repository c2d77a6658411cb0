"""Rules of form: the keys of an entry, and the types of their values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from decimal import Decimal
from types import UnionType
from typing import Any

from service.kpi.definition import OF_A_FORMULA, Entry, parts
from service.kpi.formula import KpiKind
from service.kpi.rules.words import Problems, path, unknown

MOST_ENTRIES = 50
"""Of any list or table of a definition."""

REQUIRED: dict[str, type] = {
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
"""Keys that no entry goes without."""

TYPES: dict[str, type | UnionType] = {
    **REQUIRED,
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
"""Every key of an entry, and the type of its value; a view has some of the same."""


def known_keys(entry: Entry) -> Problems:
    """Every key is one that something reads."""
    for key in entry.data if len(entry.data) <= MOST_ENTRIES else ():
        if key not in TYPES:
            yield str(key), unknown("key", key, list(TYPES))
    for view, part in _views(entry).items() if len(_views(entry)) <= MOST_ENTRIES else ():
        for key in part if isinstance(part, dict) and len(part) <= MOST_ENTRIES else ():
            if key not in OF_A_FORMULA:
                yield path(view, key), unknown("key of a view", key, OF_A_FORMULA)


def required_keys(entry: Entry) -> Problems:
    """Nothing that a definition needs is left out."""
    for key in REQUIRED:
        if key not in entry.data:
            yield key, f"'{key}' is missing"
    needed = "factors" if entry.data.get("kind") == KpiKind.DERIVED else "numerator"
    for view, part in parts(entry):
        if needed not in part:
            yield path(view, needed), f"'{needed}' is missing"


def types(entry: Entry) -> Problems:
    """Values have the type that their key needs."""
    for key, value in entry.data.items():
        if not _is_a(value, TYPES.get(key, object)):
            yield str(key), f"'{key}' must be of type {_name(TYPES[key])}"
    for view, part in _views(entry).items():
        if not isinstance(part, dict):
            yield f"views.{view}", f"the view '{view}' must be of type dict"
            continue
        for key, value in part.items():
            if key in OF_A_FORMULA and not _is_a(value, TYPES[key]):
                problem = f"'{key}' of the view '{view}' must be of type {_name(TYPES[key])}"
                yield path(view, key), problem


def lengths(entry: Entry) -> Problems:
    """Nothing has so many entries that looking each of them up would take long."""
    for where, name, given in _collections(entry):
        if isinstance(given, list | dict) and len(given) > MOST_ENTRIES:
            yield where, f"{name} has {len(given)} entries, and may have {MOST_ENTRIES}"


def _collections(entry: Entry) -> Iterator[tuple[str, str, object]]:
    yield "", "the KPI", entry.data
    for key in ("breakdowns", "also_visible", "views"):
        yield key, f"'{key}'", entry.data.get(key)
    for view, part in parts(entry) if len(_views(entry)) <= MOST_ENTRIES else ():
        yield f"views.{view}", f"the view '{view[:100]}'", _views(entry).get(view)
        for key in ("numerator", "denominator", "factors"):
            yield entry.path(view, key), f"'{key}'", part.get(key)
        for key in ("numerator", "denominator"):
            yield from _wheres(entry.path(view, key), part.get(key))


def _wheres(where: str, side: object) -> Iterator[tuple[str, str, object]]:
    for name, term in side.items() if isinstance(side, dict) and len(side) <= MOST_ENTRIES else ():
        if isinstance(term, dict):
            yield where, f"the where of '{str(name)[:100]}'", term.get("where")


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
