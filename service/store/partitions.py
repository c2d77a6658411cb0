"""Month partitions of the log: made ahead for the usual months, on demand for any other.

A month is made as a table of its own and then attached, which locks nothing that inserts or reads
need; `CREATE TABLE … PARTITION OF` would stop them all. (A CHECK constraint, usual with ATTACH,
saves the scan of a table with rows: this one is empty.)
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import asyncpg
from sqlalchemy.ext.asyncio import AsyncEngine

from service.store import patience
from service.store.engine import connect
from service.store.patience import patiently

LOCK_CLASS = 0x6B6F6D71
LOCK_MONTHS = 1

DAYS_BACK = 31
DAYS_AHEAD = 62

_FIRST_YEAR = 1989
"""Events may be dated from 1990 on, and in the east 1990 begins in December 1989 UTC."""

_EXISTING = """
SELECT c.relname FROM pg_inherits AS i JOIN pg_class AS c ON c.oid = i.inhrelid
WHERE i.inhparent = 'event'::regclass"""

_MAKE = """
CREATE TABLE {name} (LIKE event INCLUDING ALL);
ALTER TABLE event ATTACH PARTITION {name} FOR VALUES FROM ('{start}') TO ('{end}')"""


class Month(NamedTuple):
    """A calendar month in UTC."""

    year: int
    month: int

    @property
    def table(self) -> str:
        """The name of the month's partition, for example `event_y2026m05`."""
        return f"event_y{self.year:04}m{self.month:02}"

    @property
    def start(self) -> datetime:
        """The first instant, aware UTC."""
        return datetime(self.year, self.month, 1, tzinfo=UTC)

    def next(self) -> Month:
        """The month after."""
        return Month(self.year + self.month // 12, self.month % 12 + 1)


def months_between(first: datetime, last: datetime) -> Iterator[Month]:
    """Every month from that of `first` to that of `last` (aware UTC), both included."""
    month, end = Month(first.year, first.month), Month(last.year, last.month)
    while month <= end:
        yield month
        month = month.next()


async def ensure_partitions(
    engine: AsyncEngine, now: datetime, days_back: int = DAYS_BACK, days_ahead: int = DAYS_AHEAD
) -> None:
    """Make the months around `now` that are missing; may run in several processes at once."""
    wanted = [*months_between(now - timedelta(days=days_back), now + timedelta(days=days_ahead))]
    partitions = Partitions()
    connection = await connect(engine, {"lock_timeout": patience.LOCK_TIMEOUT})
    try:
        await patiently(lambda: partitions.make(connection, wanted), "make months")
    finally:
        await connection.close()


class Partitions:
    """The months that are known to have a partition, so that the hot path asks nothing."""

    def __init__(self) -> None:
        self._known: set[tuple[int, int]] = set()

    def missing(self, times: Iterable[datetime], latest: datetime) -> list[Month]:
        """Months of `times` (aware UTC) not known to exist, oldest first.

        Months that no event may be dated in (after that of `latest`, or long ago) are left out:
        such rows are for Postgres to refuse.
        """
        unknown = {(at.year, at.month) for at in times} - self._known
        end = (latest.year, latest.month)
        return [Month(*pair) for pair in sorted(unknown) if pair[0] >= _FIRST_YEAR and pair <= end]

    def forget(self) -> None:
        """Trust nothing: somebody dropped a month."""
        self._known.clear()

    async def make(self, connection: asyncpg.Connection[Any], months: Iterable[Month]) -> None:
        """Make those of `months` that do not exist; each is a transaction of its own."""
        for month in months:
            if (month.year, month.month) not in self._known:
                await self._make(connection, month)

    async def _make(self, connection: asyncpg.Connection[Any], month: Month) -> None:
        async with connection.transaction():
            # One maker at a time, and the question after the lock: two processes that need a
            # month at once must not both make it.
            await connection.execute(f"SELECT pg_advisory_xact_lock({LOCK_CLASS}, {LOCK_MONTHS})")
            existing = {row[0] for row in await connection.fetch(_EXISTING)}
            if month.table not in existing:
                end = month.next().start
                await connection.execute(_MAKE.format(name=month.table, start=month.start, end=end))
        self._known |= {(int(name[7:11]), int(name[12:])) for name in existing}
        self._known.add((month.year, month.month))
