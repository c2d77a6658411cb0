"""The vault: salts that begin and end with their days, and the keys that sign."""

from __future__ import annotations

import asyncio
from datetime import date, timedelta

import pytest
from sqlalchemy import insert, select

from service.errors import RetryableError
from service.store.engine import make_engine
from service.store.secrets import Salts, Vault
from service.store.tables import signing_key, visitor_salt
from tests.conftest import Database
from tests.proxy import Mode, proxy_to

TODAY = date(2026, 5, 20)


async def test_every_process_has_the_same_secrets(database: Database) -> None:
    vaults = [Vault(database.engine) for _ in range(4)]
    salts = await asyncio.gather(*(vault.salts(TODAY) for vault in vaults))
    assert all(each == salts[0] for each in salts)
    days = [TODAY + timedelta(days=offset) for offset in (-1, 0, 1, 2)]
    assert sorted(salts[0].by_day) == days
    assert len(set(salts[0].by_day.values())) == 4
    keys = await asyncio.gather(*(vault.signing_keys() for vault in vaults))
    assert all(each == keys[0] for each in keys)
    assert len(keys[0]) == 1
    assert len(keys[0][0].secret) == 32


async def until(vault: Vault, today: date, day: date) -> Salts:
    """The salts of `today`, as soon as that of `day` is among them."""
    async with asyncio.timeout(5):
        while True:
            salts = await vault.salts(today)
            if day in salts.by_day:
                return salts
            await asyncio.sleep(0.005)


async def test_a_salt_is_deleted_two_days_after_its_day(database: Database) -> None:
    vault = Vault(database.engine)
    old = await vault.salts(TODAY)
    then = TODAY + timedelta(days=2)
    later = await until(vault, then, then + timedelta(days=2))
    assert later.by_day[TODAY + timedelta(days=1)] == old.by_day[TODAY + timedelta(days=1)]
    assert later.of(TODAY, then) == later.by_day[then]
    async with database.engine.connect() as connection:
        kept = await connection.scalars(select(visitor_salt.c.day).order_by(visitor_salt.c.day))
        assert list(kept) == [TODAY + timedelta(days=offset) for offset in range(5)]


async def test_salts_are_asked_for_once_a_day(database: Database) -> None:
    vault = Vault(database.engine)
    first = await vault.salts(TODAY)
    async with database.engine.begin() as connection:
        await connection.execute(visitor_salt.delete())
    assert await vault.salts(TODAY) is first


async def test_a_day_begins_without_the_database(database: Database) -> None:
    async with proxy_to(database.url) as proxy:
        engine = make_engine(proxy.url)
        vault = Vault(engine)
        first = await vault.salts(TODAY)
        proxy.mode = Mode.SWALLOW
        loop = asyncio.get_running_loop()
        started = loop.time()
        for then in (TODAY + timedelta(days=1), TODAY + timedelta(days=2)):
            assert (await vault.salts(then)).by_day[then] == first.by_day[then]
        assert loop.time() - started < 0.2
        proxy.refuse()
        then = TODAY + timedelta(days=3)
        with pytest.raises(RetryableError):
            await vault.salts(then)
        proxy.mend()
        assert then in (await vault.salts(then)).by_day
        await engine.dispose()


async def test_the_newest_signing_key_comes_first(database: Database) -> None:
    keys = [{"id": n, "secret": bytes([n])} for n in (2, 1, 3)]
    async with database.engine.begin() as connection:
        await connection.execute(insert(signing_key), keys)
    found = await Vault(database.engine).signing_keys()
    assert [key.id for key in found] == [3, 2, 1]
