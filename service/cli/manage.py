"""`kompas site …` and `kompas key …`: what an operator sets up from the terminal."""

from __future__ import annotations

import asyncio
import re
from typing import Annotated

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
