"""The dimensions of rows in SQL: their values, the joins these come from, and conditions on them.

Every value travels as a parameter, prefixes too: what a user sends is never part of a text.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from service.domain.dimensions import DETAILS, DIMENSIONS, PRODUCT, PROP_PREFIX
from service.kpi.filters import PROP, Filters
from service.kpi.formula import Where

CASELESS = ("channel", "source", "medium")
"""Dimensions whose values are compared without regard to letter case."""

SPELLED = {"country": str.upper, "device": str.lower}
"""Dimensions whose values are stored in one letter case: what is asked for is put into it."""

_IDS = {"d": ("dimension", "dim_id"), "x": ("detail", "detail_id"), "o": ("detail", "own_id")}
"""Joins that labels come from: the alias, its table, and the column of the rows that finds it."""


class Form(NamedTuple):
    """What of a condition is part of a statement's text: the dimension and how many values."""

    name: str
    values: int
    prefixes: int
    negated: bool


def forms(filters: Filters) -> tuple[Form, ...]:
    """What of a request's filters is part of a statement's text."""
    return tuple(Form(c.name, len(c.values), len(c.prefixes), c.negated) for c in filters)


def filter_parameters(filters: Filters) -> dict[str, str]:
    """One parameter a value of a request's filters."""
    return {
        f"{_parameter(c.name, c.negated, prefix)}_{number}": _spelled(c.name, value)
        for c in filters
        for prefix, values in ((False, c.values), (True, c.prefixes))
        for number, value in enumerate(values)
    }


def where_parameters(wheres: Sequence[Where]) -> dict[str, str]:
    """One parameter a value of formulas' own filters."""
    return {
        _where_parameter(name, number): _spelled(name, value)
        for number, where in enumerate(wheres)
        for name, value in where
    }


def _parameter(name: str, negated: bool, prefix: bool) -> str:
    sort = ("not_" if negated else "") + ("prefix_" if prefix else "")
    return sort + name.replace(".", "_")


def _where_parameter(name: str, number: int) -> str:
    return f"where_{number}_{name.replace('.', '_')}"


def _spelled(name: str, value: str) -> str:
    return SPELLED[name](value) if name in SPELLED else value


def label_of(name: str) -> str:
    """The SQL of a dimension's value, '' for none, over the joins of `joins` or the rows `s`."""
    if name == PRODUCT:
        return f"s.{PRODUCT}"
    if name in DIMENSIONS:
        return f"coalesce(d.{name}, '')"
    if name in DETAILS:
        return f"coalesce(x.{DETAILS[name]}, '')"
    if not PROP.fullmatch(name):
        raise ValueError(f"{name!r} is not a dimension")
    return f"coalesce(o.props->>'{name.removeprefix(PROP_PREFIX)}', '')"


def aliases(names: Collection[str]) -> tuple[str, ...]:
    """The joins that labels come from: `d` the dimension, `x` the detail, `o` the own detail."""
    used = {label_of(name).removeprefix("coalesce(")[0] for name in names}
    return tuple(alias for alias in _IDS if alias in used)


def ids_of(names: Collection[str]) -> tuple[str, ...]:
    """The columns of the rows that the values of these dimensions are found by."""
    product = [PRODUCT] if PRODUCT in names else []
    return (*(_IDS[alias][1] for alias in aliases(names)), *product)


def joins(rows: str, names: Collection[str], own: str = "own_id") -> str:
    """The joins, one a line, that the labels of these dimensions need; rows without any stay.

    `rows` is an alias with the columns `dim_id`, `detail_id` and `own`, as far as they are needed.
    """
    lines = []
    for alias in aliases(names):
        table, column = _IDS[alias]
        key = "dim_id" if table == "dimension" else "detail_id"
        found_by = own if alias == "o" else column
        lines.append(
            f"LEFT JOIN {table} AS {alias}"
            f" ON {alias}.site_id = :site_id AND {alias}.{key} = {rows}.{found_by}"
        )
    return "\n".join(lines)


def condition(filters: Iterable[Form]) -> str:
    """The condition of a request's filters (their `forms`); `true` without any."""
    return " AND ".join(_condition(form) for form in filters) or "true"


def of_dimensions(name: str) -> bool:
    """Whether the dimension is one of those that rollups hold, by `dim_id`."""
    return name in DIMENSIONS


def passing(filters: Iterable[Form], where: Where) -> str:
    """A SELECT of the `dim_id` that pass what is asked of dimensions; '' if nothing is.

    Each combination is looked at once, however many rows have it.
    """
    forms = [form for form in filters if of_dimensions(form.name)]
    own = tuple((name, value) for name, value in where if of_dimensions(name))
    used = {*(form.name for form in forms), *(name for name, _ in own)}
    if not used:
        return ""
    names = [name for name in DIMENSIONS if name in used]
    conditions = [*map(_condition, forms), *([where_condition(own, 0)] if own else [])]
    return (
        f"SELECT d.dim_id FROM (\nSELECT {', '.join(['n.dim_id', *(f'n.{x}' for x in names)])}"
        " FROM dimension AS n WHERE n.site_id = :site_id\n"
        # The combination of nothing is not stored.
        f"UNION ALL SELECT {', '.join(['0', *(chr(39) * 2 for _ in names)])}\n) AS d\n"
        f"WHERE {' AND '.join(conditions)}"
    )


def where_condition(where: Where, number: int) -> str:
    """The condition of a formula's own filter, whose parameters have that number."""
    return (
        " AND ".join(_has(name, [f":{_where_parameter(name, number)}"], []) for name, _ in where)
        or "true"
    )


def _condition(form: Form) -> str:
    values, prefixes = (
        [f":{_parameter(form.name, form.negated, prefix)}_{n}" for n in range(count)]
        for prefix, count in ((False, form.values), (True, form.prefixes))
    )
    found = _has(form.name, values, prefixes)
    return f"NOT ({found})" if form.negated else found


def _has(name: str, values: Sequence[str], prefixes: Sequence[str]) -> str:
    label = label_of(name)
    said, begun = ([f"CAST({value} AS text)" for value in some] for some in (values, prefixes))
    if name in CASELESS:
        label = f"lower({label})"
        said, begun = ([f"lower({value})" for value in some] for some in (said, begun))
    parts = [f"{label} IN ({', '.join(said)})"] if said else []
    parts += [f"starts_with({label}, {value})" for value in begun]
    return parts[0] if len(parts) == 1 else f"({' OR '.join(parts)})"
