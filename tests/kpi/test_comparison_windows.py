"""The windows that a window is compared with."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import InvalidError
from service.kpi.windows import (
    COMPARISONS,
    ONE_YEAR,
    Step,
    between,
    compared,
    explicit_window,
    preset_window,
    shifted,
)
from service.kpi.zones import midnight
from tests.kpi.instants import (
    COPENHAGEN,
    WEDNESDAY,
    days,
    lengths,
    local,
    moments,
    span,
)


@pytest.mark.parametrize(
    ("now", "preset", "first", "last"),
    [
        (WEDNESDAY, "today", "2026-05-19", "2026-05-19 14:30:00"),
        (WEDNESDAY, "yesterday", "2026-05-18", "2026-05-19"),
        (WEDNESDAY, "last_7_days", "2026-05-06", "2026-05-13"),
        (WEDNESDAY, "this_week", "2026-05-11", "2026-05-13 14:30:00"),
        (WEDNESDAY, "this_month", "2026-04-01", "2026-04-20 14:30:00"),
        (WEDNESDAY, "last_month", "2026-03-01", "2026-04-01"),
        (WEDNESDAY, "this_quarter", "2026-01-01", "2026-02-20 14:30:00"),
        (WEDNESDAY, "last_quarter", "2025-10-01", "2026-01-01"),
        (WEDNESDAY, "this_year", "2025-01-01", "2025-05-20 14:30:00"),
        (WEDNESDAY, "last_year", "2024-01-01", "2025-01-01"),
        # March has three days more than February: they are held against its last one.
        ("2026-03-30 09:00", "this_month", "2026-02-01", "2026-02-28 09:00:00"),
        ("2026-03-28 09:00", "this_month", "2026-02-01", "2026-02-28 09:00:00"),
        # The wall clock counts, not the number of hours.
        ("2026-03-29 12:00", "today", "2026-03-28", "2026-03-28 12:00:00"),
        ("2026-03-30 02:30", "today", "2026-03-29", "2026-03-29 03:30:00"),  # 02:30 was skipped
        ("2026-10-26 02:30", "today", "2026-10-25", "2026-10-25 02:30:00"),  # the first of two
    ],
)
def test_the_previous_period(now: str, preset: str, first: str, last: str) -> None:
    window = preset_window(preset, local(now), COPENHAGEN)
    assert span(compared(window, "previous_period")) == (first, last)


@pytest.mark.parametrize(
    ("window", "first", "last"),
    [
        (("2026-03-01", "2026-04-01"), "2026-02-01", "2026-03-01"),
        (("2026-01-01", "2026-07-01"), "2025-07-01", "2026-01-01"),
        (("2026-05-11", "2026-05-18"), "2026-05-04", "2026-05-11"),
        (("2026-03-29", "2026-03-30"), "2026-03-28", "2026-03-29"),
        (("2024-02-29", "2024-03-01"), "2024-02-28", "2024-02-29"),
        (("2026-05-20T10:00:00+02:00", "2026-05-20T12:00:00+02:00"),
         "2026-05-20 08:00:00", "2026-05-20 10:00:00"),
    ],
)  # fmt: skip
def test_the_period_before_an_explicit_window(
    window: tuple[str, str], first: str, last: str
) -> None:
    assert span(compared(days(*window), "previous_period")) == (first, last)


@pytest.mark.parametrize(
    ("window", "first", "last"),
    [
        (("2026-05-01", "2026-06-01"), "2025-05-01", "2025-06-01"),
        (("2025-02-01", "2025-03-01"), "2024-02-01", "2024-03-01"),
        (("2024-02-29", "2024-03-01"), "2023-02-28", "2023-03-01"),
        (("2024-02-28", "2024-02-29"), "2023-02-28", "2023-03-01"),
        (("2024-02-01", "2024-02-29"), "2023-02-01", "2023-03-01"),
        (("2026-05-20T10:00:00+02:00", "2026-05-20T12:00:00+02:00"),
         "2025-05-20 10:00:00", "2025-05-20 12:00:00"),
        # Two hours of a day that the other year lacks are held against two hours.
        (("2024-02-29T10:00:00+01:00", "2024-02-29T12:00:00+01:00"),
         "2023-02-28 10:00:00", "2023-02-28 12:00:00"),
    ],
)  # fmt: skip
def test_the_previous_year(window: tuple[str, str], first: str, last: str) -> None:
    assert span(compared(days(*window), "previous_year")) == (first, last)


@pytest.mark.parametrize(
    ("window", "first", "last"),
    [
        # Friday to Sunday of week 22, and of week 22 a year before.
        (("2026-05-29", "2026-06-01"), "2025-05-30", "2025-06-02"),
        (("2026-05-01", "2026-06-01"), "2025-05-02", "2025-06-02"),
        (("2024-02-29", "2024-03-01"), "2023-03-02", "2023-03-03"),
        (("2026-05-20T10:00:00+02:00", "2026-05-20T12:00:00+02:00"),
         "2025-05-21 10:00:00", "2025-05-21 12:00:00"),
        # The wall clock counts: winter time is held against summer time.
        (("2026-03-29", "2026-03-30"), "2025-03-30", "2025-03-31"),
        (("2026-03-28", "2026-03-29"), "2025-03-29", "2025-03-30"),
    ],
)  # fmt: skip
def test_the_previous_year_on_the_same_weekdays(
    window: tuple[str, str], first: str, last: str
) -> None:
    now = days(*window)
    before = compared(now, "previous_year_weekday")
    assert span(before) == (first, last)
    for at, earlier in ((now.start, before.start), (now.end, before.end)):
        walls = [instant.astimezone(COPENHAGEN) for instant in (at, earlier)]
        assert walls[0].weekday() == walls[1].weekday()
        assert walls[0].time() == walls[1].time()


@pytest.mark.parametrize(
    ("text", "first", "last"),
    [
        ("2025-01-01/2025-02-01", "2025-01-01", "2025-02-01"),
        ("2025-03-30/2025-03-31", "2025-03-30", "2025-03-31"),
        ("2025-01-01T12:00:00Z/2025-01-01T13:30:00.5+01:00",
         "2025-01-01 13:00:00", "2025-01-01 13:30:00.500000"),
        ("2025-01-01T12:00:00 01:00/2025-01-02", "2025-01-01 12:00:00", "2025-01-02"),
        ("2027-01-01/2027-02-01", "2027-01-01", "2027-02-01"),  # later than the window itself
    ],
)  # fmt: skip
def test_a_comparison_may_name_its_own_window(text: str, first: str, last: str) -> None:
    other = compared(days("2026-05-01", "2026-06-01"), text)
    assert span(other) == (first, last)
    assert other.zone is COPENHAGEN


@pytest.mark.parametrize(
    ("text", "code", "match"),
    [
        ("2025-02-01/2025-01-01", "empty_window", "must be before"),
        ("2025-02-01/2025-02-01", "empty_window", "must be before"),
        ("2025-02-01/", "invalid_time", "'' is not a time"),
        ("/", "invalid_time", "'' is not a time"),
        ("2025-01-01/2025-02-01/2025-03-01", "invalid_time", "'2025-02-01/2025-03-01'"),
        ("2025-02-01/later", "invalid_time", "write a date such as"),
        ("2025-02-01", "unknown_comparison", "from/to, such as 2025-01-01/2025-02-01"),
        ("", "unknown_comparison", "previous_year_weekday"),
        ("2026-06-20/2026-06-21", "future_window", "begins before now"),
    ],
)
def test_what_is_no_window_to_compare_with_is_refused(text: str, code: str, match: str) -> None:
    with pytest.raises(InvalidError, match=match) as caught:
        compared(days("2026-05-01", "2026-06-01"), text, local("2026-06-20"))
    assert (caught.value.code, caught.value.detail["field"]) == (code, "compare")


def test_a_skipped_midnight_is_still_the_end_of_a_day() -> None:
    """In Beirut 29 March 2026 began at 01:00; the days before it and after it are whole."""
    beirut = ZoneInfo("Asia/Beirut")
    before = compared(days("2026-03-28", "2026-03-29", beirut), "previous_period")
    assert span(before) == ("2026-03-27", "2026-03-28")
    after = compared(days("2026-03-29", "2026-03-30", beirut), "previous_period")
    assert span(after) == ("2026-03-28", "2026-03-29 01:00:00")
    assert span(compared(days("2027-03-29", "2027-03-30", beirut), "previous_year")) == (
        "2026-03-29 01:00:00",
        "2026-03-30",
    )


def test_a_time_that_clocks_skipped_a_year_ago_still_has_a_length() -> None:
    # 29 March 2026 had no time between 02:00 and 03:00.
    window = explicit_window("2027-03-29T02:30:00+02:00", "2027-03-29T03:10:00+02:00", COPENHAGEN)
    before = compared(window, "previous_year")
    assert span(before) == ("2026-03-29 01:30:00", "2026-03-29 03:10:00")
    assert before.end - before.start == timedelta(minutes=40)


def test_the_day_before_a_day_that_a_zone_left_out() -> None:
    apia = ZoneInfo("Pacific/Apia")  # from 29 to 31 December 2011
    before = compared(days("2011-12-31", "2012-01-01", apia), "previous_period")
    assert span(before) == ("2011-12-29", "2011-12-31")


def test_an_unknown_comparison_names_the_nearest() -> None:
    with pytest.raises(InvalidError) as caught:
        compared(days("2026-05-01", "2026-06-01"), "previous year")
    assert caught.value.code == "unknown_comparison"
    assert caught.value.detail["nearest"][0] == "previous_year"


def test_there_is_nothing_before_1900() -> None:
    with pytest.raises(InvalidError, match="before 1900") as caught:
        shifted(days("1900-06-01", "1900-07-01"), ONE_YEAR)
    assert caught.value.code == "invalid_comparison"
    with pytest.raises(InvalidError):
        compared(days("1900-01-01", "2199-12-31"), "previous_period")


@settings(deadline=None, max_examples=150)
@given(moments(), lengths, st.sampled_from(COMPARISONS))
def test_a_comparison_is_an_earlier_window_of_the_same_zone(
    moment: tuple[ZoneInfo, datetime], length: timedelta, comparison: str
) -> None:
    tz, at = moment
    window = between(at, at + length, tz)
    before = compared(window, comparison)
    assert before.start < before.end
    assert before.start < window.start
    assert before.zone is tz
    if window.step.span and comparison == "previous_period":
        assert before.end == window.start
        assert before.end - before.start == window.end - window.start


@settings(deadline=None, max_examples=100)
@given(moments(), st.integers(0, 500))
def test_the_period_before_whole_days_ends_where_they_begin(
    moment: tuple[ZoneInfo, datetime], count: int
) -> None:
    tz, at = moment
    first = at.astimezone(tz).date()
    start, end = midnight(first, tz), midnight(first + timedelta(days=count + 1), tz)
    if start == end:  # a day that the zone left out
        return
    window = between(start, end, tz)
    assert not window.step.span
    assert compared(window, "previous_period").end == window.start


def test_steps_are_told_from_the_window() -> None:
    assert days("2026-01-01", "2026-03-01").step == Step(months=2)
    assert days("2026-01-02", "2026-03-01").step == Step(days=58)
    hours = explicit_window("2026-01-01T00:00:00Z", "2026-03-01T00:00:00Z", COPENHAGEN)
    assert hours.step == Step(span=timedelta(days=59))
