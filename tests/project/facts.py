"""What the database says: facts, and rollups summed as a reader sums them."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from service.store.contributions import FACTS, edge_contributions
from service.store.contributions import facts as read_from
from service.store.engine import reading
from tests.project.recount import Sums

TABLES = ("visit", "message", "lead", "conversion", "statement", "identity", "answer")
ROLLUPS = (
    "rollup_quarter",
    "rollup_day",
    "rollup_month",
    "rollup_total",
    "rollup_total_quarter",
)
"""Those of measures."""

_EDGES = [text(edge_contributions(fact)) for fact in FACTS]
_DETAILED = [text(edge_contributions(fact)) for fact in read_from(detailed=True)]


async def facts(engine: AsyncEngine, site_id: int) -> dict[str, list[tuple[Any, ...]]]:
    """Every row of every fact table of a site, in some fixed order."""
    found = {}
    async with reading(engine) as connection:
        for table in TABLES:
            query = text(f"SELECT * FROM {table} WHERE site_id = :site_id")
            rows = await connection.execute(query, {"site_id": site_id})
            found[table] = sorted((tuple(row) for row in rows), key=repr)
    return found


async def rollup(engine: AsyncEngine, site_id: int, tier: str) -> Sums:
    """Sums by (bucket, measure, currency, dimension)."""
    query = text(
        "SELECT bucket, measure, currency, dim_id, sum(value)::numeric FROM"
        f" {tier} WHERE site_id = :site_id GROUP BY 1, 2, 3, 4 HAVING sum(value) <> 0"
    )
    async with reading(engine) as connection:
        rows = await connection.execute(query, {"site_id": site_id})
        return Counter({(at, m, currency, dim): int(v) for at, m, currency, dim, v in rows})


async def edge(
    engine: AsyncEngine, site_id: int, lo: datetime, hi: datetime, *, detailed: bool = False
) -> Sums:
    """Sums of what lies inside `[lo, hi)`, read from facts; by details too when `detailed`."""
    sums: Sums = Counter()
    async with reading(engine) as connection:
        for query in _DETAILED if detailed else _EDGES:
            rows = await connection.execute(query, {"site_id": site_id, "lo": lo, "hi": hi})
            for _, measure, currency, dim, *details, value in rows:
                assert details[2:] in ([], [""])
                sums[None, measure, currency, dim, *details[:2]] += value
    return Counter({key: value for key, value in sums.items() if value})


async def crowded(engine: AsyncEngine, site_id: int, tier: str) -> int:
    """Keys with more rows than one, or with nothing in them."""
    query = text(
        f"SELECT count(*) FROM (SELECT FROM {tier} WHERE site_id = :site_id"
        " GROUP BY bucket, measure, currency, dim_id HAVING count(*) > 1 OR sum(value) = 0) AS c"
    )
    async with reading(engine) as connection:
        return int(await connection.scalar(query, {"site_id": site_id}) or 0)
