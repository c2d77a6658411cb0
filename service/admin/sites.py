"""`/v1/sites`: the tracked properties, and the secret with which a mailer signs its links."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Path
from pydantic import AfterValidator, BaseModel, Field, model_validator
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.requests import Request
from starlette.responses import Response

from service.admin.admission import Admission
from service.domain.access import NO_RULES, SLUG, ChannelRule, Site
from service.errors import InvalidError, NotFoundError
from service.ingest.channels import RULES
from service.ingest.sources import version
from service.kit.http import json_response
from service.kit.payload import Strict, Text, checked, read_json
from service.kpi.zones import zone
from service.store.access import change_site, create_site, list_sites, site_of_row
from service.store.fx import check_currency

Slug = Annotated[str, Path(description="The site's short name.", examples=["shop"])]
Secret = Callable[[str], str]


PROP = "[a-z][a-z0-9_]{0,31}"
HOST = r"[a-z0-9_-]+(\.[a-z0-9_-]+)+"


def _printable(text: str) -> str:
    if not text.isprintable() or text != text.strip():
        raise ValueError("write printable characters, without white space around")
    return text


def _pattern(text: str) -> str:
    if "*" in text[:-1]:
        raise ValueError("a star stands for any end, so it can only be the last character")
    # Touches are compared in lower case, too.
    return _printable(text).lower()


_OURS = {name.lower(): name for name, _ in RULES}


def _channel(text: str) -> str:
    # Answers tell values apart by letter case: one channel, not two that look alike.
    return _OURS.get(_printable(text).lower(), text)


def _once(names: list[str]) -> list[str]:
    return sorted(set(names))


Label = Annotated[Text, Field(min_length=1, max_length=64), AfterValidator(_channel)]
Whole = Annotated[int, Field(strict=True)]
Pattern = Annotated[Text, Field(max_length=200), AfterValidator(_pattern)]


class Channel(Strict):
    """Touches that match every condition get this channel; the first such rule counts."""

    channel: Label = Field(examples=["Partners"])
    source: Pattern = Field("", description="Exactly this, or the beginning before a `*`.")
    medium: Pattern = Field("", description="As `source`.")
    campaign: Pattern = Field("", description="As `source`.")

    @model_validator(mode="after")
    def _has_a_condition(self) -> Channel:
        if not (self.source or self.medium or self.campaign):
            raise ValueError("name a source, a medium or a campaign")
        return self


class Decided(Strict):
    """What a site decides for itself; what is left out stays as it is."""

    name: Annotated[Text, Field(min_length=1, max_length=200)] | None = Field(
        None, description="Name for people; the slug of a new site when left out."
    )
    fiscal_month: Whole | None = Field(
        None, ge=1, le=12, description="Month in which its year begins; 1 unless set."
    )
    lookback_days: Whole | None = Field(
        None,
        ge=1,
        le=90,
        description="A touch is credited for so many days; 30 unless set.",
    )
    late_hours: Whole | None = Field(
        None,
        ge=0,
        le=720,
        description="Figures are provisional until so long after the window; 24 unless set.",
    )
    dimensions: (
        Annotated[
            list[Annotated[str, Field(pattern=f"^{PROP}$")]],
            Field(max_length=20),
            AfterValidator(_once),
        ]
        | None
    ) = Field(None, description="Props that answers can be broken down by.", examples=[["plan"]])
    own_hosts: (
        Annotated[
            list[Annotated[str, Field(pattern=f"^{HOST}$", max_length=253)]],
            Field(max_length=50),
            AfterValidator(_once),
        ]
        | None
    ) = Field(
        None,
        description="Hosts that never count as where somebody came from; those below them, too.",
        examples=[["checkout.example"]],
    )
    channels: Annotated[list[Channel], Field(max_length=100)] | None = Field(
        None, description="Rules that come before the general ones, for events from now on."
    )

    def decisions(self) -> dict[str, Any]:
        """What was given, as fields of `SiteRules`."""
        lists = {"props": self.dimensions, "own_hosts": self.own_hosts}
        given: dict[str, Any] = {
            "fiscal_month": self.fiscal_month,
            "lookback_days": self.lookback_days,
            "late_hours": self.late_hours,
            **{name: None if value is None else tuple(value) for name, value in lists.items()},
        }
        if self.channels is not None:
            given["channels"] = tuple(ChannelRule(**one.model_dump()) for one in self.channels)
        return {name: value for name, value in given.items() if value is not None}


class NewSite(Decided):
    """What a site is made of."""

    slug: str = Field(
        pattern=f"^{SLUG}$",
        description="Short name: 1 to 63 small letters, digits and hyphens.",
        examples=["shop"],
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


class SiteChange(Decided):
    """What of a site can be changed."""

    def changes(self) -> dict[str, Any]:
        """What was given: `name`, and fields of `SiteRules`."""
        return {**({"name": self.name} if self.name else {}), **self.decisions()}


FIXED = {
    "slug": "keys, queries and mail tokens name it",
    "timezone": "its figures are added up by the days of that zone",
    "currency": "its reports and goals are in it",
}
"""Members that are what they were when the site was made, and why."""


def _refuse_fixed(body: Any) -> None:
    for name, reason in FIXED.items():
        if isinstance(body, Mapping) and name in body:
            message = f"The {name} of a site cannot be changed: {reason}."
            raise InvalidError(message, code="fixed_field", field=name)


class ChannelAnswer(BaseModel):
    """A rule of a site's own."""

    channel: str
    source: str
    medium: str
    campaign: str


