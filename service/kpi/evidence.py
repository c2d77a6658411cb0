"""What a site has ever told: only then does a window without it have a 0 instead of no value."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from service.domain.kinds import Kind
from service.domain.measures import Measure
from service.kpi.formula import Quantity, evidence
from service.kpi.run import run

# The order makes it an index probe: without, Postgres may expect to meet one soon in any place,
# and read the whole table for a measure that is not there.
_COUNTED = text("""
    SELECT m.measure FROM unnest(CAST(:measures AS smallint[])) AS m (measure)
    CROSS JOIN LATERAL (
        SELECT FROM rollup_day AS r
        WHERE r.site_id = :site_id AND r.measure = m.measure
        ORDER BY r.bucket LIMIT 1
    ) AS found""")


def _stated(kind: Kind, condition: str) -> str:
    return (
        "EXISTS (SELECT FROM (SELECT FROM statement AS s WHERE s.site_id = :site_id"
        f" AND s.kind = {int(kind)} AND {condition} ORDER BY s.key LIMIT 1) AS first)"
    )


_SOLD = (
    "EXISTS (SELECT FROM (SELECT FROM conversion AS c WHERE c.site_id = :site_id"
    " AND NOT c.refund ORDER BY c.occurred_at LIMIT 1) AS first)"
)

STATED: dict[Measure, str] = {
    Measure.SPEND: _stated(Kind.AD_SPEND, "true"),
    Measure.IMPRESSIONS: _stated(Kind.AD_SPEND, "s.data->>'impressions' IS NOT NULL"),
    Measure.CLICKS: _stated(Kind.AD_SPEND, "s.data->>'clicks' IS NOT NULL"),
    Measure.INVALID_CLICKS: _stated(Kind.AD_SPEND, "s.data->>'invalid_clicks' IS NOT NULL"),
    Measure.VIEWABLE_IMPRESSIONS: _stated(Kind.AD_SPEND, "s.data->>'viewable' IS NOT NULL"),
    Measure.MEASURABLE_IMPRESSIONS: _stated(Kind.AD_SPEND, "s.data->>'measurable' IS NOT NULL"),
    Measure.REACH: _stated(Kind.SOCIAL_POST, "s.data->>'reach' IS NOT NULL"),
    Measure.SOCIAL_IMPRESSIONS: _stated(Kind.SOCIAL_POST, "s.data->>'impressions' IS NOT NULL"),
    Measure.BRAND_SEARCHES: _stated(Kind.SEARCH_VOLUME, "s.data->>'group' = 'brand'"),
    Measure.CATEGORY_SEARCHES: _stated(Kind.SEARCH_VOLUME, "s.data->>'group' = 'category'"),
    Measure.ORDERS: _SOLD,
    Measure.GROSS_REVENUE: _SOLD,
}
"""Conditions under which a measure was stated, though perhaps as 0 only: that leaves no row in a
rollup, or one that compaction removes."""


async def unknown_quantities(
    connection: AsyncConnection, site_id: int, quantities: Iterable[Quantity]
) -> frozenset[Quantity]:
    """Those of the quantities for which the site has never had any evidence, at any time."""
    by_quantity = {quantity: evidence(quantity) for quantity in quantities}
    measures = sorted({measure for some in by_quantity.values() for measure in some})
    if not measures:
        return frozenset()
    asked = {"site_id": site_id, "measures": [int(measure) for measure in measures]}
    known = {Measure(row.measure) for row in await run(connection, _COUNTED, asked)}
    doubtful = [m for m in measures if m not in known and m in STATED]
    if doubtful:
        known |= await _stated_at_all(connection, site_id, doubtful)
    return frozenset(q for q, some in by_quantity.items() if known.isdisjoint(some))


async def _stated_at_all(
    connection: AsyncConnection, site_id: int, measures: Collection[Measure]
) -> set[Measure]:
    query = text("SELECT " + ", ".join(STATED[measure] for measure in measures))
    (row,) = await run(connection, query, {"site_id": site_id})
    return {measure for measure, is_stated in zip(measures, row, strict=True) if is_stated}
