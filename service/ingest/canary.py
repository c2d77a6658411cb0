"""The canary: each minute something goes the way of an event, by either path, and is counted
nowhere; the age of the last one that came through says whether that path works."""

from __future__ import annotations

import asyncio
from datetime import datetime
from functools import partial

from service import telemetry
from service.errors import RetryableError
from service.ingest.spool.folder import Spool
from service.ingest.spool.payload import Flush
from service.ingest.writer import Writer
from service.kit.clock import Clock
from service.kit.log import get_logger
from service.store.failures import describe

EVERY_SECONDS = 60.0
POSTGRES, SPOOL = "postgres", "spool"

_log = get_logger(__name__)


class Canary:
    """Sends canaries through the writer, and through the spool if there is one."""

    def __init__(self, writer: Writer, spool: Spool | None, clock: Clock) -> None:
        self._writer = writer
        self._spool = spool
        self._clock = clock
        paths = (POSTGRES,) if spool is None else (POSTGRES, SPOOL)
        self._seen = dict.fromkeys(paths, clock.now())
        for path in paths:
            telemetry.CANARY_AGE.labels(path).set_function(partial(self.age, path))

    def seen(self, path: str, at: datetime) -> None:
        """Note that a canary that set out at `at` came through."""
        if path in self._seen:
            self._seen[path] = max(self._seen[path], at)

    def age(self, path: str) -> float:
        """Seconds since the last one that came through set out; since the start, before any."""
        return max(0.0, (self._clock.now() - self._seen[path]).total_seconds())

    async def run(self) -> None:
        """Send them until cancelled."""
        while True:
            try:
                await self.send()
            except Exception as error:
                # Its age would tell of an outage that there is none, until the next start.
                _log.error("canary_failed", error=describe(error))
            await asyncio.sleep(EVERY_SECONDS)

    async def send(self) -> None:
        """One by each path; that by the spool has come through when it was replayed."""
        at = self._clock.now()
        if self._spool is not None:
            try:
                await self._spool.append(Flush(at, []))
            except RetryableError as error:
                _log.warning("canary_not_spooled", code=error.code)
        if await self._writer.beat(POSTGRES):
            self.seen(POSTGRES, at)
