"""Slow and hostile clients, in a process of their own so that they delay no measurement.

`python -m tests.torture.crowd PORT KEY NUMBER KINDS`: so many connections until killed, of the
first KINDS manners; whoever is closed comes back.
"""

from __future__ import annotations

import asyncio
import resource
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from itertools import cycle

import uvloop

PAUSE = 1.0
HEAD = b"GET /v1/pixel.gif?k=k HTTP/1.1\r\nHost: t\r\n"
KEY = b"{key}"
BODY = b"POST /v1/events HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer {key}\r\n"
SIZED = BODY + b"Content-Length: 1000000\r\n\r\n[{"
CHUNKED = BODY + b"Transfer-Encoding: chunked\r\n\r\n"
LARGE = b"GET /openapi.json HTTP/1.1\r\nHost: t\r\n\r\n"


@dataclass(frozen=True)
class Manner:
    """What a client sends at first, and then every second; it reads nothing."""

    name: str
    first: bytes
    then: bytes = b""


MANNERS = (
    Manner("silent", b""),
    Manner("half a line", b"GET /v1/pix"),
    Manner("half a head", HEAD + b"X-Half"),
    Manner("half a body", SIZED),
    Manner("idle", b"GET /healthz HTTP/1.1\r\nHost: t\r\n\r\n"),
    Manner("a head that trickles", HEAD + b"X-Slow: ", b"x"),
    Manner("headers that trickle", HEAD, b"X-Slow: x\r\n"),
    Manner("a body that trickles", SIZED, b" "),
    Manner("chunks that trickle", CHUNKED, b"1\r\n[\r\n"),
    Manner("answers not read", LARGE * 8),
)
HALF_OPEN = 5
"""The first of them, which send nothing more."""


class Crowd:
    """All of them; `closed` counts how often one was closed."""

    def __init__(self, port: int, key: str) -> None:
        self._port = port
        self._key = key.encode()
        self.closed = 0

    async def gather(self, number: int, kinds: int) -> None:
        """So many at a time, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for _, manner in zip(range(number), cycle(MANNERS[:kinds]), strict=False):
                tasks.create_task(self._come_again(manner))

    async def _come_again(self, manner: Manner) -> None:
        while True:
            # RuntimeError is uvloop's word for a connection that is closed.
            with suppress(OSError, RuntimeError):
                await self._stay(manner)
            self.closed += 1
            await asyncio.sleep(PAUSE)

    async def _stay(self, manner: Manner) -> None:
        # A limit of one byte: what is not read stays in the kernel, and then with the sender.
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port, limit=1)
        try:
            writer.write(manner.first.replace(KEY, self._key))
            while not writer.is_closing() and not reader.at_eof():
                await asyncio.sleep(PAUSE)
                if manner.then:
                    writer.write(manner.then)
        finally:
            writer.close()


async def main(port: int, key: str, number: int, kinds: int) -> None:
    """Until SIGTERM; then says how often the service closed one."""
    crowd = Crowd(port, key)
    task = asyncio.ensure_future(crowd.gather(number, kinds))
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    with suppress(asyncio.CancelledError):
        await task
    print(crowd.closed)


if __name__ == "__main__":
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
