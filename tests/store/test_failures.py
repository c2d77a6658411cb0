"""Failures of the database: whose fault they are, and what may be told of them."""

from __future__ import annotations

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError, InterfaceError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from service.store.failures import describe, is_environmental

PASSING = (
    asyncpg.AdminShutdownError("terminating connection"),
    asyncpg.ConnectionDoesNotExistError("connection was closed"),
    asyncpg.DeadlockDetectedError("deadlock"),
    asyncpg.DiskFullError("no space"),
    asyncpg.LockNotAvailableError("lock timeout"),
    asyncpg.QueryCanceledError("statement timeout"),
    asyncpg.InternalServerError("a worker is away"),
    asyncpg.InterfaceError("connection is closed"),
    ConnectionRefusedError(),
    TimeoutError(),
    PoolTimeoutError(),
    InterfaceError("SELECT", {}, Exception("gone")),
)
LASTING = (
    asyncpg.InvalidTextRepresentationError("no uuid"),
    asyncpg.NumericValueOutOfRangeError("bigint out of range"),
    asyncpg.UndefinedTableError("no such table"),
    ValueError(),
)


@pytest.mark.parametrize("error", PASSING, ids=lambda error: type(error).__name__)
def test_what_will_pass(error: Exception) -> None:
    assert is_environmental(error)
    if isinstance(error, asyncpg.PostgresError):
        assert is_environmental(DBAPIError("SELECT", {}, error))


@pytest.mark.parametrize("error", LASTING, ids=lambda error: type(error).__name__)
def test_what_will_not(error: Exception) -> None:
    assert not is_environmental(error)


def test_a_description_quotes_nobody() -> None:
    error = asyncpg.InvalidTextRepresentationError("invalid input: 'jane@shop.example'")
    assert describe(error) == "InvalidTextRepresentationError 22P02"
    assert "jane" not in describe(DBAPIError("SELECT 'jane'", {"name": "jane"}, error))
