"""Distinct respondents: people who answered a survey, by the answers that name them."""

from __future__ import annotations

from functools import lru_cache

from sqlalchemy import TextClause, text

from service.kpi.cells import Slice
from service.kpi.formula import Where
from service.kpi.labels import forms, joins
from service.kpi.run import FEW_FACTS
from service.kpi.visitors import BUCKETS, Cut, Query


def query(piece: Slice, where: Where) -> Query:
    """The statement that counts them; rows are `bucket, labels …, respondents`."""
    cut = Cut(piece.by, forms(piece.filters), where)
    heavy = piece.bounds[-1] - piece.bounds[0] > FEW_FACTS
    return Query(_statement(cut), {}, heavy)


@lru_cache(maxsize=256)
def _statement(cut: Cut) -> TextClause:
    return text(sql(cut))


def sql(cut: Cut) -> str:
    """Everybody once in each bucket and row; each bucket is a span of an index."""
    joined = joins("s", cut.names, "detail_id")
    places = ", ".join(str(place) for place in range(1, 2 + len(cut.by)))
    return (
        f"SELECT p.bucket, {cut.columns}count(*) AS respondents\nFROM (\n"
        f"SELECT b.bucket, q.*\nFROM {BUCKETS}\nCROSS JOIN LATERAL (\n"
        f"SELECT DISTINCT {cut.labels}s.respondent\nFROM answer AS s\n"
        f"{joined}{chr(10) if joined else ''}"
        "WHERE s.site_id = :site_id AND s.occurred_at >= b.start_at AND s.occurred_at < b.end_at\n"
        f"  AND {cut.condition}\n) AS q\n) AS p\nGROUP BY {places}"
    )
