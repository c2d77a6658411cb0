"""95 % intervals: how far the true value may be from a share, a score or a ratio of a sample."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from math import hypot, lcm, sqrt
from typing import NamedTuple

from service.kpi.cells import Exact

Z = 1.959963984540054
"""The 97.5 % point of the standard normal distribution."""

LEVEL = Decimal("0.95")

FEWEST_DAYS = 3
"""With fewer days there is no telling how much days differ."""

_FINEST = 1 << 128
"""Units of 1 in which amounts are told apart: far finer than a double can show."""


class Interval(NamedTuple):
    """`low` and `high` in the unit of the value; `method` names the formula."""

    low: float
    high: float
    method: str


def wilson(successes: int, trials: int) -> Interval | None:
    """Wilson's score interval of a share, without continuity correction (Wilson 1927).

    None where it is not a share: no trials, or successes outside 0 to `trials`.
    """
    if not 0 <= successes <= trials or trials == 0:
        return None
    share = successes / trials
    spread = Z * Z / trials
    centre = share + spread / 2
    half = Z * sqrt(share * (1 - share) / trials + spread / (4 * trials))
    # At the ends the bound is exactly 0 or 1; only rounding would say otherwise.
    low = 0.0 if successes == 0 else max(0.0, (centre - half) / (1 + spread))
    high = 1.0 if successes == trials else min(1.0, (centre + half) / (1 + spread))
    return Interval(low, high, "wilson")


def adjusted_wald(promoters: int, detractors: int, answers: int) -> Interval | None:
    """The adjusted Wald interval of a net promoter score, in points (Rocks 2016, arXiv 1601.07235).

    Three more answers, a quarter of them in each of the classes that count, keep it honest when all
    answers agree. None without answers, or when the counts cannot be parts of them.
    """
    if answers <= 0 or promoters < 0 or detractors < 0 or promoters + detractors > answers:
        return None
    count = answers + 3
    high, low = (promoters + 0.75) / count, (detractors + 0.75) / count
    score = high - low
    half = Z * sqrt((high + low - score * score) / count)
    return Interval(
        max(-100.0, 100 * (score - half)), min(100.0, 100 * (score + half)), "adjusted_wald"
    )


def delta(
    numerators: Sequence[Exact], denominators: Sequence[Exact], scale: int = 1
) -> Interval | None:
    """The delta method's interval of `scale` times a ratio of sums, with the day as the unit.

    Both hold one number a day of the window, days without anything included. The variance is
    (s_y^2 - 2 R s_xy + R^2 s_x^2) / (n xbar^2) with sample variances (GrowthBook documentation,
    statistics details, equations 11 and 12). None for a zero denominator, and where fewer than
    `FEWEST_DAYS` days have anything in them: an empty day says nothing about how days differ.
    """
    days = len(numerators)
    tops, top_unit = _whole(numerators)
    bottoms, bottom_unit = _whole(denominators)
    top, bottom = sum(tops), sum(bottoms)
    if not bottom or filled_days(tops, bottoms) < FEWEST_DAYS:
        return None
    # What a day deviates from the ratio, y - R x, sums to 0, so that the sum of its squares is all
    # of the variance. In integers nothing is lost, however large the sums and small the deviations.
    squares = sum((y * bottom - top * x) ** 2 for y, x in zip(tops, bottoms, strict=True))
    factor = scale * bottom_unit
    variance = (days * squares * factor**2) / ((days - 1) * bottom**4 * top_unit**2)
    ratio = (top * factor) / (bottom * top_unit)
    half = Z * sqrt(variance)
    return Interval(ratio - half, ratio + half, "delta")


def daily_total(values: Sequence[Exact], scale: int = 1) -> Interval | None:
    """The interval of `scale` times a sum, with the day as the unit: its variance is n s^2.

    None for fewer than `FEWEST_DAYS` days. It tells how much such a sum varies by chance, for
    comparisons; a sum itself is exact.
    """
    days = len(values)
    if days < FEWEST_DAYS:
        return None
    whole, unit = _whole(values)
    total = sum(whole)
    squares = days * sum(value * value for value in whole) - total * total
    half = Z * sqrt((squares * scale**2) / ((days - 1) * unit**2))
    centre = (total * scale) / unit
    return Interval(centre - half, centre + half, "daily_totals")


def filled_days(numerators: Sequence[Exact], denominators: Sequence[Exact]) -> int:
    """How many days have anything in them."""
    return sum(1 for y, x in zip(numerators, denominators, strict=True) if y or x)


def difference(
    now: tuple[float, Interval], before: tuple[float, Interval], method: str
) -> Interval:
    """The interval of the difference of two independent estimates, from the interval of each.

    Squares of the distances to the bounds that face each other are added (Zou and Donner 2008);
    for Wilson's intervals this is Newcombe's method 10 (1998), for symmetric ones the sum of the
    variances.
    """
    (value, own), (earlier, other) = now, before
    change = value - earlier
    # An adjusted interval may leave out an estimate at the end of its scale; no distance is
    # negative.
    below = hypot(max(0.0, value - own.low), max(0.0, other.high - earlier))
    above = hypot(max(0.0, own.high - value), max(0.0, earlier - other.low))
    return Interval(change - below, change + above, method)


def _whole(values: Sequence[Exact]) -> tuple[list[int], int]:
    """The values in units small enough to make them all integers, and how many units make 1.

    Many inverse exchange rates have no common unit of a sensible size: then `_FINEST` is used.
    """
    unit = 1
    for value in values:
        unit = lcm(unit, value.denominator)
        if unit > _FINEST:
            unit = _FINEST
            break
    return [value.numerator * unit // value.denominator for value in values], unit
