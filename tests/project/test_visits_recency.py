"""Visits, their two chains and the rollup of their recency, against a plain recount."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from service.domain.access import Site
from service.domain.dimensions import Dimension, dimension_id
from service.domain.kinds import Kind
from service.kit.clock import SystemClock
from service.project.rebuild import rebuild
from service.project.runner import Runner
from service.store.engine import reading, writing
from tests.project.log import Placed, Row, insert, next_batch_ids

GAP = timedelta(minutes=30)
NEVER = None
DIMENSIONS = (
    Dimension(),
    Dimension("Direct"),
    Dimension("Email", "newsletter", "email", "may"),
    Dimension("Paid Search", "google", "cpc", "may", content="top"),
    Dimension("Paid Search", "google", "cpc", "spring"),
)
ZONES = ("Europe/Copenhagen", "Asia/Kathmandu", "America/Havana")
AROUND = datetime(2026, 10, 31, 22, tzinfo=UTC)

NewSite = Callable[..., Awaitable[Site]]


class View(NamedTuple):
    """A page view: minutes from `AROUND`, visitor, place in `DIMENSIONS`, detail."""

    minutes: int
    visitor: int
    dim: int
    detail: int


class Visit(NamedTuple):
    """The columns of the table that say anything about time and place."""

    visitor: int
    started_at: datetime
    previous_at: datetime | None
    campaign_previous_at: datetime | None
    dim_id: int
    detail_id: int
    hits: int


# Often exactly the gap apart, sometimes days.
MINUTES = st.one_of(
    st.integers(-6, 12).map(lambda tens: 10 * tens),
    st.integers(-6, 12).map(lambda tens: 10 * tens),
    st.integers(-40, 40).map(lambda days: days * 1440),
)
VIEWS = st.builds(
    View, MINUTES, st.integers(1, 2), st.integers(0, len(DIMENSIONS) - 1), st.integers(0, 3)
)
BATCHES = st.lists(st.lists(VIEWS, min_size=1, max_size=6), min_size=1, max_size=8)


def visits_of(log: Sequence[tuple[Placed, int]]) -> list[Visit]:
    """Every visit: page views of a visitor at most the gap apart, and what was before each."""
    views = defaultdict(list)
    for placed, detail in sorted(log, key=lambda p: (p[0].row.at, p[0].batch, p[0].seq)):
        views[placed.row.visitor].append((placed.row, detail))
    found = []
    for visitor, seen in views.items():
        pieces = [[seen[0]]]
        for (before, _), view in itertools.pairwise(seen):
            if view[0].at - before.at > GAP:
                pieces.append([])
            pieces[-1].append(view)
        last: datetime | None = None
        of_campaign: dict[str, datetime] = {}
        for piece in pieces:
            row, detail = piece[0]
            same = of_campaign.get(row.dim.campaign)
            dim = dimension_id(row.dim)
            found.append(Visit(visitor, row.at, last, same, dim, detail, len(piece)))
            last = of_campaign[row.dim.campaign] = row.at
    return sorted(found, key=lambda visit: visit[:2])


Recency = Counter[tuple[Any, ...]]


def recency_of(visits: Sequence[Visit], zone: ZoneInfo) -> Recency:
    """Visits by (scope, local day or month, day of the one before, dimensions)."""

    def day(at: datetime | None) -> Any:
        return at and at.astimezone(zone).date()

    rows: Recency = Counter()
    for visit in visits:
        on = day(visit.started_at)
        rows[0, on, day(visit.previous_at), 0] += 1
        rows[1, on.replace(day=1), day(visit.campaign_previous_at), visit.dim_id] += 1
    return rows


async def stored_visits(engine: AsyncEngine, site: Site) -> list[Visit]:
    query = text(
        f"SELECT {', '.join(Visit._fields)} FROM visit"
        " WHERE site_id = :site_id ORDER BY visitor, started_at"
    )
    async with reading(engine) as connection:
        rows = await connection.execute(query, {"site_id": site.id})
        return [Visit(*row) for row in rows]


async def stored_recency(engine: AsyncEngine, site: Site) -> Recency:
    query = text(
        "SELECT scope, (bucket AT TIME ZONE :zone)::date, CASE WHEN isfinite(previous) THEN"
        " (previous AT TIME ZONE :zone)::date END, dim_id, sum(value)::integer"
        " FROM rollup_recency WHERE site_id = :site_id GROUP BY 1, 2, 3, 4 HAVING sum(value) <> 0"
    )
    async with reading(engine) as connection:
        rows = await connection.execute(query, {"site_id": site.id, "zone": site.timezone})
        return Counter({tuple(row[:4]): row[4] for row in rows})


async def append(
    engine: AsyncEngine, site: Site, batch_id: int, views: Sequence[View]
) -> list[tuple[Placed, int]]:
    """One batch of page views, each with its detail."""
    rows = [
        Row(Kind.PAGE_VIEW, AROUND + timedelta(minutes=v.minutes), DIMENSIONS[v.dim], v.visitor)
        for v in views
    ]
    detail = text(
        "UPDATE event SET detail_id = :detail WHERE site_id = :site_id AND batch_id = :batch_id"
        " AND seq = :seq"
    )
    async with writing(engine) as connection:
        placed = await insert(connection, site.id, rows, batch_id)
        values = {"site_id": site.id, "batch_id": batch_id}
        places = [{**values, "seq": n, "detail": view.detail} for n, view in enumerate(views)]
        await connection.execute(detail, places)
    return list(zip(placed, (view.detail for view in views), strict=True))


async def project(engine: AsyncEngine) -> None:
    runner = Runner(engine, SystemClock())
    while await runner.run_once():
        pass


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(batches=BATCHES, zone=st.sampled_from(ZONES), data=st.data())
async def test_visits_and_their_recency_are_a_recount(
    engine: AsyncEngine, new_site: NewSite, batches: list[list[View]], zone: str, data: Any
) -> None:
    """Page views in any order, projected batch by batch, and again from nothing."""
    site = await new_site(zone)
    ids = await next_batch_ids(engine, len(batches))
    log = []
    for place in data.draw(st.permutations(range(len(batches)))):
        log += await append(engine, site, ids[place], batches[place])
        if data.draw(st.booleans()):
            await project(engine)
    await project(engine)
    expected = visits_of(log)
    assert await stored_visits(engine, site) == expected
    assert await stored_recency(engine, site) == recency_of(expected, ZoneInfo(zone))
    await rebuild(engine, site.id)
    assert await stored_visits(engine, site) == expected
    assert await stored_recency(engine, site) == recency_of(expected, ZoneInfo(zone))


async def visits_after(engine: AsyncEngine, site: Site, *views: View) -> list[Visit]:
    """What is stored when each view came in a batch of its own, in this order."""
    for view in views:
        (batch_id,) = await next_batch_ids(engine, 1)
        await append(engine, site, batch_id, [view])
        await project(engine)
    return await stored_visits(engine, site)


HOUR, MAY, SPRING = 60, 2, 4


async def test_a_late_visit_joins_a_chain_that_skips_other_campaigns(
    engine: AsyncEngine, new_site: NewSite
) -> None:
    """The visit right after it is of another campaign; the one that follows it in its own is far
    away."""
    site = await new_site()
    visits = await visits_after(
        engine,
        site,
        View(0, 1, MAY, 0),
        View(4 * HOUR, 1, SPRING, 0),
        View(5 * HOUR, 1, SPRING, 0),
        View(6 * HOUR, 1, MAY, 0),
        View(2 * HOUR, 1, MAY, 0),
    )
    starts = [visit.started_at for visit in visits]
    assert [visit.previous_at for visit in visits] == [NEVER, *starts[:-1]]
    chain = [NEVER, starts[0], NEVER, starts[2], starts[1]]
    assert [visit.campaign_previous_at for visit in visits] == chain


async def test_a_visit_that_changes_its_campaign_leaves_the_chain(
    engine: AsyncEngine, new_site: NewSite
) -> None:
    """An earlier page view of the visit is reported later, with another campaign."""
    site = await new_site()
    visits = await visits_after(
        engine,
        site,
        View(0, 1, MAY, 0),
        View(2 * HOUR, 1, MAY, 0),
        View(4 * HOUR, 1, MAY, 0),
        View(2 * HOUR - 10, 1, SPRING, 3),
    )
    starts = [visit.started_at for visit in visits]
    assert [visit.campaign_previous_at for visit in visits] == [NEVER, NEVER, starts[0]]
    assert [visit.detail_id for visit in visits] == [0, 3, 0]


@pytest.mark.parametrize("scope", [0, 1])
async def test_what_a_batch_leaves_as_it_was_adds_no_rows(
    engine: AsyncEngine, new_site: NewSite, scope: int
) -> None:
    """A visit that goes on began when it began."""
    site = await new_site()
    await visits_after(engine, site, View(0, 1, MAY, 0), View(10, 1, MAY, 0), View(20, 1, MAY, 0))
    query = text("SELECT count(*) FROM rollup_recency WHERE site_id = :site_id AND scope = :scope")
    async with reading(engine) as connection:
        rows = await connection.scalar(query, {"site_id": site.id, "scope": scope})
    assert rows == 1
