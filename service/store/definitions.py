"""Users' own KPIs, as they were stored: every version of each, also of those that were retired."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
from decimal import Decimal
from typing import Any, NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from service.kit.json import dumps
from service.store.engine import writing


class Definition(NamedTuple):
    """One version of a KPI; decimals of `data` are exact, its members in the order they came in.

    `retired_at` is when its KPI was retired, None while it is in use.
    """

    id: str
    version: int
    data: dict[str, Any]
    retired_at: datetime | None


_LOCK = text("LOCK TABLE kpi_definition IN SHARE ROW EXCLUSIVE MODE")


@asynccontextmanager
async def changing(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A transaction that alone may change definitions: what it decides on stays as it was read."""
    async with writing(engine) as connection:
        await connection.execute(_LOCK)
        yield connection


_STAMP = text("SELECT count(*), max(created_at), max(retired_at) FROM kpi_definition")


async def stamp(connection: AsyncConnection) -> tuple[Any, ...]:
    """Something that is another after every change."""
    return tuple((await connection.execute(_STAMP)).one())


_LIST = text("""
    SELECT id, version, CAST(data AS text), retired_at
    FROM kpi_definition ORDER BY id, version""")


async def list_definitions(connection: AsyncConnection) -> list[Definition]:
    """Everything that is stored, by id and version."""
    rows = await connection.execute(_LIST)
    return [
        Definition(kpi_id, version, json.loads(data, parse_float=Decimal), retired_at)
        for kpi_id, version, data, retired_at in rows
    ]


# The clock and not now(): under the lock it goes on with every change, so the stamp does, too.
_PUT = text("""
    INSERT INTO kpi_definition (id, version, data, created_at)
    VALUES (:id, :version, CAST(:data AS json), clock_timestamp())
    ON CONFLICT (id, version)
    DO UPDATE SET data = excluded.data, created_at = excluded.created_at""")
_REVIVE = text("""
    UPDATE kpi_definition SET retired_at = NULL WHERE id = :id AND retired_at IS NOT NULL""")


async def put_definition(
    connection: AsyncConnection, kpi_id: str, version: int, data: dict[str, Any]
) -> None:
    """Store one version, over the one there is; its KPI is retired no more."""
    await connection.execute(_PUT, {"id": kpi_id, "version": version, "data": dumps(data)})
    await connection.execute(_REVIVE, {"id": kpi_id})


_RETIRE = text("""
    UPDATE kpi_definition SET retired_at = clock_timestamp()
    WHERE id = :id AND retired_at IS NULL""")


async def retire(connection: AsyncConnection, kpi_id: str) -> None:
    """Retire a KPI with all its versions; what is stored stays."""
    await connection.execute(_RETIRE, {"id": kpi_id})
