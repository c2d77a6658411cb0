"""Windows: half-open `[start, end)` in an IANA zone, from a preset or from two instants."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from functools import lru_cache
from zoneinfo import ZoneInfo

from service.errors import InvalidError
from service.kit.nearest import nearest
from service.kpi.zones import midnight, to_utc, zone

_MICROSECOND = timedelta(microseconds=1)
_FIRST_YEAR, _LAST_YEAR = 1900, 2200


class Unit(StrEnum):
    """A calendar unit; weeks are ISO weeks, which begin on Monday."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    QUARTER = "quarter"
    YEAR = "year"


_DAYS = {Unit.DAY: 1, Unit.WEEK: 7}
_MONTHS = {Unit.MONTH: 1, Unit.QUARTER: 3, Unit.YEAR: 12}


@dataclass(frozen=True, slots=True)
class Step:
    """How far back the period before a window lies: on the calendar, or as a plain duration."""

    months: int = 0
    days: int = 0
    span: timedelta = timedelta()


ONE_YEAR = Step(months=12)
FIFTY_TWO_WEEKS = Step(days=364)


@dataclass(frozen=True, slots=True)
class Window:
    """`[start, end)`, both aware UTC; `zone` is where its days and months are cut."""

    start: datetime
    end: datetime
    zone: ZoneInfo
    step: Step

    @property
    def bounds(self) -> dict[str, str]:
        """RFC 3339 instants in the window's own zone, and the zone: the contract's `window`."""
        return {
            "from": local_text(self.start, self.zone),
            "to": local_text(self.end, self.zone),
            "tz": self.zone.key,
        }


@dataclass(frozen=True, slots=True)
class Preset:
    """`length` units beginning `back` units before the current one."""

    unit: Unit
    back: int
    length: int = 1


PRESETS: Mapping[str, Preset] = {
    "today": Preset(Unit.DAY, 0),
    "yesterday": Preset(Unit.DAY, 1),
    "last_7_days": Preset(Unit.DAY, 7, 7),
    "last_28_days": Preset(Unit.DAY, 28, 28),
    "last_30_days": Preset(Unit.DAY, 30, 30),
    "last_90_days": Preset(Unit.DAY, 90, 90),
    "last_365_days": Preset(Unit.DAY, 365, 365),
    "this_week": Preset(Unit.WEEK, 0),
    "last_week": Preset(Unit.WEEK, 1),
    "this_month": Preset(Unit.MONTH, 0),
    "last_month": Preset(Unit.MONTH, 1),
    "this_quarter": Preset(Unit.QUARTER, 0),
    "last_quarter": Preset(Unit.QUARTER, 1),
    "this_year": Preset(Unit.YEAR, 0),
    "last_year": Preset(Unit.YEAR, 1),
}
"""Units that are not over yet end now; all others are complete (docs/decisions/0004-windows.md)."""


def local_text(at: datetime, tz: ZoneInfo) -> str:
    """An instant as RFC 3339 with the zone's offset; microseconds only where there are any."""
    return _local_text(at.astimezone(UTC), tz)


@lru_cache(maxsize=1 << 13)
def _local_text(at: datetime, tz: ZoneInfo) -> str:
    # UTC has no time that occurs twice, and which of the two is meant no cache would see.
    return at.astimezone(tz).isoformat()


def floor(day: date, unit: Unit, fiscal_month: int = 1) -> date:
    """The first day of the unit that `day` lies in.

    A year begins with `fiscal_month` (1 to 12), and quarters follow it in steps of three months.
    """
    match unit:
        case Unit.DAY:
            return day
        case Unit.WEEK:
            return day - timedelta(days=day.weekday())
        case Unit.MONTH:
            return day.replace(day=1)
        case Unit.QUARTER | Unit.YEAR:
            return add_units(day.replace(day=1), Unit.MONTH, -_months_into(day, unit, fiscal_month))


def _months_into(day: date, unit: Unit, fiscal_month: int) -> int:
    return (day.month - fiscal_month) % _MONTHS[unit]


