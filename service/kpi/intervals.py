"""95 % intervals: how far the true value may be from a share or a score of a sample."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from math import sqrt

Z = 1.959963984540054
"""The 97.5 % point of the standard normal distribution."""

LEVEL = Decimal("0.95")


@dataclass(frozen=True, slots=True)
class Interval:
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
