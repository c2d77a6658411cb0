"""Compiles what is to be read into one statement: tiers of a window, joined with dimensions.

Every statement has the same parts: day rollups, quarter-hour rollups and the edges read from
facts, as UNION ALL; summed by bucket, measure and currency. Dimensions are joined only where a
breakdown or a filter needs them. Values always travel as parameters, so a few texts serve all
windows.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from sqlalchemy import TextClause, text

from service.domain.measures import Measure
from service.kpi.filters import Filters
from service.kpi.formula import Where
from service.kpi.tiers import Cover
from service.store.contributions import FACTS, Fact, edge_contributions

_MEASURE = re.compile(r"\b(\d+)::smallint")
MEASURES_OF: dict[str, frozenset[int]] = {
    fact.name: frozenset(int(number) for number in _MEASURE.findall(fact.values)) for fact in FACTS
}
"""Which measures each fact adds to, taken from what it contributes."""

CASELESS = ("channel", "source", "medium")
"""Dimensions whose values are compared without regard to letter case."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What makes two statements differ in their text; everything else is a parameter.

    `filters` counts the values of each filtered dimension, `wheres` are the filters inside
    formulas, one column of sums each. `daily` splits amounts of other currencies by site-local day.
    """

    days: bool
    quarters: int
    edges: int
    facts: tuple[str, ...]
    series: bool
    by: str | None
    filters: tuple[tuple[str, int], ...]
    wheres: tuple[Where, ...]
    daily: bool

    @property
    def needs_dimensions(self) -> bool:
        """Whether anything but time tells rows apart."""
        return bool(self.by or self.filters or any(self.wheres))


def shape_of(
    cover: Cover,
    measures: Sequence[Measure],
    *,
    series: bool,
    by: str | None,
    filters: Filters,
    wheres: tuple[Where, ...],
    daily: bool,
) -> Shape:
    """The shape of the statement that reads `measures` over a cover."""
    facts = [fact.name for fact in FACTS if not MEASURES_OF[fact.name].isdisjoint(measures)]
    return Shape(
        days=cover.days is not None,
        quarters=len(cover.quarters),
        edges=len(cover.edges),
        facts=tuple(facts) if cover.edges else (),
        series=series,
        by=by,
        filters=tuple((name, len(values)) for name, values in filters),
        wheres=wheres,
        daily=daily,
    )


def parameters(
    cover: Cover, measures: Sequence[Measure], filters: Filters, wheres: tuple[Where, ...]
) -> dict[str, Any]:
    """The values that belong to a shape, except `site_id`, `starts`, `zone` and `currency`."""
    values: dict[str, Any] = {"measures": [int(measure) for measure in measures]}
    if cover.days is not None:
        values["days_from"], values["days_to"] = cover.days
    for number, span in enumerate(cover.quarters):
        values[f"quarters_{number}_from"], values[f"quarters_{number}_to"] = span
    for number, span in enumerate(cover.edges):
        values[f"edge_{number}_from"], values[f"edge_{number}_to"] = span
    return values | filter_parameters(filters) | _where_parameters(wheres)


def filter_parameters(filters: Filters) -> dict[str, str]:
    """One parameter a value of a request's filters."""
    return {
        f"{name}_{number}": value for name, values in filters for number, value in enumerate(values)
    }


def _where_parameters(wheres: tuple[Where, ...]) -> dict[str, str]:
    return {
        f"where_{number}_{name}": value
        for number, where in enumerate(wheres)
        for name, value in where
    }


def matches(name: str, parameter_names: Sequence[str]) -> str:
    """The condition that a dimension (of the join `d`) has one of the values."""
    column = f"coalesce(d.{name}, '')"
    values = [f"CAST(:{parameter} AS text)" for parameter in parameter_names]
    if name in CASELESS:
        column, values = f"lower({column})", [f"lower({value})" for value in values]
    return f"{column} IN ({', '.join(values)})"


def filter_condition(filters: Sequence[tuple[str, int]]) -> str:
    """The condition of a request's filters; `true` without any."""
    parts = [matches(name, [f"{name}_{n}" for n in range(count)]) for name, count in filters]
    return " AND ".join(parts) or "true"


def dimension_join(rows: str) -> str:
    """The join of dimensions as `d`; rows with none of them (id 0) stay."""
    return f"LEFT JOIN dimension AS d ON d.site_id = :site_id AND d.dim_id = {rows}.dim_id"


