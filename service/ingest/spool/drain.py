"""The drainer: brings the spool into Postgres, and finds out when an outage is over.

It dies of nothing: whatever fails is logged and tried again after a rest. What Postgres refuses is
cut down to single events. A segment that fails although Postgres is well comes again after all
others; a record that fails for a reason nobody knows, again and again while others are stored, is
set aside with its segment.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from service import telemetry
from service.ingest.outage import Outage
from service.ingest.spool.folder import Spool
from service.ingest.spool.payload import Flush
from service.ingest.spool.replay import Replay, Seen
from service.ingest.spool.segment import Segment
from service.kit.clock import Clock
from service.kit.log import get_logger
from service.kit.waiting import wait_at_most
from service.store.failures import describe, is_environmental

IDLE_SECONDS = 0.25
ADOPT_SECONDS = 30.0
STOP_SECONDS = 1.5
FIRST_REST, LONGEST_REST = 0.1, 5.0
PROBE_REST = 0.5
"""During an outage: how soon its end is noticed."""
QUICK_SECONDS = 1.0
"""Only a commit within this time ends an outage: the writer would wait no longer for one."""

GROUP_ROWS = 1_000
GROUP_FLUSHES = 500

CARE = 2
"""A segment that failed so often although Postgres is well is gone through record by record."""
PATIENCE = 10
"""One that failed so often is set aside, if others are stored."""
BLAMELESS = 3
"""When so many records fail before any is stored, it is Postgres's fault and not theirs."""

PROBE_PATH = "probe"

_log = get_logger(__name__)


class StuckError(Exception):
    """Some records of a segment cannot be stored, and nobody knows why."""


@dataclass(slots=True)
class _Trouble:
    """How often a segment failed although Postgres was well.

    `commits` is how much had been stored by the first time, of whatever came in since.
    """

    commits: int
    failures: int = 0


