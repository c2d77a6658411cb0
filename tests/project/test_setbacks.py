"""Failures: whose fault they are, what is tried next, and what may be told of them."""

from __future__ import annotations

import asyncpg
import pytest
from sqlalchemy.exc import DBAPIError, InterfaceError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from service.project.backlog import LIMIT_BATCHES
from service.project.setbacks import (
    ATTEMPTS,
    LONGEST_REST,
    Setbacks,
    describe,
    is_environmental,
    rest,
)

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


def test_a_chunk_is_halved_until_one_batch_is_left_which_is_parked_in_the_end() -> None:
    setbacks = Setbacks()
    size, tried, now = 100, [], 0.0
    while not setbacks.failed(1, size, now):
        tried.append(size)
        size = min(size, setbacks.limit_batches(1))
        now += 10
    assert tried == [100, 50, 25, 12, 6, 3, *[1] * (ATTEMPTS - 1)]
    assert setbacks.resting(now) == []


def test_a_single_batch_rests_between_attempts_and_only_its_site_does() -> None:
    setbacks = Setbacks()
    setbacks.failed(1, 1, now=0.0)
    assert setbacks.resting(0.1) == [1]
    assert setbacks.resting(1.0) == []
    assert setbacks.limit_batches(2) == LIMIT_BATCHES


def test_after_successes_chunks_grow_again() -> None:
    setbacks = Setbacks()
    setbacks.failed(1, 4, now=0.0)
    sizes = []
    while (size := setbacks.limit_batches(1)) < LIMIT_BATCHES:
        sizes.append(size)
        setbacks.succeeded(1)
    assert sizes == [2, 4, 8, 16, 32, 64, 128, 256, 512]


def test_an_interruption_never_parks() -> None:
    setbacks = Setbacks()
    for turn in range(20):
        setbacks.interrupted(1, 1, now=turn)
    assert setbacks.resting(19 + LONGEST_REST - 0.01) == [1]
    assert setbacks.resting(19 + LONGEST_REST) == []
    assert setbacks.limit_batches(1) == 1
    assert not setbacks.failed(1, 1, now=100.0)


def test_rests_grow_to_a_limit() -> None:
    rests = [rest(failures) for failures in (1, 2, 3, 1000)]
    assert rests == [0.2, 0.4, 0.8, LONGEST_REST]