class SiteAnswer(BaseModel):
    """One site."""

    slug: str
    name: str
    timezone: str
    currency: str
    fiscal_month: int
    lookback_days: int
    late_hours: int
    dimensions: list[str]
    own_hosts: list[str]
    channels: list[ChannelAnswer]


class ListedSite(SiteAnswer):
    """One site of the list."""

    created_at: datetime


class SitesAnswer(BaseModel):
    """Every site."""

    sites: list[ListedSite]
    sources_version: str = Field(
        description="Version of the list of search engines, social networks and so on."
    )


class SecretAnswer(BaseModel):
    """What a mailer needs to mint tokens of this site offline."""

    site: str
    secret: str = Field(description="Signs open and click tokens by the documented rule.")


@dataclass(frozen=True)
class SiteDoors:
    """For keys with the scope `admin`; `timezone` and `currency` are what a site gets by default.

    `secret` answers a site's token secret from its slug; `changed` is called after a change.
    """

    engine: AsyncEngine
    admission: Admission
    timezone: str
    currency: str
    secret: Secret
    changed: Callable[[], None]

    def router(self) -> APIRouter:
        """The four doors."""
        router = APIRouter(
            prefix="/v1/sites", tags=["sites and keys"], dependencies=[Depends(self.admission)]
        )
        router.add_api_route("", self.list_sites, response_model=SitesAnswer)
        router.add_api_route(
            "",
            self.make_site,
            methods=["POST"],
            status_code=201,
            response_model=SiteAnswer,
            openapi_extra=_body(NewSite),
        )
        router.add_api_route(
            "/{slug}",
            self.change_site,
            methods=["PATCH"],
            response_model=SiteAnswer,
            openapi_extra=_body(SiteChange),
        )
        router.add_api_route(
            "/{slug}/token-secret", self.get_token_secret, response_model=SecretAnswer
        )
        return router

    async def list_sites(self) -> Response:
        """Every site."""
        sites = [
            {**_answer(site_of_row(row), row.name), "created_at": row.created_at.isoformat()}
            for row in await list_sites(self.engine)
        ]
        return json_response({"sites": sites, "sources_version": version()})

    async def make_site(self, request: Request) -> Response:
        """Make a site; 409 when there is one with this slug."""
        given = checked(NewSite, await read_json(request))
        name = given.name or given.slug
        timezone = zone(given.timezone or self.timezone, "timezone").key
        currency = check_currency(given.currency or self.currency, "currency")
        rules = NO_RULES._replace(**given.decisions())
        site = await create_site(self.engine, given.slug, name, timezone, currency, rules=rules)
        return json_response(_answer(site, name), 201)

    async def change_site(self, request: Request, slug: Slug) -> Response:
        """Change what a site decides for itself; within seconds it holds everywhere.

        Its zone and its currency are what they were when it was made.
        """
        site = await self.admission.site(request, slug)
        body = await read_json(request)
        _refuse_fixed(body)
        given = checked(SiteChange, body)
        row = await change_site(self.engine, site.slug, given.changes())
        if row is None:
            raise NotFoundError("The site is gone.", code="unknown_site")
        self.changed()
        return json_response(_answer(site_of_row(row), row.name))

    async def get_token_secret(self, request: Request, slug: Slug) -> Response:
        """The secret with which a mailer mints this site's open and click tokens offline."""
        site = await self.admission.site(request, slug)
        return json_response(
            {"site": site.slug, "secret": self.secret(site.slug)},
            headers={"Cache-Control": "no-store"},
        )


def _answer(site: Site, name: str) -> dict[str, Any]:
    rules = site.rules
    return {
        "slug": site.slug,
        "name": name,
        "timezone": site.timezone,
        "currency": site.currency,
        "fiscal_month": rules.fiscal_month,
        "lookback_days": rules.lookback_days,
        "late_hours": rules.late_hours,
        "dimensions": list(rules.props),
        "own_hosts": list(rules.own_hosts),
        "channels": [rule._asdict() for rule in rules.channels],
    }


def _body(model: type[Decided]) -> dict[str, Any]:
    # The contract has no place for definitions inside a body: the one model is put in its place.
    schema = model.model_json_schema()
    channel = schema.pop("$defs")["Channel"]
    listed = next(way for way in schema["properties"]["channels"]["anyOf"] if "items" in way)
    listed["items"] = channel
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
