"""`kompas check` and `kompas rebuild`: are the numbers what the log says, and what if not?"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import date
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from service.errors import StartupError
from service.settings import load_settings

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from service.project.checks import Reach
    from service.project.selfcheck import Difference, Place, Slice

SiteOption = Annotated[str | None, typer.Option(help="One site's slug; all sites if left out.")]
From = Annotated[
    str | None,
    typer.Option("--from", help="First day, such as 2026-05-01; everything if left out."),
]
To = Annotated[str | None, typer.Option("--to", help="The day after the last one.")]


class Days(NamedTuple):
    """Dates of a site's zone; the last one is not included."""

    since: date
    before: date


def rebuild(site: SiteOption = None, since: From = None, before: To = None) -> None:
    """Make facts and rollups again from the log; readers see the old ones until it is done.

    With --from and --to only rollups: those of the months of these days, from the facts.
    """
    from service.project.rebuild import rebuild as rebuild_site
    from service.project.rebuild import rebuild_months

    days = _days(since, before)

    async def work() -> None:
        async with _opened(site) as (engine, sites):
            for each in sites:
                if days is None:
                    await rebuild_site(engine, each.id)
                    typer.echo(f"{each.slug}: rebuilt")
                else:
                    months = await rebuild_months(engine, each.id, *days)
                    made = ", ".join(f"{month:%Y-%m}" for month in months)
                    typer.echo(f"{each.slug}: rollups of {made} rebuilt")

    asyncio.run(work())


def check(site: SiteOption = None, since: From = None, before: To = None) -> None:
    """Hold log, facts and rollups against each other, day by day; exit with 1 if they differ."""
    days = _days(since, before)

    async def work() -> bool:
        async with _opened(site) as (engine, sites):
            return all([await _check_site(engine, each, days) for each in sites])

    if not asyncio.run(work()):
        raise typer.Exit(1)


async def _check_site(engine: AsyncEngine, site: Place, days: Days | None) -> bool:
    from service.project.selfcheck import check_slice, mend

    checked = 0
    found: list[Difference] = []
    days_found: list[date] = []
    for slice_, reaches in _slices(site, days or await _all_days(engine, site)):
        differences = (await check_slice(engine, slice_, reaches)).differences
        for difference in differences:
            typer.echo(_line(site, difference))
        if differences:
            days_found.append(slice_.day)
        found += differences
        checked += 1
    typer.echo(f"{site.slug}: {checked} days checked, {len(found)} differences")
    if found:
        typer.echo(f"To mend it: {mend(site, found, days_found[0], days_found[-1])}")
    return not found


def _slices(site: Place, days: Days | None) -> Iterator[tuple[Slice, frozenset[Reach]]]:
    """The days, each with what is to be checked: a month once."""
    from service.project.checks import Reach
    from service.project.selfcheck import EVERYTHING, days_of

    month = None
    for slice_ in days_of(site, *days) if days else ():
        of_month = slice_.day.replace(day=1)
        yield slice_, EVERYTHING - ({Reach.MONTH} if of_month == month else set())
        month = of_month


async def _all_days(engine: AsyncEngine, site: Place) -> Days | None:
    from service.project.selfcheck import DAY, Slice, span
    from service.store.engine import reading

    async with reading(engine) as connection:
        ends = await span(connection, site)
    if ends is None:
        return None
    first, last = (Slice(site, at, at).day for at in ends)
    return Days(first, last + DAY)


def _line(site: Place, difference: Difference) -> str:
    return "\t".join(
        (
            *(site.slug, difference.check.name, difference.bucket.isoformat()),
            *(str(difference.number), difference.label, str(difference.dim_id)),
            f"expected {difference.expected}, stored {difference.stored}",
        )
    )


@asynccontextmanager
async def _opened(slug: str | None) -> AsyncIterator[tuple[AsyncEngine, list[Place]]]:
    """An engine, and the site of that slug, or all."""
    from service.cli.database import ready_engine
    from service.project.selfcheck import sites

    async with ready_engine(load_settings()) as engine:
        listed = await sites(engine)
        chosen = [each for each in listed if slug in {None, each.slug}]
        if slug is not None and not chosen:
            raise StartupError(f"There is no site '{slug}'; see `kompas site list`.")
        yield engine, chosen


def _days(since: str | None, before: str | None) -> Days | None:
    if since is None and before is None:
        return None
    if since is None or before is None:
        raise StartupError("Give both --from and --to, or neither for everything.")
    first, end = _date(since), _date(before)
    if first >= end:
        raise StartupError(
            f"--from {first} --to {end} is no day: --to is the day after the last one."
        )
    return Days(first, end)


def _date(given: str) -> date:
    try:
        return date.fromisoformat(given)
    except ValueError:
        raise StartupError(f"'{given}' is not a date such as 2026-05-01.") from None
