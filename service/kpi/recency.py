"""Which part of a window the recency rollup answers for, and what the visits themselves must mend.

A visitor counts in a window with the visit whose predecessor began before it. The rollup knows the
site-local days of both, so it is exact where the window begins with a day. Otherwise three parts
are mended from visits: both ends as far as they are no whole days (or months), and those whose
predecessor lies on the day that the window's start cuts. Each is added, or what it lacks is taken
away, whichever is shorter.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

from service.kpi.tiers import Span
from service.kpi.zones import midnight_from, midnight_until, month_from, month_until

Bound = Callable[[datetime, ZoneInfo], datetime]


class Part(NamedTuple):
    """Visits that count besides ("+"), or that the rollup counts too many ("-")."""

    span: Span
    sign: str


class Pieces(NamedTuple):
    """A window as `whole` days or months, mended at its `edges`.

    The rollup counts what follows a visit before `known_before`. If that is before the window, what
    follows one of the `cut` counts besides; if it is after the start, that counts too many.
    """

    whole: Span
    edges: tuple[Part, ...]
    cut: Part | None
    known_before: datetime

    @property
    def parts(self) -> tuple[Part, ...]:
        """Everything that is looked up in visits."""
        return (*self.edges, *([] if self.cut is None else [self.cut]))

    @property
    def mended(self) -> timedelta:
        """The time whose visits are looked up."""
        return sum((part.span.end - part.span.start for part in self.parts), timedelta())

    @property
    def values(self) -> dict[str, Any]:
        """The parameters of a statement over them."""
        named = {
            "whole": self.whole,
            **{f"edge_{n}": edge.span for n, edge in enumerate(self.edges)},
        }
        if self.cut is not None:
            named["cut"] = self.cut.span
        values: dict[str, Any] = {"known_before": self.known_before}
        for name, span in named.items():
            values[f"{name}_from"], values[f"{name}_to"] = span
        return values


def days_of(start: datetime, end: datetime, zone: ZoneInfo) -> Pieces | None:
    """The window as whole days, mended; None where that would take as long as reading it."""
    return _pieces(start, end, zone, midnight_until, midnight_from)


def months_of(start: datetime, end: datetime, zone: ZoneInfo) -> Pieces | None:
    """The window as whole months, mended; None where that would take as long as reading it."""
    return _pieces(start, end, zone, month_until, month_from)


def _pieces(
    start: datetime, end: datetime, zone: ZoneInfo, until: Bound, following: Bound
) -> Pieces | None:
    first, last = (_nearest(at, until(at, zone), following(at, zone)) for at in (start, end))
    day, next_day = midnight_until(start, zone), midnight_from(start, zone)
    known_before = _nearest(start, day, next_day)
    cut = _part(known_before, start) if day < start else None
    edges = (_part(start, first), _part(last, end))
    found = Pieces(Span(first, last), tuple(filter(None, edges)), cut, known_before)
    return found if first < last and found.mended < end - start else None


def _nearest(at: datetime, before: datetime, after: datetime) -> datetime:
    return before if at - before <= after - at else after


def _part(start: datetime, end: datetime) -> Part | None:
    """From `start` to `end`, or what lies too many between them if they are the other way round."""
    if start == end:
        return None
    return Part(Span(start, end), "+") if start < end else Part(Span(end, start), "-")
