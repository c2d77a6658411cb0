"""Distinct people in any window, bucket and row, against a recount of the visits and orders."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import NamedTuple
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.domain.dimensions import Detail, Dimension
from service.domain.kinds import Flag, Kind
from service.kpi import visitors
from service.kpi.cells import CellKey, Slice
from service.kpi.distinct import read_distinct
from service.kpi.filters import Filters, parse
from service.kpi.formula import Distinct
from service.kpi.recency import days_of, months_of
from service.kpi.zones import midnight
from service.store.engine import reading
from tests.kpi.world import Event, World, order, uid

MakeWorld = Callable[..., Awaitable[World]]
SITE_ZONES = ("Europe/Copenhagen", "Asia/Kathmandu", "America/Havana")
ZONES = (*SITE_ZONES, "America/New_York", "UTC")
DIMENSIONS = (
    Dimension(),
    Dimension("Email", "newsletter", "email", "may"),
    Dimension("Paid Search", "google", "cpc", "may", content="top"),
    Dimension("Paid Search", "google", "cpc", "spring"),
)
FIRST = datetime(2026, 1, 20, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
HOUR = 60 * MINUTE
GAP = 30 * MINUTE


class Seen(NamedTuple):
    """A page view: minutes from `FIRST`, by whom, at which of the dimensions."""

    minutes: int
    visitor: int
    dim: int

    @property
    def at(self) -> datetime:
        return FIRST + self.minutes * MINUTE


# Over three months, often at the same hours, so that visits meet midnights of several zones.
MINUTES = st.builds(lambda day, ten: 1440 * day + 10 * ten, st.integers(0, 80), st.integers(0, 143))
SEEN = st.builds(Seen, MINUTES, st.integers(1, 3), st.integers(0, len(DIMENSIONS) - 1))
STREAMS = st.lists(st.lists(SEEN, min_size=1, max_size=10), min_size=1, max_size=4)
INSTANTS = st.builds(lambda m, us: FIRST + m * MINUTE + timedelta(microseconds=us),
                     MINUTES, st.integers(-1, 1))  # fmt: skip


@st.composite
def bounds(draw: Callable[[st.SearchStrategy[int]], int]) -> tuple[datetime, ...]:
    """Days or months of a zone, cut into buckets or not."""
    zone = ZoneInfo(draw(st.sampled_from(ZONES)))
    first = FIRST.date() + timedelta(days=draw(st.integers(-20, 60)))
    step, count = draw(st.sampled_from((1, 7, 40))), draw(st.integers(1, 4))
    days = [first + timedelta(days=step * number) for number in range(count + 1)]
    return tuple(midnight(day, zone) for day in days)


CUTS = st.one_of(
    bounds(), st.lists(INSTANTS, min_size=2, max_size=4, unique=True).map(sorted).map(tuple)
)


class Visit(NamedTuple):
    at: datetime
    visitor: int
    dim: Dimension


def visits_of(stream: Iterable[Sequence[Seen]]) -> list[Visit]:
    """In the order of the log, page views at most the gap apart are one visit."""
    placed = [
        (seen.at, b, n, seen) for b, batch in enumerate(stream) for n, seen in enumerate(batch)
    ]
    last: dict[int, datetime] = {}
    found = []
    for at, _, _, seen in sorted(placed):
        if seen.visitor not in last or at - last[seen.visitor] > GAP:
            found.append(Visit(at, seen.visitor, DIMENSIONS[seen.dim]))
        last[seen.visitor] = at
    return found


Counts = dict[CellKey, int]


def recount(visits: Sequence[Visit], cuts: Sequence[datetime], by: str | None) -> Counts:
    people: dict[CellKey, set[int]] = {}
    for number, (start, end) in enumerate(pairwise(cuts), start=1):
        for visit in visits:
            if start <= visit.at < end:
                cell = number if by is None else (str(getattr(visit.dim, by)),)
                people.setdefault(cell, set()).add(visit.visitor)
    return {cell: len(some) for cell, some in people.items()}


async def counted(
    world: World,
    cuts: Sequence[datetime],
    distinct: Distinct,
    by: tuple[str, ...] = (),
    filters: Filters = (),
) -> Counts:
    piece = Slice(world.site.id, ZoneInfo(world.site.timezone), tuple(cuts), by, filters, "DKK")
    async with reading(world.engine) as connection:
        found = await read_distinct(connection, piece, [(distinct, ())])
    return {cell: count for cell, _, count in found}


def views(batch: Iterable[Seen]) -> list[Event]:
    return [Event(Kind.PAGE_VIEW, s.at, DIMENSIONS[s.dim], {"page": "/"}, s.visitor) for s in batch]


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(stream=STREAMS, cuts=CUTS, zone=st.sampled_from(SITE_ZONES))
async def test_visitors_are_a_recount(
    make_world: MakeWorld, stream: list[list[Seen]], cuts: tuple[datetime, ...], zone: str
) -> None:
    """In every bucket, of the whole window, and by dimensions with a chain of their own or not."""
    world = await make_world(zone)
    for batch in stream:
        await world.happen(*views(batch))
    visits, whole = visits_of(stream), (cuts[0], cuts[-1])
    ask = Distinct.VISITORS
    assert await counted(world, cuts, ask) == recount(visits, cuts, None)
    assert await counted(world, whole, ask) == recount(visits, whole, None)
    for by in ("campaign", "channel"):
        assert await counted(world, whole, ask, (by,)) == recount(visits, whole, by)
    may = [visit for visit in visits if visit.dim.campaign == "may"]
    for where in ("campaign:may", "campaign:ma*"):
        assert await counted(world, cuts, ask, (), parse(where)) == recount(may, cuts, None)


COPENHAGEN = ZoneInfo("Europe/Copenhagen")
MARCH = tuple(midnight(datetime(2026, month, 1).date(), COPENHAGEN) for month in (3, 4))
WAY_OF = {
    "days": (MARCH, (), "", visitors._by_days),
    "from an instant on": ((MARCH[0] + MINUTE, MARCH[1]), (), "", visitors._by_pieces),
    "by campaign": (MARCH, ("campaign",), "", visitors._by_pieces),
    "hours": ((MARCH[0], MARCH[0] + GAP, MARCH[0] + 2 * GAP), (), "", visitors._by_repeats),
    "days of another zone": (
        (MARCH[0] + 6 * HOUR, MARCH[0] + 30 * HOUR, MARCH[0] + 55 * HOUR), (), "",
        visitors._by_repeats,
    ),
    "an afternoon": ((MARCH[0] + 12 * HOUR, MARCH[0] + 18 * HOUR), (), "", visitors._by_repeats),
    "a day of 25 hours and a moment": (
        (MARCH[0], MARCH[0] + 25 * HOUR + timedelta(microseconds=1)), (), "", visitors._by_chain,
    ),
    "where rollups have nothing": (
        (MARCH[0] + MINUTE, MARCH[0] + 2 * MINUTE), (), "", visitors._by_chain,
    ),
    "days of which one is longer": (
        (MARCH[0] + HOUR, MARCH[0] + 25 * HOUR, MARCH[0] + 51 * HOUR), (), "", visitors._by_chain,
    ),
    "one campaign by day": (
        (MARCH[0], MARCH[0] + timedelta(days=1), MARCH[1]), (), "campaign:may", visitors._by_chain,
    ),
    "two campaigns": (MARCH, (), "campaign:may,campaign:spring", visitors._by_sorting),
    "not a campaign": (MARCH, (), "!campaign:may", visitors._by_sorting),
    "two dimensions": (MARCH, ("campaign", "channel"), "", visitors._by_sorting),
}  # fmt: skip


@pytest.mark.parametrize("question", WAY_OF)
def test_the_fastest_way_that_is_exact_is_taken(question: str) -> None:
    cuts, by, where, expected = WAY_OF[question]
    piece = Slice(1, COPENHAGEN, cuts, by, parse(where), "DKK")
    form = visitors.Cut(by, visitors.forms(piece.filters), ())
    assert next(way for way in visitors.WAYS if way(piece, form) is not None) is expected


def test_pieces_are_the_window() -> None:
    start, end = MARCH[0] - 7 * MINUTE, MARCH[1] + 5 * MINUTE
    for pieces in (days_of(start, end, COPENHAGEN), months_of(start, end, COPENHAGEN)):
        assert pieces is not None
        assert pieces.whole == MARCH
        assert pieces.edges == (((start, MARCH[0]), "+"), ((MARCH[1], end), "+"))
        # What follows a visit of these minutes follows one before March, but not before the window.
        assert (pieces.known_before, pieces.cut) == (MARCH[0], ((start, MARCH[0]), "-"))
    exact = days_of(*MARCH, COPENHAGEN)
    assert exact is not None
    assert (exact.edges, exact.cut, exact.known_before) == ((), None, MARCH[0])


def test_what_is_nearer_is_looked_up() -> None:
    start, end = MARCH[0] + 7 * MINUTE, MARCH[1] - 5 * MINUTE
    for pieces in (days_of(start, end, COPENHAGEN), months_of(start, end, COPENHAGEN)):
        assert pieces is not None
        assert pieces.whole == MARCH
        assert pieces.edges == (((MARCH[0], start), "-"), ((end, MARCH[1]), "-"))
        assert (pieces.known_before, pieces.cut) == (MARCH[0], ((MARCH[0], start), "+"))
        assert pieces.mended == 19 * MINUTE
    middle = (MARCH[0] + timedelta(days=10), MARCH[0] + timedelta(days=20))
    assert months_of(*middle, COPENHAGEN) is None
    assert months_of(MARCH[0] + timedelta(days=20), end, COPENHAGEN) is None


AROUND = st.integers(-2 * 1440, 2 * 1440)
START_OF_FEBRUARY = 12 * 1440
SEEN_AROUND = st.builds(
    lambda minute, later, *who: Seen(START_OF_FEBRUARY + minute + later * 1440, *who),
    AROUND, st.sampled_from((0, 0, 5, 30)), st.integers(1, 2), st.integers(1, 3),
)  # fmt: skip


@settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    seen=st.lists(SEEN_AROUND, min_size=4, max_size=12),
    start=AROUND,
    end=st.builds(lambda days, minute: days * 1440 + minute, st.sampled_from((14, 28)), AROUND),
    zone=st.sampled_from(SITE_ZONES),
)
async def test_windows_are_mended_at_both_ends(
    make_world: MakeWorld, seen: list[Seen], start: int, end: int, zone: str
) -> None:
    """Where they begin and end near a month, with visits shortly before and after."""
    world = await make_world(zone)
    await world.happen(*views(seen))
    visits, ask = visits_of([seen]), Distinct.VISITORS
    cuts = [FIRST + (START_OF_FEBRUARY + minutes) * MINUTE for minutes in (start, end)]
    assert await counted(world, cuts, ask) == recount(visits, cuts, None)
    assert await counted(world, cuts, ask, ("campaign",)) == recount(visits, cuts, "campaign")


@pytest.mark.parametrize("hour", [6, 18])
async def test_a_window_that_cuts_days_in_the_morning_or_evening(
    make_world: MakeWorld, hour: int
) -> None:
    """1 comes before it and in it, 2 twice in it, 3 and 4 only before and after, 5 at its end."""
    world = await make_world("Europe/Copenhagen")
    start, end = (midnight(datetime(2026, *day).date(), COPENHAGEN) for day in ((2, 1), (3, 15)))
    start, end, later = start + hour * HOUR, end + hour * HOUR, timedelta(days=2)
    seen = [(start - HOUR, 1), (start + later, 1), (start + HOUR, 2), (start + later, 2)]
    seen += [(start - HOUR, 3), (end + HOUR, 4), (end - HOUR, 5), (end + 2 * HOUR, 5)]
    await world.happen(*(Event(Kind.PAGE_VIEW, at, DIMENSIONS[1], {}, who) for at, who in seen))
    assert await counted(world, (start, end), Distinct.VISITORS) == {1: 3}
    by_campaign = await counted(world, (start, end), Distinct.VISITORS, ("campaign",))
    assert by_campaign == {("may",): 3}


LONG_DAY = tuple(
    midnight(datetime(2025, 11, day).date(), ZoneInfo("America/New_York")) for day in (1, 2, 3, 4)
)


async def test_a_day_of_25_hours_is_one_day(make_world: MakeWorld) -> None:
    """Visitor 1 comes at its both ends, 2 around the midnight before it, 3 around the one after."""
    world = await make_world("Europe/Copenhagen")
    start, end = LONG_DAY[1:3]
    assert end - start == 25 * HOUR
    last = timedelta(microseconds=1)
    seen = [(start, 1), (end - last, 1), (start - 40 * MINUTE, 2), (start, 2), (end - HOUR, 3)]
    seen += [(end, 3)]
    await world.happen(*(Event(Kind.PAGE_VIEW, at, Dimension(), {}, who) for at, who in seen))
    assert await counted(world, LONG_DAY, Distinct.VISITORS) == {1: 1, 2: 3, 3: 1}


NEAR_A_CHANGE = st.lists(
    st.builds(Seen, st.integers(1440 * 66, 1440 * 70), st.integers(1, 3), st.just(0)),
    min_size=3,
    max_size=30,
)
"""Views of few visitors within four days, in which Copenhagen's clocks change."""


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    NEAR_A_CHANGE,
    st.lists(st.integers(1440 * 66, 1440 * 70), min_size=2, max_size=6, unique=True).map(sorted),
    st.sampled_from(ZONES),
    st.integers(-1, 1),
)
async def test_who_comes_often_counts_once_a_day(
    make_world: MakeWorld, seen: list[Seen], minutes: list[int], zone: str, off: int
) -> None:
    """In days of any zone, hours, and buckets that cut quarter hours at their ends only, or all."""
    world = await make_world("Europe/Copenhagen")
    await world.happen(*views(seen[::2]))
    await world.happen(*views(seen[1::2]))
    visits, ask = visits_of([seen[::2], seen[1::2]]), Distinct.VISITORS
    local = [midnight((FIRST + timedelta(days=d)).date(), ZoneInfo(zone)) for d in range(66, 71)]
    hours = [local[1] + number * HOUR for number in range(49)]
    cut = [local[0] + off * MINUTE, *local[1:-1], local[-1] + off * MINUTE]
    for cuts in (local, hours, cut, [FIRST + minute * MINUTE for minute in minutes]):
        assert await counted(world, cuts, ask) == recount(visits, cuts, None)


