"""The whole application in this process, on a test's own database, and a client for it."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from tempfile import TemporaryDirectory
from typing import Any

import asyncpg
import httpx
from sqlalchemy.ext.asyncio import AsyncEngine

from service.app import running
from service.domain.access import Scope
from service.kit.clock import SystemClock
from service.settings import load_settings
from service.store.access import create_key, create_site
from service.store.engine import make_engine

SLUG = "shop"


@asynccontextmanager
async def cloned(postgres_url: str, template: str) -> AsyncIterator[AsyncEngine]:
    """An engine on a fresh clone of the migrated database, for a whole module of tests."""
    name = f"doors_{secrets.token_hex(6)}"
    admin = await asyncpg.connect(postgres_url)
    await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
    head, _, query = postgres_url.partition("?")
    engine = make_engine(f"{head.rsplit('/', 1)[0]}/{name}?{query}")
    yield engine
    await engine.dispose()
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


@asynccontextmanager
async def doors(
    engine: AsyncEngine, *scopes: Scope, **settings: Any
) -> AsyncIterator[httpx.AsyncClient]:
    """A client whose key has these scopes (default: admin) for a new site `shop`.

    Without `worker=True` nothing is projected. The spool is in a folder of its own.
    """
    site = await create_site(engine, SLUG, "Shop", "Europe/Copenhagen", "DKK")
    key = await create_key(engine, site.id, "test", frozenset(scopes or {Scope.ADMIN}))
    with TemporaryDirectory() as folder:
        given = load_settings(**{"worker": False, "spool_dir": folder, **settings})
        async with (
            running(engine, given, SystemClock()) as app,
            httpx.AsyncClient(
                transport=httpx.ASGITransport(app),
                base_url="http://kompas",
                headers={"Authorization": f"Bearer {key}"},
            ) as client,
        ):
            yield client


def problem(answer: httpx.Response, status: int, code: str) -> Any:
    """The problem document of an answer, which must be of this status and code."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document = answer.json()
    assert document["status"] == status
    assert document["code"] == code, document
    assert document["message"].endswith((".", "?"))
    return document
