"""Waiting for something that may not happen."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, TypeVar

A = TypeVar("A")
B = TypeVar("B")


async def wait_at_most(event: asyncio.Event, seconds: float) -> None:
    """Until the event is set, or that many seconds are over: `event.is_set()` says which."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()


async def both(one: Coroutine[Any, Any, A], other: Coroutine[Any, Any, B]) -> tuple[A, B]:
    """What the two answer, done at the same time; when one raises, the other is not left running.

    What is raised is the error itself, not a group of errors.
    """
    tasks = asyncio.ensure_future(one), asyncio.ensure_future(other)
    try:
        first, second = await asyncio.gather(*tasks)
        return first, second
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
