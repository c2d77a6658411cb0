from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.errors import InvalidError
from service.kpi.grains import GRAINS, MAX_BUCKETS, bounds, check_grain
from service.kpi.windows import Unit, Window, between, explicit_window, floor
from service.kpi.zones import is_clean_midnight
from tests.kpi.instants import lengths, moments

COPENHAGEN = ZoneInfo("Europe/Copenhagen")
HOUR = timedelta(hours=1)


def cuts(first: str, last: str, grain: str | None, zone: str = "Europe/Copenhagen") -> list[str]:
    """Where the buckets begin, and the end, on the wall."""
    tz = ZoneInfo(zone)
    window = explicit_window(first, last, tz)
    walls = (at.astimezone(tz).replace(tzinfo=None) for at in bounds(window, grain))
    return [wall.isoformat(" ", "minutes").removesuffix(" 00:00") for wall in walls]


def test_without_a_grain_the_window_is_one_bucket() -> None:
    assert cuts("2026-03-28", "2026-03-31", None) == ["2026-03-28", "2026-03-31"]


def test_days_of_a_change_of_clocks_are_whole() -> None:
    window = explicit_window("2026-03-28", "2026-03-31", COPENHAGEN)
    hours = [(end - start) / HOUR for start, end in pairwise(bounds(window, "day"))]
    assert hours == [24, 23, 24]
    window = explicit_window("2026-10-24", "2026-10-27", COPENHAGEN)
    assert [(b - a) / HOUR for a, b in pairwise(bounds(window, "day"))] == [24, 25, 24]


@pytest.mark.parametrize(("day", "hours"), [("2026-03-29", 23), ("2026-10-25", 25)])
def test_a_day_of_a_change_of_clocks_has_23_or_25_hours(day: str, hours: int) -> None:
    next_day = day[:-2] + str(int(day[-2:]) + 1)
    buckets = bounds(explicit_window(day, next_day, COPENHAGEN), "hour")
    assert len(buckets) - 1 == hours
    assert {end - start for start, end in pairwise(buckets)} == {HOUR}


@pytest.mark.parametrize(
    ("first", "last", "grain", "expected"),
    [
        ("2026-02-25", "2026-03-10", "week",
         ["2026-02-25", "2026-03-02", "2026-03-09", "2026-03-10"]),
        ("2025-12-20", "2026-02-01", "month", ["2025-12-20", "2026-01-01", "2026-02-01"]),
        ("2025-11-15", "2026-04-02", "quarter",
         ["2025-11-15", "2026-01-01", "2026-04-01", "2026-04-02"]),
        ("2024-02-29", "2026-01-01", "year", ["2024-02-29", "2025-01-01", "2026-01-01"]),
        ("2026-05-20T10:20:00+02:00", "2026-05-20T12:05:00+02:00", "hour",
         ["2026-05-20 10:20", "2026-05-20 11:00", "2026-05-20 12:00", "2026-05-20 12:05"]),
        ("2026-05-20T10:20:00+02:00", "2026-05-20T10:40:00+02:00", "year",
         ["2026-05-20 10:20", "2026-05-20 10:40"]),
    ],
)  # fmt: skip
def test_the_window_cuts_off_the_first_and_the_last_bucket(
    first: str, last: str, grain: str, expected: list[str]
) -> None:
    assert cuts(first, last, grain) == expected


def test_hours_begin_on_the_wall_where_offsets_are_odd() -> None:
    kathmandu = bounds(
        explicit_window("2026-05-20", "2026-05-21", ZoneInfo("Asia/Kathmandu")), "hour"
    )
    assert kathmandu[0] == datetime(2026, 5, 19, 18, 15, tzinfo=UTC)
    assert len(kathmandu) == 25


@pytest.mark.parametrize(("day", "halves"), [("2026-10-04", 47), ("2026-04-05", 49)])
def test_half_an_hour_of_summer_time_shortens_one_bucket(day: str, halves: int) -> None:
    tz = ZoneInfo("Australia/Lord_Howe")
    next_day = day[:-1] + str(int(day[-1]) + 1)
    buckets = bounds(explicit_window(day, next_day, tz), "hour")
    lengths_ = [(end - start) / HOUR for start, end in pairwise(buckets)]
    assert sum(lengths_) == halves / 2
    assert sorted(lengths_)[:2] == [0.5, 1]  # every other one is a whole hour of the wall
    assert all(at.astimezone(tz).minute == 0 for at in (buckets[1], buckets[-2], buckets[-1]))


