"""`kompas backup` and `kompas restore`: the embedded database as one file, and back."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.errors import StartupError
from service.settings import Settings, load_settings

if TYPE_CHECKING:  # each command loads what it needs when it runs
    from service.store.backup_archive import Contents

NOT_OURS = 2
"""Exit status where the database is not the embedded one."""


def backup(
    file: Annotated[Path, typer.Argument(help="The file to write; with --verify, to check.")],
    verify: Annotated[
        bool, typer.Option("--verify", help="Make none, check whether this one is whole.")
    ] = False,
) -> None:
    """Write the embedded database and the spool into one file; the service may run meanwhile.

    The file holds keys, salts and secrets: it is as confidential as the database.
    """
    from service.store.backup_archive import read_archive

    if verify:
        archive = read_archive(file)
        typer.echo(f"{file} is whole: {_described(archive.contents)}.")
        return
    settings = _embedded()
    # Not `Path.is_file`, which raises for what this user may not see.
    if not os.path.isfile(settings.data_dir / "postgres" / "PG_VERSION"):  # noqa: PTH113 -- see above
        raise StartupError(f"{settings.data_dir} holds no database that could be backed up.")
    contents = asyncio.run(_backed_up(settings, file))
    typer.echo(f"{file}: {file.stat().st_size:,} bytes, {_described(contents)}.")
    from service.ingest.spool.quarantine import count_stuck

    if kept := count_stuck(settings.spool_dir):
        typer.echo(
            f"It lacks {kept} segments of the spool that could not be stored (quarantine/stuck-*);"
            " `kompas spool replay --stuck` tries them again.",
            err=True,
        )


def restore(
    file: Annotated[Path, typer.Argument(help="A file that `kompas backup` wrote.")],
    force: Annotated[
        bool, typer.Option("--force", help="Move a database that is in the way aside.")
    ] = False,
) -> None:
    """Make the data directory's database out of a backup, and migrate it if it is older."""
    from service.kit.clock import SystemClock
    from service.store.backup_archive import read_archive
    from service.store.restore import Target, check_restorable, must_be_free, restoring

    settings = _embedded()
    now = SystemClock().now()
    aside = settings.data_dir / f"postgres-until-{now:%Y%m%dT%H%M%SZ}"
    target = Target(settings.data_dir, settings.spool_dir, aside if force else None)
    must_be_free(target)  # before a long file is read in vain
    archive = read_archive(file)
    check_restorable(archive)
    with restoring(archive, target) as url:
        asyncio.run(_migrated(url))
    typer.echo(f"{settings.data_dir} holds the backup: {_described(archive.contents)}.")
    if aside.exists():
        typer.echo(f"The database that was there is in {aside}.")
    if archive.segments():
        typer.echo(f"What the spool held is in {settings.spool_dir}; the next start stores it.")


def _embedded() -> Settings:
    """The settings, if the database is the embedded one."""
    settings = load_settings()
    if settings.database_url is not None:
        typer.echo(
            "kompas: KOMPAS_DATABASE_URL names a database of its own operator: back it up and"
            " restore it with pg_dump, pgBackRest or what its provider offers.",
            err=True,
        )
        raise typer.Exit(NOT_OURS)
    return settings


async def _backed_up(settings: Settings, file: Path) -> Contents:
    from service.cli.database import database_url
    from service.kit.clock import SystemClock
    from service.store.backup import Source, back_up
    from service.store.embedded import EmbeddedPostgres

    async with database_url(settings, own=False) as url:
        programs = EmbeddedPostgres(settings.data_dir).bin_dir
        source = Source(url, programs, settings.spool_dir)
        return await back_up(source, file, SystemClock().now())


async def _migrated(url: str) -> None:
    from service.cli.database import open_engine
    from service.store.migrate import migrate

    async with open_engine(url) as engine:
        await migrate(engine)


def _described(contents: Contents) -> str:
    return (
        f"everything until {contents.started_at:%Y-%m-%d %H:%M:%S} UTC, by Kompas"
        f" {contents.kompas}, schema {contents.schema}"
    )
