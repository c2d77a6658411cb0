"""What stands in for the application while it starts."""

from __future__ import annotations

import asyncio

import httpx
import pytest
from starlette.responses import PlainTextResponse

from service.app.starting import Starting
from service.edge.gif import GIF
from service.kit.clock import SystemClock
from tests.doors import problem

THERE = PlainTextResponse("the application")


def asked(door: Starting) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(door), base_url="http://kompas")


async def under_way(*waiting: asyncio.Task[httpx.Response]) -> None:
    done, _ = await asyncio.wait(waiting, timeout=0.05)
    assert not done


async def test_what_is_held_is_answered_by_the_application() -> None:
    door = Starting(SystemClock(), most=10)
    async with asked(door) as client:
        held = asyncio.create_task(client.post("/v1/events", content=b"{}"))
        await under_way(held)
        assert (await client.head("/healthz")).status_code == 200
        assert (await client.post("/healthz")).headers["allow"] == "GET, HEAD"
        door.open(THERE)
        assert (await held).text == "the application"
        assert (await client.get("/healthz")).text == "the application"


@pytest.mark.parametrize("ends", ["by its time", "by giving up", "by their number"])
async def test_what_cannot_be_held_may_be_tried_again(ends: str) -> None:
    most = 0 if ends == "by their number" else 10
    door = Starting(SystemClock(), most, hold_seconds=0.1 if ends == "by its time" else 60)
    async with asked(door) as client:
        if ends == "by giving up":
            held = asyncio.create_task(client.get("/v1/kpis/roas"))
            await under_way(held)
            door.give_up()
            problem(await asyncio.wait_for(held, 5), 503, "unavailable")
        answer = await client.get("/v1/kpis/roas")
        problem(answer, 503, "unavailable")
        assert int(answer.headers["retry-after"]) > 0
        assert answer.headers["x-request-id"]
        pixel = await client.get("/v1/pixel.gif")
        assert (pixel.status_code, pixel.content) == (503, GIF)
        assert pixel.headers["x-kompas-code"] == "unavailable"
        assert int(pixel.headers["retry-after"]) > 0
        problem(await client.get("/readyz"), 503, "unavailable")
        assert (await client.get("/healthz")).json() == {"status": "ok"}


async def test_who_was_answered_makes_room_for_others() -> None:
    door = Starting(SystemClock(), most=1, hold_seconds=0.05)
    async with asked(door) as client:
        assert (await client.get("/v1/sites")).status_code == 503
        held = asyncio.create_task(client.get("/v1/sites"))
        await asyncio.sleep(0.01)
        problem(await client.get("/v1/sites"), 503, "unavailable")
        door.open(THERE)
        assert (await held).text == "the application"
