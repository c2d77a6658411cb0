"""Compaction: rollup rows with the same key become one. A reader sums, so no answer changes.

Only keys with several rows are rewritten; those that sum to zero go. Each step is one transaction
under the site's lock and covers one day of the quarter tier, a month of days or a year of months
(a week of quarter hours and a year of days in the totals), so the projection is never held up for
long.
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
from service.store.recency import SCOPES

GAINED_ROWS = 2_000
"""A site is compacted when its quarter tier has gained so many rows since the last time."""

_EARLIEST = datetime.min.replace(tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Tier:
    """A rollup: what tells its rows apart besides `bucket`, the column of `index` first.

    Naming every value that `index` can have lets the index (site, that column, bucket) find a span
    of buckets. A step takes the buckets of `step`; no bucket is longer than `longest`.
    """

    name: str
    keys: tuple[str, ...]
    index: tuple[int, ...]
    step: timedelta
    longest: timedelta


_MEASURES = tuple(sorted({*map(int, Measure), *moved_numbers(Measure)}))
_OF_MEASURES = ("measure", "dim_id", "currency")
_DAY, _WEEK = timedelta(days=1), timedelta(days=7)
_MONTH, _YEAR = timedelta(days=31), timedelta(days=366)

TIERS = {
    tier.name: tier
    for tier in (
        Tier("rollup_quarter", _OF_MEASURES, _MEASURES, _DAY, 2 * _DAY),
        Tier("rollup_day", _OF_MEASURES, _MEASURES, _MONTH, 2 * _DAY),
        Tier("rollup_month", _OF_MEASURES, _MEASURES, _YEAR, 2 * _MONTH),
        Tier("rollup_total", _OF_MEASURES, _MEASURES, _YEAR, 2 * _DAY),
        Tier("rollup_total_quarter", _OF_MEASURES, _MEASURES, _WEEK, 2 * _DAY),
        Tier("rollup_recency", ("scope", "previous", "dim_id"), SCOPES, _MONTH, 2 * _MONTH),
    )
}


def _within(tier: Tier) -> str:
    return (
        f"r.site_id = :site_id AND r.{tier.keys[0]} = ANY(CAST(:index AS smallint[]))"
        " AND r.bucket >= :since AND r.bucket < :before"
    )


def _merge_sql(tier: Tier) -> str:
    keys = f"bucket, {', '.join(tier.keys)}"
    same = " AND ".join(f"r.{key} = c.{key}" for key in ("bucket", *tier.keys))
    # A sum that a bigint cannot hold stays in pieces. Rows lie in the order in which they are read.
    return f"""
    WITH crowded AS MATERIALIZED (
        SELECT {keys}, sum(value)::bigint AS value, count(*) AS rows
        FROM {tier.name} AS r WHERE {_within(tier)}
        GROUP BY {keys}
        HAVING count(*) > 1 AND abs(sum(value)) < {LARGEST}
    ),
    gone AS (
        DELETE FROM {tier.name} AS r USING crowded AS c WHERE {_within(tier)} AND {same}
    ),
    kept AS (
        INSERT INTO {tier.name} (site_id, {keys}, value)
        SELECT CAST(:site_id AS bigint), {keys}, value
        FROM crowded WHERE value <> 0 ORDER BY {tier.keys[0]}, bucket
    )
    SELECT coalesce(sum(rows) - count(*) FILTER (WHERE value <> 0), 0)::bigint FROM crowded"""


_MERGES = {tier.name: text(_merge_sql(tier)) for tier in TIERS.values()}
_SPAN = {
    tier.name: text(
        f"SELECT min(r.bucket), max(r.bucket) FROM {tier.name} AS r WHERE {_within(tier)}"
    )
    for tier in TIERS.values()
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
        for tier in TIERS.values():
            # The bucket that holds `since` starts before it.
            start = _EARLIEST if since is None else since - tier.longest
            span = Step(site_id, tier.name, start, before)
            first, last = (await connection.execute(_SPAN[tier.name], _parameters(span))).one()
            if first is not None:
                found += _cut(span, first, last, tier.step)
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
        "index": TIERS[step.tier].index,
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
