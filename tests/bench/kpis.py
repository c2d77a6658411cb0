"""Every KPI by campaign and day over a year, beside hand-written SQL on the same rollups."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from service.domain.access import Site
from service.kit.clock import SystemClock
from service.kpi.definition import Kpi
from service.kpi.engine import KpiEngine
from service.kpi.formula import Distinct
from service.kpi.query import KpiQuery
from service.kpi.windows import PRESETS
from service.project.compact import compact
from service.project.runner import Runner
from service.store.access import create_site
from service.store.embedded import EmbeddedPostgres
from service.store.engine import make_engine
from service.store.migrate import migrate
from tests.bench.history import fill, vacuum
from tests.bench.load import data_folder
from tests.bench.sizes import Sizes
from tests.kpi.world import CATALOGUE, Shipped

LOADED_AT_ONCE = 100_000
ZONES = ("Europe/Copenhagen", "America/New_York", "Asia/Kathmandu")
YEAR = "last_365_days"
_SITE = text("SELECT id, slug, timezone, currency, secret FROM site WHERE slug = 'bench'")
_DAYS = "date_trunc('day', now(), 'Europe/Copenhagen')"
_WITHIN = (
    f"r.site_id = :site_id AND r.bucket >= {_DAYS} - interval '365 days' AND r.bucket < {_DAYS}"
)
_NAMED = "JOIN dimension AS d ON d.site_id = r.site_id AND d.dim_id = r.dim_id"

# What two rollups must be asked at least: once by day, once by campaign.
BY_HAND = {
    "a sum": (
        f"SELECT bucket, sum(value) FROM rollup_day AS r WHERE {_WITHIN} AND measure = 2"
        " GROUP BY 1",
        f"SELECT d.campaign, sum(value) FROM rollup_day AS r {_NAMED}"
        f" WHERE {_WITHIN} AND measure = 2 GROUP BY 1",
    ),
    "distinct visitors": (
        f"SELECT bucket, sum(value) FROM rollup_recency AS r WHERE {_WITHIN} AND scope = 0"
        " AND previous < bucket GROUP BY 1",
        f"SELECT d.campaign, sum(value) FROM rollup_recency AS r {_NAMED}"
        f" WHERE {_WITHIN} AND scope = 1 AND previous < {_DAYS} - interval '365 days' GROUP BY 1",
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
        return Site(*found)
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


async def floors(engine: AsyncEngine, site: Site, repeats: int) -> dict[str, float]:
    """The hand-written SQL, both statements of a kind together."""

    async def run(statements: tuple[str, ...]) -> None:
        async with engine.connect() as connection:
            for statement in statements:
                (await connection.execute(text(statement), {"site_id": site.id})).all()

    found = {}
    for name, statements in BY_HAND.items():
        measured = await latency(repeats, lambda statements=statements: run(statements))
        found[name] = measured.p50
        print(f"  {f'by hand: {name}':<34}{measured.p50:>9.1f} {measured.p95:>8.1f} ms")
    return found


def is_distinct(kpi: Kpi) -> bool:
    """Whether people are told apart."""
    return any(isinstance(key[0], Distinct) for key in kpi.views[kpi.default_view].keys)


async def measure(engine: AsyncEngine, sizes: Sizes) -> None:
    """Time every KPI over a year in three zones, then every preset window."""
    site = await prepared(engine, sizes)
    engine_of_kpis = KpiEngine(engine, Shipped(CATALOGUE), SystemClock(), 2.0)
    by_hand = await floors(engine, site, sizes.repeats)

    async def asked(kpi: Kpi, window: str, tz: str, grain: str | None) -> Latency:
        by = "campaign" if "campaign" in kpi.breakdowns else None
        query = KpiQuery((kpi.id,), window=window, tz=tz, grain=grain, by=by)
        return await latency(sizes.repeats, lambda: engine_of_kpis.answer(site, query))

    print(f"  {f'{YEAR}, by campaign and day':<34}{'p50':>9} {'p95':>8}  ratio; other zones: p95")
    for kpi in CATALOGUE:
        here, *elsewhere = [await asked(kpi, YEAR, tz, "day") for tz in ZONES]
        floor = by_hand["distinct visitors" if is_distinct(kpi) else "a sum"]
        others = " ".join(f"{other.p95:8.1f}" for other in elsewhere)
        line = f"{here.p50:>9.1f} {here.p95:>8.1f} {here.p50 / floor:>6.2f} {others}"
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
    with _folder(sizes.data) as folder:
        server = EmbeddedPostgres(folder)
        engine = make_engine(server.start())
        try:
            await measure(engine, sizes)
        finally:
            await engine.dispose()
            server.stop()
