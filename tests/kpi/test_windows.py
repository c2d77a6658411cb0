"""Windows that name their own ends, and the calendar of Copenhagen as others know it."""

from __future__ import annotations

import json
from datetime import date, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings

from service.errors import InvalidError
from service.kpi.windows import (
    Unit,
    Window,
    add_units,
    between,
    explicit_window,
    floor,
    local_text,
    parse_instant,
    preset_window,
    resolve,
)
from tests.kpi.instants import (
    COPENHAGEN,
    HOUR,
    NEW_YORK,
    WEDNESDAY,
    days,
    lengths,
    local,
    moments,
    span,
)

VECTORS = Path(__file__).parents[3] / "shared" / "answers" / "vectors.json"

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


def test_an_hour_that_occurs_twice_is_told_apart() -> None:
    """Python says that both are equal, which a memory of texts must not believe."""
    first = datetime(2026, 10, 25, 2, 30, tzinfo=COPENHAGEN)
    for at, offset in ((first, "+02:00"), (first.replace(fold=1), "+01:00")):
        assert local_text(at, COPENHAGEN) == f"2026-10-25T02:30:00{offset}"
