"""The KPI engine: a question in, exact answers out, all from one snapshot of the database."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from itertools import pairwise

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from service.domain.access import Site
from service.errors import InvalidError
from service.kit.clock import Clock
from service.kpi.answer import Answer, Comparison, Point, Row, published
from service.kpi.catalogue import Catalogue
from service.kpi.cells import Cell, Cells, Slice, sum_of
from service.kpi.compute import figure, flags, interval, is_absent, missing_rates
from service.kpi.evidence import unknown_quantities
from service.kpi.formula import Distinct, Quantity, TermKey
from service.kpi.plan import Asked, Period, Plan, plan, wait_seconds
from service.kpi.query import KpiQuery
from service.kpi.read import read
from service.store.engine import reading
from service.store.freshness import wait_until_projected

_NOTHING = Fraction(0)
MOST_ROWS = 10_000
"""A breakdown with more rows is refused: half of one would not add up."""


@dataclass(frozen=True, slots=True)
class Found:
    """What was read for one period; `before` is the total of the window compared with."""

    period: Period
    total: Cell
    series: Cells | None
    breakdown: Cells | None
    before: Cell | None


class KpiEngine:
    """Answers questions about the KPIs of a catalogue.

    `read_wait_seconds` is how long an answer waits, by default, for what was committed before the
    question to be projected.
    """

    def __init__(
        self, engine: AsyncEngine, catalogue: Catalogue, clock: Clock, read_wait_seconds: float
    ) -> None:
        self._engine = engine
        self.catalogue = catalogue
        self._clock = clock
        self._read_wait_seconds = read_wait_seconds

    async def answer(self, site: Site, query: KpiQuery) -> list[Answer]:
        """One answer for each KPI of the query, in its order.

        Raises NotFoundError for an unknown KPI, InvalidError for what cannot be answered.
        """
        asked = plan(self.catalogue, site, query, self._clock.now())
        wait = wait_seconds(query, self._read_wait_seconds)
        as_of = await wait_until_projected(self._engine, site.id, wait, self._clock)
        async with reading(self._engine) as connection:
            found = [await _find(connection, asked, period) for period in asked.periods]
            unknown = await _unknown(connection, asked, found)
        answers = {
            one.kpi.id: _answer(asked, one, result, unknown, as_of)
            for result in found
            for one in result.period.asked
        }
        return [answers[one.kpi.id] for one in asked.order]


async def _find(connection: AsyncConnection, asked: Plan, period: Period) -> Found:
    keys = period.keys
    whole = (period.window.start, period.window.end)
    series = breakdown = before = None
    if asked.grain is not None:
        series = await read(connection, _slice(asked, period.bounds), keys)
    if asked.by is not None:
        breakdown = await read(connection, _slice(asked, whole, asked.by), keys)
    parts = series if series is not None else breakdown
    if parts is None:
        total = only_cell(await read(connection, _slice(asked, whole), keys))
    else:
        total = sum_of(parts.values())
        await _add_distinct(connection, _slice(asked, whole), keys, total)
    if period.before is not None:
        span = (period.before.start, period.before.end)
        before = only_cell(await read(connection, _slice(asked, span), keys))
    return Found(period, total, series, breakdown, before)


def only_cell(cells: Cells) -> Cell:
    """The one cell of a window that is not cut; an empty one where nothing was found."""
    return next(iter(cells.values()), Cell())


async def _add_distinct(
    connection: AsyncConnection, piece: Slice, keys: Collection[TermKey], total: Cell
) -> None:
    distinct = [key for key in keys if isinstance(key[0], Distinct)]
    if distinct:
        total.amounts |= only_cell(await read(connection, piece, distinct)).amounts


def _slice(asked: Plan, bounds: tuple[datetime, ...], by: str | None = None) -> Slice:
    return Slice(asked.site_id, asked.zone, bounds, by, asked.filters, asked.currency)


async def _unknown(
    connection: AsyncConnection, asked: Plan, found: Collection[Found]
) -> frozenset[Quantity]:
    """Quantities that the site never counts; what was found in a window needs no second look."""
    seen = {quantity for result in found for quantity, _ in result.total.amounts}
    wanted = {quantity for period in asked.periods for quantity, _ in period.keys}
    unseen = wanted - seen
    return await unknown_quantities(connection, asked.site_id, unseen) if unseen else frozenset()


def _answer(
    asked: Plan,
    one: Asked,
    found: Found,
    unknown: Collection[Quantity],
    as_of: datetime,
) -> Answer:
    formula, total = one.formula, found.total
    computed = figure(formula, total, unknown)
    return Answer(
        kpi=one.kpi,
        formula=formula,
        view=one.view,
        window=found.period.window,
        currency=asked.currency if formula.has_money else None,
        figure=computed,
        interval=interval(formula, total, computed),
        flags=flags(one.kpi, formula, computed),
        missing=sorted(missing_rates(formula, total)),
        also={
            kpi.id: published(kpi, figure(kpi.views[kpi.default_view], total, unknown).value)
            for kpi in one.also
        },
        comparison=_comparison(one, found, unknown),
        series=_series(one, found, unknown),
        by=asked.by,
        breakdown=_breakdown(one, found, unknown),
        as_of=as_of,
    )


def _comparison(one: Asked, found: Found, unknown: Collection[Quantity]) -> Comparison | None:
    if found.period.before is None or found.before is None:
        return None
    return Comparison(found.period.before, figure(one.formula, found.before, unknown))


def _series(one: Asked, found: Found, unknown: Collection[Quantity]) -> list[Point] | None:
    if found.series is None:
        return None
    empty = Cell()
    return [
        Point(start, end, figure(one.formula, found.series.get(bucket, empty), unknown))
        for bucket, (start, end) in enumerate(pairwise(found.period.bounds), start=1)
    ]


def _breakdown(one: Asked, found: Found, unknown: Collection[Quantity]) -> list[Row] | None:
    if found.breakdown is None:
        return None
    rows = [
        Row(str(label), figure(one.formula, cell, unknown))
        for label, cell in found.breakdown.items()
        if not is_absent(one.formula, cell)
    ]
    if len(rows) > MOST_ROWS:
        raise InvalidError(
            f"The breakdown has {len(rows)} rows, and may have {MOST_ROWS};"
            " choose a shorter window, or filter with where=.",
            code="too_many_rows",
            field="by",
        )
    total = figure(one.formula, found.total, unknown)
    by_denominator = abs(total.denominator or _NOTHING) > abs(total.numerator or _NOTHING)
    return sorted(rows, key=lambda row: (-_size(row, by_denominator=by_denominator), row.label))


def _size(row: Row, *, by_denominator: bool) -> float:
    side = row.figure.denominator if by_denominator else row.figure.numerator
    return float(abs(side)) if side is not None else -1.0
