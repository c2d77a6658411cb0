"""Exact money: integers in millionths of a currency unit."""

from __future__ import annotations

from decimal import Decimal, InvalidOperation

MICROS = 1_000_000
LIMIT = 10**12 * MICROS
"""Amounts stay below a trillion units. A 64-bit number holds the sum of nine such amounts, so a
sum that grows beyond it is kept in pieces, and added up as numeric (decision 2)."""


class MoneyError(ValueError):
    """The text or number is not an amount that can be kept exactly."""


def to_micros(amount: int | Decimal | str) -> int:
    """Millionths of a unit, exactly.

    Raises MoneyError for anything finer than a millionth, not finite, or a trillion and above.
    """
    try:
        value = Decimal(amount)
    except InvalidOperation as error:
        raise MoneyError("must be a number such as 129.95") from error
    if not value.is_finite():
        raise MoneyError("must be a finite number")
    if abs(value) >= LIMIT // MICROS:
        raise MoneyError("must be below a trillion")
    micros = int(value.scaleb(6))
    # Scaling rounds to 28 digits; comparing does not.
    if from_micros(micros) != value:
        raise MoneyError("must have at most six decimals")
    return micros


def from_micros(micros: int) -> Decimal:
    """The amount in units, without trailing zeros beyond the decimal point."""
    return Decimal(micros).scaleb(-6)
