from __future__ import annotations

import asyncio
import secrets
import sys
from collections.abc import AsyncIterator

import asyncpg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from service.errors import StartupError
from service.store.engine import SESSION, connect, engine_url, make_engine, reading, writing
from service.store.migrate import check, current_revision, head_revision, migrate
from service.store.tables import metadata
from tests.conftest import Database, _address


@pytest.fixture
async def empty(postgres_url: str) -> AsyncIterator[AsyncEngine]:
    """A database that nobody has migrated."""
    name = f"empty_{secrets.token_hex(6)}"
    admin = await asyncpg.connect(postgres_url)
    await admin.execute(f"CREATE DATABASE {name}")
    engine = make_engine(_address(postgres_url, name))
    yield engine
    await engine.dispose()
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


async def test_the_metadata_is_what_the_migrations_make(database: Database) -> None:
    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        found = compare_metadata(context, metadata)
        return [each for each in found if "alembic_version" not in str(each)]

    async with database.engine.connect() as connection:
        assert await connection.run_sync(differences) == []


async def test_an_empty_database_is_migrated_by_two_processes_at_once(empty: AsyncEngine) -> None:
    assert await current_revision(empty) is None
    with pytest.raises(StartupError, match="no Kompas schema"):
        await check(empty)
    code = (
        "import asyncio, sys; from service.store.engine import make_engine;"
        "from service.store.migrate import migrate;"
        "asyncio.run(migrate(make_engine(sys.argv[1])))"
    )
    url = empty.url.render_as_string(hide_password=False)
    processes = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", code, url) for _ in range(2)
    ]
    assert [await process.wait() for process in processes] == [0, 0]
    assert await current_revision(empty) == head_revision()
    await check(empty)


async def test_an_unknown_schema_is_left_alone(database: Database) -> None:
    async with database.engine.begin() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    for attempt in (check, migrate):
        with pytest.raises(StartupError, match="schema 9999, newer than"):
            await attempt(database.engine)


@pytest.mark.parametrize(
    "url", ["postgresql://u:p@h:1/d", "postgres://u:p@h:1/d", "postgresql+asyncpg://u:p@h:1/d"]
)
def test_every_form_of_an_address_is_one(url: str) -> None:
    assert engine_url(url) == "postgresql+asyncpg://u:p@h:1/d"


@pytest.mark.parametrize("url", ["mysql://u:p@h/d", "sqlite:///x", "no address", ""])
def test_another_address_is_refused_without_its_password(url: str) -> None:
    with pytest.raises(StartupError) as caught:
        engine_url(url)
    assert "u:p" not in str(caught.value)


async def test_every_connection_has_the_same_session(database: Database) -> None:
    own = await connect(database.engine, {"plan_cache_mode": "force_generic_plan"})
    async with database.engine.connect() as pooled:
        for name, value in SESSION.items():
            assert (await pooled.scalar(text(f"SHOW {name}"))).lower() == value.lower()
            if name != "plan_cache_mode":
                assert (await own.fetchval(f"SHOW {name}")).lower() == value.lower()
    assert await own.fetchval("SHOW plan_cache_mode") == "force_generic_plan"
    assert await own.fetchval("SELECT current_database()") == database.engine.url.database
    await own.close()


async def test_a_read_sees_one_snapshot_and_cannot_write(database: Database) -> None:
    count = text("SELECT count(*) FROM visitor_salt")
    insert = text("INSERT INTO visitor_salt VALUES (current_date, '')")
    async with reading(database.engine) as reader:
        assert await reader.scalar(count) == 0
        async with writing(database.engine) as writer:
            await writer.execute(insert)
        assert await reader.scalar(count) == 0
        with pytest.raises(DBAPIError, match="read-only"):
            await reader.execute(insert)
    async with reading(database.engine) as reader:
        assert await reader.scalar(count) == 1


async def test_a_write_that_raises_is_rolled_back(database: Database) -> None:
    with pytest.raises(RuntimeError, match="on the way"):
        await _write_and_fail(database.engine)
    async with reading(database.engine) as reader:
        assert await reader.scalar(text("SELECT count(*) FROM visitor_salt")) == 0


async def _write_and_fail(engine: AsyncEngine) -> None:
    async with writing(engine) as connection:
        await connection.execute(text("INSERT INTO visitor_salt VALUES (current_date, '')"))
        raise RuntimeError("on the way")
