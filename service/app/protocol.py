"""HTTP/1.1 on one connection: uvicorn's protocol, with the bounds that it has not.

uvicorn waits for ever for a head or a body, takes heads of any size, and queues any number of
pipelined requests. Its parser (llhttp) refuses what request smuggling is made of; here it is only
answered with a problem document. Nothing on the way of a request sets a timer: deadlines are looked
after by `Connections`. A method of uvicorn's that every request passes is called by its class, and
not by super(), which takes twice the time of a call.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, ClassVar

import httptools
from uvicorn.protocols.http.httptools_impl import (
    STATUS_LINE,
    HttpToolsProtocol,
    RequestResponseCycle,
)

from service.app.connections import KIB, Connections, Phase
from service.errors import KompasError, OverloadedError, RequestError
from service.kit.http import problem

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState


# By name: in Python 3.11 a member of an enumeration takes 0.1 µs to look up in it.
GREETING, HEAD, BODY, ANSWER, SENDING, IDLE, LEAVING = Phase

SLICE = 16 * KIB
"""Bytes that are parsed at a time: a read may bring 256 KiB, and in it 40,000 headers."""


class HeadersTooLargeError(RequestError):
    """The headers of a request, or what frames its body, are over their limit."""

    status = 431
    code = "headers_too_large"


class TargetTooLongError(RequestError):
    """The path and the query of a request are over their limit."""

    status = 414
    code = "uri_too_long"


class _EnoughError(Exception):
    """As many requests wait as one connection may pipeline: the rest is not read."""


class BoundedProtocol(HttpToolsProtocol):
    """A connection, as `Connections` sees it; `registry` is that of its process."""

    registry: ClassVar[Connections]

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, object],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.limits = self.registry.limits
        self.phase = self.reading = GREETING
        self.since = self.heard = self.registry.now
        self.body_bytes = 0
        # The request that is being answered; `cycle` is uvicorn's newest one.
        self._active: RequestResponseCycle | None = None
        self._is_deaf = False
        self._is_over = False
        # Bytes of the head, or of the body with its framing, in the slices before this one.
        self._read_bytes = 0
        self._slice_bytes = 0
        # Whether another request ended in this slice: nobody knows how much of it is the next's.
        self._is_shared = False
        self.held = 0
        self._held_answer = 0
        self._unsent = 0

    # --- Life of the connection ------------------------------------------------------------------

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # -- as uvicorn's
        """A client has connected."""
        super().connection_made(transport)
        if self.registry.joined(self):
            self._enter(GREETING)
        else:
            self._is_deaf = True
            self._write(OverloadedError("There are too many connections."))
            self._close()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over, whoever ended it."""
        super().connection_lost(exc)
        self.registry.left(self)
        # uvicorn tells only the newest request.
        if self._active is not None and not self._active.response_complete:
            self._active.disconnected = True
            self._active.message_event.set()

    def shutdown(self) -> None:
        """The service stops: no request after those that are under way."""
        if self.phase is BODY or self.phase is ANSWER or self.phase is SENDING:
            self.cycle.keep_alive = False

    def end(self, error: KompasError | None) -> None:
        """Close; with an error, answer it first if an answer is due and still possible."""
        due = (self.phase is HEAD and self.url) or self.phase is BODY
        if error is not None and due and not self._is_deaf:
            self._refuse(error)
        else:
            self._close()

    def look(self) -> None:
        """Bring `since` up to date with what the client took of its answer."""
        if self.phase is SENDING:
            unsent = self.transport.get_write_buffer_size()
            if unsent <= self._unsent - self.limits.answer_bytes:
                self._unsent, self.since = unsent, self.registry.now

    # --- Whose turn it is ------------------------------------------------------------------------

    def _enter(self, phase: Phase) -> None:
        self.phase = phase
        self.since = self.heard = self.registry.now
        if phase is ANSWER:
            self.registry.own_turn(self)
        else:
            self.registry.clients_turn(self)

    def _settle(self) -> None:
        """Find out whose turn it is."""
        phase = self.reading
        active = self._active
        if active is not None and not active.response_complete and not active.more_body:
            phase = ANSWER
        if self.flow.write_paused and phase is not BODY:
            phase = SENDING
        if phase is not self.phase and not self._is_over:
            self._enter(phase)

    def pause_writing(self) -> None:
        """The client takes less than it gets."""
        super().pause_writing()
        self._unsent = self._held_answer = self.transport.get_write_buffer_size()
        self._settle()
        if not self.registry.hold(self, self._held_answer):
            self.transport.abort()

    def resume_writing(self) -> None:
        """The client has taken (nearly) all."""
        super().resume_writing()
        self.registry.release(self, self._held_answer)
        self._held_answer = 0
        self._settle()

    def on_response_complete(self) -> None:
        """An answer is written: start the next request, or wait for one."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            self._see_off()
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._active = cycle
            self._start_asgi_task(cycle, app)
        elif self.held:
            self.registry.release(self, self.held - self._held_answer)
        self._settle()

    # --- What the parser finds -------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        if len(data) <= SLICE:
            self._parse(data)
        else:
            # So that what is hostile is noticed before much time went into it.
            for start in range(0, len(data), SLICE):
                self._parse(data[start : start + SLICE])
        self._settle()

    def _parse(self, data: bytes) -> None:
        if self._is_deaf:
            return
        self._slice_bytes = len(data)
        self._is_shared = False
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            # Nothing else is spoken here, and what follows may not be HTTP any more.
            self.cycle.keep_alive = False
        except httptools.HttpParserError as error:
            self._stop_parsing(error.__context__)
        else:
            if self.reading is not IDLE:
                self._check_rest()

    def _stop_parsing(self, cause: BaseException | None) -> None:
        if isinstance(cause, _EnoughError):
            self._is_deaf = True
            self.flow.pause_reading()
        elif isinstance(cause, KompasError):
            self._refuse(cause)
        else:
            self._refuse(RequestError("This is not an HTTP/1.1 request as RFC 9112 has it."))

    def on_message_begin(self) -> None:
        """The first byte of a request."""
        HttpToolsProtocol.on_message_begin(self)
        self.reading = HEAD
        self._read_bytes = 0

    def on_headers_complete(self) -> None:
        """The head is complete: the application may begin."""
        self._check_head()
        HttpToolsProtocol.on_headers_complete(self)
        # The application's list is complete: trailers must not be able to add to it.
        self.headers = []
        self.reading = BODY
        self.body_bytes = 0
        self._read_bytes = -self._slice_bytes
        if not self.pipeline:
            self._active = self.cycle
        if self.registry.stopping:
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """A part of a body."""
        self.body_bytes += len(body)
        self.heard = self.registry.now
        if not self.cycle.response_complete and not self.registry.hold(self, len(body)):
            raise OverloadedError("Too many bodies are under way; send it again later.")
        super().on_body(body)

    def on_message_complete(self) -> None:
        """The last byte of a request."""
        HttpToolsProtocol.on_message_complete(self)
        self.reading = IDLE
        self._is_shared = True
        if len(self.pipeline) >= self.limits.pipelined:
            self.cycle.keep_alive = False
            raise _EnoughError

    # --- Bounds of a head ------------------------------------------------------------------------

    def _check_head(self) -> None:
        if len(self.url) > self.limits.target_bytes:
            raise self._too_long()
        if len(self.headers) > self.limits.headers:
            raise self._too_large()
        # Summed up only where it can matter: heads come in one piece, and are small.
        if self._read_bytes or self._slice_bytes > self.limits.head_bytes:
            size = len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
            if size > self.limits.head_bytes:
                raise self._too_large()

    def _check_rest(self) -> None:
        """Bounds what is not complete yet: a head, or the framing and the trailers of a body."""
        if self.reading is HEAD:
            self._read_bytes += 1 if self._is_shared else self._slice_bytes
            if len(self.url) > self.limits.target_bytes:
                self._refuse(self._too_long())
            elif (
                self._read_bytes > self.limits.head_bytes or len(self.headers) > self.limits.headers
            ):
                self._refuse(self._too_large())
        elif self.reading is BODY:
            self._read_bytes += self._slice_bytes
            # Chunks of five bytes are the smallest that a body may wholly consist of.
            if self._read_bytes - self.body_bytes > self.limits.head_bytes + self.body_bytes:
                self._refuse(self._too_large())

    def _too_long(self) -> KompasError:
        limit = self.limits.target_bytes
        return TargetTooLongError(f"Path and query may have {limit} bytes.", limit=limit)

    def _too_large(self) -> KompasError:
        bytes_, number = self.limits.head_bytes, self.limits.headers
        message = f"A request may have {number} headers, and {bytes_} bytes of them in all."
        return HeadersTooLargeError(message, limit=bytes_)

    # --- Refusals --------------------------------------------------------------------------------

    def _refuse(self, error: KompasError) -> None:
        """Read no further; answer the error if it is this request's turn to be answered."""
        self._is_deaf = True
        broken = self.cycle if self.reading is BODY else None
        active = self._active
        if active is not None and active is not broken and not active.response_complete:
            self._answer_only_those_before(broken, active)
            return
        self.registry.release(self, self.held - self._held_answer)
        is_begun = False
        if broken is not None:
            is_begun = broken.response_started
            broken.disconnected = True
            broken.message_event.set()
        if is_begun:
            self._close()
        else:
            self._write(error)
            self._leave()

    def _answer_only_those_before(
        self, broken: RequestResponseCycle | None, active: RequestResponseCycle
    ) -> None:
        if broken is not None:
            self.pipeline.popleft()
        last = self.pipeline[0][0] if self.pipeline else active
        last.keep_alive = False

    def _write(self, error: KompasError) -> None:
        response = problem(error, headers={"Connection": "close"})
        headers = [*self.server_state.default_headers, *response.raw_headers]
        head = [STATUS_LINE[response.status_code], *(b"%b: %b\r\n" % pair for pair in headers)]
        self.transport.write(b"".join([*head, b"\r\n", bytes(response.body)]))

    def _leave(self) -> None:
        if self.registry.stopping:
            self._close()
            return
        # Closing with bytes unread would reset the connection, and the answer with it.
        self.transport.write_eof()
        self.flow.resume_reading()
        self._is_over = True
        self._enter(LEAVING)

    def _close(self) -> None:
        if self.phase is SENDING or self.phase is LEAVING:
            self.transport.abort()
        else:
            self.transport.close()
            self._see_off()

    def _see_off(self) -> None:
        """It is closing, which ends when the client has taken the rest of its answer."""
        self._is_over = True
        self._unsent = self.transport.get_write_buffer_size()
        if self._unsent:
            self._enter(SENDING)


def bounded(connections: Connections) -> type[BoundedProtocol]:
    """The protocol of a process, for uvicorn to make one of for each connection."""
    return type("Bounded", (BoundedProtocol,), {"registry": connections})
