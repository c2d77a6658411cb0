"""Reads the cells of a slice: measures from the tiers, distinct counts from facts."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Any, NamedTuple

from sqlalchemy.ext.asyncio import AsyncConnection

from service.domain.measures import MONEY, Measure
from service.kpi.cells import Cell, CellKey, Cells, Slice
from service.kpi.compile import Shape, parameters, shape_of, statement
from service.kpi.distinct import read_distinct
from service.kpi.formula import Distinct, TermKey, Where
from service.kpi.money import OLDEST_RATE, MissingRate, Rates
from service.kpi.tiers import Cover, cover
from service.store.fx import rates_between


class Sum(NamedTuple):
    """One sum of a measure; `day` is the site-local day, where the statement splits by it."""

    cell: CellKey
    key: TermKey
    currency: str
    day: date | None
    value: int


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
    covered = cover(piece.bounds, piece.zone)
    for row in await _sums(connection, piece, covered, keys, daily=False):
        cell = cells.setdefault(row.cell, Cell())
        if row.currency in {"", piece.currency}:
            cell.add(row.key, row.value)
        else:
            cell.add(row.key, 0)
            foreign[row.currency] = None
    if foreign:
        money = [key for key in keys if key[0] in MONEY]
        sums = await _sums(connection, piece, covered, money, daily=True)
        await _convert(connection, piece, list(foreign), sums, cells)
    return cells


async def _sums(
    connection: AsyncConnection, piece: Slice, covered: Cover, keys: list[TermKey], *, daily: bool
) -> list[Sum]:
    measures = sorted({key[0] for key in keys if isinstance(key[0], Measure)})
    wheres = tuple(sorted({where for _, where in keys}))
    shape = shape_of(
        covered,
        measures,
        series=piece.is_series,
        by=piece.by,
        filters=piece.filters,
        wheres=wheres,
        daily=daily,
    )
    values = parameters(covered, measures, piece.filters, wheres) | {
        "site_id": piece.site_id,
        "starts": list(piece.bounds[:-1]),
        "zone": piece.zone.key,
        "currency": piece.currency,
    }
    rows = await connection.execute(statement(shape), values)
    return _sums_of(rows.all(), shape, frozenset(keys))


def _sums_of(rows: Iterable[Any], shape: Shape, keys: frozenset[TermKey]) -> list[Sum]:
    sums = []
    for bucket, number, currency, *rest in rows:
        day = rest.pop(0) if shape.daily else None
        cell = bucket if shape.by is None else rest.pop(0)
        measure = Measure(number)
        for where, value in zip(shape.wheres, rest, strict=True):
            if (measure, where) in keys:
                sums.append(Sum(cell, (measure, where), currency, day, int(value or 0)))
    return sums


async def _convert(
    connection: AsyncConnection, piece: Slice, foreign: list[str], sums: list[Sum], cells: Cells
) -> None:
    days = [row.day for row in sums if row.day is not None]
    if not days:
        return
    first, last = min(days) - OLDEST_RATE, max(days)
    found = await rates_between(connection, piece.currency, foreign, first, last)
    rates = Rates(piece.currency, found)
    for row in sums:
        if row.day is None or row.value == 0:
            continue
        cell = cells.setdefault(row.cell, Cell())
        rate = rates.at(row.currency, row.day)
        if rate is None:
            cell.lacks(row.key, MissingRate(row.currency, row.day))
        else:
            cell.add(row.key, row.value * rate)
