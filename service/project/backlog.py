"""Which batches are projected next: the site's lock, the choice, the progress mark.

All of it is on the coordinator: `batch` is a local table there, and advisory locks are per node.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import TextClause, text
from sqlalchemy.ext.asyncio import AsyncConnection

LOCK_CLASS = 0x6B6F6D70
SHARDS = 1024

LIMIT_EVENTS = 20_000
LIMIT_BATCHES = 1_000

_TRY_LOCK = text("SELECT pg_try_advisory_xact_lock(:class, :shard)")
_LOCK = text("SELECT pg_advisory_xact_lock(:class, :shard)")

_OLDEST = text("""
    SELECT site_id FROM batch
    WHERE projected_at IS NULL AND parked_at IS NULL
      AND site_id <> ALL(CAST(:skipped AS bigint[]))
    ORDER BY id LIMIT 1""")

_CHUNK = """
    SELECT s.timezone AS zone, array_agg(b.id ORDER BY b.id) AS batches,
           sum(b.events)::bigint AS events, min(b.first_at) AS first_at, max(b.last_at) AS last_at,
           min(b.received_at) AS received_at, s.credited_days AS lookback_days
    FROM (
        SELECT *, sum(events) OVER (ORDER BY id) - events AS before
        FROM (SELECT * FROM batch
              WHERE site_id = :site_id AND parked_at IS NULL AND {which}
              ORDER BY id LIMIT :limit_batches) AS listed
    ) AS b
    JOIN site AS s ON s.id = b.site_id
    WHERE b.before < :limit_events
    GROUP BY s.timezone, s.credited_days"""
_WAITING = text(_CHUNK.format(which="projected_at IS NULL"))
_FOLLOWING = text(_CHUNK.format(which="id > :after"))

_MARK = text("""
    UPDATE batch SET projected_at = :now
    WHERE id = ANY(CAST(:batches AS bigint[])) AND projected_at IS NULL""")
# Another runner may have projected them since; a rebuild leaves parked batches out.
_PARK = text("""
    UPDATE batch SET parked_at = :now
    WHERE id = ANY(CAST(:batches AS bigint[])) AND projected_at IS NULL""")
_UNPARK = text("UPDATE batch SET parked_at = NULL WHERE projected_at IS NULL AND parked_at < :now")


@dataclass(frozen=True, slots=True)
class Chunk:
    """Batches of one site that are projected together.

    `batches` ascend; `first_at` and `last_at` span their events' times; `received_at` is that of
    the oldest batch. Credit is given `lookback_days` back, as everything of the site is credited.
    """

    site_id: int
    zone: str
    batches: list[int]
    events: int
    first_at: datetime
    last_at: datetime
    received_at: datetime
    lookback_days: int


def _shard(site_id: int) -> dict[str, int]:
    return {"class": LOCK_CLASS, "shard": site_id % SHARDS}


async def lock(connection: AsyncConnection, site_id: int) -> None:
    """Wait until no other transaction projects, rebuilds or compacts this site."""
    await connection.execute(_LOCK, _shard(site_id))


async def try_lock(connection: AsyncConnection, site_id: int) -> bool:
    """The same without waiting: False when another transaction has the lock."""
    return bool(await connection.scalar(_TRY_LOCK, _shard(site_id)))


async def take(
    connection: AsyncConnection,
    skipped: Collection[int],
    limit_events: int,
    limit_batches: Callable[[int], int],
) -> Chunk | None:
    """The oldest waiting batches of a site that nobody else works on, and that site's lock.

    Sites come in the order of their oldest batches, without the `skipped`; `limit_batches` says
    how many batches of a site to take. None when nothing is left to do.
    """
    passed = set(skipped)
    site_id: int | None
    while (site_id := await connection.scalar(_OLDEST, {"skipped": list(passed)})) is not None:
        if await try_lock(connection, site_id):
            chunk = await waiting(connection, site_id, limit_events, limit_batches(site_id))
            if chunk is not None:  # otherwise another runner was just done with it
                return chunk
        passed.add(site_id)
    return None


async def waiting(
    connection: AsyncConnection,
    site_id: int,
    limit_events: int = LIMIT_EVENTS,
    limit_batches: int = LIMIT_BATCHES,
) -> Chunk | None:
    """The site's oldest waiting batches: at least one, none more once the events reach the limit.

    To be asked after the lock is held: the answer must not be older than the last runner's commit.
    """
    limits = {"limit_events": limit_events, "limit_batches": limit_batches}
    return await _chunk(connection, _WAITING, site_id, limits)


async def following(
    connection: AsyncConnection, site_id: int, after: int, limit_events: int
) -> Chunk | None:
    """The site's batches with ids above `after`, whether projected already or not."""
    limits = {"after": after, "limit_events": limit_events, "limit_batches": LIMIT_BATCHES}
    return await _chunk(connection, _FOLLOWING, site_id, limits)


async def _chunk(
    connection: AsyncConnection, query: TextClause, site_id: int, limits: dict[str, int]
) -> Chunk | None:
    rows = await connection.execute(query, {"site_id": site_id, **limits})
    row = rows.mappings().one_or_none()
    return None if row is None else Chunk(site_id=site_id, **row)


async def mark(connection: AsyncConnection, chunk: Chunk, now: datetime) -> None:
    """The progress mark: in the same transaction as the facts and rollups."""
    await connection.execute(_MARK, {"batches": chunk.batches, "now": now})


async def park(connection: AsyncConnection, chunk: Chunk, now: datetime) -> None:
    """Set batches aside that cannot be projected, so that the others go on."""
    await connection.execute(_PARK, {"batches": chunk.batches, "now": now})


async def unpark(connection: AsyncConnection, now: datetime) -> None:
    """Give what was parked before `now` another chance: a new version may know how."""
    await connection.execute(_UNPARK, {"now": now})
