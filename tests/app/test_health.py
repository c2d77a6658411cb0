"""Readiness and liveness with a spool, and what senders are told while Postgres is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from service.domain.access import Scope
from service.edge.gif import GIF
from service.errors import StartupError
from service.store.engine import make_engine
from tests.conftest import Database
from tests.doors import doors
from tests.ingest.process import counted, eventually
from tests.proxy import Mode, Proxy, proxy_to

VIEW = {"kind": "page_view", "url": "https://shop.example/shoes"}


@asynccontextmanager
async def behind(
    database: Database, *scopes: Scope, **settings: object
) -> AsyncIterator[tuple[Proxy, httpx.AsyncClient]]:
    async with proxy_to(database.url) as proxy:
        engine = make_engine(proxy.url)
        async with doors(engine, *scopes, **settings) as client:
            yield proxy, client
        await engine.dispose()


async def logged(engine: AsyncEngine) -> int:
    async with engine.connect() as connection:
        return int(await connection.scalar(text("SELECT count(*) FROM event")) or 0)


async def test_with_a_spool_an_outage_is_nothing_that_senders_notice(database: Database) -> None:
    async with behind(database) as (proxy, client):
        assert (await client.post("/v1/events", json=VIEW)).json()["accepted"] == 1
        proxy.refuse()
        for _ in range(3):
            answer = await client.post("/v1/events", json=VIEW)
            assert (answer.status_code, answer.json()["accepted"]) == (200, 1)
            assert (await client.get("/readyz")).json() == {"status": "ready"}
            assert (await client.get("/healthz")).json() == {"status": "ok"}
        assert (await client.post("/v1/events", content=b"{")).status_code == 400
        assert counted("outage") == 1
        proxy.mend()

        async def is_drained() -> bool:
            return await logged(database.engine) == 4

        await eventually(is_drained)
    async with database.engine.connect() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM rejection")) == 1


async def test_a_key_that_was_never_used_opens_the_doors_in_an_outage(database: Database) -> None:
    async with behind(database, Scope.PUBLIC) as (proxy, client):
        proxy.refuse()
        answer = await client.get("/v1/pixel.gif", params={"url": VIEW["url"]})
        assert (answer.status_code, answer.content) == (200, GIF)
        proxy.mend()

        async def is_drained() -> bool:
            return await logged(database.engine) == 1

        await eventually(is_drained)


async def test_a_server_that_hangs_costs_a_second_and_a_half_at_most(database: Database) -> None:
    loop = asyncio.get_running_loop()
    async with behind(database) as (proxy, client):
        assert (await client.post("/v1/events", json=VIEW)).status_code == 200
        proxy.mode = Mode.SWALLOW
        started = loop.time()
        assert (await client.post("/v1/events", json=VIEW)).status_code == 200
        assert loop.time() - started < 1.5
        started = loop.time()
        for _ in range(20):
            assert (await client.post("/v1/events", json=VIEW)).status_code == 200
        assert loop.time() - started < 2.0
        proxy.mend()

        async def is_drained() -> bool:
            return await logged(database.engine) == 22

        await eventually(is_drained)


async def test_a_full_spool_says_when_to_come_again(database: Database) -> None:
    async with behind(database, spool_mb=1) as (proxy, client):
        event = {**VIEW, "title": "x" * 2_000}
        assert (await client.post("/v1/events", json=VIEW)).status_code == 200
        proxy.refuse()
        statuses = []
        while 503 not in statuses:
            answer = await client.post("/v1/events", json=[event] * 100)
            statuses.append(answer.status_code)
        assert set(statuses) == {200, 503}
        assert answer.json()["code"] == "overloaded"
        assert int(answer.headers["retry-after"]) >= 1
        proxy.mend()
        taken = 1 + 100 * (len(statuses) - 1)

        async def is_drained() -> bool:
            return await logged(database.engine) == taken

        await eventually(is_drained)
        assert (await client.post("/v1/events", json=event)).status_code == 200


async def test_a_folder_that_cannot_hold_the_spool_stops_the_start(
    database: Database, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartupError, match="KOMPAS_SPOOL_DIR"):
        async with doors(database.engine, spool_dir=tmp_path / "file"):
            pass
