"""Waiting for something that may not happen."""

from __future__ import annotations

import asyncio
from contextlib import suppress


async def wait_at_most(event: asyncio.Event, seconds: float) -> None:
    """Until the event is set, or that many seconds are over: `event.is_set()` says which."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
