"""`kompas kpi …`: the catalogue, KPIs of your own, and how a value comes about."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from service.errors import StartupError

if TYPE_CHECKING:
    from sqlalchemy.ext.asyncio import AsyncEngine

    from service.kpi.definition import Kpi
    from service.kpi.live import LiveCatalogue
    from service.settings import Settings

kpi = typer.Typer(help="What is measured: the catalogue, and your own KPIs.", no_args_is_help=True)

Lang = Annotated[Literal["en", "da"], typer.Option(help="Language of texts: en or da.")]
KpiId = Annotated[str, typer.Argument(help="A KPI's id, such as roas.")]


@asynccontextmanager
async def _opened(settings: Settings) -> AsyncIterator[tuple[AsyncEngine, LiveCatalogue]]:
    from service.cli.database import ready_engine
    from service.kit.clock import SystemClock
    from service.kpi.live import LiveCatalogue

    async with ready_engine(settings) as engine:
        live = LiveCatalogue(engine, SystemClock(), settings.kpi_dir)
        await live.reload()
        yield engine, live


@kpi.command("list")
def kpi_list(lang: Lang = "en") -> None:
    """Show every KPI: id, unit, whose it is, title."""
    from service.settings import load_settings

    async def run() -> None:
        async with _opened(load_settings()) as (_, live):
            for one in live.catalogue:
                whose = "own" if one.own else "kompas"
                typer.echo(f"{one.id}\t{one.unit}\t{whose}\t{one.title[lang]}")

    asyncio.run(run())


@kpi.command("show")
def kpi_show(
    kpi_id: KpiId,
    version: Annotated[int | None, typer.Option(help="An older version of it.")] = None,
    lang: Lang = "en",
) -> None:
    """Show the definition of a KPI."""
    from service.settings import load_settings

    async def run() -> None:
        async with _opened(load_settings()) as (_, live):
            found = live.catalogue.get(kpi_id, version)
            typer.echo("\n".join(_definition(found, lang)))
            for other in live.catalogue.versions(kpi_id):
                typer.echo(_pair("version", f"{other.version} ({other.status.value})"))

    asyncio.run(run())


def _definition(found: Kpi, lang: str) -> Iterator[str]:
    from service.kpi.document import readable

    yield f"{found.id}: {found.title[lang]}"
    yield _pair("about", found.about[lang])
    yield _pair("edge", found.edge[lang])
    for name, formula in found.views.items():
        yield _pair(f"view {name}" if name else "formula", readable(formula))
    yield _pair("unit", f"{found.unit.value}, {found.direction.value} is better")
    yield _pair("breakdowns", ", ".join(found.breakdowns) or "none")
    yield _pair("window", found.default_window)
    yield _pair("source", found.source)
    yield _pair("owner", found.owner)


@kpi.command("put")
def kpi_put(
    file: Annotated[Path, typer.Argument(help="A TOML file with [[kpi]] tables.")],
) -> None:
    """Store KPIs of your own, all of a file or none."""
    from service.kpi.catalogue import read_file
    from service.kpi.own import InvalidKpiError
    from service.settings import load_settings

    if not file.is_file():
        raise StartupError(f"{file} is not a file.")
    entries = read_file(file)

    async def run() -> None:
        async with _opened(load_settings()) as (_, live):
            try:
                done = await live.put(entries)
            except InvalidKpiError as error:
                mistakes = "\n".join(str(problem) for problem in error.problems)
                raise StartupError(f"Nothing was stored:\n{mistakes}") from None
            for one in done:
                typer.echo(f"{one.kpi.id}\tversion {one.kpi.version}\t{one.outcome.value}")

    asyncio.run(run())


@kpi.command("explain")
def kpi_explain(
    kpi_id: KpiId,
    *,
    window: Annotated[str | None, typer.Option(help="Such as last_30_days.")] = None,
    start: Annotated[str | None, typer.Option("--from", help="A date, or RFC 3339.")] = None,
    end: Annotated[str | None, typer.Option("--to", help="A date, or RFC 3339.")] = None,
    tz: Annotated[str | None, typer.Option(help="IANA zone; the site's if left out.")] = None,
    grain: Annotated[str | None, typer.Option(help="A series: hour to year.")] = None,
    by: Annotated[str | None, typer.Option(help="Dimensions, with commas between.")] = None,
    top: Annotated[int | None, typer.Option(help="So many rows, the largest.")] = None,
    where: Annotated[str | None, typer.Option(help="Such as channel:Email.")] = None,
    compare: Annotated[str | None, typer.Option(help="Such as previous_period.")] = None,
    model: Annotated[str | None, typer.Option(help="Attribution model.")] = None,
    view: Annotated[str | None, typer.Option(help="cohort or period.")] = None,
    horizon: Annotated[int | None, typer.Option(help="Days given to a cohort.")] = None,
    refunds: Annotated[str | None, typer.Option(help="refund_date or order_date.")] = None,
    version: Annotated[int | None, typer.Option(help="An older version of it.")] = None,
    currency: Annotated[str | None, typer.Option(help="The site's if left out.")] = None,
    wait: Annotated[int | None, typer.Option(help="Milliseconds, for what just came in.")] = None,
    site: Annotated[str, typer.Option(help="The site's slug.")] = "default",
) -> None:
    """Show how a KPI's value comes about: its numbers, its SQL, the rows read, the time."""
    from service.kpi.query import KpiQuery

    query = KpiQuery(
        (kpi_id,),
        window=window,
        start=start,
        end=end,
        tz=tz,
        grain=grain,
        by=by,
        top=top,
        where=where,
        compare=compare,
        model=model,
        view=view,
        horizon=horizon,
        refunds=refunds,
        version=version,
        currency=currency,
        wait_ms=wait,
    )
    typer.echo("\n".join(_explanation(asyncio.run(_explained(site, query)))))


