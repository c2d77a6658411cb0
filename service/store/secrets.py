"""Secrets that live in the database: daily visitor salts and the keys that sign mail tokens.

Both are made by whoever needs them first and are the same for every process.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.ext.asyncio import AsyncEngine

from service.errors import RetryableError
from service.kit.log import get_logger
from service.store.engine import writing
from service.store.failures import describe
from service.store.tables import signing_key, visitor_salt

SALT_BYTES = 32
DAYS_AHEAD = 2
"""Salts are made and loaded so early that a day begins without the database."""
LOAD_SECONDS = 1.0
RETRY_SECONDS = 30.0
DAYS_KEPT = 2
"""A salt is deleted two days after its day: from then on nobody can link a visitor hash to it."""

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Salts:
    """The salts of the days around now; a visitor hash takes the one of the site's local day."""

    by_day: Mapping[date, bytes]

    def of(self, day: date, today: date) -> bytes:
        """The salt of `day`, or today's for an event that comes in days late."""
        salt = self.by_day.get(day)
        return self.by_day[today] if salt is None else salt


@dataclass(frozen=True, slots=True)
class SigningKey:
    """One key of the rotation list: the newest signs, all of them verify."""

    id: int
    secret: bytes


class Vault:
    """Loads and caches the secrets of one database."""

    def __init__(self, engine: AsyncEngine) -> None:
        self._engine = engine
        self._lock = asyncio.Lock()
        self._salts = Salts({})
        self._loaded: date | None = None  # for which day the database was asked
        self._loading: asyncio.Task[None] | None = None
        self._retry_at = 0.0
        self._keys: tuple[SigningKey, ...] = ()

    async def salts(self, today: date) -> Salts:
        """Salts of yesterday, `today` (UTC) and the two days to come, so that every zone's day
        has one.

        Makes what is missing and deletes what is older, once a day and behind the caller's back if
        today's is known: then nothing waits for the database, and an outage of more than a day is
        outlived. RetryableError when today's is not known and the database does not answer.
        """
        if today not in self._salts.by_day:
            await self._load_now(today)
        if self._loaded != today and self._loading is None and self._loop_time() >= self._retry_at:
            self._loading = asyncio.create_task(self._load_behind(today))
        return self._salts

    @staticmethod
    def _loop_time() -> float:
        return asyncio.get_running_loop().time()

    async def _load_now(self, today: date) -> None:
        async with self._lock:
            if today in self._salts.by_day:
                return
            try:
                async with asyncio.timeout(LOAD_SECONDS):
                    await self._load_salts(today)
            except (OSError, DBAPIError, PoolTimeoutError) as error:
                _log.warning("salts_not_loaded", error=describe(error))
                raise RetryableError("The day's secrets cannot be loaded at the moment.") from error

    async def _load_behind(self, today: date) -> None:
        try:
            async with self._lock:
                await self._load_salts(today)
        except Exception as error:
            _log.warning("salts_not_loaded", error=describe(error))
            self._retry_at = self._loop_time() + RETRY_SECONDS
        finally:
            self._loading = None

    async def _load_salts(self, today: date) -> None:
        days = [today + timedelta(days=offset) for offset in range(-1, DAYS_AHEAD + 1)]
        rows = [{"day": day, "salt": secrets.token_bytes(SALT_BYTES)} for day in days]
        async with writing(self._engine) as connection:
            await connection.execute(insert(visitor_salt).values(rows).on_conflict_do_nothing())
            await connection.execute(
                delete(visitor_salt).where(visitor_salt.c.day < today - timedelta(days=DAYS_KEPT))
            )
        async with self._engine.connect() as connection:
            found = await connection.execute(
                select(visitor_salt.c.day, visitor_salt.c.salt).where(visitor_salt.c.day.in_(days))
            )
            self._salts = Salts({row.day: row.salt for row in found})
        self._loaded = today

    async def signing_keys(self) -> tuple[SigningKey, ...]:
        """All signing keys, newest first; makes the first one. Cached for the process's life."""
        async with self._lock:
            if not self._keys:
                self._keys = await self._load_keys()
        return self._keys

    async def _load_keys(self) -> tuple[SigningKey, ...]:
        first = {"id": 1, "secret": secrets.token_bytes(SALT_BYTES)}
        async with writing(self._engine) as connection:
            known = await connection.scalar(select(func.count()).select_from(signing_key))
            if not known:
                await connection.execute(insert(signing_key).values(first).on_conflict_do_nothing())
        async with self._engine.connect() as connection:
            found = await connection.execute(
                select(signing_key.c.id, signing_key.c.secret).order_by(signing_key.c.id.desc())
            )
            return tuple(SigningKey(row.id, row.secret) for row in found)
