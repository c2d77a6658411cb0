from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from service.kpi.grains import GRAINS, bounds
from service.kpi.tiers import QUARTER, Cover, Span, cover
from service.kpi.windows import between
from service.kpi.zones import is_clean_midnight, midnight
from tests.kpi.instants import lengths, moments, zones

COPENHAGEN = ZoneInfo("Europe/Copenhagen")
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=COPENHAGEN).astimezone(UTC)


def spans(found: Cover) -> list[Span]:
    return sorted([*([found.days] if found.days else []), *found.quarters, *found.edges])


def test_whole_days_need_nothing_finer() -> None:
    window = (at("2026-03-01"), at("2026-04-01"))
    assert cover(window, COPENHAGEN) == Cover(Span(*window), (), ())


def test_days_in_the_middle_quarters_around_them_facts_at_the_ragged_ends() -> None:
    start, end = at("2026-03-28 13:07:00.000001"), at("2026-03-30 09:31:12")
    assert cover((start, end), COPENHAGEN) == Cover(
        Span(at("2026-03-29"), at("2026-03-30")),
        (
            Span(at("2026-03-28 13:15"), at("2026-03-29")),
            Span(at("2026-03-30"), at("2026-03-30 09:30")),
        ),
        (Span(start, at("2026-03-28 13:15")), Span(at("2026-03-30 09:30"), end)),
    )  # fmt: skip


def test_within_one_quarter_hour_the_facts_answer() -> None:
    window = (at("2026-05-20 10:01"), at("2026-05-20 10:14:59"))
    assert cover(window, COPENHAGEN) == Cover(None, (), (Span(*window),))
    assert cover((at("2026-05-20 10:00"), at("2026-05-20 10:15")), COPENHAGEN) == Cover(
        None, (Span(at("2026-05-20 10:00"), at("2026-05-20 10:15")),), ()
    )


def test_two_ends_in_neighbouring_quarter_hours_leave_no_quarter_between() -> None:
    start, middle, end = at("2026-05-20 10:01"), at("2026-05-20 10:15"), at("2026-05-20 10:16")
    found = cover((start, end), COPENHAGEN)
    assert found == Cover(None, (), (Span(start, middle), Span(middle, end)))


def test_buckets_that_cut_days_are_read_from_quarters() -> None:
    hours = (at("2026-05-20"), at("2026-05-20 12:00"), at("2026-05-21"))
    assert cover(hours, COPENHAGEN) == Cover(None, (Span(hours[0], hours[-1]),), ())
    # Days of New York are no days of a shop in Copenhagen.
    new_york = ZoneInfo("America/New_York")
    days = bounds(between(at("2026-05-01"), at("2026-06-01"), new_york), "day")
    assert cover(days, COPENHAGEN).days is None
    assert cover((days[0], days[-1]), COPENHAGEN).days == Span(days[0], days[-1])


def test_a_midnight_that_occurs_twice_ends_no_span_of_days() -> None:
    havana = ZoneInfo("America/Havana")
    first, double, last = (midnight(datetime(2025, 11, day).date(), havana) for day in (1, 2, 3))
    assert cover((first, last), havana).days == Span(first, last)
    assert cover((first, double), havana).days is None
    assert cover((double, last), havana) == Cover(None, (Span(double, last),), ())


def test_days_that_begin_within_a_quarter_hour_are_read_from_the_facts() -> None:
    monrovia = ZoneInfo("Africa/Monrovia")  # -00:44:30 in 1960
    days = bounds(
        between(datetime(1960, 1, 1, tzinfo=UTC), datetime(1960, 1, 4, tzinfo=UTC), monrovia), "day"
    )
    assert cover(days, monrovia) == Cover(None, (), (Span(days[0], days[-1]),))


@settings(deadline=None, max_examples=250)
@given(moments(), zones, st.booleans(), lengths, st.sampled_from([None, *GRAINS]))
def test_a_cover_is_the_window_to_the_microsecond(
    moment: tuple[ZoneInfo, datetime],
    other: ZoneInfo,
    at_home: bool,
    length: timedelta,
    grain: str | None,
) -> None:
    tz, start = moment
    site_zone = tz if at_home else other
    window = between(start, start + min(length, timedelta(hours=1990)), tz)
    buckets = bounds(window, grain)
    found = cover(buckets, site_zone)

    parts = spans(found)
    assert all(first < last for first, last in parts)
    assert all(before.end == after.start for before, after in pairwise(parts))
    assert (parts[0].start, parts[-1].end) == (window.start, window.end)

    # Each tier only holds what it can answer exactly.
    if found.days:
        assert all(is_clean_midnight(end, site_zone) for end in found.days)
        inner = [cut for cut in buckets[1:-1] if found.days.start <= cut <= found.days.end]
        assert all(is_clean_midnight(cut, site_zone) for cut in inner)
        first, last = (end.astimezone(site_zone).date() for end in found.days)
        for inside in (found.days.start, found.days.end - MICROSECOND, sum_of_halves(*found.days)):
            assert first <= inside.astimezone(site_zone).date() < last
        for outside in (found.days.start - MICROSECOND, found.days.end):
            assert not first <= outside.astimezone(site_zone).date() < last
    for quarters in found.quarters:
        assert all((end - EPOCH) % QUARTER == timedelta() for end in quarters)
        cuts = [cut for cut in buckets if quarters.start <= cut <= quarters.end]
        assert all((cut - EPOCH) % QUARTER == timedelta() for cut in cuts)
    # The facts are the dear tier: without odd offsets they answer for less than a quarter hour.
    if found.days or found.quarters:
        assert all(end - begin < QUARTER for begin, end in found.edges)


def sum_of_halves(start: datetime, end: datetime) -> datetime:
    return start + (end - start) / 2
