"""A database that is not there yet."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import text

from service.cli.database import open_engine
from service.errors import StartupError
from tests.conftest import Database

ONE = text("SELECT 1")


async def connected(url: str, wait_seconds: float) -> int:
    async with open_engine(url, wait_seconds) as engine, engine.connect() as connection:
        return int(await connection.scalar(ONE) or 0)


async def test_who_waits_for_it_goes_on_when_it_comes(absent: tuple[str, Path, Path]) -> None:
    url, later, socket = absent
    connecting = asyncio.create_task(connected(url, 60))
    done, _ = await asyncio.wait({connecting}, timeout=0.3)
    assert not done
    later.symlink_to(socket)
    assert await connecting == 1


async def test_who_does_not_wait_is_told_at_once(absent: tuple[str, Path, Path]) -> None:
    with pytest.raises(StartupError, match="Cannot reach the database"):
        await connected(absent[0], 0)


async def test_what_no_time_will_mend_is_not_waited_for(database: Database) -> None:
    with pytest.raises(StartupError, match='database "nowhere" does not exist'):
        await asyncio.wait_for(connected(re.sub(r"/\w+\?", "/nowhere?", database.url), 60), 5)


async def test_a_database_that_recovers_is_waited_for(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, refused = asyncpg.connect, [asyncpg.CannotConnectNowError("starting up")] * 2

    async def connect(*args: object, **options: object) -> object:
        if refused:
            raise refused.pop()
        return await real(*args, **options)

    monkeypatch.setattr(asyncpg, "connect", connect)
    assert await connected(database.url, 60) == 1
    assert not refused
