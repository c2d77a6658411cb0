"""Every KPI over 30 days, beside a hand-written SELECT on the rollup."""

from __future__ import annotations

import statistics
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from service.domain.access import Site
from service.domain.dimensions import Dimension, dimension_id
from service.kit.clock import SystemClock
from service.kpi.catalogue import load_catalogue
from service.kpi.engine import KpiEngine
from service.kpi.query import KpiQuery
from service.project.runner import Runner
from service.store.access import create_site
from service.store.embedded import EmbeddedPostgres
from service.store.engine import make_engine
from service.store.migrate import migrate
from service.store.partitions import ensure_partitions
from tests.bench.load import data_folder
from tests.bench.sizes import Sizes

DAYS = 90
BATCH = 1_000
CHANNELS = ["Organic Search", "Direct", "Paid Search", "Email", "Referral"]

DIMENSIONS = text(
    "INSERT INTO dimension (site_id, dim_id, channel, source, medium, campaign)"
    " VALUES (:site_id, :dim_id, :channel, :source, :medium, :campaign)"
)
BATCHES = text("""
INSERT INTO batch (site_id, token, received_at, events, first_at, last_at)
SELECT :site_id, gen_random_uuid(), now(), :size, now() - make_interval(days => :days), now()
FROM generate_series(1, :batches)
""")
EVENTS = text("""
WITH numbered AS (SELECT id, row_number() OVER (ORDER BY id) - 1 AS n FROM batch),
drawn AS (
    SELECT b.id, s AS seq, hashint8(b.n * 1000 + s)::bigint & 2147483647 AS h,
           now() - make_interval(days => :days) * (1 - (b.n * 1000.0 + s) / :events)::float AS at
    FROM numbered b CROSS JOIN generate_series(0, :size - 1) AS s)
INSERT INTO event
SELECT :site_id, id, at, 1 + h % 40000, (CAST(:dims AS bigint[]))[1 + h % :dim_count], seq,
    CASE WHEN h % 100 < 70 THEN 1 WHEN h % 100 < 78 THEN 10 WHEN h % 100 < 82 THEN 13
         WHEN h % 100 < 84 THEN 14 WHEN h % 100 < 89 THEN 20 WHEN h % 100 < 95 THEN 30
         WHEN h % 100 < 97 THEN 40 WHEN h % 100 < 98 THEN 50 WHEN h % 100 < 99 THEN 60
         ELSE 70 END,
    2,
    CASE WHEN h % 100 < 70 THEN '{"page":"shop.example/"}'
         WHEN h % 100 < 84 THEN jsonb_build_object('message', md5((h % 90000)::text)::uuid)
         WHEN h % 100 < 89 THEN jsonb_build_object('lead', md5((h % 60000)::text)::uuid)
         WHEN h % 100 < 95 THEN jsonb_build_object('order', md5(h::text)::uuid, 'quantity', 1,
             'value', (h % 1000) * 1000000, 'currency', 'DKK', 'cost', (h % 500) * 1000000,
             'customer', md5((h % 20000)::text)::uuid, 'lead', md5((h % 60000)::text)::uuid)
         WHEN h % 100 < 97 THEN jsonb_build_object('survey',
             (ARRAY['nps','enps','csat','ces','awareness_aided','awareness_unaided'])[1 + h % 6],
             'score', 9, 'grade', h / 7 % 3 - 1)
         WHEN h % 100 < 98 THEN jsonb_build_object('key', md5(h::text)::uuid, 'cost',
             (h % 1000) * 1000000, 'currency', 'DKK', 'impressions', h % 9000, 'clicks', h % 90)
         WHEN h % 100 < 99 THEN jsonb_build_object('key', md5((h % 5000)::text)::uuid, 'likes',
             h % 90, 'comments', h % 9, 'shares', h % 5, 'followers', 9000, 'reach', 4000)
         ELSE jsonb_build_object('key', md5(h::text)::uuid, 'group',
             (ARRAY['brand','category'])[1 + h % 2], 'volume', h % 900) END
FROM drawn
ORDER BY id, seq -- as a log grows: its index on time knows blocks of rows
""")
HAND_WRITTEN = text("""
SELECT measure, currency, sum(value) FROM rollup_quarter
WHERE site_id = :site_id AND measure IN (41, 42, 50)
  AND bucket >= now() - interval '30 days' AND bucket < now()
GROUP BY measure, currency
""")


async def fill(engine: AsyncEngine, site: Site, events: int) -> None:
    """A log of `events` events over 90 days, written straight into the tables."""
    names = [
        Dimension(CHANNELS[n % 5], f"source-{n % 7}", "cpc", f"campaign-{n}") for n in range(60)
    ]
    now = SystemClock().now()
    await ensure_partitions(engine, now, days_back=DAYS + 1)
    async with engine.begin() as connection:
        for name in names:
            await connection.execute(
                DIMENSIONS,
                {"site_id": site.id, "dim_id": dimension_id(name), **name._asdict()},
            )
        facts = {"site_id": site.id, "size": BATCH, "days": DAYS}
        await connection.execute(BATCHES, {**facts, "batches": events // BATCH})
        dims = {"dims": [dimension_id(name) for name in names], "dim_count": len(names)}
        await connection.execute(EVENTS, {**facts, **dims, "events": events})
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(text("VACUUM ANALYZE"))


async def milliseconds(repeats: int, work: Callable[[], Awaitable[object]]) -> float:
    """The median of several runs, after one that warms."""
    await work()
    taken = []
    for _ in range(repeats):
        started = time.perf_counter()
        await work()
        taken.append((time.perf_counter() - started) * 1000)
    return statistics.median(taken)


async def measure(engine: AsyncEngine, sizes: Sizes) -> None:
    """Project the log, then time every KPI."""
    site = await create_site(engine, "bench", "bench", "Europe/Copenhagen", "DKK")
    await fill(engine, site, sizes.events)
    runner = Runner(engine, SystemClock())
    started = time.perf_counter()
    while await runner.run_once():
        pass
    taken = time.perf_counter() - started
    print(f"  {'projection, from nothing':<34}{sizes.events / taken:>9,.0f} events/s")
    async with engine.connect() as connection:
        await connection.execution_options(isolation_level="AUTOCOMMIT")
        await connection.execute(text("VACUUM ANALYZE"))

    async def by_hand() -> None:
        async with engine.connect() as connection:
            await connection.execute(HAND_WRITTEN, {"site_id": site.id})

    floor = await milliseconds(sizes.repeats, by_hand)
    print(f"  {'hand-written SELECT on the rollup':<34}{floor:>9.1f} ms")
    catalogue = load_catalogue()
    kpis = KpiEngine(engine, catalogue, SystemClock(), 2.0)
    slowest = 0.0
    for kpi in catalogue.kpis:
        query = KpiQuery(kpis=(kpi,), window="last_30_days")
        latency = await milliseconds(sizes.repeats, lambda query=query: kpis.answer(site, query))
        slowest = max(slowest, latency)
        print(f"  {kpi:<34}{latency:>9.1f} ms   ratio {latency / floor:.2f}")
    print(f"  {'slowest':<34}{slowest:>9.1f} ms")


async def kpi_latency(sizes: Sizes) -> None:
    """Print the latency of each KPI over 30 days of a 90-day log."""
    print(f"KPIs over 30 days, {sizes.events:,} events in {DAYS} days")
    with data_folder() as folder:
        server = EmbeddedPostgres(Path(folder, "kompas"))
        engine = make_engine(server.start())
        try:
            await migrate(engine)
            await measure(engine, sizes)
        finally:
            await engine.dispose()
            server.stop()
