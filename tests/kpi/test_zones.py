from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings

from service.errors import InvalidError
from service.kpi.zones import (
    is_clean_midnight,
    midnight,
    midnight_from,
    midnight_until,
    to_utc,
    zone,
    zone_names,
)
from tests.kpi.instants import NASTY, moments

MICROSECOND = timedelta(microseconds=1)


def test_every_iana_zone_can_be_named_and_nothing_else() -> None:
    assert len(zone_names()) > 400
    assert {*NASTY, "UTC", "Etc/GMT+5"} <= zone_names()
    for name in (
        "localtime",
        "posixrules",
        "Factory",
        "",
        "../etc/passwd",
        "/etc/localtime",
        "CEST",
    ):
        assert name not in zone_names()
        with pytest.raises(InvalidError) as caught:
            zone(name)
        assert caught.value.code == "unknown_timezone"
        assert caught.value.detail["field"] == "tz"


def test_every_named_zone_can_be_opened() -> None:
    for name in zone_names():
        assert zone(name).key == name


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("europe/copenhagen", "Europe/Copenhagen"),
        ("Copenhagen", "Europe/Copenhagen"),
        ("Europe/Kopenhagen", "Europe/Copenhagen"),
        ("America/NewYork", "America/New_York"),
    ],
)
def test_a_mistyped_zone_names_the_nearest(said: str, meant: str) -> None:
    with pytest.raises(InvalidError) as caught:
        zone(said, "timezone")
    assert meant in caught.value.detail["nearest"]
    assert meant in caught.value.message
    assert caught.value.detail["field"] == "timezone"


def test_a_name_that_resembles_nothing_gets_an_example() -> None:
    with pytest.raises(InvalidError, match="For example Europe/Copenhagen") as caught:
        zone("%%%" * 200)
    assert len(caught.value.message) < 200


@pytest.mark.parametrize(
    ("name", "day", "instant"),
    [
        ("Europe/Copenhagen", "2026-03-29", "2026-03-28T23:00:00Z"),
        ("Asia/Kathmandu", "2026-01-01", "2025-12-31T18:15:00Z"),
        # Clocks went from 00:00 to 01:00: the day begins at the change.
        ("Asia/Beirut", "2026-03-29", "2026-03-28T22:00:00Z"),
        ("America/Sao_Paulo", "2018-11-04", "2018-11-04T03:00:00Z"),
        # 30 December 2011 did not happen: it and the 31st begin at the same moment.
        ("Pacific/Apia", "2011-12-30", "2011-12-30T10:00:00Z"),
        ("Pacific/Apia", "2011-12-31", "2011-12-30T10:00:00Z"),
        # Midnight occurred twice: the first one.
        ("America/Havana", "2025-11-02", "2025-11-02T04:00:00Z"),
    ],
)
def test_where_local_days_begin(name: str, day: str, instant: str) -> None:
    assert midnight(date.fromisoformat(day), ZoneInfo(name)) == datetime.fromisoformat(instant)


def test_a_skipped_time_is_read_as_before_the_change_and_a_double_one_is_the_first() -> None:
    copenhagen = ZoneInfo("Europe/Copenhagen")
    skipped = datetime(2026, 3, 29, 2, 30, tzinfo=copenhagen)
    assert to_utc(skipped) == datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
    double = datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=copenhagen)
    assert to_utc(double) == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("name", "day", "clean"),
    [
        ("Europe/Copenhagen", "2026-10-25", True),
        ("Asia/Beirut", "2026-03-29", True),
        ("America/Sao_Paulo", "2018-02-18", True),  # went back at midnight: 23:00 twice, 00:00 once
        ("America/Havana", "2025-11-02", False),
        ("America/St_Johns", "2010-11-07", False),
    ],
)
def test_a_midnight_is_clean_when_it_occurs_once(name: str, day: str, clean: bool) -> None:
    tz = ZoneInfo(name)
    start = midnight(date.fromisoformat(day), tz)
    assert is_clean_midnight(start, tz) is clean
    assert not is_clean_midnight(start + MICROSECOND, tz)
    assert not is_clean_midnight(start - MICROSECOND, tz)


@settings(deadline=None, max_examples=150)
@given(moments())
def test_clean_midnights_part_time_by_local_date(moment: tuple[ZoneInfo, datetime]) -> None:
    """Nothing before a clean midnight has its date or a later one, nothing after an earlier one."""
    tz, at = moment
    until, start = midnight_until(at, tz), midnight_from(at, tz)
    assert until <= at <= start
    assert until == start or not is_clean_midnight(at, tz)
    for clean in (until, start):
        assert is_clean_midnight(clean, tz)
        day = clean.astimezone(tz).date()
        for minutes in (1, 30, 61, 24 * 60, 47 * 60):
            away = timedelta(minutes=minutes)
            assert (clean - away).astimezone(tz).date() < day
            assert (clean + away).astimezone(tz).date() >= day
        assert (clean - MICROSECOND).astimezone(tz).date() < day
    # Nearest: there is no clean midnight strictly between.
    between = until.astimezone(tz).date() + timedelta(days=1)
    while (other := midnight(between, tz)) < start:
        assert other <= until or not is_clean_midnight(other, tz)
        between += timedelta(days=1)
