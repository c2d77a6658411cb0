from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from service.errors import InvalidError
from service.kpi.windows import (
    COMPARISONS,
    ONE_YEAR,
    PRESETS,
    Step,
    Unit,
    Window,
    add_units,
    between,
    compared,
    explicit_window,
    floor,
    parse_instant,
    preset_window,
    resolve,
    shifted,
)
from service.kpi.zones import midnight
from tests.kpi.instants import lengths, moments

COPENHAGEN = ZoneInfo("Europe/Copenhagen")
NEW_YORK = ZoneInfo("America/New_York")
MICROSECOND = timedelta(microseconds=1)
HOUR = timedelta(hours=1)
VECTORS = Path(__file__).parents[3] / "shared" / "answers" / "vectors.json"


def local(text: str, tz: ZoneInfo = COPENHAGEN) -> datetime:
    """The instant of a wall-clock time."""
    return datetime.fromisoformat(text).replace(tzinfo=tz).astimezone(UTC)


def span(window: Window) -> tuple[str, str]:
    """Both ends on the wall, to read."""
    ends = (at.astimezone(window.zone).replace(tzinfo=None) for at in (window.start, window.end))
    first, last = (at.isoformat(" ").removesuffix(" 00:00:00") for at in ends)
    return first, last


def days(first: str, last: str, tz: ZoneInfo = COPENHAGEN) -> Window:
    return explicit_window(first, last, tz)


# --- Presets ----------------------------------------------------------------------------------

WEDNESDAY = "2026-05-20 14:30:00"


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


# --- Explicit windows -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-03-29", "2026-03-28T23:00:00Z"),
        ("2026-03-30", "2026-03-29T22:00:00Z"),
        ("2026-05-20T14:30:00+02:00", "2026-05-20T12:30:00Z"),
        ("2026-05-20T14:30:00 02:00", "2026-05-20T12:30:00Z"),  # a plus sign in a query string
        ("2026-05-20t14:30z", "2026-05-20T14:30:00Z"),
        ("2026-05-20 14:30:00.123456-03:30", "2026-05-20T18:00:00.123456Z"),
        ("2026-05-20T14:30:00.5Z", "2026-05-20T14:30:00.5Z"),
        ("2199-12-31", "2199-12-30T23:00:00Z"),
    ],
)
def test_times_are_rfc_3339_or_dates_of_the_zone(text: str, instant: str) -> None:
    assert parse_instant(text, COPENHAGEN, "from") == datetime.fromisoformat(instant)


def test_the_first_day_may_begin_before_the_first_year_does_in_utc() -> None:
    assert parse_instant("1900-01-01", COPENHAGEN, "from").year == 1899
    with pytest.raises(InvalidError, match="from 1900 to 2199"):
        parse_instant("2200-01-01", NEW_YORK, "to")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "1779283800",
        "2026-5-2",
        "2026-02-29",
        "2026-13-01",
        "20260520",
        "2026-W21-3",
        "2026-05-20T14:30:00",  # whose half past two?
        "2026-05-20T25:00:00Z",
        "2026-05-20T14:30:00.1234567Z",
        "2026-05-20T14:30:00+99:00",
        "1899-12-31",
        "2200-01-01T00:00:00Z",
        "0001-01-01",
        "9999-12-31T23:59:59-12:00",
        "٢٠٢٦-٠٥-٢٠",  # noqa: RUF001 - digits that are none here
        "2026-05-20\n",
        "2026-05-20T14:30:00Z; DROP TABLE event",
        "2" * 5000,
    ],
)
def test_other_times_are_refused_with_the_right_form(text: str) -> None:
    with pytest.raises(InvalidError, match="is not a time; write a date such as") as caught:
        parse_instant(text, COPENHAGEN, "to")
    assert caught.value.code == "invalid_time"
    assert caught.value.detail == {"field": "to"}
    assert len(caught.value.message) < 400


def test_a_window_leaves_its_end_out() -> None:
    window = days("2026-03-29", "2026-03-30")
    assert window.end - window.start == 23 * HOUR
    assert window.bounds == {
        "from": "2026-03-29T00:00:00+01:00",
        "to": "2026-03-30T00:00:00+02:00",
        "tz": "Europe/Copenhagen",
    }


def test_bounds_show_microseconds_where_there_are_any() -> None:
    window = between(local("2026-05-01"), local("2026-05-01 00:00:00.000001"), COPENHAGEN)
    assert window.bounds["from"] == "2026-05-01T00:00:00+02:00"
    assert window.bounds["to"] == "2026-05-01T00:00:00.000001+02:00"


