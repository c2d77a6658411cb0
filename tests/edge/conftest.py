"""The doors on a real Postgres, driven without a socket."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import asyncpg
import httpx
import pytest
from sqlalchemy import text
from starlette.applications import Starlette

from service.domain.access import Scope, Site
from service.edge.options import EdgeOptions
from service.edge.routes import edge_routes
from service.ingest.intake import Intake
from service.ingest.writer import Writer
from service.kit.clock import SystemClock
from service.store.access import KeyStore, create_key
from service.store.engine import make_engine
from service.store.secrets import Vault
from tests.conftest import Database

BROWSER = "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0"


@dataclass
class Edge:
    """The doors of one database, and keys of its sites `shop` and `blog`."""

    database: Database
    intake: Intake
    store: KeyStore
    shop: Site
    blog: Site
    keys: dict[str, str] = field(default_factory=dict)

    def app(self, **options: Any) -> Starlette:
        return Starlette(routes=edge_routes(self.intake, self.store, EdgeOptions(**options)))

    async def send(
        self,
        method: str,
        path: str,
        content: Any = None,
        *,
        key: str | None = "ingest",
        headers: Mapping[str, str] | None = None,
        peer: str = "203.0.113.9",
        **options: Any,
    ) -> httpx.Response:
        """One request; `key` names one of `keys`, bytes and texts are sent as they are."""
        if content is not None and not isinstance(content, str | bytes):
            content = json.dumps(content)
        sent = {"User-Agent": BROWSER, **(headers or {})}
        if key:
            sent["Authorization"] = f"Bearer {self.keys[key]}"
        transport = httpx.ASGITransport(self.app(**options), client=(peer, 4711))
        async with httpx.AsyncClient(transport=transport, base_url="http://kompas.test") as client:
            return await client.request(method, path, content=content, headers=sent)

    async def post(self, path: str, content: Any, **how: Any) -> httpx.Response:
        return await self.send("POST", path, content, **how)

    async def get(self, path: str, **how: Any) -> httpx.Response:
        return await self.send("GET", path, **how)

    async def rows(self, sql: str, **values: Any) -> list[Any]:
        async with self.database.engine.connect() as connection:
            return list(await connection.execute(text(sql), values))

    async def last_event(self) -> Any:
        """The event that came in last."""
        (row,) = await self.rows("SELECT * FROM event ORDER BY batch_id DESC, seq DESC LIMIT 1")
        return row

    async def last_rejection(self) -> Any:
        (row,) = await self.rows("SELECT * FROM rejection ORDER BY id DESC LIMIT 1")
        return row


KEYS = {
    "public": {Scope.PUBLIC},
    "ingest": {Scope.INGEST},
    "read": {Scope.READ},
    "admin": {Scope.ADMIN},
}


@pytest.fixture(scope="package")
async def edge(
    postgres_url: str, template: str, make_site: Callable[..., Awaitable[Site]]
) -> AsyncIterator[Edge]:
    """One database for all tests of the doors: none of them minds the others' events."""
    name = f"test_edge_{secrets.token_hex(4)}"
    admin = await asyncpg.connect(postgres_url)
    await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
    head, _, query = postgres_url.partition("?")
    url = f"{head.rsplit('/', 1)[0]}/{name}?{query}"
    database = Database(url, make_engine(url))
    clock = SystemClock()
    writer = Writer(database.engine, clock, None)
    await writer.start()
    intake = Intake(writer, Vault(database.engine), clock)
    await intake.start()
    shop = await make_site(database.engine)
    blog = await make_site(database.engine, "blog", "UTC", "EUR")
    made = Edge(database, intake, KeyStore(database.engine), shop, blog)
    for key, scopes in KEYS.items():
        made.keys[key] = await create_key(database.engine, shop.id, key, frozenset(scopes))
    yield made
    await writer.stop()
    await database.engine.dispose()
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


def receipt(answer: httpx.Response) -> Any:
    """The body, with amounts read exactly."""
    return json.loads(answer.content, parse_float=Decimal)