def add_units(first: date, unit: Unit, count: int) -> date:
    """The first day of the unit `count` units after the one that begins on `first`."""
    if unit in _DAYS:
        return first + timedelta(days=_DAYS[unit] * count)
    month = first.year * 12 + first.month - 1 + _MONTHS[unit] * count
    return date(month // 12, month % 12 + 1, first.day)


def _step(unit: Unit, count: int) -> Step:
    return Step(months=_MONTHS.get(unit, 0) * count, days=_DAYS.get(unit, 0) * count)


def preset_window(name: str, now: datetime, tz: ZoneInfo, fiscal_month: int = 1) -> Window:
    """The window of a preset at `now`; InvalidError with the nearest names otherwise.

    `today` and `this_…` run up to `now` (exclusive): everything that has happened, nothing of the
    future, and a comparison of the same elapsed span.
    """
    preset = PRESETS.get(name)
    if preset is None:
        meant = nearest(name, PRESETS)
        raise InvalidError(
            f"'{name[:100]}' is not a window; use one of {', '.join(PRESETS)}, or from= and to=.",
            code="unknown_window",
            field="window",
            nearest=meant,
        )
    current = floor(now.astimezone(tz).date(), preset.unit, fiscal_month)
    first = add_units(current, preset.unit, -preset.back)
    end = midnight(add_units(first, preset.unit, preset.length), tz)
    # Where a zone once left out a whole day, yesterday is the last day that there was.
    while (start := midnight(first, tz)) >= end:
        first = add_units(first, preset.unit, -1)
    if end > now:
        # In the very first microsecond of a day, too, a window has a length.
        end = max(now, start + _MICROSECOND)
    return Window(start, end, tz, _step(preset.unit, preset.length))


_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_INSTANT = re.compile(
    r"(\d{4}-\d{2}-\d{2})[Tt ](\d{2}:\d{2}(?::\d{2}(?:\.\d{1,6})?)?)([Zz]|[+\- ]\d{2}:\d{2})"
)


def parse_instant(text: str, tz: ZoneInfo, field: str) -> datetime:
    """UTC instant of an RFC 3339 time, or of the start of a date's day in `tz`.

    A plus sign that a query string turned into a blank is understood.
    """
    try:
        at = _instant(text, tz)
        within = at is not None and _FIRST_YEAR <= at.astimezone(tz).year < _LAST_YEAR
    except (ValueError, OverflowError):
        at, within = None, False
    if at is None or not within:
        raise InvalidError(
            f"'{text[:100]}' is not a time; write a date such as 2026-03-01 (the start of that day"
            " in the zone) or RFC 3339 with an offset such as 2026-03-01T12:30:00+01:00,"
            f" from {_FIRST_YEAR} to {_LAST_YEAR - 1}, with at most six decimals of a second.",
            code="invalid_time",
            field=field,
        )
    return at


def _instant(text: str, tz: ZoneInfo) -> datetime | None:
    if _DATE.fullmatch(text):
        return midnight(date.fromisoformat(text), tz)
    if not (parts := _INSTANT.fullmatch(text)):
        return None
    day, clock, offset = parts.groups()
    offset = "+00:00" if offset in "Zz" else offset.replace(" ", "+")
    return datetime.fromisoformat(f"{day}T{clock}{offset}").astimezone(UTC)


def explicit_window(start: str, end: str, tz: ZoneInfo) -> Window:
    """`[from, to)`; a date means the start of its day, so `to` names the first day left out."""
    first, last = parse_instant(start, tz, "from"), parse_instant(end, tz, "to")
    return between(first, last, tz)


def between(start: datetime, end: datetime, tz: ZoneInfo, field: str = "to") -> Window:
    """`[start, end)` of two aware instants; InvalidError unless start is before end."""
    start, end = start.astimezone(UTC), end.astimezone(UTC)
    if start >= end:
        raise InvalidError(
            f"The window is empty: from ({local_text(start, tz)}) must be before"
            f" to ({local_text(end, tz)}), which is exclusive.",
            code="empty_window",
            field=field,
        )
    return Window(start, end, tz, _natural_step(start, end, tz))


def _natural_step(start: datetime, end: datetime, tz: ZoneInfo) -> Step:
    first, last = start.astimezone(tz).date(), end.astimezone(tz).date()
    if midnight(first, tz) != start or midnight(last, tz) != end:
        return Step(span=end - start)
    if first.day == last.day == 1:
        return Step(months=(last.year - first.year) * 12 + last.month - first.month)
    return Step(days=(last - first).days)


def resolve(
    preset: str | None,
    start: str | None,
    end: str | None,
    tz: str,
    now: datetime,
    *,
    fiscal_month: int = 1,
) -> Window:
    """The window that a request asks for.

    Raises InvalidError for none, half of one, two, and for one that has not begun at `now`; one
    that began and ends later is whole, and provisional.
    """
    where = zone(tz)
    if preset is not None and start is None and end is None:
        return preset_window(preset, now, where, fiscal_month)
    if preset is None and start is not None and end is not None:
        window = explicit_window(start, end, where)
        check_begun(window, now, "from")
        return window
    raise InvalidError(
        "Give either window=, or from= together with to=.",
        code="invalid_window",
        field="window" if preset is not None else "to" if end is None else "from",
    )


def check_begun(window: Window, now: datetime, field: str) -> None:
    """InvalidError for a window that begins at or after `now`: nothing can have happened in it."""
    if window.start >= now:
        raise InvalidError(
            f"The window lies in the future: it begins at {local_text(window.start, window.zone)},"
            f" and now is {local_text(now, window.zone)}. Choose one that begins before now.",
            code="future_window",
            field=field,
        )


def shifted(window: Window, step: Step) -> Window:
    """The window a step earlier, at the same times on the wall.

    A day that the earlier month lacks becomes its last day, at the same time; an end at midnight,
    which closes the day before, becomes the end of that month, so that whole months stay whole.
    Raises InvalidError before the year 1900.
    """
    if step.span:
        start, end = window.start - step.span, window.end - step.span
    else:
        start = _back(window.start, step, window.zone, closing=False)
        end = _back(window.end, step, window.zone, closing=True)
    if end <= start:  # the earlier start, or all of it, is a time that a clock change skips
        start = end - (window.end - window.start)
    if start.year < _FIRST_YEAR:
        raise InvalidError(
            f"There is nothing to compare with before {_FIRST_YEAR}.",
            code="invalid_comparison",
            field="compare",
        )
    return Window(start, end, window.zone, window.step)


def _back(at: datetime, step: Step, tz: ZoneInfo, *, closing: bool) -> datetime:
    local = at.astimezone(tz)
    if midnight(local.date(), tz) == at:  # also where clocks skip midnight, and the wall says 01:00
        local = datetime.combine(local.date(), time(), tz)
    local -= timedelta(days=step.days)
    if not step.months:
        return to_utc(local)
    month = local.year * 12 + local.month - 1 - step.months
    first = local.replace(year=month // 12, month=month % 12 + 1, day=1)
    after = add_units(first.date(), Unit.MONTH, 1)
    length = (after - first.date()).days
    if local.day <= length:
        return to_utc(first.replace(day=local.day))
    if closing and local.time() == time():
        return midnight(after, tz)
    return to_utc(first.replace(day=length))


COMPARISONS = ("previous_period", "previous_year", "previous_year_weekday")
"""The last is 52 weeks earlier, so that each day meets its own weekday."""


def compared(window: Window, comparison: str, now: datetime | None = None) -> Window:
    """The window to hold `window` against, in the same zone.

    `comparison` is one of `COMPARISONS`, or a window of its own: its start and its end, which it
    leaves out, with a slash between them, as dates or RFC 3339 (`2025-01-01/2025-02-01`). Raises
    InvalidError for anything else, and for one that has not begun when `now` is given.
    """
    match comparison:
        case "previous_period":
            return shifted(window, window.step)
        case "previous_year":
            return shifted(window, ONE_YEAR)
        case "previous_year_weekday":
            return shifted(window, FIFTY_TWO_WEEKS)
    first, slash, last = comparison.partition("/")
    if not slash:
        raise InvalidError(
            f"'{comparison[:100]}' is not a comparison; use {', '.join(COMPARISONS)}, or another"
            " window as from/to, such as 2025-01-01/2025-02-01.",
            code="unknown_comparison",
            field="compare",
            nearest=nearest(comparison, COMPARISONS),
        )
    start, end = (parse_instant(text, window.zone, "compare") for text in (first, last))
    other = between(start, end, window.zone, "compare")
    if now is not None:
        check_begun(other, now, "compare")
    return other
