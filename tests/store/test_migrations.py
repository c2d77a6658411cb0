"""The migrations: linted as SQL, reversible, and equal to `service/store/tables.py`."""

from __future__ import annotations

import asyncio
import io
import re
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TextIO

import asyncpg
import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Column, Connection, Integer, MetaData, Table, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from service.store import patience
from service.store.engine import make_engine
from service.store.migrate import current_revision, head_revision, migrate, script_location
from service.store.tables import metadata
from tests.conftest import Database
from tests.ingest.process import eventually

SQUAWK = str(Path(sys.executable).parent / "squawk")
ROOT = Path(__file__).parents[2]
RULES = Path(__file__).parent / "squawk.toml"
REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006")

COLUMNS = """
SELECT c.relname || '.' || a.attname || ' ' || format_type(a.atttypid, a.atttypmod)
    || CASE WHEN a.attnotnull THEN ' NOT NULL' ELSE '' END || ' identity=' || a.attidentity::text
    || coalesce(' DEFAULT ' || pg_get_expr(d.adbin, d.adrelid), '')
FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0
    AND NOT a.attisdropped
LEFT JOIN pg_attrdef d ON d.adrelid = c.oid AND d.adnum = a.attnum
WHERE c.relkind IN ('r', 'p') AND NOT c.relispartition
    AND c.relnamespace = 'public'::regnamespace AND c.relname <> 'alembic_version'
"""
CONSTRAINTS = """
SELECT t.conrelid::regclass::text || ' ' || t.conname || ' ' || pg_get_constraintdef(t.oid)
FROM pg_constraint t JOIN pg_class c ON c.oid = t.conrelid
WHERE c.relnamespace = 'public'::regnamespace AND NOT c.relispartition AND t.contype <> 'n'
    AND c.relname <> 'alembic_version'
"""
INDEXES = """
SELECT pg_get_indexdef(i.indexrelid) FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
WHERE c.relnamespace = 'public'::regnamespace AND NOT c.relispartition
    AND c.relname <> 'alembic_version'
"""
PARTITION_KEYS = "SELECT pg_get_partkeydef(partrelid) FROM pg_partitioned_table"
CATALOGUE = (COLUMNS, CONSTRAINTS, INDEXES, PARTITION_KEYS)
PARTITION = """
CREATE TABLE event_y2026m05 PARTITION OF event
FOR VALUES FROM ('2026-05-01+00') TO ('2026-06-01+00')
"""
MIGRATOR = """
import asyncio, sys
from service.store.engine import make_engine
from service.store.migrate import migrate
asyncio.run(migrate(make_engine(sys.argv[1])))
"""


@pytest.fixture
async def empty(postgres_url: str) -> AsyncIterator[AsyncEngine]:
    """An engine on a database without any table."""
    name = f"test_{secrets.token_hex(6)}"
    admin = await asyncpg.connect(postgres_url)
    await admin.execute(f"CREATE DATABASE {name}")
    head, _, query = postgres_url.partition("?")
    engine = make_engine(f"{head.rsplit('/', 1)[0]}/{name}?{query}")
    yield engine
    await engine.dispose()
    await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await admin.close()


def configured(connection: Connection | None = None, output: TextIO | None = None) -> Config:
    config = Config(output_buffer=output)
    config.set_main_option("script_location", str(script_location()))
    config.attributes["connection"] = connection
    return config


def offline_sql(revision: str) -> str:
    """What alembic prints for one migration, after the timeouts that `env.py` sets online."""
    output = io.StringIO()
    before = ScriptDirectory.from_config(configured()).get_revision(revision).down_revision
    command.upgrade(configured(output=output), f"{before or 'base'}:{revision}", sql=True)
    timeouts = re.findall(r"SET \w+_timeout = '\w+'", (script_location() / "env.py").read_text())
    return "".join(f"{timeout};\n" for timeout in timeouts) + output.getvalue()


def squawk(sql: str, folder: Path) -> subprocess.CompletedProcess[str]:
    file = folder / "upgrade.sql"
    file.write_text(sql)
    arguments = ["--config", str(RULES), "--reporter", "gcc", str(file)]
    return subprocess.run([SQUAWK, *arguments], check=False, capture_output=True, text=True)


