"""The shapes of KPI answers, for the contract; the engine makes them, and numbers stay exact."""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Definition(BaseModel):
    """One KPI of the catalogue."""

    id: str
    theme: str
    title: str
    about: str
    edge: str = Field(description="What happens where the formula alone does not say.")
    unit: Literal["fraction", "currency", "count", "factor", "points"]
    direction: Literal["up", "down", "none"] = Field(description="Which way is better.")
    kind: Literal["simple", "ratio", "derived", "distinct", "cohort"]
    additivity: Literal["full", "none"] = Field(
        description="Whether the values of parts sum to the value of the whole."
    )
    formula: str = Field(description="The default view's formula.")
    views: dict[str, str] = Field(description="Formulas of the views that view= can choose.")
    default_view: str | None
    breakdowns: list[str] = Field(description="Dimensions that by= and where= take.")
    default_window: str
    source: str = Field(description="Where the definition comes from.")
    owner: str
    version: int
    status: Literal["stable", "experimental", "deprecated", "superseded", "retired"]


class CatalogueAnswer(BaseModel):
    """Every KPI there is."""

    kpis: list[Definition]


class Window(BaseModel):
    """Half-open: `to` is not part of it."""

    model_config = ConfigDict(populate_by_name=True)

    from_: datetime = Field(alias="from")
    to: datetime
    tz: str


class Interval(BaseModel):
    """What the value would be, give or take, if it was a sample."""

    low: float
    high: float
    level: float
    method: str


class Figure(BaseModel):
    """A value with what it is made of; where there is none, `reason` says why."""

    model_config = ConfigDict(extra="allow")

    value: float | None
    reason: str | None = None
    numerator: float | None = None
    denominator: float | None = None


class Bucket(Figure):
    """One step of a series."""

    from_: datetime = Field(alias="from")
    to: datetime
    interval: Interval | None = None


class Part(Figure):
    """One row of a breakdown; each dimension's name holds its value."""

    interval: Interval | None = None


class Rest(Figure):
    """What `top` left out, together; counts of distinct people do not add up, and have no value."""

    rows: int = Field(description="How many rows of the breakdown it stands for.")
    interval: Interval | None = None


class Comparison(BaseModel):
    """The same KPI in an earlier window; both changes are null where they mean nothing."""

    model_config = ConfigDict(extra="allow")

    window: Window
    value: float | None
    change: float | None
    change_ratio: float | None
    beyond_noise: bool | None = Field(
        description="Whether chance alone explains the change in at most one case of twenty;"
        " null when nothing can be said."
    )
    noise_method: str | None


class Cohort(BaseModel):
    """How old the members of a cohort are: young ones may still change the value."""

    youngest_days: int
    oldest_days: int
    horizon_days: int | None
    complete: bool | None = Field(description="Whether every member had the whole horizon.")


class MissingRate(BaseModel):
    """A day for which PUT /v1/fx-rates has no rate."""

    currency: str
    day: date


class KpiAnswer(Figure):
    """One KPI over one window. Amounts are in `currency`; ratios are fractions of 1."""

    kpi: str
    version: int
    unit: str
    direction: str
    window: Window
    view: str | None = None
    currency: str | None = None
    model: str | None = Field(None, description="Attribution model, where something is credited.")
    counting: Literal["exact"] | None = Field(
        None, description="How distinct people were counted, where any were."
    )
    flags: list[str] = []
    interval: Interval | None = None
    compare: Comparison | None = None
    series: list[Bucket] | None = None
    breakdown: list[Part] | None = None
    rest: Rest | None = None
    benchmark: dict[str, object] | None = None
    also: dict[str, float | None] = Field(
        {}, description="Other KPIs that stay visible when this one has no value."
    )
    missing: list[MissingRate] | None = Field(
        None, description="Exchange rates that are missing, when that is the reason."
    )
    provisional: bool = Field(description="Whether late events of the window are still expected.")
    cohort: Cohort | None = None
    as_of: datetime = Field(description="Everything that came in before this is counted.")


class KpiAnswers(BaseModel):
    """In the order of the question."""

    answers: list[KpiAnswer]
