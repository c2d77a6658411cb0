"""Snapshots for Prometheus: every KPI over some windows, computed by one worker, stored for all."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import product
from typing import Any

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from service import telemetry
from service.domain.access import Site
from service.errors import NotFoundError
from service.kit.clock import Clock
from service.kit.log import get_logger
from service.kit.waiting import wait_at_most
from service.kpi.answer import Answer
from service.kpi.engine import KpiEngine
from service.kpi.plan import MOST_KPIS
from service.kpi.query import KpiQuery
from service.store.access import SITE_COLUMNS, site_of_row
from service.store.engine import reading, writing
from service.store.failures import describe, is_environmental

STOP_SECONDS = 2.0
LOCK_CLASS = 0x6B706973
"""Advisory lock of the one worker that refreshes; other locks have other classes."""

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Sample:
    """One KPI over one window, in base units: amounts in units of the currency, shares of 1.

    `value` is None where it has none, and `reason` says why.
    """

    kpi: str
    unit: str
    window: str
    value: float | None
    reason: str | None
    numerator: float | None
    denominator: float | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What was stored for a site (its slug); amounts are in `currency`.

    `taken_at` is when it was computed, `as_of` the instant as of which all events are counted.
    """

    site: str
    currency: str
    taken_at: datetime
    as_of: datetime
    samples: tuple[Sample, ...]


_TRY_LOCK = text("SELECT pg_try_advisory_xact_lock(:class, 0)")
_SITES = select(*SITE_COLUMNS).order_by(SITE_COLUMNS[0])
_PUT = text("""
    INSERT INTO kpi_snapshot (site_id, taken_at, as_of, body)
    VALUES (:site_id, :taken_at, :as_of, CAST(:body AS jsonb))
    ON CONFLICT (site_id) DO UPDATE
    SET taken_at = excluded.taken_at, as_of = excluded.as_of, body = excluded.body""")
_FORGET = text("DELETE FROM kpi_snapshot WHERE site_id NOT IN (SELECT id FROM site)")
_NEWEST = text("SELECT max(taken_at) FROM kpi_snapshot")
_READ = text("""
    SELECT s.slug, k.taken_at, k.as_of, CAST(k.body AS text) AS body
    FROM kpi_snapshot AS k JOIN site AS s ON s.id = k.site_id
    ORDER BY s.slug""")


