from __future__ import annotations

import asyncio

from service.kit.waiting import wait_at_most


async def test_it_ends_when_the_event_is_set() -> None:
    event = asyncio.Event()
    waiting = asyncio.create_task(wait_at_most(event, 3600))
    await asyncio.sleep(0)
    assert not waiting.done()
    event.set()
    await waiting


async def test_it_ends_without_the_event_when_the_time_is_over() -> None:
    event = asyncio.Event()
    await wait_at_most(event, 0.001)
    assert not event.is_set()


async def test_being_cancelled_is_not_the_time_being_over() -> None:
    waiting = asyncio.create_task(wait_at_most(asyncio.Event(), 3600))
    await asyncio.sleep(0)
    waiting.cancel()
    (outcome,) = await asyncio.gather(waiting, return_exceptions=True)
    assert isinstance(outcome, asyncio.CancelledError)
