"""One database a module, ready for the events of 2026; a fresh site for each test or example."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from service.domain.access import Site
from service.store.engine import make_engine
from service.store.partitions import ensure_partitions

NOW = datetime(2026, 7, 1, tzinfo=UTC)

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
async def module_engine(postgres_url: str, template: str) -> AsyncIterator[AsyncEngine]:
    """A clone of the migrated database, with partitions for 2026 and around."""
    name = f"project_{secrets.token_hex(6)}"
    admin = await asyncpg.connect(postgres_url)
    await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
    head, _, query = postgres_url.partition("?")
    engine = make_engine(f"{head.rsplit('/', 1)[0]}/{name}?{query}")
    await ensure_partitions(engine, NOW, days_back=200, days_ahead=220)
    yield engine
    await engine.dispose()
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


@pytest.fixture
async def engine(module_engine: AsyncEngine) -> AsyncIterator[AsyncEngine]:
    """The module's database, with nothing left to project afterwards."""
    yield module_engine
    async with module_engine.begin() as connection:
        await connection.execute(
            text(
                "UPDATE batch SET projected_at = received_at, parked_at = NULL"
                " WHERE projected_at IS NULL"
            )
        )


@pytest.fixture
def new_site(
    engine: AsyncEngine, make_site: Callable[..., Awaitable[Site]]
) -> Callable[..., Awaitable[Site]]:
    """Makes a site, in a zone: cheaper than a database for each example."""

    async def make(timezone: str = "Europe/Copenhagen") -> Site:
        return await make_site(engine, f"site-{next(_numbers)}", timezone)

    return make