class SnapshotTask:
    """Computes and stores the snapshot of every site, every `refresh_seconds`.

    `windows` are presets. Any number of workers may run it: one at a time refreshes, and what
    another has just refreshed is left alone.
    """

    def __init__(
        self,
        kpis: KpiEngine,
        engine: AsyncEngine,
        clock: Clock,
        windows: tuple[str, ...],
        refresh_seconds: float,
    ) -> None:
        self._kpis = kpis
        self._engine = engine
        self._clock = clock
        self._windows = windows
        self._refresh_seconds = refresh_seconds
        self._stopping = asyncio.Event()
        self._ended = asyncio.Event()
        self._ended.set()

    async def run(self) -> None:
        """Refresh until `stop`; errors are logged and counted, and do not end it."""
        self._ended.clear()
        try:
            while not self._stopping.is_set():
                try:
                    if await self._is_due():
                        await self.refresh()
                except Exception as error:
                    _note(error)
                await wait_at_most(self._stopping, self._refresh_seconds)
        finally:
            self._ended.set()

    async def stop(self) -> None:
        """End `run` after the refresh it is in, and wait for that, `STOP_SECONDS` at most."""
        self._stopping.set()
        await wait_at_most(self._ended, STOP_SECONDS)

    async def refresh(self) -> bool:
        """Refresh all sites once; False when another worker is doing it.

        A site that fails keeps its older snapshot, whose age shows, and the others go on; of a site
        of which some KPIs fail the snapshot is without them.
        """
        async with writing(self._engine) as lock:
            if not await lock.scalar(_TRY_LOCK, {"class": LOCK_CLASS}):
                return False
            started = self._clock.monotonic()
            for site in [site_of_row(row) for row in await lock.execute(_SITES)]:
                try:
                    await self._refresh_site(site)
                except Exception as error:
                    _note(error, site=site.slug)
            await lock.execute(_FORGET)
        telemetry.SNAPSHOT_SECONDS.observe(self._clock.monotonic() - started)
        return True

    async def _is_due(self) -> bool:
        async with reading(self._engine) as connection:
            newest: datetime | None = await connection.scalar(_NEWEST)
        age = timedelta(seconds=self._refresh_seconds / 2)
        return newest is None or self._clock.now() - newest >= age

    async def _refresh_site(self, site: Site) -> None:
        taken_at = self._clock.now()
        samples: list[Sample] = []
        failed: dict[str, Exception] = {}
        as_of = taken_at
        every = tuple((await self._kpis.definitions()).kpis)
        parts = [every[at : at + MOST_KPIS] for at in range(0, len(every), MOST_KPIS)]
        for window, part in product(self._windows, parts):
            answers = await self._answers(site, window, part, failed)
            samples += _samples(window, answers)
            as_of = min([as_of, *(answer.as_of for answer in answers)])
        if failed and not samples:
            raise next(iter(failed.values()))
        for kpi, error in failed.items():
            _note(error, site=site.slug, kpi=kpi)
        body = {"currency": site.currency, "samples": [asdict(sample) for sample in samples]}
        async with writing(self._engine) as connection:
            await _put(connection, site.id, taken_at, as_of, json.dumps(body, allow_nan=False))

    async def _answers(
        self, site: Site, window: str, kpis: tuple[str, ...], failed: dict[str, Exception]
    ) -> list[Answer]:
        """The answers for all KPIs that have one; adds the others to `failed`.

        A KPI that was retired meanwhile has none, and has not failed. Raises what a database
        raises that is away or busy: that is no KPI's fault.
        """
        try:
            return await self._kpis.answer(site, KpiQuery(kpis, window=window, wait_ms=0))
        except Exception as error:
            if is_environmental(error):
                raise
            if len(kpis) == 1:
                if not isinstance(error, NotFoundError):
                    failed.setdefault(kpis[0], error)
                return []
        apart = [await self._answers(site, window, (kpi,), failed) for kpi in kpis]
        return [answer for answers in apart for answer in answers]


def _note(error: Exception, **about: str) -> None:
    telemetry.SNAPSHOT_FAILURES.inc()
    _log.error("snapshot_failed", error=describe(error), **about)


async def _put(
    connection: AsyncConnection, site_id: int, taken_at: datetime, as_of: datetime, body: str
) -> None:
    values = {"site_id": site_id, "taken_at": taken_at, "as_of": as_of, "body": body}
    await connection.execute(_PUT, values)


def _samples(window: str, answers: Iterable[Answer]) -> Iterator[Sample]:
    for answer in answers:
        said = answer.as_dict()
        yield Sample(
            kpi=said["kpi"],
            unit=said["unit"],
            window=window,
            value=_float(said["value"]),
            reason=said["reason"],
            numerator=_float(said["numerator"]),
            denominator=_float(said["denominator"]),
        )


def _float(number: int | Decimal | None) -> float | None:
    return None if number is None else float(number)


async def read_snapshots(engine: AsyncEngine) -> list[Snapshot]:
    """The stored snapshot of every site that has one, by slug."""
    async with reading(engine) as connection:
        rows = (await connection.execute(_READ)).all()
    return [_snapshot(row.slug, row.taken_at, row.as_of, json.loads(row.body)) for row in rows]


def _snapshot(slug: str, taken_at: datetime, as_of: datetime, body: dict[str, Any]) -> Snapshot:
    samples = tuple(Sample(**sample) for sample in body["samples"])
    return Snapshot(slug, body["currency"], taken_at, as_of, samples)
