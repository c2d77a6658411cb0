"""The switch between the two ways of making a flush durable: Postgres, or the spool."""

from __future__ import annotations

from collections.abc import Callable

from service import telemetry
from service.kit.log import get_logger

_log = get_logger(__name__)


class Outage:
    """Whether Postgres takes flushes; one per process.

    The writer begins an outage with the first flush that failed, the drainer ends it when it has
    committed something. `commits` counts the flushes by which the writer added to the log.
    """

    def __init__(self) -> None:
        self.is_on = False
        self.commits = 0
        self._watchers: list[Callable[[], None]] = []

    def watch(self, begun: Callable[[], None]) -> None:
        """Call this whenever an outage begins."""
        self._watchers.append(begun)

    def begin(self) -> None:
        """From now on flushes go to the spool."""
        if self.is_on:
            return
        self.is_on = True
        telemetry.OUTAGE.set(1)
        _log.warning("outage_begins")
        for begun in self._watchers:
            begun()

    def end(self) -> None:
        """From now on flushes go to Postgres."""
        if not self.is_on:
            return
        self.is_on = False
        telemetry.OUTAGE.set(0)
        _log.warning("outage_ends")
