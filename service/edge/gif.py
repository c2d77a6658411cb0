"""The image that pixels answer: 43 bytes, transparent, the same for every outcome."""

from __future__ import annotations

from starlette.types import Message, Send

from service.errors import KompasError, RetryableError

GIF = (
    b"GIF89a\x01\x00\x01\x00\x80\x00\x00\x00\x00\x00\xff\xff\xff!\xf9\x04\x01\x00\x00\x00\x00"
    b",\x00\x00\x00\x00\x01\x00\x01\x00\x00\x02\x02D\x01\x00;"
)
HEADERS = (
    (b"content-type", b"image/gif"),
    (b"content-length", b"43"),
    (b"cache-control", b"no-store"),
    (b"access-control-allow-origin", b"*"),
    (b"cross-origin-resource-policy", b"cross-origin"),
    (b"x-content-type-options", b"nosniff"),
)
_EXPOSED = (b"access-control-expose-headers", b"X-Kompas-Code, Retry-After")


async def send_gif(send: Send, status: int = 200, *more: tuple[bytes, bytes]) -> None:
    """Send the image. A HEAD request's body is left out by the server."""
    # A list of its own: middleware may add to it.
    start: Message = {"type": "http.response.start", "status": status, "headers": [*HEADERS, *more]}
    await send(start)
    await send({"type": "http.response.body", "body": GIF})


async def send_failure(send: Send, error: KompasError) -> None:
    """Send the image with the error's status, and its code in `X-Kompas-Code`."""
    code = (b"x-kompas-code", error.code.encode("ascii", "replace"))
    if isinstance(error, RetryableError):
        retry = (b"retry-after", b"%d" % error.retry_after)
        await send_gif(send, error.status, code, retry, _EXPOSED)
    else:
        await send_gif(send, error.status, code, _EXPOSED)