async def test_customers_by_what_they_did_before_and_after(make_world: MakeWorld) -> None:
    """Ada orders before and in March, Bo twice in March, Cy first in March and again in May.

    The shop says that Eve is no new customer, but not when she ordered before.
    """
    world = await make_world()
    await world.happen(
        order("2026-03-22T12:00:00Z", 100, "eve", customer="eve", new=False),
        *(
            order(f"2026-{day}T12:00:00Z", 100, f"{who}-{day}", customer=who)
            for who, day in (
                ("ada", "02-10"), ("ada", "03-10"), ("bo", "03-11"), ("bo", "03-12"),
                ("cy", "03-20"), ("cy", "05-20"), ("di", "03-21"),
            )
        )
    )  # fmt: skip
    expected = {
        Distinct.CUSTOMERS: 5,
        Distinct.FIRST_TIME_CUSTOMERS: 3,
        Distinct.REPEAT_CUSTOMERS: 1,
        Distinct.RETURNING_CUSTOMERS: 3,
        Distinct.ORDERS_OF_CUSTOMERS: 6,
        Distinct.RETAINED_CUSTOMERS: 2,
    }
    half = (MARCH[0], MARCH[0] + timedelta(days=15), MARCH[1])
    long = (MARCH[0], MARCH[1] + timedelta(days=10))
    for distinct, count in expected.items():
        assert await counted(world, MARCH, distinct) == {1: count}, distinct
        assert await counted(world, long, distinct) == {1: count}, distinct
        assert await counted(world, MARCH, distinct, ("channel",)) == {("Email",): count}
    returning = await counted(world, half, Distinct.RETURNING_CUSTOMERS)
    assert returning == {1: 2, 2: 1}
    assert await counted(world, half, Distinct.RETAINED_CUSTOMERS) == {1: 1, 2: 1}


