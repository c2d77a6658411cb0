"""A real Postgres for every test: one server a session, one cloned database a test."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from service.domain.access import Site
from service.store.embedded import EmbeddedPostgres
from service.store.engine import make_engine
from service.store.migrate import migrate

# Durability is proved by tests of its own, which start a server with the real settings.
FAST_AND_LOOSE = {"fsync": "off", "full_page_writes": "off", "synchronous_commit": "off"}
TEMPLATE = "kompas_template"
TESTS = Path(__file__).parent
SLOWEST = (
    "cli/test_serve.py",
    "project/test_recount.py",
    "kpi/test_recount.py",
    "acceptance/test_real_weblog.py",
    "acceptance/test_real_data.py",
    "deploy/test_dashboard.py",
    "project/test_plans.py",
    "test_openapi.py",
    "store/test_embedded.py",
    "ingest/test_properties.py",
)
"""Files that start first, so that no worker is left alone with one of them in the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Sorts files; tests stay in the order of their file."""
    first = {TESTS / name: place for place, name in enumerate(SLOWEST)}
    items.sort(key=lambda item: first.get(item.path, len(first)))


@dataclass(frozen=True)
class Database:
    """A migrated database of one test's own."""

    url: str
    engine: AsyncEngine


@pytest.fixture(scope="session", autouse=True)
def _passable(tmp_path_factory: pytest.TempPathFactory) -> None:
    """As root a server runs under another user, who must be able to reach its data directory."""
    folder = tmp_path_factory.getbasetemp()
    for parent in (folder, *folder.parents):
        if parent.owner() == Path.home().owner() and parent != Path(parent.anchor):
            parent.chmod(parent.stat().st_mode | 0o011)


@pytest.fixture(scope="session")
def postgres_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the session's server (its first database)."""
    folder = tmp_path_factory.mktemp("postgres")
    folder.chmod(folder.stat().st_mode | 0o011)
    server = EmbeddedPostgres(folder / "data", settings=FAST_AND_LOOSE)
    yield server.start()
    server.stop()


def _address(url: str, database: str) -> str:
    head, _, query = url.partition("?")
    return f"{head.rsplit('/', 1)[0]}/{database}?{query}"


@pytest.fixture(scope="session")
async def template(postgres_url: str) -> str:
    """A database built by the migrations, to be cloned."""
    connection = await asyncpg.connect(postgres_url)
    await connection.execute(f"CREATE DATABASE {TEMPLATE}")
    await connection.close()
    engine = make_engine(_address(postgres_url, TEMPLATE))
    await migrate(engine)
    await engine.dispose()
    return TEMPLATE


@pytest.fixture
async def database(postgres_url: str, template: str) -> AsyncIterator[Database]:
    """A fresh clone of the migrated database."""
    name = f"test_{secrets.token_hex(6)}"
    admin = await asyncpg.connect(postgres_url)
    await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template} STRATEGY FILE_COPY")
    url = _address(postgres_url, name)
    engine = make_engine(url)
    yield Database(url, engine)
    await engine.dispose()
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


async def _make_site(
    engine: AsyncEngine,
    slug: str = "shop",
    timezone: str = "Europe/Copenhagen",
    currency: str = "DKK",
) -> Site:
    secret = secrets.token_bytes(32)
    async with engine.begin() as connection:
        site_id = await connection.scalar(
            text(
                "INSERT INTO site (slug, name, timezone, currency, secret)"
                " VALUES (:slug, :slug, :timezone, :currency, :secret) RETURNING id"
            ),
            {"slug": slug, "timezone": timezone, "currency": currency, "secret": secret},
        )
    assert site_id is not None
    return Site(site_id, slug, timezone, currency, secret)


@pytest.fixture(scope="session")
def make_site() -> Callable[..., Awaitable[Site]]:
    """Makes a site in a database."""
    return _make_site