class Drainer:
    """Empties the spool; one per process.

    `wake` is called after each commit that added to the log, `seen` for each canary.
    """

    def __init__(
        self,
        spool: Spool,
        engine: AsyncEngine,
        clock: Clock,
        outage: Outage,
        *,
        wake: Callable[[], None] | None = None,
        seen: Seen | None = None,
    ) -> None:
        self._spool = spool
        self._clock = clock
        self._outage = outage
        self._replay = Replay(engine, wake, seen)
        # What is under way then may hang for long; a new connection finds out sooner.
        outage.watch(self._replay.drop)
        self.replayed = 0
        """Records with events that were stored."""
        self._troubles: dict[Segment, _Trouble] = {}
        self._failures = 0
        self._adopt_at = clock.monotonic() + ADOPT_SECONDS
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()
        self._ended.set()
        self._running: asyncio.Task[object] | None = None

    async def run(self) -> None:
        """Drain until `stop`."""
        self._ended.clear()
        self._running = asyncio.current_task()
        try:
            while not self._stopping.is_set():
                await self._turn()
        finally:
            self._running = None
            await self._replay.close()
            self._ended.set()

    async def stop(self) -> None:
        """End `run` after the commit it is in, or after some two seconds without it."""
        self._stopping.set()
        await wait_at_most(self._ended, STOP_SECONDS)
        if self._running is not None:
            self._replay.drop()
            self._running.cancel()
        await self._ended.wait()

    async def drain_all(self) -> int:
        """Empty the spool once; answers how many segments could not be stored as a whole.

        Raises what the database raises, with nothing lost by it.
        """
        try:
            while (segment := await self._next_without_trouble()) is not None:
                await self._drain_or_remember(segment)
            stuck = len(self._troubles)
            for segment, trouble in list(self._troubles.items()):
                # Nobody stores anything besides: what was, tells that Postgres takes others.
                trouble.failures, trouble.commits = PATIENCE, 0
                await self._drain_or_remember(segment)
            return stuck
        finally:
            await self._replay.close()

    async def _next_without_trouble(self) -> Segment | None:
        segment = await self._spool.next()
        return None if segment in self._troubles else segment

    async def _turn(self) -> None:
        try:
            worked = await self._work()
        except Exception as error:
            self._note(error)
            self._failures += 1
            longest = PROBE_REST if self._outage.is_on else LONGEST_REST
            rest = min(FIRST_REST * 2.0 ** min(self._failures - 1, 10), longest)
            await wait_at_most(self._stopping, rest)
            return
        self._failures = 0
        if not worked:
            # What fails again and again is no reason to ask, and to log it, four times a second.
            rest = LONGEST_REST if self._troubles else IDLE_SECONDS
            await wait_at_most(self._stopping, rest)

    def _note(self, error: Exception) -> None:
        telemetry.REPLAY_FAILURES.inc()
        _log.warning("replay_failed", error=describe(error))
        self._replay.drop()

    async def _work(self) -> bool:
        """Whether there was anything to do."""
        if self._clock.monotonic() >= self._adopt_at:
            self._adopt_at = self._clock.monotonic() + ADOPT_SECONDS
            await self._spool.adopt()
        segment = await self._spool.next()
        if segment is not None:
            is_known = segment in self._troubles
            is_stored = await self._drain_or_remember(segment)
            # Those that failed before come when no other is left: then there is time for a rest.
            return is_stored or not is_known
        if self._outage.is_on:
            await self._probe()
            self._outage.end()
        return False

    async def _drain_or_remember(self, segment: Segment) -> bool:
        """Whether it needs no second try; raises only when Postgres is to blame."""
        trouble = self._troubles.get(segment)
        try:
            if trouble is None or trouble.failures < CARE:
                await self._drain(segment)
            else:
                await self._drain_carefully(segment, trouble)
        except Exception as error:
            self._note(error)
            await self._probe()
            trouble = self._troubles.setdefault(segment, _Trouble(self._commits))
            trouble.failures += 1
            await self._spool.postpone(segment)
            return False
        return True

    @property
    def _commits(self) -> int:
        return self._outage.commits + self.replayed

    async def _probe(self) -> None:
        """Raises unless Postgres commits something quickly."""
        async with asyncio.timeout(QUICK_SECONDS):
            await self._replay.probe(PROBE_PATH, self._clock.now())

    # --- The usual way: many flushes at a time ---------------------------------------------------

    async def _drain(self, segment: Segment) -> None:
        async for group in self._groups(segment):
            await self._store(group)
            if self._stopping.is_set():
                return
        await self._done(segment)

    async def _groups(self, segment: Segment) -> AsyncIterator[list[Flush]]:
        """Flushes to store together; during an outage each by itself, to find out sooner."""
        group: list[Flush] = []
        rows = 0
        async with aclosing(self._spool.flushes(segment)) as flushes:
            async for flush in flushes:
                group.append(flush)
                rows += sum(len(batch.rows) + len(batch.rejected) for batch in flush.batches)
                if rows >= GROUP_ROWS or len(group) >= GROUP_FLUSHES or self._outage.is_on:
                    yield group
                    group, rows = [], 0
        if group:
            yield group

    async def _store(self, group: list[Flush]) -> None:
        started = self._clock.monotonic()
        await self._replay.store(group)
        self.replayed += sum(1 for flush in group if flush.batches)
        if self._clock.monotonic() - started < QUICK_SECONDS:
            self._outage.end()

    async def _done(self, segment: Segment) -> None:
        await self._spool.done(segment)
        self._troubles.pop(segment, None)
        self._replay.forget()

    # --- After a failure: one by one, past those that fail ----------------------------------------

    async def _drain_carefully(self, segment: Segment, trouble: _Trouble) -> None:
        stored, stuck = await self._pass(segment, trouble)
        if not stuck:
            await self._done(segment)
        elif trouble.failures >= PATIENCE and (stored or self._others_are_stored(trouble)):
            _log.error("segment_set_aside", segment=segment.path.name, records=stuck)
            await self._spool.set_aside(segment, stuck)
            self._troubles.pop(segment, None)
            self._replay.forget()
        else:
            raise StuckError

    async def _pass(self, segment: Segment, trouble: _Trouble) -> tuple[int, int]:
        """Go through a segment; answers how many records were stored, and how many could not be."""
        stored = stuck = 0
        async with aclosing(self._spool.flushes(segment)) as flushes:
            async for flush in flushes:
                try:
                    await self._store([flush])
                    stored += bool(flush.batches)
                except Exception as error:
                    if is_environmental(error):
                        raise  # this will pass, however well Postgres answers otherwise
                    _log.warning("record_not_stored", error=describe(error))
                    stuck += 1
                    await self._rule_out_outage()
                hopeless = stuck >= BLAMELESS and not stored
                if self._stopping.is_set() or (hopeless and not self._others_are_stored(trouble)):
                    raise StuckError
        return stored, stuck

    async def _rule_out_outage(self) -> None:
        self._replay.drop()
        await self._probe()
        # New events go there again, which shows whether others are stored.
        self._outage.end()

    def _others_are_stored(self, trouble: _Trouble) -> bool:
        return self._commits > trouble.commits
