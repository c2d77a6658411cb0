"""`/healthz`: the process lives. `/readyz`: an event can be made durable now."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel
from starlette.responses import Response

from service.app.problems import RETRY_SECONDS
from service.errors import RetryableError
from service.kit.http import json_response

CanWrite = Callable[[], Awaitable[bool]]


class Health(BaseModel):
    """That it lives, or is ready."""

    status: Literal["ok", "ready"]


class HealthDoors:
    """Both without a key: orchestrators and load balancers have none."""

    def __init__(self, can_write: CanWrite) -> None:
        self._can_write = can_write

    def router(self) -> APIRouter:
        """The two doors; HEAD is for monitors that send nothing else."""
        router = APIRouter(tags=["health"])
        for path, endpoint in (("/healthz", self.healthz), ("/readyz", self.readyz)):
            router.add_api_route(path, endpoint, response_model=Health)
            router.add_api_route(path, endpoint, methods=["HEAD"], include_in_schema=False)
        return router

    async def healthz(self) -> Response:
        """200 while the process lives; asks nothing of the database."""
        return json_response({"status": "ok"})

    async def readyz(self) -> Response:
        """200 when an event can be made durable now, otherwise 503 with Retry-After."""
        if not await self._can_write():
            raise RetryableError(
                "No event can be made durable at the moment.", retry_after=RETRY_SECONDS
            )
        return json_response({"status": "ready"})
