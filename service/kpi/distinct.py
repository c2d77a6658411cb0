"""Counts of distinct people: they do not add up, so no sum of measures holds them.

A person counts once in every bucket and every breakdown row in which they have an own visit, order
or answer, so the rows of a breakdown may sum to more than the total.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy.ext.asyncio import AsyncConnection

from service.kpi import customers, respondents, visitors
from service.kpi.cells import CellKey, Slice
from service.kpi.formula import Distinct, TermKey, Where
from service.kpi.labels import filter_parameters, where_parameters
from service.kpi.run import run

Count = tuple[CellKey, TermKey, int]

_ALONE = ((Distinct.VISITORS, visitors.query), (Distinct.RESPONDENTS, respondents.query))
"""Counts that take a statement of their own."""


async def read_distinct(
    connection: AsyncConnection, piece: Slice, keys: Iterable[tuple[Distinct, Where]]
) -> list[Count]:
    """Every count of the slice that is not 0."""
    asked = set(keys)
    counts: list[Count] = []
    for where in sorted({where for _, where in asked}):
        wanted = {distinct for distinct, its in asked if its == where}
        for one, query in _ALONE:
            if one in wanted:
                found = query(piece, where)
                counts += await _counts(connection, piece, where, (one,), found)
        for some in customers.together(piece, where, wanted):
            counts += await _counts(
                connection, piece, where, some, customers.query(piece, where, some)
            )
    return counts


async def _counts(
    connection: AsyncConnection,
    piece: Slice,
    where: Where,
    distinct: tuple[Distinct, ...],
    query: visitors.Query,
) -> list[Count]:
    values = {**_values(piece, where), **query.values}
    rows = await run(connection, query.statement, values, guarded=query.heavy)
    labels = slice(1, 1 + len(piece.by))
    return [
        (tuple(row[labels]) or row[0], (one, where), int(count))
        for row in rows
        for one, count in zip(distinct, row[labels.stop :], strict=True)
        if count
    ]


def _values(piece: Slice, where: Where) -> dict[str, Any]:
    return {
        "site_id": piece.site_id,
        "from": piece.bounds[0],
        "to": piece.bounds[-1],
        "starts": list(piece.bounds[:-1]),
        "ends": list(piece.bounds[1:]),
        "horizon": piece.horizon,
        **filter_parameters(piece.filters),
        **where_parameters((where,)),
    }
