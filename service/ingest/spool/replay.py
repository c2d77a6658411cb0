"""From the spool into the log: flushes as they were acknowledged, each of their batches once."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import groupby
from typing import TypeVar
from uuid import UUID

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from service import telemetry
from service.ingest.flush import ACCEPTED, REJECTED, kind_name
from service.ingest.lane import LATEST
from service.ingest.spool.payload import Flush
from service.ingest.spool.pieces import outcomes, pieces
from service.kit.log import get_logger
from service.store.append import Appended, Batch
from service.store.failures import CONNECTION_ERRORS, describe, is_data_error
from service.store.partitions import Partitions
from service.store.replay import SESSION, Kept, ReplayLog

STATEMENT_SECONDS = 10.0
GREETING_SECONDS = 1.0
"""For a connection and its first answer: a server that swallows everything is noticed by then."""
CLOSE_SECONDS = 0.5

SPOOL_PATH = "spool"

_log = get_logger(__name__)
T = TypeVar("T")

Seen = Callable[[str, datetime], None]
"""Told that a canary came through: by which path, and when it set out."""


class Replay:
    """One connection for all that is replayed; its owner calls one method at a time.

    Every method raises what asyncpg raises, and TimeoutError; then the connection is to be
    dropped. `wake` is called after each commit that added to the log.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        wake: Callable[[], None] | None = None,
        seen: Seen | None = None,
    ) -> None:
        self._engine = engine
        self._wake = wake
        self._seen = seen
        self._partitions = Partitions()
        self._counted: set[UUID] = set()
        self._open: ReplayLog | None = None

    async def store(self, flushes: Sequence[Flush]) -> None:
        """Commit what of the flushes is not in the log yet, in their order.

        What Postgres refuses is cut down to the single event, which becomes a rejection.
        """
        kept = [Kept(flush.received_at, batch) for flush in flushes for batch in flush.batches]
        if kept:
            await self._settle(kept)
        # A flush without batches is a canary; the latest says everything.
        canaries = [flush.received_at for flush in flushes if not flush.batches]
        if canaries:
            await self._pass_canary(max(canaries))

    def forget(self) -> None:
        """What was stored so far will not be handed in again: its counts need not be kept apart."""
        self._counted.clear()

    async def probe(self, path: str, at: datetime) -> None:
        """Commit something that counts nowhere."""
        log = await self._connected()
        async with asyncio.timeout(GREETING_SECONDS):
            await log.beat(path, at)

    async def _pass_canary(self, at: datetime) -> None:
        await self.probe(SPOOL_PATH, at)
        if self._seen is not None:
            self._seen(SPOOL_PATH, at)

    async def _settle(self, kept: Sequence[Kept]) -> None:
        log = await self._connected()
        # The first statement of an attempt, so it also finds out about a server that hangs.
        async with asyncio.timeout(GREETING_SECONDS):
            known = await log.known([each.batch for each in kept])
        for is_divided, run in groupby(kept, lambda each: known.get(each.batch.token)):
            if is_divided is None:
                await self._put(list(run))
                continue
            for each in run:
                if is_divided:
                    await self._settle_pieces(each)
                else:
                    self._count(each.batch, await self._within(log.outcome(each.batch)))

    async def _settle_pieces(self, kept: Kept) -> None:
        parts = [Kept(kept.received_at, piece) for piece in pieces(kept.batch)]
        if parts:
            await self._settle(parts)

    async def _put(self, kept: Sequence[Kept]) -> None:
        try:
            results = await self._append(kept)
        except Exception as error:
            if not is_data_error(error):
                raise
            if len(kept) > 1:
                middle = len(kept) // 2
                await self._put(kept[:middle])
                await self._put(kept[middle:])
            else:
                await self._divide(kept[0], error)
            return
        for each, result in zip(kept, results, strict=True):
            self._count(each.batch, result)

    async def _divide(self, kept: Kept, error: Exception) -> None:
        log = await self._connected()
        if await self._within(log.divide(kept)):
            self._note_refused(kept.batch, error)
        # Otherwise somebody else stored or divided it meanwhile: then it is known.
        await self._settle([kept])

    def _note_refused(self, batch: Batch, error: Exception) -> None:
        parts = pieces(batch)
        if len(parts) > 1:
            return
        _log.error("not_storable", door=SPOOL_PATH, error=describe(error))
        for _, refusal in (each for part in parts for each in part.rejected):
            telemetry.EVENTS.labels(kind_name(refusal.kind), REJECTED).inc()
            telemetry.REJECTIONS.labels(refusal.code).inc()

    async def _append(self, kept: Sequence[Kept]) -> list[Appended]:
        try:
            await self._make_months(kept)
            return await self._replay(kept)
        except asyncpg.CheckViolationError:
            # A month that was known is gone; one that no event may be dated in stays missing.
            self._partitions.forget()
            await self._make_months(kept)
            return await self._replay(kept)

    async def _replay(self, kept: Sequence[Kept]) -> list[Appended]:
        log = await self._connected()
        return await self._within(log.replay(kept))

    async def _make_months(self, kept: Sequence[Kept]) -> None:
        times = [row.occurred_at for _, batch in kept for row in batch.rows]
        latest = max(each.received_at for each in kept) + LATEST
        for month in self._partitions.missing(times, latest):
            log = await self._connected()
            await self._within(log.make_months(self._partitions, [month]))

    async def _within(self, work: Awaitable[T]) -> T:
        # The server ends its statement a little sooner; this is for a server that hangs.
        async with asyncio.timeout(STATEMENT_SECONDS + 1):
            return await work

    def _count(self, batch: Batch, result: Appended) -> None:
        if batch.token in self._counted:
            return
        self._counted.add(batch.token)
        found = outcomes(batch, result)
        for (kind, outcome), number in found.items():
            telemetry.EVENTS.labels(kind, outcome).inc(number)
        accepted = sum(n for (_, outcome), n in found.items() if outcome == ACCEPTED)
        if accepted:
            telemetry.BATCH_EVENTS.observe(accepted)
            if self._wake is not None:
                self._wake()

    async def _connected(self) -> ReplayLog:
        if self._open is None:
            async with asyncio.timeout(GREETING_SECONDS):
                self._open = await ReplayLog.open(self._engine, STATEMENT_SECONDS, SESSION)
        return self._open

    def drop(self) -> None:
        """Cut the connection at once: whatever is under way raises."""
        self._partitions.forget()
        if self._open is not None:
            self._open.drop()
            self._open = None

    async def close(self) -> None:
        """Close the connection; at once when the server does not answer."""
        if self._open is None:
            return
        with suppress(*CONNECTION_ERRORS):
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._open.close()
        self.drop()
