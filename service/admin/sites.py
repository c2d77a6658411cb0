"""`/v1/sites`: the tracked properties, and the secret with which a mailer signs its links."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Depends, Path
from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.requests import Request
from starlette.responses import Response

from service.admin.admission import Admission
from service.domain.access import SLUG
from service.kit.http import json_response
from service.kit.payload import Strict, Text, checked, read_json
from service.kpi.zones import zone
from service.store.access import create_site, list_sites
from service.store.fx import check_currency

Slug = Annotated[str, Path(description="The site's short name.", examples=["shop"])]
Secret = Callable[[str], str]


class NewSite(Strict):
    """What a site is made of."""

    slug: str = Field(
        pattern=f"^{SLUG}$",
        description="Short name: 1 to 63 small letters, digits and hyphens.",
        examples=["shop"],
    )
    name: Annotated[Text, Field(min_length=1, max_length=200)] | None = Field(
        None, description="Name for people; the slug when left out."
    )
    timezone: Text | None = Field(
        None,
        description="IANA zone in which its days begin; the installation's default when left out.",
        examples=["Europe/Copenhagen"],
    )
    currency: Text | None = Field(
        None,
        description="ISO 4217 reporting currency; the installation's default when left out.",
        examples=["DKK"],
    )


class SiteAnswer(BaseModel):
    """One site."""

    slug: str
    name: str
    timezone: str
    currency: str


class ListedSite(SiteAnswer):
    """One site of the list."""

    created_at: datetime


class SitesAnswer(BaseModel):
    """Every site."""

    sites: list[ListedSite]


class SecretAnswer(BaseModel):
    """What a mailer needs to mint tokens of this site offline."""

    site: str
    secret: str = Field(description="Signs open and click tokens by the documented rule.")


@dataclass(frozen=True)
class SiteDoors:
    """For keys with the scope `admin`; `timezone` and `currency` are what a site gets by default.

    `secret` answers a site's token secret from its slug.
    """

    engine: AsyncEngine
    admission: Admission
    timezone: str
    currency: str
    secret: Secret

    def router(self) -> APIRouter:
        """The three doors."""
        router = APIRouter(
            prefix="/v1/sites", tags=["sites and keys"], dependencies=[Depends(self.admission)]
        )
        body = {"application/json": {"schema": NewSite.model_json_schema()}}
        router.add_api_route("", self.list_sites, response_model=SitesAnswer)
        router.add_api_route(
            "",
            self.make_site,
            methods=["POST"],
            status_code=201,
            response_model=SiteAnswer,
            openapi_extra={"requestBody": {"required": True, "content": body}},
        )
        router.add_api_route(
            "/{slug}/token-secret", self.get_token_secret, response_model=SecretAnswer
        )
        return router

    async def list_sites(self) -> Response:
        """Every site."""
        sites = [
            {
                "slug": row.slug,
                "name": row.name,
                "timezone": row.timezone,
                "currency": row.currency,
                "created_at": row.created_at.isoformat(),
            }
            for row in await list_sites(self.engine)
        ]
        return json_response({"sites": sites})

    async def make_site(self, request: Request) -> Response:
        """Make a site; 409 when there is one with this slug."""
        given = checked(NewSite, await read_json(request))
        name = given.name or given.slug
        timezone = zone(given.timezone or self.timezone, "timezone").key
        currency = check_currency(given.currency or self.currency, "currency")
        site = await create_site(self.engine, given.slug, name, timezone, currency)
        answer = {
            "slug": site.slug,
            "name": name,
            "timezone": site.timezone,
            "currency": site.currency,
        }
        return json_response(answer, 201)

    async def get_token_secret(self, request: Request, slug: Slug) -> Response:
        """The secret with which a mailer mints this site's open and click tokens offline."""
        site = await self.admission.site(request, slug)
        return json_response(
            {"site": site.slug, "secret": self.secret(site.slug)},
            headers={"Cache-Control": "no-store"},
        )
