"""`kompas site …` and `kompas key …`: what an operator sets up from the terminal."""

from __future__ import annotations

import asyncio
import re
from typing import Annotated, Any

import typer

from service.domain.access import SLUG, Scope
from service.errors import StartupError
from service.kpi.zones import zone
from service.settings import load_settings

site = typer.Typer(help="The tracked properties.", no_args_is_help=True)
key = typer.Typer(help="The keys that open Kompas.", no_args_is_help=True)


@site.command("create")
def site_create(
    slug: Annotated[str, typer.Argument(help="Short name used in keys and queries.")],
    name: Annotated[str, typer.Option(help="Name for people; the slug if left out.")] = "",
    timezone: Annotated[
        str | None, typer.Option(help="IANA zone of its days; KOMPAS_DEFAULT_TIMEZONE if left out.")
    ] = None,
    currency: Annotated[
        str | None, typer.Option(help="Reporting currency; KOMPAS_DEFAULT_CURRENCY if left out.")
    ] = None,
) -> None:
    """Make a site."""
    from service.cli.database import ready_engine
    from service.store.access import create_site
    from service.store.fx import check_currency

    if not re.fullmatch(SLUG, slug):
        raise StartupError(f"'{slug}' must be 1 to 63 small letters, digits and hyphens.")
    settings = load_settings()
    where = zone(timezone or settings.default_timezone, "timezone").key
    money = check_currency(currency or settings.default_currency, "currency")

    async def run() -> None:
        async with ready_engine(settings) as engine:
            made = await create_site(engine, slug, name or slug, where, money)
        typer.echo(f"site {made.slug}: {made.timezone}, {made.currency}")

    asyncio.run(run())


@site.command("set")
def site_set(  # noqa: PLR0917 -- the library hands options in by name
    slug: Annotated[str, typer.Argument(help="The site.")],
    name: Annotated[str | None, typer.Option(help="Name for people.")] = None,
    fiscal_month: Annotated[
        int | None, typer.Option(help="Month in which its year begins.")
    ] = None,
    lookback_days: Annotated[
        int | None, typer.Option(help="A touch is credited for so many days, at most 90.")
    ] = None,
    late_hours: Annotated[
        int | None, typer.Option(help="Figures are provisional for so long after the window.")
    ] = None,
    dimension: Annotated[
        list[str] | None, typer.Option(help="A prop to break down by; may be repeated.")
    ] = None,
    own_host: Annotated[
        list[str] | None, typer.Option(help="A host that is no source; may be repeated.")
    ] = None,
) -> None:
    """Change what a site decides for itself; repeated options replace the whole list.

    Channel rules are changed with PATCH /v1/sites/{slug}.
    """
    given = {
        "name": name,
        "fiscal_month": fiscal_month,
        "lookback_days": lookback_days,
        "late_hours": late_hours,
        "dimensions": dimension or None,
        "own_hosts": own_host or None,
    }
    asyncio.run(_change(slug, given))


async def _change(slug: str, given: dict[str, Any]) -> None:
    from service.admin.sites import SiteChange
    from service.cli.database import ready_engine
    from service.kit.payload import checked
    from service.store.access import change_site, site_of_row

    changes = checked(SiteChange, given).changes()
    async with ready_engine(load_settings()) as engine:
        row = await change_site(engine, slug, changes)
    if row is None:
        raise StartupError(f"There is no site '{slug}'; see `kompas site list`.")
    rules = site_of_row(row).rules
    typer.echo(
        f"site {slug}: year from month {rules.fiscal_month}, lookback {rules.lookback_days} days,"
        f" provisional for {rules.late_hours} hours"
    )
    for what, names in (("dimensions", rules.props), ("own hosts", rules.own_hosts)):
        if names:
            typer.echo(f"{what}: {', '.join(names)}")


@site.command("list")
def site_list() -> None:
    """Show every site."""
    from service.cli.database import ready_engine
    from service.store.access import list_sites

    async def run() -> None:
        async with ready_engine(load_settings()) as engine:
            for row in await list_sites(engine):
                typer.echo(f"{row.slug}\t{row.timezone}\t{row.currency}")

    asyncio.run(run())


@key.command("create")
def key_create(
    site_slug: Annotated[str, typer.Option("--site", help="The key's site.")] = "default",
    scope: Annotated[
        list[Scope] | None, typer.Option(help="public, ingest, read or admin; may be repeated.")
    ] = None,
    name: Annotated[str, typer.Option(help="What the key is for.")] = "cli",
) -> None:
    """Make a key and print it: it is shown once."""
    from service.cli.database import ready_engine
    from service.store.access import KeyStore, create_key

    async def run() -> None:
        async with ready_engine(load_settings()) as engine:
            found = await KeyStore(engine).site(site_slug)
            if found is None:
                raise StartupError(f"There is no site '{site_slug}'; see `kompas site list`.")
            scopes = frozenset(scope or [Scope.INGEST])
            typer.echo(await create_key(engine, found.id, name, scopes))

    asyncio.run(run())


@key.command("list")
def key_list() -> None:
    """Show every key by its prefix; the keys themselves are not kept."""
    from service.cli.database import ready_engine
    from service.store.access import list_keys

    async def run() -> None:
        async with ready_engine(load_settings()) as engine:
            for row in await list_keys(engine):
                typer.echo(
                    f"{row.id}\t{row.site}\t{row.prefix}…\t{','.join(row.scopes)}\t{row.name}"
                )

    asyncio.run(run())
