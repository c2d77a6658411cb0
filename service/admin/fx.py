"""`/v1/fx-rates`: the day's rates with which amounts are converted when they are read."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, ClassVar

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, BeforeValidator, Field
from sqlalchemy.ext.asyncio import AsyncEngine
from starlette.requests import Request
from starlette.responses import Response

from service.admin.admission import Admission
from service.kit.http import json_response
from service.kit.payload import Strict, Text, checked, read_json, refuse_repeats
from service.store.fx import MOST_ROWS, FxRate, check_currency, list_rates, put_rates

_DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}")


def _only_a_date(value: Any) -> Any:
    # A bare number would be read as seconds since 1970, which nobody means.
    if not isinstance(value, str) or not _DATE.fullmatch(value):
        raise ValueError("write a date such as 2026-03-01")
    return value


Day = Annotated[date, BeforeValidator(_only_a_date)]


class Rate(Strict):
    """One unit of `base` was `rate` units of `quote` on `day`."""

    base: Text = Field(description="ISO 4217 code.", examples=["EUR"])
    quote: Text = Field(description="ISO 4217 code.", examples=["DKK"])
    day: Day = Field(examples=["2026-03-02"])
    rate: Decimal = Field(gt=0, description="A number or a decimal string.", examples=["7.4604"])


class Rates(Strict):
    """Stored all or none; a newer rate replaces the older one of its pair and day."""

    rates: list[Rate] = Field(min_length=1, max_length=MOST_ROWS)


class RateParameters(Strict):
    """Which rates to list; both days are inclusive."""

    noun: ClassVar[str] = "parameter"

    base: Annotated[Text, Field(max_length=3)] | None = None
    quote: Annotated[Text, Field(max_length=3)] | None = None
    from_: Day | None = Field(None, alias="from", description="First day.")
    to: Day | None = Field(None, description="Last day.")
    limit: int = Field(MOST_ROWS, ge=1, le=MOST_ROWS)


class RateAnswer(BaseModel):
    """A stored rate."""

    base: str
    quote: str
    day: date
    rate: float


class RatesAnswer(BaseModel):
    """By pair, the newest day of each first."""

    rates: list[RateAnswer]


class StoredAnswer(BaseModel):
    """How many rates were stored."""

    stored: int


@dataclass(frozen=True)
class FxDoors:
    """For keys with the scope `admin`."""

    engine: AsyncEngine
    admission: Admission

    def router(self) -> APIRouter:
        """The two doors."""
        router = APIRouter(
            prefix="/v1/fx-rates",
            tags=["exchange rates"],
            dependencies=[Depends(self.admission), Depends(refuse_repeats)],
        )
        body = {"application/json": {"schema": _schema()}}
        router.add_api_route("", self.list_fx_rates, response_model=RatesAnswer)
        router.add_api_route(
            "",
            self.put_fx_rates,
            methods=["PUT"],
            response_model=StoredAnswer,
            openapi_extra={"requestBody": {"required": True, "content": body}},
        )
        return router

    async def list_fx_rates(self, given: Annotated[RateParameters, Query()]) -> Response:
        """Stored rates."""
        base = given.base and check_currency(given.base, "base")
        quote = given.quote and check_currency(given.quote, "quote")
        found = await list_rates(self.engine, base, quote, given.from_, given.to, limit=given.limit)
        rates = [{**rate._asdict(), "day": rate.day.isoformat()} for rate in found]
        return json_response({"rates": rates})

    async def put_fx_rates(self, request: Request) -> Response:
        """Store rates; a figure that needs a missing one is null with `missing_fx_rate`."""
        given = checked(Rates, await read_json(request))
        rates = [FxRate(one.base, one.quote, one.day, one.rate) for one in given.rates]
        return json_response({"stored": await put_rates(self.engine, rates)})


def _schema() -> dict[str, Any]:
    # The contract has no place for definitions inside a body: the one model is put in its place.
    schema = Rates.model_json_schema()
    schema["properties"]["rates"]["items"] = schema.pop("$defs")["Rate"]
    return schema
