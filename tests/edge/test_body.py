"""The bytes of a request: limits on the wire and unpacked, gzip that lies."""

from __future__ import annotations

import asyncio
import gzip
import tracemalloc
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.edge.body import (
    MIB,
    UNPACKED,
    BodyTimeoutError,
    DisconnectedError,
    gunzip,
    read_body,
    unpack,
)
from service.errors import KompasError, RequestError, TooLargeError


def receiver(*chunks: bytes, end: bool = True) -> Any:
    """An ASGI receive that hands out chunks; without `end` the client goes away after them."""
    messages = [{"type": "http.request", "body": chunk, "more_body": True} for chunk in chunks]
    if end:
        messages.append({"type": "http.request", "body": b"", "more_body": False})
    rest = iter(messages)

    async def receive() -> Any:
        return next(rest, {"type": "http.disconnect"})

    return receive


async def test_chunks_become_one_body() -> None:
    assert await read_body({}, receiver(b'{"a"', b":1}"), MIB, 1) == b'{"a":1}'


@pytest.mark.parametrize("declared", [b"11", b"9" * 30], ids=["too much", "absurd"])
async def test_a_declared_length_is_refused_before_a_byte_is_read(declared: bytes) -> None:
    async def receive() -> Any:
        raise AssertionError("read")

    with pytest.raises(TooLargeError):
        await read_body({b"content-length": declared}, receive, 10, 1)


@pytest.mark.parametrize("declared", [b"3", b"", b"-1", b"x", "²".encode("latin-1")])
async def test_a_length_that_lies_changes_nothing(declared: bytes) -> None:
    headers = {b"content-length": declared}
    assert await read_body(headers, receiver(b"0123456789"), 10, 1) == b"0123456789"
    with pytest.raises(TooLargeError):
        await read_body(headers, receiver(b"0123456789", b"0"), 10, 1)


async def test_nothing_is_read_after_the_limit() -> None:
    taken = 0

    async def endless() -> Any:
        nonlocal taken
        taken += 1
        return {"type": "http.request", "body": b"x" * 1000, "more_body": True}

    with pytest.raises(TooLargeError):
        await read_body({}, endless, 10_000, 1)
    assert taken == 11


async def test_an_empty_body_says_so() -> None:
    with pytest.raises(RequestError) as caught:
        await read_body({}, receiver(), 10, 1)
    assert caught.value.code == "empty_body"


async def test_a_client_that_goes_away_is_not_answered() -> None:
    with pytest.raises(DisconnectedError):
        await read_body({}, receiver(b'{"a"', end=False), MIB, 1)


async def test_a_body_that_trickles_meets_its_deadline() -> None:
    async def never() -> Any:
        await asyncio.Event().wait()

    with pytest.raises(BodyTimeoutError):
        await read_body({}, never, MIB, 0.01)


PLAIN = b'{"kind":"lead"}'
# The time would stand in the names of tests, which have to be the same in every process.
PACKED = gzip.compress(PLAIN, mtime=0)


@pytest.mark.parametrize(
    ("body", "encoding"),
    [
        (PLAIN, ""),
        (PLAIN, "identity"),
        (PACKED, "gzip"),
        (PACKED, " GZIP "),
        (PACKED, "x-gzip"),
        (PACKED, ""),  # some clients leave the header out; no JSON begins like this
        (gzip.compress(PLAIN[:5], mtime=0) + gzip.compress(PLAIN[5:], mtime=0), "gzip"),
        (gzip.compress(b"", mtime=0) + PACKED, "gzip"),
        (PACKED + b"\0" * 100_000, "gzip"),
    ],
)
def test_bodies_that_are_read(body: bytes, encoding: str) -> None:
    assert unpack(body, encoding) == PLAIN


@pytest.mark.parametrize(
    ("body", "encoding", "status", "code"),
    [
        (PLAIN, "br", 415, "unsupported_encoding"),
        (PLAIN, "deflate", 415, "unsupported_encoding"),
        (PACKED, "gzip, gzip", 415, "unsupported_encoding"),
        (PLAIN, "gzip", 400, "invalid_gzip"),
        (PACKED[:-1], "gzip", 400, "invalid_gzip"),
        (PACKED[:3], "gzip", 400, "invalid_gzip"),
        (PACKED[:-8] + b"\0\0\0\0" + PACKED[-4:], "gzip", 400, "invalid_gzip"),
        (PACKED + b"more", "gzip", 400, "invalid_gzip"),
        (PACKED + PACKED[:9], "gzip", 400, "invalid_gzip"),
        (gzip.compress(b"", mtime=0) * 2000, "gzip", 400, "invalid_gzip"),
    ],
)
def test_bodies_that_are_refused(body: bytes, encoding: str, status: int, code: str) -> None:
    with pytest.raises(KompasError) as caught:
        unpack(body, encoding)
    assert (caught.value.status, caught.value.code) == (status, code)


def test_a_bomb_is_never_unpacked_beyond_the_limit() -> None:
    exactly = gzip.compress(b"0" * UNPACKED)
    assert len(unpack(exactly, "gzip")) == UNPACKED
    for bomb in (gzip.compress(b"0" * (UNPACKED + 1)), exactly + gzip.compress(b"0")):
        with pytest.raises(TooLargeError):
            unpack(bomb, "gzip")


def test_a_bomb_takes_no_memory() -> None:
    bomb = gzip.compress(b"0" * (64 * MIB))
    tracemalloc.start()
    with pytest.raises(TooLargeError):
        gunzip(bomb, MIB)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * MIB


def test_many_small_members_cost_little() -> None:
    """Each end of a member copies what follows it: unbounded, this would copy 600 GB."""
    with pytest.raises(RequestError):
        unpack(gzip.compress(b"") * 250_000, "gzip")


@given(st.lists(st.binary(max_size=50_000), min_size=1, max_size=5), st.integers(0, 200_000))
def test_gunzip_is_the_inverse_of_gzip_up_to_the_limit(parts: list[bytes], limit: int) -> None:
    content = b"".join(parts)
    packed = b"".join(map(gzip.compress, parts))
    if len(content) <= limit:
        assert gunzip(packed, limit) == content
    else:
        with pytest.raises(TooLargeError):
            gunzip(packed, limit)


@given(st.binary(), st.sampled_from(["", "gzip"]), st.integers(0, 60))
def test_any_bytes_are_unpacked_or_refused(noise: bytes, encoding: str, cut: int) -> None:
    for body in (noise, PACKED[:cut] + noise, noise + PACKED):
        with suppress(RequestError):
            unpack(body, encoding)
