"""Reads what one period of a plan needs: the total, and its parts where they are asked for."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncConnection

from service.kit.waiting import both
from service.kpi.cells import Cell, Cells, Slice, sum_of
from service.kpi.evidence import unknown_quantities
from service.kpi.formula import Distinct, Quantity, TermKey
from service.kpi.plan import Period, Plan, days_of
from service.kpi.read import read
from service.kpi.windows import Window


@dataclass(frozen=True, slots=True)
class Whole:
    """A window's total; `days` are its days' cells, empty ones included, where they were needed."""

    total: Cell
    days: tuple[Cell, ...] | None


@dataclass(frozen=True, slots=True)
class Found:
    """What was read for one period; `before` is the window compared with."""

    period: Period
    now: Whole
    series: Cells | None
    breakdown: Cells | None
    before: Whole | None


async def find(
    connection: AsyncConnection, second: AsyncConnection | None, asked: Plan, period: Period
) -> Found:
    """Everything that answers of the period are made of.

    With a second connection in the same snapshot the breakdown is read at the same time, which
    takes about as long as all the rest.
    """
    reader = _Reader(connection, asked, period)
    if second is not None:
        cutting = _Reader(second, asked, period).breakdown()
        breakdown, rest = await both(cutting, reader.rest(None))
    else:
        breakdown = await reader.breakdown()
        rest = await reader.rest(breakdown)
    series, now, before = rest
    return Found(period, now, series, breakdown, before)


async def unknown(
    connection: AsyncConnection, asked: Plan, found: Collection[Found]
) -> frozenset[Quantity]:
    """Quantities that the site never counts; what was found in a window needs no second look."""
    seen = {quantity for result in found for quantity, _ in result.now.total.amounts}
    wanted = {quantity for period in asked.periods for quantity, _ in period.whole_keys}
    unseen = wanted - seen
    return await unknown_quantities(connection, asked.site.id, unseen) if unseen else frozenset()


@dataclass(frozen=True, slots=True)
class _Reader:
    connection: AsyncConnection
    asked: Plan
    period: Period

    async def breakdown(self) -> Cells | None:
        """The window by the dimensions that are asked for."""
        if not self.asked.by:
            return None
        return await self.read(_span(self.period.window), self.period.keys, self.asked.by)

    async def rest(self, breakdown: Cells | None) -> tuple[Cells | None, Whole, Whole | None]:
        """The series, the total and that of the window compared with."""
        period = self.period
        series = before = None
        if self.asked.grain is not None:
            series = await self.read(period.bounds, period.keys)
        now = await self.whole(period.window, period.whole_keys, series, breakdown)
        if period.before is not None:
            before = await self.whole(period.before, period.keys)
        return series, now, before

    async def read(
        self, bounds: tuple[datetime, ...], keys: Collection[TermKey], by: tuple[str, ...] = ()
    ) -> Cells:
        asked = self.asked
        piece = Slice(
            site_id=asked.site.id,
            zone=asked.zone,
            bounds=bounds,
            by=by,
            filters=asked.filters,
            currency=asked.currency,
            model=asked.model,
            horizon=asked.horizon,
        )
        return await read(self.connection, piece, keys)

    async def whole(
        self,
        window: Window,
        keys: frozenset[TermKey],
        series: Cells | None = None,
        breakdown: Cells | None = None,
    ) -> Whole:
        """The total out of parts that were read already, where they add up to it."""
        days = await self._days(window, series)
        parts = series if series is not None else breakdown
        if parts is not None:
            total = sum_of(parts.values())
            add_up = {key for key in self.period.keys if not isinstance(key[0], Distinct)}
            keys -= add_up
        elif days is not None:
            total = sum_of(days)
            keys -= self.period.daily_keys
        else:
            total = Cell()
        if keys:
            rest = only_cell(await self.read(_span(window), keys))
            total.amounts |= rest.amounts
            total.missing |= rest.missing
        return Whole(total, days)

    async def _days(self, window: Window, series: Cells | None) -> tuple[Cell, ...] | None:
        keys = self.period.daily_keys
        bounds = days_of(window) if keys else None
        if bounds is None:
            return None
        if series is None or bounds != self.period.bounds:
            series = await self.read(bounds, keys)
        return tuple(series.get(bucket, Cell()) for bucket in range(1, len(bounds)))


def only_cell(cells: Cells) -> Cell:
    """The one cell of a window that is not cut; an empty one where nothing was found."""
    return next(iter(cells.values()), Cell())


def _span(window: Window) -> tuple[datetime, ...]:
    return window.start, window.end
