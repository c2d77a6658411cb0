"""Grains: how a window is cut into the buckets of a series, empty ones included."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta

from service.errors import InvalidError
from service.kit.nearest import nearest
from service.kpi.windows import Unit, Window, add_units, floor
from service.kpi.zones import midnight

MAX_BUCKETS = 2000
GRAINS = ("hour", *(unit.value for unit in Unit))
_HOUR = timedelta(hours=1)

Next = Callable[[datetime, Window, int], datetime]


def _next_hour(at: datetime, window: Window, _: int) -> datetime:
    local = at.astimezone(window.zone)
    into = timedelta(minutes=local.minute, seconds=local.second, microseconds=local.microsecond)
    return at + (_HOUR - into)


def _next_unit(unit: Unit) -> Next:
    def after(at: datetime, window: Window, fiscal_month: int) -> datetime:
        day = at.astimezone(window.zone).date()
        first = add_units(floor(day, unit, fiscal_month), unit, 1)
        # A zone that once skipped a whole day has a day of no length: it gets no bucket.
        while (start := midnight(first, window.zone)) <= at:
            first = add_units(first, unit, 1)
        return start

    return after


_NEXT: dict[str, Next] = {
    "hour": _next_hour,
    **{unit.value: _next_unit(unit) for unit in Unit},
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
    following = _NEXT[check_grain(grain)]
    cuts = [window.start]
    while (cut := following(cuts[-1], window, fiscal_month)) < window.end:
        cuts.append(cut)
        if len(cuts) > MAX_BUCKETS:
            raise InvalidError(
                f"A series has at most {MAX_BUCKETS} buckets; choose a coarser grain than {grain}"
                " or a shorter window.",
                code="too_many_buckets",
                field="grain",
            )
    return (*cuts, window.end)
