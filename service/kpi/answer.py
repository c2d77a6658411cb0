"""The answer to a question about one KPI, and its JSON form."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from decimal import Decimal
from fractions import Fraction
from typing import Any, NamedTuple

from service.domain.models import Model
from service.domain.money import MICROS
from service.kpi import numbers
from service.kpi.cells import Cell
from service.kpi.compute import Figure, is_too_large
from service.kpi.definition import Kpi
from service.kpi.formula import (
    Distinct,
    Formula,
    IntervalMethod,
    KpiKind,
    TermKey,
    Unit,
    is_money,
    label,
    money_side,
)
from service.kpi.freshness import Cohort
from service.kpi.intervals import LEVEL, Interval
from service.kpi.money import MissingRate
from service.kpi.noise import Noise
from service.kpi.uncertainty import Flag
from service.kpi.windows import Window, local_text

Number = int | Decimal | None

MOST_MISSING = 50
"""So many missing exchange rates are named; the first ones are enough to act on."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """The same KPI over another window; `noise` says whether chance explains the change."""

    window: Window
    figure: Figure
    noise: Noise | None


class Point(NamedTuple):
    """One bucket of a series, `[start, end)` in UTC."""

    start: datetime
    end: datetime
    figure: Figure
    interval: Interval | None


class Row(NamedTuple):
    """One row of a breakdown; a label is '' for what has no value in the dimension."""

    labels: tuple[str, ...]
    figure: Figure
    interval: Interval | None


class Rest(NamedTuple):
    """All `rows` of a breakdown that are not among the largest, together."""

    rows: int
    figure: Figure
    interval: Interval | None


@dataclass(frozen=True, slots=True)
class Answer:
    """One KPI over one window, with everything that was asked for beside it.

    `currency` is None where neither side is an amount, `model` where nothing is credited to
    touches; `also` are values of other KPIs that stay visible when this one has none, as they
    would be published, and `terms` those of the formula's quantities; `series` and `breakdown`
    are None unless asked for, `rest` unless rows were left over; `provisional` says that late
    events are still expected; `cohort` is None unless the view follows one; `as_of` is the instant
    (UTC) as of which all events are counted.
    """

    kpi: Kpi
    formula: Formula
    view: str
    window: Window
    currency: str | None
    model: Model | None
    figure: Figure
    interval: Interval | None
    flags: Sequence[Flag]
    missing: Sequence[MissingRate]
    also: Mapping[str, Number]
    terms: Sequence[tuple[str, Number]]
    comparison: Comparison | None
    series: Sequence[Point] | None
    by: tuple[str, ...]
    breakdown: Sequence[Row] | None
    rest: Rest | None
    provisional: bool
    cohort: Cohort | None
    as_of: datetime

    def as_dict(self) -> dict[str, Any]:
        """The contract's JSON object; values are int, Decimal, float or None."""
        form = _Form.of(self)
        answer = {
            "kpi": self.kpi.id,
            "version": self.kpi.version,
            "unit": self.kpi.unit.value,
            "direction": self.kpi.direction.value,
            "currency": self.currency,
            "view": self.view or None,
            "model": None if self.model is None else self.model.label,
            "counting": "exact" if self._counts_people else None,
            "window": self.window.bounds,
            **form.figure(self.figure),
            "interval": _interval(self.interval),
            "flags": [flag.value for flag in self.flags],
            "also": dict(self.also),
            "compare": None if self.comparison is None else self._comparison(form, self.comparison),
            "series": None if self.series is None else self._series(form, self.series),
            "breakdown": None if self.breakdown is None else self._breakdown(form, self.breakdown),
            "rest": None
            if self.rest is None
            else {"rows": self.rest.rows, **form.part(self.rest.figure, self.rest.interval)},
            "benchmark": None,
            "provisional": self.provisional,
            "cohort": None if self.cohort is None else asdict(self.cohort),
            "as_of": self.as_of.astimezone(UTC).isoformat().replace("+00:00", "Z"),
        }
        if self.missing:
            answer["missing"] = [
                {"currency": rate.currency, "day": rate.day.isoformat()}
                for rate in sorted(self.missing)[:MOST_MISSING]
            ]
        return answer

    @property
    def _counts_people(self) -> bool:
        return any(isinstance(quantity, Distinct) for quantity, _ in self.formula.keys)

    def _comparison(self, form: _Form, comparison: Comparison) -> dict[str, Any]:
        now, before = self.figure.value, comparison.figure.value
        change = None if now is None or before is None else now - before
        share = None if change is None or not before else change / abs(before)
        return {
            "window": comparison.window.bounds,
            "value": _shown(form.value, before),
            "reason": comparison.figure.reason,
            "change": _shown(form.value, change),
            "change_ratio": None if share is None or is_too_large(share) else numbers.ratio(share),
            "beyond_noise": None if comparison.noise is None else comparison.noise.beyond,
            "noise_method": None if comparison.noise is None else comparison.noise.method,
        }

    def _series(self, form: _Form, points: Sequence[Point]) -> list[dict[str, Any]]:
        zone = self.window.zone
        return [
            {
                "from": local_text(start, zone),
                "to": local_text(end, zone),
                **form.part(figure, interval),
            }
            for start, end, figure, interval in points
        ]

    def _breakdown(self, form: _Form, rows: Sequence[Row]) -> list[dict[str, Any]]:
        return [
            {name: text or None for name, text in zip(self.by, labels, strict=True)}
            | form.part(figure, interval)
            for labels, figure, interval in rows
        ]


