"""Presets: whole units of the calendar in any zone, and years that begin in any month."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.kpi.windows import (
    PRESETS,
    Unit,
    add_units,
    compared,
    floor,
    preset_window,
    resolve,
)
from service.kpi.zones import midnight
from tests.kpi.instants import (
    COPENHAGEN,
    HOUR,
    MICROSECOND,
    NEW_YORK,
    WEDNESDAY,
    local,
    moments,
    span,
)


@pytest.mark.parametrize(
    ("preset", "first", "last"),
    [
        ("today", "2026-05-20", WEDNESDAY),
        ("yesterday", "2026-05-19", "2026-05-20"),
        ("last_7_days", "2026-05-13", "2026-05-20"),
        ("last_28_days", "2026-04-22", "2026-05-20"),
        ("last_30_days", "2026-04-20", "2026-05-20"),
        ("last_90_days", "2026-02-19", "2026-05-20"),
        ("last_365_days", "2025-05-20", "2026-05-20"),
        ("this_week", "2026-05-18", WEDNESDAY),
        ("last_week", "2026-05-11", "2026-05-18"),
        ("this_month", "2026-05-01", WEDNESDAY),
        ("last_month", "2026-04-01", "2026-05-01"),
        ("this_quarter", "2026-04-01", WEDNESDAY),
        ("last_quarter", "2026-01-01", "2026-04-01"),
        ("this_year", "2026-01-01", WEDNESDAY),
        ("last_year", "2025-01-01", "2026-01-01"),
    ],
)
def test_presets_on_a_wednesday_afternoon(preset: str, first: str, last: str) -> None:
    assert span(preset_window(preset, local(WEDNESDAY), COPENHAGEN)) == (first, last)


def test_the_table_above_names_every_preset_of_the_contract() -> None:
    assert " ".join(PRESETS) == (
        "today yesterday last_7_days last_28_days last_30_days last_90_days last_365_days"
        " this_week last_week this_month last_month this_quarter last_quarter this_year last_year"
    )


@pytest.mark.parametrize(
    ("now", "preset", "first", "last"),
    [
        # The very first instant of a year that begins on a Thursday: still a window of some length.
        ("2026-01-01", "today", "2026-01-01", "2026-01-01 00:00:00.000001"),
        ("2026-01-01", "this_year", "2026-01-01", "2026-01-01 00:00:00.000001"),
        ("2026-01-01", "this_week", "2025-12-29", "2026-01-01"),
        ("2026-01-01", "yesterday", "2025-12-31", "2026-01-01"),
        ("2026-01-01", "last_quarter", "2025-10-01", "2026-01-01"),
        ("2026-01-01", "last_week", "2025-12-22", "2025-12-29"),
        # Monday and Sunday of one ISO week.
        ("2026-05-18 00:00:01", "this_week", "2026-05-18", "2026-05-18 00:00:01"),
        ("2026-05-24 23:59:59", "this_week", "2026-05-18", "2026-05-24 23:59:59"),
        # A leap day.
        ("2024-02-29 12:00", "this_month", "2024-02-01", "2024-02-29 12:00:00"),
        ("2024-03-31 12:00", "last_month", "2024-02-01", "2024-03-01"),
        ("2024-12-31 12:00", "last_365_days", "2024-01-01", "2024-12-31"),
        # The day after each change of clocks.
        ("2026-03-30 08:00", "yesterday", "2026-03-29", "2026-03-30"),
        ("2026-10-26 08:00", "yesterday", "2026-10-25", "2026-10-26"),
    ],
)
def test_presets_at_awkward_moments(now: str, preset: str, first: str, last: str) -> None:
    assert span(preset_window(preset, local(now), COPENHAGEN)) == (first, last)


def test_a_day_has_23_or_25_hours_where_clocks_change() -> None:
    def length(now: str) -> timedelta:
        window = preset_window("yesterday", local(now), COPENHAGEN)
        return window.end - window.start

    assert length("2026-03-30 08:00") == 23 * HOUR
    assert length("2026-10-26 08:00") == 25 * HOUR
    assert length("2026-06-01 08:00") == 24 * HOUR


def test_today_depends_on_the_zone() -> None:
    now = datetime(2026, 5, 20, 23, 30, tzinfo=UTC)
    assert span(preset_window("yesterday", now, COPENHAGEN)) == ("2026-05-20", "2026-05-21")
    assert span(preset_window("yesterday", now, NEW_YORK)) == ("2026-05-19", "2026-05-20")
    kathmandu = preset_window("yesterday", now, ZoneInfo("Asia/Kathmandu"))
    assert kathmandu.start == datetime(2026, 5, 19, 18, 15, tzinfo=UTC)


@settings(deadline=None, max_examples=150)
@given(moments(), st.sampled_from(list(PRESETS)), st.integers(1, 12))
@example((ZoneInfo("Pacific/Apia"), datetime(2011, 12, 30, 12, tzinfo=UTC)), "yesterday", 1)
def test_a_preset_is_made_of_whole_units_and_nothing_of_the_future(
    moment: tuple[ZoneInfo, datetime], name: str, fiscal_month: int
) -> None:
    tz, now = moment
    preset = PRESETS[name]
    window = preset_window(name, now, tz, fiscal_month)
    today = now.astimezone(tz).date()
    first = add_units(floor(today, preset.unit, fiscal_month), preset.unit, -preset.back)
    whole = midnight(add_units(first, preset.unit, preset.length), tz)
    if midnight(first, tz) == whole:  # a day that the zone left out
        first -= timedelta(days=1)
    assert window.start == midnight(first, tz) < window.end
    assert window.start.tzinfo is window.end.tzinfo is UTC
    assert window.end == min(whole, max(now, window.start + MICROSECOND))
    assert window.zone is tz


def test_yesterday_is_the_last_day_that_there_was() -> None:
    apia = ZoneInfo("Pacific/Apia")  # from 29 to 31 December 2011
    window = preset_window("yesterday", local("2011-12-31 08:00", apia), apia)
    assert span(window) == ("2011-12-29", "2011-12-31")
    assert window.end - window.start == 24 * HOUR


@pytest.mark.parametrize(
    ("zone", "day", "start", "hours"),
    [
        ("Asia/Kolkata", "2026-05-20", "2026-05-19T18:30:00Z", 24),
        ("Asia/Kathmandu", "2026-05-20", "2026-05-19T18:15:00Z", 24),
        # Half an hour of summer time: on at 2 o'clock in October, off in April.
        ("Australia/Lord_Howe", "2026-10-04", "2026-10-03T13:30:00Z", 23.5),
        ("Australia/Lord_Howe", "2026-04-05", "2026-04-04T13:00:00Z", 24.5),
        ("Pacific/Chatham", "2026-09-27", "2026-09-26T11:15:00Z", 23),
    ],
)
def test_days_of_zones_with_odd_offsets(zone: str, day: str, start: str, hours: float) -> None:
    tz = ZoneInfo(zone)
    window = preset_window("yesterday", midnight(date.fromisoformat(day), tz) + 30 * HOUR, tz)
    assert window.start == datetime.fromisoformat(start)
    assert (window.end - window.start) / HOUR == hours


def test_units_of_the_calendar() -> None:
    sunday = date(2026, 3, 1)
    firsts = [floor(sunday, unit).isoformat() for unit in Unit]
    assert firsts == ["2026-03-01", "2026-02-23", "2026-03-01", "2026-01-01", "2026-01-01"]
    january = date(2026, 1, 1)
    assert add_units(january, Unit.MONTH, -1) == date(2025, 12, 1)
    assert add_units(january, Unit.QUARTER, 5) == date(2027, 4, 1)
    assert add_units(january, Unit.YEAR, -6) == date(2020, 1, 1)
    assert add_units(date(2026, 2, 23), Unit.WEEK, 1) == date(2026, 3, 2)


@given(
    st.dates(date(1901, 1, 1), date(2200, 1, 1)), st.sampled_from(list(Unit)), st.integers(1, 12)
)
def test_every_day_lies_in_exactly_one_unit(day: date, unit: Unit, fiscal_month: int) -> None:
    first = floor(day, unit, fiscal_month)
    assert first <= day < add_units(first, unit, 1)
    assert floor(first, unit, fiscal_month) == first
    assert add_units(add_units(first, unit, 3), unit, -3) == first
    if unit is Unit.WEEK:
        assert first.isocalendar()[:2] == day.isocalendar()[:2]


# --- Years that begin in another month ---------------------------------------------------------


@pytest.mark.parametrize(
    ("fiscal_month", "preset", "first", "last"),
    [
        (7, "this_year", "2025-07-01", WEDNESDAY),
        (7, "last_year", "2024-07-01", "2025-07-01"),
        (7, "this_quarter", "2026-04-01", WEDNESDAY),
        (5, "this_year", "2026-05-01", WEDNESDAY),
        (5, "last_year", "2025-05-01", "2026-05-01"),
        (5, "this_quarter", "2026-05-01", WEDNESDAY),
        (6, "last_year", "2024-06-01", "2025-06-01"),
        (6, "this_quarter", "2026-03-01", WEDNESDAY),
        (6, "last_quarter", "2025-12-01", "2026-03-01"),
        (12, "this_year", "2025-12-01", WEDNESDAY),
        (2, "last_quarter", "2026-02-01", "2026-05-01"),
        # Other units know no such year.
        (7, "last_month", "2026-04-01", "2026-05-01"),
        (7, "last_week", "2026-05-11", "2026-05-18"),
        (7, "last_365_days", "2025-05-20", "2026-05-20"),
    ],
)
def test_a_fiscal_year_moves_years_and_quarters(
    fiscal_month: int, preset: str, first: str, last: str
) -> None:
    assert span(preset_window(preset, local(WEDNESDAY), COPENHAGEN, fiscal_month)) == (first, last)


def test_the_period_before_a_fiscal_year_is_the_one_before() -> None:
    by_name = resolve(
        "last_year", None, None, "Europe/Copenhagen", local(WEDNESDAY), fiscal_month=7
    )
    assert span(by_name) == ("2024-07-01", "2025-07-01")
    assert span(compared(by_name, "previous_period")) == ("2023-07-01", "2024-07-01")
    assert span(compared(by_name, "previous_year")) == ("2023-07-01", "2024-07-01")


@given(st.dates(date(1901, 1, 1), date(2199, 1, 1)), st.integers(1, 12))
def test_a_fiscal_year_has_four_quarters_and_begins_in_its_month(
    day: date, fiscal_month: int
) -> None:
    year, quarter = (floor(day, unit, fiscal_month) for unit in (Unit.YEAR, Unit.QUARTER))
    assert (year.month, year.day, quarter.day) == (fiscal_month, 1, 1)
    assert quarter in [add_units(year, Unit.QUARTER, count) for count in range(4)]
