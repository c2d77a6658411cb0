from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from service.kit.waiting import both, wait_at_most


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


async def test_both_are_done_at_the_same_time() -> None:
    here, there = asyncio.Event(), asyncio.Event()

    async def meet(mine: asyncio.Event, other: asyncio.Event, answer: int) -> int:
        mine.set()
        await other.wait()
        return answer

    assert await both(meet(here, there, 1), meet(there, here, 2)) == (1, 2)


@pytest.mark.parametrize("raises_first", [True, False])
async def test_when_one_raises_the_other_has_ended(*, raises_first: bool) -> None:
    ended: list[str] = []

    async def last() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("last")

    async def fail() -> None:
        await asyncio.sleep(0)
        raise LookupError("no")

    with pytest.raises(LookupError, match="no"):
        await (both(fail(), last()) if raises_first else both(last(), fail()))
    assert ended == ["last"]


async def test_who_is_cancelled_leaves_none_of_both_running() -> None:
    ended: list[int] = []

    async def last(number: int) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)
            ended.append(number)

    waiting = asyncio.create_task(both(last(1), last(2)))
    await asyncio.sleep(0.01)
    waiting.cancel()
    with suppress(asyncio.CancelledError):
        await waiting
    assert sorted(ended) == [1, 2]