@pytest.mark.parametrize(
    ("grain", "fiscal_month", "expected"),
    [
        ("year", 7, ["2025-01-01", "2025-07-01", "2026-07-01", "2027-01-01"]),
        ("year", 1, ["2025-01-01", "2026-01-01", "2027-01-01"]),
        ("quarter", 2, ["2025-01-01", "2025-02-01", "2025-05-01", "2025-08-01", "2025-11-01",
                        "2026-02-01", "2026-05-01", "2026-08-01", "2026-11-01", "2027-01-01"]),
        ("quarter", 10, ["2025-01-01", "2025-04-01", "2025-07-01", "2025-10-01", "2026-01-01",
                         "2026-04-01", "2026-07-01", "2026-10-01", "2027-01-01"]),
    ],
)  # fmt: skip
def test_years_and_quarters_follow_the_fiscal_year(
    grain: str, fiscal_month: int, expected: list[str]
) -> None:
    window = explicit_window("2025-01-01", "2027-01-01", COPENHAGEN)
    walls = [at.astimezone(COPENHAGEN).date() for at in bounds(window, grain, fiscal_month)]
    assert [wall.isoformat() for wall in walls] == expected
    assert bounds(window, "month", fiscal_month) == bounds(window, "month")


def test_a_day_that_a_zone_left_out_gets_no_bucket() -> None:
    assert cuts("2011-12-29", "2012-01-01", "day", "Pacific/Apia") == [
        "2011-12-29",
        "2011-12-31",
        "2012-01-01",
    ]


def test_a_day_may_begin_at_one_o_clock() -> None:
    assert cuts("2026-03-28", "2026-03-31", "day", "Asia/Beirut") == [
        "2026-03-28",
        "2026-03-29 01:00",
        "2026-03-30",
        "2026-03-31",
    ]


def test_too_many_buckets_are_refused() -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)

    def hours(count: int) -> Window:
        return between(start, start + count * HOUR, ZoneInfo("UTC"))

    assert len(bounds(hours(MAX_BUCKETS), "hour")) == MAX_BUCKETS + 1
    with pytest.raises(InvalidError, match="coarser grain than hour") as caught:
        bounds(hours(MAX_BUCKETS + 1), "hour")
    assert (caught.value.code, caught.value.detail["field"]) == ("too_many_buckets", "grain")
    with pytest.raises(InvalidError):
        bounds(explicit_window("1900-01-01", "2199-12-31", COPENHAGEN), "day")


@pytest.mark.parametrize(
    ("said", "meant"), [("days", "day"), ("Month", "month"), ("yearly", "year")]
)
def test_a_mistyped_grain_names_the_nearest(said: str, meant: str) -> None:
    with pytest.raises(InvalidError) as caught:
        check_grain(said)
    assert caught.value.code == "unknown_grain"
    assert meant in caught.value.detail["nearest"]
    assert [check_grain(grain) for grain in GRAINS] == list(GRAINS)


@settings(deadline=None, max_examples=200)
@given(moments(), lengths, st.sampled_from(GRAINS), st.integers(1, 12))
def test_buckets_partition_the_window_and_lie_in_one_unit_each(
    moment: tuple[ZoneInfo, datetime], length: timedelta, grain: str, fiscal_month: int
) -> None:
    tz, start = moment
    window = between(start, start + min(length, 1990 * HOUR), tz)
    buckets = bounds(window, grain, fiscal_month)
    assert (buckets[0], buckets[-1]) == (window.start, window.end)
    assert all(first < last for first, last in pairwise(buckets))
    if grain == "hour":
        assert all(last - first <= HOUR for first, last in pairwise(buckets))
        return
    unit = Unit(grain)
    for first, last in pairwise(buckets[1:]):
        day = first.astimezone(tz).date()
        assert floor(day, unit, fiscal_month) == day or not is_clean_midnight(first, tz)
        inside = last - timedelta(microseconds=1)
        if is_clean_midnight(first, tz) and is_clean_midnight(last, tz):
            assert floor(inside.astimezone(tz).date(), unit, fiscal_month) == floor(
                day, unit, fiscal_month
            )
