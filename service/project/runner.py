"""The projection's runner: takes committed batches and projects them, exactly once.

Facts, rollups and the progress mark of a chunk of one site's batches are one transaction under
the site's advisory lock. Any number of runners may run; each takes the sites that the others
leave.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncEngine

from service import telemetry
from service.kit.clock import Clock
from service.kit.log import get_logger
from service.project.backlog import (
    LIMIT_BATCHES,
    LIMIT_EVENTS,
    Chunk,
    lock_oldest,
    mark,
    park,
    unpark,
    waiting,
)
from service.project.compact import Gains, Step, merge, steps
from service.project.projections import PROJECTIONS, Booked, Projection, apply
from service.project.setbacks import Setbacks, describe, is_environmental
from service.store.engine import writing

POLL_SECONDS = 0.2
"""How soon another process's commit is seen; this one's own commits wake the runner."""

BREATHER_SECONDS = 0.1
"""After a chunk that was not full the runner rests as long as it worked, up to this: what gathers
meanwhile is projected together, which costs less and appends fewer rows."""

LONGEST_BACK_OFF = 5.0
COMPACT_SECONDS = 120.0

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
        self._failures = 0
        self._woken = asyncio.Event()
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()
        self._ended.set()

    def wake(self) -> None:
        """Say that a batch was committed; called from the event loop of `run`."""
        self._woken.set()

    async def run_once(self, limit_events: int = LIMIT_EVENTS) -> int:
        """Project one chunk of one site; answers its events, 0 when nothing was there to do.

        A chunk is at least one batch, and takes no further one at `limit_events` events. What the
        database raises is raised, after the next attempt at this site has been made smaller, or
        its one batch that fails again and again has been parked.
        """
        chunk = await self._project(limit_events)
        return 0 if chunk is None else chunk.events

    async def run(self) -> None:
        """Project until `stop`; errors are logged and counted, and do not end it."""
        self._ended.clear()
        try:
            await self._until_stopped()
        finally:
            self._ended.set()

    async def stop(self) -> None:
        """End `run` after the transaction it is in, and wait for that."""
        self._stopping.set()
        self._woken.set()
        await self._ended.wait()

    async def _until_stopped(self) -> None:
        parked_before = self._clock.now()
        fresh_start = False
        while not self._stopping.is_set():
            self._woken.clear()
            started = self._clock.monotonic()
            try:
                if not fresh_start:
                    await self._unpark(parked_before)
                    fresh_start = True
                chunk = await self._project(LIMIT_EVENTS)
                await self._compact_a_step()
            except Exception as error:
                await self._back_off(error)
            else:
                self._failures = 0
                await self._pause(chunk, self._clock.monotonic() - started)

    async def _project(self, limit_events: int) -> Chunk | None:
        chunk = None
        started = self._clock.monotonic()
        try:
            async with writing(self._engine) as connection:
                resting = self._setbacks.resting(started)
                site_id = await lock_oldest(connection, resting)
                if site_id is None:
                    telemetry.PROJECTION_LAG.set(0)
                    return None
                limit_batches = self._setbacks.limit_batches(site_id)
                chunk = await waiting(connection, site_id, limit_events, limit_batches)
                if chunk is None:
                    return None
                booked = await apply(connection, chunk, self._projections)
                await mark(connection, chunk, self._clock.now())
        except Exception as error:
            await self._note_failure(chunk, error)
            raise
        self._note_success(chunk, booked, self._clock.monotonic() - started)
        return chunk

    def _note_success(self, chunk: Chunk, booked: Booked, seconds: float) -> None:
        self._setbacks.succeeded(chunk.site_id)
        self._gains.add(chunk.site_id, booked)
        telemetry.PROJECTED_EVENTS.inc(chunk.events)
        telemetry.ROLLUP_ROWS.inc(booked.rows)
        telemetry.PROJECTION_SECONDS.observe(seconds)
        telemetry.PROJECTION_LAG.set(
            max(0.0, (self._clock.now() - chunk.received_at).total_seconds())
        )

    async def _note_failure(self, chunk: Chunk | None, error: Exception) -> None:
        cause = "environment" if is_environmental(error) else "batch"
        telemetry.PROJECTION_FAILURES.labels(cause).inc()
        if chunk is None or cause == "environment":
            return
        if self._setbacks.failed(chunk.site_id, len(chunk.batches), self._clock.monotonic()):
            async with writing(self._engine) as connection:
                await park(connection, chunk, self._clock.now())
            telemetry.PARKED_BATCHES.inc()
            _log.error(
                "batch_parked", batch=chunk.batches[0], site=chunk.site_id, error=describe(error)
            )

    async def _unpark(self, parked_before: datetime) -> None:
        async with writing(self._engine) as connection:
            await unpark(connection, parked_before)

    async def _compact_a_step(self) -> None:
        """At most one step a turn, so that compaction never holds up the projection for long."""
        if self._clock.monotonic() >= self._compact_at:
            self._compact_at = self._clock.monotonic() + COMPACT_SECONDS
            for site_id, since in self._gains.take():
                self._to_compact += await steps(self._engine, site_id, since, self._clock.now())
        if self._to_compact:
            await merge(self._engine, self._to_compact.popleft())

    async def _back_off(self, error: Exception) -> None:
        _log.error("projection_failed", error=describe(error))
        if not is_environmental(error):
            return  # its own site rests; the others need not
        self._failures += 1
        await _wait(self._stopping, min(0.1 * 2.0**self._failures, LONGEST_BACK_OFF))

    async def _pause(self, chunk: Chunk | None, worked: float) -> None:
        if chunk is None:
            if not self._to_compact:
                await _wait(self._woken, POLL_SECONDS)
        elif chunk.events < LIMIT_EVENTS and len(chunk.batches) < LIMIT_BATCHES:
            await _wait(self._stopping, min(worked, BREATHER_SECONDS))


async def _wait(event: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
