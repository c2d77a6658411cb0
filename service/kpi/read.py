"""Reads the cells of a slice: measures from the tiers, distinct counts from facts."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from datetime import date, timedelta
from fractions import Fraction
from typing import Any, NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from service.domain.dimensions import DETAILS, DIMENSIONS
from service.domain.measures import MONEY, Measure
from service.domain.models import CREDITED, MOVED, Model, moved, unmoved
from service.kpi.cells import Cell, CellKey, Cells, Slice
from service.kpi.compile import parameters, shape_of, statement, variant_of
from service.kpi.distinct import read_distinct
from service.kpi.formula import Distinct, TermKey, Where
from service.kpi.money import OLDEST_RATE, MissingRate, Rates
from service.kpi.run import FEW_DAYS, FEW_FACTS, FEW_QUARTERS, run
from service.kpi.tiers import Cover, cover, facts_alone
from service.store.fx import RATES_BETWEEN, FxRate

TOUCHED = frozenset({*DIMENSIONS, *DETAILS})
"""Dimensions of touches: only between their values a model moves credit."""


class Sum(NamedTuple):
    """One sum of a measure; `day` is the site-local day, where the statement splits by it."""

    cell: CellKey
    key: TermKey
    currency: str
    day: date | None
    value: int | Fraction


async def read(connection: AsyncConnection, piece: Slice, keys: Iterable[TermKey]) -> Cells:
    """The cells of a slice in which anything was found, with everything that `keys` name."""
    measured: list[TermKey] = []
    distinct: list[tuple[Distinct, Where]] = []
    for quantity, where in sorted(keys, key=lambda key: (str(key[0]), key[1])):
        if isinstance(quantity, Measure):
            measured.append((quantity, where))
        else:
            distinct.append((quantity, where))
    cells = await _read_measures(connection, piece, measured) if measured else {}
    for cell, key, count in await read_distinct(connection, piece, distinct):
        cells.setdefault(cell, Cell()).add(key, count)
    return cells


async def _read_measures(connection: AsyncConnection, piece: Slice, keys: list[TermKey]) -> Cells:
    cells: Cells = {}
    foreign: dict[str, None] = {}
    for row in await _sums(connection, piece, keys, daily=False):
        cell = cells.setdefault(row.cell, Cell())
        if row.currency in {"", piece.currency}:
            cell.add(row.key, row.value)
        else:
            cell.add(row.key, 0)
            foreign[row.currency] = None
    if foreign:
        money = [key for key in keys if key[0] in MONEY]
        sums = await _sums(connection, piece, money, daily=True)
        await _convert(connection, piece, list(foreign), sums, cells)
    return cells


async def _sums(
    connection: AsyncConnection, piece: Slice, keys: Iterable[TermKey], *, daily: bool
) -> list[Sum]:
    by_where: dict[Where, list[Measure]] = {}
    for quantity, where in keys:
        if isinstance(quantity, Measure):
            by_where.setdefault(where, []).append(quantity)
    found = []
    for where, measures in by_where.items():
        found += await _sums_where(connection, piece, where, measures, daily=daily)
    return found


async def _sums_where(
    connection: AsyncConnection,
    piece: Slice,
    where: Where,
    measures: list[Measure],
    *,
    daily: bool,
) -> list[Sum]:
    """What a formula's own filter leaves of some measures.

    Each filter is a statement of its own, as one without any can do with fewer rows.
    """
    names = piece.names_with((where,))
    variant = variant_of(names, piece.horizon)
    covered = facts_alone(piece.bounds) if variant else cover(piece.bounds, piece.zone)
    movable = _movable(measures, piece.model, names)
    shape = shape_of(
        covered,
        measures,
        series=piece.is_series,
        by=piece.by,
        filters=piece.filters,
        where=where,
        daily=daily,
        variant=variant,
        moved=bool(movable),
    )
    if shape.is_empty:
        return []
    values = parameters(shape, covered, [*measures, *movable], piece.filters) | {
        "site_id": piece.site_id,
        "starts": list(covered.starts or piece.bounds[:-1]),
        "zone": piece.zone.key,
        "currency": piece.currency,
        "horizon": piece.horizon,
    }
    rows = await run(connection, statement(shape), values, guarded=_is_heavy(covered))
    return list(_sums_of(rows, where, daily=daily))


def _movable(measures: list[Measure], model: Model, names: Collection[str]) -> list[int]:
    """The stored numbers of what the model moves among touches.

    They sum to 0 where nothing tells touches apart, and are not read then.
    """
    if model is Model.LAST_NON_DIRECT or TOUCHED.isdisjoint(names):
        return []
    return [moved(measure, model) for measure in measures if measure in CREDITED]


def _is_heavy(covered: Cover) -> bool:
    """Whether so much may be read that it must be looked at first."""
    days = [] if covered.days is None else [covered.days]
    tiers = ((covered.edges, FEW_FACTS), (covered.quarters, FEW_QUARTERS), (days, FEW_DAYS))
    return any(
        sum((span.end - span.start for span in spans), timedelta()) > few for spans, few in tiers
    )


def _sums_of(rows: Iterable[Any], where: Where, *, daily: bool) -> Iterator[Sum]:
    meanings: dict[int, tuple[TermKey, bool]] = {}
    first = 4 if daily else 3
    for row in rows:
        number, value = row[1], row[-1]
        if number not in meanings:
            measure, model = unmoved(number)
            # Counts that a model moves are in millionths.
            whole = model is Model.LAST_NON_DIRECT or measure in MONEY
            meanings[number] = (measure, where), whole
        key, whole = meanings[number]
        exact = int(value) if whole else Fraction(int(value), MOVED)
        day = row[3] if daily else None
        yield Sum(row[first:-1] or row[0], key, row[2], day, exact)


async def _convert(
    connection: AsyncConnection, piece: Slice, foreign: list[str], sums: list[Sum], cells: Cells
) -> None:
    days = [row.day for row in sums if row.day is not None]
    if not days:
        return
    first, last = min(days) - OLDEST_RATE, max(days)
    pairs = {"currency": piece.currency, "currencies": foreign, "first": first, "last": last}
    found = await run(connection, RATES_BETWEEN, pairs)
    rates = Rates(piece.currency, (FxRate._make(row) for row in found))
    for row in _together(sums):
        if row.day is None or row.value == 0:
            continue
        cell = cells.setdefault(row.cell, Cell())
        rate = rates.at(row.currency, row.day)
        if rate is None:
            cell.lacks(row.key, MissingRate(row.currency, row.day))
        else:
            cell.add(row.key, row.value * rate)


def _together(sums: Iterable[Sum]) -> Iterator[Sum]:
    """What a model moves away leaves nothing that would need a rate."""
    by_day: dict[Sum, int | Fraction] = {}
    for row in sums:
        day = row._replace(value=0)
        by_day[day] = by_day.get(day, 0) + row.value
    return (day._replace(value=value) for day, value in by_day.items())
