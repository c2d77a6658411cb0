"""What is answered while the service starts, which takes as long as its database is away."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from starlette.types import ASGIApp, Receive, Scope, Send

from service.app.build import framed, methods_of
from service.app.health import HealthDoors
from service.app.observe import Observe
from service.app.problems import RETRY_SECONDS
from service.edge.gif import send_failure
from service.errors import RetryableError
from service.kit.clock import Clock
from service.kit.http import problem

HOLD_SECONDS = 10.0
"""A usual start takes a second or two; a client waits longer, but not for ever."""


def _not_yet() -> RetryableError:
    message = "Kompas is starting, or could not; send the same again."
    return RetryableError(message, retry_after=RETRY_SECONDS)


async def _cannot_write() -> bool:
    raise _not_yet()


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["path"].endswith(".gif"):
        await send_failure(send, _not_yet())
    else:
        await problem(_not_yet())(scope, receive, send)


class Starting:
    """ASGI, before the application is there: alive, not ready, and holding everything else.

    A request is held for `hold_seconds` at most and then answered 503, as are those that come
    while `most` are held: their connections must leave room for who asks whether it lives.
    """

    def __init__(self, clock: Clock, most: int, hold_seconds: float = HOLD_SECONDS) -> None:
        router = HealthDoors(_cannot_write).router()
        self._health = Observe(framed([router]), clock)
        self._health_paths = methods_of([router]).keys()
        self._refusal = Observe(_refuse, clock)
        self._most = most
        self._hold_seconds = hold_seconds
        self._held = 0
        self._app: ASGIApp | None = None
        self._is_decided = asyncio.Event()

    def open(self, app: ASGIApp) -> None:
        """The application is there: it answers what is held, and all that comes."""
        self._app = app
        self._is_decided.set()

    def give_up(self) -> None:
        """There will be none: answer 503 at once to what is held, and to all that comes."""
        self._is_decided.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass everything on to the application, or to what stands in for it."""
        app = self._app or await self._instead(scope)
        await app(scope, receive, send)

    async def _instead(self, scope: Scope) -> ASGIApp:
        if scope["path"] in self._health_paths:
            return self._health
        if self._held < self._most:
            self._held += 1
            try:
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._hold_seconds):
                        await self._is_decided.wait()
            finally:
                self._held -= 1
        return self._app or self._refusal
