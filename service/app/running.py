"""What starts, in which order, and what stops; the application between the two."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import datetime
from typing import Any

from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.types import ASGIApp

from service.app.build import Contract, Parts, build
from service.kit.clock import Clock, SystemClock
from service.settings import Settings
from service.store.engine import make_engine
from service.worker import Worker, working


@asynccontextmanager
async def running(engine: AsyncEngine, settings: Settings, clock: Clock) -> AsyncIterator[ASGIApp]:
    """The application, ready to take events, on a migrated database; stops what it started.

    When the block ends the caller has stopped the server: then the writer drains into Postgres or
    the spool, and after it the background tasks finish, so that as much as possible is counted
    before the end.
    """

    def held_since() -> datetime | None:
        # Worker and parts need each other: this is asked when both are there.
        return parts.durable.held_since()

    async with AsyncExitStack() as stack:
        worker = None
        if settings.worker:
            worker = Worker(engine, clock, settings, held_since)
        parts = Parts(engine, settings, clock, wake=worker.runner.wake if worker else None)
        if worker is not None:
            await stack.enter_async_context(working(worker))
        await stack.enter_async_context(parts.durable.running())
        await parts.intake.start()
        await parts.keys.start()
        yield build(parts)


def describe() -> dict[str, Any]:
    """The OpenAPI document; needs no database and no setting."""
    # An engine connects when it is first asked, and a description asks nothing.
    engine = make_engine("postgresql://localhost/kompas")
    parts = Parts(engine, Settings.model_construct(), SystemClock())
    return Contract(parts.routers()).document
