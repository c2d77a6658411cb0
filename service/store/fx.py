"""Exchange rates by day: what one unit of `base` was worth in `quote`."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from decimal import Decimal
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from service.domain.currencies import CURRENCIES
from service.errors import InvalidError
from service.kit.nearest import nearest
from service.store.engine import reading, writing

LARGEST_RATE = Decimal(10) ** 9
DECIMALS = 12
MOST_ROWS = 1000

_FIRST, _LAST = date(1900, 1, 1), date(2200, 1, 1)


class FxRate(NamedTuple):
    """One unit of `base` is `rate` units of `quote` on `day`; ISO 4217 codes."""

    base: str
    quote: str
    day: date
    rate: Decimal


def check_currency(code: str, field: str) -> str:
    """The code in capital letters; InvalidError with the nearest ones unless it is a currency."""
    currency = code.upper()
    # Upper-casing makes letters of some that are none of the alphabet.
    if not code.isascii() or currency not in CURRENCIES:
        meant = nearest(currency[:10], CURRENCIES)
        hint = f" Did you mean {' or '.join(meant)}?" if meant else ""
        raise InvalidError(
            f"'{code[:100]}' is not a currency; write its ISO 4217 code, such as EUR or DKK.{hint}",
            code="unknown_currency",
            field=field,
            nearest=meant,
        )
    return currency


def checked(rate: FxRate) -> FxRate:
    """The rate with its codes in capital letters; InvalidError for one that cannot be."""
    base, quote = check_currency(rate.base, "base"), check_currency(rate.quote, "quote")
    if base == quote:
        raise InvalidError(
            f"base and quote are both {base}; a rate is between two currencies.",
            code="invalid_rate",
            field="quote",
        )
    if not rate.rate.is_finite() or not 0 < rate.rate < LARGEST_RATE:
        raise InvalidError(
            f"A rate is a number above 0 and below {LARGEST_RATE}.",
            code="invalid_rate",
            field="rate",
        )
    if rate.rate != round(rate.rate, DECIMALS):
        raise InvalidError(
            f"A rate has at most {DECIMALS} decimals.", code="invalid_rate", field="rate"
        )
    if not _FIRST <= rate.day < _LAST:
        raise InvalidError(
            f"A rate's day lies from {_FIRST.year} to {_LAST.year - 1}.",
            code="invalid_rate",
            field="day",
        )
    return FxRate(base, quote, rate.day, rate.rate)


_PUT = text("""
    INSERT INTO fx_rate (base, quote, day, rate)
    SELECT * FROM unnest(CAST(:bases AS text[]), CAST(:quotes AS text[]),
                         CAST(:days AS date[]), CAST(:rates AS numeric[]))
    ON CONFLICT (base, quote, day) DO UPDATE SET rate = excluded.rate""")


async def put_rates(engine: AsyncEngine, rates: Iterable[FxRate]) -> int:
    """Store rates, all or none; a newer rate replaces the older one of the same pair and day.

    Answers how many were given. Raises InvalidError for the first one that cannot be.
    """
    given = [checked(rate) for rate in rates]
    by_key = {rate[:3]: rate for rate in given}  # of two for one key, the last one counts
    if by_key:
        bases, quotes, days, values = zip(*by_key.values(), strict=True)
        async with writing(engine) as connection:
            await connection.execute(
                _PUT,
                {
                    "bases": list(bases),
                    "quotes": list(quotes),
                    "days": list(days),
                    "rates": list(values),
                },
            )
    return len(given)


_LIST = text("""
    SELECT base, quote, day, rate FROM fx_rate
    WHERE (CAST(:base AS text) IS NULL OR base = :base)
      AND (CAST(:quote AS text) IS NULL OR quote = :quote)
      AND (CAST(:first AS date) IS NULL OR day >= :first)
      AND (CAST(:last AS date) IS NULL OR day <= :last)
    ORDER BY base, quote, day DESC LIMIT :limit""")


async def list_rates(
    engine: AsyncEngine,
    base: str | None = None,
    quote: str | None = None,
    first: date | None = None,
    last: date | None = None,
    *,
    limit: int = MOST_ROWS,
) -> list[FxRate]:
    """Stored rates by pair, the newest day of each first; `first` and `last` are inclusive."""
    asked = {"base": base, "quote": quote, "first": first, "last": last, "limit": limit}
    async with reading(engine) as connection:
        return [FxRate(*row) for row in await connection.execute(_LIST, asked)]


RATES_BETWEEN = text("""
    SELECT base, quote, day, rate FROM fx_rate
    WHERE base = ANY(CAST(:currencies AS text[])) AND quote = :currency
      AND day >= :first AND day <= :last
    UNION ALL
    SELECT base, quote, day, rate FROM fx_rate
    WHERE base = :currency AND quote = ANY(CAST(:currencies AS text[]))
      AND day >= :first AND day <= :last""")
"""Every rate between `currency` and one of `currencies`, in both directions, of the days from
`first` to `last`: rows of `FxRate`."""
