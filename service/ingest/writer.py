"""The writer: makes submissions durable by group commit.

One flush is under way at a time; whatever is submitted meanwhile is the next one. There is no
timer: a lonely event is committed at once, and under load flushes grow by themselves. When Postgres
does not take a flush, the spool does, and those behind it do not ask Postgres until the outage is
over.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncEngine

from service import telemetry
from service.domain.events import Receipt, Submission
from service.errors import OverloadedError, RetryableError
from service.ingest.flush import ACCEPTED, Part, Pending, Plan, Tally, halves, refused, whole
from service.ingest.lane import FALLING_BACK, Lane, NotStorableError, Patience
from service.ingest.outage import Outage
from service.ingest.spool.folder import Spool
from service.ingest.spool.payload import Flush
from service.kit.clock import Clock
from service.kit.log import get_logger
from service.store.append import Appended
from service.store.failures import describe

GATHER_SECONDS = 0.01
"""During an outage a flush waits so long for company: fewer syncs, and fewer batches to replay."""

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much may wait in memory, and how much is flushed together.

    A flush takes submissions in the order of their arrival, up to `flush_rows` log rows and
    refusals; one submission is never cut, and one that is larger is flushed by itself.
    """

    pending_rows: int = 50_000
    pending_bytes: int = 64 * 1024 * 1024
    flush_rows: int = 2_000