async def _explained(slug: str, query: Any) -> dict[str, Any]:
    from service.kit.clock import SystemClock
    from service.kpi.engine import KpiEngine
    from service.kpi.explain import Explainer
    from service.settings import load_settings
    from service.store.access import KeyStore

    settings, clock = load_settings(), SystemClock()
    async with _opened(settings) as (engine, live):
        found = await KeyStore(engine).site(slug)
        if found is None:
            raise StartupError(f"There is no site '{slug}'; see `kompas site list`.")
        kpis = KpiEngine(engine, live, clock, settings.read_wait_ms / 1000)
        return (await Explainer(kpis, engine, clock).explain(found, query)).as_dict()


def _explanation(told: dict[str, Any]) -> Iterator[str]:
    window = told["window"]
    yield f"{told['kpi']}, version {told['version']}: {told['formula']}"
    yield _pair("numbers", told["filled"])
    yield _pair("window", f"{window['from']} to {window['to']}, {window['tz']}")
    yield _pair("", f"{window['from_utc']} to {window['to_utc']}")
    for name in ("currency", "view", "model", "where"):
        if told[name] is not None:
            yield _pair(name, told[name])
    yield from _table("terms", ((one["name"], _shown(one["value"])) for one in told["terms"]))
    tiers = ((one["tier"], one["table"], f"{one['rows_read']:,} rows") for one in told["tiers"])
    yield from _table("read", tiers)
    for number, statement in enumerate(told["statements"], start=1):
        yield from _statement(number, statement)
    yield f"\n{told['rows_read']:,} rows read, {told['milliseconds']} ms, as of {told['as_of']}"


def _statement(number: int, statement: dict[str, Any]) -> Iterator[str]:
    yield (
        f"\nstatement {number}: {statement['rows']:,} rows, {statement['rows_read']:,} rows read,"
        f" {statement['milliseconds']} ms"
    )
    yield statement["sql"].strip("\n")
    yield from (f"  :{name} = {value}" for name, value in statement["values"].items())


def _shown(value: Any) -> str:
    return "not known" if value is None else f"{value:,}"


def _pair(name: str, value: str) -> str:
    return f"  {name:<12}{value}"


def _table(name: str, rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    """Rows under each other, their columns aligned, the name before the first."""
    found = list(rows)
    widths = [max(len(row[at]) for row in found) for at in range(len(found[0]))] if found else []
    for row in found:
        cells = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield _pair(name, cells.rstrip())
        name = ""
