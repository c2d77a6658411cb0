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
from sqlalchemy.ext.asyncio import AsyncEngine

from service.store.engine import writing
from service.store.tables import signing_key, visitor_salt

SALT_BYTES = 32
DAYS_KEPT = 2
"""A salt is deleted two days after its day: from then on nobody can link a visitor hash to it."""


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
        self._today: date | None = None
        self._salts = Salts({})
        self._keys: tuple[SigningKey, ...] = ()

    async def salts(self, today: date) -> Salts:
        """Salts of yesterday, `today` (UTC) and tomorrow, so that every zone's day has one.

        Makes what is missing and deletes what is older. Cached until `today` changes.
        """
        if self._today == today:
            return self._salts
        async with self._lock:
            if self._today != today:
                self._salts = await self._load_salts(today)
                self._today = today
        return self._salts

    async def _load_salts(self, today: date) -> Salts:
        days = [today + timedelta(days=offset) for offset in (-1, 0, 1)]
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
            return Salts({row.day: row.salt for row in found})

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
