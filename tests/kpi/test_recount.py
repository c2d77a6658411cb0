"""Every KPI over random events, windows, zones, grains, breakdowns: as a plain recount says."""

from __future__ import annotations

from collections import Counter
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.domain.dimensions import Dimension
from service.domain.kinds import Kind
from service.kpi.definition import Kpi
from service.kpi.evidence import STATED
from service.kpi.formula import KpiKind, Quantity, Unit, evidence, money_side
from tests.kpi.recount import Keep, Recount
from tests.kpi.world import CATALOGUE, Event, World, at, uid

# The clocks of Copenhagen go forward on March 29; Kathmandu is at +05:45, Lord Howe shifts by 30
# minutes on April 5.
FIRST, LAST = at("2026-03-27T00:00"), at("2026-04-07T00:00")
ZONES = ["Europe/Copenhagen", "Asia/Kathmandu", "Australia/Lord_Howe", "America/New_York"]
GRAINS = ["hour", "day", "week", "month"]
CAMPAIGNS = ["", "spring", "summer, late"]
CHANNELS = ["Organic Search", "Email", "Direct"]
QUARTER = timedelta(minutes=15)


# Half of all times are at or beside a quarter hour: there the tiers meet.
def _time(draw: st.DrawFn) -> datetime:
    quarters = draw(st.integers(0, (LAST - FIRST) // QUARTER - 1))
    offset = draw(st.one_of(st.sampled_from([-1, 0, 1]), st.integers(0, 899_999_999)))
    return FIRST + quarters * QUARTER + timedelta(microseconds=offset)


times = st.composite(_time)()
dims = st.builds(
    lambda channel, campaign: Dimension(channel=channel, source="own", campaign=campaign),
    st.sampled_from(CHANNELS),
    st.sampled_from(CAMPAIGNS),
)
small = st.integers(1, 4)
amounts = st.integers(0, 10**9)


@st.composite
def views(draw: st.DrawFn) -> list[Event]:
    """Some page views of one visitor within an hour."""
    start, visitor = draw(times), draw(small)
    steps = draw(st.lists(st.integers(0, 2_400), max_size=3))
    found = [start]
    for step in steps:
        found.append(found[-1] + timedelta(seconds=step))
    return [Event(Kind.PAGE_VIEW, when, draw(dims), {}, visitor) for when in found]


@st.composite
def spendings(draw: st.DrawFn) -> list[Event]:
    key = draw(st.integers(1, 6))
    data = {
        "key": uid("spend", key),
        "cost": draw(amounts),
        "currency": "DKK",
        "impressions": draw(st.integers(0, 900)),
        "clicks": draw(st.integers(0, 90)),
    }
    # A restated figure stays on its day; a key belongs to one campaign.
    when = FIRST + timedelta(days=key, hours=9, microseconds=1)
    dim = Dimension("Email", "own", campaign=CAMPAIGNS[key % 3])
    return [Event(Kind.AD_SPEND, when, dim, data)]


@st.composite
def sales(draw: st.DrawFn) -> list[Event]:
    number = draw(st.integers(1, 10**6))
    data = {"order": uid("order", number), "quantity": 1, "value": draw(amounts), "currency": "DKK"}
    if draw(st.booleans()):
        data["customer"] = uid("customer", draw(small))
    if draw(st.booleans()):
        data["lead"] = uid("lead", draw(small))
    if draw(st.integers(0, 9)):
        data["cost"] = draw(amounts)
    found = [Event(Kind.CONVERSION, draw(times), draw(dims), data)]
    if draw(st.booleans()):
        back = {"order": data["order"], "value": draw(amounts), "currency": "DKK"}
        found.append(Event(Kind.REFUND, draw(times), Dimension(), back))
    return found


@st.composite
def mails(draw: st.DrawFn) -> list[Event]:
    dim, message = draw(dims), uid("message", draw(st.integers(1, 10**6)))
    kinds = [Kind.EMAIL_SENT, Kind.EMAIL_OPENED, Kind.EMAIL_CLICKED]
    chosen = draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=4))
    return [Event(kind, draw(times), dim, {"message": message}) for kind in chosen]


