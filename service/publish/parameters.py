"""What can be asked of KPIs: the same names in a query string and in a JSON body."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from service.kit.payload import Strict, Text
from service.kpi.checks import LONGEST_HORIZON, MOST_TOP
from service.kpi.plan import LONGEST_WAIT_MS, MOST_KPIS
from service.kpi.query import KpiQuery

Word = Annotated[Text, Field(max_length=256)]


class CatalogueParameters(Strict):
    """Of `GET /v1/kpis`."""

    noun: ClassVar[str] = "parameter"

    lang: Literal["en", "da"] = Field("en", description="Language of titles and explanations.")


class KpiParameters(Strict):
    """Of `GET /v1/kpis/{id}`; everything is optional."""

    noun: ClassVar[str] = "parameter"

    window: Word | None = Field(
        None,
        description="A named window such as today, last_30_days or last_month; the KPI's own"
        " default when from and to are left out, too.",
        examples=["last_30_days"],
    )
    from_: Word | None = Field(
        None,
        alias="from",
        description="Start of the window: a date in the zone, or RFC 3339 with an offset.",
        examples=["2026-01-01"],
    )
    to: Word | None = Field(
        None, description="End of the window, which it leaves out.", examples=["2026-04-01"]
    )
    tz: Word | None = Field(
        None,
        description="IANA time zone in which days begin; the site's own by default.",
        examples=["Europe/Copenhagen"],
    )
    grain: Word | None = Field(
        None,
        description="Adds a series: hour, day, week, month, quarter or year.",
        examples=["day"],
    )
    by: Word | None = Field(
        None,
        description="Adds a breakdown by one or more dimensions, with commas between them.",
        examples=["channel,campaign"],
    )
    top: int | None = Field(
        None,
        ge=1,
        le=MOST_TOP,
        description="Answers so many rows of the breakdown, the largest; the others as `rest`.",
        examples=[10],
    )
    where: Annotated[Text, Field(max_length=8192)] | None = Field(
        None,
        description="Filter: dimension:value with commas between them; value* for what begins"
        " with it, !dimension:value for all others; a backslash escapes.",
        examples=["campaign:spring*,!channel:Email"],
    )
    compare: Word | None = Field(
        None,
        description="Adds a comparison: previous_period, previous_year, previous_year_weekday"
        " (52 weeks before), or another window as from/to.",
        examples=["previous_period"],
    )
    model: Word | None = Field(
        None,
        description="Attribution model of credited KPIs: last_non_direct (the default), last,"
        " first, linear, position_based or time_decay.",
        examples=["last_non_direct"],
    )
    view: Word | None = Field(
        None, description="cohort or period, for KPIs that have both.", examples=["period"]
    )
    horizon: int | None = Field(
        None,
        ge=1,
        le=LONGEST_HORIZON,
        description="Days that each member of a cohort is given; without it, until now.",
        examples=[30],
    )
    refunds: Word | None = Field(
        None,
        description="When a refund counts: refund_date (the default) or order_date.",
        examples=["order_date"],
    )
    version: int | None = Field(
        None, ge=1, description="An earlier version of the definition; the newest by default."
    )
    site: Word | None = Field(None, description="Another site's slug; admin keys only.")
    currency: Word | None = Field(
        None,
        description="ISO 4217 reporting currency; the site's own by default.",
        examples=["DKK"],
    )
    wait: int | None = Field(
        None,
        ge=0,
        le=LONGEST_WAIT_MS,
        description="Milliseconds to wait at most until earlier events are counted.",
    )

    def query(self, kpis: tuple[str, ...]) -> KpiQuery:
        """The question to the engine, for these KPIs."""
        return KpiQuery(
            kpis,
            window=self.window,
            start=self.from_,
            end=self.to,
            tz=self.tz,
            grain=self.grain,
            by=self.by,
            top=self.top,
            where=self.where,
            compare=self.compare,
            view=self.view,
            model=self.model,
            horizon=self.horizon,
            refunds=self.refunds,
            version=self.version,
            currency=self.currency,
            wait_ms=self.wait,
        )


class SeveralKpis(KpiParameters):
    """Of `POST /v1/kpis/query`: one window and filter for several KPIs."""

    noun: ClassVar[str] = "field"

    kpis: list[Word] = Field(
        min_length=1,
        max_length=MOST_KPIS,
        description="Ids out of GET /v1/kpis.",
        examples=[["spend", "roas", "cpa"]],
    )
