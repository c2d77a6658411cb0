"""The floor of every HTTP figure: uvicorn with an application that does nothing."""

from __future__ import annotations

import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from tests.running import free_port

GIF = b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00,"
GIF += b"\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answers 43 bytes to everything."""
    headers = [(b"content-type", b"image/gif"), (b"content-length", b"43")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": GIF})


@contextmanager
def bare_service() -> Iterator[str]:
    """The address of the bare application while the block runs."""
    port = free_port()
    options = ["--port", str(port), "--no-access-log", "--lifespan", "off", "--log-level", "error"]
    process = subprocess.Popen([sys.executable, "-m", "uvicorn", "tests.bench.bare:app", *options])
    url = f"http://127.0.0.1:{port}/v1/pixel.gif"
    try:
        for _ in range(200):
            try:
                urllib.request.urlopen(url).read()
                break
            except OSError:
                time.sleep(0.02)
        yield url
    finally:
        process.terminate()
        process.wait(10)
