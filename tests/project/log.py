"""The log as the tests see it: rows in memory, and the same rows in the database."""

from __future__ import annotations

import json
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from service.domain.dimensions import Dimension, dimension_id
from service.domain.kinds import Flag, Kind

NOWHERE = Dimension()
NO_FLAGS = Flag(0)
RECEIVED_AT = datetime(2026, 11, 24, 12, tzinfo=UTC)

_IDS = text("SELECT nextval(pg_get_serial_sequence('batch', 'id')) FROM generate_series(1, :count)")
_BATCH = text(
    "INSERT INTO batch (id, site_id, token, received_at, events, first_at, last_at)"
    " OVERRIDING SYSTEM VALUE"
    " VALUES (:id, :site_id, gen_random_uuid(), :received_at, :events, :first_at, :last_at)"
)
_EVENT = text(
    "INSERT INTO event (site_id, batch_id, occurred_at, visitor, dim_id, detail_id, seq, kind,"
    " flags, data) VALUES (:site_id, :batch_id, :occurred_at, :visitor, :dim_id, :detail_id, :seq,"
    " :kind, :flags, CAST(:data AS jsonb))"
)
_DIMENSION = text(
    "INSERT INTO dimension VALUES (:site_id, :dim_id, :channel, :source, :medium, :campaign,"
    " :content, :term, :survey, :event) ON CONFLICT DO NOTHING"
)


def uid(name: str) -> str:
    """The stored form of an id of a person, order, message or statement."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, name))


@dataclass(frozen=True)
class Row:
    """One row of the log, as docs/reference/log.md has it, before it has a batch.

    `detail` is the id of a detail: nobody looks into it here.
    """

    kind: Kind
    at: datetime
    dim: Dimension = NOWHERE
    visitor: int = 0
    flags: Flag = NO_FLAGS
    data: dict[str, Any] = field(default_factory=dict)
    detail: int = 0


@dataclass(frozen=True)
class Placed:
    """A row with its place in the log."""

    row: Row
    batch: int
    seq: int
    received_at: datetime = RECEIVED_AT


async def next_batch_ids(engine: AsyncEngine, count: int) -> list[int]:
    """Ids as writers take them: they may commit in another order."""
    async with engine.begin() as connection:
        return sorted((await connection.scalars(_IDS, {"count": count})).all())


async def append(
    engine: AsyncEngine,
    site_id: int,
    rows: Sequence[Row],
    batch_id: int | None = None,
    received_at: datetime = RECEIVED_AT,
) -> list[Placed]:
    """Commit one batch."""
    if batch_id is None:
        (batch_id,) = await next_batch_ids(engine, 1)
    async with engine.begin() as connection:
        return await insert(connection, site_id, rows, batch_id, received_at)


async def insert(
    connection: AsyncConnection,
    site_id: int,
    rows: Sequence[Row],
    batch_id: int,
    received_at: datetime = RECEIVED_AT,
) -> list[Placed]:
    """Write one batch within the caller's transaction."""
    times = [row.at for row in rows]
    batch = {"id": batch_id, "site_id": site_id, "received_at": received_at, "events": len(rows)}
    await connection.execute(_BATCH, {**batch, "first_at": min(times), "last_at": max(times)})
    dims = {row.dim for row in rows if any(row.dim)}
    if dims:
        keys = [{"site_id": site_id, "dim_id": dimension_id(d), **d._asdict()} for d in dims]
        await connection.execute(_DIMENSION, keys)
    placed = [Placed(row, batch_id, seq, received_at) for seq, row in enumerate(rows)]
    await connection.execute(_EVENT, [_values(site_id, at) for at in placed])
    return placed


def _values(site_id: int, placed: Placed) -> dict[str, Any]:
    row = placed.row
    return {
        "site_id": site_id,
        "batch_id": placed.batch,
        "occurred_at": row.at,
        "visitor": row.visitor,
        "dim_id": dimension_id(row.dim),
        "detail_id": row.detail,
        "seq": placed.seq,
        "kind": int(row.kind),
        "flags": int(row.flags),
        "data": json.dumps(row.data),
    }
