"""The self-check: recounts slices of sites, and says where rollups and facts are not what they say.

A slice is checked in one snapshot. Facts, rollups and the progress mark are one transaction, so
they agree in every snapshot, whatever is projected, compacted or rebuilt meanwhile. Batches that
are not projected, or parked, are in none of them and are left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import partial
from random import Random
from zoneinfo import ZoneInfo

from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from service import telemetry
from service.domain.measures import Measure
from service.kit.clock import Clock
from service.kit.log import get_logger
from service.project.checks import CHECKS, FROM_LOG, Check, Reach
from service.project.compact import TIERS
from service.project.rebuild import around, following_month
from service.project.recount import LOG_MONTHS, log_month, rows_of
from service.store.engine import reading

STATEMENT_SECONDS = 5.0
"""A statement of a chore that takes longer is given up, and its slice with it."""

MOST_EVENTS = 50_000
"""A chore's slice ends before it has more, unless its first quarter hour has."""

MOST_VISITS = 500_000
"""A chore does not recount the recency of a day or a month with more."""

SAMPLE = 200
"""So many events and facts a slice does a chore look up one by one."""

NEW, ANY = WHERE = ("new", "any")
NEWEST = timedelta(days=2)
"""Every other slice is of a site's newest days: what goes wrong now is to be seen now."""

MOST_DIFFERENCES = 1000
"""So many differences of one check are told apart."""

QUARTER = timedelta(minutes=15)
DAY = timedelta(days=1)
EVERYTHING = frozenset(Reach)

_log = get_logger(__name__)

_SITES = text("SELECT id, slug, timezone AS zone FROM site ORDER BY id")
_BUCKET = """
    SELECT {end}(b.bucket) FROM unnest(CAST(:rollup_total_quarter AS smallint[])) AS m(measure)
    CROSS JOIN LATERAL (
        SELECT r.bucket FROM rollup_total_quarter AS r
        WHERE r.site_id = :site_id AND r.measure = m.measure AND r.bucket >= :since
        ORDER BY r.bucket {order} LIMIT 1
    ) AS b"""
_FIRST = text(_BUCKET.format(end="min", order="ASC"))
_LAST = text(_BUCKET.format(end="max", order="DESC"))
_SIZES = text(f"""
    SELECT r.bucket, sum(abs(r.value)) FROM {rows_of("rollup_total_quarter", index=":counting")}
    GROUP BY r.bucket ORDER BY r.bucket""")
_VISITS = text(f"""
    SELECT coalesce(sum(r.value), 0) FROM {rows_of("rollup_total", index=":counting")}""")
_LOG_GONE = text(f"""
    SELECT {log_month("m")} FROM generate_series(
        date_trunc('month', CAST(:lo AS timestamptz), 'UTC'),
        CAST(:hi AS timestamptz) - interval '1 microsecond', '1 month') AS m
    EXCEPT {LOG_MONTHS}""")
_TIMEOUT = text("SELECT set_config('statement_timeout', :milliseconds, true)")
_CANCELLED = "57014"

_COUNTING = [
    int(measure)
    for measure in (
        *(Measure.PAGE_VIEWS, Measure.BOT_HITS, Measure.ORDERS, Measure.CUSTOM_EVENTS),
        *(Measure.EMAILS_SENT, Measure.EMAIL_OPENS, Measure.LEADS, Measure.NPS_RESPONSES),
    )
]
"""Measures that say how many events there are, roughly."""


@dataclass(frozen=True, slots=True)
class Place:
    """A site to check."""

    id: int
    slug: str
    zone: str


@dataclass(frozen=True, slots=True)
class Slice:
    """Quarter hours of one site from `since` to before `before`, within one day of its zone."""

    site: Place
    since: datetime
    before: datetime

    @property
    def day(self) -> date:
        """The site's date."""
        return self.since.astimezone(ZoneInfo(self.site.zone)).date()


