"""Invariants 3 to 5: answers are what a plain recount says, add up, and are exact at any instant.

Random worlds, random questions, every KPI that can answer them. `KOMPAS_EXAMPLES=500` for longer
runs.
"""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy.ext.asyncio import AsyncEngine

from service.domain.dimensions import DIMENSIONS
from service.domain.measures import MEASURE_BY_LABEL
from service.domain.models import CREDITED, Model
from service.kpi.formula import Additivity
from service.kpi.grains import GRAINS
from service.store.fx import FxRate, put_rates
from tests.kpi.agreement import checks
from tests.kpi.questions import FAMILIES, ZONES, Question, questions
from tests.kpi.recount import Recount
from tests.kpi.recount_facts import Way
from tests.kpi.streams import FIRST, LAST, MICRO, QUARTER, something_of_everything, streams
from tests.kpi.world import CATALOGUE, Event, World

Make = Callable[..., Awaitable[World]]

EXAMPLES = int(os.environ.get("KOMPAS_EXAMPLES", "0"))
RATES = {
    ("EUR", day): Decimal("7.4") + Decimal(day.toordinal() % 7) / 100
    for day in (FIRST.date() + timedelta(days=number) for number in range(-120, 30))
}
EXACT_RATES = {key: Fraction(rate) for key, rate in RATES.items()}


def examples(count: int) -> settings:
    return settings(
        max_examples=EXAMPLES or count,
        deadline=None,
        suppress_health_check=[
            HealthCheck.function_scoped_fixture,
            HealthCheck.too_slow,
            HealthCheck.data_too_large,
        ],
    )


@pytest.fixture(scope="module", autouse=True)
async def rates(warehouse: AsyncEngine) -> None:
    found = [FxRate(base, "DKK", day, rate) for (base, day), rate in RATES.items()]
    await put_rates(warehouse, found)


async def lived(make_world: Make, events: list[Event], cut: int, zone: str) -> World:
    """A world in which the events came in two batches: the later ones change what was there."""
    world = await make_world(timezone=zone)
    for part in (events[:cut], events[cut:]):
        if part:
            await world.happen(*part)
    return world


def recounted(events: Sequence[Event], zone: str) -> Recount:
    return Recount(events, ZoneInfo(zone), EXACT_RATES)


# --- 3. Recount ------------------------------------------------------------------------------


@examples(14)
@given(
    events=streams(),
    zone=st.sampled_from(ZONES),
    asked=st.lists(questions(), min_size=3, max_size=6),
    cut=st.integers(0, 60),
)
async def test_every_answer_is_what_a_recount_says(
    make_world: Make, events: list[Event], zone: str, asked: list[Question], cut: int
) -> None:
    world = await lived(make_world, events, cut, zone)
    recount = recounted(events, zone)
    for question in asked:
        for check in await checks(world, recount, question):
            check.everything()


# --- 4. Adds up ------------------------------------------------------------------------------

ADDITIVE = [kpi for kpi in CATALOGUE if kpi.additivity is Additivity.FULL]
PARTS = (("channel",), ("campaign", "landing_page"), ("source", "medium", "campaign"))
WHOLE = {"start": "2025-12-01", "end": "2026-04-10"}


def total(parts: list[dict[str, Any]], side: str = "value") -> Fraction:
    return sum((Fraction(part[side] or 0) for part in parts), Fraction(0))


@examples(4)
@given(events=streams(), by=st.sampled_from(PARTS), grain=st.sampled_from(["week", "month"]))
async def test_series_and_breakdowns_add_up_under_every_model(
    make_world: Make, events: list[Event], by: tuple[str, ...], grain: str
) -> None:
    """A model moves credit, and makes none: the whole is the same, and its parts add up to it."""
    world = await lived(make_world, events, len(events), "Europe/Copenhagen")
    recount = recounted(events, "Europe/Copenhagen")
    ids = [kpi.id for kpi in ADDITIVE]
    plain = {found["kpi"]: found["value"] for found in await world.ask(*ids, **WHOLE)}
    for model in Model:
        question = Question(WHOLE | {"tz": "UTC"}, by=by, model=model, grain=grain, top=3)
        for check in await checks(world, recount, question):
            check.everything()
            if check.kpi.id in plain:
                found = check.answer
                assert found["value"] == plain[check.kpi.id], check.kpi.id
                if found["value"] is not None:
                    rest = [] if found["rest"] is None else [found["rest"]]
                    assert total(found["series"]) == Fraction(found["value"]), check.kpi.id
                    assert total(found["breakdown"] + rest) == Fraction(found["value"])


