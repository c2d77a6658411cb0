"""How long the lane is patient, and with what."""

from __future__ import annotations

import asyncpg
import pytest

from service.ingest.lane import FALLING_BACK, Patience

LOST = [
    asyncpg.ConnectionDoesNotExistError("connection was closed"),
    asyncpg.AdminShutdownError("terminating connection"),
    asyncpg.InterfaceError("connection is closed"),
    ConnectionResetError(),
    BrokenPipeError(),
]
BUSY = [asyncpg.DeadlockDetectedError("deadlock"), asyncpg.SerializationError("serialization")]
ILL = [
    TimeoutError(),
    asyncpg.QueryCanceledError("statement timeout"),
    asyncpg.DiskFullError("no space"),
    asyncpg.ReadOnlySQLTransactionError("a standby"),
    asyncpg.CannotConnectNowError("starting up"),
    asyncpg.TooManyConnectionsError("too many"),
    asyncpg.UndefinedTableError("no such table"),
    asyncpg.LockNotAvailableError("lock timeout"),
]


def name(error: object) -> str:
    return type(error).__name__


@pytest.mark.parametrize("error", LOST, ids=name)
def test_a_connection_that_broke_is_replaced_once(error: Exception) -> None:
    assert FALLING_BACK.allows(error, 0.9, connected=True)
    assert not FALLING_BACK.allows(error, 1.0, connected=True)
    assert not FALLING_BACK.allows(error, 0.0, connected=False)


@pytest.mark.parametrize("error", BUSY, ids=name)
def test_what_others_stood_in_the_way_of_is_tried_again(error: Exception) -> None:
    for connected in (True, False):
        assert FALLING_BACK.allows(error, 0.9, connected=connected)
        assert not FALLING_BACK.allows(error, 1.0, connected=connected)


@pytest.mark.parametrize("error", ILL, ids=name)
def test_everything_else_is_for_the_spool(error: Exception) -> None:
    assert not FALLING_BACK.allows(error, 0.0, connected=True)


@pytest.mark.parametrize("error", [*LOST, *BUSY, *ILL], ids=name)
def test_without_a_spool_everything_is_tried_until_the_end(error: Exception) -> None:
    patience = Patience()
    assert patience.allows(error, 1.9, connected=False)
    assert not patience.allows(error, 2.0, connected=True)


def test_a_server_that_hangs_costs_little_more_than_a_second() -> None:
    assert FALLING_BACK.limit <= 1.2
