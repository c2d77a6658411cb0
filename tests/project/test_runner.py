"""The runner: exactly once, whoever runs, whatever fails, whenever it is stopped."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from service.domain.access import Site
from service.domain.dimensions import Dimension
from service.domain.kinds import Kind
from service.kit.clock import SystemClock
from service.project import compact, runner
from service.project.backlog import lock
from service.project.rebuild import rebuild
from service.project.runner import Runner
from service.store.freshness import reading_projected
from tests.clock import FixedClock
from tests.project.agreement import check_rollups
from tests.project.facts import crowded, facts
from tests.project.log import Placed, Row, append, insert, next_batch_ids, uid
from tests.project.recount import recount

NOON = datetime(2026, 5, 10, 12, tzinfo=UTC)
GOOGLE = Dimension("Organic Search", "google", "organic")

NewSite = Callable[..., Awaitable[Site]]


def some_rows(number: int) -> list[Row]:
    """A view and an order of one of a few visitors: batches that touch the same facts."""
    at = NOON + timedelta(minutes=7 * number % 90)
    who = 1 + number % 3
    paid = {"quantity": 1, "value": 100, "currency": "DKK", "customer": uid(f"customer {who}")}
    return [
        Row(Kind.PAGE_VIEW, at, GOOGLE, who, data={"page": "shop.example/"}),
        Row(Kind.CONVERSION, at, visitor=who, data={**paid, "order": uid(f"order {number}")}),
    ]


POISON = Row(Kind.EMAIL_SENT, NOON, data={"message": "no uuid"})


async def append_some(engine: AsyncEngine, site: Site, batches: int) -> list[Placed]:
    log = []
    for number in range(batches):
        log += await append(engine, site.id, some_rows(number))
    return log


async def batches(engine: AsyncEngine, where: str) -> list[int]:
    async with engine.begin() as connection:
        found = await connection.scalars(text(f"SELECT id FROM batch WHERE {where} ORDER BY id"))
        return list(found.all())


async def until(holds: Callable[[], Awaitable[object]]) -> None:
    async with asyncio.timeout(10):
        while not await holds():  # noqa: ASYNC110 (the event is in the database)
            await asyncio.sleep(0.005)


async def until_projected(engine: AsyncEngine) -> None:
    async def nothing_waits() -> bool:
        return not await batches(engine, "projected_at IS NULL AND parked_at IS NULL")

    await until(nothing_waits)


@asynccontextmanager
async def running(runner_: Runner) -> AsyncIterator[Runner]:
    task = asyncio.create_task(runner_.run())
    try:
        yield runner_
    finally:
        await runner_.stop()
        # A transaction that had to be given up ends the task as cancelled.
        await asyncio.wait([task])


@asynccontextmanager
async def held_up(engine: AsyncEngine) -> AsyncIterator[None]:
    """While the block runs, a projection waits for the table `conversion` in its midst."""
    async with engine.begin() as connection:
        await connection.execute(text("LOCK TABLE conversion IN ACCESS EXCLUSIVE MODE"))
        yield


_HELD_UP = text(
    "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
    " AND wait_event_type = 'Lock' AND query LIKE 'WITH%'"
)


async def backend_held_up(engine: AsyncEngine) -> int:
    """The process of the database that waits; waits for it."""
    found: list[int] = []

    async def waits() -> bool:
        async with engine.begin() as connection:
            found.extend((await connection.scalars(_HELD_UP)).all())
        return bool(found)

    await until(waits)
    return found[0]


# --- Exactly once -----------------------------------------------------------------------------


async def test_several_runners_project_everything_once(
    engine: AsyncEngine, new_site: NewSite
) -> None:
    sites = [await new_site() for _ in range(3)]
    logs = {site.id: await append_some(engine, site, 12) for site in sites}
    runners = [Runner(engine, SystemClock()) for _ in range(4)]
    done = await asyncio.gather(*(_until_dry(each, 6) for each in runners))
    assert sum(done) == sum(len(log) for log in logs.values())
    for site in sites:
        await check_rollups(engine, site, recount(logs[site.id]))


async def _until_dry(runner_: Runner, limit_events: int) -> int:
    events = 0
    while projected := await runner_.run_once(limit_events):
        events += projected
    return events


async def test_a_site_that_another_runner_works_on_is_left_to_it(
    engine: AsyncEngine, new_site: NewSite
) -> None:
    site, neighbour = await new_site(), await new_site()
    await append_some(engine, site, 1)
    others = await append_some(engine, neighbour, 1)
    async with engine.begin() as another:
        await lock(another, site.id)
        runner_ = Runner(engine, SystemClock())
        assert [await runner_.run_once() for _ in range(2)] == [2, 0]
    await check_rollups(engine, neighbour, recount(others))


async def test_a_chunk_is_a_batch_at_least_and_ends_at_its_limit(
    engine: AsyncEngine, new_site: NewSite
) -> None:
    await append_some(engine, await new_site(), 6)
    runner_ = Runner(engine, SystemClock())
    assert [await runner_.run_once(limit) for limit in (2, 3, 100, 100)] == [2, 4, 6, 0]


async def test_a_batch_that_commits_late_is_found(engine: AsyncEngine, new_site: NewSite) -> None:
    site = await new_site()
    log = await append(engine, site.id, some_rows(0))
    early, late = await next_batch_ids(engine, 2)
    async with engine.begin() as slow:
        log += await insert(slow, site.id, some_rows(1), early)
        log += await append(engine, site.id, some_rows(2), late)
        assert await Runner(engine, SystemClock()).run_once() == 4
    assert await Runner(engine, SystemClock()).run_once() == 2
    await check_rollups(engine, site, recount(log))


async def test_killed_anywhere_it_goes_on_where_it_was(
    engine: AsyncEngine, new_site: NewSite
) -> None:
    site = await new_site()
    log: list[Placed] = []
    dice = random.Random(7)
    killed = 0
    for number in range(40):
        log += await append(engine, site.id, some_rows(number))
        attempt = asyncio.create_task(Runner(engine, SystemClock()).run_once(6))
        await asyncio.wait([attempt], timeout=dice.uniform(0, 0.03))
        killed += attempt.cancel()
        await asyncio.wait([attempt])
    assert killed > 10
    await _until_dry(Runner(engine, SystemClock()), 1000)
    await check_rollups(engine, site, recount(log))
    projected = await facts(engine, site.id)
    await rebuild(engine, site.id)
    assert await facts(engine, site.id) == projected


# --- One batch that cannot be projected -------------------------------------------------------


async def _with_patience(runner_: Runner, clock: FixedClock) -> int:
    """Run until nothing is left to try; answers how often it failed."""
    failures = idle = 0
    for _ in range(200):
        try:
            idle = 0 if await runner_.run_once() else idle + 1
        except DBAPIError:
            failures += 1
        if idle == 10:
            return failures
        clock.advance(0.1)
    raise AssertionError("it tries for ever")


async def test_a_poisonous_batch_is_parked_and_the_others_go_on(
    engine: AsyncEngine, new_site: NewSite
) -> None:
    site, neighbour = await new_site(), await new_site()
    log = await append_some(engine, site, 9)
    (bad,) = {at.batch for at in await append(engine, site.id, [*some_rows(1), POISON])}
    log += await append_some(engine, site, 9)
    others = await append_some(engine, neighbour, 3)
    clock = FixedClock(NOON)
    failures = await _with_patience(Runner(engine, clock), clock)
    assert failures < 20
    assert await batches(engine, "projected_at IS NULL") == [bad]
    assert await batches(engine, "parked_at IS NOT NULL") == [bad]
    await check_rollups(engine, site, recount(log))
    await check_rollups(engine, neighbour, recount(others))


async def test_while_a_batch_fails_other_sites_go_on(
    engine: AsyncEngine, new_site: NewSite
) -> None:
    site, neighbour = await new_site(), await new_site()
    await append(engine, site.id, [POISON])
    others = await append_some(engine, neighbour, 1)
    runner_ = Runner(engine, FixedClock(NOON))
    with pytest.raises(DBAPIError):
        await runner_.run_once()
    assert await runner_.run_once() == 2
    await check_rollups(engine, neighbour, recount(others))


async def test_a_restart_gives_parked_batches_another_chance(
    engine: AsyncEngine, new_site: NewSite
) -> None:
    site = await new_site()
    rows = some_rows(1)
    (bad,) = {at.batch for at in await append(engine, site.id, [*rows, POISON])}
    clock = FixedClock(NOON)
    await _with_patience(Runner(engine, clock), clock)
    assert await batches(engine, "parked_at IS NOT NULL") == [bad]
    async with engine.begin() as connection:
        await connection.execute(
            text("DELETE FROM event WHERE site_id = :site_id AND kind = 10"), {"site_id": site.id}
        )
    async with running(Runner(engine, SystemClock())):
        await until_projected(engine)
    placed = [Placed(row, bad, seq) for seq, row in enumerate(rows)]
    await check_rollups(engine, site, recount(placed))


async def test_a_rebuild_leaves_parked_batches_out(engine: AsyncEngine, new_site: NewSite) -> None:
    site = await new_site()
    log = await append_some(engine, site, 2)
    await append(engine, site.id, [POISON])
    clock = FixedClock(NOON)
    await _with_patience(Runner(engine, clock), clock)
    assert await rebuild(engine, site.id) == len(log)
    await check_rollups(engine, site, recount(log))


async def test_a_rebuild_that_fails_changes_nothing(engine: AsyncEngine, new_site: NewSite) -> None:
    site = await new_site()
    log = await append_some(engine, site, 2)
    await _until_dry(Runner(engine, SystemClock()), 100)
    before = await facts(engine, site.id)
    await append(engine, site.id, [POISON])
    with pytest.raises(DBAPIError):
        await rebuild(engine, site.id)
    assert await facts(engine, site.id) == before
    await check_rollups(engine, site, recount(log))


# --- The database is away ---------------------------------------------------------------------


async def test_a_lost_connection_parks_nothing_and_rests_its_site_only(
    engine: AsyncEngine, new_site: NewSite
) -> None:
    site, neighbour = await new_site(), await new_site()
    log = await append(engine, site.id, some_rows(1))
    order = Row(Kind.CUSTOM, NOON, data={"name": "download"})
    await append(engine, neighbour.id, [order])
    clock = FixedClock(NOON)
    runner_ = Runner(engine, clock)
    for _ in range(5):
        async with held_up(engine):
            attempt = asyncio.create_task(runner_.run_once())
            pid = await backend_held_up(engine)
            async with engine.begin() as connection:
                await connection.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": pid})
            with pytest.raises((DBAPIError, OSError)):
                await attempt
            await runner_.run_once()
        assert await batches(engine, "projected_at IS NULL") == [log[0].batch]
        clock.advance(10)
    assert await batches(engine, "parked_at IS NOT NULL") == []
    assert await runner_.run_once() == 2
    await check_rollups(engine, site, recount(log))


async def test_a_transaction_that_takes_too_long_is_given_up(
    engine: AsyncEngine, new_site: NewSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = await new_site()
    log = await append_some(engine, site, 4)
    clock = FixedClock(NOON)
    runner_ = Runner(engine, clock)
    with monkeypatch.context() as patience:
        patience.setattr(runner, "PATIENCE_SECONDS", 0.1)
        async with held_up(engine):
            attempt = asyncio.create_task(runner_.run_once())
            await asyncio.wait([attempt], timeout=5)
            assert isinstance(attempt.exception(), TimeoutError)
    clock.advance(10)
    # Smaller chunks ask less of a busy database.
    assert [await runner_.run_once() for _ in range(3)] == [4, 4, 0]
    await check_rollups(engine, site, recount(log))


# --- Start, wake and stop ---------------------------------------------------------------------


async def test_it_is_woken_by_a_commit(
    engine: AsyncEngine, new_site: NewSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "POLL_SECONDS", 60.0)
    site = await new_site()
    async with running(Runner(engine, SystemClock())) as awake:
        log = await append_some(engine, site, 1)
        awake.wake()
        await until_projected(engine)
        # Now it is asleep, or about to be.
        log += await append(engine, site.id, some_rows(2))
        awake.wake()
        await until_projected(engine)
    await check_rollups(engine, site, recount(log))


async def test_another_process_is_noticed_too(engine: AsyncEngine, new_site: NewSite) -> None:
    site = await new_site()
    async with running(Runner(engine, SystemClock())):
        for number in range(3):
            await append(engine, site.id, some_rows(number))
            await until_projected(engine)


async def test_a_read_waits_for_the_runner(engine: AsyncEngine, new_site: NewSite) -> None:
    site, clock = await new_site(), SystemClock()
    async with running(Runner(engine, clock)) as awake:
        log = await append(engine, site.id, some_rows(1))
        asked = clock.now()
        awake.wake()
        async with reading_projected(engine, site.id, 10.0, clock) as (_, as_of):
            assert as_of >= asked
        await check_rollups(engine, site, recount(log))


async def test_stop_finishes_the_transaction_under_way(
    engine: AsyncEngine, new_site: NewSite
) -> None:
    site = await new_site()
    log = await append_some(engine, site, 1)
    runner_ = Runner(engine, SystemClock())
    run = asyncio.create_task(runner_.run())
    async with held_up(engine):
        await backend_held_up(engine)
        stopping = asyncio.create_task(runner_.stop())
        await asyncio.sleep(0.05)
        assert not stopping.done()
    await stopping
    await run
    assert await batches(engine, "projected_at IS NULL") == []
    await check_rollups(engine, site, recount(log))


async def test_stop_gives_up_a_transaction_that_hangs(
    engine: AsyncEngine, new_site: NewSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runner, "STOP_SECONDS", 0.05)
    site = await new_site()
    log = await append_some(engine, site, 1)
    async with held_up(engine):
        async with asyncio.timeout(10), running(Runner(engine, SystemClock())):
            pid = await backend_held_up(engine)
            os.kill(pid, signal.SIGSTOP)  # it answers nothing any more
        os.kill(pid, signal.SIGCONT)
    await until_projected_by(engine, Runner(engine, SystemClock()))
    await check_rollups(engine, site, recount(log))


async def until_projected_by(engine: AsyncEngine, runner_: Runner) -> None:
    async def dry() -> bool:
        with suppress(DBAPIError):
            await runner_.run_once()
        return not await batches(engine, "projected_at IS NULL")

    await until(dry)


async def test_stop_before_run_ends_it_at_once(engine: AsyncEngine) -> None:
    runner_ = Runner(engine, SystemClock())
    await runner_.stop()
    await asyncio.wait_for(runner_.run(), 5)


async def test_it_waits_out_a_database_that_is_away(
    engine: AsyncEngine, new_site: NewSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.project.setbacks.FIRST_REST", 0.01)
    site = await new_site()
    log = await append_some(engine, site, 1)
    async with engine.begin() as connection:
        await connection.execute(text("ALTER TABLE batch RENAME TO batch_away"))
    async with running(Runner(engine, SystemClock())):
        await asyncio.sleep(0.05)
        async with engine.begin() as connection:
            await connection.execute(text("ALTER TABLE batch_away RENAME TO batch"))
        await until_projected(engine)
    await check_rollups(engine, site, recount(log))


# --- Compaction -------------------------------------------------------------------------------


async def test_it_compacts_what_has_grown(
    engine: AsyncEngine, new_site: NewSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(compact, "GAINED_ROWS", 1)
    monkeypatch.setattr(runner, "COMPACT_SECONDS", 0.0)
    monkeypatch.setattr(runner, "BREATHER_SECONDS", 0.0)
    site = await new_site()
    log: list[Placed] = []

    async def compacted() -> bool:
        return await crowded(engine, site.id, "rollup_quarter") == 0

    async with running(Runner(engine, SystemClock())) as awake:
        for number in range(4):
            log += await append(engine, site.id, some_rows(number))
            awake.wake()
            await until_projected(engine)
        await until(compacted)
    await check_rollups(engine, site, recount(log))


async def test_compaction_waits_for_nobody(engine: AsyncEngine, new_site: NewSite) -> None:
    site = await new_site()
    await append_some(engine, site, 2)
    await _until_dry(Runner(engine, SystemClock()), 1)
    (step, *_) = await compact.steps(engine, site.id, None, datetime(2100, 1, 1, tzinfo=UTC))
    async with engine.begin() as another:
        await lock(another, site.id)
        assert not await compact.try_merge(engine, step)
    assert await compact.try_merge(engine, step)
