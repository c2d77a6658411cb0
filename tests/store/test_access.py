from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncEngine

from service.domain.access import Principal, Scope
from service.errors import ConflictError, InvalidError, RetryableError
from service.store import access, lookups
from service.store.access import (
    KeyStore,
    bootstrap,
    create_key,
    create_site,
    list_keys,
    list_sites,
    revoke_key,
)
from service.store.engine import make_engine
from tests.clock import FixedClock
from tests.conftest import Database
from tests.proxy import Mode, proxy_to

ADMIN_KEY = "sk_" + "a" * 40


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(datetime(2026, 5, 20, tzinfo=UTC))


@contextmanager
def queries(engine: AsyncEngine) -> Iterator[list[str]]:
    """The SQL that is sent while the block runs."""
    sent: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        sent.append(statement)

    event.listen(engine.sync_engine, "before_cursor_execute", note)
    yield sent
    event.remove(engine.sync_engine, "before_cursor_execute", note)


async def a_key(engine: AsyncEngine, *scopes: Scope, slug: str = "shop") -> str:
    site = await create_site(engine, slug, "Shop", "Europe/Copenhagen", "DKK")
    return await create_key(engine, site.id, "test", frozenset(scopes))


async def test_a_key_stands_for_its_site_and_scopes(database: Database) -> None:
    site = await create_site(database.engine, "shop", "The shop", "Europe/Lisbon", "EUR")
    scopes = frozenset({Scope.READ, Scope.INGEST})
    key = await create_key(database.engine, site.id, "backend", scopes)
    principal = await KeyStore(database.engine).principal(key)
    assert principal is not None
    assert principal == Principal(principal.key_id, site, scopes)
    assert (site.slug, site.timezone, site.currency, len(site.secret)) == (
        "shop", "Europe/Lisbon", "EUR", 32,
    )  # fmt: skip


@pytest.mark.parametrize(("scope", "form"), [(Scope.PUBLIC, "pk"), (Scope.ADMIN, "sk")])
async def test_a_key_is_random_and_only_its_digest_is_kept(
    database: Database, scope: Scope, form: str
) -> None:
    key = await a_key(database.engine, scope)
    assert re.fullmatch(rf"{form}_[\w-]{{43}}", key)
    async with database.engine.connect() as connection:
        stored = str((await connection.execute(text("SELECT * FROM api_key"))).all())
    assert key[:11] in stored
    assert key[12:] not in stored


@pytest.mark.parametrize("key", ["", "pk_", "sk_" + "x" * 43, "x" * 5_000, "\ud800", "\x00"])
async def test_an_unknown_key_stands_for_nobody(database: Database, key: str) -> None:
    await a_key(database.engine, Scope.READ)
    assert await KeyStore(database.engine).principal(key) is None


async def test_what_may_be_seen_by_anybody_must_not_read(database: Database) -> None:
    site = await create_site(database.engine, "shop", "Shop", "UTC", "DKK")
    for scopes in (frozenset({Scope.PUBLIC, Scope.READ}), frozenset[Scope]()):
        with pytest.raises(InvalidError):
            await create_key(database.engine, site.id, "x", scopes)
    assert await list_keys(database.engine) == []


async def test_a_slug_is_taken_once(database: Database) -> None:
    made = await create_site(database.engine, "shop", "Shop", "UTC", "DKK")
    with pytest.raises(ConflictError):
        await create_site(database.engine, "shop", "Other", "UTC", "DKK")
    [row] = await list_sites(database.engine)
    assert (row.id, row.slug, row.name, row.timezone, row.currency) == (
        made.id, "shop", "Shop", "UTC", "DKK",
    )  # fmt: skip
    assert row.created_at.tzinfo is not None


async def test_a_site_is_found_as_soon_as_it_is_made(database: Database) -> None:
    store = KeyStore(database.engine)
    assert await store.site("shop") is None
    assert await store.site("\x00") is None
    made = await create_site(database.engine, "shop", "Shop", "UTC", "DKK")
    assert await store.site("shop") == made


async def test_keys_are_listed_and_revoked_once(database: Database) -> None:
    await a_key(database.engine, Scope.READ, Scope.INGEST)
    [row] = await list_keys(database.engine)
    assert (row.site, row.name, row.scopes, row.revoked_at) == (
        "shop", "test", ["ingest", "read"], None,
    )  # fmt: skip
    assert await revoke_key(database.engine, row.id)
    assert not await revoke_key(database.engine, row.id)
    assert not await revoke_key(database.engine, 999)
    [row] = await list_keys(database.engine)
    assert row.revoked_at >= row.created_at


# --- The cache ----------------------------------------------------------------------------------


