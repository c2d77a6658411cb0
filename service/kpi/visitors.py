"""Distinct visitors: from rollups, from the chain of visits, or by sorting them out.

The ways are tried in the order of `WAYS`; all give the same count.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import timedelta
from functools import lru_cache
from itertools import pairwise
from typing import Any, NamedTuple

from sqlalchemy import TextClause, text

from service.domain.measures import Measure
from service.kpi.cells import Slice
from service.kpi.compile import Shape, bucket_of, parameters, shape_of, sql
from service.kpi.formula import Where
from service.kpi.labels import Form, aliases, condition, forms, joins, label_of, where_condition
from service.kpi.recency import days_of, months_of
from service.kpi.run import FEW_FACTS
from service.kpi.tiers import cover
from service.kpi.zones import is_clean_midnight
from service.store.columns import AGAIN
from service.store.recency import CAMPAIGN, VISITOR

SHORTEST_OF_PIECES = timedelta(days=7)
"""A window from which it is worth looking up what follows the visits of the day that it cuts."""

LONGEST_OF_REPEATS = timedelta(hours=25)
"""A bucket up to which `AGAIN` holds for every visit that follows another one in it."""

_OF_CAMPAIGN = {"campaign"}


class Query(NamedTuple):
    """A statement with the values of its own; `heavy` when it may read many facts."""

    statement: TextClause
    values: dict[str, Any]
    heavy: bool


class Chain(NamedTuple):
    """Visits that follow each other: a visitor's, or only those with the same campaign."""

    scope: int
    previous: str

    @property
    def has_dimensions(self) -> bool:
        """Whether its visits are told apart by dimensions."""
        return self.scope == CAMPAIGN


OF_VISITOR = Chain(VISITOR, "previous_at")
OF_CAMPAIGN = Chain(CAMPAIGN, "campaign_previous_at")


class Cut(NamedTuple):
    """How people are told apart: by dimensions, those that pass the filters."""

    by: tuple[str, ...]
    filters: tuple[Form, ...]
    where: Where

    @property
    def names(self) -> frozenset[str]:
        """Every dimension used."""
        used = {*self.by, *(form.name for form in self.filters)}
        return frozenset(used.union(name for name, _ in self.where))

    @property
    def labels(self) -> str:
        """The labels as columns that a comma follows."""
        return "".join(f"{label_of(name)} AS label_{n}, " for n, name in enumerate(self.by))

    @property
    def columns(self) -> str:
        """The same columns by name."""
        return "".join(f"p.label_{n}, " for n in range(len(self.by)))

    @property
    def condition(self) -> str:
        """What has to hold for a row."""
        parts = [condition(self.filters)] if self.filters else []
        parts += [where_condition(self.where, 0)] if self.where else []
        return " AND ".join(parts) or "true"


def query(piece: Slice, where: Where) -> Query:
    """The fastest statement that is exact; rows are `bucket, labels …, visitors`."""
    cut = Cut(piece.by, forms(piece.filters), where)
    found = (way(piece, cut) for way in WAYS)
    return next(one for one in found if one is not None)


# --- The ways ------------------------------------------------------------------------------------


def _by_days(piece: Slice, cut: Cut) -> Query | None:
    """Everything from the rollup: buckets of whole days."""
    if cut.names or not all(is_clean_midnight(at, piece.zone) for at in piece.bounds):
        return None
    return Query(_days_statement(), {}, heavy=False)


def _by_pieces(piece: Slice, cut: Cut) -> Query | None:
    """One long window: the rollup, mended at both ends."""
    chain = _chain(piece, cut)
    if chain is None or piece.is_series:
        return None
    start, end = piece.bounds
    cover = months_of if chain.has_dimensions else days_of
    pieces = cover(start, end, piece.zone)
    if pieces is None or pieces.whole.end - pieces.whole.start < SHORTEST_OF_PIECES:
        return None
    signs = tuple(edge.sign for edge in pieces.edges)
    statement = _pieces_statement(chain, cut, signs, pieces.cut.sign if pieces.cut else "")
    return Query(statement, pieces.values, heavy=pieces.mended > 2 * FEW_FACTS)


