"""Compaction: rollup rows with the same key become one. A reader sums, so no answer changes.

Only keys with several rows are rewritten; those that sum to zero go. Each step is one transaction
under the site's lock and covers one day of the quarter tier or one month of the day tier, so the
projection is never held up for long.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from service.domain.measures import Measure
from service.project.backlog import lock, try_lock
from service.project.projections import Booked
from service.project.rollups import LARGEST
from service.store.credits import moved_numbers
from service.store.engine import reading, writing

GAINED_ROWS = 2_000
"""A site is compacted when its quarter tier has gained so many rows since the last time."""

_TIERS = (("rollup_quarter", timedelta(days=1)), ("rollup_day", timedelta(days=31)))
_LONGEST_DAY = timedelta(days=2)
_EARLIEST = datetime.min.replace(tzinfo=UTC)

# Naming every measure lets the index (site, measure, bucket) find a span of buckets.
_MEASURES = sorted({*map(int, Measure), *moved_numbers(Measure)})
_WITHIN = (
    "site_id = :site_id AND measure = ANY(CAST(:measures AS smallint[]))"
    " AND bucket >= :since AND bucket < :before"
)

# A sum that a bigint cannot hold stays in pieces.
_MERGE = """
    WITH crowded AS MATERIALIZED (
        SELECT bucket, dim_id, measure, currency, sum(value)::bigint AS value, count(*) AS rows
        FROM {tier} WHERE {within}
        GROUP BY bucket, dim_id, measure, currency
        HAVING count(*) > 1 AND abs(sum(value)) < {largest}
    ),
    gone AS (
        DELETE FROM {tier} AS r USING crowded AS c
        WHERE r.site_id = :site_id AND r.measure = ANY(CAST(:measures AS smallint[]))
          AND r.bucket >= :since AND r.bucket < :before
          AND r.bucket = c.bucket AND r.measure = c.measure AND r.dim_id = c.dim_id
          AND r.currency = c.currency
    ),
    kept AS (
        INSERT INTO {tier} (site_id, bucket, dim_id, value, measure, currency)
        SELECT CAST(:site_id AS bigint), bucket, dim_id, value, measure, currency
        FROM crowded WHERE value <> 0
    )
    SELECT coalesce(sum(rows) - count(*) FILTER (WHERE value <> 0), 0)::bigint FROM crowded"""
_MERGES = {
    tier: text(_MERGE.format(tier=tier, within=_WITHIN, largest=LARGEST)) for tier, _ in _TIERS
}

_SPAN = {
    tier: text(f"SELECT min(bucket), max(bucket) FROM {tier} WHERE {_WITHIN}") for tier, _ in _TIERS
}


@dataclass(frozen=True, slots=True)
class Step:
    """The buckets of one tier of one site from `since` to before `before`."""

    site_id: int
    tier: str
    since: datetime
    before: datetime


async def compact(
    engine: AsyncEngine, site_id: int, before: datetime, since: datetime | None = None
) -> int:
    """Compact the buckets that start before `before` (and not before `since`, if given).

    Answers how many rows fewer there are.
    """
    saved = 0
    for step in await steps(engine, site_id, since, before):
        async with writing(engine) as connection:
            await lock(connection, step.site_id)
            saved += await _merge(connection, step)
    return saved


async def steps(
    engine: AsyncEngine, site_id: int, since: datetime | None, before: datetime
) -> list[Step]:
    """The steps that cover the span, as far as the site has rows there."""
    found: list[Step] = []
    async with reading(engine) as connection:
        for tier, length in _TIERS:
            # The day that holds `since` starts before it.
            start = _EARLIEST if since is None else since - _LONGEST_DAY
            span = Step(site_id, tier, start, before)
            first, last = (await connection.execute(_SPAN[tier], _parameters(span))).one()
            if first is not None:
                found += _cut(span, first, last, length)
    return found


def _cut(span: Step, first: datetime, last: datetime, length: timedelta) -> Iterator[Step]:
    while first <= last:
        yield Step(span.site_id, span.tier, first, min(first + length, span.before))
        first += length


async def try_merge(engine: AsyncEngine, step: Step) -> bool:
    """Compact the buckets of one step; False when the site is being worked on just now."""
    async with writing(engine) as connection:
        if not await try_lock(connection, step.site_id):
            return False
        await _merge(connection, step)
    return True


async def _merge(connection: AsyncConnection, step: Step) -> int:
    return int(await connection.scalar(_MERGES[step.tier], _parameters(step)) or 0)


def _parameters(step: Step) -> dict[str, object]:
    return {
        "site_id": step.site_id,
        "measures": _MEASURES,
        "since": step.since,
        "before": step.before,
    }


class Gains:
    """What each site's quarter tier has gained since it was last compacted."""

    def __init__(self) -> None:
        self._booked: dict[int, Booked] = {}

    def add(self, site_id: int, booked: Booked) -> None:
        """Count rows that were committed."""
        self._booked[site_id] = self._booked.get(site_id, Booked()) + booked

    def take(self) -> Iterator[tuple[int, datetime]]:
        """Sites that gained enough, each with the first bucket that did; their count restarts."""
        for site_id, booked in list(self._booked.items()):
            if booked.rows >= GAINED_ROWS and booked.first is not None:
                del self._booked[site_id]
                yield site_id, booked.first