@given(events=streams())
@settings(max_examples=EXAMPLES or 25, deadline=None)
def test_the_recount_itself_shares_everything(events: list[Event]) -> None:
    """Credits of every model sum to what there is to be credited, exactly, measure by measure."""
    recount = recounted(events, "UTC")
    plain = recount.everything(Way()).rows
    for model in Model:
        shared = recount.everything(Way(model)).rows
        for name, rows in plain.items():
            sums = [sum((one.value for one in some), Fraction(0)) for some in (rows, shared[name])]
            assert sums[0] == sums[1], (model, name)
            if MEASURE_BY_LABEL[name] not in CREDITED:
                assert rows == shared[name], (model, name)


# --- 5. Exact windows ------------------------------------------------------------------------


@examples(15)
@given(
    events=streams(),
    cuts=st.lists(st.tuples(st.integers(0, 999), st.integers(-1, 1)), min_size=1, max_size=3),
    how=st.fixed_dictionaries(
        {
            "model": st.sampled_from([model.label for model in Model]),
            "by": st.sampled_from([None, "campaign", "country"]),
            "tz": st.sampled_from(ZONES),
        }
    ),
)
async def test_a_window_is_the_sum_of_its_two_parts(
    make_world: Make, events: list[Event], cuts: list[tuple[int, int]], how: dict[str, str | None]
) -> None:
    """Cut where something happens, or a microsecond beside it."""
    world = await lived(make_world, events, len(events) // 2, "Europe/Copenhagen")
    instants = {events[place % len(events)].at + offset * MICRO for place, offset in cuts}
    first, middle, last = sorted(instants | {FIRST + QUARTER / 7, LAST - MICRO, LAST})[:3]
    by = how["by"]
    kpis = [kpi for kpi in ADDITIVE if by is None or by in kpi.breakdowns]

    async def ask(start: datetime, end: datetime) -> list[dict[str, Any]]:
        window = {"start": start.isoformat(), "end": end.isoformat()}
        return await world.ask(*(kpi.id for kpi in kpis), **window, **how)

    whole, before, after = await ask(first, last), await ask(first, middle), await ask(middle, last)
    for kpi, one, left, right in zip(kpis, whole, before, after, strict=True):
        assert total([one]) == total([left, right]), kpi.id
        if by is not None:
            rows = [{row[by]: row for row in found["breakdown"]} for found in (one, left, right)]
            for label in {*rows[0], *rows[1], *rows[2]}:
                values = [total([row[label]]) if label in row else Fraction(0) for row in rows]
                assert values[0] == values[1] + values[2], (kpi.id, label)


# --- The whole catalogue ---------------------------------------------------------------------


def _dense() -> list[Event]:
    """One fixed world with something of everything."""
    found = something_of_everything()

    @settings(max_examples=12, database=None, derandomize=True, deadline=None)
    @given(streams())
    def collect(events: list[Event]) -> None:
        found.extend(events)

    collect()
    return found


NAMES = (*DIMENSIONS, "landing_page", "page", "country", "device", "props.plan", "product")


async def test_every_kpi_answers_by_everything_it_can(make_world: Make) -> None:
    events = _dense()
    world = await lived(make_world, events, len(events) // 2, "Europe/Copenhagen")
    recount = recounted(events, "Europe/Copenhagen")
    asked = set()
    for by in NAMES:
        for view in ("cohort", "period"):
            question = Question(WHOLE | {"tz": "Asia/Kathmandu"}, by=(by,), view=view)
            for check in await checks(world, recount, question):
                check.everything()
                asked.add((check.kpi.id, FAMILIES.get(by, by)))
    assert asked == {(kpi.id, name) for kpi in CATALOGUE for name in kpi.breakdowns}


async def test_every_kpi_has_a_series_of_every_grain(make_world: Make) -> None:
    events = _dense()
    world = await lived(make_world, events, len(events), "Australia/Lord_Howe")
    recount = recounted(events, "Australia/Lord_Howe")
    days = {"start": (FIRST + MICRO).isoformat(), "end": (LAST - MICRO).isoformat()}
    hours = days | {"start": (LAST - timedelta(days=3) - MICRO).isoformat()}
    grains = {"hour": hours, "day": days} | dict.fromkeys(
        ("week", "month", "quarter", "year"), WHOLE
    )
    assert grains.keys() == set(GRAINS)
    for grain, window in grains.items():
        found = await checks(world, recount, Question(window, grain=grain))
        for check in found:
            check.everything()
        assert {check.kpi.id for check in found} == {kpi.id for kpi in CATALOGUE}


def test_the_worlds_are_nasty_enough() -> None:
    """What the properties are about does occur: every measure is added to."""
    rows = {
        name for name, some in recounted(_dense(), "UTC").everything(Way()).rows.items() if some
    }
    assert set(MEASURE_BY_LABEL) - rows == set()
