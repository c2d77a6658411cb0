"""Waiting for something to become true, from outside, by asking again and again."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Awaitable, Callable

PAUSE = 0.03


async def until(holds: Callable[[], Awaitable[bool]], seconds: float) -> float:
    """Seconds until it holds; infinite when it does not within so many."""
    started = time.monotonic()
    while (taken := time.monotonic() - started) < seconds:
        if await holds():
            return taken
        await asyncio.sleep(PAUSE)
    return math.inf
