"""The bytes of a request: read with a limit, unpacked with a limit."""

from __future__ import annotations

import asyncio
import zlib

from starlette.types import Receive

from service.edge.headers import RequestHeaders
from service.errors import RequestError, TooLargeError

MIB = 1 << 20
UNPACKED = 8 * MIB
"""Decoded bytes that a packed body may have. Honest clients reach ratios above 100, so the ratio
says nothing."""

GZIP = b"\x1f\x8b"
"""The first bytes of anything that gzip made."""

# A member may be 20 bytes and hold nothing: their number and what is copied for each are bounded.
_MEMBERS = 1024
_SLICE = 16 * 1024


class DisconnectedError(Exception):
    """The client went away in the middle of its request: there is nobody to answer."""


class BodyTimeoutError(RequestError):
    """The body took longer than its deadline."""

    status = 408
    code = "body_timeout"


class UnsupportedEncodingError(RequestError):
    """The body is packed in a way that is not read."""

    status = 415
    code = "unsupported_encoding"


async def read_body(headers: RequestHeaders, receive: Receive, limit: int, seconds: float) -> bytes:
    """The body as it was sent, at most `limit` bytes, within `seconds`.

    Raises TooLargeError as soon as that is known (`Content-Length` is believed only when it
    says too much), BodyTimeoutError, DisconnectedError, RequestError `empty_body`.
    """
    declared = headers.get(b"content-length", b"")
    if declared.isdigit() and (len(declared) > 15 or int(declared) > limit):
        raise _too_large(limit)
    try:
        async with asyncio.timeout(seconds):
            body = await _read(receive, limit)
    except TimeoutError:
        raise BodyTimeoutError(f"The body must arrive within {seconds:g} seconds.") from None
    if not body:
        raise RequestError("The body is empty; send JSON.", code="empty_body")
    return body


async def _read(receive: Receive, limit: int) -> bytes:
    chunks = []
    size = 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            raise DisconnectedError
        chunk = message.get("body", b"")
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        chunks.append(chunk)
        if not message.get("more_body", False):
            return b"".join(chunks)


def _too_large(limit: int) -> TooLargeError:
    return TooLargeError(
        f"The body may be at most {limit // MIB} MiB; send fewer events at a time.", limit=limit
    )


def unpack(body: bytes, encoding: str) -> bytes:
    """The body without its `Content-Encoding`.

    gzip is also recognised by its first bytes, with which no JSON begins. Raises
    UnsupportedEncodingError, RequestError `invalid_gzip`, TooLargeError.
    """
    encoding = encoding.strip().lower()
    if encoding not in ("", "identity", "gzip", "x-gzip"):
        raise UnsupportedEncodingError("A body may be plain or gzip; no other encoding is read.")
    if encoding.endswith("gzip") or body.startswith(GZIP):
        try:
            return gunzip(body)
        except zlib.error as error:
            raise _no_gzip("The body is not what gzip makes.") from error
    return body


def _no_gzip(message: str) -> RequestError:
    return RequestError(message, code="invalid_gzip")


def gunzip(body: bytes, limit: int = UNPACKED) -> bytes:
    """The content of all gzip members, at most `limit` bytes are ever made of it.

    Raises TooLargeError, RequestError `invalid_gzip` for a stream that stops early, zlib.error.
    """
    out = bytearray()
    unpacker = zlib.decompressobj(wbits=31)
    members = 1
    for start in range(0, len(body), _SLICE):
        rest = body[start : start + _SLICE]
        while rest and not (unpacker.eof and not rest.strip(b"\0")):
            if unpacker.eof:
                members += 1
                unpacker = zlib.decompressobj(wbits=31)
            out += unpacker.decompress(rest, limit + 1 - len(out))
            if len(out) > limit:
                raise TooLargeError(
                    f"The body may be at most {limit // MIB} MiB when unpacked.", limit=limit
                )
            if members > _MEMBERS:
                raise _no_gzip(f"A body may have at most {_MEMBERS} gzip members.")
            rest = unpacker.unused_data
    if not unpacker.eof:
        raise _no_gzip("The gzip body stops in the middle.")
    return bytes(out)
