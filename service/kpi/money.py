"""Amounts in other currencies: converted at the rate of the day on which they were booked."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable
from datetime import date, timedelta
from fractions import Fraction
from typing import NamedTuple

from service.store.fx import FxRate

OLDEST_RATE = timedelta(days=7)
"""A day without a rate (a weekend, a holiday) takes the latest one before, up to so old."""


class MissingRate(NamedTuple):
    """No rate was found for amounts of this currency on this day."""

    currency: str
    day: date


class Rates:
    """Rates into one reporting currency, direct ones and the inverse of the opposite direction."""

    def __init__(self, currency: str, rates: Iterable[FxRate]) -> None:
        by_pair: dict[str, dict[date, Fraction]] = {}
        # The direct ones last: where both directions are known, the stated one counts.
        for rate in sorted(rates, key=lambda rate: rate.quote == currency):
            if rate.quote == currency:
                by_pair.setdefault(rate.base, {})[rate.day] = Fraction(rate.rate)
            else:
                by_pair.setdefault(rate.quote, {})[rate.day] = 1 / Fraction(rate.rate)
        self._rates = by_pair
        self._days = {other: sorted(days) for other, days in by_pair.items()}

    def at(self, currency: str, day: date) -> Fraction | None:
        """What one unit of `currency` was worth on `day`; None when nobody said."""
        days = self._days.get(currency, [])
        place = bisect_right(days, day)
        if place == 0 or day - days[place - 1] > OLDEST_RATE:
            return None
        return self._rates[currency][days[place - 1]]
