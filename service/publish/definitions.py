"""`/v1/kpis/{id}`: definitions of KPIs, and users' own ones, which are data like all others."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from fastapi import APIRouter, Depends, Path, Query
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from service.domain.access import Authenticator, Scope
from service.errors import InvalidError
from service.kit.http import json_response
from service.kit.payload import read_json, refuse_repeats
from service.kpi.definition import Kpi
from service.kpi.document import readable
from service.kpi.live import LiveCatalogue
from service.kpi.own import Outcome
from service.publish.admission import Admission
from service.publish.answers import Definition
from service.publish.kpis import KpiId, definition
from service.publish.own import own_kpi_schema
from service.publish.parameters import CatalogueParameters

BODY_BYTES = 64 * 1024
LONGEST_ID = 64
_STATUS = {Outcome.CREATED: 201, Outcome.CHANGED: 200, Outcome.UNCHANGED: 200}

OwnId = Annotated[
    str,
    Path(
        alias="id",
        max_length=LONGEST_ID,
        description="Of your own: snake_case, and none that comes with Kompas.",
        examples=["spend_per_visit"],
    ),
]


class DefinitionParameters(CatalogueParameters):
    """Of `GET /v1/kpis/{id}/definition`."""

    noun: ClassVar[str] = "parameter"

    version: int | None = Field(
        None, ge=1, le=2**31 - 1, description="An older version; the current one when left out."
    )


class VersionAnswer(BaseModel):
    """One version of a KPI."""

    version: int
    status: str
    formula: str
    views: dict[str, str]


class DefinitionAnswer(Definition):
    """A KPI, how it is written, and all of its versions."""

    own: bool = Field(description="Whether PUT and DELETE can change it.")
    definition: dict[str, Any] = Field(description="As it was written; what PUT takes.")
    versions: list[VersionAnswer] = Field(description="The current one, and the ones before it.")


class DefinitionDoors:
    """Keys with the scope `read` read definitions, keys with the scope `admin` change them."""

    def __init__(self, catalogue: LiveCatalogue, access: Authenticator) -> None:
        self._catalogue = catalogue
        self._read = [Depends(Admission(access, Scope.READ)), Depends(refuse_repeats)]
        self._change = [Depends(Admission(access, Scope.ADMIN)), Depends(refuse_repeats)]

    def router(self) -> APIRouter:
        """The three doors."""
        router = APIRouter(prefix="/v1/kpis", tags=["KPIs"])
        body = {"application/json": {"schema": own_kpi_schema()}}
        router.add_api_route(
            "/{id}/definition",
            self.get_definition,
            response_model=DefinitionAnswer,
            dependencies=self._read,
        )
        router.add_api_route(
            "/{id}",
            self.put_kpi,
            methods=["PUT"],
            status_code=201,
            response_model=DefinitionAnswer,
            responses={200: {"model": DefinitionAnswer, "description": "It was there before."}},
            dependencies=self._change,
            openapi_extra={"requestBody": {"required": True, "content": body}},
        )
        router.add_api_route(
            "/{id}", self.delete_kpi, methods=["DELETE"], status_code=204, dependencies=self._change
        )
        return router

    async def get_definition(
        self, kpi_id: KpiId, given: Annotated[DefinitionParameters, Query()]
    ) -> Response:
        """How a KPI is written, in any of its versions."""
        catalogue = await self._catalogue.current()
        return json_response(self._shown(catalogue.get(kpi_id, given.version), given.lang))

    async def put_kpi(self, request: Request, kpi_id: OwnId) -> Response:
        """Store a KPI of your own; it can be asked for at once, and is on /metrics a minute later.

        201 for what is new: a KPI, or a version of one. 200 where only texts changed, or nothing.
        """
        data = await read_json(request, BODY_BYTES)
        if not isinstance(data, dict):
            raise InvalidError("The body must be an object.", field="")
        (stored,) = await self._catalogue.put([await self._catalogue.drafted(kpi_id, data)])
        return json_response(self._shown(stored.kpi, "en"), _STATUS[stored.outcome])

    async def delete_kpi(self, kpi_id: OwnId) -> Response:
        """Retire a KPI of your own; what was stored of it stays, and PUT brings it back."""
        await self._catalogue.retire(kpi_id)
        return Response(status_code=204)

    def _shown(self, kpi: Kpi, lang: str) -> dict[str, Any]:
        versions = self._catalogue.catalogue.versions(kpi.id)
        return {
            **definition(kpi, lang),
            "own": self._catalogue.is_own(kpi.id),
            "definition": self._catalogue.entry(kpi).data,
            "versions": [_version(one) for one in versions],
        }


def _version(kpi: Kpi) -> dict[str, Any]:
    return {
        "version": kpi.version,
        "status": kpi.status.value,
        "formula": readable(kpi.views[kpi.default_view]),
        "views": {name: readable(kpi.views[name]) for name in kpi.named_views},
    }
