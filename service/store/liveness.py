"""Dead connections of the pool are noticed before a statement is lost on them, silent ones soon.

A server that ended or a network that fell silent costs whoever asks next about three seconds, and
nothing but a reconnect when the server is back.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

import asyncpg
from sqlalchemy import Engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.pool import ConnectionPoolEntry

from service.store.failures import CONNECTION_ERRORS

PING_SECONDS = 1.0

_made: WeakKeyDictionary[Engine, WeakSet[asyncpg.Connection[Any]]] = WeakKeyDictionary()

_SILENT_MS = 3_000
# Idle connections are probed as well: one that waits for a long answer sends nothing of its own.
_TCP = (
    (socket.SOL_SOCKET, "SO_KEEPALIVE", 1),
    (socket.IPPROTO_TCP, "TCP_KEEPIDLE", 1),
    (socket.IPPROTO_TCP, "TCP_KEEPINTVL", 1),
    (socket.IPPROTO_TCP, "TCP_KEEPCNT", 3),
    (socket.IPPROTO_TCP, "TCP_USER_TIMEOUT", _SILENT_MS),
)


def watch(engine: AsyncEngine) -> None:
    """Probe every connection of the engine's pool, when it is made and when it is taken."""
    made = _made[engine.sync_engine] = WeakSet()

    def connected(connection: Any, _entry: ConnectionPoolEntry) -> None:
        made.add(connection.driver_connection)
        _probe_often(connection)

    event.listen(engine.sync_engine, "connect", connected)
    event.listen(engine.sync_engine, "checkout", _taken)


def sever(engine: AsyncEngine) -> None:
    """Cut every connection of the engine: whoever waits for an answer on one gets an error.

    To leave a server that hangs. Being cancelled is not enough: a transaction wants to be rolled
    back then, and its connection to be given back, each of which waits for an answer again.
    """
    for connection in list(_made[engine.sync_engine]):
        connection.terminate()


def _probe_often(connection: Any) -> None:
    # The driver has no option for its socket's.
    found = connection.driver_connection._transport.get_extra_info("socket")
    if found.family in {socket.AF_INET, socket.AF_INET6}:
        probe_often(found)


def probe_often(stream: Any) -> None:
    """Have the kernel end a TCP connection whose other side says nothing for three seconds."""
    for level, name, value in _TCP:
        # Not every system knows all of them.
        if hasattr(socket, name):
            stream.setsockopt(level, getattr(socket, name), value)


def _taken(connection: Any, entry: ConnectionPoolEntry, _proxy: DBAPIConnection) -> None:
    """As `pool_pre_ping`, which has no deadline and takes three round trips instead of one."""
    if not entry.info.setdefault("used", False):
        entry.info["used"] = True  # just connected
        return
    try:
        connection.run_async(_ping)
    except CONNECTION_ERRORS as error:
        # Most likely the others are as dead: each would cost somebody the same wait.
        raise InvalidatePoolError("The connection is dead.") from error


async def _ping(connection: asyncpg.Connection[Any]) -> None:
    try:
        async with asyncio.timeout(PING_SECONDS):
            await connection.execute("SELECT 1")
    except CONNECTION_ERRORS:
        # Else its pool would try to say good-bye, for two seconds more.
        connection.terminate()
        raise