def _by_repeats(piece: Slice, cut: Cut) -> Query | None:
    """All visits of a day or less, but for those that follow one in the same bucket."""
    longest = max(end - start for start, end in pairwise(piece.bounds))
    if cut.names or longest > LONGEST_OF_REPEATS:
        return None
    covered = cover(piece.bounds, piece.zone)
    if not (covered.days or covered.quarters):
        return None
    series, visits = piece.is_series, (Measure.VISITS,)
    shape = shape_of(covered, visits, series=series, by=(), filters=())
    values = parameters(shape, covered, visits, ()) | {
        "starts": list(covered.starts or piece.bounds[:-1]),
        "begins": list(piece.bounds[:-1]),
    }
    return Query(_repeats_statement(shape), values, _span(piece) > FEW_FACTS)


def _by_chain(piece: Slice, cut: Cut) -> Query | None:
    """The visits of each bucket whose predecessor began before it."""
    chain = _chain(piece, cut)
    if chain is None:
        return None
    return Query(_chain_statement(chain, cut), {}, _span(piece) > FEW_FACTS)


def _by_sorting(piece: Slice, cut: Cut) -> Query:
    """All visitors of all visits, each once."""
    statement = _sorting_statement(cut, piece.is_series)
    return Query(statement, {}, _span(piece) > FEW_FACTS)


WAYS: tuple[Callable[[Slice, Cut], Query | None], ...] = (
    _by_days,
    _by_pieces,
    _by_repeats,
    _by_chain,
    _by_sorting,
)


def _chain(piece: Slice, cut: Cut) -> Chain | None:
    """The chain in which a visitor counts once in every row; None where there is no such."""
    if not cut.names:
        return OF_VISITOR
    if cut.names == _OF_CAMPAIGN and (cut.by or _names_one(piece, cut.where)):
        return OF_CAMPAIGN
    return None


def _names_one(piece: Slice, where: Where) -> bool:
    """Whether filters let exactly one campaign through."""
    sets = [] if not where else [(1, 0, False)]
    sets += [(len(c.values), len(c.prefixes), c.negated) for c in piece.filters]
    return sets == [(1, 0, False)]


def _span(piece: Slice) -> timedelta:
    return piece.bounds[-1] - piece.bounds[0]


# --- Statements ----------------------------------------------------------------------------------


def _buckets(starts: str) -> str:
    return (
        f"unnest(CAST(:{starts} AS timestamptz[]), CAST(:ends AS timestamptz[]))\n"
        "    WITH ORDINALITY AS b (start_at, end_at, bucket)"
    )


BUCKETS = _buckets("starts")
"""The buckets of a series as rows `b`."""


@lru_cache(maxsize=1)
def _days_statement() -> TextClause:
    return text(f"""SELECT b.bucket, c.visitors
FROM {BUCKETS}
CROSS JOIN LATERAL (
    SELECT sum(r.value)::bigint AS visitors
    FROM rollup_recency AS r
    WHERE r.site_id = :site_id AND r.scope = {VISITOR}
      AND r.bucket >= b.start_at AND r.bucket < b.end_at AND r.previous < b.start_at
) AS c
WHERE c.visitors > 0""")


@lru_cache(maxsize=64)
def _pieces_statement(chain: Chain, cut: Cut, signs: tuple[str, ...], across: str) -> TextClause:
    """`signs` are those of the edges, `across` that of what follows the cut, if there is one."""
    parts = [_whole(chain), *(_edge(chain, f"edge_{n}", sign) for n, sign in enumerate(signs))]
    parts += [_across(chain, across)] if across else []
    rows = "\nUNION ALL\n".join(parts)
    if not chain.has_dimensions:
        return text(
            f"SELECT 1 AS bucket, sum(s.visitors)::bigint AS visitors\nFROM (\n{rows}\n) AS s\n"
            "HAVING sum(s.visitors) > 0"
        )
    return text(_labelled("1", rows, cut))


@lru_cache(maxsize=64)
def _repeats_statement(shape: Shape) -> TextClause:
    """`:starts` are where the rollups book what lies in a bucket, `:begins` where it begins."""
    return text(f"""SELECT s.bucket, sum(s.visits)::bigint AS visitors
FROM (
SELECT t.bucket, t.value AS visits
FROM (
{sql(shape)}
) AS t
UNION ALL
SELECT b.bucket, -c.visits
FROM {_buckets("begins")}
CROSS JOIN LATERAL (
    SELECT count(*) AS visits
    FROM visit AS v
    WHERE v.site_id = :site_id AND v.started_at >= b.start_at AND v.started_at < b.end_at
      AND v.previous_at >= b.start_at AND {AGAIN}
) AS c
) AS s
GROUP BY s.bucket
HAVING sum(s.visits) > 0""")


