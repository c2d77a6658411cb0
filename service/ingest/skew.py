"""A client's clock that is wrong: when its events really happened.

An event that says when it happened and when it was sent says how old it was by one and the same
clock; that age is right even where the clock is not.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import NamedTuple

TOLERATED = timedelta(seconds=60)
"""Less than this is no skew: a body may take a minute to arrive, and a slow link looks like a
clock that is behind."""

WRONG_DAY = timedelta(days=1)
"""A clock that differs by more is flagged."""

_EARLIEST, _LATEST = (each.replace(tzinfo=UTC) for each in (datetime.min, datetime.max))


class Corrected(NamedTuple):
    """When an event happened (aware UTC), and how much later that is than its client said."""

    at: datetime
    by: timedelta


def corrected(said: datetime, sent: datetime, received: datetime) -> Corrected:
    """`said` and `sent` are by the client's clock, `received` by ours; all are aware UTC.

    What no calendar holds becomes the calendar's end, which is for the caller to refuse.
    """
    skew = received - sent
    if abs(skew) <= TOLERATED:
        return Corrected(said, timedelta(0))
    try:
        return Corrected(said + skew, skew)
    except OverflowError:
        return Corrected(_LATEST if skew > timedelta(0) else _EARLIEST, skew)
