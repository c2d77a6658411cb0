"""A clock for tests that stand still."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class FixedClock:
    """A clock that moves only when told to.

    `at` is the first instant, aware in any zone; a naive one raises `ValueError`.
    """

    def __init__(self, at: datetime) -> None:
        self._now = _utc(at)
        self._monotonic = 0.0

    def now(self) -> datetime:
        """The instant it was set to, in UTC."""
        return self._now

    def monotonic(self) -> float:
        """Seconds it was moved forward since it was made."""
        return self._monotonic

    def set(self, at: datetime) -> None:
        """Jump to `at` (aware); a jump back leaves `monotonic()` where it was."""
        at = _utc(at)
        # A wall clock may be corrected backwards; the monotonic clock never follows it.
        self._monotonic += max(0.0, (at - self._now).total_seconds())
        self._now = at

    def advance(self, seconds: float) -> None:
        """Move both clocks on by `seconds`; a negative number raises `ValueError`."""
        if seconds < 0:
            raise ValueError("a clock advances by zero seconds or more")
        self._now += timedelta(seconds=seconds)
        self._monotonic += seconds


def _utc(at: datetime) -> datetime:
    if at.tzinfo is None:
        raise ValueError(f"an instant needs a time zone: {at.isoformat()} has none")
    return at.astimezone(UTC)