@dataclass(frozen=True, slots=True)
class Difference:
    """What a check found: `number`, `label` and `dim_id` as in `Check`, with sums or counts."""

    check: Check
    bucket: datetime
    number: int
    label: str
    dim_id: int
    expected: int
    stored: int


@dataclass(frozen=True, slots=True)
class Found:
    """The differences of a slice, and whether all checks came to their end."""

    differences: Sequence[Difference]
    is_whole: bool = True


@dataclass(frozen=True, slots=True)
class Limits:
    """What a slice may cost: rows looked up one by one, visits recounted, seconds a statement.

    None: everything, as long as it takes.
    """

    sample: int | None = None
    visits: int | None = None
    seconds: float | None = None


CHORE = Limits(SAMPLE, MOST_VISITS, STATEMENT_SECONDS)


async def sites(engine: AsyncEngine) -> list[Place]:
    """Every site."""
    async with reading(engine) as connection:
        return [Place(**row) for row in (await connection.execute(_SITES)).mappings()]


async def span(connection: AsyncConnection, site: Place) -> tuple[datetime, datetime] | None:
    """The first and the last quarter hour in which a site has anything."""
    since = {**_parameters_of(site), "since": datetime.min.replace(tzinfo=UTC)}
    first, last = [await connection.scalar(query, since) for query in (_FIRST, _LAST)]
    return None if first is None else (first, last)


def days_of(site: Place, first: date, before: date) -> Iterator[Slice]:
    """The days `[first, before)` of a site's zone, each a slice."""
    while first < before:
        yield Slice(site, _midnight(first, site.zone), _midnight(first + DAY, site.zone))
        first += DAY


def _midnight(day: date, zone: str) -> datetime:
    # Of two midnights the earlier one, for none the instant at which the clocks skip it.
    return datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(zone)).astimezone(UTC)


def mend(site: Place, differences: Sequence[Difference], first: date, last: date) -> str:
    """The command that makes right what differs on days from `first` to `last`."""
    if any(difference.check.of_facts for difference in differences):
        return f"kompas rebuild --site {site.slug}"
    return f"kompas rebuild --site {site.slug} --from {first} --to {last + DAY}"


async def check_slice(
    engine: AsyncEngine,
    slice_: Slice,
    reaches: frozenset[Reach] = EVERYTHING,
    limits: Limits | None = None,
) -> Found:
    """Everything that differs in a slice, or in the day and the month in which it begins.

    One snapshot, which reads only. What takes too long is given up, with the checks after it.
    """
    limits = limits or Limits()
    differences: list[Difference] = []
    async with reading(engine) as connection:
        milliseconds = str(round(1000 * (limits.seconds or 0)))
        await connection.execute(_TIMEOUT, {"milliseconds": milliseconds})
        try:
            parameters = await _parameters(connection, slice_, limits)
            for check in CHECKS:
                if check.reach in reaches and await _applies(connection, check, parameters, limits):
                    differences += await _differences(connection, check, parameters)
        except DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) != _CANCELLED:
                raise
            return Found(differences, is_whole=False)
    return Found(differences)


async def _parameters(
    connection: AsyncConnection, slice_: Slice, limits: Limits
) -> dict[str, object]:
    day, month = slice_.day, slice_.day.replace(day=1)
    ends = {"lo": slice_.since, "hi": slice_.before}
    gone = (await connection.scalars(_LOG_GONE, ends)).all()
    known = TIERS["rollup_quarter"].index
    return {
        **_parameters_of(slice_.site),
        **ends,
        **_ends("day", day, day + DAY),
        **_ends("month", month, following_month(month)),
        "day": day,
        "month": month,
        "counted": [number for number in known if not gone or number not in FROM_LOG],
        "log_is_there": not gone,
        "sample": limits.sample,
        "most": MOST_DIFFERENCES,
    }


def _parameters_of(site: Place) -> dict[str, object]:
    indexes = {name: tier.index for name, tier in TIERS.items()}
    return {**indexes, "site_id": site.id, "zone": site.zone}


