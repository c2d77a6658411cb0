"""The answer to a question about one KPI, and its JSON form."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any

from service.kpi import numbers
from service.kpi.compute import Figure, Flag
from service.kpi.definition import Kpi
from service.kpi.formula import Formula, KpiKind, Unit, money_side
from service.kpi.intervals import LEVEL, Interval
from service.kpi.money import MissingRate
from service.kpi.windows import Window, local_text

Number = int | Decimal | None

MOST_MISSING = 50
"""So many missing exchange rates are named; the first ones are enough to act on."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The same KPI over another window."""

    window: Window
    figure: Figure


@dataclass(frozen=True, slots=True)
class Point:
    """One bucket of a series, `[start, end)` in UTC."""

    start: datetime
    end: datetime
    figure: Figure


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a breakdown; `label` is '' for what has no value in the dimension."""

    label: str
    figure: Figure


@dataclass(frozen=True, slots=True)
class Answer:
    """One KPI over one window, with everything that was asked for beside it.

    `currency` is None where neither side is an amount; `also` are values of other KPIs that stay
    visible when this one has none, as they would be published; `series` and `breakdown` are None
    unless asked for; `as_of` is the instant (UTC) as of which all events are counted.
    """

    kpi: Kpi
    formula: Formula
    view: str
    window: Window
    currency: str | None
    figure: Figure
    interval: Interval | None
    flags: Sequence[Flag]
    missing: Sequence[MissingRate]
    also: Mapping[str, Number]
    comparison: Comparison | None
    series: Sequence[Point] | None
    by: str | None
    breakdown: Sequence[Row] | None
    as_of: datetime

    def as_dict(self) -> dict[str, Any]:
        """The contract's JSON object; values are int, Decimal, float or None."""
        answer = {
            "kpi": self.kpi.id,
            "version": self.kpi.version,
            "unit": self.kpi.unit.value,
            "direction": self.kpi.direction.value,
            "currency": self.currency,
            "view": self.view or None,
            "window": self.window.bounds,
            **self._figure(self.figure),
            "interval": None if self.interval is None else _interval(self.interval),
            "flags": [flag.value for flag in self.flags],
            "also": dict(self.also),
            "compare": None if self.comparison is None else self._comparison(self.comparison),
            "series": None if self.series is None else [self._point(at) for at in self.series],
            "breakdown": None if self.breakdown is None else [self._row(r) for r in self.breakdown],
            "benchmark": None,
            "as_of": self.as_of.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        }
        if self.missing:
            answer["missing"] = [
                {"currency": rate.currency, "day": rate.day.isoformat()}
                for rate in sorted(self.missing)[:MOST_MISSING]
            ]
        return answer

    def _figure(self, figure: Figure) -> dict[str, Any]:
        formula = self.formula
        return {
            "value": published(self.kpi, figure.value),
            "reason": figure.reason,
            "numerator": _side(figure.numerator, money=money_side(formula.numerator)),
            "denominator": _side(figure.denominator, money=money_side(formula.denominator)),
        }

    def _comparison(self, comparison: Comparison) -> dict[str, Any]:
        now, before = self.figure.value, comparison.figure.value
        change = None if now is None or before is None else now - before
        share = None if change is None or not before else change / abs(before)
        return {
            "window": comparison.window.bounds,
            "value": published(self.kpi, before),
            "reason": comparison.figure.reason,
            "change": published(self.kpi, change),
            "change_ratio": None if share is None else numbers.ratio(share),
        }

    def _point(self, point: Point) -> dict[str, Any]:
        zone = self.window.zone
        span = {"from": local_text(point.start, zone), "to": local_text(point.end, zone)}
        return span | self._figure(point.figure)

    def _row(self, row: Row) -> dict[str, Any]:
        return {str(self.by): row.label or None} | self._figure(row.figure)


def published(kpi: Kpi, value: Fraction | None) -> Number:
    """A value of a KPI as it is published: sums exactly, quotients rounded if they must be."""
    if value is None:
        return None
    if kpi.unit is Unit.COUNT:
        return numbers.count(value)
    return numbers.amount(value) if kpi.kind is KpiKind.SIMPLE else numbers.ratio(value)


def _side(value: Fraction | None, *, money: bool) -> Number:
    if value is None:
        return None
    return numbers.amount(value) if money else numbers.count(value)


def _interval(interval: Interval) -> dict[str, Any]:
    return {
        "low": interval.low,
        "high": interval.high,
        "level": LEVEL,
        "method": interval.method,
    }