class Writer:
    """Takes submissions of any site; one per process. Several processes may share a database.

    `wake` is called after each commit that added to the log. Without a `spool` an event is refused
    when Postgres does not take it; with one, the writer begins the `outage` and the drainer ends
    it.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        clock: Clock,
        wake: Callable[[], None] | None = None,
        *,
        bounds: Bounds | None = None,
        patience: Patience | None = None,
        spool: Spool | None = None,
        outage: Outage | None = None,
    ) -> None:
        self._clock = clock
        self._wake = wake
        self._bounds = bounds or Bounds()
        self._patience = patience or (FALLING_BACK if spool else Patience())
        self._spool = spool
        self._outage = outage or Outage()
        self._lane = Lane(engine, clock, self._patience)
        self._lane_free = asyncio.Lock()
        self._waiting: deque[Pending] = deque()
        self._pending_rows = 0
        self._pending_bytes = 0
        self._arrived = asyncio.Event()
        self._running: asyncio.Task[None] | None = None
        self._stopping = False

    async def start(self) -> None:
        """Begin to take submissions; the database need not be there yet."""
        self._running = asyncio.create_task(self._run(), name="writer")

    async def stop(self) -> None:
        """Take no more, make durable what waits, close the connection."""
        self._stopping = True
        self._arrived.set()
        if self._running is not None:
            await self._running
            self._running = None
        await self._lane.close()

    async def can_write(self) -> bool:
        """Whether an event can be made durable now; answers within about two seconds."""
        if self._running is None or self._stopping or self._is_full(1, 0):
            return False
        if self._spool is not None and self._spool.has_room():
            return True
        if self._outage.is_on:
            return False
        try:
            async with asyncio.timeout(self._patience.attempt):
                await self._lane_free.acquire()
        except TimeoutError:
            return False
        try:
            return await self._lane.probe()
        finally:
            self._lane_free.release()

    async def beat(self, path: str) -> bool:
        """Send a canary the way that flushes go to Postgres; False when it does not arrive.

        Begins an outage when it finds one out.
        """
        async with self._lane_free:
            if self._outage.is_on:
                return False
            arrived = await self._lane.beat(path, self._clock.now())
            if not arrived and self._spool is not None:
                self._outage.begin()
            return arrived

    async def submit(self, submission: Submission) -> Receipt:
        """Returns after COMMIT, with what became of each event; or after the sync of the spool.

        Rows of one event stand together and share its key; an event whose key is known already,
        or came earlier in the same request or flush, is a duplicate. What goes to the spool counts
        as accepted: which of it was known is found out when it is replayed. Raises OverloadedError
        at once when too much waits, or when the spool is full; RetryableError when neither the
        database nor the spool takes it (an answer may be all that was lost, so a repetition is
        harmless only with ids).
        """
        if self._running is None or self._stopping:
            raise RetryableError("Kompas is not taking events at the moment.")
        pending = Pending(submission, asyncio.get_running_loop().create_future())
        if not pending.size:
            return Receipt(0, 0, [])
        if self._is_full(pending.size, pending.bytes):
            raise OverloadedError("Too many events wait to be stored.")
        self._pending_rows += pending.size
        self._pending_bytes += pending.bytes
        self._waiting.append(pending)
        self._arrived.set()
        return await pending.done

    def _is_full(self, size: int, bytes_: int) -> bool:
        # A request that is too big by itself is taken when nothing else waits, or it never would.
        return self._pending_rows > 0 and (
            self._pending_rows + size > self._bounds.pending_rows
            or self._pending_bytes + bytes_ > self._bounds.pending_bytes
        )

    async def _run(self) -> None:
        while True:
            await self._arrived.wait()
            if self._outage.is_on and not self._stopping:
                await asyncio.sleep(GATHER_SECONDS)
            async with self._lane_free:
                await self._flush(self._take())
            if not self._waiting:
                if self._stopping:
                    return
                self._arrived.clear()

    def _take(self) -> list[Pending]:
        taken: list[Pending] = []
        rows = 0
        while self._waiting:
            rows += self._waiting[0].size
            if taken and rows > self._bounds.flush_rows:
                break
            taken.append(self._waiting.popleft())
        return taken

    async def _flush(self, taken: list[Pending]) -> None:
        if not taken:
            return
        telemetry.PENDING_EVENTS.set(self._pending_rows)
        try:
            await self._store([whole(pending) for pending in taken])
        except RetryableError as error:
            # The database is away for those behind them too: they need not find it out one flush
            # after the other.
            taken += self._waiting
            self._waiting.clear()
            self._fail(taken, error)
        except Exception as error:
            _log.error("flush_failed", error=describe(error))
            self._fail(taken, RetryableError("The events could not be stored."))
        self._pending_rows -= sum(pending.size for pending in taken)
        self._pending_bytes -= sum(pending.bytes for pending in taken)
        telemetry.PENDING_EVENTS.set(self._pending_rows)

    def _fail(self, pendings: Sequence[Pending], error: RetryableError) -> None:
        for pending in pendings:
            if not pending.done.done():
                # Each waits in a task of its own, and an exception carries its traceback.
                copy = type(error)(error.message, retry_after=error.retry_after, code=error.code)
                pending.done.set_exception(copy)

    async def _store(self, parts: Sequence[Part]) -> None:
        """Commit the parts; those that the database refuses, in halves, down to one event."""
        try:
            await self._commit(parts)
        except OverloadedError as error:
            # None of them was stored. One that is too much for the spool takes no other with it.
            if len(parts) == 1:
                self._fail([parts[0].pending], error)
                return
            for part in parts:
                await self._store([part])
        except NotStorableError as error:
            smaller = halves(parts)
            if smaller is not None:
                for half in smaller:
                    await self._store(half)
                return
            _log.error("not_storable", error=str(error))
            await self._refuse(parts[0])

    async def _commit(self, parts: Sequence[Part]) -> None:
        plan = Plan(parts, self._lane.known)
        received_at = self._clock.now()
        if self._spool is None:
            self._settle(plan, await self._lane.commit(plan.batches, received_at))
            return
        if not self._outage.is_on:
            try:
                self._settle(plan, await self._lane.commit(plan.batches, received_at))
            except RetryableError:
                self._outage.begin()
            else:
                return
        # The same tokens: what Postgres has committed after all is found to be there.
        await self._spool.append(Flush(received_at, plan.complete()))
        self._settle_spooled(plan)

    def _settle(self, plan: Plan, results: Sequence[Appended]) -> None:
        tally = plan.settle(results)
        self._count(tally)
        if tally.accepted:
            self._outage.commits += 1
            telemetry.BATCH_EVENTS.observe(tally.accepted)
            if self._wake is not None:
                self._wake()

    def _settle_spooled(self, plan: Plan) -> None:
        tally = plan.settle([Appended()] * len(plan.batches))
        # What becomes of these is counted when they are replayed.
        known = {key: n for key, n in tally.events.items() if key[1] != ACCEPTED}
        self._count(Tally(Counter(known), tally.codes))

    async def _refuse(self, part: Part) -> None:
        refusal = refused(part) if part.rows else part
        try:
            await self._commit([refusal])
        except NotStorableError:
            # Its row cannot be written, but the sender and the counters are told.
            self._count(Plan([refusal], self._lane.known).settle([Appended()]))

    def _count(self, tally: Tally) -> None:
        for (kind, outcome), number in tally.events.items():
            telemetry.EVENTS.labels(kind, outcome).inc(number)
        for code, number in tally.codes.items():
            telemetry.REJECTIONS.labels(code).inc(number)
