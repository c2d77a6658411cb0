"""Connections: one SQLAlchemy engine on asyncpg per process, with typed read and write sessions."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
from sqlalchemy import QueuePool, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from service.errors import StartupError
from service.store.liveness import watch

OLDEST_SERVER = 15
CONNECT_SECONDS = 5.0
POOL_CONNECT_SECONDS = 2.0
"""With the ping of a connection that has died, a request waits about three seconds."""
POOL_SECONDS = 3.0
"""How long a request waits for another to give its connection back."""
PARAMETERS = frozenset({"host", "port", "ssl", "target_session_attrs"})
"""What may stand behind the question mark of a database's address, sslmode being ssl."""

SESSION = {
    "application_name": "kompas",
    "timezone": "UTC",
    "jit": "off",
    # A cached generic plan made a 90-day query 2.5 times slower than its own plan.
    "plan_cache_mode": "force_custom_plan",
    "max_parallel_workers_per_gather": "0",
    # Counting 150,000 customers by campaign spills to disk with less.
    "work_mem": "16MB",
}
"""Server settings of every connection."""

_EXPORT = text("SELECT pg_export_snapshot()")


def engine_url(url: str) -> str:
    """The SQLAlchemy form of a `postgresql://` address; StartupError for anything else."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise StartupError(
            "KOMPAS_DATABASE_URL is not an address; it should look like"
            " postgresql://user:password@host:5432/database."
        ) from error
    if parsed.drivername not in {"postgresql", "postgres", "postgresql+asyncpg"}:
        raise StartupError(
            f"KOMPAS_DATABASE_URL names the database kind '{parsed.drivername}';"
            " Kompas stores its data in Postgres only: postgresql://user:password@host/database."
        )
    query = dict(parsed.query)
    if "sslmode" in query:  # what every other Postgres client calls it
        query["ssl"] = query.pop("sslmode")
    unknown = sorted(query.keys() - PARAMETERS)
    if unknown:
        raise StartupError(
            f"KOMPAS_DATABASE_URL has the parameter '{unknown[0]}', which Kompas does not know; it"
            " knows host, port, sslmode and target_session_attrs (certificates are named by"
            " PGSSLROOTCERT, PGSSLCERT and PGSSLKEY)."
        )
    known = parsed.set(drivername="postgresql+asyncpg", query=query)
    return known.render_as_string(hide_password=False)


def make_engine(url: str, *, pool_size: int = 8) -> AsyncEngine:
    """An engine whose connections speak UTC, and plan each read for its own window."""
    engine = create_async_engine(
        engine_url(url),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=POOL_SECONDS,
        hide_parameters=True,  # a failing statement must not print keys, salts or what people sent
        connect_args={"timeout": POOL_CONNECT_SECONDS, "server_settings": SESSION},
    )
    watch(engine)
    return engine


async def connect(engine: AsyncEngine, session: Mapping[str, str]) -> asyncpg.Connection[Any]:
    """A connection of the caller's own, to the same database, below SQLAlchemy and its pool.

    For a task that must neither wait for the pool nor pay for SQLAlchemy on every statement.
    `session` adds to the server settings. Raises what asyncpg raises; the caller closes it.
    """
    _, options = engine.dialect.create_connect_args(engine.url)
    connection: asyncpg.Connection[Any] = await asyncpg.connect(
        **options,
        timeout=CONNECT_SECONDS,
        statement_cache_size=0,  # its statements are prepared by hand and kept
        server_settings={**SESSION, **session},
    )
    return connection


@asynccontextmanager
async def reading(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """A read-only transaction that sees one snapshot for all its statements."""
    async with engine.connect() as connection:
        await connection.execution_options(
            isolation_level="REPEATABLE READ", postgresql_readonly=True
        )
        async with connection.begin():
            yield connection


@asynccontextmanager
async def beside(
    engine: AsyncEngine, connection: AsyncConnection
) -> AsyncIterator[AsyncConnection | None]:
    """A second connection in the snapshot of one from `reading`, None when few are free.

    Nobody waits for one while holding one, as at least half of the pool is left to first ones.
    """
    pool = engine.sync_engine.pool
    if not isinstance(pool, QueuePool) or 2 * pool.checkedout() > pool.size():
        yield None
        return
    snapshot = await connection.scalar(_EXPORT)
    async with reading(engine) as second:
        # Its name is made of numbers by Postgres itself, and the statement takes no parameters.
        await second.execute(text(f"SET TRANSACTION SNAPSHOT '{snapshot}'"))
        yield second


@asynccontextmanager
async def writing(engine: AsyncEngine) -> AsyncIterator[AsyncConnection]:
    """One transaction: committed when the block ends, rolled back when it raises."""
    async with engine.begin() as connection:
        yield connection
