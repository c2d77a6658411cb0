"""The spool of one process: its own folder of segments, and those that dead processes left."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import AsyncGenerator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import TypeVar

from service import telemetry
from service.errors import OverloadedError, RetryableError, StartupError
from service.ingest.spool import claim
from service.ingest.spool.claim import Claim
from service.ingest.spool.payload import Flush, PayloadError, decode, encode
from service.ingest.spool.quarantine import quarantine
from service.ingest.spool.records import Damage, Record, framed
from service.ingest.spool.segment import (
    SEGMENT_BYTES,
    Appender,
    Segment,
    segment_path,
)
from service.kit.clock import Clock, SystemClock
from service.kit.log import get_logger
from service.kit.sync import sync

TRIES = 2
FULL_RETRY_AFTER = 5
APPEND_SECONDS = 5.0
"""What a disk may take for one record; nothing is kept waiting for one that takes longer."""
ROOM_BYTES = 64 * 1024
"""With less than that (or an eighth of the spool) left it may be full for the next event."""
INLINE_BYTES = 16 * 1024
"""A payload up to this size is decoded at once: a thread would take longer."""

# What an operator has to mend; anything else may pass, and need not keep the service from starting.
_FINAL = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EEXIST, errno.ELOOP,
          errno.ENAMETOOLONG, errno.ENOLCK}  # fmt: skip

_log = get_logger(__name__)
T = TypeVar("T")


class Spool:
    """Makes flushes durable in files below `root`, at most `most_bytes` of them.

    Every method may be called at any time between `open` and `close`; what changes files is done
    one at a time, in the order of the calls, by a thread of the spool's own. What a cancelled call
    has begun is still finished there.
    """

    def __init__(self, root: Path, most_bytes: int, clock: Clock | None = None) -> None:
        self._root = root
        self._most_bytes = most_bytes
        self._clock = clock or SystemClock()
        self._thread = ThreadPoolExecutor(1, "spool")
        self._is_open = False
        self._hangs = False
        # All below is changed by that thread alone.
        self._own: Claim | None = None
        self._adopted: list[Claim] = []
        self._postponed: dict[Segment, None] = {}  # in their order
        self._active: Appender | None = None
        self._serial = 0
        self._index = 0
        self._size = 0
        self._records = 0
        self._since: datetime | None = None
        self._fails = False
        self._unusable: set[str] = set()

    @property
    def size(self) -> int:
        """Bytes of all segments, own and adopted."""
        return self._size

    @property
    def records(self) -> int:
        """Records (flushes) in all segments, own and adopted."""
        return self._records

    @property
    def since(self) -> datetime | None:
        """Nothing in it was received earlier; None while it holds no events."""
        return self._since

    def has_room(self) -> bool:
        """Whether an append may succeed: there is room, and the disk answers without errors."""
        return (
            self._is_open
            and not self._hangs
            and not self._fails
            and self._size + min(ROOM_BYTES, self._most_bytes // 8) < self._most_bytes
        )

    async def open(self) -> None:
        """Make the own folder, adopt leftovers.

        StartupError when the root cannot be used; a disk that is only full is waited for.
        """
        await self._in_order(self._open)
        self._is_open = True
        await self.adopt()

    async def append(self, flush: Flush) -> None:
        """Returns when the flush is on the disk.

        OverloadedError when the spool is full; RetryableError when the disk fails or the spool is
        not open: the flush is not in the spool then. RetryableError as well when the disk does not
        answer for `APPEND_SECONDS`: the flush may be there in the end.
        """
        if not self._is_open:
            raise RetryableError("The spool is not open.")
        if self._hangs:
            raise RetryableError("The spool's disk does not answer.")
        writing = asyncio.ensure_future(self._in_order(self._append, flush))
        writing.add_done_callback(self._answered)
        done, _ = await asyncio.wait({writing}, timeout=APPEND_SECONDS)
        if not done:
            self._hangs = True
            telemetry.SPOOL_FAILURES.labels("hang").inc()
            _log.error("spool_hangs", seconds=APPEND_SECONDS)
            raise RetryableError("The spool's disk does not answer.")
        writing.result()

    async def adopt(self) -> int:
        """Take over folders whose process is gone; answers how many segments came with them."""
        return await self._in_order(self._adopt)

    async def next(self) -> Segment | None:
        """The oldest segment that nothing is appended to; the same again until it is `done`.

        Those that were postponed come when no other is left. The active segment is closed for it
        when there is no other and it has records. None when the spool is empty.
        """
        return await self._in_order(self._next)

    async def postpone(self, segment: Segment) -> None:
        """Let it come after all others: it cannot be replayed now, for a reason of its own."""
        await self._in_order(self._postpone, segment)

    async def flushes(self, segment: Segment) -> AsyncGenerator[Flush, None]:
        """The flushes of a segment, in order; decoded one by one.

        Damaged and unreadable records are counted, once however often this is called, and passed
        over; `done` then keeps the segment in quarantine. Never raises for what is in the file;
        OSError when it cannot be read now.
        """
        for item in await asyncio.to_thread(segment.read):
            if isinstance(item, Damage):
                _note(segment, item)
                continue
            try:
                flush = await _decoded(item)
            except PayloadError as error:
                _note(segment, item, str(error))
            else:
                yield flush

    async def done(self, segment: Segment) -> None:
        """Every flush of it is committed: delete it (or quarantine it, if it was damaged).

        Adopted folders are removed with their last segment. Never raises for the disk.
        """
        await self._in_order(self._done, segment)

    async def set_aside(self, segment: Segment, records: int) -> None:
        """Quarantine a segment of which so many records cannot be stored, for whatever reason."""
        telemetry.SPOOL_DAMAGED_RECORDS.labels("stuck").inc(records)
        segment.is_stuck = True
        await self.done(segment)

    async def close(self) -> None:
        """Close files and locks; the own folder goes when it is empty, else it is a leftover."""
        self._is_open = False
        await self._in_order(self._close)
        self._thread.shutdown(wait=False)

    def _answered(self, writing: asyncio.Future[None]) -> None:
        self._hangs = False
        if not writing.cancelled():
            writing.exception()  # perhaps nobody waits for it any more

    async def _in_order(self, work: Callable[..., T], *arguments: object) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)
        finally:
            telemetry.SPOOL_BYTES.set(self._size)
            telemetry.SPOOL_RECORDS.set(self._records)

    # What follows is done in the spool's thread.

    def _open(self) -> None:
        try:
            self._own = self._make_own()
        except OSError as error:
            if error.errno in _FINAL:
                raise StartupError(
                    f"{self._root} cannot hold the spool: {error.strerror}; set KOMPAS_SPOOL_DIR"
                    " to a folder that Kompas can write to."
                ) from error
            self._note_failure("open", error)

    def _make_own(self) -> Claim:
        missing = [path for path in (self._root, *self._root.parents) if not path.exists()]
        self._root.mkdir(mode=0o700, parents=True, exist_ok=True)
        for path in missing:
            sync(path.parent)
        return claim.make(self._root, self._clock.now())

    def _append(self, flush: Flush) -> None:
        try:
            frame = framed(self._index, encode(flush))
        except OverflowError:
            raise OverloadedError("This is too much for one record of the spool.") from None
        if self._size + len(frame) > self._most_bytes:
            raise OverloadedError("The spool is full.", retry_after=FULL_RETRY_AFTER)
        for _ in range(TRIES):
            try:
                self._write(frame)
            except OSError as error:
                self._note_failure("append", error)
                self._give_up()
            else:
                self._index += 1
                self._size += len(frame)
                self._records += 1
                self._fails = False
                telemetry.SPOOLED_EVENTS.inc(flush.events)
                if flush.events:
                    self._holds_since(flush.received_at)
                return
        raise RetryableError("The spool's disk fails; nothing was acknowledged.")

    def _holds_since(self, at: datetime) -> None:
        self._since = at if self._since is None else min(self._since, at)

    def _write(self, frame: bytes) -> None:
        if self._active is not None and self._active.size + len(frame) > SEGMENT_BYTES:
            self._retire()
        if self._active is None:
            self._active = self._begin()
        self._active.append(frame)

    def _begin(self) -> Appender:
        self._serial += 1
        if self._own is not None and not self._own.path.exists():
            # Somebody has removed our folder: what was in it is missed when its turn comes.
            self._adopted.append(self._own)
            self._own = None
        if self._own is None:
            self._own = self._make_own()
        return Appender(segment_path(self._own.path, self._serial, self._index), self._index)

    def _retire(self) -> None:
        if self._active is not None and self._own is not None:
            self._own.segments.append(self._active.close())
            self._active = None

    def _give_up(self) -> None:
        if self._active is not None and self._own is not None:
            segment = self._active.give_up()
            self._own.segments += [segment] if segment else []
            self._active = None

    def _adopt(self) -> int:
        try:
            adopted = claim.leftovers(self._root, self._unusable)
        except OSError as error:
            self._note_failure("adopt", error)
            return 0
        self._adopted += adopted
        segments = [segment for taken in adopted for segment in taken.segments]
        self._size += sum(segment.size for segment in segments)
        self._records += sum(segment.records for segment in segments)
        for taken in adopted:
            self._holds_since(_first_time(taken.segments[0], self._clock.now()))
        return len(segments)

    def _claims(self) -> list[Claim]:
        return [*self._adopted, self._own] if self._own else self._adopted

    def _next(self) -> Segment | None:
        for taken in self._claims():
            for segment in taken.segments:
                if segment not in self._postponed:
                    return segment
        if self._active is not None and self._active.records:
            self._retire()
            return self._next()
        return next(iter(self._postponed), None)

    def _postpone(self, segment: Segment) -> None:
        self._postponed.pop(segment, None)
        self._postponed[segment] = None

    def _done(self, segment: Segment) -> None:
        for taken in self._claims():
            if segment in taken.segments:
                taken.segments.remove(segment)
                self._postponed.pop(segment, None)
                self._size -= segment.size
                self._records -= segment.records
                if not self._records:
                    self._since = None
                self._discard(segment)
                if taken is not self._own and not taken.segments and taken.remove():
                    self._adopted.remove(taken)
                return

    def _discard(self, segment: Segment) -> None:
        try:
            if segment.is_damaged or segment.is_stuck:
                quarantine(self._root, segment.path, stuck=segment.is_stuck)
            else:
                segment.path.unlink()
            sync(segment.path.parent)
        except FileNotFoundError:
            pass
        except OSError as error:
            # It will be replayed once more by whoever finds it, which changes nothing.
            self._note_failure("delete", error)

    def _close(self) -> None:
        self._retire()
        for taken in self._claims():
            if taken.segments or not taken.remove():
                taken.release()
        self._adopted = []
        self._own = None

    def _note_failure(self, action: str, error: OSError) -> None:
        telemetry.SPOOL_FAILURES.labels(action).inc()
        _log.error("spool_failed", action=action, error=error.strerror)
        if action in {"open", "append"}:
            # Until something is on the disk again: a canary tries once a minute, events at once.
            self._fails = True


def _first_time(segment: Segment, otherwise: datetime) -> datetime:
    """When the first record of a segment that can be read was received."""
    with suppress(OSError):  # it is tried again when its turn comes
        for item in segment.read():
            if isinstance(item, Record):
                with suppress(PayloadError):
                    return decode(item.payload).received_at
    return otherwise


async def _decoded(record: Record) -> Flush:
    if len(record.payload) <= INLINE_BYTES:
        return decode(record.payload)
    return await asyncio.to_thread(decode, record.payload)


def _note(segment: Segment, found: Damage | Record, error: str = "") -> None:
    """Count what was passed over, the first time it is met."""
    where = (found.start, found.end)
    if where in segment.noted:
        return
    segment.noted.add(where)
    kind, records = "unreadable", 1
    if isinstance(found, Damage):
        kind, records = ("torn", 1) if found.torn else ("damaged", found.records)
    segment.is_damaged |= kind != "torn"
    telemetry.SPOOL_DAMAGED_RECORDS.labels(kind).inc(records)
    _log.error(
        "spool_damaged", kind=kind, records=records, segment=str(segment.path), bytes=where,
        error=error or None,
    )  # fmt: skip
