"""Rebuild: make a site's facts and rollups again from its log, or some months of its rollups.

Facts follow one another over months (visits, the orders of a customer, journeys), so they are made
again all together. Rollups are sums of facts: those of a month can be made again by themselves.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from service.errors import InvalidError
from service.kit.clock import Clock, SystemClock
from service.project.backlog import Chunk, following, lock, mark
from service.project.compact import TIERS
from service.project.projections import apply
from service.project.recency import RECENCY
from service.project.recount import LOG_MONTHS, RECOUNTED, in_month, log_month, rows_of
from service.project.rollups import booked
from service.store.engine import writing

CHUNK_EVENTS = 50_000

FIRST_DAY = date(1990, 1, 1)
LAST_DAY = date(2200, 1, 1)
"""No event is dated outside of them."""

DERIVED = (
    "visit",
    "message",
    "lead",
    "conversion",
    "statement",
    "identity",
    "answer",
    "rollup_quarter",
    "rollup_day",
    "rollup_month",
    "rollup_total",
    "rollup_total_quarter",
    "rollup_recency",
)
"""Tables that hold nothing but what the projections made of the log."""

_CREDIT_ANEW = text("UPDATE site SET credited_days = lookback_days WHERE id = :site_id")
_FORGET = tuple(text(f"DELETE FROM {table} WHERE site_id = :site_id") for table in DERIVED)

_ZONE = text("SELECT timezone FROM site WHERE id = :site_id")

# What counts by itself and what became of mails is found in the log.
_LOST = text(f"""
    SELECT DISTINCT {log_month("r.bucket")} FROM {rows_of("rollup_total_quarter")}
    AND {in_month("r.bucket")} EXCEPT {LOG_MONTHS} ORDER BY 1""")
_FORGET_MONTH = tuple(
    text(f"DELETE FROM {rows_of(tier)} AND {in_month('r.bucket')}") for tier in TIERS
)
_VISIT = "SELECT started_at, previous_at, campaign_previous_at, dim_id FROM visit"
_COUNT_MONTH = text(
    booked(
        f"""
changed AS (
    {_VISIT} WHERE site_id = :site_id AND started_at >= :lo AND started_at < :hi
    AND {in_month("started_at")}
),
gone AS (
    {_VISIT} WHERE false
),{RECENCY}""",
        f"SELECT c.* FROM ({RECOUNTED}) AS c WHERE {in_month('c.at')}",
    )
)
_INDEXES = {name: tier.index for name, tier in TIERS.items()}
_FURTHEST = timedelta(days=1)
"""More than any zone's midnight is away from that of UTC."""


async def rebuild(
    engine: AsyncEngine,
    site_id: int,
    clock: Clock | None = None,
    chunk_events: int = CHUNK_EVENTS,
) -> int:
    """Make all facts and rollups of a site again from its log; answers the events projected.

    One transaction under the runner's lock: readers see the old state until it commits, and
    an error leaves it as it was. Parked batches stay parked. What retention has dropped from
    the log is gone from the facts afterwards.
    """
    now = (clock or SystemClock()).now()
    async with writing(engine) as connection:
        await lock(connection, site_id)
        for statement in _FORGET:
            await connection.execute(statement, {"site_id": site_id})
        await connection.execute(_CREDIT_ANEW, {"site_id": site_id})
        return await _project_all(connection, site_id, now, chunk_events)


async def _project_all(
    connection: AsyncConnection, site_id: int, now: datetime, chunk_events: int
) -> int:
    events = after = 0
    chunk: Chunk | None
    while chunk := await following(connection, site_id, after, chunk_events):
        await apply(connection, chunk)
        await mark(connection, chunk, now)
        events += chunk.events
        after = chunk.batches[-1]
    return events


async def rebuild_months(
    engine: AsyncEngine, site_id: int, since: date, before: date
) -> list[date]:
    """Make the rollups of every month that the days `[since, before)` touch again from the facts.

    Days and months are those of the site's zone; answers the first days of the months. Every tier
    and recency, in one transaction under the runner's lock: readers see the old rows until it
    commits, and new batches wait for their projection so long. Facts stay as they are.

    Raises InvalidError for an impossible span, or when a part of the log is gone that they need.
    """
    months = months_of(since, before)
    async with writing(engine) as connection:
        await lock(connection, site_id)
        zone = await connection.scalar(_ZONE, {"site_id": site_id})
        for month in months:
            await _count_again(connection, {**_INDEXES, "site_id": site_id, "zone": zone}, month)
    return months


def months_of(since: date, before: date) -> list[date]:
    """The first days of the months that the days `[since, before)` touch."""
    if not FIRST_DAY <= since < before <= LAST_DAY:
        raise InvalidError(
            f"From {since} to {before} there is no day: the first date is the earlier one, the last"
            f" one is not included, and both lie between {FIRST_DAY} and {LAST_DAY}."
        )
    found = [since.replace(day=1)]
    while (month := following_month(found[-1])) < before:
        found.append(month)
    return found


def following_month(month: date) -> date:
    """The first day of the month after the one that begins with `month`."""
    return (month + timedelta(days=31)).replace(day=1)


def around(first: date, before: date) -> dict[str, datetime]:
    """The parameters `lo` and `hi`: a span that holds the days `[first, before)` of any zone."""
    ends = [datetime(day.year, day.month, day.day, tzinfo=UTC) for day in (first, before)]
    return {"lo": ends[0] - _FURTHEST, "hi": ends[1] + _FURTHEST}


async def _count_again(
    connection: AsyncConnection, parameters: dict[str, object], month: date
) -> None:
    parameters = {**parameters, **around(month, following_month(month)), "month": month}
    lost = (await connection.scalars(_LOST, parameters)).all()
    if lost:
        raise InvalidError(
            f"The log of {month:%Y-%m} is not whole any more ({', '.join(lost)} is gone): what came"
            " from it cannot be counted again."
        )
    for statement in _FORGET_MONTH:
        await connection.execute(statement, parameters)
    await connection.execute(_COUNT_MONTH, parameters)
