"""Counts of distinct people, from facts: they do not add up, so no rollup holds them.

A person counts once in every bucket and every breakdown row in which they have an own visit or
order, so the rows of a breakdown may sum to more than the total.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

from service.kpi.cells import CellKey, Slice
from service.kpi.compile import (
    bucket_of,
    dimension_join,
    filter_condition,
    filter_parameters,
    matches,
)
from service.kpi.formula import Distinct, TermKey, Where

Count = tuple[CellKey, TermKey, int]

_CUSTOMERS = (Distinct.CUSTOMERS, Distinct.FIRST_TIME_CUSTOMERS, Distinct.REPEAT_CUSTOMERS)
_SOURCES = ((Distinct.VISITORS,), _CUSTOMERS)
"""Counts that one statement answers together, in the order of its columns."""

Filtered = tuple[tuple[str, int], ...]


async def read_distinct(
    connection: AsyncConnection, piece: Slice, keys: Iterable[tuple[Distinct, Where]]
) -> list[Count]:
    """Every count of the slice that is not 0."""
    asked = set(keys)
    counts: list[Count] = []
    for where in sorted({where for _, where in asked}):
        for source in _SOURCES:
            wanted = [distinct for distinct in source if (distinct, where) in asked]
            if wanted:
                rows = await _rows(connection, piece, source, where)
                counts += [
                    (cell, (distinct, where), row[source.index(distinct)])
                    for cell, row in rows
                    for distinct in wanted
                ]
    return counts


async def _rows(
    connection: AsyncConnection, piece: Slice, source: tuple[Distinct, ...], where: Where
) -> list[tuple[CellKey, tuple[int, ...]]]:
    values = {
        "site_id": piece.site_id,
        "from": piece.bounds[0],
        "to": piece.bounds[-1],
        "starts": list(piece.bounds[:-1]),
        "ends": list(piece.bounds[1:]),
        **filter_parameters(piece.filters),
        **{f"where_{name}": value for name, value in where},
    }
    filters = tuple((name, len(some)) for name, some in piece.filters)
    names = tuple(name for name, _ in where)
    query = _statement(source is _CUSTOMERS, piece.is_series, piece.by, filters, names)
    rows = await connection.execute(query, values)
    cell = 0 if piece.by is None else 1
    return [(row[cell], tuple(row[2:])) for row in rows]


@lru_cache(maxsize=256)
def _statement(
    customers: bool, series: bool, by: str | None, filters: Filtered, where: tuple[str, ...]
) -> TextClause:
    return text(sql(customers, series, by, filters, where))


def sql(
    customers: bool, series: bool, by: str | None, filters: Filtered, where: tuple[str, ...]
) -> str:
    """The statement that counts customers or visitors; rows are `bucket, label, count, …`."""
    if customers:
        return _customers(series, by, filters, where)
    if by or filters or where:
        return _visitors_by(series, by, filters, where)
    return _VISITORS


# Every visit knows when the one before it began: a visitor counts with their first visit in the
# bucket. This reads an index alone and sorts nothing; each bucket is a span of the index.
_VISITORS = """SELECT b.bucket, '' AS label, c.visitors
FROM unnest(CAST(:starts AS timestamptz[]), CAST(:ends AS timestamptz[]))
    WITH ORDINALITY AS b (start_at, end_at, bucket)
CROSS JOIN LATERAL (
    SELECT count(*) AS visitors
    FROM visit AS v
    WHERE v.site_id = :site_id AND v.started_at >= b.start_at AND v.started_at < b.end_at
      AND (v.previous_at IS NULL OR v.previous_at < b.start_at)
) AS c
WHERE c.visitors > 0"""


def _visitors_by(series: bool, by: str | None, filters: Filtered, where: tuple[str, ...]) -> str:
    bucket = bucket_of("v.started_at", series)
    return (
        "SELECT p.bucket, p.label, count(*) AS visitors\nFROM (\n"
        f"SELECT DISTINCT s.bucket, {_label(by)} AS label, s.visitor\nFROM (\n"
        f"SELECT DISTINCT {bucket} AS bucket, v.visitor, v.dim_id\nFROM visit AS v\n"
        f"{_within('v', 'started_at')}\n) AS s\n{dimension_join('s')}\n"
        f"WHERE {_condition(filters, where)}\n) AS p\nGROUP BY p.bucket, p.label"
    )


def _customers(series: bool, by: str | None, filters: Filtered, where: tuple[str, ...]) -> str:
    bucket = bucket_of("c.occurred_at", series)
    join = f"{dimension_join('c')}\n" if by or filters or where else ""
    return (
        "SELECT p.bucket, p.label, count(*) AS customers,"
        " count(*) FILTER (WHERE p.is_first) AS first_time,"
        " count(*) FILTER (WHERE p.orders >= 2) AS repeat\nFROM (\n"
        f"SELECT {bucket} AS bucket, {_label(by)} AS label, c.customer,"
        " bool_or(c.is_new) AS is_first, sum(c.quantity) AS orders\n"
        f"FROM conversion AS c\n{join}{_within('c', 'occurred_at')}\n"
        "  AND NOT c.refund AND c.customer IS NOT NULL"
        f" AND {_condition(filters, where)}\nGROUP BY 1, 2, 3\n) AS p\nGROUP BY p.bucket, p.label"
    )


def _label(by: str | None) -> str:
    return "''" if by is None else f"coalesce(d.{by}, '')"


def _within(row: str, at: str) -> str:
    return f"WHERE {row}.site_id = :site_id AND {row}.{at} >= :from AND {row}.{at} < :to"


def _condition(filters: Filtered, where: tuple[str, ...]) -> str:
    inside = [matches(name, [f"where_{name}"]) for name in where]
    return " AND ".join([filter_condition(filters), *inside])
