"""Readers while Postgres restarts, fails over or falls silent."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from service.domain.access import Scope
from service.publish import kpis
from service.store.engine import make_engine, reading, writing
from service.store.liveness import probe_often, sever
from tests.conftest import Database
from tests.doors import doors, problem
from tests.proxy import Mode, Proxy, proxy_to

ONE = text("SELECT 2 - 1")
WINDOW = {"window": "last_7_days"}


@asynccontextmanager
async def behind(database: Database) -> AsyncIterator[tuple[Proxy, AsyncEngine]]:
    async with proxy_to(database.url) as proxy:
        engine = make_engine(proxy.url)
        yield proxy, engine
        proxy.mend()
        await engine.dispose()


async def ask(engine: AsyncEngine) -> int:
    async with reading(engine) as connection:
        return int(await connection.scalar(ONE) or 0)


async def fill(engine: AsyncEngine) -> None:
    """Have the pool hold all of its connections."""
    opened = [engine.connect() for _ in range(8)]
    for each in opened:
        await each.start()
    for each in opened:
        await each.close()


OTHERS = "FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"


async def backends(engine: AsyncEngine) -> set[int]:
    async with engine.connect() as connection:
        return set(await connection.scalars(text(f"SELECT pid {OTHERS}")))


async def end_backends(engine: AsyncEngine) -> None:
    """As a server that shuts down does: it says so before it hangs up."""
    async with engine.connect() as connection:
        await connection.execute(text(f"SELECT pg_terminate_backend(pid) {OTHERS}"))


async def test_after_a_restart_every_read_and_write_succeeds_at_once(database: Database) -> None:
    async with behind(database) as (proxy, engine):
        for breaks_off in (True, False):
            await fill(engine)
            if breaks_off:
                proxy.mend()
            else:
                await end_backends(database.engine)
            assert await asyncio.gather(*(ask(engine) for _ in range(16))) == [1] * 16
            async with writing(engine) as connection:
                assert await connection.scalar(ONE) == 1


async def test_a_living_connection_is_kept(database: Database) -> None:
    async with behind(database) as (_, engine):
        await ask(engine)
        before = await backends(database.engine)
        for _ in range(10):
            await ask(engine)
        assert await backends(database.engine) == before
        assert len(before) == 1


async def test_a_checkout_costs_one_round_trip(database: Database) -> None:
    async with behind(database) as (proxy, engine):
        await ask(engine)
        proxy.answers_left = 1
        async with engine.connect():
            assert proxy.answers_left == 0


async def test_who_asks_a_silent_database_is_told_in_three_seconds(database: Database) -> None:
    loop = asyncio.get_running_loop()
    async with behind(database) as (proxy, engine):
        await fill(engine)
        proxy.mode = Mode.SWALLOW
        started = loop.time()
        # More than the pool has connections.
        answers = await asyncio.gather(*(ask(engine) for _ in range(12)), return_exceptions=True)
        assert loop.time() - started < 4.0
        assert all(isinstance(answer, Exception) for answer in answers)
        proxy.mend()
        started = loop.time()
        assert await asyncio.gather(*(ask(engine) for _ in range(12))) == [1] * 12
        assert loop.time() - started < 2.0


async def test_a_silent_database_makes_doors_answer_503(database: Database) -> None:
    loop = asyncio.get_running_loop()
    async with behind(database) as (proxy, engine), doors(engine, Scope.ADMIN) as client:
        asked = ("/v1/kpis/visits", "/v1/sites")
        for path in asked:
            assert (await client.get(path, params=WINDOW)).status_code == 200
        proxy.mode = Mode.SWALLOW
        started = loop.time()
        answers = await asyncio.gather(*(client.get(path, params=WINDOW) for path in asked))
        assert loop.time() - started < 4.0
        for answer in answers:
            problem(answer, 503, "unavailable")
            assert int(answer.headers["retry-after"]) >= 1
        proxy.mend()
        for path in asked:
            assert (await client.get(path, params=WINDOW)).status_code == 200


async def test_a_connection_that_dies_under_a_statement_is_said_to_be_away(
    database: Database,
) -> None:
    async with behind(database) as (proxy, engine):
        proxy.cut_after = b"SELECT 2 - 1"
        with pytest.raises((DBAPIError, OSError)):
            await ask(engine)
        proxy.mend()
        assert await ask(engine) == 1


async def test_a_question_is_given_up_in_the_end(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with doors(database.engine, Scope.ADMIN) as client:
        monkeypatch.setattr(kpis, "QUESTION_SECONDS", 0.2)
        async with database.engine.begin() as other:
            await other.execute(text("LOCK TABLE batch"))
            problem(await client.get("/v1/kpis/visits", params=WINDOW), 503, "unavailable")
        monkeypatch.undo()
        assert (await client.get("/v1/kpis/visits", params=WINDOW)).status_code == 200


async def test_whoever_waits_is_told_when_all_is_severed(database: Database) -> None:
    async with behind(database) as (proxy, engine):
        connected = asyncio.Event()

        async def wait() -> None:
            async with engine.connect() as connection:
                proxy.mode = Mode.SWALLOW
                connected.set()
                await connection.scalar(ONE)

        waiting = asyncio.create_task(wait())
        await connected.wait()
        await asyncio.sleep(0.05)
        assert not waiting.done()
        sever(engine)
        with pytest.raises((DBAPIError, OSError)):
            await waiting
        proxy.mend()


def test_a_silent_network_is_probed() -> None:
    with socket.socket() as stream:
        probe_often(stream)
        assert stream.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        if hasattr(socket, "TCP_USER_TIMEOUT"):
            assert stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == 3_000


async def test_the_pools_own_connections_are_probed(database: Database) -> None:
    async with behind(database) as (_, engine), engine.connect() as connection:
        driver: Any = (await connection.get_raw_connection()).driver_connection
        stream = driver._transport.get_extra_info("socket")
        assert stream.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