@st.composite
def leads(draw: st.DrawFn) -> list[Event]:
    return [Event(Kind.LEAD, draw(times), draw(dims), {"lead": uid("lead", draw(small))})]


@st.composite
def answers(draw: st.DrawFn) -> list[Event]:
    survey = draw(st.sampled_from(["nps", "csat"]))
    data = {"survey": survey, "grade": draw(st.integers(-1, 1))}
    return [Event(Kind.SURVEY_ANSWER, draw(times), Dimension(survey=survey), data)]


def _unique(groups: list[list[Event]]) -> list[Event]:
    """One flat list; of two events that would be one (an order, a message) the first stays."""
    events: list[Event] = []
    owners: dict[str, int] = {}
    for number, group in enumerate(groups):
        for event in group:
            name = event.data.get("order") or event.data.get("message")
            if name is None or owners.setdefault(name, number) == number:
                events.append(event)
    return events


streams = st.lists(
    st.one_of(views(), spendings(), sales(), mails(), leads(), answers()), min_size=6, max_size=30
).map(_unique)


@st.composite
def windows(draw: st.DrawFn) -> dict[str, str]:
    tz = draw(st.sampled_from(ZONES))
    if draw(st.booleans()):
        first = draw(st.integers(0, 9))
        last = draw(st.integers(first + 1, 11))
        day = FIRST.date()
        return {
            "start": (day + timedelta(days=first)).isoformat(),
            "end": (day + timedelta(days=last)).isoformat(),
            "tz": tz,
        }
    start, end = sorted((draw(times), draw(times)))
    return {
        "start": start.isoformat(),
        "end": (end + timedelta(microseconds=1)).isoformat(),
        "tz": tz,
    }


def shown(kpi: Kpi, view: str, exact: Fraction | None) -> float | None:
    """A recounted value in the unit in which it is published."""
    formula = kpi.views[view]
    if exact is None:
        return None
    per_unit = money_side(formula.numerator) and not money_side(formula.denominator)
    return float(exact / 1_000_000 if per_unit else exact)


def agrees(found: dict[str, Any], kpi: Kpi, view: str, recount: Recount, keep: Keep) -> None:
    """One figure of an answer against the recount."""
    formula = kpi.views[view]
    if found["reason"] == "no_data":
        assert any(never(recount, quantity) for quantity, _ in formula.keys)
        return
    assert not any(never(recount, quantity) for quantity, _ in formula.keys), kpi.id
    if found["reason"] == "missing_cost_of_goods":
        assert recount.sum("orders", keep) != recount.sum("orders_with_cost", keep)
        return
    expected = recount.value(formula, keep)
    value = found["value"]
    if kpi.kind is KpiKind.SIMPLE and expected is not None:
        unit = 1_000_000 if kpi.unit is Unit.CURRENCY else 1
        assert Fraction(value) == expected / unit, kpi.id
        return
    shown_value = shown(kpi, view, expected)
    assert (value is None) == (shown_value is None), (kpi.id, found)
    if shown_value is not None:
        assert float(value) == pytest.approx(shown_value, rel=1e-15, abs=1e-300), kpi.id
    else:
        assert found["reason"] == "zero_denominator"


def never(recount: Recount, quantity: Quantity) -> bool:
    """Whether nothing at all shows that the site counts it."""
    labels = {measure.label for measure in evidence(quantity)}
    stated = {measure.label for measure in STATED}  # also as 0
    return not any(
        added.value or added.measure in stated for added in recount.added if added.measure in labels
    )


def bucket_name(when: datetime, grain: str, tz: ZoneInfo) -> Any:
    """Which calendar unit an instant lies in."""
    local = when.astimezone(tz)
    return {
        "hour": (local.date(), local.hour, local.utcoffset()),
        "day": local.date(),
        "week": local.isocalendar()[:2],
        "month": (local.year, local.month),
    }[grain]


VIEWS = [("cohort", kpi) for kpi in CATALOGUE] + [
    ("period", kpi) for kpi in CATALOGUE if kpi.named_views
]


