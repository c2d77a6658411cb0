"""Which part of a window the recency rollup answers for, and what the visits themselves must add.

A visitor counts in a window with the visit whose predecessor began before it. The rollup knows the
site-local days of both, so it is exact where the window begins with a day; otherwise three pieces
are mended from visits: the ends that are no whole days (or months), and those in between whose
predecessor lies on the day that the window's start cuts.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from service.kpi.tiers import Span
from service.kpi.zones import midnight_from, midnight_until, month_from, month_until


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
    return _pieces(start, end, zone, month_from(start, zone), month_until(end, zone))


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
