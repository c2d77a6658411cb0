"""A client whose clock is wrong is booked when it happened."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.kinds import Flag, Kind
from service.ingest.skew import TOLERATED, Corrected, corrected
from tests.ingest.given import FIREFOX, NOW, browser, context, data, good, refused, row, take

PATIENT = settings(deadline=None)
ZERO = timedelta(0)
BROWSER = {"browser": True, "user_agent": FIREFOX, "address": "203.0.113.7"}
LAST_30_YEARS = timedelta(days=30 * 365)

ages = st.timedeltas(timedelta(hours=-20), LAST_30_YEARS)
wrong_by = st.timedeltas(-LAST_30_YEARS, LAST_30_YEARS).filter(lambda by: abs(by) > TOLERATED)
latencies = st.timedeltas(ZERO, TOLERATED)


def stamps(age: timedelta, wrong: timedelta, latency: timedelta = ZERO) -> dict[str, str]:
    """What a client says whose clock is ahead by `wrong`, and whose request took `latency`."""
    sent = NOW + wrong - latency
    return {"occurred_at": (sent - age).isoformat(), "sent_at": sent.isoformat()}


def view(stamps: dict[str, str]) -> dict[str, Any]:
    return good(Kind.PAGE_VIEW, **stamps)


@PATIENT
@given(ages, wrong_by)
def test_the_correction_is_exact(age: timedelta, wrong: timedelta) -> None:
    found = row(view(stamps(age, wrong)))
    assert found.occurred_at == NOW - age
    assert data(found)["corrected"] * timedelta(microseconds=1) == -wrong
    assert bool(found.flags & Flag.SKEWED) == (abs(wrong) > timedelta(days=1))
    assert found.flags & (Flag.CORRECTED | Flag.DATED) == Flag.CORRECTED | Flag.DATED


@PATIENT
@given(ages, latencies, st.sampled_from([BROWSER, {}]))
def test_an_event_of_a_right_clock_is_never_moved(
    age: timedelta, latency: timedelta, facts: dict[str, Any]
) -> None:
    """However old: a browser that was offline for a month has no wrong clock."""
    said = stamps(age, ZERO, latency)
    found = row(view(said), **facts)
    assert found.occurred_at == datetime.fromisoformat(said["occurred_at"])
    assert found.flags == Flag.DATED
    assert data(found) == data(row(good(Kind.PAGE_VIEW)))


@PATIENT
@given(
    st.lists(st.datetimes(timezones=st.just(UTC)), min_size=2),
    st.datetimes(timezones=st.just(UTC)),
    st.datetimes(timezones=st.just(UTC)),
)
def test_what_one_request_says_stays_in_order(
    said: list[datetime], sent: datetime, received: datetime
) -> None:
    said.sort()
    found = [corrected(at, sent, received).at for at in said]
    assert found == sorted(found)


@PATIENT
@given(ages, wrong_by, latencies, latencies)
def test_a_retry_has_the_key_and_within_its_delays_the_time_of_the_first_attempt(
    age: timedelta, wrong: timedelta, first: timedelta, second: timedelta
) -> None:
    later = timedelta(hours=7)
    said = stamps(age, wrong, first)
    again = (NOW + later + wrong - second).isoformat()
    one = row(view({**said, "id": "v-1"}))
    two = row(view({**said, "id": "v-1", "sent_at": again}), now=NOW + later)
    assert one.key == two.key
    assert abs(one.occurred_at - two.occurred_at) <= 2 * TOLERATED


def test_a_minute_is_no_skew_and_a_day_is_corrected_without_a_flag() -> None:
    moment = timedelta(microseconds=1)
    sent = NOW - TOLERATED
    assert corrected(NOW, sent, NOW) == (NOW, ZERO)
    assert corrected(NOW, sent - moment, NOW) == (NOW + TOLERATED + moment, TOLERATED + moment)
    day = timedelta(days=1)
    assert row(view(stamps(ZERO, day))).flags == Flag.DATED | Flag.CORRECTED
    assert row(view(stamps(ZERO, -day - moment))).flags & Flag.SKEWED


def test_a_clock_that_was_reset_is_put_right() -> None:
    said = {"occurred_at": "1970-01-01T00:00:03Z", "sent_at": "1970-01-01T00:00:05Z"}
    assert row(view(said)).occurred_at == NOW - timedelta(seconds=2)


@pytest.mark.parametrize(
    ("said", "code"),
    [
        (stamps(timedelta(hours=-24, microseconds=-1), timedelta(hours=3)), "time_in_future"),
        (stamps(timedelta(days=37 * 365), timedelta(days=365)), "time_too_old"),
        ({"occurred_at": "9999-12-31T00:00:00Z", "sent_at": "0001-01-01T00:00:00Z"},
         "time_in_future"),
        ({"occurred_at": "0001-01-01T00:00:00Z", "sent_at": "9999-12-31T00:00:00Z"},
         "time_too_old"),
    ],
)  # fmt: skip
def test_what_no_event_may_be_dated_is_refused_as_ever(said: dict[str, str], code: str) -> None:
    found = refused(view(said))
    assert (found.code, found.field) == (code, "/occurred_at")


@pytest.mark.parametrize(
    "event",
    [
        good(Kind.PAGE_VIEW),
        good(Kind.CONVERSION, occurred_at="2026-05-01"),
        good(Kind.AD_SPEND, occurred_at="2026-05-01T10:00:00Z"),
    ],
)
def test_what_no_clock_said_is_not_corrected(event: dict[str, Any]) -> None:
    """No time, a date, or the days of a statement."""
    wrong = {**event, "sent_at": (NOW - timedelta(days=3)).isoformat()}
    assert take(wrong) == take(event)
    assert take(wrong).corrected == 0


@pytest.mark.parametrize("sent", ["2026-05-20", "2026-05-20T10:00:00", 1780000000])
def test_a_clock_says_more_than_a_date(sent: object) -> None:
    found = refused(good(Kind.PAGE_VIEW, sent_at=sent))
    assert (found.code, found.field) == ("invalid_time", "/sent_at")


def test_corrected_events_are_counted() -> None:
    assert take(view(stamps(ZERO, timedelta(hours=2)))).corrected == 1
    assert take(view(stamps(ZERO, timedelta(seconds=2)))).corrected == 0


def test_a_browsers_visitor_is_that_of_the_corrected_day() -> None:
    said = view(stamps(timedelta(minutes=1), timedelta(days=40)))
    whose = browser().passing_visitor("", NOW - timedelta(minutes=1))
    assert row(said, **BROWSER).visitor == whose


def test_the_latest_and_earliest_that_can_be_said() -> None:
    ends = (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
    for sent, end in zip(ends, reversed(ends), strict=True):
        assert corrected(end, sent, context().now) == Corrected(end, context().now - sent)
