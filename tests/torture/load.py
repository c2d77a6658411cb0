"""An open-loop load: pixels that nobody repeats, and batches that are repeated until answered.

It keeps its pace whatever the service does, and notes in the ledger what was acknowledged.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import quote

from tests.torture.ledger import Ledger

PATIENCE = 5.0
"""Seconds after which a client takes no answer for an answer."""
AGAIN = 0.1
BROWSER = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0 Safari/537.36"
BATCH = 20


class Connection:
    """One keep-alive HTTP connection; it is opened when needed, and dropped after an error."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def exchange(self, request: bytes) -> tuple[int, bytes]:
        """Status and body; OSError when there is no whole answer in time."""
        try:
            async with asyncio.timeout(PATIENCE):
                return await self._exchange(request)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            self.drop()
            raise ConnectionError from error

    async def _exchange(self, request: bytes) -> tuple[int, bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port)
        reader, writer = self._streams
        writer.write(request)
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        _, _, rest = head.partition(b"content-length:")
        body = await reader.readexactly(int(rest.split(b"\r\n", 1)[0]))
        if b"connection: close" in head:
            self.drop()
        return int(head.split(b" ", 2)[1]), body

    def drop(self) -> None:
        """Close it."""
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None


@dataclass
class Load:
    """Events a second: `pixels` of them page views, one a request; the others `batched`."""

    port: int
    key: str
    ledger: Ledger
    pixels: float = 400
    batched: float = 600
    connections: int = 16
    seconds: list[float] = field(default_factory=list)
    """How long each pixel's answer took."""
    late: list[float] = field(default_factory=list)
    """When (monotonic) answers came that were not 200, or none at all."""
    refused: int = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """The load flows while the block runs; batches under way are then given up."""
        tasks = [asyncio.create_task(self._pixels()) for _ in range(self.connections)]
        tasks += [asyncio.create_task(self._batches()) for _ in range(self.connections // 2)]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            for found in await asyncio.gather(*tasks, return_exceptions=True):
                if isinstance(found, Exception):
                    raise found

    async def _pixels(self) -> None:
        connection = Connection(self.port)
        async for _ in paced(self.pixels / self.connections):
            [mark] = self.ledger.marks(1)
            url = quote("https://shop.example/a", safe="")
            target = f"/v1/pixel.gif?url={url}&title={mark}&visitor={mark}"
            request = (
                f"GET {target} HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {self.key}\r\n"
                f"User-Agent: {BROWSER}\r\n\r\n"
            )
            started = time.monotonic()
            try:
                status, _ = await connection.exchange(request.encode())
            except OSError:
                self.late.append(time.monotonic())
                self.seconds.append(time.monotonic() - started)
                continue
            self.seconds.append(time.monotonic() - started)
            if status == 200:
                self.ledger.acknowledge([mark])
            else:
                self.refused += 1
                self.late.append(time.monotonic())

    async def _batches(self) -> None:
        connection = Connection(self.port)
        async for _ in paced(self.batched / BATCH / (self.connections // 2)):
            marks = self.ledger.marks(BATCH)
            request = post("/v1/events", self.key, [event(mark) for mark in marks])
            while True:
                with suppress(OSError):
                    status, body = await connection.exchange(request)
                    if status == 200:
                        receipt = json.loads(body)
                        assert receipt["accepted"] + receipt["duplicates"] == BATCH, receipt
                        self.ledger.acknowledge(marks)
                        break
                await asyncio.sleep(AGAIN)


async def paced(rate: float) -> AsyncIterator[None]:
    """So many turns a second, whatever each takes; those that were missed are not made up for."""
    due = time.monotonic()
    while rate:
        due = max(due + 1 / rate, time.monotonic() - 1)
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        yield


def event(mark: str) -> dict[str, object]:
    """An order with an id."""
    return {
        "kind": "conversion",
        "id": mark,
        "order": mark,
        "value": "1.00",
        "currency": "DKK",
        "props": {"mark": mark},
    }


def post(path: str, key: str, body: object) -> bytes:
    """A POST of JSON as it goes over the wire."""
    payload = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {key}\r\n"
        f"Content-Length: {len(payload)}\r\n\r\n"
    )
    return head.encode() + payload
