"""Checks a query and resolves it: which formulas over which windows, cut how."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from service.domain.access import Site
from service.errors import InvalidError
from service.kit.nearest import nearest
from service.kpi.catalogue import Catalogue
from service.kpi.definition import Kpi
from service.kpi.filters import Filters, check_dimension, parse
from service.kpi.formula import Formula, TermKey
from service.kpi.grains import bounds
from service.kpi.query import KpiQuery
from service.kpi.windows import Window, compared, resolve
from service.kpi.zones import zone
from service.store.fx import check_currency

MODELS = ("last_non_direct",)
"""Attribution models there are credits of."""

MOST_KPIS = 100
LONGEST_WAIT_MS = 60_000


@dataclass(frozen=True, slots=True)
class Asked:
    """One KPI of a query in the view to compute; `also` are the KPIs that stay visible."""

    kpi: Kpi
    view: str
    also: tuple[Kpi, ...]

    @property
    def formula(self) -> Formula:
        """The formula of the view."""
        return self.kpi.views[self.view]

    @property
    def keys(self) -> frozenset[TermKey]:
        """Everything that must be read for it."""
        return self.formula.keys.union(*(kpi.views[kpi.default_view].keys for kpi in self.also))


@dataclass(frozen=True, slots=True)
class Period:
    """The KPIs of a query that share a window; `bounds` cut it into the buckets of a series.

    `before` is the window of the comparison.
    """

    window: Window
    bounds: tuple[datetime, ...]
    before: Window | None
    asked: tuple[Asked, ...]

    @property
    def keys(self) -> frozenset[TermKey]:
        """Everything that must be read for its KPIs."""
        none: frozenset[TermKey] = frozenset()
        return none.union(*(asked.keys for asked in self.asked))


@dataclass(frozen=True, slots=True)
class Plan:
    """A query that can be answered; `zone` is the site's, whose days the rollups hold."""

    site_id: int
    zone: ZoneInfo
    currency: str
    grain: str | None
    by: str | None
    filters: Filters
    periods: tuple[Period, ...]
    order: tuple[Asked, ...]


def plan(catalogue: Catalogue, site: Site, query: KpiQuery, now: datetime) -> Plan:
    """Resolve a query at `now`.

    Raises NotFoundError for an unknown KPI and InvalidError, with the field and what would be
    right, for everything else that cannot be answered.
    """
    check_model(query.model)
    order = _asked(catalogue, query)
    by = None if query.by is None else check_dimension(query.by, "by")
    filters = parse(query.where)
    for asked in order:
        _check_dimensions(asked.kpi, by, filters)
    currency = site.currency if query.currency is None else query.currency
    return Plan(
        site_id=site.id,
        zone=zone(site.timezone, "site"),
        currency=check_currency(currency, "currency"),
        grain=query.grain,
        by=by,
        filters=filters,
        periods=_periods(order, site, query, now),
        order=order,
    )


def check_model(model: str | None) -> None:
    """InvalidError with the models there are, unless the model is one of them."""
    if model is not None and model not in MODELS:
        raise InvalidError(
            f"'{model[:100]}' is not an attribution model; there is {', '.join(MODELS)}.",
            code="unknown_model",
            field="model",
            nearest=nearest(model, MODELS),
            supported=list(MODELS),
        )


def wait_seconds(query: KpiQuery, default: float) -> float:
    """How long to wait for the projection; InvalidError for less than nothing."""
    if query.wait_ms is None:
        return default
    if query.wait_ms < 0:
        raise InvalidError(
            "wait is a number of milliseconds, from 0.", code="invalid_wait", field="wait"
        )
    return min(query.wait_ms, LONGEST_WAIT_MS) / 1000


def _asked(catalogue: Catalogue, query: KpiQuery) -> tuple[Asked, ...]:
    if not 1 <= len(query.kpis) <= MOST_KPIS:
        raise InvalidError(
            f"Name 1 to {MOST_KPIS} KPIs; GET /v1/kpis lists them.",
            code="invalid_kpis",
            field="kpis",
        )
    kpis = [catalogue.get(kpi_id) for kpi_id in query.kpis]
    return tuple(
        Asked(kpi, kpi.view(query.view), tuple(catalogue.get(other) for other in kpi.also_visible))
        for kpi in kpis
    )


def _check_dimensions(kpi: Kpi, by: str | None, filters: Filters) -> None:
    asked = {"by": [by] if by else [], "where": [name for name, _ in filters]}
    can = ", ".join(kpi.breakdowns)
    for field, names in asked.items():
        for name in names:
            if name in kpi.breakdowns:
                continue
            raise InvalidError(
                f"{kpi.id} cannot be broken down or filtered by {name}"
                + (f"; it can by {can}." if can else ", nor by anything else."),
                code="unsupported_breakdown" if field == "by" else "unsupported_filter",
                field=field,
                nearest=nearest(name, kpi.breakdowns),
                supported=list(kpi.breakdowns),
            )


def _periods(
    order: tuple[Asked, ...], site: Site, query: KpiQuery, now: datetime
) -> tuple[Period, ...]:
    by_default: dict[str, list[Asked]] = {}
    given = (query.window, query.start, query.end) != (None, None, None)
    for asked in order:
        by_default.setdefault("" if given else asked.kpi.default_window, []).append(asked)
    return tuple(
        _period(query.window or preset or None, tuple(some), site, query, now)
        for preset, some in by_default.items()
    )


def _period(
    preset: str | None, asked: tuple[Asked, ...], site: Site, query: KpiQuery, now: datetime
) -> Period:
    tz = site.timezone if query.tz is None else query.tz
    window = resolve(preset, query.start, query.end, tz, now)
    before = None if query.compare is None else compared(window, query.compare)
    return Period(window, bounds(window, query.grain), before, asked)
