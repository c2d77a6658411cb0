"""The canary: through both paths, and counted nowhere."""

from __future__ import annotations

import asyncio
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import text

from service.ingest import canary
from service.ingest.canary import POSTGRES, SPOOL, Canary
from service.ingest.outage import Outage
from service.ingest.spool.drain import Drainer
from service.ingest.spool.folder import Spool
from service.ingest.writer import Writer
from service.kit.clock import SystemClock
from service.store.engine import make_engine
from service.telemetry import REGISTRY
from tests.clock import FixedClock
from tests.conftest import Database
from tests.ingest.process import count, counted, eventually, process, rows_of
from tests.proxy import proxy_to
from tests.submissions import AT

COUNTS = ("kompas_events", "kompas_rejections", "kompas_spooled_events", "kompas_batch_events")


def figures() -> dict[tuple[str, str], float]:
    return {
        (sample.name, str(sample.labels)): sample.value
        for metric in REGISTRY.collect()
        if metric.name in COUNTS
        for sample in metric.samples
    }


def age(path: str) -> float:
    return counted("canary_age_seconds", path=path)


async def test_a_canary_goes_by_both_paths_and_touches_nothing(
    database: Database, tmp_path: Path
) -> None:
    clock, outage = FixedClock(AT), Outage()
    async with proxy_to(database.url) as proxy:
        engine = make_engine(proxy.url)
        spool = Spool(tmp_path, 2**20, clock)
        await spool.open()
        writer = Writer(engine, clock, spool=spool, outage=outage)
        await writer.start()
        canary = Canary(writer, spool, clock)
        drainer = Drainer(spool, engine, clock, outage, seen=canary.seen)
        before = figures()
        clock.advance(60)
        assert (age(POSTGRES), age(SPOOL)) == (60, 60)
        await canary.send()
        assert (age(POSTGRES), age(SPOOL)) == (0, 60)
        clock.advance(5)
        await drainer.drain_all()
        # As old as its way was long.
        assert (age(POSTGRES), age(SPOOL)) == (5, 5)
        stored = "SELECT path, seen_at FROM canary ORDER BY path"
        at = AT.replace(minute=AT.minute + 1)
        assert await rows_of(database.engine, stored) == [(POSTGRES, at), (SPOOL, at)]
        for table in ("event", "batch", "rejection", "event_key"):
            assert await count(database.engine, table) == 0
        assert figures() == before

        proxy.refuse()
        await canary.send()
        assert outage.is_on, "nobody else need find it out"
        clock.advance(60)
        await canary.send()
        assert (age(POSTGRES), age(SPOOL)) == (65, 65)
        proxy.mend()
        await drainer.drain_all()
        assert not outage.is_on
        assert age(SPOOL) == 0
        await canary.send()
        assert age(POSTGRES) == 0
        await writer.stop()
        await drainer.drain_all()
        await spool.close()
        await engine.dispose()


async def test_it_goes_on_after_whatever_happens(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(canary, "EVERY_SECONDS", 0.01)
    async with process(database.url, tmp_path) as made:
        sent = 0

        async def beat(_: str) -> bool:
            nonlocal sent
            sent += 1
            if sent == 1:
                raise asyncpg.InternalClientError("unexpected state")
            return True

        monkeypatch.setattr(made.writer, "beat", beat)
        running = asyncio.create_task(Canary(made.writer, None, SystemClock()).run())

        async def was_sent_again() -> bool:
            return sent > 1

        await eventually(was_sent_again)
        running.cancel()


async def test_without_a_spool_there_is_one_path(database: Database) -> None:
    clock = FixedClock(AT)
    writer = Writer(database.engine, clock)
    await writer.start()
    canary = Canary(writer, None, clock)
    await canary.send()
    canary.seen(SPOOL, AT)
    async with database.engine.connect() as connection:
        assert await connection.scalar(text("SELECT path FROM canary")) == POSTGRES
    await writer.stop()