def _ends(name: str, first: date, before: date) -> dict[str, object]:
    """Bounds of the buckets and times of a day or a month, which their dates then tell apart."""
    return {f"{name}_{end}": at for end, at in around(first, before).items()}


async def _applies(
    connection: AsyncConnection, check: Check, parameters: dict[str, object], limits: Limits
) -> bool:
    if check.needs_log and not parameters["log_is_there"]:
        return False
    if limits.visits is None or not check.counts_visits:
        return True
    ends = {end: parameters[f"{check.reach.value}_{end}"] for end in ("lo", "hi")}
    counting = {**parameters, **ends, "counting": [int(Measure.VISITS)]}
    return int(await connection.scalar(_VISITS, counting) or 0) <= limits.visits


async def _differences(
    connection: AsyncConnection, check: Check, parameters: dict[str, object]
) -> list[Difference]:
    return [
        Difference(
            check, row.bucket, row.number, row.label, row.dim_id, int(row.expected), int(row.stored)
        )
        for row in await connection.execute(check.query, parameters)
    ]


class SelfCheck:
    """The worker's chore: one slice of one site each time, where `dice` fall."""

    def __init__(self, engine: AsyncEngine, clock: Clock, dice: Random | None = None) -> None:
        self._engine = engine
        self._clock = clock
        self._dice = dice or Random()  # noqa: S311 -- it guards no secret
        self._checked_at = dict.fromkeys(WHERE, clock.monotonic())
        for where in WHERE:
            telemetry.SELFCHECK_AGE.labels(where).set_function(partial(self._age, where))

    async def run_once(self) -> Found | None:
        """Check a random slice, count and log what differs; None when no site has anything."""
        where = self._dice.choice(WHERE)
        slice_ = await self._choose(where)
        found = None
        if slice_ is not None:
            found = await check_slice(self._engine, slice_, limits=CHORE)
            _tell(slice_, found)
        if found is None or found.is_whole:
            self._checked_at[where] = self._clock.monotonic()
        return found

    def _age(self, where: str) -> float:
        return self._clock.monotonic() - self._checked_at[where]

    async def _choose(self, where: str) -> Slice | None:
        listed = await sites(self._engine)
        self._dice.shuffle(listed)
        async with reading(self._engine) as connection:
            for site in listed:
                bounds = await span(connection, site)
                if bounds is not None:
                    first, last = bounds
                    if where == NEW:
                        first = max(first, last - NEWEST)
                    return await self._choose_of(connection, site, first, last)
        return None

    async def _choose_of(
        self, connection: AsyncConnection, site: Place, first: datetime, last: datetime
    ) -> Slice:
        point = first + self._dice.random() * (last - first)
        parameters = _parameters_of(site)
        since = await connection.scalar(_FIRST, {**parameters, "since": point}) or last
        start = since - self._dice.randrange(4) * QUARTER
        day = start.astimezone(ZoneInfo(site.zone)).date()
        end = min(start + self._dice.randint(1, 96) * QUARTER, _midnight(day + DAY, site.zone))
        sizes = {**parameters, "lo": start, "hi": end, "counting": _COUNTING}
        events = 0
        for bucket, more in await connection.execute(_SIZES, sizes):
            events += int(more)
            if events > MOST_EVENTS:
                return Slice(site, start, min(max(bucket, since + QUARTER), end))
        return Slice(site, start, end)


def _tell(slice_: Slice, found: Found) -> None:
    outcome = "different" if found.differences else "equal" if found.is_whole else "given_up"
    telemetry.SELFCHECK_SLICES.labels(outcome).inc()
    if not found.differences:
        return
    telemetry.SELFCHECK_DIFFERENCES.inc(len(found.differences))
    _log.error(
        "selfcheck_differs",
        site=slice_.site.slug,
        since=slice_.since.isoformat(),
        before=slice_.before.isoformat(),
        checks=sorted({difference.check.name for difference in found.differences}),
        differences=len(found.differences),
        mend=mend(slice_.site, found.differences, slice_.day, slice_.day),
    )
