"""`kompas serve`, `worker`, `migrate` and `rebuild`: the commands that run Kompas."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Annotated, Any

import typer
import uvicorn
from starlette.types import ASGIApp

from service.app import running
from service.cli.database import database_url, open_engine, ready_engine
from service.cli.welcome import welcome
from service.errors import StartupError
from service.kit.clock import SystemClock
from service.kit.log import configure_logging
from service.project.rebuild import rebuild as rebuild_site
from service.settings import Settings, load_settings
from service.store.access import KeyStore, bootstrap, list_sites
from service.store.migrate import migrate as migrate_database
from service.worker import Worker, working

DRAIN_SECONDS = 8
KEEP_ALIVE_SECONDS = 20
BACKLOG = 2048


def run_until_signal(work: Coroutine[Any, Any, None]) -> None:
    """Run on uvloop until the work ends, or SIGINT or SIGTERM cancels it; both end with 0."""

    async def supervised() -> None:
        task = asyncio.current_task()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, lambda: task and task.cancel())
        with suppress(asyncio.CancelledError):
            await work

    if sys.platform == "win32":
        asyncio.run(supervised())
        return
    import uvloop  # noqa: PLC0415 - there is none for Windows

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(supervised())


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


class Server(uvicorn.Server):
    """uvicorn without its own signal handling: ours also ends the database."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to `run_until_signal`."""
        yield


async def listen(app: ASGIApp, listener: socket.socket) -> None:
    """Serve until cancelled, then answer what is under way and return."""
    server = Server(
        uvicorn.Config(
            app,
            loop="none",
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            server_header=False,
            backlog=BACKLOG,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
            timeout_graceful_shutdown=DRAIN_SECONDS,
        )
    )
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        server.should_exit = True
        await serving


def calm_collector() -> None:
    """Leave what the start made out of garbage collection, and collect the rest more rarely.

    A full collection over some 500,000 objects stopped every request for 50 to 80 ms: it was the
    whole tail of the pixel's latency.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


async def _serve(settings: Settings, listener: socket.socket) -> None:
    clock = SystemClock()
    async with ready_engine(settings, own=True) as engine:
        admin_key = settings.bootstrap_admin_key
        first = await bootstrap(
            engine,
            settings.default_timezone,
            settings.default_currency,
            admin_key.get_secret_value() if admin_key else None,
        )
        async with running(engine, settings, clock) as app:
            host, port = listener.getsockname()[:2]
            typer.echo(welcome(first, settings.public_url or f"http://{host}:{port}"))
            calm_collector()
            await listen(app, listener)


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
    listener = bind(settings.host, settings.port)
    run_until_signal(_serve(settings, listener))


def worker() -> None:
    """Run only the background tasks, for the database of KOMPAS_DATABASE_URL."""
    settings = load_settings()
    configure_logging(settings.log_level, settings.log_format)

    async def work() -> None:
        async with (
            ready_engine(settings, own=True) as engine,
            working(Worker(engine, SystemClock(), settings)),
        ):
            await asyncio.Event().wait()  # until a signal cancels it

    run_until_signal(work())


def migrate() -> None:
    """Bring the database to this version's schema."""
    settings = load_settings()

    async def work() -> None:
        async with database_url(settings, own=False) as url, open_engine(url) as engine:
            typer.echo(f"The database has schema {await migrate_database(engine)}.")

    asyncio.run(work())


def rebuild(
    site: Annotated[
        str | None, typer.Option(help="One site's slug; all sites if left out.")
    ] = None,
) -> None:
    """Make facts and rollups again from the log; readers see the old ones until it is done."""

    async def work() -> None:
        async with ready_engine(load_settings()) as engine:
            slugs = [site] if site else [row.slug for row in await list_sites(engine)]
            for slug in slugs:
                found = await KeyStore(engine).site(slug)
                if found is None:
                    raise StartupError(f"There is no site '{slug}'; see `kompas site list`.")
                await rebuild_site(engine, found.id)
                typer.echo(f"{slug}: rebuilt")

    asyncio.run(work())
