"""Which database a command works on: the one of KOMPAS_DATABASE_URL, or the embedded one."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from service.errors import StartupError
from service.kit.clock import SystemClock
from service.kit.log import get_logger
from service.settings import Settings
from service.store.embedded import EmbeddedPostgres
from service.store.engine import OLDEST_SERVER, make_engine
from service.store.liveness import sever
from service.store.migrate import check, migrate

WATCH_SECONDS = 1.0
START_SECONDS = 60.0
"""How long service and worker wait for a database that is starting as well."""
RETRY_SECONDS = 0.1
DISPOSE_SECONDS = 1.0
CANNOT_CONNECT_NOW = "57P03"
_MAY_PASS = (
    ConnectionError,
    FileNotFoundError,
    TimeoutError,
    socket.gaierror,
    asyncpg.ConnectionDoesNotExistError,
)

_log = get_logger(__name__)


@asynccontextmanager
async def database_url(settings: Settings, *, own: bool) -> AsyncIterator[str]:
    """The address of the database while the block runs.

    The embedded server is started and stopped around the block. With `own` the caller is the
    service itself and must be the only one; otherwise a server that runs already is used as it is.
    """
    if settings.database_url:
        yield settings.database_url
        return
    server = EmbeddedPostgres(settings.data_dir)
    running = None if own else await asyncio.to_thread(server.running_url)
    if running:
        yield running
        return
    starting = asyncio.create_task(asyncio.to_thread(server.start))
    watching = None
    try:
        url = await asyncio.shield(starting)
        watching = asyncio.create_task(_bring_back(server))
        yield url
    finally:
        if watching is not None:
            watching.cancel()
        await asyncio.to_thread(server.stop)
        await asyncio.gather(starting, return_exceptions=True)


async def _bring_back(server: EmbeddedPostgres) -> None:
    """Start a server again that died beside us, as one does when memory runs out."""
    while True:
        await asyncio.sleep(WATCH_SECONDS)
        if await asyncio.to_thread(server.is_running):
            continue
        _log.error("embedded_postgres_died")
        try:
            await asyncio.to_thread(server.start)
        except StartupError as error:
            _log.error("embedded_postgres_not_started", error=str(error))


@asynccontextmanager
async def open_engine(url: str, wait_seconds: float = 0.0) -> AsyncIterator[AsyncEngine]:
    """An engine on a database that answers and is new enough; StartupError says what is wrong.

    A database that is only starting, or not there yet, is waited for.
    """
    engine = make_engine(url)
    try:
        await _met(engine, wait_seconds)
        yield engine
    finally:
        await _disposed(engine)


async def _disposed(engine: AsyncEngine) -> None:
    # Each connection says good-bye politely, and waits for an answer without a deadline.
    try:
        async with asyncio.timeout(DISPOSE_SECONDS):
            await engine.dispose()
    except TimeoutError:
        _log.warning("database_does_not_answer")
        sever(engine)


async def _met(engine: AsyncEngine, wait_seconds: float) -> None:
    clock = SystemClock()
    deadline = clock.monotonic() + wait_seconds
    waits = False
    while True:
        try:
            return await _greet(engine)
        except NotThereError as error:
            if clock.monotonic() >= deadline:
                raise
            if not waits:
                _log.warning("waiting_for_database", seconds=wait_seconds, error=str(error))
            waits = True
        await asyncio.sleep(RETRY_SECONDS)


class NotThereError(StartupError):
    """The database may be there in a moment."""


async def _greet(engine: AsyncEngine) -> None:
    where = engine.url.render_as_string(hide_password=True).replace("+asyncpg", "")
    try:
        async with engine.connect() as connection:
            version = int(await connection.scalar(text("SHOW server_version_num")) or 0) // 10_000
    except (OSError, DBAPIError, TimeoutError) as error:
        cause = getattr(error, "orig", error) or error
        reason = str(cause).splitlines()[0] if str(cause) else type(cause).__name__
        kind = NotThereError if _may_come(cause) else StartupError
        raise kind(f"Cannot reach the database {where}: {reason}.") from None
    if version < OLDEST_SERVER:
        raise StartupError(
            f"The database {where} is Postgres {version}; Kompas needs {OLDEST_SERVER} or newer."
        )


def _may_come(cause: object) -> bool:
    """Whether nobody is there, or somebody who is not ready: both pass when it starts."""
    starting = getattr(cause, "sqlstate", None) == CANNOT_CONNECT_NOW
    return starting or isinstance(cause, _MAY_PASS)


@asynccontextmanager
async def ready_engine(settings: Settings, *, own: bool = False) -> AsyncIterator[AsyncEngine]:
    """An engine on a database with this version's schema.

    The embedded database is migrated on the way; somebody else's is only checked, because its
    operator decides when `kompas migrate` runs. The service itself waits for one that is starting
    beside it.
    """
    wait_seconds = START_SECONDS if own else 0.0
    async with database_url(settings, own=own) as url, open_engine(url, wait_seconds) as engine:
        if settings.database_url:
            await check(engine)
        else:
            await migrate(engine)
        yield engine
