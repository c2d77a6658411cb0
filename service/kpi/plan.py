"""Checks a query and resolves it: which formulas over which windows, cut how."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple
from zoneinfo import ZoneInfo

from service.domain.access import Site
from service.domain.models import Model
from service.errors import InvalidError
from service.kpi.catalogue import Catalogue
from service.kpi.checks import (
    check_breakdowns,
    check_horizon,
    check_product,
    check_top,
    family,
    model_of,
    refunds_by_order,
)
from service.kpi.definition import Kpi
from service.kpi.filters import Filters, parse, parse_by
from service.kpi.formula import Distinct, Formula, IntervalMethod, TermKey
from service.kpi.grains import MAX_BUCKETS, bounds
from service.kpi.query import KpiQuery
from service.kpi.variants import by_order_date
from service.kpi.windows import Window, compared, resolve
from service.kpi.zones import zone
from service.store.fx import check_currency

MOST_KPIS = 100
LONGEST_WAIT_MS = 60_000


class Visible(NamedTuple):
    """A KPI whose total stays visible beside another one."""

    kpi: Kpi
    formula: Formula


@dataclass(frozen=True, slots=True)
class Asked:
    """One KPI of a query in the view to compute; `also` are the KPIs that stay visible."""

    kpi: Kpi
    view: str
    formula: Formula
    also: tuple[Visible, ...] = ()


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
        """What the KPIs asked for are made of: series and breakdown need nothing else."""
        none: frozenset[TermKey] = frozenset()
        return none.union(*(one.formula.keys for one in self.asked))

    @property
    def whole_keys(self) -> frozenset[TermKey]:
        """What the total needs: KPIs that stay visible have a total only."""
        return self.keys.union(*(also.formula.keys for one in self.asked for also in one.also))

    @property
    def daily_keys(self) -> frozenset[TermKey]:
        """What is also read by day, because a formula's uncertainty has the day as its unit."""
        none: frozenset[TermKey] = frozenset()
        formulas = (one.formula for one in self.asked if self.needs_days(one.formula))
        keys = none.union(*(formula.keys for formula in formulas))
        return frozenset(key for key in keys if not isinstance(key[0], Distinct))

    def needs_days(self, formula: Formula) -> bool:
        """Whether the formula's uncertainty has the day as its unit."""
        if formula.interval is IntervalMethod.DELTA:
            return True
        return self.before is not None and formula.interval is IntervalMethod.NONE


@dataclass(frozen=True, slots=True)
class Plan:
    """A query that can be answered; `zone` is the site's, whose days the rollups hold."""

    site: Site
    zone: ZoneInfo
    currency: str
    grain: str | None
    by: tuple[str, ...]
    top: int | None
    filters: Filters
    model: Model
    horizon: int | None
    periods: tuple[Period, ...]
    order: tuple[Asked, ...]


def plan(catalogue: Catalogue, site: Site, query: KpiQuery, now: datetime) -> Plan:
    """Resolve a query at `now`.

    Raises NotFoundError for an unknown KPI and InvalidError, with the field and what would be
    right, for everything else that cannot be answered.
    """
    model = model_of(query.model)
    order = _asked(catalogue, query)
    by = parse_by(query.by, site.rules.props)
    filters = parse(query.where, site.rules.props)
    for asked in order:
        check_breakdowns(asked.kpi, by, filters)
        check_horizon(asked.kpi, asked.view, query.horizon)
    check_product(by, filters, model)
    order = tuple(_with_visible(one, catalogue, query, filters) for one in order)
    currency = site.currency if query.currency is None else query.currency
    return Plan(
        site=site,
        zone=zone(site.timezone, "site"),
        currency=check_currency(currency, "currency"),
        grain=query.grain,
        by=by,
        top=check_top(query.top, by),
        filters=filters,
        model=model,
        horizon=query.horizon,
        periods=_periods(order, site, query, now),
        order=order,
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


def days_of(window: Window) -> tuple[datetime, ...] | None:
    """The window cut into the days of its zone; None when they are too many to look at each."""
    if (window.end - window.start).days >= MAX_BUCKETS:
        return None
    return bounds(window, "day")


def _asked(catalogue: Catalogue, query: KpiQuery) -> tuple[Asked, ...]:
    if not 1 <= len(query.kpis) <= MOST_KPIS:
        raise InvalidError(
            f"Name 1 to {MOST_KPIS} KPIs; GET /v1/kpis lists them.",
            code="invalid_kpis",
            field="kpis",
        )
    by_order = refunds_by_order(query.refunds)
    kpis = [catalogue.get(kpi_id, query.version) for kpi_id in query.kpis]
    views = [kpi.view(query.view) for kpi in kpis]
    return tuple(
        Asked(kpi, view, _booked(kpi.views[view], by_order=by_order))
        for kpi, view in zip(kpis, views, strict=True)
    )


def _booked(formula: Formula, *, by_order: bool) -> Formula:
    return by_order_date(formula) if by_order else formula


def _with_visible(one: Asked, catalogue: Catalogue, query: KpiQuery, filters: Filters) -> Asked:
    """With the KPIs that stay visible beside it, as far as they can answer the same question."""
    if query.horizon is not None:
        return one  # they follow no cohort
    names = {family(condition.name) for condition in filters}
    kpis = [catalogue.get(other) for other in one.kpi.also_visible]
    by_order = refunds_by_order(query.refunds)
    also = tuple(
        Visible(kpi, _booked(kpi.views[kpi.default_view], by_order=by_order))
        for kpi in kpis
        if names.issubset(kpi.breakdowns)
    )
    return replace(one, also=also)


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
    fiscal_month = site.rules.fiscal_month
    window = resolve(preset, query.start, query.end, tz, now, fiscal_month=fiscal_month)
    before = None if query.compare is None else compared(window, query.compare, now)
    return Period(window, bounds(window, query.grain, fiscal_month), before, asked)
