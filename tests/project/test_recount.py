"""Invariants 2 to 5 of the design: for any log, however it is cut, delayed and mixed up, the
rollups are what a plain recount says, what a rebuild makes, and what the facts say at the edges.

`KOMPAS_EXAMPLES=5000 pytest tests/project/test_recount.py` searches longer, elsewhere each time.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from service.domain.access import Site
from service.kit.clock import SystemClock
from service.project.compact import compact
from service.project.rebuild import rebuild
from service.project.recredit import changed, recredit
from service.project.runner import Runner
from service.store.engine import reading
from tests.project.agreement import check_edges, check_rollups
from tests.project.facts import ROLLUPS, crowded, facts
from tests.project.log import RECEIVED_AT, Placed, append, next_batch_ids
from tests.project.recount import answered, recount
from tests.project.streams import Stream, streams

EXAMPLES = int(os.environ.get("KOMPAS_EXAMPLES", "0"))
FAR = datetime(2100, 1, 1, tzinfo=UTC)

WINDOWS = st.lists(
    st.tuples(st.integers(0, 99), st.integers(-2, 2), st.integers(0, 99), st.integers(-2, 2)),
    min_size=2,
    max_size=2,
)
"""Windows: from and to as the time of a contribution (by number), some microseconds off it."""

_LOOK_BACK = text("UPDATE site SET lookback_days = :days WHERE id = :site_id")

NewSite = Callable[..., Awaitable[Site]]


async def look_back(engine: AsyncEngine, site: Site, days: int) -> None:
    async with engine.begin() as connection:
        await connection.execute(_LOOK_BACK, {"site_id": site.id, "days": days})


async def credit_anew(engine: AsyncEngine, slice_rows: int) -> None:
    async with reading(engine) as connection:
        sites = await changed(connection)
    for site_id in sites:
        await recredit(engine, site_id, slice_rows)


async def play(engine: AsyncEngine, sites: list[Site], stream: Stream) -> dict[int, list[Placed]]:
    """Commit and project as the stream says; answers the log of each site."""
    runner = Runner(engine, SystemClock())
    log: dict[int, list[Placed]] = defaultdict(list)
    ids = await next_batch_ids(engine, len(stream.batches))
    for number in stream.commits:
        batch = stream.batches[number]
        site_id = sites[batch.site].id
        received_at = RECEIVED_AT + timedelta(minutes=batch.minute)
        log[site_id] += await append(engine, site_id, batch.rows, ids[number], received_at)
        if batch.lookback is not None:
            await look_back(engine, sites[batch.site], batch.lookback)
        if batch.limit is not None:
            await runner.run_once(batch.limit)
        if batch.slice_rows is not None:
            await credit_anew(engine, batch.slice_rows)
    while await runner.run_once():
        pass
    await credit_anew(engine, stream.slice_rows)
    return log


def lookbacks(stream: Stream) -> list[int]:
    """The lookback that each site has in the end."""
    found = [30 for _ in stream.zones]
    for number in stream.commits:
        batch = stream.batches[number]
        if batch.lookback is not None:
            found[batch.site] = batch.lookback
    return found


@settings(
    max_examples=EXAMPLES or 25,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    # The database is the same for all examples; each has sites of its own in it.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(stream=streams(), windows=WINDOWS)
async def test_rollups_are_a_recount_and_a_rebuild(
    engine: AsyncEngine,
    new_site: NewSite,
    stream: Stream,
    windows: list[tuple[int, int, int, int]],
) -> None:
    sites = [await new_site(zone) for zone in stream.zones]
    logs = await play(engine, sites, stream)
    for site, lookback in zip(sites, lookbacks(stream), strict=True):
        expected = recount(logs[site.id], lookback)
        await check_rollups(engine, site, expected)
        if expected:
            await check_edges(engine, site, expected, windows)
        projected = await facts(engine, site.id)
        assert {row[1:] for row in projected["answer"]} == answered(logs[site.id])

        await compact(engine, site.id, FAR)
        for tier in ROLLUPS:
            assert await crowded(engine, site.id, tier) == 0, tier
        await check_rollups(engine, site, expected)

        await rebuild(engine, site.id, chunk_events=stream.rebuild_events)
        assert await facts(engine, site.id) == projected
        await check_rollups(engine, site, expected)
