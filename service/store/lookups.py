"""A cache in front of a table that is asked on every request: keys, sites.

What is found is answered at once, and asked again behind the request's back when it is some
seconds old, so the hot path waits for no query. What is not found is asked for in one query at a
time, however many wait: a flood of unknown keys costs one connection, and pushes nothing known out.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from typing import Generic, TypeVar

from service.errors import RetryableError
from service.kit.clock import Clock
from service.kit.log import get_logger
from service.store.failures import describe

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

FRESH_SECONDS = 2.0
"""A value of this age is asked for again, while it goes on being used."""
STALE_SECONDS = 5.0
"""A value of this age is not used any more, unless the database does not answer."""
KNOWN_SECONDS = 0.2
"""So long a known value is waited for before it is used although it is stale."""
OUTAGE_SECONDS = 86_400.0
"""How long a known value outlives a database that does not answer."""
QUERY_SECONDS = 1.0
RETRY_SECONDS = 1.0
"""How soon a database that did not answer is asked again."""

UNANSWERED = "Keys cannot be looked up at the moment."

MOST_FOUND = 20_000
MOST_MISSING = 20_000
MOST_WAITING = 5_000
MOST_PER_QUERY = 500

_log = get_logger(__name__)


class Lookups(Generic[K, V]):
    """Values by key from `load`, which takes some keys and answers those it found.

    A key that was not found is not asked for again for `missing_seconds`.
    """

    def __init__(
        self,
        load: Callable[[Sequence[K]], Awaitable[Mapping[K, V]]],
        clock: Clock,
        missing_seconds: float,
    ) -> None:
        self._load = load
        self._clock = clock
        self._missing_seconds = missing_seconds
        self._found: dict[K, tuple[float, V]] = {}  # and when it was asked for
        self._missing: dict[K, float] = {}  # until when it is not asked for again
        self._waiting: dict[K, asyncio.Future[V | None]] = {}
        self._asking: asyncio.Task[None] | None = None
        self._loading: set[asyncio.Task[Mapping[K, V]]] = set()
        self._retry_at: float | None = None  # while the database does not answer

    def know(self, found: Mapping[K, V]) -> None:
        """As if these had been asked for and found just now; the first is the first to go."""
        now = self._clock.monotonic()
        for key, value in found.items():
            self._keep(key, value, now)

    async def get(self, key: K) -> V | None:
        """The value, or None when there is none; RetryableError when nobody can say."""
        now = self._clock.monotonic()
        kept = self._found.get(key)
        if kept is None:
            if now < self._missing.get(key, now):
                return None
            return await self._answer(key)
        at, value = kept
        age = now - at
        if age < FRESH_SECONDS:
            return value
        if age < STALE_SECONDS or (self._retry_at is not None and age < OUTAGE_SECONDS):
            self._ask(key)
            return value
        return await self._renewed(key, value, age)

    async def _renewed(self, key: K, value: V, age: float) -> V | None:
        """What the database says, or the known value when it does not answer soon."""
        try:
            async with asyncio.timeout(None if age >= OUTAGE_SECONDS else KNOWN_SECONDS):
                return await self._answer(key)
        except (RetryableError, TimeoutError):
            if age >= OUTAGE_SECONDS:
                raise
            if self._retry_at is None:
                # The others need not wait for it as well.
                self._retry_at = self._clock.monotonic() + RETRY_SECONDS
            return value

    def expire(self) -> None:
        """Use nothing any more that was found before now, unless the database does not answer."""
        old = self._clock.monotonic() - STALE_SECONDS
        self._found = {key: (min(at, old), value) for key, (at, value) in self._found.items()}

    async def _answer(self, key: K) -> V | None:
        asked = self._ask(key)
        if asked is None:
            raise RetryableError(UNANSWERED, code="overloaded" if self._retry_at is None else None)
        # Shielded: others may wait for the same answer.
        return await asyncio.shield(asked)

    def _ask(self, key: K) -> asyncio.Future[V | None] | None:
        waiting = self._waiting.get(key)
        if waiting is None and len(self._waiting) < MOST_WAITING and self._may_ask():
            waiting = self._waiting[key] = asyncio.get_running_loop().create_future()
            if self._asking is None:
                self._asking = asyncio.create_task(self._ask_all())
        return waiting

    def _may_ask(self) -> bool:
        return self._retry_at is None or self._clock.monotonic() >= self._retry_at

    async def _ask_all(self) -> None:
        try:
            while self._waiting:
                asked = dict(list(self._waiting.items())[:MOST_PER_QUERY])
                try:
                    found = await self._loaded(list(asked))
                except Exception as error:
                    self._fail(asked, error)
                else:
                    self._learn(asked, found)
        finally:
            self._asking = None
            for waiting in self._waiting.values():
                waiting.cancel()
            self._waiting.clear()

    async def _loaded(self, keys: Sequence[K]) -> Mapping[K, V]:
        loading = asyncio.ensure_future(self._load(keys))
        self._loading.add(loading)
        loading.add_done_callback(self._loading.discard)
        done, _ = await asyncio.wait({loading}, timeout=QUERY_SECONDS)
        if not done:
            # To cancel it may take seconds itself: a connection wants to be closed politely.
            loading.cancel()
            raise TimeoutError
        return loading.result()

    def _learn(self, asked: Mapping[K, asyncio.Future[V | None]], found: Mapping[K, V]) -> None:
        now = self._clock.monotonic()
        self._retry_at = None
        for key, waiting in asked.items():
            del self._waiting[key]
            value = found.get(key)
            self._keep(key, value, now)
            if not waiting.done():
                waiting.set_result(value)

    def _keep(self, key: K, value: V | None, now: float) -> None:
        # Taken out first, so that the oldest is the first one to go.
        self._found.pop(key, None)
        self._missing.pop(key, None)
        if value is None:
            _put(self._missing, key, now + self._missing_seconds, MOST_MISSING)
        else:
            _put(self._found, key, (now, value), MOST_FOUND)

    def _fail(self, asked: Mapping[K, asyncio.Future[V | None]], error: Exception) -> None:
        self._retry_at = self._clock.monotonic() + RETRY_SECONDS
        _log.warning("lookup_failed", error=describe(error))
        for key, waiting in asked.items():
            del self._waiting[key]
            if not waiting.done():
                waiting.set_exception(RetryableError(UNANSWERED))
                # A question asked behind a request's back has nobody who would take the error.
                waiting.exception()


T = TypeVar("T")


def _put(kept: dict[K, T], key: K, value: T, most: int) -> None:
    kept[key] = value
    if len(kept) > most:
        del kept[next(iter(kept))]