async def check(
    world: World, recount: Recount, window: dict[str, str], extra: dict[str, Any]
) -> None:
    for view in ("cohort", "period"):
        kpis = [kpi for name, kpi in VIEWS if name == view]
        by = extra.get("by")
        kpis = [kpi for kpi in kpis if by is None or by in kpi.breakdowns]
        found = await world.ask(*(kpi.id for kpi in kpis), view=view, **window, **extra)
        for kpi, answer in zip(kpis, found, strict=True):
            one(kpi, kpi.view(view), answer, recount, extra)


def inside_of(answer: dict[str, Any]) -> Keep:
    start, end = (datetime.fromisoformat(answer["window"][side]) for side in ("from", "to"))
    return lambda when, _dim: start <= when < end


def one(
    kpi: Kpi, view: str, answer: dict[str, Any], recount: Recount, extra: dict[str, Any]
) -> None:
    agrees(answer, kpi, view, recount, inside_of(answer))
    if extra.get("grain"):
        series(kpi, view, answer, recount, extra["grain"])
    if extra.get("by"):
        breakdown(kpi, view, answer, recount, extra["by"])


def series(kpi: Kpi, view: str, answer: dict[str, Any], recount: Recount, grain: str) -> None:
    tz = ZoneInfo(answer["window"]["tz"])
    edges = [
        (datetime.fromisoformat(p["from"]), datetime.fromisoformat(p["to"]))
        for p in answer["series"]
    ]
    assert [last for _, last in edges[:-1]] == [first for first, _ in edges[1:]]
    assert edges[0][0].isoformat() == answer["window"]["from"]
    assert edges[-1][1].isoformat() == answer["window"]["to"]
    names = [bucket_name(first, grain, tz) for first, _ in edges]
    assert max(Counter(names).values()) == 1
    for point, (first, last) in zip(answer["series"], edges, strict=True):
        assert bucket_name(first, grain, tz) == bucket_name(
            last - timedelta(microseconds=1), grain, tz
        )
        agrees(point, kpi, view, recount, lambda w, d, a=first, b=last: a <= w < b)
    if kpi.kind is KpiKind.SIMPLE and answer["value"] is not None:
        assert sum(Decimal(point["value"]) for point in answer["series"]) == answer["value"]


def breakdown(kpi: Kpi, view: str, answer: dict[str, Any], recount: Recount, by: str) -> None:
    inside = inside_of(answer)
    rows = {row[by] or "": row for row in answer["breakdown"]}
    assert len(rows) == len(answer["breakdown"])
    formula = kpi.views[view]
    for label in {"", *CAMPAIGNS, *CHANNELS}:

        def mine(when: datetime, dim: Dimension, label: str = label) -> bool:
            return inside(when, dim) and getattr(dim, by) == label

        if label in rows:
            agrees(rows[label], kpi, view, recount, mine)
        else:
            assert not recount.side(formula.numerator + formula.denominator, mine)
    if kpi.kind is KpiKind.SIMPLE and answer["value"] is not None:
        assert sum(Decimal(row["value"]) for row in answer["breakdown"]) == answer["value"]


extras = st.one_of(
    st.just({}),
    st.builds(lambda grain: {"grain": grain}, st.sampled_from(GRAINS)),
    st.builds(lambda by: {"by": by}, st.sampled_from(["channel", "campaign"])),
    st.just({"grain": "day", "by": "channel"}),
)


@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    events=streams,
    zone=st.sampled_from(ZONES),
    questions=st.lists(st.tuples(windows(), extras), min_size=2, max_size=4),
    cut=st.integers(0, 30),
)
async def test_every_kpi_is_what_a_recount_says(
    make_world: Any, events: list[Event], zone: str, questions: list[Any], cut: int
) -> None:
    world = await make_world(timezone=zone)
    parts = [part for part in (events[:cut], events[cut:]) if part]
    for part in parts:  # in two transactions: what comes later changes what was there
        await world.happen(*part)
    recount = Recount(events)
    for window, extra in questions:
        await check(world, recount, window, extra)
