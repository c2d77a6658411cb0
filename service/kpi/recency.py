"""Which part of a window the recency rollup answers for, and what the visits themselves must add.

A visitor counts in a window with the visit whose predecessor began before it. The rollup knows the
site-local days of both, so it is exact where the window begins with a day; otherwise three pieces
are mended from visits: the ends that are no whole days (or months), and those in between whose
predecessor lies on the day that the window's start cuts.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from service.kpi.tiers import Span
from service.kpi.zones import is_clean_midnight, midnight, midnight_from, midnight_until


class Pieces(NamedTuple):
    """A window: whole days or months, the `edges` around them, and the `cut` off its first day.

    What came before the window came before `known_before`, or in the cut.
    """

    whole: Span
    edges: tuple[Span, ...]
    cut: Span | None
    known_before: datetime

    @property
    def values(self) -> dict[str, Any]:
        """The parameters of a statement over them."""
        named = {"whole": self.whole, **{f"edge_{n}": span for n, span in enumerate(self.edges)}}
        if self.cut is not None:
            named["cut"] = self.cut
        values: dict[str, Any] = {"known_before": self.known_before}
        for name, span in named.items():
            values[f"{name}_from"], values[f"{name}_to"] = span
        return values


def days_of(start: datetime, end: datetime, zone: ZoneInfo) -> Pieces | None:
    """The window as whole days and the rest; None if no whole day lies in it."""
    return _pieces(start, end, zone, midnight_from(start, zone), midnight_until(end, zone))


def months_of(start: datetime, end: datetime, zone: ZoneInfo) -> Pieces | None:
    """The window as whole months and the rest; None if no whole month lies in it."""
    first = _month_start(start, zone, lambda at: at >= start, 1)
    last = _month_start(end, zone, lambda at: at <= end, -1)
    return _pieces(start, end, zone, first, last)


def _pieces(
    start: datetime, end: datetime, zone: ZoneInfo, first: datetime, last: datetime
) -> Pieces | None:
    if first >= last:
        return None
    edges = (Span(start, first), Span(last, end))
    day = midnight_until(start, zone)
    return Pieces(
        whole=Span(first, last),
        edges=tuple(edge for edge in edges if edge.start < edge.end),
        cut=Span(day, start) if day < start else None,
        known_before=day,
    )


def _month_start(
    at: datetime, zone: ZoneInfo, fits: Callable[[datetime], bool], step: int
) -> datetime:
    """The nearest start of a month, in the direction of `step`, at which days can be cut."""
    month = at.astimezone(zone).date().replace(day=1)
    while not (fits(found := midnight(month, zone)) and is_clean_midnight(found, zone)):
        month = _neighbour(month, step)
    return found


def _neighbour(month: date, step: int) -> date:
    return (month + timedelta(days=31 if step > 0 else -1)).replace(day=1)
