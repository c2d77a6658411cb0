"""The service and the worker as processes: until a signal ends them, and what stops when."""

from __future__ import annotations

import asyncio
import gc
import signal
import socket
import sys
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, NamedTuple

import typer
import uvicorn
from starlette.types import ASGIApp

from service import telemetry
from service.app import running
from service.app.connections import Connections, Limits
from service.app.protocol import bounded
from service.app.starting import Starting
from service.cli.database import ready_engine
from service.cli.welcome import address_of, introduction
from service.kit.clock import Clock, SystemClock
from service.settings import Settings
from service.store.access import bootstrap
from service.worker import Worker, working

DRAIN_SECONDS = 8
"""What is being answered has so long after a signal; who is still sending, a second less."""
HURRY_SECONDS = 1
"""The same, where the service has not started: whatever is under way can only be refused."""
RESERVED_DESCRIPTORS = 256
"""Those that are no clients': the database's connections, the spool, the log."""


def run_until_signal(work: Coroutine[Any, Any, None]) -> None:
    """Run on uvloop until the work ends, or a signal to stop cancels it; both end with 0."""

    async def supervised() -> None:
        task = asyncio.current_task()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            loop.add_signal_handler(number, lambda: task and task.cancel())
        with suppress(asyncio.CancelledError):
            await work

    if sys.platform == "win32":
        asyncio.run(supervised())
        return
    import uvloop

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(supervised())


class Server(uvicorn.Server):
    """uvicorn with bounds for its clients, and without its own signal handling: ours also ends the
    database.
    """

    def __init__(self, app: ASGIApp, connections: Connections) -> None:
        self._connections = connections
        telemetry.CONNECTIONS.set_function(lambda: connections.number)
        super().__init__(
            uvicorn.Config(
                app,
                loop="none",
                http=bounded(connections),
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                proxy_headers=False,
                server_header=False,
                timeout_graceful_shutdown=DRAIN_SECONDS,
            )
        )

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to `run_until_signal`."""
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept connections, and look after them."""
        self._connections.start()
        await super().startup(sockets)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept none any more, and return when those under way are answered, or too slow."""
        self._connections.drain()
        await super().shutdown(sockets)
        self._connections.stop()


class Answering(NamedTuple):
    """A server at work: what it answers with, and the task that ends when it was drained."""

    door: Starting
    serving: asyncio.Task[None]


def _ended(reason: str) -> None:
    telemetry.CONNECTIONS_CLOSED.labels(reason).inc()


async def listen(
    app: ASGIApp, listener: socket.socket, connections: Connections | None = None
) -> None:
    """Serve until cancelled, then answer what is under way and return."""
    if connections is None:
        connections = Connections(Limits(connections=most_connections()), _ended)
    server = Server(app, connections)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        await asyncio.shield(serving)
    except asyncio.CancelledError:
        server.should_exit = True
        await serving


def most_connections() -> int:
    """The most that are accepted, after asking for as many file descriptors as one may have."""
    most = Limits().connections
    if sys.platform == "win32":
        return most
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = most + RESERVED_DESCRIPTORS
    if soft != resource.RLIM_INFINITY and soft < wanted:
        soft = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    elif soft == resource.RLIM_INFINITY:
        soft = wanted
    return max(1, min(most, soft - RESERVED_DESCRIPTORS))


def calm_collector() -> None:
    """Leave what the start made out of garbage collection, and collect the rest more rarely.

    A full collection over some 500,000 objects stopped every request for 50 to 80 ms: it was the
    whole tail of the pixel's latency.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def run_service(settings: Settings, listener: socket.socket) -> None:
    """Serve on the listening socket until a signal."""
    run_until_signal(_serve(settings, listener))


@asynccontextmanager
async def _answering(listener: socket.socket, clock: Clock) -> AsyncIterator[Answering]:
    """Answer from now on, so that a start that takes long is not taken for a dead process."""
    connections = Connections(Limits(connections=most_connections()), _ended)
    door = Starting(clock, connections.limits.connections // 2)
    serving = asyncio.create_task(listen(door, listener, connections))
    try:
        yield Answering(door, serving)
    finally:
        # It has ended, unless the start failed or was stopped.
        door.give_up()
        serving.cancel()
        await asyncio.wait({serving}, timeout=HURRY_SECONDS)


async def _serve(settings: Settings, listener: socket.socket) -> None:
    clock = SystemClock()
    url = settings.public_url or address_of(listener)
    async with (
        _answering(listener, clock) as answering,
        ready_engine(settings, own=True) as engine,
    ):
        admin_key = settings.bootstrap_admin_key
        first = await bootstrap(
            engine,
            settings.default_timezone,
            settings.default_currency,
            admin_key.get_secret_value() if admin_key else None,
        )
        if first is not None:
            typer.echo(introduction(first, url))
        async with running(engine, settings, clock) as app:
            calm_collector()
            answering.door.open(app)
            typer.echo(f"Kompas is ready on {url}")
            await answering.serving


def run_worker(settings: Settings) -> None:
    """Do the background work until a signal."""
    run_until_signal(_work(settings))


async def _work(settings: Settings) -> None:
    async with (
        ready_engine(settings, own=True) as engine,
        working(Worker(engine, SystemClock(), settings)),
    ):
        await asyncio.Event().wait()  # until a signal cancels it
