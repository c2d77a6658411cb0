"""Whether a change is more than chance: the interval of the difference of two windows' values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from service.kpi.cells import Cell
from service.kpi.compute import Figure
from service.kpi.definition import Kpi
from service.kpi.formula import Formula, IntervalMethod
from service.kpi.intervals import Interval, daily_total, difference
from service.kpi.uncertainty import Days, adds_up, interval


@dataclass(frozen=True, slots=True)
class Sample:
    """One window's value and what it was computed from; `days` are the figures of its days."""

    figure: Figure
    cell: Cell
    days: Days | None


@dataclass(frozen=True, slots=True)
class Noise:
    """The 95 % interval of a change, in the unit of the value, if nothing but chance were at work.

    `method` is `newcombe` (shares), `adjusted_wald` (scores), `delta` (ratios of sums) or
    `daily_totals` (sums).
    """

    change: Interval

    @property
    def beyond(self) -> bool:
        """Whether there is a change that chance explains in at most one case of twenty."""
        return self.change.low > 0 or self.change.high < 0

    @property
    def method(self) -> str:
        """How it was computed."""
        return self.change.method


Uncertain = Callable[[Kpi, Formula, Sample], Interval | None]


def beyond_noise(kpi: Kpi, formula: Formula, now: Sample, before: Sample) -> Noise | None:
    """Whether the change between two windows is beyond the noise, two-sided at 95 %.

    None where nothing can be said: a value is missing, either sample has no interval (a plain
    count of distinct people, a share above 1, fewer than three days), sums of windows that differ
    in length by more than a day, or no day differs from another.
    """
    value, earlier = now.figure.value, before.figure.value
    if value is None or earlier is None or not _comparable(formula, now, before):
        return None
    method, uncertain = _METHODS[formula.interval]
    own, other = uncertain(kpi, formula, now), uncertain(kpi, formula, before)
    if own is None or other is None or (own.low == own.high and other.low == other.high):
        return None
    return Noise(difference((float(value), own), (float(earlier), other), method))


def _comparable(formula: Formula, now: Sample, before: Sample) -> bool:
    """Totals of unequal windows differ without any chance; other values do not grow with time."""
    if formula.denominator:
        return True
    return abs(len(now.days or ()) - len(before.days or ())) <= 1


def _shown(kpi: Kpi, formula: Formula, sample: Sample) -> Interval | None:
    return interval(formula, sample.cell, sample.figure, sample.days, bounded=kpi.bounded)


def _varying(_: Kpi, formula: Formula, sample: Sample) -> Interval | None:
    if formula.denominator or sample.days is None or not adds_up(formula):
        return None
    values: list[Fraction] = [day.numerator for day in sample.days if day.numerator is not None]
    return daily_total(values, formula.scale) if len(values) == len(sample.days) else None


_METHODS: dict[IntervalMethod, tuple[str, Uncertain]] = {
    IntervalMethod.WILSON: ("newcombe", _shown),
    IntervalMethod.NPS: ("adjusted_wald", _shown),
    IntervalMethod.DELTA: ("delta", _shown),
    IntervalMethod.NONE: ("daily_totals", _varying),
}
"""For each interval of a value, the method for a difference of two, and what it is made of."""
