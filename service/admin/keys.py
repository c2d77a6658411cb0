"""`/v1/keys`: keys are answered once, when they are made; afterwards only their prefix is known."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.requests import Request
from starlette.responses import Response

from service.admin.admission import Admission
from service.domain.access import Scope
from service.errors import NotFoundError
from service.kit.http import json_response
from service.kit.payload import Strict, Text, checked, read_json
from service.store.access import create_key, list_keys, revoke_key

LARGEST_ID = 2**63 - 1

KeyId = Annotated[int, Path(ge=1, le=LARGEST_ID, alias="id", description="Out of GET /v1/keys.")]


class NewKey(Strict):
    """What a key may do, and where."""

    site: Text | None = Field(None, description="Slug of its site; your own key's when left out.")
    name: Annotated[Text, Field(min_length=1, max_length=200)] = Field(
        description="What the key is for.", examples=["webshop"]
    )
    scopes: list[Scope] = Field(
        min_length=1,
        max_length=len(Scope),
        description="public (alone) for websites; ingest, read, admin for servers.",
        examples=[["ingest", "read"]],
    )


class MadeKey(BaseModel):
    """The key itself: this is the only time it is shown."""

    site: str
    name: str
    scopes: list[Scope]
    key: str


class ListedKey(BaseModel):
    """A key by its prefix."""

    id: int
    site: str
    name: str
    prefix: str
    scopes: list[Scope]
    created_at: datetime
    revoked_at: datetime | None


class KeysAnswer(BaseModel):
    """Every key, also those that were revoked."""

    keys: list[ListedKey]


class RevokedKey(BaseModel):
    """That it opens nothing any more."""

    id: int
    revoked: bool


@dataclass(frozen=True)
class KeyDoors:
    """For keys with the scope `admin`."""

    engine: AsyncEngine
    admission: Admission

    def router(self) -> APIRouter:
        """The three doors."""
        router = APIRouter(
            prefix="/v1/keys", tags=["sites and keys"], dependencies=[Depends(self.admission)]
        )
        body = {"application/json": {"schema": NewKey.model_json_schema()}}
        router.add_api_route("", self.list_keys, response_model=KeysAnswer)
        router.add_api_route(
            "",
            self.make_key,
            methods=["POST"],
            status_code=201,
            response_model=MadeKey,
            openapi_extra={"requestBody": {"required": True, "content": body}},
        )
        router.add_api_route(
            "/{id}", self.revoke_key, methods=["DELETE"], response_model=RevokedKey
        )
        return router

    async def list_keys(self) -> Response:
        """Every key, without what it is: only hashes are kept."""
        keys = [
            {
                "id": row.id,
                "site": row.site,
                "name": row.name,
                "prefix": row.prefix,
                "scopes": list(row.scopes),
                "created_at": row.created_at.isoformat(),
                "revoked_at": row.revoked_at and row.revoked_at.isoformat(),
            }
            for row in await list_keys(self.engine)
        ]
        return json_response({"keys": keys})

    async def make_key(self, request: Request) -> Response:
        """Make a key and answer it, once."""
        given = checked(NewKey, await read_json(request))
        scopes = frozenset(given.scopes)
        site = await self.admission.site(request, given.site)
        key = await create_key(self.engine, site.id, given.name, scopes)
        answer = {"site": site.slug, "name": given.name, "scopes": sorted(scopes), "key": key}
        return json_response(answer, 201, {"Cache-Control": "no-store"})

    async def revoke_key(self, key: KeyId) -> Response:
        """Revoke a key; 404 when there is none of this id, or it was revoked before."""
        if not await revoke_key(self.engine, key):
            raise NotFoundError(f"There is no key {key} that could be revoked.")
        return json_response({"id": key, "revoked": True})
