"""`/v1/kpis`: the catalogue, one KPI, several KPIs."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path, Query
from starlette.requests import Request
from starlette.responses import Response

from service.domain.access import Authenticator, Scope
from service.kit.http import json_response
from service.kit.payload import checked, read_json, refuse_repeats
from service.kpi.definition import Kpi
from service.kpi.document import readable
from service.kpi.engine import KpiEngine
from service.publish.admission import Admission
from service.publish.answers import CatalogueAnswer, KpiAnswer, KpiAnswers
from service.publish.parameters import CatalogueParameters, KpiParameters, SeveralKpis

KpiId = Annotated[str, Path(alias="id", description="Out of GET /v1/kpis.", examples=["roas"])]

QUESTION_SECONDS = 60.0
"""A question that takes longer is given up with 503: it would keep others from the database."""


def definition(kpi: Kpi, lang: str) -> dict[str, Any]:
    """One KPI of the catalogue as JSON, its texts in one language."""
    return {
        "id": kpi.id,
        "theme": kpi.theme,
        "title": kpi.title[lang],
        "about": kpi.about[lang],
        "edge": kpi.edge[lang],
        "unit": kpi.unit,
        "direction": kpi.direction,
        "kind": kpi.kind,
        "additivity": kpi.additivity,
        "formula": readable(kpi.views[kpi.default_view]),
        "views": {name: readable(kpi.views[name]) for name in kpi.named_views},
        "default_view": kpi.default_view or None,
        "breakdowns": list(kpi.breakdowns),
        "default_window": kpi.default_window,
        "source": kpi.source,
        "owner": kpi.owner,
        "version": kpi.version,
        "status": kpi.status,
    }


class KpiDoors:
    """For keys with the scope `read`."""

    def __init__(self, kpis: KpiEngine, access: Authenticator) -> None:
        self._kpis = kpis
        self._admission = Admission(access, Scope.READ)

    def router(self) -> APIRouter:
        """The three doors."""
        router = APIRouter(
            prefix="/v1/kpis",
            tags=["KPIs"],
            dependencies=[Depends(self._admission), Depends(refuse_repeats)],
        )
        body = {"application/json": {"schema": SeveralKpis.model_json_schema()}}
        router.add_api_route("", self.list_kpis, response_model=CatalogueAnswer)
        router.add_api_route("/{id}", self.get_kpi, response_model=KpiAnswer)
        router.add_api_route(
            "/query",
            self.query_kpis,
            methods=["POST"],
            response_model=KpiAnswers,
            openapi_extra={"requestBody": {"required": True, "content": body}},
        )
        return router

    async def list_kpis(self, given: Annotated[CatalogueParameters, Query()]) -> Response:
        """Every KPI: what it means, how it is computed, and which way is better."""
        kpis = [definition(kpi, given.lang) for kpi in await self._kpis.definitions()]
        return json_response({"kpis": kpis})

    async def get_kpi(
        self, request: Request, kpi: KpiId, given: Annotated[KpiParameters, Query()]
    ) -> Response:
        """One KPI over one window, with a series, a breakdown or a comparison where asked for."""
        site = await self._admission.site(request, given.site)
        async with asyncio.timeout(QUESTION_SECONDS):
            (answer,) = await self._kpis.answer(site, given.query((kpi,)))
        return json_response(answer.as_dict())

    async def query_kpis(self, request: Request) -> Response:
        """Several KPIs over one window, all as of the same instant."""
        given = checked(SeveralKpis, await read_json(request))
        site = await self._admission.site(request, given.site)
        async with asyncio.timeout(QUESTION_SECONDS):
            answers = await self._kpis.answer(site, given.query(tuple(given.kpis)))
        return json_response({"answers": [answer.as_dict() for answer in answers]})
