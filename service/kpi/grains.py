"""Grains: how a window is cut into the buckets of a series, empty ones included."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta

from service.errors import InvalidError
from service.kit.nearest import nearest
from service.kpi.windows import Unit, Window, add_units, floor
from service.kpi.zones import midnight

MAX_BUCKETS = 2000
GRAINS = ("hour", *(unit.value for unit in Unit))
_HOUR = timedelta(hours=1)

Cuts = Callable[[Window, int], Iterator[datetime]]
"""Where buckets begin after a window's start, without an end; the fiscal month moves years."""


def _hours(window: Window, _: int) -> Iterator[datetime]:
    at = window.start
    while True:
        local = at.astimezone(window.zone)
        into = timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
        at += _HOUR - into
        yield at


def _units(unit: Unit) -> Cuts:
    def cuts(window: Window, fiscal_month: int) -> Iterator[datetime]:
        at = window.start
        first = floor(at.astimezone(window.zone).date(), unit, fiscal_month)
        while True:
            first = add_units(first, unit, 1)
            start = midnight(first, window.zone)
            # A zone that once skipped a whole day has a day of no length: it gets no bucket.
            if start > at:
                at = start
                yield at

    return cuts


_CUTS: dict[str, Cuts] = {
    "hour": _hours,
    **{unit.value: _units(unit) for unit in Unit},
}


def check_grain(grain: str) -> str:
    """The grain itself; InvalidError with the nearest names for an unknown one."""
    if grain not in GRAINS:
        raise InvalidError(
            f"'{grain[:100]}' is not a grain; use one of {', '.join(GRAINS)}.",
            code="unknown_grain",
            field="grain",
            nearest=nearest(grain, GRAINS),
        )
    return grain


def bounds(window: Window, grain: str | None, fiscal_month: int = 1) -> tuple[datetime, ...]:
    """Where the buckets of a series begin, and the window's end: ascending UTC instants.

    The first and the last bucket are cut off by the window, so the buckets partition it. Without
    a grain the window is one bucket. Years begin with `fiscal_month`, and quarters follow it.
    Raises InvalidError above `MAX_BUCKETS`.
    """
    if grain is None:
        return window.start, window.end
    cuts = [window.start]
    for cut in _CUTS[check_grain(grain)](window, fiscal_month):
        if cut >= window.end:
            break
        cuts.append(cut)
        if len(cuts) > MAX_BUCKETS:
            raise InvalidError(
                f"A series has at most {MAX_BUCKETS} buckets; choose a coarser grain than {grain}"
                " or a shorter window.",
                code="too_many_buckets",
                field="grain",
            )
    return (*cuts, window.end)
