"""Zones and instants where calendars go wrong, for property tests, and ways to write windows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cache
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

from service.kpi.windows import Window, explicit_window
from service.kpi.zones import zone_names

COPENHAGEN = ZoneInfo("Europe/Copenhagen")
NEW_YORK = ZoneInfo("America/New_York")
WEDNESDAY = "2026-05-20 14:30:00"
"""An ordinary afternoon."""

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
SECOND = timedelta(seconds=1)
MICROSECOND = timedelta(microseconds=1)

NASTY = (
    "Europe/Copenhagen",
    "UTC",
    "America/New_York",
    "America/St_Johns",  # changed at one minute past midnight, -03:30
    "America/Sao_Paulo",  # skipped midnight in spring, went back at midnight in autumn
    "America/Havana",  # midnight occurs twice
    "Asia/Beirut",  # skips midnight
    "Asia/Tehran",  # +03:30, changed at midnight
    "Asia/Kolkata",
    "Asia/Kathmandu",  # +05:45, and +05:30 until 1986
    "Pacific/Chatham",  # +12:45
    "Australia/Lord_Howe",  # half an hour of summer time
    "Australia/Eucla",
    "Pacific/Apia",  # left out 30 December 2011
    "Pacific/Kwajalein",  # left out a day in 1993, went 23 hours back in 1969
    "Africa/Monrovia",  # -00:44:30 until 1972
    "Africa/Casablanca",  # summer time with a pause in Ramadan
    "Antarctica/Troll",  # two hours of summer time
    "America/Caracas",  # moved by half an hour in 2007 and 2016
    "Pacific/Kiritimati",
    "Asia/Gaza",
)
_FIRST, _LAST = datetime(1905, 1, 1, tzinfo=UTC), datetime(2045, 1, 1, tzinfo=UTC)


@cache
def changes(name: str) -> tuple[datetime, ...]:
    """The instants at which a zone changes its offset, to the second, from 1905 to 2044."""
    tz = ZoneInfo(name)
    found = []
    before = _FIRST
    while before < _LAST:
        after = before + 7 * DAY
        if before.astimezone(tz).utcoffset() != after.astimezone(tz).utcoffset():
            low, high = before, after
            while high - low > SECOND:
                middle = low + (high - low) // 2
                middle -= timedelta(microseconds=middle.microsecond)
                same = middle.astimezone(tz).utcoffset() == low.astimezone(tz).utcoffset()
                low, high = (middle, high) if same else (low, middle)
            found.append(high)
        before = after
    return tuple(found) or (datetime(2026, 3, 29, 1, tzinfo=UTC),)


zones = st.one_of(st.sampled_from(NASTY), st.sampled_from(sorted(zone_names()))).map(ZoneInfo)
nasty_zones = st.sampled_from(NASTY).map(ZoneInfo)
anywhen = st.datetimes(datetime(1905, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))


@st.composite
def instants(draw: st.DrawFn, tz: ZoneInfo) -> datetime:
    """Any instant, more often one within three days of a change of the zone's clocks."""
    if tz.key not in NASTY or draw(st.booleans()):
        return draw(anywhen)
    change = draw(st.sampled_from(changes(tz.key)))
    seconds = draw(st.one_of(st.integers(-3 * 86400, 3 * 86400), st.sampled_from((0, -1, 3600))))
    micros = draw(st.sampled_from((0, 0, 1, 999_999)))
    return change + timedelta(seconds=seconds, microseconds=micros)


@st.composite
def moments(draw: st.DrawFn) -> tuple[ZoneInfo, datetime]:
    """A zone and an instant."""
    tz = draw(zones)
    return tz, draw(instants(tz))


lengths = st.one_of(
    st.timedeltas(timedelta(microseconds=1), timedelta(hours=3)),
    st.integers(1, 400).map(lambda days: timedelta(days=days)),
    st.timedeltas(timedelta(microseconds=1), timedelta(days=800)),
)


def local(text: str, tz: ZoneInfo = COPENHAGEN) -> datetime:
    """The instant of a wall-clock time."""
    return datetime.fromisoformat(text).replace(tzinfo=tz).astimezone(UTC)


def span(window: Window) -> tuple[str, str]:
    """Both ends on the wall, to read."""
    ends = (at.astimezone(window.zone).replace(tzinfo=None) for at in (window.start, window.end))
    first, last = (at.isoformat(" ").removesuffix(" 00:00:00") for at in ends)
    return first, last


def days(first: str, last: str, tz: ZoneInfo = COPENHAGEN) -> Window:
    """The window between two dates or times of a zone."""
    return explicit_window(first, last, tz)
