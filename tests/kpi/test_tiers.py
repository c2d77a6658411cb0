from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

from hypothesis import given, settings
from hypothesis import strategies as st

from service.kpi.grains import GRAINS, bounds
from service.kpi.tiers import QUARTER, Cover, Shift, Span, cover
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
    whole = Span(*window)
    assert cover(window, COPENHAGEN) == Cover(whole, (), (), months=whole)


def test_whole_months_are_taken_out_of_the_days_but_for_a_series() -> None:
    window = (at("2026-03-29"), at("2026-06-02"))
    found = cover(window, COPENHAGEN)
    assert found.days == Span(*window)
    assert found.months == Span(at("2026-04-01"), at("2026-06-01"))
    assert found.around_months() == (
        Span(at("2026-03-29"), at("2026-04-01")),
        Span(at("2026-06-01"), at("2026-06-02")),
    )
    days = bounds(between(*window, COPENHAGEN), "day")
    assert cover(days, COPENHAGEN).months is None
    assert cover((at("2026-04-02"), at("2026-05-31")), COPENHAGEN).months is None


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
    hours = bounds(between(at("2026-05-20"), at("2026-05-22"), COPENHAGEN), "hour")
    assert cover(hours, COPENHAGEN) == Cover(None, (Span(hours[0], hours[-1]),), ())


def test_days_of_another_zone_are_days_of_the_site_with_some_hours_moved() -> None:
    new_york = ZoneInfo("America/New_York")
    days = bounds(between(at("2026-05-01 06:00"), at("2026-05-04 06:00"), new_york), "day")
    assert cover((days[0], days[-1]), COPENHAGEN).days == Span(at("2026-05-02"), at("2026-05-04"))
    assert cover(days, COPENHAGEN) == Cover(
        Span(at("2026-05-02"), at("2026-05-04")),
        (Span(days[0], at("2026-05-02")), Span(at("2026-05-04"), days[-1])),
        (),
        (
            # The first six hours of these days still are the day before in New York.
            Shift(at("2026-05-02"), days[1], gains=1, loses=2),
            Shift(at("2026-05-03"), days[2], gains=2, loses=3),
        ),
        (days[0], at("2026-05-02"), at("2026-05-03")),
    )
    # In Kathmandu they begin sooner than at the site.
    days = bounds(between(at("2026-05-01"), at("2026-05-04"), ZoneInfo("Asia/Kathmandu")), "day")
    assert cover(days, COPENHAGEN).shifts == (
        Shift(days[1], at("2026-05-02"), gains=2, loses=1),
        Shift(days[2], at("2026-05-03"), gains=3, loses=2),
        Shift(days[3], at("2026-05-04"), gains=4, loses=3),
    )


def test_where_too_much_would_move_quarters_answer_alone() -> None:
    halves = tuple(at("2026-05-01") + timedelta(hours=12 * n) for n in range(9))
    assert len(cover(halves, COPENHAGEN).shifts) == 4
    thirds = tuple(at("2026-05-01") + timedelta(hours=6 * n) for n in range(17))
    assert cover(thirds, COPENHAGEN) == Cover(None, (Span(thirds[0], thirds[-1]),), ())


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
        inner = [cut for cut in found.starts or buckets if found.days.start < cut < found.days.end]
        assert all(is_clean_midnight(cut, site_zone) for cut in inner)
        first, last = (end.astimezone(site_zone).date() for end in found.days)
        for inside in (found.days.start, found.days.end - MICROSECOND, sum_of_halves(*found.days)):
            assert first <= inside.astimezone(site_zone).date() < last
        for outside in (found.days.start - MICROSECOND, found.days.end):
            assert not first <= outside.astimezone(site_zone).date() < last
    shifted = (Span(shift.start, shift.end) for shift in found.shifts)
    for quarters in (*found.quarters, *shifted):
        assert all((end - EPOCH) % QUARTER == timedelta() for end in quarters)
        cuts = [cut for cut in buckets if quarters.start <= cut <= quarters.end]
        assert all((cut - EPOCH) % QUARTER == timedelta() for cut in cuts)
    # The facts are the dear tier: without odd offsets they answer for less than a quarter hour.
    if found.days or found.quarters:
        assert all(end - begin < QUARTER for begin, end in found.edges)


@settings(deadline=None, max_examples=250)
@given(
    moments(), zones, st.integers(1, 40), st.sampled_from([*GRAINS, "half"]), st.floats(0, 0.999)
)
def test_everything_is_counted_once_in_its_bucket(
    moment: tuple[ZoneInfo, datetime], site_zone: ZoneInfo, days: int, grain: str, place: float
) -> None:
    tz, start = moment
    window = between(start, start + timedelta(days=days, hours=5), tz)
    halves = tuple(start + timedelta(hours=12 * n) for n in range(2 * days))
    buckets = (*halves, window.end) if grain == "half" else bounds(window, grain)
    found = cover(buckets, site_zone)
    for exact in (*buckets[:-1], window.start + place * (window.end - window.start)):
        assert counted(found, buckets, exact, site_zone) == {bisect_right(buckets, exact): 1}


def counted(
    found: Cover, buckets: Sequence[datetime], moment: datetime, site_zone: ZoneInfo
) -> dict[int, int]:
    """How often something of that moment counts in each bucket."""
    booked = moment
    if found.days and found.days.start <= moment < found.days.end:
        booked = midnight(moment.astimezone(site_zone).date(), site_zone)
    counts = Counter([bisect_right(found.starts or buckets[:-1], booked)])
    for shift in found.shifts:
        if shift.start <= moment < shift.end:
            counts.update({shift.gains: 1})
            counts.subtract({shift.loses: 1})
    return {bucket: count for bucket, count in counts.items() if count}


def sum_of_halves(start: datetime, end: datetime) -> datetime:
    return start + (end - start) / 2
