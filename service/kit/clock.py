"""The one home of time: everything else is handed an instant or a `Clock`."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Where the time comes from; passed in, so that a test can stand still."""

    def now(self) -> datetime:
        """The current instant: aware, in UTC, to the microsecond."""
        ...

    def monotonic(self) -> float:
        """Seconds since an unknown start, never going back: for durations and deadlines."""
        ...


class SystemClock:
    """The machine's own clocks."""

    def now(self) -> datetime:
        """The wall clock, aware and in UTC."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """The monotonic clock, in seconds."""
        return time.monotonic()