@lru_cache(maxsize=64)
def _chain_statement(chain: Chain, cut: Cut) -> TextClause:
    dim, group = ("v.dim_id, ", "\n    GROUP BY v.dim_id") if chain.has_dimensions else ("", "")
    rows = f"""SELECT b.bucket, c.*
FROM {BUCKETS}
CROSS JOIN LATERAL (
    SELECT {dim}count(*) AS visitors
    FROM visit AS v
    WHERE v.site_id = :site_id AND v.started_at >= b.start_at AND v.started_at < b.end_at
      AND (v.{chain.previous} IS NULL OR v.{chain.previous} < b.start_at){group}
) AS c
WHERE c.visitors > 0"""
    return text(_labelled("s.bucket", rows, cut) if chain.has_dimensions else rows)


def _labelled(bucket: str, rows: str, cut: Cut) -> str:
    places = ", ".join(str(place) for place in range(1, 2 + len(cut.by)))
    return (
        f"SELECT {bucket} AS bucket, {cut.labels}sum(s.visitors)::bigint AS visitors\n"
        f"FROM (\n{rows}\n) AS s\n{joins('s', cut.names)}\nWHERE {cut.condition}\n"
        f"GROUP BY {places}\nHAVING sum(s.visitors) > 0"
    )


def _grouped(row: str, chain: Chain) -> tuple[str, str]:
    if not chain.has_dimensions:
        return "", ""
    return f"{row}.dim_id, ", f"\nGROUP BY {row}.dim_id"


def _whole(chain: Chain) -> str:
    dim, group = _grouped("r", chain)
    return (
        f"SELECT {dim}sum(r.value) AS visitors\nFROM rollup_recency AS r\n"
        f"WHERE r.site_id = :site_id AND r.scope = {chain.scope}\n"
        "  AND r.bucket >= :whole_from AND r.bucket < :whole_to"
        f" AND r.previous < :known_before{group}"
    )


def _edge(chain: Chain, span: str, sign: str) -> str:
    dim, group = _grouped("v", chain)
    return (
        f"SELECT {dim}{sign}count(*) AS visitors\nFROM visit AS v\n"
        f"WHERE v.site_id = :site_id AND v.started_at >= :{span}_from"
        f" AND v.started_at < :{span}_to\n"
        f"  AND (v.{chain.previous} IS NULL OR v.{chain.previous} < :from){group}"
    )


def _across(chain: Chain, sign: str) -> str:
    """Visits of the whole days or months that follow one in the cut of the window's first day.

    A day's visits are looked up one by one; by (visitor, started_at), which one index knows.
    """
    dim, group = _grouped("n", chain)
    return f"""SELECT {dim}{sign}count(*) AS visitors
FROM visit AS v CROSS JOIN LATERAL (
    SELECT f.dim_id FROM visit AS f
    WHERE f.site_id = :site_id AND f.visitor = v.visitor
      AND (f.visitor, f.started_at) >= (v.visitor, :whole_from)
      AND (f.visitor, f.started_at) < (v.visitor, :whole_to)
      AND f.{chain.previous} = v.started_at
    OFFSET 0
) AS n
WHERE v.site_id = :site_id AND v.started_at >= :cut_from AND v.started_at < :cut_to{group}"""


@lru_cache(maxsize=256)
def _sorting_statement(cut: Cut, series: bool) -> TextClause:
    return text(sorting_sql(cut, series))


def sorting_sql(cut: Cut, series: bool) -> str:
    """Distinct visitors by any dimensions: few rows are left before these are joined."""
    ids = "".join(f", v.{column}" for column in _ids(cut.names))
    bucket = bucket_of("v.started_at", series)
    places = ", ".join(str(place) for place in range(1, 2 + len(cut.by)))
    return (
        f"SELECT p.bucket, {cut.columns}count(*) AS visitors\nFROM (\n"
        f"SELECT DISTINCT s.bucket, {cut.labels}s.visitor\nFROM (\n"
        f"SELECT DISTINCT {bucket} AS bucket, v.visitor{ids}\nFROM visit AS v\n"
        "WHERE v.site_id = :site_id AND v.started_at >= :from AND v.started_at < :to\n) AS s\n"
        f"{joins('s', cut.names, 'detail_id')}\nWHERE {cut.condition}\n) AS p\nGROUP BY {places}"
    )


def _ids(names: Collection[str]) -> list[str]:
    """The columns of a visit that its dimensions are found by."""
    used = aliases(names)
    return (["dim_id"] if "d" in used else []) + (["detail_id"] if {"x", "o"} & {*used} else [])
