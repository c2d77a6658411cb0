"""The lane on which flushes go to the database: one connection, one commit at a time.

A lost connection is replaced and the same batches are sent again, with their tokens: for as long as
the patience lasts. Deadlines are kept here, because a server that hangs keeps none.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from service import telemetry
from service.errors import RetryableError
from service.ingest.flush import Known
from service.kit.clock import Clock
from service.kit.log import get_logger
from service.store.append import Appended, Batch, Log
from service.store.failures import (
    CONNECTION_ERRORS,
    describe,
    is_data_error,
    is_lost_connection,
    is_rollback,
)
from service.store.partitions import Partitions

FIRST_PAUSE = 0.02
LONGEST_PAUSE = 0.25
CLOSE_SECONDS = 1.0

AWAY = "The database does not answer; nothing was acknowledged."

LATEST = timedelta(days=2)
"""No event is dated later than this after its receipt; a month is not made for one that is."""

_log = get_logger(__name__)


class NotStorableError(Exception):
    """The database refuses something in these batches, and would again."""


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds: for one attempt at a commit (or a probe), and for a commit with all attempts.

    Who `insists` has nowhere else to go: whatever fails is tried again until `total` is over. Who
    does not goes to the spool instead, and tries again only what promises to succeed at once: what
    stood in the way of other transactions, or lost its connection, within one `attempt`.
    """

    attempt: float = 1.0
    total: float = 2.0
    insists: bool = True

    @property
    def limit(self) -> float:
        """Seconds until an attempt is given up here.

        The server ends its statement a little sooner; this is for a server that hangs.
        """
        return 1.2 * self.attempt

    def allows(self, error: Exception, seconds: float, *, connected: bool) -> bool:
        """Whether to try again, when an attempt failed so many seconds after the first began.

        `connected`: there was a connection before the attempt, so that its loss says little.
        """
        if self.insists:
            return seconds < self.total
        promising = is_rollback(error) or (connected and is_lost_connection(error))
        return promising and seconds < self.attempt


FALLING_BACK = Patience(total=1.0, insists=False)
"""With a spool behind it, a commit is given up after 1.2 seconds, with all attempts."""


class Lane:
    """Commits batches; its owner calls one method at a time.

    `known` is what rows refer to that need not be in a batch.
    """

    def __init__(self, engine: AsyncEngine, clock: Clock, patience: Patience) -> None:
        self._engine = engine
        self._clock = clock
        self._patience = patience
        self._partitions = Partitions()
        self.known = Known()
        self._open: Log | None = None

    async def commit(self, batches: Sequence[Batch], received_at: datetime) -> list[Appended]:
        """Make the batches durable, together, and say what became of each.

        NotStorableError when the data is to blame; RetryableError when the database is away or
        slow: then nobody knows whether the last attempt was committed.
        """
        loop = asyncio.get_running_loop()
        started = loop.time()
        until = None if self._patience.insists else started + self._patience.limit
        pause = FIRST_PAUSE
        again = False
        while True:
            connected = self._open is not None
            try:
                async with asyncio.timeout_at(until):
                    results = await self._attempt(batches, received_at, again=again)
            except Exception as error:
                self._note(error)
                seconds = loop.time() - started + pause
                if not self._patience.allows(error, seconds, connected=connected):
                    raise RetryableError(AWAY) from error
            else:
                self.known.learn(batches)
                return results
            again = True
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)

    def _note(self, error: Exception) -> None:
        """Raises NotStorableError for what would fail again and again."""
        telemetry.COMMIT_FAILURES.inc()
        if is_data_error(error):
            raise NotStorableError(describe(error)) from error
        _log.warning("commit_failed", error=describe(error))
        if not is_rollback(error):
            self._drop()

    async def _attempt(
        self, batches: Sequence[Batch], received_at: datetime, *, again: bool
    ) -> list[Appended]:
        try:
            await self._make_months(batches, received_at)
            return await self._append(batches, received_at, again=again)
        except asyncpg.CheckViolationError:
            # A month that was known is gone; one that no event may be dated in stays missing.
            self._partitions.forget()
            await self._make_months(batches, received_at)
            return await self._append(batches, received_at, again=again)

    async def _append(
        self, batches: Sequence[Batch], received_at: datetime, *, again: bool
    ) -> list[Appended]:
        async with asyncio.timeout(self._patience.limit):
            log = await self._connected()
            started = self._clock.monotonic()
            results = await log.append(batches, received_at, again=again)
        telemetry.COMMIT_SECONDS.observe(self._clock.monotonic() - started)
        return results

    async def _make_months(self, batches: Iterable[Batch], received_at: datetime) -> None:
        times = [row.occurred_at for batch in batches for row in batch.rows]
        for month in self._partitions.missing(times, received_at + LATEST):
            async with asyncio.timeout(self._patience.limit):
                log = await self._connected()
                await log.make_months(self._partitions, [month])

    async def _connected(self) -> Log:
        if self._open is None:
            self._open = await Log.open(self._engine, self._patience.attempt)
        return self._open

    def _drop(self) -> None:
        # What answers next may be a standby that took over and lacks the last commits.
        self.known.forget()
        self._partitions.forget()
        if self._open is not None:
            self._open.drop()
            self._open = None

    async def probe(self) -> bool:
        """Whether a commit would succeed now, as far as that can be known without one."""
        return await self._succeeds(Log.probe)

    async def beat(self, path: str, at: datetime) -> bool:
        """Commit a canary's passage; whether that succeeded."""

        async def beat(log: Log) -> bool:
            await log.beat(path, at)
            return True

        return await self._succeeds(beat)

    async def _succeeds(self, work: Callable[[Log], Awaitable[bool]]) -> bool:
        try:
            async with asyncio.timeout(self._patience.attempt):
                return await work(await self._connected())
        except CONNECTION_ERRORS as error:
            _log.warning("probe_failed", error=describe(error))
            self._drop()
            return False

    async def close(self) -> None:
        """Close the connection; at once when the server does not answer."""
        if self._open is None:
            return
        try:
            async with asyncio.timeout(CLOSE_SECONDS):
                await self._open.close()
        except CONNECTION_ERRORS:
            self._drop()
        self._open = None
