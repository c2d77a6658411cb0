"""A proxy in front of Postgres that fails on command: the faults are real, on real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from enum import Enum, auto
from urllib.parse import parse_qs, urlsplit


class Mode(Enum):
    PASS = auto()
    SWALLOW = auto()
    """What the client sends arrives; what the server answers does not."""
    CUT = auto()
    """What the client sends arrives; instead of the answer, its connection ends."""
    REFUSE = auto()
    """New connections are closed at once."""


class Proxy:
    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        query = parse_qs(parts.query)
        self._target = f"{query['host'][0]}/.s.PGSQL.{query['port'][0]}"
        self._user, self._database = parts.username, parts.path
        self._streams: set[asyncio.StreamWriter] = set()
        self.mode = Mode.PASS
        self.swallow_after = b""
        """When the client sends this, the mode becomes SWALLOW."""
        self.cut_after = b""
        """When the client sends this, the mode becomes CUT."""
        self.cut_at = b""
        """When the server answers this, the mode becomes CUT."""
        self.answers_left: int | None = None
        """After so many pieces of an answer the mode becomes CUT."""
        self.delay = 0.0
        """Seconds that every piece of an answer is late."""
        self.port = 0

    @property
    def url(self) -> str:
        return f"postgresql://{self._user}@127.0.0.1:{self.port}{self._database}?ssl=disable"

    def mend(self) -> None:
        """End every connection, and let new ones pass."""
        self.mode = Mode.PASS
        self.swallow_after = self.cut_after = self.cut_at = b""
        self.answers_left = None
        self.delay = 0.0
        self._cut()

    def refuse(self) -> None:
        """End every connection, and take no new one."""
        self.mode = Mode.REFUSE
        self._cut()

    def _cut(self) -> None:
        for stream in self._streams:
            stream.transport.abort()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._streams.add(writer)
        try:
            if self.mode is not Mode.REFUSE:
                await self._relay(reader, writer)
        finally:
            self._streams.discard(writer)
            writer.close()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        their_reader, their_writer = await asyncio.open_unix_connection(self._target)
        back = asyncio.create_task(self._copy(their_reader, writer, is_answer=True))
        with suppress(OSError):
            await self._copy(reader, their_writer, is_answer=False)
        their_writer.close()
        with suppress(OSError):
            await back

    async def _copy(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_answer: bool
    ) -> None:
        while data := await reader.read(65536):
            if is_answer and self.answers_left is not None:
                self.answers_left -= 1
                if self.answers_left < 0:
                    self.mode = Mode.CUT
            if is_answer and self.cut_at and self.cut_at in data:
                self.mode = Mode.CUT
            if is_answer and self.delay:
                await asyncio.sleep(self.delay)
            if is_answer and self.mode is Mode.SWALLOW:
                continue
            if is_answer and self.mode is Mode.CUT:
                writer.transport.abort()
                return
            if not is_answer and self.swallow_after and self.swallow_after in data:
                self.mode = Mode.SWALLOW
            if not is_answer and self.cut_after and self.cut_after in data:
                self.mode = Mode.CUT
            writer.write(data)
            await writer.drain()
        writer.close()


@asynccontextmanager
async def proxy_to(url: str) -> AsyncIterator[Proxy]:
    """A proxy to the Postgres behind a socket in the file system."""
    proxy = Proxy(url)
    server = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        proxy.mend()
