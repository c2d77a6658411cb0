"""How upkeep waits for others: shortly, and again, so that nobody queues behind it for long."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from service.kit.log import get_logger
from service.store.failures import describe, is_blocked

T = TypeVar("T")

LOCK_TIMEOUT = "1s"
"""Whoever wants a lock that is taken stands in the way of all who come later and want it, too."""
PAUSE_SECONDS = 1.0
"""As long as one wait: half of the time is for the others."""
ATTEMPTS = 30

_log = get_logger(__name__)


async def patiently(do: Callable[[], Awaitable[T]], name: str) -> T:
    """What `do` answers, which must be one transaction that waits for locks `LOCK_TIMEOUT` at most.

    It is done again while others are in its way, about a minute long; then raises what it raised.
    """
    for _ in range(ATTEMPTS - 1):
        try:
            return await do()
        except Exception as error:
            if not is_blocked(error):
                raise
            _log.info("others_in_the_way", of=name, error=describe(error))
        await asyncio.sleep(PAUSE_SECONDS)
    return await do()
