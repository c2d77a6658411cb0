"""How exact fractions are published: as integers, as exact decimals, or rounded to 17 digits."""

from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal
from fractions import Fraction
from functools import lru_cache

EXACT_DIGITS = 15
"""A ratio that ends within so many significant digits is published as it is."""

ROUNDED_DIGITS = 17
"""Any other is rounded to so many: enough to give back any binary double."""

_LARGEST_ROUNDED = 10 ** (ROUNDED_DIGITS - 1)
"""Below it a number that is rounded has decimals."""

_ROUNDED = Context(prec=ROUNDED_DIGITS, rounding=ROUND_HALF_EVEN)


def count(value: Fraction) -> int | Decimal:
    """A count: an integer, unless a model or weights split it; then exact as amounts are."""
    return value.numerator if value.denominator == 1 else amount(value)


def amount(value: Fraction) -> Decimal:
    """An amount of money: exact, unless an exchange rate that never ends was divided by."""
    places = _places(value.denominator)
    return _rounded(value) if places is None else _decimal(value, places)


def ratio(value: Fraction) -> Decimal:
    """A quotient: exact where it ends within `EXACT_DIGITS` digits, else rounded."""
    places = _places(value.denominator)
    if places is None:
        return _rounded(value)
    exact = _decimal(value, places)
    return exact if len(exact.as_tuple().digits) <= EXACT_DIGITS else _rounded(value)


@lru_cache(maxsize=1 << 10)
def _places(denominator: int) -> int | None:
    """How many decimals a fraction with this denominator has; None when it never ends."""
    twos = (denominator & -denominator).bit_length() - 1
    rest, fives = denominator >> twos, 0
    while rest % 5 == 0:
        rest //= 5
        fives += 1
    return max(twos, fives) if rest == 1 else None


def _decimal(value: Fraction, places: int) -> Decimal:
    # From text, because arithmetic would round to the context's precision.
    return Decimal(f"{value.numerator * 10**places // value.denominator}E-{places}")


def _rounded(value: Fraction) -> Decimal:
    rounded = _ROUNDED.divide(Decimal(value.numerator), Decimal(value.denominator))
    if abs(value.numerator) < _LARGEST_ROUNDED * value.denominator:
        return rounded
    return Decimal(f"{rounded:f}")  # without an exponent above 0