def bucket_of(at: str, series: bool) -> str:
    """Which bucket of `:starts` an instant lies in, from 1; without a series there is one."""
    return f"width_bucket({at}, CAST(:starts AS timestamptz[]))" if series else "1"


@lru_cache(maxsize=512)
def statement(shape: Shape) -> TextClause:
    """The compiled statement; rows are `bucket, measure, currency[, label][, day], sum_0, …`."""
    return text(sql(shape))


def sql(shape: Shape) -> str:
    """The text of the statement."""
    keys = ["bucket", "measure", "currency", *(["day"] if shape.daily else [])]
    rows = "\nUNION ALL\n".join(_tiers(shape))
    if not shape.needs_dimensions:
        return (
            f"SELECT {', '.join(f't.{key}' for key in keys)}, sum(t.value) AS sum_0\n"
            f"FROM (\n{rows}\n) AS t\nGROUP BY {', '.join(f't.{key}' for key in keys)}"
        )
    if not shape.series:
        # One row a combination before the join: far fewer rows have to find their dimensions. In
        # a series there would be one for every bucket, and that costs more than it saves.
        grouped = ", ".join(f"t.{key}" for key in [*keys, "dim_id"])
        rows = (
            f"SELECT {grouped}, sum(t.value) AS value\nFROM (\n{rows}\n) AS t\nGROUP BY {grouped}"
        )
    chosen = [f"s.{key}" for key in keys]
    label = [] if shape.by is None else [f"coalesce(d.{shape.by}, '') AS label"]
    places = ", ".join(str(place) for place in range(1, len(chosen) + len(label) + 1))
    sums = ", ".join(_sum(number, where) for number, where in enumerate(shape.wheres))
    return (
        f"SELECT {', '.join(chosen + label)}, {sums}\nFROM (\n{rows}\n) AS s\n"
        f"{dimension_join('s')}\nWHERE {filter_condition(shape.filters)}\nGROUP BY {places}"
    )


def _sum(number: int, where: Where) -> str:
    condition = " AND ".join(matches(name, [f"where_{number}_{name}"]) for name, _ in where)
    only = f" FILTER (WHERE {condition})" if where else ""
    return f"sum(s.value){only} AS sum_{number}"


def _tiers(shape: Shape) -> list[str]:
    parts = []
    if shape.days:
        parts.append(_rollup("rollup_day", "days", shape))
    parts += [_rollup("rollup_quarter", f"quarters_{n}", shape) for n in range(shape.quarters)]
    facts = [fact for fact in FACTS if fact.name in shape.facts]
    parts += [_edge(fact, f"edge_{n}", shape) for n in range(shape.edges) for fact in facts]
    return parts


def _rollup(table: str, span: str, shape: Shape) -> str:
    return (
        f"SELECT {_columns('r', 'bucket', shape)}\nFROM {table} AS r\n"
        "WHERE r.site_id = :site_id AND r.measure = ANY(CAST(:measures AS smallint[]))\n"
        f"  AND r.bucket >= :{span}_from AND r.bucket < :{span}_to{_foreign('r', shape)}"
    )


def _edge(fact: Fact, span: str, shape: Shape) -> str:
    facts = re.sub(r":lo\b", f":{span}_from", edge_contributions(fact))
    facts = re.sub(r":hi\b", f":{span}_to", facts)
    return (
        f"SELECT {_columns('e', 'at', shape)}\nFROM (\n{facts}\n) AS e\n"
        f"WHERE e.measure = ANY(CAST(:measures AS smallint[])){_foreign('e', shape)}"
    )


def _columns(row: str, at: str, shape: Shape) -> str:
    columns = [f"{bucket_of(f'{row}.{at}', shape.series)} AS bucket"]
    columns += [f"{row}.measure", f"{row}.currency", f"{row}.value"]
    if shape.needs_dimensions:
        columns.append(f"{row}.dim_id")
    if shape.daily:
        columns.append(f"({row}.{at} AT TIME ZONE CAST(:zone AS text))::date AS day")
    return ", ".join(columns)


def _foreign(row: str, shape: Shape) -> str:
    return f"\n  AND {row}.currency NOT IN ('', :currency)" if shape.daily else ""
