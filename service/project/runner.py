"""The projection's runner: takes committed batches and projects them, exactly once.

Facts, rollups and the progress mark of a chunk of one site's batches are one transaction under
the site's advisory lock. Any number of runners may run; each takes the sites that the others
leave.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from service import telemetry
from service.kit.clock import Clock
from service.kit.log import get_logger
from service.kit.waiting import wait_at_most
from service.project.backlog import (
    LIMIT_BATCHES,
    LIMIT_EVENTS,
    Chunk,
    mark,
    park,
    take,
    unpark,
)
from service.project.compact import Gains, Step, steps, try_merge
from service.project.projections import PROJECTIONS, Booked, Projection, apply
from service.project.recredit import changed, recredit
from service.project.setbacks import Setbacks, rest
from service.store.engine import reading, writing
from service.store.failures import describe, is_environmental

POLL_SECONDS = 0.2
"""How soon another process's commit is seen; this one's own commits wake the runner."""

BREATHER_SECONDS = 0.1
"""After a chunk that was not full the runner rests as long as it worked, up to this: what gathers
meanwhile is projected together, which costs less and appends fewer rows."""

PATIENCE_SECONDS = 60.0
"""A transaction that takes longer is given up, and tried again with fewer batches."""

STOP_SECONDS = 2.0
COMPACT_SECONDS = 120.0
BETWEEN_STEPS = 0.01

RECREDIT_SECONDS = 1.0
"""How soon a site's new lookback is taken up."""

LONGEST_RECREDIT = 3600.0
"""A site may take long, and each of its statements is bounded; a server that hangs is given up."""
RECREDIT_REST = 60.0
"""How soon that is tried again when it failed: it may have taken long."""

_log = get_logger(__name__)