async def test_a_known_key_costs_no_query(database: Database, clock: FixedClock) -> None:
    store = KeyStore(database.engine, clock)
    key = await a_key(database.engine, Scope.READ)
    with queries(database.engine) as sent:
        found = await asyncio.gather(*(store.principal(key) for _ in range(50)))
        assert len(sent) == 1
        clock.advance(1.9)
        found.append(await store.principal(key))
        assert len(sent) == 1
    assert None not in found


async def test_an_older_answer_is_renewed_behind_the_request(
    database: Database, clock: FixedClock
) -> None:
    store = KeyStore(database.engine, clock)
    key = await a_key(database.engine, Scope.READ)
    await store.principal(key)
    [row] = await list_keys(database.engine)
    await revoke_key(database.engine, row.id)
    clock.advance(3)
    assert await store.principal(key) is not None
    answers = []
    async with asyncio.timeout(5):
        while None not in answers:
            answers.append(await store.principal(key))
            await asyncio.sleep(0.005)


async def test_a_revoked_key_is_not_used_after_five_seconds(
    database: Database, clock: FixedClock
) -> None:
    store = KeyStore(database.engine, clock)
    key = await a_key(database.engine, Scope.READ)
    await store.principal(key)
    [row] = await list_keys(database.engine)
    await revoke_key(database.engine, row.id)
    clock.advance(5)
    assert await store.principal(key) is None


async def test_an_unknown_key_is_asked_for_once_in_a_while(
    database: Database, clock: FixedClock
) -> None:
    store = KeyStore(database.engine, clock)
    with queries(database.engine) as sent:
        for _ in range(5):
            assert await store.principal("sk_unknown") is None
        assert len(sent) == 1
        clock.advance(2)
        assert await store.principal("sk_unknown") is None
        assert len(sent) == 2


async def test_a_flood_of_unknown_keys_is_bounded(
    database: Database, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookups, "MOST_MISSING", 100)
    monkeypatch.setattr(lookups, "MOST_WAITING", 1_000)
    store = KeyStore(database.engine, clock)
    key = await a_key(database.engine, Scope.READ)
    await store.principal(key)
    with queries(database.engine) as sent:
        flood = [store.principal(f"sk_{n}") for n in range(1_200)]
        answers = await asyncio.gather(*flood, return_exceptions=True)
        assert len(sent) <= 3
        assert [answer for answer in answers if answer is not None and type(answer) is not
                RetryableError] == []  # fmt: skip
        assert sum(answer is not None for answer in answers) == 200
        sent.clear()
        assert await store.principal(key) is not None
        assert await store.principal("sk_999") is None
        assert sent == []
    assert len(store._principals._missing) == 100


async def test_known_keys_outlive_an_outage_of_the_database(
    database: Database, clock: FixedClock
) -> None:
    key = await a_key(database.engine, Scope.READ)
    async with proxy_to(database.url) as proxy:
        engine = make_engine(proxy.url)
        store = KeyStore(engine, clock)
        assert await store.principal(key) is not None
        proxy.refuse()
        for _ in range(20):
            clock.advance(30)
            assert await store.principal(key) is not None
        with pytest.raises(RetryableError):
            await store.principal("sk_unknown")
        clock.advance(86_400)
        with pytest.raises(RetryableError):
            await store.principal(key)
        proxy.mend()
        clock.advance(1)
        assert await store.principal(key) is not None
        await engine.dispose()


async def test_a_started_store_knows_keys_that_nobody_used(
    database: Database, clock: FixedClock
) -> None:
    site = await create_site(database.engine, "shop", "Shop", "UTC", "DKK")
    revoked, *keys = [
        await create_key(database.engine, site.id, "test", frozenset({Scope.PUBLIC}))
        for _ in range(3)
    ]
    [row, *_] = await list_keys(database.engine)
    await revoke_key(database.engine, row.id)
    async with proxy_to(database.url) as proxy:
        engine = make_engine(proxy.url)
        store = KeyStore(engine, clock)
        with queries(engine) as sent:
            await store.start()
        assert len(sent) == 1
        proxy.refuse()
        for seconds in (0, 60, 3_600):
            clock.advance(seconds)
            found = [await store.principal(key) for key in keys]
            assert [principal and principal.site for principal in found] == [site, site]
        with pytest.raises(RetryableError):
            await store.principal(revoked)
        await engine.dispose()


async def test_a_key_that_is_known_from_the_start_is_revoked_like_others(
    database: Database, clock: FixedClock
) -> None:
    key = await a_key(database.engine, Scope.READ)
    store = KeyStore(database.engine, clock)
    await store.start()
    [row] = await list_keys(database.engine)
    await revoke_key(database.engine, row.id)
    clock.advance(5)
    assert await store.principal(key) is None


