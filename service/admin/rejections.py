"""`/v1/rejections`: what was refused, and why, newest first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, ClassVar

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.requests import Request
from starlette.responses import Response

from service.admin.admission import Admission
from service.kit.http import json_response
from service.kit.payload import Strict, Text, refuse_repeats
from service.store.rejections import list_rejections


class RejectionParameters(Strict):
    """Which page of the list."""

    noun: ClassVar[str] = "parameter"

    limit: int = Field(100, ge=1, le=1000, description="Rejections at most.")
    before: int | None = Field(
        None, ge=1, le=2**63 - 1, description="Only older ones: the smallest id of the page before."
    )
    site: Text | None = Field(None, description="Another site's slug; admin keys only.")


class Rejection(BaseModel):
    """One refused event, or a whole request that could not be read."""

    id: int
    received_at: datetime
    door: str = Field(description="The route it came in by.")
    code: str
    message: str
    field: str = Field(description="Pointer to the culprit, '' for the whole.")
    payload: str = Field(description="What was sent, cut short, ids of people left out.")


class RejectionsAnswer(BaseModel):
    """Newest first."""

    rejections: list[Rejection]


@dataclass(frozen=True)
class RejectionDoors:
    """For keys with the scope `read`, for their own site."""

    engine: AsyncEngine
    admission: Admission

    def router(self) -> APIRouter:
        """The one door."""
        router = APIRouter(
            prefix="/v1/rejections",
            tags=["rejections"],
            dependencies=[Depends(self.admission), Depends(refuse_repeats)],
        )
        router.add_api_route("", self.list_rejections, response_model=RejectionsAnswer)
        return router

    async def list_rejections(
        self, request: Request, given: Annotated[RejectionParameters, Query()]
    ) -> Response:
        """What was refused, and why, newest first; `before` turns the page."""
        site = await self.admission.site(request, given.site)
        rows = await list_rejections(self.engine, site.id, given.limit, given.before)
        rejections = [
            {
                "id": row.id,
                "received_at": row.received_at.isoformat(),
                "door": row.door,
                "code": row.code,
                "message": row.message,
                "field": row.field,
                "payload": row.payload,
            }
            for row in rows
        ]
        return json_response({"rejections": rejections})
