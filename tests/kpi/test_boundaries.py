"""What happens exactly where buckets, windows and days meet belongs to what begins there."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest

from service.kpi.tiers import Shift, cover
from service.kpi.zones import midnight
from tests.kpi.world import World, at, order, view

Make = Callable[..., Awaitable[World]]

COPENHAGEN = ZoneInfo("Europe/Copenhagen")
DAYS = [datetime(2026, 3, day).date() for day in range(9, 13)]
QUARTER = timedelta(minutes=15)
MICRO = timedelta(microseconds=1)


@pytest.mark.parametrize("tz", ["America/New_York", "Asia/Kathmandu"])
async def test_an_event_at_either_end_of_a_shift(make_world: Make, tz: str) -> None:
    """West of the site a shift ends with the bucket, east of it with the site's day."""
    cuts = tuple(midnight(day, ZoneInfo(tz)) for day in DAYS)
    shifts = cover(cuts, COPENHAGEN).shifts
    assert len(shifts) == 2
    west = tz == "America/New_York"
    assert [(shift.end if west else shift.start) for shift in shifts] == list(cuts[1:-1])
    instants = [at for shift in shifts for at in _around(shift)]
    world = await make_world()
    await world.happen(*(order(at.isoformat(), 1, str(n)) for n, at in enumerate(instants)))
    window = {"start": "2026-03-09", "end": "2026-03-12", "tz": tz}
    for where in (None, "channel:Email"):
        found = await world.ask_one("orders", grain="day", where=where, **window)
        counted = [sum(low <= at < high for at in instants) for low, high in pairwise(cuts)]
        assert [bucket["value"] for bucket in found["series"]] == counted


def _around(shift: Shift) -> tuple[datetime, ...]:
    """The last and the first moment of each side, and the quarter hour that begins at the end."""
    start, end = shift.start, shift.end
    return start - MICRO, start, end - MICRO, end, end + QUARTER - MICRO


@pytest.mark.parametrize("by", [None, "campaign"])
async def test_a_visitor_whose_visit_begins_with_the_window(
    make_world: Make, by: str | None
) -> None:
    """That visit counts; those that follow it in the day that the window cuts, or later, do not."""
    world = await make_world()
    visits = {
        1: ("2026-02-27T12:00", "2026-02-27T15:00"),
        2: ("2026-02-27T12:00", "2026-03-10T10:00"),
        3: ("2026-02-27T11:59:59.999999", "2026-02-27T15:00", "2026-02-27T18:00"),
        4: ("2026-02-27T11:59:59.999999", "2026-03-10T10:00"),
    }
    seen = [
        view(when, visitor, campaign="may") for visitor, whens in visits.items() for when in whens
    ]
    await world.happen(*seen)
    asked = {"start": "2026-02-27T12:00:00Z", "end": at("2026-03-31T22:00").isoformat()}
    found = await world.ask_one("visitors", by=by, **asked)
    assert found["value"] == 4
    if by is not None:
        assert [(row["campaign"], row["value"]) for row in found["breakdown"]] == [("may", 4)]
