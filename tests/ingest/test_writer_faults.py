"""The writer when things go wrong: real locks, real lost connections, rows Postgres refuses."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import make_url, text
from sqlalchemy.ext.asyncio import AsyncEngine

from service.domain.access import Site
from service.domain.dimensions import Dimension
from service.domain.events import LogRow, Receipt, Refusal
from service.errors import RetryableError
from service.ingest.lane import Patience
from service.ingest.refusals import RefusalCode
from service.ingest.writer import Bounds, Writer
from service.store.engine import make_engine
from tests.clock import FixedClock
from tests.conftest import Database
from tests.ingest.process import eventually
from tests.proxy import Mode, Proxy, proxy_to
from tests.submissions import AT, NAMED, row, submission, with_ids

MakeSite = Callable[..., Awaitable[Site]]
SHORT = Patience(attempt=0.1, total=0.2)


@pytest.fixture
async def site(database: Database, make_site: MakeSite) -> Site:
    return await make_site(database.engine)


@asynccontextmanager
async def a_writer(engine: AsyncEngine, patience: Patience | None = None) -> AsyncIterator[Writer]:
    writer = Writer(engine, FixedClock(AT), patience=patience)
    await writer.start()
    yield writer
    await writer.stop()


@asynccontextmanager
async def proxied(
    database: Database, patience: Patience | None = None
) -> AsyncIterator[tuple[Proxy, Writer]]:
    async with proxy_to(database.url) as proxy:
        engine = make_engine(proxy.url)
        async with a_writer(engine, patience) as writer:
            yield proxy, writer
        await engine.dispose()


async def scalar(engine: AsyncEngine, query: str) -> Any:
    async with engine.connect() as connection:
        return await connection.scalar(text(query))


async def until(engine: AsyncEngine, query: str) -> Any:
    """What the query answers, as soon as that is something."""
    async with asyncio.timeout(5):
        while True:
            if answer := await scalar(engine, query):
                return answer
            await asyncio.sleep(0.005)


async def events(engine: AsyncEngine) -> int:
    return int(await scalar(engine, "SELECT count(*) FROM event"))


WAITING_PID = "SELECT max(pid) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"


@asynccontextmanager
async def keys_locked(engine: AsyncEngine) -> AsyncIterator[None]:
    """Nobody can insert a key while the block runs."""
    async with engine.begin() as connection:
        await connection.execute(text("LOCK TABLE event_key IN EXCLUSIVE MODE"))
        yield


# --- Lost connections ---------------------------------------------------------------------------


async def test_a_connection_lost_before_the_commit_is_replaced(
    database: Database, site: Site
) -> None:
    async with a_writer(database.engine) as writer:
        async with keys_locked(database.engine):
            waiting = asyncio.create_task(writer.submit(with_ids(site.id, 1, None)))
            pid = await until(database.engine, WAITING_PID)
            await scalar(database.engine, f"SELECT pg_terminate_backend({pid})")
        assert await waiting == (2, 0, [])
    assert await events(database.engine) == 2


@pytest.mark.parametrize("ids", [[1], [None], [1, 2, None], [2]])
async def test_an_answer_lost_after_the_commit_is_found_again(
    database: Database, site: Site, ids: list[int | None]
) -> None:
    """Were the commit forgotten, events without id would count twice and others be duplicates."""
    async with proxied(database) as (proxy, writer):
        for _ in range(2):  # the second time the statement without dimensions is prepared
            await writer.submit(with_ids(site.id, 2, 3, None))
        known = await events(database.engine)
        proxy.mode = Mode.SWALLOW
        request = with_ids(site.id, 3, *ids, 4)
        waiting = asyncio.create_task(writer.submit(request))
        await until(database.engine, f"SELECT count(*) > {known} FROM event")
        proxy.mend()
        new = [id_ for id_ in [*ids, 4] if id_ != 2]
        assert await waiting == (len(new), len(ids) + 2 - len(new), [])
        assert await events(database.engine) == known + len(new)


async def test_an_answer_lost_for_several_sites_is_found_again(
    database: Database, make_site: MakeSite
) -> None:
    sites = [await make_site(database.engine, f"s{n}") for n in range(3)]
    async with proxied(database) as (proxy, writer):
        await asyncio.gather(*(writer.submit(with_ids(site.id, 1)) for site in sites))
        proxy.swallow_after = b"COMMIT"
        requests = [with_ids(site.id, 1, *range(2, 2 + n)) for n, site in enumerate(sites)]
        waiting = [asyncio.create_task(writer.submit(request)) for request in requests]
        await until(database.engine, "SELECT count(*) = 6 FROM event")
        proxy.mend()
        assert await asyncio.gather(*waiting) == [(n, 1, []) for n in range(3)]
    assert await events(database.engine) == 6


async def test_a_server_that_hangs_is_given_up_in_time(database: Database, site: Site) -> None:
    async with proxied(database, SHORT) as (proxy, writer):
        await writer.submit(with_ids(site.id, 1))
        proxy.mode = Mode.SWALLOW
        loop = asyncio.get_running_loop()
        started = loop.time()
        with pytest.raises(RetryableError):
            await writer.submit(with_ids(site.id, 2))
        assert loop.time() - started < 1.0
        assert not await writer.can_write()
        proxy.mend()
        # The client repeats itself, and what was stored without an answer counts once.
        receipt = await writer.submit(with_ids(site.id, 2))
        assert receipt.accepted + receipt.duplicates == 1
        assert await writer.can_write()
    assert await events(database.engine) == 2


async def test_a_read_only_database_is_not_ready(database: Database) -> None:
    name = make_url(database.url).database
    async with database.engine.begin() as connection:
        await connection.execute(
            text(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        )
    async with a_writer(database.engine) as writer:
        assert not await writer.can_write()


async def test_a_database_that_is_away_fails_everybody_who_waits(
    database: Database, site: Site
) -> None:
    async with proxied(database, SHORT) as (proxy, writer):
        proxy.refuse()
        answers = await asyncio.gather(
            *(writer.submit(with_ids(site.id, n)) for n in range(10)), return_exceptions=True
        )
        assert [type(answer) for answer in answers] == [RetryableError] * 10
        assert len({id(answer) for answer in answers}) == 10
        assert not await writer.can_write()
        proxy.mode = Mode.PASS
        assert (await writer.submit(with_ids(site.id, 0))).accepted == 1
    assert await events(database.engine) == 1


async def test_those_behind_a_failing_flush_fail_with_it(database: Database, site: Site) -> None:
    async with proxied(database, SHORT) as (proxy, writer):
        proxy.refuse()
        first = asyncio.create_task(writer.submit(with_ids(site.id, 1)))
        await asyncio.sleep(0.05)
        loop = asyncio.get_running_loop()
        started = loop.time()
        with pytest.raises(RetryableError):
            await writer.submit(with_ids(site.id, 2))
        assert first.done()
        assert loop.time() - started < SHORT.total
        with pytest.raises(RetryableError):
            await first


async def test_a_slow_database_is_outlived_within_the_bound(database: Database, site: Site) -> None:
    async with a_writer(database.engine, Patience(attempt=0.1, total=2.0)) as writer:
        async with keys_locked(database.engine):
            waiting = asyncio.create_task(writer.submit(with_ids(site.id, 1, None)))
            await asyncio.sleep(0.25)
            assert not waiting.done()
        assert await waiting == (2, 0, [])
    assert await events(database.engine) == 2


async def test_stop_does_not_hang_when_the_database_does(database: Database, site: Site) -> None:
    async with proxied(database, SHORT) as (proxy, writer):
        await writer.submit(with_ids(site.id, 1))
        proxy.mode = Mode.SWALLOW
        waiting = asyncio.create_task(writer.submit(with_ids(site.id, 2)))
        await asyncio.sleep(0)
        async with asyncio.timeout(3):
            await writer.stop()
        with pytest.raises(RetryableError):
            await waiting
        proxy.mode = Mode.PASS


# --- Clients that go away -----------------------------------------------------------------------


async def test_a_cancelled_request_breaks_nothing(database: Database, site: Site) -> None:
    async with a_writer(database.engine) as writer:
        async with keys_locked(database.engine):
            flushed = asyncio.create_task(writer.submit(with_ids(site.id, 1)))
            beside = asyncio.create_task(writer.submit(with_ids(site.id, 2)))
            await until(database.engine, WAITING_PID)
            queued = asyncio.create_task(writer.submit(with_ids(site.id, 3)))
            await asyncio.sleep(0)
            flushed.cancel()
            queued.cancel()
            await asyncio.wait([flushed, queued])
        assert (await beside).accepted == 1
        assert (await writer.submit(with_ids(site.id, 4))).accepted == 1
    # What was sent and not refused is stored, whether or not anybody hears of it.
    assert await events(database.engine) == 4


async def test_a_cancelled_request_gives_its_room_back(database: Database, site: Site) -> None:
    writer = Writer(database.engine, FixedClock(AT), bounds=Bounds(pending_rows=2))
    await writer.start()
    async with keys_locked(database.engine):
        gone = asyncio.create_task(writer.submit(with_ids(site.id, 1, 2)))
        await until(database.engine, WAITING_PID)
        gone.cancel()
        await asyncio.wait([gone])
    await eventually(writer.can_write)
    assert (await writer.submit(with_ids(site.id, 3, 4))).accepted == 2
    await writer.stop()


# --- What Postgres refuses ----------------------------------------------------------------------

POISON = {
    "NUL in JSON": row(1, 102, data='{"title": "\\u0000"}'),
    "NUL in text": row(1, 102, data='{"title": "\x00"}'),
    "lone surrogate": row(1, 102, data='{"title": "\ud800"}'),
    "no JSON": row(1, 102, data="{"),
    "visitor out of range": row(1, 102, visitor=2**63),
    "kind out of range": row(1, 102, kind=40_000),
    "no month for it": row(1, 102, at=datetime(2300, 1, 1, tzinfo=AT.tzinfo)),
    "dimension with NUL": row(1, 102, dimension=Dimension("\x00")),
}


@pytest.mark.parametrize("poison", POISON.values(), ids=POISON.keys())
async def test_a_poisonous_event_is_refused_and_the_others_are_stored(
    database: Database, site: Site, poison: LogRow
) -> None:
    beside = [with_ids(site.id, n) for n in range(5)]
    mixed = submission(site.id, [row(0, 101), poison, row(2, 103)], [NAMED, Dimension("\x00")])
    async with a_writer(database.engine) as writer:
        receipts = await asyncio.gather(*map(writer.submit, [*beside[:3], mixed, *beside[3:]]))
        receipt = receipts.pop(3)
        assert receipts == [(1, 0, [])] * 5
        assert receipt[:2] == (2, 0)
        [refusal] = receipt.refusals
        assert (refusal.position, refusal.code) == (1, RefusalCode.NOT_STORABLE)
        # Its id is free: mended, the event is taken.
        mended = submission(site.id, [row(0, 102)])
        assert (await writer.submit(mended)).accepted == 1
    assert await events(database.engine) == 8
    assert await scalar(database.engine, "SELECT string_agg(code, ',') FROM rejection") == (
        "not_storable"
    )


async def test_a_poisonous_row_takes_its_whole_event_along(database: Database, site: Site) -> None:
    rows = [row(0, 1), row(0, 1, visitor=2**63), row(1, 2)]
    async with a_writer(database.engine) as writer:
        receipt = await writer.submit(submission(site.id, rows))
    assert receipt[:2] == (1, 0)
    assert [refusal.position for refusal in receipt.refusals] == [0]
    assert await events(database.engine) == 1


async def test_poison_in_one_site_leaves_the_others_alone(
    database: Database, make_site: MakeSite
) -> None:
    sites = [await make_site(database.engine, f"s{n}") for n in range(3)]
    requests = [with_ids(site.id, 1) for site in sites]
    requests[1] = replace(requests[1], rows=[POISON["NUL in JSON"]])
    async with a_writer(database.engine) as writer:
        receipts = await asyncio.gather(*map(writer.submit, requests))
    assert [receipt.accepted for receipt in receipts] == [1, 0, 1]
    assert await events(database.engine) == 2


async def test_a_refusal_that_cannot_be_recorded_is_still_told(
    database: Database, site: Site
) -> None:
    bad = Refusal(1, "wrong_type", "message", "/x", "\x00")
    good = Refusal(2, "wrong_type", "message", "/x", "{}")
    async with a_writer(database.engine) as writer:
        receipt = await writer.submit(submission(site.id, [row(0, 1)], refusals=[bad, good]))
    assert receipt == Receipt(1, 0, [bad, good])
    assert await scalar(database.engine, "SELECT count(*) FROM rejection") == 1