@settings(deadline=None, max_examples=60)
@given(moments(), lengths)
def test_bounds_can_be_sent_back(moment: tuple[ZoneInfo, datetime], length: timedelta) -> None:
    tz, at = moment
    window = between(at, at + length, tz)
    shown = window.bounds
    offsets = {window.start.astimezone(tz).utcoffset(), window.end.astimezone(tz).utcoffset()}
    if all(offset is not None and not offset.seconds % 60 for offset in offsets):
        again = explicit_window(shown["from"], shown["to"], tz)
        assert again == window


@pytest.mark.parametrize(("first", "last"), [("2026-05-02", "2026-05-01"), ("2026-05-01",) * 2])
def test_an_empty_window_is_refused(first: str, last: str) -> None:
    with pytest.raises(InvalidError, match="must be before") as caught:
        days(first, last)
    assert caught.value.code == "empty_window"
    # The same wall-clock hour twice: half past two summer time is before half past two winter time.
    assert explicit_window("2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00", COPENHAGEN)


def test_resolve_takes_a_preset_or_both_ends() -> None:
    now = local(WEDNESDAY)
    by_name = resolve("yesterday", None, None, "Europe/Copenhagen", now)
    by_ends = resolve(None, "2026-05-19", "2026-05-20", "Europe/Copenhagen", now)
    assert by_name == by_ends


@pytest.mark.parametrize(
    ("preset", "start", "end", "field"),
    [
        (None, None, None, "to"),
        (None, "2026-05-01", None, "to"),
        (None, None, "2026-05-01", "from"),
        ("today", "2026-05-01", None, "window"),
        ("today", "2026-05-01", "2026-05-02", "window"),
    ],
)
def test_no_window_half_of_one_and_two_are_refused(
    preset: str | None, start: str | None, end: str | None, field: str
) -> None:
    with pytest.raises(InvalidError, match="Give either window=, or from= together") as caught:
        resolve(preset, start, end, "UTC", local(WEDNESDAY))
    assert (caught.value.code, caught.value.detail["field"]) == ("invalid_window", field)


@pytest.mark.parametrize(
    ("said", "meant"),
    [("last_30_day", "last_30_days"), ("Today", "today"), ("last month", "last_month")],
)
def test_a_mistyped_preset_names_the_nearest(said: str, meant: str) -> None:
    with pytest.raises(InvalidError) as caught:
        preset_window(said, local(WEDNESDAY), COPENHAGEN)
    assert caught.value.code == "unknown_window"
    assert caught.value.detail["nearest"][0] == meant


def test_a_window_of_the_future_is_refused_and_one_that_has_begun_is_not() -> None:
    now = local(WEDNESDAY)

    def ask(first: str, last: str) -> Window:
        return resolve(None, first, last, "Europe/Copenhagen", now)

    assert span(ask("2026-05-20", "2027-01-01")) == ("2026-05-20", "2027-01-01")
    assert ask("2026-05-20T14:29:59.999999+02:00", "2026-05-21")
    for first in ("2026-05-20T14:30:00+02:00", "2026-05-21", "2030-01-01"):
        with pytest.raises(InvalidError, match="begins before now") as caught:
            ask(first, "2031-01-01")
        assert (caught.value.code, caught.value.detail) == ("future_window", {"field": "from"})
    # A preset never lies there, not even in the first instant of its day.
    midnight_sharp = local("2026-05-20")
    assert resolve("today", None, None, "Europe/Copenhagen", midnight_sharp).start == midnight_sharp


def test_an_unknown_zone_is_refused_before_anything_else() -> None:
    with pytest.raises(InvalidError) as caught:
        resolve("nonsense", None, None, "Europe/Nowhere", local(WEDNESDAY))
    assert caught.value.code == "unknown_timezone"


# --- Comparisons ------------------------------------------------------------------------------


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


# --- The calendar of Copenhagen ---------------------------------------------------------------


@pytest.mark.skipif(not VECTORS.is_file(), reason="the vectors (../shared) are not on this machine")
def test_months_quarters_years_and_changes_of_clocks_in_copenhagen() -> None:
    rows = json.loads(VECTORS.read_text())["calendar_europe_copenhagen"]
    assert len(rows) > 60
    for row in rows:
        label = row["label"].partition(" ")[0]
        if "-Q" in label:
            year, quarter = label.split("-Q")
            first, unit = date(int(year), 3 * int(quarter) - 2, 1), Unit.QUARTER
        else:
            unit = {1: Unit.YEAR, 2: Unit.MONTH, 3: Unit.DAY}[len(label.split("-"))]
            first = date.fromisoformat((label + "-01-01")[:10])
        last = add_units(first, unit, 1)
        window = days(first.isoformat(), last.isoformat())
        assert window.start == datetime.fromisoformat(row["start_utc"]), label
        assert window.end == datetime.fromisoformat(row["end_utc_exclusive"]), label
        assert (window.end - window.start) / HOUR == row["hours"], label
        assert floor(window.start.astimezone(COPENHAGEN).date(), unit) == first
