"""How final a value is: whether late events are still expected, and how old a cohort has grown."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from service.kpi.windows import Window

_DAY = timedelta(days=1)


def provisional(window_end: datetime, as_of: datetime, late_hours: int) -> bool:
    """Whether events of the window may still arrive: until `late_hours` after its end."""
    return as_of < window_end + timedelta(hours=late_hours)


@dataclass(frozen=True, slots=True)
class Cohort:
    """Ages of a cohort's members, in whole days of 24 hours; 0 for those still to come.

    `complete` says whether each member has had the `horizon_days` that it is given, so that its
    outcomes are final (but for late events); None without a horizon: such a value grows for ever.
    """

    youngest_days: int
    oldest_days: int
    horizon_days: int | None
    complete: bool | None


def cohort(window: Window, as_of: datetime, horizon_days: int | None) -> Cohort:
    """The cohort of those whose origin lies in the window, as of an instant."""
    youngest = _age_days(window.end, as_of)
    complete = None if horizon_days is None else as_of - window.end >= horizon_days * _DAY
    return Cohort(youngest, _age_days(window.start, as_of), horizon_days, complete)


def _age_days(origin: datetime, as_of: datetime) -> int:
    return max(0, (as_of - origin) // _DAY)