class Runner:
    """Projects what the database holds unprojected; one per process.

    `projections` is the ordered table to apply; only tests hand in another.
    """

    def __init__(
        self, engine: AsyncEngine, clock: Clock, projections: Sequence[Projection] = PROJECTIONS
    ) -> None:
        self._engine = engine
        self._clock = clock
        self._projections = projections
        self._setbacks = Setbacks()
        self._gains = Gains()
        self._to_compact: deque[Step] = deque()
        self._compact_at = clock.monotonic() + COMPACT_SECONDS
        self._recredit_at = clock.monotonic()
        self._outages = 0
        self._woken = asyncio.Event()
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()
        self._ended.set()
        self._running: asyncio.Task[object] | None = None

    def wake(self) -> None:
        """Say that a batch was committed; called from the event loop of `run`."""
        self._woken.set()

    async def run_once(self, limit_events: int = LIMIT_EVENTS) -> int:
        """Project one chunk of one site; answers its events, 0 when nothing was there to do.

        A chunk is at least one batch, and takes no further one at `limit_events` events. What the
        database raises is raised, after the next attempt at this site has been made smaller, or
        its one batch that fails again and again has been parked.
        """
        chunk, failure = await self._project(limit_events)
        if failure is not None:
            raise failure
        return 0 if chunk is None else chunk.events

    async def run(self) -> None:
        """Project until `stop`; errors are logged and counted, and do not end it."""
        self._ended.clear()
        self._running = asyncio.current_task()
        try:
            await self._until_stopped()
        finally:
            self._running = None
            self._ended.set()

    async def stop(self) -> None:
        """End `run` after the transaction it is in, and wait for that.

        After `STOP_SECONDS` the transaction is given up: it is projected again at the next start.
        """
        self._stopping.set()
        self._woken.set()
        await wait_at_most(self._ended, STOP_SECONDS)
        if self._running is not None:
            self._running.cancel()
        await self._ended.wait()

    async def _until_stopped(self) -> None:
        parked_before: datetime | None = self._clock.now()
        while not self._stopping.is_set():
            self._woken.clear()
            started = self._clock.monotonic()
            try:
                if parked_before is not None:
                    await self._unpark(parked_before)
                    parked_before = None
                chunk, failure = await self._project(LIMIT_EVENTS)
                await self._compact_a_step()
                await self._recredit_a_site()
            except Exception as error:
                await self._sit_out(error)
                continue
            self._outages = 0
            if failure is None:
                await self._pause(chunk, self._clock.monotonic() - started)

    async def _project(self, limit_events: int) -> tuple[Chunk | None, Exception | None]:
        """The chunk that was projected, or that failed and why; what has no chunk is raised."""
        chunk = None
        started = self._clock.monotonic()
        resting = self._setbacks.resting(started)
        try:
            async with self._transaction() as connection:
                chunk = await take(connection, resting, limit_events, self._setbacks.limit_batches)
                if chunk is None:
                    return None, None
                booked = await apply(connection, chunk, self._projections)
                await mark(connection, chunk, self._clock.now())
        except Exception as error:
            cause = "environment" if is_environmental(error) else "batch"
            telemetry.PROJECTION_FAILURES.labels(cause).inc()
            if chunk is None:
                raise
            _log.error("projection_failed", site=chunk.site_id, error=describe(error))
            await self._note_failure(chunk, error)
            return chunk, error
        self._note_success(chunk, booked, self._clock.monotonic() - started)
        return chunk, None

    def _note_success(self, chunk: Chunk, booked: Booked, seconds: float) -> None:
        self._setbacks.succeeded(chunk.site_id)
        self._gains.add(chunk.site_id, booked)
        telemetry.PROJECTED_EVENTS.inc(chunk.events)
        telemetry.ROLLUP_ROWS.inc(booked.rows)
        telemetry.PROJECTION_SECONDS.observe(seconds)

    async def _note_failure(self, chunk: Chunk, error: Exception) -> None:
        now = self._clock.monotonic()
        # One batch that by itself takes too long, again and again, is not the database's fault.
        lone = len(chunk.batches) == 1 and isinstance(error, TimeoutError)
        if is_environmental(error) and not lone:
            self._setbacks.interrupted(chunk.site_id, len(chunk.batches), now)
        elif self._setbacks.failed(chunk.site_id, len(chunk.batches), now):
            async with self._transaction() as connection:
                await park(connection, chunk, self._clock.now())
            telemetry.PARKED_BATCHES.inc()
            _log.error(
                "batch_parked", batch=chunk.batches[0], site=chunk.site_id, error=describe(error)
            )

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[AsyncConnection]:
        """A hung server obeys no timeout of its own, so there is one on this side."""
        async with asyncio.timeout(PATIENCE_SECONDS), writing(self._engine) as connection:
            yield connection

    async def _unpark(self, parked_before: datetime) -> None:
        async with self._transaction() as connection:
            await unpark(connection, parked_before)

    async def _compact_a_step(self) -> None:
        """At most one step a turn, so that compaction never holds up the projection for long."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            if self._clock.monotonic() >= self._compact_at:
                self._compact_at = self._clock.monotonic() + COMPACT_SECONDS
                for site_id, since in self._gains.take():
                    self._to_compact += await steps(self._engine, site_id, since, self._clock.now())
            if self._to_compact:
                step = self._to_compact.popleft()
                if not await try_merge(self._engine, step):
                    self._to_compact.append(step)

    async def _recredit_a_site(self) -> None:
        started = self._clock.monotonic()
        if started < self._recredit_at:
            return
        self._recredit_at = started + RECREDIT_REST
        async with asyncio.timeout(PATIENCE_SECONDS), reading(self._engine) as connection:
            sites = await changed(connection)
        if sites:
            async with asyncio.timeout(LONGEST_RECREDIT):
                booked = await recredit(self._engine, sites[0])
            self._gains.add(sites[0], booked)
        self._recredit_at = self._clock.monotonic() + RECREDIT_SECONDS

    async def _sit_out(self, error: Exception) -> None:
        """The database is away, or not what it should be: no site is better than another."""
        self._outages += 1
        _log.error("projection_failed", error=describe(error))
        await wait_at_most(self._stopping, rest(self._outages))

    async def _pause(self, chunk: Chunk | None, worked: float) -> None:
        if chunk is None:
            await wait_at_most(self._woken, BETWEEN_STEPS if self._to_compact else POLL_SECONDS)
        elif chunk.events < LIMIT_EVENTS and len(chunk.batches) < LIMIT_BATCHES:
            await wait_at_most(self._stopping, min(worked, BREATHER_SECONDS))