@pytest.mark.parametrize(("horizon", "count"), [(None, 1), (10, 1), (9, 0)])
async def test_who_comes_back_within_a_horizon(
    make_world: MakeWorld, horizon: int | None, count: int
) -> None:
    """Ten days after the first order is no longer within nine."""
    world = await make_world()
    await world.happen(
        order("2026-03-10T12:00:00Z", 100, "first", customer="cy"),
        order("2026-03-20T11:59:59Z", 100, "second", customer="cy"),
    )
    piece = Slice(world.site.id, COPENHAGEN, MARCH, (), (), "DKK", horizon=horizon)
    async with reading(world.engine) as connection:
        found = await read_distinct(connection, piece, [(Distinct.RETAINED_CUSTOMERS, ())])
    assert [one[2] for one in found] == [count] * bool(count)


@pytest.mark.parametrize("by", [(), ("campaign",)])
async def test_who_was_there_on_the_day_that_the_window_cuts(
    make_world: MakeWorld, by: tuple[str, ...]
) -> None:
    """Before the window, or in it already: the rollup alone cannot tell."""
    world = await make_world()
    morning, evening = (datetime(2026, 2, 28, hour, tzinfo=UTC) for hour in (9, 20))
    noon = datetime(2026, 2, 28, 12, tzinfo=UTC)
    for visitor, day in ((1, morning), (2, evening)):
        seen = [day, datetime(2026, 3, 10, tzinfo=UTC), datetime(2026, 3, 20, tzinfo=UTC)]
        views = [Event(Kind.PAGE_VIEW, at, DIMENSIONS[1], {"page": "/"}, visitor) for at in seen]
        await world.happen(*views)
    found = await counted(world, (noon, MARCH[1]), Distinct.VISITORS, by)
    assert list(found.values()) == [2]
    assert list((await counted(world, MARCH, Distinct.VISITORS, by)).values()) == [2]


