"""Snapshots for Prometheus: what the engine says, for every site, by one worker at a time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from service import telemetry
from service.domain.access import Site
from service.errors import NotFoundError
from service.kpi.catalogue import Catalogue
from service.kpi.engine import KpiEngine
from service.kpi.plan import MOST_KPIS
from service.kpi.snapshot import LOCK_CLASS, SnapshotTask, read_snapshots
from tests.clock import FixedClock
from tests.kpi.world import CATALOGUE, NOW, Shipped, World, order, spend

WINDOWS = ("last_month", "today")
MakeSite = Callable[..., Awaitable[Site]]


@pytest.fixture
async def shop(warehouse: AsyncEngine, make_site: MakeSite) -> World:
    async with warehouse.begin() as connection:
        await connection.execute(text("DELETE FROM site"))
        await connection.execute(text("DELETE FROM kpi_snapshot"))
    world = World(warehouse, await make_site(warehouse, "shop"))
    await world.happen(
        spend("2026-03-05T10:00", 100.25), order("2026-03-05T10:00", 50.5, "1"),
        order("2026-04-10T12:00", 7, "2"),
    )  # fmt: skip
    return world


def task(world: World, *, refresh_seconds: float = 60, kpis: Any = None) -> SnapshotTask:
    engine = kpis or world.kpis
    return SnapshotTask(engine, world.engine, world.clock, WINDOWS, refresh_seconds)


class Stumbling(KpiEngine):
    """An engine that fails by itself where one KPI is among those asked."""

    def __init__(self, world: World, kpi: str, error: Exception) -> None:
        super().__init__(world.engine, Shipped(CATALOGUE), world.clock, 0.0)
        self._kpi = kpi
        self._error = error

    async def answer(self, site: Site, query: Any) -> Any:
        if self._kpi in query.kpis:
            raise self._error
        return await super().answer(site, query)


class Failing(KpiEngine):
    """An engine that cannot answer for one site."""

    def __init__(self, world: World, slug: str) -> None:
        super().__init__(world.engine, Shipped(CATALOGUE), world.clock, 0.0)
        self._slug = slug
        self.tried = asyncio.Event()

    async def answer(self, site: Site, query: Any) -> Any:
        if site.slug == self._slug:
            self.tried.set()
            raise RuntimeError("no answer")
        return await super().answer(site, query)


async def test_a_snapshot_holds_more_kpis_than_one_question_may_name(shop: World) -> None:
    revenue = CATALOGUE.get("revenue")
    many = {f"own_{number}": replace(revenue, id=f"own_{number}") for number in range(MOST_KPIS)}
    more = Shipped(Catalogue({**CATALOGUE.kpis, **many}))
    kpis = KpiEngine(shop.engine, more, shop.clock, 0.0)
    assert await task(shop, kpis=kpis).refresh()
    (snapshot,) = await read_snapshots(shop.engine)
    found = [sample.kpi for sample in snapshot.samples if sample.window == "today"]
    assert found == [*CATALOGUE.kpis, *many]


async def test_a_snapshot_holds_every_kpi_of_every_window(shop: World) -> None:
    assert await task(shop).refresh()
    (snapshot,) = await read_snapshots(shop.engine)
    assert (snapshot.site, snapshot.currency) == ("shop", "DKK")
    assert snapshot.taken_at == snapshot.as_of == NOW
    found = {(sample.window, sample.kpi): sample for sample in snapshot.samples}
    assert set(found) == {(window, kpi) for window in WINDOWS for kpi in CATALOGUE.kpis}
    roas = found["last_month", "roas"]
    assert (roas.value, roas.reason, roas.unit) == (50.5 / 100.25, None, "factor")
    assert (roas.numerator, roas.denominator) == (50.5, 100.25)
    assert found["today", "orders"].value == 1.0
    assert (found["today", "roas"].value, found["today", "roas"].reason) == (
        None,
        "zero_denominator",
    )
    assert found["today", "nps"].reason == "no_data"


async def test_a_newer_snapshot_replaces_the_older(shop: World) -> None:
    await task(shop).refresh()
    await shop.happen(order("2026-04-10T12:10", 7, "3"))
    shop.clock.set(NOW + timedelta(minutes=1))
    await task(shop).refresh()
    (snapshot,) = await read_snapshots(shop.engine)
    assert snapshot.taken_at == NOW + timedelta(minutes=1)
    assert [s.value for s in snapshot.samples if (s.kpi, s.window) == ("orders", "today")] == [2.0]


async def test_a_snapshot_says_what_it_lacks(shop: World) -> None:
    shop.clock.set(NOW + timedelta(minutes=1))
    await shop.log(order("2026-04-10T12:10", 7, "3"))  # received at NOW, projected by nobody
    await task(shop).refresh()
    (snapshot,) = await read_snapshots(shop.engine)
    assert snapshot.as_of == NOW
    assert snapshot.taken_at == NOW + timedelta(minutes=1)


async def test_a_site_that_is_gone_vanishes(shop: World, make_site: MakeSite) -> None:
    other = await make_site(shop.engine, "another")
    await task(shop).refresh()
    assert [snapshot.site for snapshot in await read_snapshots(shop.engine)] == ["another", "shop"]
    async with shop.engine.begin() as connection:
        await connection.execute(text("DELETE FROM site WHERE id = :id"), {"id": other.id})
    assert [snapshot.site for snapshot in await read_snapshots(shop.engine)] == ["shop"]
    await task(shop).refresh()
    async with shop.engine.connect() as connection:
        assert await connection.scalar(text("SELECT count(*) FROM kpi_snapshot")) == 1


def failures() -> float:
    return telemetry.REGISTRY.get_sample_value("kompas_snapshot_failures_total") or 0.0


async def test_a_site_that_fails_does_not_hold_up_the_others(
    shop: World, make_site: MakeSite
) -> None:
    await make_site(shop.engine, "another")
    await task(shop).refresh()
    shop.clock.set(NOW + timedelta(minutes=1))
    before = failures()
    await task(shop, kpis=Failing(shop, "another")).refresh()
    assert failures() - before == 1
    ages = {
        snapshot.site: snapshot.taken_at - NOW for snapshot in await read_snapshots(shop.engine)
    }
    assert ages == {"another": timedelta(), "shop": timedelta(minutes=1)}


@pytest.mark.parametrize(
    ("error", "counted"),
    [(OverflowError(), 1), (TypeError(), 1), (NotFoundError("It was retired."), 0)],
    ids=repr,
)
async def test_a_kpi_that_fails_is_left_out_alone(
    shop: World, error: Exception, counted: int
) -> None:
    before = failures()
    assert await task(shop, kpis=Stumbling(shop, "roas", error)).refresh()
    assert failures() - before == counted
    (snapshot,) = await read_snapshots(shop.engine)
    found = [sample.kpi for sample in snapshot.samples if sample.window == "today"]
    assert found == [kpi for kpi in CATALOGUE.kpis if kpi != "roas"]
    assert snapshot.as_of == NOW


async def test_a_database_that_is_away_is_no_kpi_s_fault(shop: World) -> None:
    await task(shop).refresh()
    shop.clock.set(NOW + timedelta(minutes=1))
    before = failures()
    await task(shop, kpis=Stumbling(shop, "roas", ConnectionError())).refresh()
    assert failures() - before == 1
    (snapshot,) = await read_snapshots(shop.engine)
    assert snapshot.taken_at == NOW


async def test_one_worker_at_a_time(shop: World) -> None:
    async with shop.engine.begin() as connection:
        await connection.execute(
            text("SELECT pg_advisory_xact_lock(:class, 0)"), {"class": LOCK_CLASS}
        )
        assert not await task(shop).refresh()
    assert await read_snapshots(shop.engine) == []
    assert await task(shop).refresh()


async def until(shop: World, taken_at: datetime) -> None:
    """Wait for a snapshot of that time; it comes from the database, so there is no event."""
    for _ in range(1000):
        if [snapshot.taken_at for snapshot in await read_snapshots(shop.engine)] == [taken_at]:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("there is no such snapshot")


async def test_the_loop_refreshes_until_it_is_stopped(shop: World) -> None:
    before = failures()
    running = task(shop, refresh_seconds=0.01)
    loop = asyncio.create_task(running.run())
    await until(shop, NOW)
    shop.clock.set(NOW + timedelta(minutes=1))
    await until(shop, NOW + timedelta(minutes=1))
    await running.stop()
    assert loop.done() or await loop is None
    assert failures() == before


async def test_what_another_worker_has_just_refreshed_is_left_alone(shop: World) -> None:
    await task(shop).refresh()
    before = failures()
    second = SnapshotTask(
        Failing(shop, "shop"), shop.engine, FixedClock(NOW + timedelta(seconds=29)), WINDOWS, 60
    )
    loop = asyncio.create_task(second.run())
    await asyncio.sleep(0.1)
    await second.stop()
    await loop
    assert failures() == before


async def test_errors_do_not_end_the_loop(shop: World) -> None:
    before = failures()
    kpis = Failing(shop, "shop")
    running = task(shop, refresh_seconds=0.01, kpis=kpis)
    loop = asyncio.create_task(running.run())
    for _ in range(2):
        await kpis.tried.wait()
        kpis.tried.clear()
    await running.stop()
    await loop
    assert failures() - before >= 2


async def test_stopping_what_never_ran_returns(shop: World) -> None:
    await task(shop).stop()
