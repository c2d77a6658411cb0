from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.access import Site
from service.ingest.context import start_of_day
from tests.ingest.given import NOW, SALTS, SITE, browser, context


@pytest.mark.parametrize(
    ("zone", "day", "start"),
    [
        ("Europe/Copenhagen", date(2026, 3, 29), datetime(2026, 3, 28, 23, tzinfo=UTC)),
        ("Europe/Copenhagen", date(2026, 3, 30), datetime(2026, 3, 29, 22, tzinfo=UTC)),
        ("Europe/Copenhagen", date(2026, 10, 26), datetime(2026, 10, 25, 23, tzinfo=UTC)),
        # Midnight is skipped: the day begins with the change.
        ("America/Sao_Paulo", date(2018, 11, 4), datetime(2018, 11, 4, 3, tzinfo=UTC)),
        # Midnight occurs twice: the day begins with the first.
        ("America/Havana", date(2025, 11, 2), datetime(2025, 11, 2, 4, tzinfo=UTC)),
        ("Asia/Kathmandu", date(2026, 1, 1), datetime(2025, 12, 31, 18, 15, tzinfo=UTC)),
    ],
)
def test_where_a_local_day_begins(zone: str, day: date, start: datetime) -> None:
    assert start_of_day(zone, day) == start


@settings(deadline=None)
@given(
    st.dates(date(1990, 1, 1), date(2027, 12, 31)),
    st.sampled_from(
        [
            "Europe/Copenhagen",
            "America/St_Johns",
            "Asia/Beirut",
            "Pacific/Chatham",
            "America/Havana",
        ]
    ),
)
def test_a_day_begins_with_its_first_instant(day: date, name: str) -> None:
    zone, start = ZoneInfo(name), start_of_day(name, day)
    assert start.astimezone(zone).date() == day
    assert (start - timedelta(microseconds=1)).astimezone(zone).date() < day


def test_days_are_those_of_the_site() -> None:
    late = context(now=datetime(2026, 5, 20, 22, 30, tzinfo=UTC))
    assert late.today == date(2026, 5, 21)
    assert late.day_of(late.now) == date(2026, 5, 21)
    assert late.day_of(late.now - timedelta(hours=1)) == date(2026, 5, 20)
    assert late.start_of(date(2026, 5, 21)) == datetime(2026, 5, 20, 22, tzinfo=UTC)


def test_a_passing_visitor_is_of_a_day_a_site_and_a_salt() -> None:
    today = context().passing_visitor("v", NOW)
    assert context().passing_visitor("v", NOW + timedelta(hours=3)) == today
    other_salts = context(salts=type(SALTS)({NOW.date(): b"another"}))
    other_site = context(site=Site(8, "blog", SITE.timezone, "DKK", b"another"))
    numbers = {
        today,
        context().passing_visitor("w", NOW),
        context().passing_visitor("v", NOW - timedelta(days=1)),
        # Long past: with today's salt, but still by day.
        context().passing_visitor("v", NOW - timedelta(days=100)),
        context().passing_visitor("v", NOW - timedelta(days=101)),
        other_salts.passing_visitor("v", NOW),
        other_site.passing_visitor("v", NOW),
    }
    assert len(numbers) == 7


def test_nothing_personal_shows_in_a_context() -> None:
    shown = repr(browser())
    assert "203.0.113.7" not in shown
    assert "Firefox" not in shown


def test_what_is_fetched_ahead_is_seen_by_nobody() -> None:
    assert not browser().bot
    assert browser(prefetch=True).bot
    assert browser(prefetch=True).machine
    assert not context(prefetch=True).bot
