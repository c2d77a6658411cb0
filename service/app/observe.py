"""What is seen of every request: its id, its metrics by route template, one line at level info."""

from __future__ import annotations

import logging
import re
import secrets
from collections.abc import Iterable
from itertools import count

from prometheus_client import Counter, Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service import telemetry
from service.kit.clock import Clock
from service.kit.log import get_logger, request_context

_log = get_logger(__name__)
levels = logging.getLogger(__name__)

REQUEST_ID = b"x-request-id"
UNMATCHED = "unmatched"
METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
CLIENT_LEFT = 499
"""Counted as the status of a request whose client went away before its answer began."""

_PROCESS = secrets.token_hex(4)
_numbers = count(1)
_ACCEPTABLE = re.compile(rb"[A-Za-z0-9._-]{8,64}")


def template(scope: Scope) -> str:
    """The route's own path, such as `/v1/kpis/{id}`; `unmatched` when no route took the request."""
    return getattr(scope.get("route"), "path", UNMATCHED)


def request_id(headers: Iterable[tuple[bytes, bytes]]) -> str:
    """The client's own id if it is one that can be logged, else a new one."""
    for name, value in headers:
        if name == REQUEST_ID and _ACCEPTABLE.fullmatch(value):
            return value.decode("ascii")
    return f"{_PROCESS}{next(_numbers):08x}"


class Observe:
    """ASGI, outermost: gives each request its id, and records what became of it.

    Nothing recorded has a query, an address, a user agent or a path that somebody made up.
    """

    def __init__(self, app: ASGIApp, clock: Clock) -> None:
        self._app = app
        self._clock = clock
        self._counters: dict[tuple[str, str, int], Counter] = {}
        self._timers: dict[str, Histogram] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes everything on; the answer carries the id in `X-Request-Id`."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = self._clock.monotonic()
        status = CLIENT_LEFT
        found = request_id(scope["headers"])
        scope["request_id"] = found

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                # A copy: a door may send the same message again and again.
                headers = [*message.get("headers", ()), (REQUEST_ID, found.encode())]
                message = {**message, "headers": headers}
            await send(message)

        with request_context(found):
            try:
                await self._app(scope, receive, noting)
            finally:
                self._record(scope, status, self._clock.monotonic() - started)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        route = template(scope)
        method = scope["method"] if scope["method"] in METHODS else "other"
        key = (method, route, status)
        counter = self._counters.get(key)
        if counter is None:
            counter = telemetry.REQUESTS.labels(method, route, str(status))
            self._counters[key] = counter
            self._timers[route] = telemetry.REQUEST_SECONDS.labels(route)
        counter.inc()
        self._timers[route].observe(seconds)
        if levels.isEnabledFor(logging.INFO):
            milliseconds = round(seconds * 1000, 1)
            _log.info("request", method=method, route=route, status=status, ms=milliseconds)
