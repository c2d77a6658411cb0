"""Statements about one key go by when they were received, whatever ids their batches got.

A batch that lay in a spool while Postgres was away is replayed with a higher id than those that
were received after it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from service.domain.access import Site
from service.domain.dimensions import Dimension
from service.domain.kinds import Flag, Kind
from service.domain.measures import Measure
from service.kit.clock import SystemClock
from service.project.rebuild import rebuild
from service.project.runner import Runner
from service.project.selfcheck import Place, Slice, check_slice
from service.store.engine import reading
from tests.project.facts import ROLLUPS, edge, rollup
from tests.project.log import NO_FLAGS, RECEIVED_AT, Row, append, next_batch_ids, uid
from tests.project.recount import Sums

NOON = datetime(2026, 5, 10, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
WEEK = timedelta(days=7)
DIMENSIONS = (Dimension("Paid Search", "google"), Dimension("Paid Social", "meta"))

NewSite = Callable[..., Awaitable[Site]]


class Said(NamedTuple):
    """What an ad cost, on the day of an hour (from `NOON`), by the client's date or without."""

    cost: int
    hour: int
    dated: bool = False
    ad: str = "ad"

    @property
    def row(self) -> Row:
        data = {"key": uid(self.ad), "cost": self.cost, "currency": "DKK"}
        flags = Flag.DATED if self.dated else NO_FLAGS
        dim = DIMENSIONS[self.cost % 2]
        return Row(Kind.AD_SPEND, NOON + self.hour * HOUR, dim, flags=flags, data=data)


class State(NamedTuple):
    """Stored statements, their batches by order of receipt, and what they add to every tier."""

    statements: list[tuple[Any, ...]]
    rollups: list[Sums]
    edge: Sums


_STORED = text("""
    SELECT kind, key, batch_id, seq, dated, dated_batch, dated_seq, occurred_at, dim_id, data
    FROM statement WHERE site_id = :site_id ORDER BY kind, key""")


async def project(engine: AsyncEngine) -> None:
    runner = Runner(engine, SystemClock())
    while await runner.run_once():
        pass


async def state(engine: AsyncEngine, site: Site, ids: Sequence[int]) -> State:
    """`ids` are those of the batches in the order of receipt."""
    async with reading(engine) as connection:
        rows = (await connection.execute(_STORED, {"site_id": site.id})).all()
    statements = [
        (*one[:2], ids.index(one[2]), *one[3:5], ids.index(one[5]), *one[6:]) for one in rows
    ]
    rollups = [await rollup(engine, site.id, tier) for tier in ROLLUPS]
    return State(statements, rollups, await edge(engine, site.id, NOON - WEEK, NOON + WEEK))


async def differences(engine: AsyncEngine, site: Site) -> set[str]:
    slice_ = Slice(Place(site.id, site.slug, site.timezone), NOON - WEEK, NOON + WEEK)
    return {one.check.name for one in (await check_slice(engine, slice_)).differences}


async def receive(
    engine: AsyncEngine, site: Site, batches: Sequence[Sequence[Said]], ids: Sequence[int], at: int
) -> None:
    """Commit the batch that was received at that minute, under its id."""
    received_at = RECEIVED_AT + timedelta(minutes=at)
    await append(engine, site.id, [one.row for one in batches[at]], ids[at], received_at)


async def in_order(engine: AsyncEngine, site: Site, batches: Sequence[Sequence[Said]]) -> State:
    """What is stored when the batches come as they were received, each projected by itself."""
    ids = await next_batch_ids(engine, len(batches))
    for at in range(len(batches)):
        await receive(engine, site, batches, ids, at)
        await project(engine)
    return await state(engine, site, ids)


SAID = st.builds(
    Said, st.integers(0, 9), st.integers(0, 4), st.booleans(), st.sampled_from(("ad", "ad", "two"))
)
BATCHES = st.lists(st.lists(SAID, min_size=1, max_size=3), min_size=2, max_size=5)


@settings(
    max_examples=15,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(batches=BATCHES, data=st.data())
async def test_statements_go_by_receipt(
    engine: AsyncEngine, new_site: NewSite, batches: list[list[Said]], data: Any
) -> None:
    """Ids and commits in any order, projected together and one by one, and again from nothing."""
    expected = await in_order(engine, await new_site(), batches)
    site = await new_site()
    ids = data.draw(st.permutations(await next_batch_ids(engine, len(batches))))
    for at in data.draw(st.permutations(range(len(batches)))):
        await receive(engine, site, batches, ids, at)
        if data.draw(st.booleans()):
            await project(engine)
    await project(engine)
    assert await state(engine, site, ids) == expected
    assert await differences(engine, site) == set()
    await rebuild(engine, site.id)
    assert await state(engine, site, ids) == expected


CORRECTED = {
    "a correction with a date": ([Said(10, 0, dated=True)], [Said(20, 1, dated=True)]),
    "a correction without a date": ([Said(10, 0, dated=True)], [Said(20, 1)]),
    "a date that came first": ([Said(10, 0)], [Said(20, 1)]),
    "a date that came late": ([Said(10, 0)], [Said(20, 1, dated=True)]),
}


@pytest.mark.parametrize("together", [True, False], ids=["together", "one by one"])
@pytest.mark.parametrize("batches", CORRECTED.values(), ids=CORRECTED)
async def test_a_replayed_statement_does_not_undo_its_correction(
    engine: AsyncEngine, new_site: NewSite, batches: tuple[list[Said], ...], together: bool
) -> None:
    expected = await in_order(engine, await new_site(), batches)
    site = await new_site()
    low, high = await next_batch_ids(engine, 2)
    await receive(engine, site, batches, [high, low], 1)
    if not together:
        await project(engine)
    await receive(engine, site, batches, [high, low], 0)
    await project(engine)
    assert await state(engine, site, [high, low]) == expected
    assert sum(v for (_, m, *_), v in expected.edge.items() if m == Measure.SPEND) == 20


async def test_what_lost_its_batch_was_received_before_everything(
    engine: AsyncEngine, new_site: NewSite
) -> None:
    site = await new_site()
    batches = [[Said(10, 0)], [Said(20, 1)]]
    low, high = await next_batch_ids(engine, 2)
    await receive(engine, site, batches, [low, high], 1)
    await project(engine)
    async with engine.begin() as connection:
        await connection.execute(text("DELETE FROM batch WHERE id = :id"), {"id": high})
    await receive(engine, site, batches, [low, high], 0)
    await project(engine)
    ((*_, batch, _, _, dated_batch, _, at, _, data),) = (
        await state(engine, site, [high, low])
    ).statements
    assert (batch, data["cost"], dated_batch, at) == (1, 10, 0, NOON + HOUR)


async def test_the_self_check_finds_an_older_statement_of_a_newer_batch(
    engine: AsyncEngine, new_site: NewSite
) -> None:
    site = await new_site()
    batches = [[Said(10, 0, dated=True)], [Said(20, 0, dated=True)]]
    low, high = await next_batch_ids(engine, 2)
    for at in range(2):
        await receive(engine, site, batches, [high, low], at)
    await project(engine)
    assert await differences(engine, site) == set()
    wrong = "UPDATE statement SET batch_id = :id WHERE site_id = :site_id"
    async with engine.begin() as connection:
        await connection.execute(text(wrong), {"id": high, "site_id": site.id})
    assert await differences(engine, site) == {"statements"}
    await rebuild(engine, site.id)
    assert await differences(engine, site) == set()
