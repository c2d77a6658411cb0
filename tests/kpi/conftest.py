"""Databases of the KPI tests: one a module, a site a world."""

from __future__ import annotations

import itertools
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace

import asyncpg
import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from service.domain.access import Site, SiteRules
from service.store.engine import make_engine
from tests.kpi.world import World

RULES = SiteRules(props=("plan",))
_numbers = itertools.count(1)


@pytest.fixture(scope="module")
async def warehouse(postgres_url: str, template: str) -> AsyncIterator[AsyncEngine]:
    """A migrated database that takes events of any time."""
    name = f"kpi_{secrets.token_hex(6)}"
    admin = await asyncpg.connect(postgres_url)
    await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
    head, _, query = postgres_url.partition("?")
    url = f"{head.rsplit('/', 1)[0]}/{name}?{query}"
    connection = await asyncpg.connect(url)
    await connection.execute("CREATE TABLE event_any PARTITION OF event DEFAULT")
    await connection.close()
    engine = make_engine(url)
    yield engine
    await engine.dispose()
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


@pytest.fixture
def make_world(
    warehouse: AsyncEngine, make_site: Callable[..., Awaitable[Site]]
) -> Callable[..., Awaitable[World]]:
    """Makes an empty site in the module's database."""

    async def make(timezone: str = "Europe/Copenhagen", currency: str = "DKK") -> World:
        site = await make_site(warehouse, f"site-{next(_numbers)}", timezone, currency)
        return World(warehouse, replace(site, rules=RULES))

    return make
