"""A running service with a database of its own for each file of tests."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator

import asyncpg
import pytest

from tests.running import Service, kompas_serve


@pytest.fixture(scope="module")
async def service(postgres_url: str, template: str) -> AsyncIterator[Service]:
    head, _, query = postgres_url.partition("?")
    name = f"acceptance_{secrets.token_hex(6)}"
    admin = await asyncpg.connect(postgres_url)
    await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
    await admin.close()
    with kompas_serve(
        KOMPAS_DATABASE_URL=f"{head.rsplit('/', 1)[0]}/{name}?{query}",
    ) as running:
        yield running
