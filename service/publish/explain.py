"""`GET /v1/kpis/{id}/explain`: how an answer comes about."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from service.domain.access import Authenticator, Scope
from service.kit.http import json_response
from service.kit.payload import refuse_repeats
from service.kpi.explain import Explainer
from service.publish.admission import Admission
from service.publish.answers import Window
from service.publish.kpis import QUESTION_SECONDS, KpiId
from service.publish.parameters import KpiParameters


class ExplainedWindow(Window):
    """The window, and its two instants in UTC."""

    from_utc: datetime
    to_utc: datetime


class TermAnswer(BaseModel):
    """A quantity of the formula; its value is null where it is not known."""

    name: str
    value: float | None


class TierAnswer(BaseModel):
    """A table that was read."""

    tier: str = Field(description="days, quarter hours, facts, names or exchange rates.")
    table: str
    rows_read: int


class StatementAnswer(BaseModel):
    """A statement that was run."""

    sql: str
    values: dict[str, Any] = Field(description="By the names that stand in the SQL after a colon.")
    rows: int = Field(description="Rows that it answered.")
    rows_read: int = Field(description="Rows of tables that it read to do so.")
    milliseconds: float


class ExplanationAnswer(BaseModel):
    """How an answer came about."""

    kpi: str
    version: int
    unit: str
    currency: str | None
    view: str | None
    model: str | None
    window: ExplainedWindow
    where: str | None
    formula: str = Field(examples=["spend / new_customers"])
    filled: str = Field(
        description="The formula with its numbers.", examples=["1,200.00 / 3 = 400"]
    )
    value: float | None
    reason: str | None
    numerator: float | None
    denominator: float | None
    terms: list[TermAnswer]
    tiers: list[TierAnswer]
    statements: list[StatementAnswer]
    rows_read: int
    milliseconds: float = Field(description="Of the answer, with the wait for earlier events.")
    as_of: datetime


class ExplainDoor:
    """For keys with the scope `read`."""

    def __init__(self, explainer: Explainer, access: Authenticator) -> None:
        self._explainer = explainer
        self._admission = Admission(access, Scope.READ)

    def router(self) -> APIRouter:
        """The one door."""
        router = APIRouter(
            prefix="/v1/kpis",
            tags=["KPIs"],
            dependencies=[Depends(self._admission), Depends(refuse_repeats)],
        )
        router.add_api_route("/{id}/explain", self.explain_kpi, response_model=ExplanationAnswer)
        return router

    async def explain_kpi(
        self, request: Request, kpi: KpiId, given: Annotated[KpiParameters, Query()]
    ) -> Response:
        """How one KPI's answer comes about: its numbers, its SQL, the rows read, the time."""
        site = await self._admission.site(request, given.site)
        async with asyncio.timeout(QUESTION_SECONDS):
            explanation = await self._explainer.explain(site, given.query((kpi,)))
        return json_response(explanation.as_dict())