async def test_the_newest_keys_are_known_where_there_are_too_many(
    database: Database, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookups, "MOST_FOUND", 2)
    monkeypatch.setattr(access, "MOST_FOUND", 2)
    keys = [await a_key(database.engine, Scope.READ, slug=f"s-{n}") for n in range(4)]
    store = KeyStore(database.engine, clock)
    await store.start()
    with queries(database.engine) as sent:
        assert None not in [await store.principal(key) for key in keys[2:]]
        assert sent == []
        assert await store.principal(keys[0]) is not None
        assert len(sent) == 1
        assert await store.principal(keys[3]) is not None
        assert len(sent) == 1, "the oldest made room"


async def test_a_known_key_waits_for_no_server_that_hangs(
    database: Database, clock: FixedClock
) -> None:
    key = await a_key(database.engine, Scope.READ)
    loop = asyncio.get_running_loop()
    async with proxy_to(database.url) as proxy:
        engine = make_engine(proxy.url)
        store = KeyStore(engine, clock)
        await store.principal(key)
        proxy.mode = Mode.SWALLOW
        clock.advance(5)
        started = loop.time()
        assert await store.principal(key) is not None
        first = loop.time() - started
        for _ in range(100):
            assert await store.principal(key) is not None
        assert first < 0.5
        assert loop.time() - started - first < 0.1
        proxy.mend()
        await engine.dispose()


async def test_a_key_that_is_revoked_during_an_outage_stops_working_after_it(
    database: Database, clock: FixedClock
) -> None:
    key = await a_key(database.engine, Scope.READ)
    [row] = await list_keys(database.engine)
    async with proxy_to(database.url) as proxy:
        engine = make_engine(proxy.url)
        store = KeyStore(engine, clock)
        await store.principal(key)
        proxy.refuse()
        clock.advance(60)
        assert await store.principal(key) is not None
        await revoke_key(database.engine, row.id)
        proxy.mend()
        clock.advance(1)
        answers = []
        async with asyncio.timeout(5):
            while None not in answers:
                answers.append(await store.principal(key))
                await asyncio.sleep(0.005)
        await engine.dispose()


async def test_a_cancelled_question_leaves_the_others_their_answer(
    database: Database, clock: FixedClock
) -> None:
    store = KeyStore(database.engine, clock)
    key = await a_key(database.engine, Scope.READ)
    gone, waiting = [asyncio.create_task(store.principal(key)) for _ in range(2)]
    await asyncio.sleep(0)
    gone.cancel()
    assert await waiting is not None


# --- The first start ----------------------------------------------------------------------------


async def test_the_first_start_makes_a_site_and_two_keys(database: Database) -> None:
    first = await bootstrap(database.engine, "Europe/Copenhagen", "DKK", None)
    assert first is not None
    assert first.public_key is not None
    assert first.currency == "DKK"
    assert first.secret_key not in repr(first)
    store = KeyStore(database.engine)
    public, secret = [await store.principal(k) for k in (first.public_key, first.secret_key)]
    assert public is not None
    assert secret is not None
    assert (public.site.slug, public.scopes) == ("default", {Scope.PUBLIC})
    assert (secret.site, secret.scopes) == (public.site, set(Scope) - {Scope.PUBLIC})
    assert await bootstrap(database.engine, "UTC", "EUR", None) is None
    assert len(await list_keys(database.engine)) == 2


async def test_processes_that_start_at_once_make_everything_once(database: Database) -> None:
    starts = [bootstrap(database.engine, "Europe/Copenhagen", "DKK", None) for _ in range(4)]
    made = await asyncio.gather(*starts)
    assert sum(first is not None for first in made) == 1
    assert len(await list_sites(database.engine)) == 1
    assert len(await list_keys(database.engine)) == 2


async def test_an_operators_key_is_made_at_every_start_that_lacks_it(database: Database) -> None:
    first = await bootstrap(database.engine, "UTC", "DKK", ADMIN_KEY)
    assert first is not None
    assert first.public_key is None
    principal = await KeyStore(database.engine).principal(ADMIN_KEY)
    assert principal is not None
    assert (principal.site.slug, principal.scopes) == ("default", {Scope.ADMIN})
    assert await bootstrap(database.engine, "UTC", "DKK", ADMIN_KEY) is None
    assert await bootstrap(database.engine, "UTC", "DKK", ADMIN_KEY.upper()) is None
    keys = await list_keys(database.engine)
    assert len(keys) == 2
    await revoke_key(database.engine, keys[0].id)
    await bootstrap(database.engine, "UTC", "DKK", ADMIN_KEY)
    assert await KeyStore(database.engine).principal(ADMIN_KEY) is None


async def test_an_operators_key_needs_no_site_called_default(database: Database) -> None:
    await create_site(database.engine, "shop", "Shop", "UTC", "DKK")
    assert await bootstrap(database.engine, "UTC", "DKK", None) is None
    assert await bootstrap(database.engine, "UTC", "DKK", ADMIN_KEY) is None
    principal = await KeyStore(database.engine).principal(ADMIN_KEY)
    assert principal is not None
    assert principal.site.slug == "shop"
    assert [row.slug for row in await list_sites(database.engine)] == ["shop"]
