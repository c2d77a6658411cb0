"""Bodies that unpack into far more than they seem, or never end, take no time and no memory."""

from __future__ import annotations

import asyncio
import gzip
import http.client
import re
import tempfile
import time
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.torture.report import Line
from tests.torture.stack import Stack

MB = 1_000_000
SECONDS = 1.0
MEMORY = 32 * MB
SIZES = {"1 MB": MB, "10 MB": 10 * MB, "100 MB": 100 * MB, "1 GB": 1000 * MB}
AT_ONCE = 8
REST = re.compile(rb"^Vm(HWM|RSS):\s+(\d+) kB", re.M)


@dataclass(frozen=True)
class Bomb:
    """A body, and the statuses with which it is refused; without `length` it comes in chunks."""

    name: str
    body: bytes
    statuses: tuple[int, ...] = (413,)
    encoding: str = "gzip"
    length: int | None = None
    chunks: int = 0
    """How often the body is sent."""


def packed(part: bytes, size: int) -> bytes:
    """As many bytes of this part, packed."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    step = part * (MB // len(part))
    made = [packer.compress(step) for _ in range(size // len(step))]
    return b"".join([packer.compress(b"["), *made, packer.flush()])


def bombs(short: bool) -> Iterator[Bomb]:
    """All of them; `short` leaves out the gigabytes, which take their time to be made."""
    for name, size in SIZES.items():
        if short and size > 100 * MB:
            continue
        yield Bomb(f"{name} of objects", packed(b"{},", size))
        # Below the limit it is content, though no JSON.
        yield Bomb(f"{name} of zeros", packed(b"0000", size), (413, 400))
        yield Bomb(f"{name} of brackets", packed(b"[[[[", size), (413, 400))
    inner = gzip.compress(b"0" * 100 * MB)
    yield Bomb("gzip in gzip", gzip.compress(inner), (400,))
    yield Bomb("deflate", zlib.compress(b"0" * 100 * MB), (415,), "deflate")
    yield Bomb("members", gzip.compress(b"") * 200_000, (400,))
    yield Bomb("1 GB announced", b"", (413,), "identity", length=1000 * MB)
    yield Bomb("chunks without end", b"0" * 65_536, (413,), "identity", chunks=1000)
    yield Bomb("packed chunks without end", packed(b"{},", MB)[:900], (413,), "gzip", chunks=20_000)


async def run(short: bool) -> Line:
    """One after the other, then the worst of them eight at a time."""
    made = await asyncio.to_thread(lambda: list(bombs(short)))
    with tempfile.TemporaryDirectory(prefix="kompas-bombs-", dir="/var/tmp") as name:
        async with Stack(Path(name)) as stack:
            await stack.start()
            for bomb in made[:4]:
                await asyncio.to_thread(_thrown, stack, bomb)  # what is loaded once
            seen = [await _weighed(stack, bomb, 1) for bomb in made]
            together = [await _weighed(stack, bomb, AT_ONCE) for bomb in made if bomb.body]
            await stack.stop()
    slowest = max(one.seconds for one in seen)
    memory = max(one.memory for one in seen)
    wrong = [f"{one.bomb.name}: {one.status}" for one in seen if not one.is_refused]
    result = (
        f"{len(seen)} bombs refused within {slowest:.2f} s, {memory / MB:.0f} MB more memory;"
        f" {AT_ONCE} at a time {max(one.seconds for one in together):.2f} s,"
        f" {max(one.memory for one in together) / MB:.0f} MB"
    )
    in_time = slowest <= SECONDS and memory <= MEMORY
    target = f"413 within {SECONDS:.0f} s, at most {MEMORY // MB} MB more memory"
    return Line(
        "gzip bombs of 1 MB to 1 GB", target, "; ".join([result, *wrong]), not wrong, in_time
    )


@dataclass(frozen=True)
class Seen:
    """What became of a bomb, and what it took: seconds, bytes of memory at most."""

    bomb: Bomb
    status: int
    seconds: float
    memory: int

    @property
    def is_refused(self) -> bool:
        """Whether it was answered as it should be."""
        return self.status in self.bomb.statuses


async def _weighed(stack: Stack, bomb: Bomb, number: int) -> Seen:
    process = Path(f"/proc/{stack.service.pid}")
    (process / "clear_refs").write_text("5")  # the peak begins anew
    before = _memory(process)["RSS"]
    thrown = [asyncio.to_thread(_thrown, stack, bomb) for _ in range(number)]
    answers = await asyncio.gather(*thrown)
    memory = _memory(process)["HWM"] - before
    return Seen(bomb, answers[0][0], max(seconds for _, seconds in answers), memory)


def _memory(process: Path) -> dict[str, int]:
    found = REST.findall((process / "status").read_bytes())
    return {name.decode(): int(number) * 1024 for name, number in found}


def _thrown(stack: Stack, bomb: Bomb) -> tuple[int, float]:
    """Status, and seconds from the last byte that was sent to the answer."""
    connection = http.client.HTTPConnection("127.0.0.1", stack.port, timeout=30)
    headers = {"Authorization": f"Bearer {stack.key()}", "Content-Encoding": bomb.encoding}
    if bomb.length is not None:
        headers["Content-Length"] = str(bomb.length)
    body = (bomb.body for _ in range(bomb.chunks)) if bomb.chunks else bomb.body
    started = time.monotonic()
    connection.request("POST", "/v1/events", body, headers, encode_chunked=bool(bomb.chunks))
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status, time.monotonic() - started
