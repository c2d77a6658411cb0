"""Which tier answers for which part of a window: days, quarter hours, or the facts themselves."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from service.kpi.zones import is_clean_midnight, midnight_from, midnight_until

QUARTER = timedelta(minutes=15)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Span(NamedTuple):
    """`[start, end)`, aware UTC, never empty."""

    start: datetime
    end: datetime


class Cover(NamedTuple):
    """A window as disjoint spans that together are the window: at most one of days."""

    days: Span | None
    quarters: tuple[Span, ...]
    edges: tuple[Span, ...]


def _spans(*pairs: tuple[datetime, datetime]) -> tuple[Span, ...]:
    return tuple(Span(start, end) for start, end in pairs if start < end)


def _floor(at: datetime) -> datetime:
    return at - (at - _EPOCH) % QUARTER


def _ceil(at: datetime) -> datetime:
    return _floor(at + QUARTER - timedelta(microseconds=1))


def _days(bounds: Sequence[datetime], site_zone: ZoneInfo) -> Span | None:
    """The whole site-local days inside, if no bucket of the series cuts one of them."""
    if not all(is_clean_midnight(at, site_zone) for at in bounds[1:-1]):
        return None
    first, last = midnight_from(bounds[0], site_zone), midnight_until(bounds[-1], site_zone)
    return Span(first, last) if first < last else None


def cover(bounds: Sequence[datetime], site_zone: ZoneInfo) -> Cover:
    """The coarsest tiers that answer exactly for the buckets between `bounds` (ascending UTC).

    Whole days come from site-local day rollups, the rest from quarter hours, and what is left of
    a quarter hour that an end of the window cuts from the facts. Where buckets cut quarter hours
    (zones had odd offsets before 1972) the facts answer for all of it.
    """
    start, end = bounds[0], bounds[-1]
    days = _days(bounds, site_zone)
    cuts = (*bounds[1:-1], *(days or ()))
    if any(_floor(at) != at for at in cuts):
        return Cover(None, (), (Span(start, end),))
    first, last = _ceil(start), _floor(end)
    if first > last:  # both ends cut the same quarter hour
        return Cover(None, (), (Span(start, end),))
    middle = days or Span(last, last)
    return Cover(
        days,
        _spans((first, middle.start), (middle.end, last)),
        _spans((start, first), (last, end)),
    )
