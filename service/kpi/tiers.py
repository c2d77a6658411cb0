"""Which tier answers for which part of a window: months, days, quarter hours, or the facts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from service.kpi.zones import midnight_from, midnight_until, month_from, month_until

QUARTER = timedelta(minutes=15)
MOST_SHIFTED = 0.75
"""Part of the days' time up to which quarter hours mend them, instead of answering alone."""

MOST_CUTS = 3
"""Bounds a day up to which it is worth looking for the midnights beside them."""

_DAY = timedelta(days=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Span(NamedTuple):
    """`[start, end)`, aware UTC, never empty."""

    start: datetime
    end: datetime


class Shift(NamedTuple):
    """Quarter hours between a bound of a series and the site's midnight beside it.

    Days are booked as a whole in one bucket (from 1); what lies in `[start, end)` moves from there
    to the bucket it belongs to.
    """

    start: datetime
    end: datetime
    gains: int
    loses: int


class Cover(NamedTuple):
    """A window as disjoint spans that together are the window: at most one of days.

    `months` are the whole months among the days, for whoever needs no days. Where buckets cut days,
    each row belongs to the bucket (from 1) of `starts` that it lies in, and `shifts` mend that.
    """

    days: Span | None
    quarters: tuple[Span, ...]
    edges: tuple[Span, ...]
    shifts: tuple[Shift, ...] = ()
    starts: tuple[datetime, ...] = ()
    months: Span | None = None

    def around_months(self) -> tuple[Span, ...]:
        """The days that are left when whole months are taken out."""
        if self.days is None or self.months is None:
            return () if self.days is None else (self.days,)
        return _spans((self.days.start, self.months.start), (self.months.end, self.days.end))


def _spans(*pairs: tuple[datetime, datetime]) -> tuple[Span, ...]:
    return tuple(Span(start, end) for start, end in pairs if start < end)


def _floor(at: datetime) -> datetime:
    return at - (at - _EPOCH) % QUARTER


def _ceil(at: datetime) -> datetime:
    return _floor(at + QUARTER - timedelta(microseconds=1))


def _days(bounds: Sequence[datetime], site_zone: ZoneInfo) -> Span | None:
    """The whole site-local days inside."""
    first, last = midnight_from(bounds[0], site_zone), midnight_until(bounds[-1], site_zone)
    return Span(first, last) if first < last else None


def _months(days: Span, site_zone: ZoneInfo) -> Span | None:
    """The whole site-local months inside."""
    first, last = month_from(days.start, site_zone), month_until(days.end, site_zone)
    return Span(first, last) if first < last else None


def _nearest(bound: datetime, days: Span, site_zone: ZoneInfo) -> datetime:
    """The midnight nearest to a bound of the series, among those of the days."""
    if not days.start < bound < days.end:
        return bound
    before = midnight_until(bound, site_zone)
    if before == bound:
        return bound
    after = midnight_from(bound, site_zone)
    return before if bound - before <= after - bound else after


def _midnights(
    bounds: Sequence[datetime], days: Span, site_zone: ZoneInfo
) -> tuple[datetime, ...] | None:
    """The starts of the buckets, each at the midnight nearest to it; None if that helps nobody."""
    length = days.end - days.start
    if len(bounds) > MOST_CUTS * length / _DAY:
        return None
    found = (bounds[0], *(_nearest(at, days, site_zone) for at in bounds[1:-1]))
    shifted = sum((abs(at - to) for at, to in zip(bounds[:-1], found, strict=True)), timedelta())
    aligned = all(_floor(at) == at for at in (*days, *found[1:]))
    return found if aligned and shifted <= MOST_SHIFTED * length else None


def _shifts(bounds: Sequence[datetime], midnights: Sequence[datetime]) -> tuple[Shift, ...]:
    return tuple(
        Shift(at, bound, number, number + 1) if at < bound else Shift(bound, at, number + 1, number)
        for number, (bound, at) in enumerate(zip(bounds[:-1], midnights, strict=True))
        if at != bound
    )


def cover(bounds: Sequence[datetime], site_zone: ZoneInfo) -> Cover:
    """The coarsest tiers that answer exactly for the buckets between `bounds` (ascending UTC).

    Whole days (or months) come from site-local rollups, the rest from quarter hours, and what is
    left of a quarter hour that an end of the window cuts from the facts. Buckets that cut a few of
    the days (those of another zone) are mended by quarter hours; where they cut too many, these
    answer alone. Where buckets cut quarter hours (zones had odd offsets before 1972) the facts do.
    """
    start, end = bounds[0], bounds[-1]
    if any(_floor(at) != at for at in bounds[1:-1]):
        return facts_alone(bounds)
    first, last = _ceil(start), _floor(end)
    if first > last:  # both ends cut the same quarter hour
        return facts_alone(bounds)
    edges = _spans((start, first), (last, end))
    days = _days(bounds, site_zone)
    midnights = None if days is None else _midnights(bounds, days, site_zone)
    if days is None or midnights is None:
        return Cover(None, _spans((first, last)), edges)
    around = _spans((first, days.start), (days.end, last))
    shifts = _shifts(bounds, midnights)
    months = _months(days, site_zone) if len(bounds) == 2 else None
    return Cover(days, around, edges, shifts, midnights if shifts else (), months)


def facts_alone(bounds: Sequence[datetime]) -> Cover:
    """A whole window from the facts."""
    return Cover(None, (), (Span(bounds[0], bounds[-1]),))