@pytest.mark.parametrize("revision", REVISIONS)
def test_the_sql_is_safe_beside_a_running_version(revision: str, tmp_path: Path) -> None:
    result = squawk(offline_sql(revision), tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr


def test_squawk_would_notice_a_lock_that_stops_the_service(tmp_path: Path) -> None:
    result = squawk(f"{offline_sql('0001')}\nCREATE INDEX slow ON event_key (seen_on);", tmp_path)
    assert result.returncode == 1
    assert "require-concurrent-index-creation" in result.stdout


def test_every_migration_is_linted() -> None:
    scripts = ScriptDirectory.from_config(configured()).walk_revisions()
    assert {script.revision for script in scripts} == set(REVISIONS)


async def described(engine: AsyncEngine) -> set[str]:
    """Columns, constraints, indexes and partition keys in Postgres's own words."""
    async with engine.connect() as connection:
        found = [await connection.scalars(text(query)) for query in CATALOGUE]
        return {line for lines in found for line in lines}


async def differences(engine: AsyncEngine, tables: MetaData) -> list[object]:
    """What alembic's autogenerate would change; partitions are rows' business, not the schema's."""

    def is_ours(name: str | None, kind: str, _parents: object) -> bool:
        return kind != "table" or not re.fullmatch(r"event_y\d{4}m\d{2}", name or "")

    def compare(connection: Connection) -> list[object]:
        options = {
            "include_name": is_ours,
            "compare_type": True,
            "compare_server_default": True,
        }
        return list(compare_metadata(MigrationContext.configure(connection, opts=options), tables))

    async with engine.connect() as connection:
        return await connection.run_sync(compare)


async def test_the_tables_are_what_the_migrations_make(
    database: Database, empty: AsyncEngine
) -> None:
    async with database.engine.begin() as connection:
        await connection.execute(text(PARTITION))
    assert await differences(database.engine, metadata) == []
    async with empty.begin() as connection:
        await connection.run_sync(metadata.create_all)
    assert await described(empty) ^ await described(database.engine) == set()


async def test_a_forgotten_migration_is_noticed(database: Database) -> None:
    ahead = MetaData()
    for table in metadata.tables.values():
        table.to_metadata(ahead)
    Table("visit", ahead, Column("late", Integer), extend_existing=True)
    assert len(await differences(database.engine, ahead)) == 1


async def test_down_and_up_again(database: Database) -> None:
    before = await described(database.engine)
    assert "RANGE (occurred_at)" in before
    async with database.engine.begin() as connection:
        await connection.execute(text(PARTITION))

    def down(connection: Connection) -> None:
        command.downgrade(configured(connection), "base")

    async with database.engine.connect() as connection:
        await connection.run_sync(down)
    assert await described(database.engine) == set()
    assert await current_revision(database.engine) is None
    assert await migrate(database.engine) == head_revision()
    assert await described(database.engine) == before


async def test_two_migrators_at_once_make_one_schema(
    database: Database, empty: AsyncEngine
) -> None:
    # Two processes, as when two replicas are upgraded at once: alembic is not made for two tasks.
    url = empty.url.render_as_string(hide_password=False)
    both = [
        await asyncio.create_subprocess_exec(sys.executable, "-c", MIGRATOR, url, cwd=ROOT)
        for _ in range(2)
    ]
    assert [await migrator.wait() for migrator in both] == [0, 0]
    assert await described(empty) == await described(database.engine)


async def test_a_migration_waits_for_a_dump_and_nobody_for_the_migration(
    empty: AsyncEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "PAUSE_SECONDS", 0.1)
    async with empty.connect() as connection:
        await connection.run_sync(lambda c: command.upgrade(configured(c), "0001"))
    async with empty.begin() as connection:
        await connection.execute(text(PARTITION))
    async with empty.begin() as dump:
        await dump.execute(text("LOCK TABLE ONLY event IN ACCESS SHARE MODE"))
        # Alembic waits in a greenlet: the loop goes on.
        migrating = asyncio.create_task(migrate(empty))
        await eventually(lambda: waiting(dump))
        async with asyncio.timeout(5), empty.begin() as ingesting:
            await ingesting.execute(text("LOCK TABLE event IN ROW EXCLUSIVE MODE"))
        assert not migrating.done()
    assert await migrating == head_revision()


async def waiting(connection: AsyncConnection) -> bool:
    """Whether somebody waits for a lock."""
    return bool(await connection.scalar(text("SELECT bool_or(NOT granted) FROM pg_locks")))


async def test_the_connection_is_handed_back_as_it_was(empty: AsyncEngine) -> None:
    await migrate(empty)
    async with empty.connect() as connection:
        assert await connection.scalar(text("SHOW lock_timeout")) == "0"
        assert await connection.scalar(text("SHOW statement_timeout")) == "0"
        held = (
            "SELECT count(*) FROM pg_locks AS l JOIN pg_database AS d ON d.oid = l.database"
            " WHERE l.locktype = 'advisory' AND d.datname = current_database()"
        )
        assert await connection.scalar(text(held)) == 0
