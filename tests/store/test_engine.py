"""Two connections that see the same."""

from __future__ import annotations

from contextlib import AsyncExitStack

from sqlalchemy import text

from service.store.access import create_site
from service.store.engine import beside, make_engine, reading
from tests.conftest import Database

SITES = text("SELECT count(*) FROM site")


async def test_a_second_connection_sees_what_the_first_one_does(database: Database) -> None:
    engine = database.engine
    async with reading(engine) as first:
        before = await first.scalar(SITES)
        await create_site(engine, "shop", "Shop", "Europe/Copenhagen", "DKK")
        async with beside(engine, first) as second:
            assert second is not None
            assert second is not first
            assert await second.scalar(SITES) == await first.scalar(SITES) == before
    async with reading(engine) as later:
        assert await later.scalar(SITES) == before + 1


async def test_half_of_the_pool_is_left_to_those_who_have_none(database: Database) -> None:
    engine = make_engine(database.url, pool_size=4)
    try:
        async with AsyncExitStack() as held:
            first = await held.enter_async_context(reading(engine))
            second = await held.enter_async_context(reading(engine))
            async with beside(engine, first) as third:
                assert third is not None
                async with beside(engine, second) as fourth:
                    assert fourth is None
    finally:
        await engine.dispose()
