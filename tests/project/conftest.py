"""A database that takes events of the months the tests speak of, and sites in it."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from service.domain.access import Site
from service.store.partitions import ensure_partitions
from tests.conftest import Database

NOW = datetime(2026, 7, 1, tzinfo=UTC)

_numbers = itertools.count(1)


@pytest.fixture
async def engine(database: Database) -> AsyncEngine:
    """An engine on a database of the test's own, with partitions for 2026 and around."""
    await ensure_partitions(database.engine, NOW, days_back=200, days_ahead=220)
    return database.engine


@pytest.fixture
def new_site(
    engine: AsyncEngine, make_site: Callable[..., Awaitable[Site]]
) -> Callable[..., Awaitable[Site]]:
    """Makes a site, in a zone: cheaper than a database for each example."""

    async def make(timezone: str = "Europe/Copenhagen") -> Site:
        return await make_site(engine, f"site-{next(_numbers)}", timezone)

    return make
