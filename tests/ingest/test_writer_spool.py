"""The writer with a spool behind it: outages on real sockets, nothing lost, nothing twice."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from sqlalchemy import text

from service.domain.access import Site
from service.domain.events import Refusal
from service.errors import OverloadedError, RetryableError
from service.ingest.lane import FALLING_BACK
from tests.conftest import Database
from tests.ingest.process import (
    CALM,
    QUICK,
    Process,
    count,
    counted,
    drained,
    draining,
    process,
    until,
)
from tests.proxy import Mode, proxy_to
from tests.submissions import row, submission, with_ids

MakeSite = Callable[..., Awaitable[Site]]


@pytest.fixture
async def site(database: Database, make_site: MakeSite) -> Site:
    return await make_site(database.engine)


async def test_an_outage_costs_one_slow_answer_and_no_event(
    database: Database, site: Site, tmp_path: Path
) -> None:
    loop = asyncio.get_running_loop()
    async with (
        proxy_to(database.url) as proxy,
        process(proxy.url, tmp_path, patience=QUICK) as made,
    ):
        assert (await made.writer.submit(with_ids(site.id, 1))).accepted == 1
        proxy.mode = Mode.SWALLOW
        started = loop.time()
        # It may be in the log already, without an answer: its token says so when it is replayed.
        assert (await made.writer.submit(with_ids(site.id, None, 2))).accepted == 2
        assert loop.time() - started < 1.0
        assert made.outage.is_on
        assert counted("outage") == 1
        started = loop.time()
        for number in range(10, 20):
            assert (await made.writer.submit(with_ids(site.id, number, None))).accepted == 2
        assert loop.time() - started < 1.0
        assert await made.writer.can_write()
        proxy.mend()
        async with draining(made):
            await drained(made)
        assert counted("outage") == 0
        assert (await made.writer.submit(with_ids(site.id, 2, 10, 30))) == (1, 2, [])
    assert await count(database.engine) == 1 + 2 + 20 + 1


async def test_patience_ends_before_a_second_and_a_half(
    database: Database, site: Site, tmp_path: Path
) -> None:
    loop = asyncio.get_running_loop()
    async with (
        proxy_to(database.url) as proxy,
        process(proxy.url, tmp_path, patience=FALLING_BACK) as made,
    ):
        await made.writer.submit(with_ids(site.id, 1))
        proxy.mode = Mode.SWALLOW
        started = loop.time()
        assert (await made.writer.submit(with_ids(site.id, 2))).accepted == 1
        assert loop.time() - started < 1.5


async def test_a_database_that_is_down_is_not_waited_for(
    database: Database, site: Site, tmp_path: Path
) -> None:
    loop = asyncio.get_running_loop()
    async with proxy_to(database.url) as proxy, process(proxy.url, tmp_path) as made:
        await made.writer.submit(with_ids(site.id, 1))
        proxy.refuse()
        started = loop.time()
        assert (await made.writer.submit(with_ids(site.id, 2))).accepted == 1
        assert loop.time() - started < CALM.attempt / 2
        proxy.mend()
        async with draining(made):
            await drained(made)
    assert await count(database.engine) == 2


async def test_a_connection_that_breaks_is_replaced_without_an_outage(
    database: Database, site: Site, tmp_path: Path
) -> None:
    async with proxy_to(database.url) as proxy, process(proxy.url, tmp_path) as made:
        await made.writer.submit(with_ids(site.id, 1, None))
        proxy.mend()  # which ends every connection
        assert (await made.writer.submit(with_ids(site.id, 2, None))).accepted == 2
        assert not made.outage.is_on
        assert made.spool.records == 0
    assert await count(database.engine) == 4


async def test_a_deadlock_is_no_outage(database: Database, site: Site, tmp_path: Path) -> None:
    lock = text("INSERT INTO event_key VALUES (:site, CAST(:key AS uuid), '2026-05-20')")
    keys = [{"site": site.id, "key": f"00000000-0000-0000-0000-00000000000{n}"} for n in (1, 2)]
    name = database.engine.url.database
    async with database.engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(text(f"ALTER DATABASE {name} SET deadlock_timeout = '200ms'"))
    async with (
        process(database.url, tmp_path) as made,
        database.engine.connect() as other,
    ):
        await other.execute(text("SET deadlock_timeout = '10s'"))
        await other.commit()
        await other.execute(lock, keys[1])
        waiting = asyncio.create_task(made.writer.submit(with_ids(site.id, 1, 2)))
        await asyncio.sleep(0.05)
        # Both wait for the other now; the writer's connection is the first to find it out.
        await other.execute(lock, keys[0])
        await other.rollback()
        assert (await waiting).accepted == 2
        assert not made.outage.is_on
    assert await count(database.engine) == 2


@pytest.mark.parametrize("sites", [1, 3])
async def test_a_commit_without_an_answer_counts_once(
    database: Database, make_site: MakeSite, tmp_path: Path, sites: int
) -> None:
    """The server commits, and the connection ends instead of saying so."""
    made_sites = [await make_site(database.engine, f"s{n}") for n in range(sites)]
    async with proxy_to(database.url) as proxy, process(proxy.url, tmp_path) as made:
        for site in made_sites * 2:  # the second time the statement without dimensions is prepared
            await made.writer.submit(with_ids(site.id, 1, None))
        known = await count(database.engine)
        if sites > 1:
            proxy.cut_after = b"COMMIT"
        else:
            proxy.mode = Mode.CUT
        receipts = await asyncio.gather(
            *(made.writer.submit(with_ids(site.id, None, 2, 1, None)) for site in made_sites)
        )
        assert [receipt.accepted for receipt in receipts] == [4] * sites
        assert made.outage.is_on
        committed = f"SELECT 1 FROM event HAVING count(*) = {known + 3 * sites}"
        await until(database.engine, committed)
        proxy.mend()
        async with draining(made):
            await drained(made)
    assert await count(database.engine) == known + 3 * sites


async def test_what_was_spooled_is_counted_when_it_is_replayed(
    database: Database, site: Site, tmp_path: Path
) -> None:
    def figures() -> list[float]:
        return [
            counted("events_total", kind="lead", outcome="accepted"),
            counted("events_total", kind="lead", outcome="duplicate"),
            counted("events_total", kind="lead", outcome="rejected"),
            counted("rejections_total", code="counted_there"),
            counted("spooled_events_total"),
        ]

    def gained() -> list[float]:
        return [after - figure for after, figure in zip(figures(), before, strict=True)]

    before = figures()
    rows = [row(0, 1, kind=20), row(1, 2, kind=20), row(2, 1, kind=20), row(3, kind=20)]
    refusals = [Refusal(4, "counted_there", "message", "/x", "{}", kind=20)]
    async with proxy_to(database.url) as proxy, process(proxy.url, tmp_path) as made:
        await made.writer.submit(submission(site.id, rows[:1]))
        assert gained() == [1, 0, 0, 0, 0]
        proxy.refuse()
        receipt = await made.writer.submit(submission(site.id, rows, refusals=refusals))
        assert receipt == (3, 1, refusals)
        # What is certain already is counted already.
        assert gained() == [1, 1, 1, 1, 3]
        proxy.mend()
        async with draining(made):
            await drained(made)
    assert gained() == [3, 2, 1, 1, 3]
    assert await count(database.engine, "rejection") == 1


async def test_what_was_spooled_needs_nothing_that_was_there_before(
    database: Database, site: Site, tmp_path: Path
) -> None:
    """The spool may outlive the server that knew the dimensions, and what is refused is cut
    between events, whoever sent them."""
    poison = row(0, data="{")
    async with proxy_to(database.url) as proxy, process(proxy.url, tmp_path) as made:
        await made.writer.submit(with_ids(site.id, 1))
        proxy.refuse()
        await made.writer.submit(with_ids(site.id, None))  # the outage begins
        requests = [with_ids(site.id, None), submission(site.id, [poison]), with_ids(site.id, None)]
        await asyncio.gather(*map(made.writer.submit, requests))
        assert made.spool.records == 2
        async with database.engine.begin() as connection:
            for table in ("dimension", "detail"):
                await connection.execute(text(f"DELETE FROM {table}"))
        proxy.mend()
        async with draining(made):
            await drained(made)
    assert await count(database.engine) == 4
    for table in ("rejection", "dimension", "detail"):
        assert await count(database.engine, table) == 1


async def fill(made: Process, site: Site) -> int:
    """Submit until the spool is full; answers how many events it took."""
    taken = 0
    try:
        while True:
            taken += (await made.writer.submit(with_ids(site.id, *([None] * 20)))).accepted
    except OverloadedError:
        return taken


async def test_a_full_spool_refuses_until_it_is_drained(
    database: Database, site: Site, tmp_path: Path
) -> None:
    async with proxy_to(database.url) as proxy, process(proxy.url, tmp_path, most=20_000) as made:
        proxy.refuse()
        taken = await fill(made, site)
        assert taken
        with pytest.raises(OverloadedError) as caught:
            await made.writer.submit(with_ids(site.id, *([None] * 20)))
        assert caught.value.retry_after >= 1
        proxy.mend()
        async with draining(made):
            await drained(made)
            assert (await made.writer.submit(with_ids(site.id, None))).accepted == 1
        assert await made.writer.can_write()
    assert await count(database.engine) == taken + 1


async def test_what_does_not_fit_takes_no_other_with_it(
    database: Database, site: Site, tmp_path: Path
) -> None:
    async with (
        proxy_to(database.url) as proxy,
        process(proxy.url, tmp_path, most=20_000) as made,
    ):
        proxy.refuse()
        await made.writer.submit(with_ids(site.id, 1))
        sent = [with_ids(site.id, *range(100, 400)), *(with_ids(site.id, n) for n in range(2, 12))]
        answers = await asyncio.gather(
            *(made.writer.submit(each) for each in sent), return_exceptions=True
        )
        assert isinstance(answers[0], OverloadedError)
        assert [each for each in answers[1:] if isinstance(each, Exception)] == []


async def test_without_room_and_without_postgres_nothing_can_be_written(
    database: Database, site: Site, tmp_path: Path
) -> None:
    async with proxy_to(database.url) as proxy, process(proxy.url, tmp_path, most=1) as made:
        proxy.refuse()
        # One byte of room is room, until somebody needs more.
        with pytest.raises(RetryableError):
            await made.writer.submit(with_ids(site.id, 1))
        made.spool._most_bytes = 0
        assert not await made.writer.can_write()
        proxy.mend()
        assert not await made.writer.can_write()
        async with draining(made):
            await drained(made)
        assert await made.writer.can_write()


async def test_stop_leaves_what_it_cannot_commit_to_the_next_process(
    database: Database, site: Site, tmp_path: Path
) -> None:
    async with proxy_to(database.url) as proxy:
        async with process(proxy.url, tmp_path, patience=QUICK) as made:
            await made.writer.submit(with_ids(site.id, 1))
            proxy.mode = Mode.SWALLOW
            waiting = [
                asyncio.create_task(made.writer.submit(with_ids(site.id, number, None)))
                for number in range(2, 6)
            ]
            await asyncio.sleep(0)
            async with asyncio.timeout(3):
                await made.writer.stop()
            assert [(await each).accepted for each in waiting] == [2] * 4
        proxy.mend()
        async with process(proxy.url, tmp_path) as made:
            assert made.spool.records
            await made.drainer.drain_all()
            assert not made.spool.records
    assert await count(database.engine) == 9


async def test_the_drainer_stops_soon_whatever_hangs(
    database: Database, site: Site, tmp_path: Path
) -> None:
    async with proxy_to(database.url) as proxy, process(proxy.url, tmp_path) as made:
        proxy.refuse()
        await made.writer.submit(with_ids(site.id, 1))
        proxy.mode = Mode.PASS
        async with database.engine.begin() as connection:
            await connection.execute(text("LOCK TABLE event_key IN EXCLUSIVE MODE"))
            running = asyncio.create_task(made.drainer.run())
            async with asyncio.timeout(5):
                await until(database.engine, "SELECT 1 FROM pg_locks WHERE NOT granted")
            async with asyncio.timeout(2):
                await made.drainer.stop()
            await asyncio.wait([running])
        assert made.spool.records == 1
    async with process(database.url, tmp_path) as made:
        await made.drainer.drain_all()
    assert await count(database.engine) == 1