def answered(day: str, who: str, survey: str, country: str, flags: Flag = Flag.DATED) -> Event:
    """An answer at noon; `who` is '' when it does not say."""
    data = {"survey": survey, "grade": 1, **({"respondent": uid(who)} if who else {})}
    dim, detail = Dimension("Email", survey=survey), Detail("", country, props=(("plan", country),))
    at = datetime.fromisoformat(f"2026-{day}T12:00:00Z")
    return Event(Kind.SURVEY_ANSWER, at, dim, data, flags=int(flags), detail=detail)


async def test_respondents_are_people_and_not_answers(make_world: MakeWorld) -> None:
    """Ada answers three times, Bo two surveys, Cy elsewhere, Di in April; the rest is nobody."""
    world = await make_world()
    await world.happen(
        answered("03-02", "ada", "nps", "DK"),
        answered("03-03", "ada", "nps", "DK"),
        answered("03-20", "ada", "nps", "SE"),
        answered("03-20", "", "nps", "DK"),
        answered("03-21", "machine", "nps", "DK", Flag.DATED | Flag.BOT),
    )
    await world.happen(
        answered("03-04", "bo", "nps", "DK"),
        answered("03-05", "bo", "csat", "DK"),
        answered("03-06", "cy", "csat", "NO"),
        answered("04-01", "di", "csat", "DK"),
    )
    ask = Distinct.RESPONDENTS
    # Cy answers at the very instant at which the second part begins.
    half = (MARCH[0], datetime(2026, 3, 6, 12, tzinfo=UTC), MARCH[1])
    long = (MARCH[0], MARCH[1] + timedelta(days=10))
    assert await counted(world, MARCH, ask) == {1: 3}
    assert await counted(world, half, ask) == {1: 2, 2: 2}
    assert await counted(world, long, ask) == {1: 4}
    assert await counted(world, MARCH, ask, ("survey",)) == {("nps",): 2, ("csat",): 2}
    countries = {("DK",): 2, ("SE",): 1, ("NO",): 1}
    assert await counted(world, MARCH, ask, ("country",)) == countries
    assert await counted(world, MARCH, ask, ("props.plan",)) == countries
    both = {("nps", "DK"): 2, ("nps", "SE"): 1, ("csat", "DK"): 1, ("csat", "NO"): 1}
    assert await counted(world, MARCH, ask, ("survey", "country")) == both
    assert await counted(world, half, ask, (), parse("survey:nps")) == {1: 2, 2: 1}
    assert await counted(world, MARCH, ask, (), parse("!country:dk")) == {1: 2}
