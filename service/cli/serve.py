"""`kompas serve`, `worker` and `migrate`: the commands that run Kompas."""

from __future__ import annotations

import asyncio
import socket
from typing import Annotated

import typer

from service.errors import StartupError
from service.kit.log import configure_logging
from service.settings import Settings, load_settings

BACKLOG = 2048


def bind(host: str, port: int) -> socket.socket:
    """A listening socket, taken before anything slow starts."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
        listener.listen(BACKLOG)
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or error
        raise StartupError(
            f"Cannot listen on {host} port {port}: {reason}. Choose another with --port or --host."
        ) from None
    return listener


def _needs_a_shared_database(settings: Settings, command: str) -> None:
    # The embedded one belongs to a single process, and what nobody projects is never counted.
    if settings.database_url is None:
        raise StartupError(f"`kompas {command}` needs KOMPAS_DATABASE_URL.")


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    worker: Annotated[
        bool | None,
        typer.Option(help="Also run the background tasks (projection, snapshots) here."),
    ] = None,
) -> None:
    """Serve Kompas on its embedded Postgres, or on the one of KOMPAS_DATABASE_URL."""
    given = {"host": host, "port": port, "worker": worker}
    settings = load_settings(**{name: value for name, value in given.items() if value is not None})
    configure_logging(settings.log_level, settings.log_format)
    if not settings.worker:
        _needs_a_shared_database(settings, "serve --no-worker")
    listener = bind(settings.host, settings.port)
    from service.cli.process import run_service

    run_service(settings, listener)


def worker() -> None:
    """Run only the background tasks, for the database of KOMPAS_DATABASE_URL."""
    settings = load_settings()
    _needs_a_shared_database(settings, "worker")
    configure_logging(settings.log_level, settings.log_format)

    from service.cli.process import run_worker

    run_worker(settings)


def migrate() -> None:
    """Bring the database to this version's schema."""
    from service.cli.database import database_url, open_engine
    from service.store.migrate import migrate as migrate_database

    settings = load_settings()

    async def work() -> None:
        async with database_url(settings, own=False) as url, open_engine(url) as engine:
            typer.echo(f"The database has schema {await migrate_database(engine)}.")

    asyncio.run(work())
