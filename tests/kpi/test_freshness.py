from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.kpi.freshness import Cohort, cohort, provisional
from service.kpi.windows import between, explicit_window

COPENHAGEN = ZoneInfo("Europe/Copenhagen")
JANUARY = explicit_window("2026-01-01", "2026-02-01", COPENHAGEN)
HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("as_of", "late_hours", "expected"),
    [
        ("2026-01-20T12:00:00+01:00", 24, True),  # the window goes on
        ("2026-02-01T00:00:00+01:00", 24, True),
        ("2026-02-01T23:59:59.999999+01:00", 24, True),
        ("2026-02-02T00:00:00+01:00", 24, False),
        ("2026-02-01T00:00:00+01:00", 0, False),
        ("2026-01-31T23:59:59+01:00", 0, True),
        ("2026-02-03T23:59:59+01:00", 72, True),
    ],
)
def test_a_value_is_provisional_while_late_events_are_expected(
    as_of: str, late_hours: int, expected: bool
) -> None:
    assert provisional(JANUARY.end, datetime.fromisoformat(as_of), late_hours) is expected


@pytest.mark.parametrize(
    ("as_of", "horizon", "expected"),
    [
        # In the middle of January: the last members are still to come.
        ("2026-01-11T00:00:00+01:00", 30, Cohort(0, 10, 30, complete=False)),
        ("2026-02-01T00:00:00+01:00", 30, Cohort(0, 31, 30, complete=False)),
        ("2026-03-02T23:59:59+01:00", 30, Cohort(29, 60, 30, complete=False)),
        ("2026-03-03T00:00:00+01:00", 30, Cohort(30, 61, 30, complete=True)),
        ("2026-02-01T12:00:00+01:00", None, Cohort(0, 31, None, complete=None)),
        # Ages are in days of 24 hours: summer time brings nobody forward.
        ("2026-04-02T00:00:00+02:00", 60, Cohort(59, 90, 60, complete=False)),
        ("2026-04-02T01:00:00+02:00", 60, Cohort(60, 91, 60, complete=True)),
        ("2025-12-01T00:00:00+01:00", 30, Cohort(0, 0, 30, complete=False)),
    ],
)
def test_a_cohort_is_as_old_as_its_members(
    as_of: str, horizon: int | None, expected: Cohort
) -> None:
    assert cohort(JANUARY, datetime.fromisoformat(as_of), horizon) == expected


@given(st.integers(1, 24 * 400), st.integers(0, 24 * 800), st.integers(0, 400))
def test_a_complete_cohort_stays_complete_and_its_youngest_had_the_horizon(
    length: int, later: int, horizon: int
) -> None:
    start = datetime(2025, 1, 1, tzinfo=UTC)
    window = between(start, start + length * HOUR, COPENHAGEN)
    found = cohort(window, start + later * HOUR, horizon)
    assert found.youngest_days <= found.oldest_days <= later // 24
    ended = later >= length
    assert found.complete == (ended and found.youngest_days >= horizon)
    if found.complete:
        assert cohort(window, start + (later + 1) * HOUR, horizon).complete
