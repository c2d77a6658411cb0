"""`kompas spool …`: what was acknowledged and is not in the database yet."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from service.errors import StartupError
from service.kit.clock import SystemClock
from service.settings import load_settings

MIB = 1024 * 1024
T = TypeVar("T")

StuckToo = Annotated[bool, typer.Option("--stuck", help="Try those in quarantine again, too.")]

spool = typer.Typer(help="Events that wait in files for the database.", no_args_is_help=True)


def _looked(look: Callable[[Path], T], root: Path) -> T:
    try:
        return look(root)
    except OSError as error:
        raise StartupError(f"Cannot look into the spool {root}: {error.strerror}.") from None


@spool.command("ls")
def spool_ls() -> None:
    """Show folders and segments, the oldest first, and whether a process has them."""
    from service.ingest.spool.listing import folders
    from service.ingest.spool.quarantine import quarantined

    root = load_settings().spool_dir
    now = SystemClock().now()
    for folder in _looked(folders, root):
        owner = "alive" if folder.is_alive else "dead"
        if folder.error:
            owner = f"cannot be looked into: {folder.error}"
        typer.echo(f"{folder.name}\tprocess {folder.pid}\t{owner}")
        for segment in folder.segments:
            age = max(0, round((now - segment.written_at).total_seconds()))
            typer.echo(
                f"\t{segment.name}\t{segment.records} records\t{segment.bytes} bytes\t{age} s old"
            )
    kept = _looked(quarantined, root)
    if kept:
        typer.echo(f"quarantine\t{len(kept)} segments\t{sum(size for _, size in kept)} bytes")


@spool.command("verify")
def spool_verify() -> None:
    """Read every record; exit with 1 when one that was acknowledged is damaged or unreadable."""
    from service.ingest.spool.listing import folders

    is_sound = True
    segments = records = 0
    for folder in _looked(folders, load_settings().spool_dir):
        if folder.error:
            is_sound = False
            typer.echo(f"{folder.name}\tcannot be looked into: {folder.error}")
        for segment in folder.segments:
            segments += 1
            records += segment.records
            is_sound = is_sound and segment.is_sound
            if segment.torn or not segment.is_sound:
                typer.echo(
                    f"{folder.name}/{segment.name}\t{segment.damaged} damaged"
                    f"\t{segment.unreadable} unreadable\t{segment.torn} torn"
                )
    typer.echo(f"{segments} segments, {records} intact records")
    if not is_sound:
        raise typer.Exit(1)


@spool.command("replay")
def spool_replay(*, stuck: StuckToo = False) -> None:
    """Write what dead processes left into the database; running ones do it themselves."""
    from service.cli.database import ready_engine
    from service.ingest.outage import Outage
    from service.ingest.spool.drain import Drainer
    from service.ingest.spool.folder import Spool
    from service.ingest.spool.quarantine import give_back

    settings = load_settings()

    async def work() -> None:
        clock = SystemClock()
        async with ready_engine(settings) as engine:
            if stuck:
                _looked(give_back, settings.spool_dir)
            left = Spool(settings.spool_dir, settings.spool_mb * MIB, clock)
            await left.open()
            try:
                drainer = Drainer(left, engine, clock, Outage())
                failed = await drainer.drain_all()
            finally:
                await left.close()
        typer.echo(f"{drainer.replayed} records replayed")
        if failed:
            typer.echo(f"{failed} segments cannot be stored; the log says why", err=True)
            raise typer.Exit(1)

    asyncio.run(work())
