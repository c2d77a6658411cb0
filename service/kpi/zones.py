"""Time zones: IANA names, and where local days begin."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

from service.errors import InvalidError
from service.kit.nearest import nearest

_DAY = timedelta(days=1)
_DAYS_KEPT = 1 << 13
"""Local days whose beginnings are remembered: a year in some twenty zones."""


@lru_cache(maxsize=1)
def zone_names() -> frozenset[str]:
    """Every IANA zone there is; listing them reads a folder, so it is done once."""
    return frozenset(available_timezones() - {"localtime", "posixrules", "Factory"})


def zone(name: str, field: str = "tz") -> ZoneInfo:
    """The IANA zone of that name; InvalidError with the nearest names otherwise."""
    if name not in zone_names():
        meant = nearest(name, zone_names())
        hint = (
            f" Did you mean {' or '.join(meant)}?" if meant else " For example Europe/Copenhagen."
        )
        raise InvalidError(
            f"'{name[:100]}' is not an IANA time zone.{hint}",
            code="unknown_timezone",
            field=field,
            nearest=meant,
        )
    return ZoneInfo(name)


def to_utc(local: datetime) -> datetime:
    """The instant of a wall-clock time with a zone.

    A time that a clock change skips means the moment it would have been without the change, one
    that occurs twice the first of the two.
    """
    return local.replace(fold=0).astimezone(UTC)


@lru_cache(maxsize=_DAYS_KEPT)
def midnight(day: date, tz: ZoneInfo) -> datetime:
    """The UTC instant at which a local day begins (where clocks skip midnight: the change)."""
    return to_utc(datetime.combine(day, time(), tz))


def is_clean_midnight(at: datetime, tz: ZoneInfo) -> bool:
    """Whether a local day begins at `at`, and its midnight does not occur twice.

    Where clocks go back over midnight a day's instants may not be contiguous; sums by local day
    can then not be cut there.
    """
    local = at.astimezone(tz)
    start = datetime.combine(local.date(), time(), tz)
    # A skipped midnight has a second reading too, but an earlier one.
    return start.astimezone(UTC) == at and start.replace(fold=1).astimezone(UTC) <= at


@lru_cache(maxsize=_DAYS_KEPT)
def _is_clean(day: date, tz: ZoneInfo) -> bool:
    return is_clean_midnight(midnight(day, tz), tz)


def midnight_from(at: datetime, tz: ZoneInfo) -> datetime:
    """The first clean local midnight at or after `at`."""
    day = at.astimezone(tz).date()
    while (start := midnight(day, tz)) < at or not _is_clean(day, tz):
        day += _DAY
    return start


def midnight_until(at: datetime, tz: ZoneInfo) -> datetime:
    """The last clean local midnight at or before `at`."""
    day = at.astimezone(tz).date()
    while (start := midnight(day, tz)) > at or not _is_clean(day, tz):
        day -= _DAY
    return start


def month_from(at: datetime, tz: ZoneInfo) -> datetime:
    """The first clean local midnight at or after `at` with which a month begins."""
    return _month(at, tz, lambda start: start >= at, 31)


def month_until(at: datetime, tz: ZoneInfo) -> datetime:
    """The last clean local midnight at or before `at` with which a month begins."""
    return _month(at, tz, lambda start: start <= at, -1)


def _month(at: datetime, tz: ZoneInfo, fits: Callable[[datetime], bool], days_on: int) -> datetime:
    first = at.astimezone(tz).date().replace(day=1)
    while not (fits(start := midnight(first, tz)) and _is_clean(first, tz)):
        first = (first + days_on * _DAY).replace(day=1)
    return start
