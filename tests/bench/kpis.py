"""Every KPI by campaign and day over a year, beside hand-written SQL on the same rollups."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncEngine

from service.cli.process import calm_collector
from service.domain.access import Site
from service.domain.measures import Measure
from service.kit.clock import SystemClock
from service.kpi.definition import Kpi
from service.kpi.engine import KpiEngine
from service.kpi.formula import Distinct
from service.kpi.query import KpiQuery
from service.kpi.windows import PRESETS
from service.project.compact import compact
from service.project.runner import Runner
from service.store.access import SITE_COLUMNS, create_site, site_of_row
from service.store.embedded import EmbeddedPostgres
from service.store.engine import make_engine
from service.store.migrate import migrate
from service.store.tables import site as site_table
from tests.bench.history import fill, vacuum
from tests.bench.load import data_folder
from tests.bench.sizes import Sizes
from tests.kpi.world import CATALOGUE, Shipped

LOADED_AT_ONCE = 100_000
ZONES = ("Europe/Copenhagen", "America/New_York", "Asia/Kathmandu")
YEAR = "last_365_days"
_SITE = select(*SITE_COLUMNS).where(site_table.c.slug == "bench")
_TODAY = "date_trunc('day', now(), 'Europe/Copenhagen')"
_START = f"({_TODAY} - interval '365 days')"
_MONTHS = f"date_trunc('month', {_START} + interval '1 month', 'Europe/Copenhagen')"
_LAST_MONTH = f"date_trunc('month', {_TODAY}, 'Europe/Copenhagen')"
_NAMED = "JOIN dimension AS d ON d.site_id = r.site_id AND d.dim_id = r.dim_id"
_OF_MEASURES = "r.site_id = :site_id AND r.measure = ANY(CAST(:measures AS smallint[]))"
_OF_ORDERS = (
    f"FROM conversion AS r WHERE r.site_id = :site_id AND r.occurred_at >= {_START}"
    f" AND r.occurred_at < {_TODAY} AND NOT r.refund AND r.customer IS NOT NULL"
)

# What whoever knows the rollups would write: once by day, once by campaign.
BY_HAND = {
    "sums": (
        f"SELECT bucket, measure, sum(value) FROM rollup_total AS r WHERE {_OF_MEASURES}"
        f" AND bucket >= {_START} AND bucket < {_TODAY} GROUP BY 1, 2",
        f"""SELECT d.campaign, r.measure, sum(r.value) FROM (
            SELECT site_id, dim_id, measure, value FROM rollup_month AS r
            WHERE {_OF_MEASURES} AND bucket >= {_MONTHS} AND bucket < {_LAST_MONTH}
            UNION ALL
            SELECT site_id, dim_id, measure, value FROM rollup_day AS r
            WHERE {_OF_MEASURES} AND bucket >= {_START} AND bucket < {_MONTHS}
            UNION ALL
            SELECT site_id, dim_id, measure, value FROM rollup_day AS r
            WHERE {_OF_MEASURES} AND bucket >= {_LAST_MONTH} AND bucket < {_TODAY}
        ) AS r {_NAMED} GROUP BY 1, 2""",
    ),
    "distinct visitors": (
        f"SELECT bucket, sum(value) FROM rollup_recency AS r WHERE r.site_id = :site_id"
        f" AND r.bucket >= {_START} AND r.bucket < {_TODAY} AND scope = 0"
        " AND previous < bucket GROUP BY 1",
        f"SELECT d.campaign, sum(value) FROM rollup_recency AS r {_NAMED}"
        f" WHERE r.site_id = :site_id AND r.bucket >= {_START} AND r.bucket < {_TODAY}"
        f" AND scope = 1 AND previous < {_START} GROUP BY 1",
    ),
    "distinct customers": (
        "SELECT day, count(*) FROM (SELECT date_trunc('day', r.occurred_at, 'Europe/Copenhagen')"
        f" AS day, r.customer {_OF_ORDERS} GROUP BY 1, 2) AS p GROUP BY 1",
        "SELECT campaign, count(*) FROM (SELECT d.campaign, r.customer FROM (SELECT r.*"
        f" {_OF_ORDERS}) AS r {_NAMED} GROUP BY 1, 2) AS p GROUP BY 1",
    ),
}


@dataclass(frozen=True)
class Latency:
    """Milliseconds of several runs, after one that warms."""

    p50: float
    p95: float


async def latency(repeats: int, work: Callable[[], Awaitable[object]]) -> Latency:
    """Measured around each run."""
    taken = []
    for _ in range(repeats + 1):
        started = time.perf_counter()
        await work()
        taken.append((time.perf_counter() - started) * 1000)
    found = sorted(taken[1:])
    return Latency(found[len(found) // 2], found[int(0.95 * (len(found) - 1) + 0.5)])


async def prepared(engine: AsyncEngine, sizes: Sizes) -> Site:
    """The site with its log, projected; made unless it is there."""
    await migrate(engine)
    async with engine.connect() as connection:
        found = (await connection.execute(_SITE)).one_or_none()
    if found is not None:
        return site_of_row(found)
    site = await create_site(engine, "bench", "bench", ZONES[0], "DKK")
    started = time.perf_counter()
    await fill(engine, site, sizes.events)
    print(f"  {'log written in':<34}{time.perf_counter() - started:>9.0f} s")
    runner = Runner(engine, SystemClock())
    started, projected = time.perf_counter(), 0
    while events := await runner.run_once(LOADED_AT_ONCE):
        projected += events
    taken = time.perf_counter() - started
    print(f"  {'projection, from nothing':<34}{projected / taken:>9,.0f} events/s")
    started = time.perf_counter()
    await compact(engine, site.id, SystemClock().now())
    await vacuum(engine)
    print(f"  {'compacted and vacuumed in':<34}{time.perf_counter() - started:>9.0f} s")
    return site


async def floor(engine: AsyncEngine, site: Site, kpi: Kpi, repeats: int) -> Latency:
    """The hand-written SQL for what the KPI is made of, both statements together."""
    quantities = {quantity for quantity, _ in kpi.views[kpi.default_view].keys}
    kind = "sums"
    if is_distinct(kpi):
        visitors = Distinct.VISITORS in quantities
        kind = "distinct visitors" if visitors else "distinct customers"
    measures = [int(quantity) for quantity in quantities if isinstance(quantity, Measure)]

    async def run() -> None:
        async with engine.connect() as connection:
            for statement in BY_HAND[kind]:
                values = {"site_id": site.id, "measures": measures}
                (await connection.execute(text(statement), values)).all()

    return await latency(repeats, run)


def is_distinct(kpi: Kpi) -> bool:
    """Whether people are told apart."""
    return any(isinstance(key[0], Distinct) for key in kpi.views[kpi.default_view].keys)


async def measure(engine: AsyncEngine, sizes: Sizes) -> None:
    """Time every KPI over a year in three zones, then every preset window."""
    site = await prepared(engine, sizes)
    engine_of_kpis = KpiEngine(engine, Shipped(CATALOGUE), SystemClock(), 2.0)

    async def asked(kpi: Kpi, window: str, tz: str, grain: str | None) -> Latency:
        by = "campaign" if "campaign" in kpi.breakdowns else None
        query = KpiQuery((kpi.id,), window=window, tz=tz, grain=grain, by=by)
        return await latency(sizes.repeats, lambda: engine_of_kpis.answer(site, query))

    print(f"  {f'{YEAR}, by campaign and day':<34}{'p50':>9} {'p95':>8}    hand  ratio; other p95")
    for kpi in CATALOGUE:
        here, *elsewhere = [await asked(kpi, YEAR, tz, "day") for tz in ZONES]
        by_hand = (await floor(engine, site, kpi, sizes.repeats)).p50
        others = " ".join(f"{other.p95:8.1f}" for other in elsewhere)
        line = (
            f"{here.p50:>9.1f} {here.p95:>8.1f} {by_hand:>7.1f} {here.p50 / by_hand:>6.2f} {others}"
        )
        print(f"  {kpi.id:<34}{line}{'  distinct' if is_distinct(kpi) else ''}")
    print("  every preset window, by campaign: the slowest KPI")
    for window in PRESETS:
        found = [(await asked(kpi, window, ZONES[0], None), kpi.id) for kpi in CATALOGUE]
        worst, name = max(found, key=lambda one: one[0].p95)
        print(f"  {window:<34}{worst.p50:>9.1f} {worst.p95:>8.1f} ms   {name}")


@contextmanager
def _folder(data: Path | None) -> Iterator[Path]:
    if data is not None:
        data.mkdir(parents=True, exist_ok=True, mode=0o755)
        yield data
        return
    with data_folder() as made:
        yield Path(made, "kompas")


async def kpi_latency(sizes: Sizes) -> None:
    """Print what the KPIs of a log of 400 days take."""
    print(f"KPIs, {sizes.events:,} events in 400 days")
    calm_collector()  # as the service does after its start
    with _folder(sizes.data) as folder:
        server = EmbeddedPostgres(folder)
        engine = make_engine(server.start())
        try:
            await measure(engine, sizes)
        finally:
            await engine.dispose()
            server.stop()
