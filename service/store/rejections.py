"""Refused events, as an operator reads them: written by the append, listed here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.ext.asyncio import AsyncEngine

from service.store.tables import rejection


async def list_rejections(
    engine: AsyncEngine, site_id: int, limit: int, before_id: int | None = None
) -> Sequence[Row[*tuple[Any, ...]]]:
    """The site's newest refusals, newest first; `before_id` goes on where a page ended.

    Rows: `id`, `received_at` (UTC), `door`, `code`, `message`, `field`, `payload`.
    """
    query = select(rejection).where(rejection.c.site_id == site_id)
    if before_id is not None:
        query = query.where(rejection.c.id < before_id)
    async with engine.connect() as connection:
        rows = await connection.execute(query.order_by(rejection.c.id.desc()).limit(limit))
        return rows.all()
