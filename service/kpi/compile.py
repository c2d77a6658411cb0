"""Compiles what is to be read into one statement: tiers of a window, joined with dimensions.

Every statement has the same parts: month, day and quarter-hour rollups and what is read from facts
(the edges of a window, or all of it), as UNION ALL; summed by bucket, measure and currency. Days
and quarter hours of all dimensions together have rollups of their own. Which dimensions pass a
filter is found out once, and looked up as rows are read; they are joined only for the labels of a
breakdown. Values always travel as parameters, so a few texts serve all windows.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import TextClause, text

from service.domain.dimensions import DIMENSIONS, PRODUCT
from service.domain.measures import Measure
from service.kpi.filters import Filters
from service.kpi.formula import Where
from service.kpi.labels import (
    Form,
    condition,
    filter_parameters,
    forms,
    ids_of,
    joins,
    label_of,
    of_dimensions,
    passing,
    where_condition,
    where_parameters,
)
from service.kpi.tiers import Cover
from service.store.contributions import FACTS, Fact, edge_contributions, facts

_SHIFTS = ("shifts_from", "shifts_to", "shifts_gains", "shifts_loses")


class Variant(NamedTuple):
    """Which contributions of the facts answer for a whole window, see `contributions.facts`."""

    detailed: bool
    horizon: bool
    product: bool


@dataclass(frozen=True, slots=True)
class Shape:
    """What makes two statements differ in their text; everything else is a parameter.

    `days` counts spans of day rollups, beside a span of `months`. `shifts` moves quarter hours
    between the buckets that day rollups are booked in. `variant` reads facts instead of rollups.
    `where` is a filter inside a formula, beside the request's `filters`. `daily` splits amounts of
    other currencies by site-local day. Facts are read for `measures`, and with `moved` for what a
    model moves of them.
    """

    months: bool
    days: int
    quarters: int
    shifts: bool
    edges: int
    facts: tuple[str, ...]
    variant: Variant | None
    series: bool
    by: tuple[str, ...]
    filters: tuple[Form, ...]
    where: Where
    daily: bool
    measures: frozenset[int]
    moved: bool

    @property
    def names(self) -> frozenset[str]:
        """Every dimension whose value tells rows apart."""
        return self.filtered.union(self.by)

    @property
    def filtered(self) -> frozenset[str]:
        """Every dimension of which something is asked."""
        names = {form.name for form in self.filters}
        return frozenset(names.union(name for name, _ in self.where))

    @property
    def joined(self) -> frozenset[str]:
        """Those whose values each row must be joined with."""
        others = (name for name in self.filtered if not of_dimensions(name))
        return frozenset(self.by).union(others)

    @property
    def ids(self) -> tuple[str, ...]:
        """The columns of the rows that those are found by."""
        return ids_of(self.joined)

    @property
    def is_empty(self) -> bool:
        """Whether nothing holds what is asked, so that there is nothing to run."""
        return not (self.months or self.days or self.quarters or (self.edges and self.facts))


def variant_of(names: Collection[str], horizon: int | None) -> Variant | None:
    """The contributions that hold these dimensions; None where rollups do."""
    product = PRODUCT in names
    detailed = not set(names).issubset((*DIMENSIONS, PRODUCT))
    found = Variant(detailed, horizon is not None, product)
    return found if any(found) else None


def shape_of(
    cover: Cover,
    measures: Iterable[Measure],
    *,
    series: bool,
    by: tuple[str, ...],
    filters: Filters,
    where: Where = (),
    daily: bool = False,
    variant: Variant | None = None,
    moved: bool = False,
) -> Shape:
    """The shape of the statement that reads `measures` over a cover."""
    read = frozenset(int(measure) for measure in measures) if cover.edges else frozenset()
    found = [fact.name for fact in _facts(variant) if not fact.measures.isdisjoint(read)]
    # Without dimensions there is one row a day, and amounts of other currencies need their days.
    months = cover.months is not None and bool(by or filters or where) and not daily
    return Shape(
        months=months,
        days=len(cover.around_months()) if months else int(cover.days is not None),
        quarters=len(cover.quarters),
        shifts=bool(cover.shifts),
        edges=len(cover.edges),
        facts=tuple(found),
        variant=variant,
        series=series,
        by=by,
        filters=forms(filters),
        where=where,
        daily=daily,
        measures=read,
        moved=moved and bool(found),
    )


def _facts(variant: Variant | None) -> tuple[Fact, ...]:
    return FACTS if variant is None else facts(**variant._asdict())


def _narrowed(fact: Fact, shape: Shape) -> Fact:
    """The fact without what nobody asks for: a row of it would make many rows for nothing."""
    cases = (
        replace(case, rows=tuple(row for row in case.rows if row[1] in shape.measures))
        for case in fact.cases
    )
    kept = tuple(case for case in cases if case.rows)
    return replace(fact, cases=kept, credited=fact.credited and shape.moved)


# --- Parameters --------------------------------------------------------------------------------


def parameters(
    shape: Shape, cover: Cover, numbers: Iterable[int], filters: Filters
) -> dict[str, Any]:
    """The values that belong to a shape, except `site_id`, `starts`, `zone`, `currency`, `horizon`.

    `numbers` are those of measures, and of what a model moves.
    """
    values: dict[str, Any] = {"measures": [int(number) for number in numbers]}
    months = [cover.months] if shape.months else []
    days = cover.around_months() if shape.months else [cover.days]
    spans = {"months": months, "days": days, "quarters": cover.quarters, "edge": cover.edges}
    for name, some in spans.items():
        for number, span in enumerate(some):
            if span is not None:
                values[f"{name}_{number}_from"], values[f"{name}_{number}_to"] = span
    if cover.shifts:
        columns = map(list, zip(*cover.shifts, strict=True))
        values |= zip(_SHIFTS, columns, strict=True)
    return values | filter_parameters(filters) | where_parameters((shape.where,))


# --- Statements --------------------------------------------------------------------------------


def bucket_of(at: str, series: bool) -> str:
    """Which bucket of `:starts` an instant lies in, from 1; without a series there is one."""
    return f"width_bucket({at}, CAST(:starts AS timestamptz[]))" if series else "1"


@lru_cache(maxsize=512)
def statement(shape: Shape) -> TextClause:
    """The compiled statement.

    Rows are `bucket, measure, currency[, day][, label of each dimension], value`.
    """
    return text(sql(shape))


def sql(shape: Shape) -> str:
    """The text of the statement."""
    summed = _by_label(shape) if shape.joined else _by_key(shape)
    names = passing(shape.filters, shape.where)
    return f"WITH passing AS MATERIALIZED (\n{names}\n)\n{summed}" if names else summed


def _keys(shape: Shape) -> list[str]:
    return ["bucket", "measure", "currency", *(["day"] if shape.daily else [])]


def _by_key(shape: Shape, *ids: str) -> str:
    keys = ", ".join(f"t.{key}" for key in (*_keys(shape), *ids))
    rows = "\nUNION ALL\n".join(_tiers(shape))
    return f"SELECT {keys}, sum(t.value) AS value\nFROM (\n{rows}\n) AS t\nGROUP BY {keys}"


def _by_label(shape: Shape) -> str:
    # One row a combination before the join: far fewer rows have to find their dimensions. In a
    # series there would be one for every bucket, and that costs more than it saves.
    rows = "\nUNION ALL\n".join(_tiers(shape)) if shape.series else _by_key(shape, *shape.ids)
    chosen = [f"s.{key}" for key in _keys(shape)]
    chosen += [f"{label_of(name)} AS label{n or ''}" for n, name in enumerate(shape.by)]
    places = ", ".join(str(place + 1) for place in range(len(chosen)))
    filters = [form for form in shape.filters if not of_dimensions(form.name)]
    where = tuple(pair for pair in shape.where if not of_dimensions(pair[0]))
    lines = [
        f"SELECT {', '.join(chosen)}, sum(s.value) AS value",
        f"FROM (\n{rows}\n) AS s",
        joins("s", shape.joined),
        f"WHERE {condition(filters)}",
        f"  AND {where_condition(where, 0)}" if where else "",
        f"GROUP BY {places}",
    ]
    return "\n".join(line for line in lines if line)


def _tiers(shape: Shape) -> list[str]:
    days, quarters = _tables(shape)
    parts = [_rollup("rollup_month", "months_0", shape)] if shape.months else []
    parts += [_rollup(days, f"days_{n}", shape) for n in range(shape.days)]
    parts += [_rollup(quarters, f"quarters_{n}", shape) for n in range(shape.quarters)]
    parts += [_shifts(quarters, shape)] if shape.shifts else []
    found = [fact for fact in _facts(shape.variant) if fact.name in shape.facts]
    return parts + [_edge(fact, f"edge_{n}", shape) for n in range(shape.edges) for fact in found]


def _tables(shape: Shape) -> tuple[str, str]:
    """Days and quarter hours, by dimensions or of all together."""
    if shape.names:
        return "rollup_day", "rollup_quarter"
    return "rollup_total", "rollup_total_quarter"


def _rollup(table: str, span: str, shape: Shape) -> str:
    bucket = bucket_of("r.bucket", shape.series)
    return (
        f"SELECT {bucket} AS bucket, {_columns('r', 'bucket', shape)}\nFROM {table} AS r\n"
        "WHERE r.site_id = :site_id AND r.measure = ANY(CAST(:measures AS smallint[]))\n"
        f"  AND r.bucket >= :{span}_from AND r.bucket < :{span}_to{_only('r', shape)}"
    )


def _shifts(table: str, shape: Shape) -> str:
    """Quarter hours that the days of the site book in one bucket, and that belong to another."""
    keys = [*shape.ids, *(["day"] if shape.daily else [])]
    moved = ", ".join(["q.currency", "q.value * v.sign", *(f"q.{key}" for key in keys)])
    grouped = ["r.currency", *(f"r.{name}" for name in shape.ids)]
    grouped += [_day("r.bucket")] if shape.daily else []
    places = ", ".join(str(place + 1) for place in range(len(grouped)))
    return (
        f"SELECT v.bucket, m.measure, {moved}\n"
        "FROM unnest(CAST(:shifts_from AS timestamptz[]), CAST(:shifts_to AS timestamptz[]),\n"
        "  CAST(:shifts_gains AS integer[]), CAST(:shifts_loses AS integer[]))"
        " AS c (start_at, end_at, gains, loses)\n"
        "CROSS JOIN unnest(CAST(:measures AS smallint[])) AS m (measure)\nCROSS JOIN LATERAL (\n"
        f"SELECT {', '.join(grouped)}, sum(r.value) AS value\nFROM {table} AS r\n"
        "WHERE r.site_id = :site_id AND r.measure = m.measure\n"
        f"  AND r.bucket >= c.start_at AND r.bucket < c.end_at{_only('r', shape)}\n"
        f"GROUP BY {places}\n) AS q\n"
        "CROSS JOIN LATERAL (VALUES (c.gains, 1), (c.loses, -1)) AS v (bucket, sign)"
    )


def _edge(fact: Fact, span: str, shape: Shape) -> str:
    facts = re.sub(r":lo\b", f":{span}_from", edge_contributions(_narrowed(fact, shape)))
    facts = re.sub(r":hi\b", f":{span}_to", facts)
    bucket = bucket_of("e.at", shape.series)
    return (
        f"SELECT {bucket} AS bucket, {_columns('e', 'at', shape)}\nFROM (\n{facts}\n) AS e\n"
        f"WHERE e.measure = ANY(CAST(:measures AS smallint[])){_only('e', shape)}"
    )


def _columns(row: str, at: str, shape: Shape) -> str:
    columns = [f"{row}.{name}" for name in ("measure", "currency", "value", *shape.ids)]
    return ", ".join([*columns, *([_day(f"{row}.{at}")] if shape.daily else [])])


def _day(at: str) -> str:
    return f"({at} AT TIME ZONE CAST(:zone AS text))::date AS day"


def _only(row: str, shape: Shape) -> str:
    """The conditions on each row before any is joined or summed."""
    parts = [f"{row}.currency NOT IN ('', :currency)"] if shape.daily else []
    if any(map(of_dimensions, shape.filtered)):
        # IS TRUE keeps it a look into a hash table for each row as it is read; a join would come
        # after all rows have been read.
        parts.append(f"({row}.dim_id IN (SELECT p.dim_id FROM passing AS p)) IS TRUE")
    return "".join(f"\n  AND {part}" for part in parts)
