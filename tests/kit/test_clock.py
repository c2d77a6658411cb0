from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from service.kit.clock import Clock, SystemClock
from tests.clock import FixedClock

NOON = datetime(2026, 10, 25, 12, 0, 0, 123456, tzinfo=UTC)


def test_the_system_clock_is_aware_utc_and_close_to_now() -> None:
    clock: Clock = SystemClock()
    before = datetime.now(UTC)
    now = clock.now()
    assert now.tzinfo is UTC
    assert before <= now <= datetime.now(UTC)


def test_the_monotonic_clock_never_goes_back() -> None:
    clock = SystemClock()
    readings = [clock.monotonic() for _ in range(1000)]
    assert readings == sorted(readings)


def test_a_fixed_clock_stands_still_to_the_microsecond() -> None:
    clock: Clock = FixedClock(NOON)
    assert clock.now() == clock.now() == NOON
    assert clock.monotonic() == 0.0


def test_a_fixed_clock_answers_in_utc_whatever_zone_it_was_given() -> None:
    clock = FixedClock(NOON.astimezone(ZoneInfo("Europe/Copenhagen")))
    assert clock.now().utcoffset() == timedelta(0)
    assert clock.now() == NOON


def test_advancing_moves_both_clocks() -> None:
    clock = FixedClock(NOON)
    clock.advance(1.5)
    assert clock.now() == NOON + timedelta(seconds=1.5)
    assert clock.monotonic() == 1.5


def test_setting_back_leaves_the_monotonic_clock_alone() -> None:
    clock = FixedClock(NOON)
    clock.set(NOON + timedelta(seconds=10))
    clock.set(NOON)
    assert clock.now() == NOON
    assert clock.monotonic() == 10.0


def test_naive_instants_and_steps_back_are_refused() -> None:
    naive = NOON.replace(tzinfo=None)
    with pytest.raises(ValueError, match="needs a time zone"):
        FixedClock(naive)
    clock = FixedClock(NOON)
    with pytest.raises(ValueError, match="needs a time zone"):
        clock.set(naive)
    with pytest.raises(ValueError, match="zero seconds or more"):
        clock.advance(-1)