Publish = Callable[[Fraction], int | Decimal]


class _Form(NamedTuple):
    """How each number of an answer's figures is published.

    `with_intervals` says that parts have intervals: those that need no look at their days.
    """

    value: Publish
    above: Publish
    below: Publish
    with_intervals: bool

    @classmethod
    def of(cls, answer: Answer) -> _Form:
        formula = answer.formula
        return cls(
            _of_kpi(answer.kpi),
            _of_side(money=money_side(formula.numerator)),
            _of_side(money=money_side(formula.denominator)),
            formula.interval in {IntervalMethod.WILSON, IntervalMethod.NPS},
        )

    def figure(self, figure: Figure) -> dict[str, Any]:
        value, reason, top, bottom = figure
        return {
            "value": _shown(self.value, value),
            "reason": reason,
            "numerator": _shown(self.above, top),
            "denominator": _shown(self.below, bottom),
        }

    def part(self, figure: Figure, interval: Interval | None) -> dict[str, Any]:
        members = self.figure(figure)
        if self.with_intervals:
            members["interval"] = _interval(interval)
        return members


def published(kpi: Kpi, value: Fraction | None) -> Number:
    """A value of a KPI as it is published: sums exactly, quotients rounded if they must be."""
    return _shown(_of_kpi(kpi), value)


def _of_kpi(kpi: Kpi) -> Publish:
    if kpi.unit is Unit.COUNT:
        return numbers.count
    return numbers.amount if kpi.kind is KpiKind.SIMPLE else numbers.ratio


def _of_side(*, money: bool) -> Publish:
    return numbers.amount if money else numbers.count


def _shown(publish: Publish, value: Fraction | None) -> Number:
    return None if value is None else publish(value)


def published_term(key: TermKey, total: Cell | None) -> tuple[str, Number]:
    """A quantity's name with its filter, and its amount in units; None when it is not known."""
    quantity, where = key
    conditions = ", ".join(f"{name} = {value}" for name, value in where)
    name = f"{label(quantity)}[{conditions}]" if conditions else label(quantity)
    if total is None or key in total.missing:
        return name, None
    amount = Fraction(total.amounts.get(key, 0))
    is_amount = is_money(quantity)
    return name, _of_side(money=is_amount)(amount / MICROS if is_amount else amount)


def _interval(interval: Interval | None) -> dict[str, Any] | None:
    if interval is None:
        return None
    return {
        "low": interval.low,
        "high": interval.high,
        "level": LEVEL,
        "method": interval.method,
    }
