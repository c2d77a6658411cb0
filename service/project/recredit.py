"""A site's new lookback: all its conversions and leads are credited again, at once.

Until that is done, what comes in is credited with the old one, so that no answer mixes two.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from service.project.backlog import try_lock
from service.project.conversions import CONVERSIONS_AGAIN
from service.project.leads import LEADS_AGAIN
from service.project.projections import Booked
from service.store.engine import writing

SLICE_ROWS = 5_000
"""So many facts are credited by one statement."""

SLICE_SECONDS = 60.0
"""A statement that takes longer is given up, and all of it with it."""

_CHANGED = text("SELECT id FROM site WHERE lookback_days <> credited_days ORDER BY id")
_SITE = text("""
    SELECT timezone AS zone, lookback_days AS lookback FROM site
    WHERE id = :site_id AND lookback_days <> credited_days""")
_CREDITED = text("UPDATE site SET credited_days = :lookback WHERE id = :site_id")

_END = """
    SELECT max(at) FROM (
        SELECT {at} AS at FROM {table} WHERE site_id = :site_id AND {at} > :after
        ORDER BY {at} LIMIT :rows) AS slice"""
_FACTS: tuple[tuple[TextClause, TextClause], ...] = (
    (text(_END.format(table="conversion", at="occurred_at")), text(CONVERSIONS_AGAIN)),
    (text(_END.format(table="lead", at="won_at")), text(LEADS_AGAIN)),
)
"""The end of a slice that begins after `:after`, and the statement that credits it again."""

_EARLIEST = datetime.min.replace(tzinfo=UTC)
NOTHING_NEW = {
    "batches": [],
    "first_batch": 0,
    "last_batch": 0,
    "first_at": _EARLIEST,
    "last_at": _EARLIEST,
}


async def changed(connection: AsyncConnection) -> list[int]:
    """The sites whose lookback is not the one that their facts are credited with."""
    return list((await connection.scalars(_CHANGED)).all())


async def recredit(engine: AsyncEngine, site_id: int, slice_rows: int = SLICE_ROWS) -> Booked:
    """Credit a site's facts with its new lookback; nothing is done while somebody works on it.

    One transaction under the site's lock, as long as it takes: each of its statements is short.
    """
    async with writing(engine) as connection:
        if not await try_lock(connection, site_id):
            return Booked()
        site = (await connection.execute(_SITE, {"site_id": site_id})).mappings().one_or_none()
        if site is None:
            return Booked()
        parameters = {**site, "site_id": site_id, "rows": slice_rows}
        booked = Booked()
        for end, again in _FACTS:
            booked += await _credit(connection, end, again, parameters)
        await connection.execute(_CREDITED, parameters)
    return booked


async def _credit(
    connection: AsyncConnection, end: TextClause, again: TextClause, parameters: dict[str, object]
) -> Booked:
    booked = Booked()
    after = _EARLIEST
    while (last := await connection.scalar(end, {**parameters, "after": after})) is not None:
        slice_ = {"slice_from": after, "slice_to": last}
        async with asyncio.timeout(SLICE_SECONDS):
            row = (await connection.execute(again, {**parameters, **NOTHING_NEW, **slice_})).one()
        booked += Booked(row.rows, row.first, row.last)
        after = last
    return booked
