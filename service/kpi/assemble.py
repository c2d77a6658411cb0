"""Makes an answer out of what was found: figures, their uncertainty, parts and comparison."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from fractions import Fraction
from itertools import pairwise

from service.domain.models import CREDITED
from service.errors import InvalidError
from service.kpi.answer import (
    Answer,
    Comparison,
    Number,
    Point,
    Rest,
    Row,
    published,
    published_term,
)
from service.kpi.cells import Cell, CellKey, sum_of
from service.kpi.compute import Figure, Reason, computer, figure, filled, missing_rates
from service.kpi.definition import Kpi
from service.kpi.find import Found, Whole
from service.kpi.formula import Distinct, Formula, Quantity
from service.kpi.freshness import Cohort, cohort, provisional
from service.kpi.intervals import Interval
from service.kpi.noise import Sample, beyond_noise
from service.kpi.plan import Asked, Period, Plan
from service.kpi.uncertainty import flags, interval

_NOTHING = Fraction(0)
MOST_ROWS = 10_000
"""A breakdown with more rows is refused: half of one would not add up."""

Unknown = Collection[Quantity]


def assembled(asked: Plan, one: Asked, found: Found, unknown: Unknown, as_of: datetime) -> Answer:
    """The answer for one KPI of the plan."""
    formula, total = one.formula, found.now.total
    sample = _sample(found.period, formula, found.now, unknown)
    computed = sample.figure
    breakdown, rest = _breakdown(asked, one, found, unknown)
    window = found.period.window
    grown = cohort(window, as_of, asked.horizon) if one.view == "cohort" else None
    return Answer(
        kpi=one.kpi,
        formula=formula,
        view=one.view,
        window=window,
        currency=asked.currency if formula.has_money else None,
        model=asked.model if any(key[0] in CREDITED for key in formula.keys) else None,
        figure=computed,
        interval=interval(formula, total, computed, sample.days, bounded=one.kpi.bounded),
        flags=flags(one.kpi, formula, computed, sample.days),
        missing=sorted(missing_rates(formula, total)),
        also={
            kpi.id: published(kpi, figure(visible, total, unknown).value)
            for kpi, visible in one.also
        },
        terms=_terms(formula, total, unknown),
        comparison=_comparison(one, found, sample, unknown, grown),
        series=_series(one, found, sample, unknown),
        by=asked.by,
        breakdown=breakdown,
        rest=rest,
        provisional=provisional(window.end, as_of, asked.site.rules.late_hours),
        cohort=grown,
        as_of=as_of,
    )


def _sample(period: Period, formula: Formula, whole: Whole, unknown: Unknown) -> Sample:
    days = None
    if whole.days is not None and period.needs_days(formula):
        days = list(map(computer(formula, unknown), whole.days))
    return Sample(figure(formula, whole.total, unknown), whole.total, days)


def _terms(formula: Formula, total: Cell, unknown: Unknown) -> list[tuple[str, Number]]:
    keys = sorted(formula.keys, key=lambda key: (str(key[0]), key[1]))
    return [published_term(key, None if key[0] in unknown else total) for key in keys]


def _comparison(
    one: Asked, found: Found, now: Sample, unknown: Unknown, grown: Cohort | None
) -> Comparison | None:
    if found.period.before is None or found.before is None:
        return None
    before = _sample(found.period, one.formula, found.before, unknown)
    noise = None
    # Of two cohorts the older one had more time: that is no chance.
    if grown is None or grown.complete:
        noise = beyond_noise(one.kpi, one.formula, now, before)
    return Comparison(found.period.before, before.figure, noise)


def _series(one: Asked, found: Found, now: Sample, unknown: Unknown) -> list[Point] | None:
    if found.series is None:
        return None
    spans = list(pairwise(found.period.bounds))
    cells = [found.series.get(bucket, Cell()) for bucket in range(1, len(spans) + 1)]
    # Buckets and days both cut the window: where there are as many, they are the same.
    figures = now.days if now.days is not None and len(now.days) == len(spans) else None
    if figures is None:
        figures = list(map(computer(one.formula, unknown), cells))
    return [
        Point(start, end, computed, _of_part(one.kpi, one.formula, cell, computed))
        for (start, end), cell, computed in zip(spans, cells, figures, strict=True)
    ]


def _breakdown(
    asked: Plan, one: Asked, found: Found, unknown: Unknown
) -> tuple[list[Row] | None, Rest | None]:
    if found.breakdown is None:
        return None, None
    formula = one.formula
    cells = filled(formula, found.breakdown)
    if asked.top is None and len(cells) > MOST_ROWS:
        raise InvalidError(
            f"The breakdown has {len(cells)} rows, and may have {MOST_ROWS}; ask for the largest"
            " with top=, choose a shorter window, or filter with where=.",
            code="too_many_rows",
            field="by",
        )
    compute = computer(formula, unknown)
    rows = [_row(one, label, cell, compute(cell)) for label, cell in cells.items()]
    total = compute(found.now.total)
    by_denominator = abs(total.denominator or _NOTHING) > abs(total.numerator or _NOTHING)
    rows.sort(key=lambda row: (-_size(row, by_denominator=by_denominator), row.labels))
    if asked.top is None or len(rows) <= asked.top:
        return rows, None
    others = [cells[row.labels] for row in rows[asked.top :]]
    return rows[: asked.top], _rest(one, others, unknown)


def _row(one: Asked, label: CellKey, cell: Cell, computed: Figure) -> Row:
    labels = label if isinstance(label, tuple) else (str(label),)
    return Row(labels, computed, _of_part(one.kpi, one.formula, cell, computed))


def _rest(one: Asked, cells: Collection[Cell], unknown: Unknown) -> Rest:
    if any(isinstance(quantity, Distinct) for quantity, _ in one.formula.keys):
        # The same people may be in several of the rows.
        return Rest(len(cells), Figure(None, Reason.NOT_ADDITIVE, None, None), None)
    total = sum_of(cells)
    computed = figure(one.formula, total, unknown)
    return Rest(len(cells), computed, _of_part(one.kpi, one.formula, total, computed))


def _of_part(kpi: Kpi, formula: Formula, cell: Cell, computed: Figure) -> Interval | None:
    return interval(formula, cell, computed, None, bounded=kpi.bounded)


def _size(row: Row, *, by_denominator: bool) -> float:
    side = row.figure.denominator if by_denominator else row.figure.numerator
    size = row.figure.value if side is None else side  # what is derived has no sides
    return -1.0 if size is None else float(abs(size))
