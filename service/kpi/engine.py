"""The KPI engine: a question in, exact answers out, all from one snapshot of the database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Protocol

from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from service.domain.access import Site
from service.kit.clock import Clock
from service.kpi.answer import Answer
from service.kpi.assemble import assembled
from service.kpi.catalogue import Catalogue
from service.kpi.find import Found, find, unknown
from service.kpi.plan import Plan, plan, wait_seconds
from service.kpi.query import KpiQuery
from service.kpi.run import LISTENER
from service.store.engine import beside
from service.store.freshness import reading_projected

HeldSince = Callable[[], datetime | None]


class Definitions(Protocol):
    """Where the engine finds the catalogue: users may add to it while it runs."""

    @property
    def catalogue(self) -> Catalogue:
        """The catalogue as it was last seen."""
        ...

    async def current(self) -> Catalogue:
        """The catalogue as it is."""
        ...


class KpiEngine:
    """Answers questions about the KPIs of a catalogue.

    `read_wait_seconds` is how long an answer waits, by default, for what was committed before the
    question to be projected. `held_since` says since when there are events that were acknowledged
    and are not in the database yet.
    """

    def __init__(
        self,
        engine: AsyncEngine,
        definitions: Definitions,
        clock: Clock,
        read_wait_seconds: float,
        held_since: HeldSince = lambda: None,
    ) -> None:
        self._engine = engine
        self._definitions = definitions
        self._clock = clock
        self._read_wait_seconds = read_wait_seconds
        self._held_since = held_since

    @property
    def catalogue(self) -> Catalogue:
        """The catalogue as it was last seen."""
        return self._definitions.catalogue

    async def definitions(self) -> Catalogue:
        """The catalogue as it is."""
        return await self._definitions.current()

    async def plan(self, site: Site, query: KpiQuery) -> Plan:
        """What a query asks for, checked.

        Raises NotFoundError for an unknown KPI, InvalidError for what cannot be answered.
        """
        return plan(await self._definitions.current(), site, query, self._clock.now())

    async def answer(self, site: Site, query: KpiQuery) -> list[Answer]:
        """One answer for each KPI of the query, in its order; raises as `plan` does."""
        asked = await self.plan(site, query)
        wait = wait_seconds(query, self._read_wait_seconds)
        # Asked first: what comes into the database meanwhile is in the snapshot, or waits there.
        held_since = self._held_since()
        snapshot = reading_projected(self._engine, site.id, wait, self._clock)
        async with snapshot as (connection, as_of):
            found = await self._find(connection, asked)
            never = await unknown(connection, asked, found)
        as_of = as_of if held_since is None else min(as_of, held_since)
        answers = {
            one.kpi.id: assembled(asked, one, result, never, as_of)
            for result in found
            for one in result.period.asked
        }
        return [answers[one.kpi.id] for one in asked.order]

    async def _find(self, connection: AsyncConnection, asked: Plan) -> list[Found]:
        # Whoever listens wants to know how long a statement takes alone.
        if not (asked.grain and asked.by) or LISTENER.get() is not None:
            return [await find(connection, None, asked, period) for period in asked.periods]
        async with beside(self._engine, connection) as second:
            return [await find(connection, second, asked, period) for period in asked.periods]
