from __future__ import annotations

from decimal import Decimal, localcontext

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.money import LIMIT, MICROS, MoneyError, from_micros, to_micros

AMOUNTS = st.integers(-LIMIT + 1, LIMIT - 1)


@pytest.mark.parametrize(
    ("amount", "micros"),
    [
        ("129.95", 129_950_000),
        (Decimal("129.95"), 129_950_000),
        (Decimal("0.1") + Decimal("0.2"), 300_000),
        ("0.000001", 1),
        ("-0.000001", -1),
        (7, 7_000_000),
        ("1e3", 1_000_000_000),
        ("1.2300000000000000000", 1_230_000),
        ("-0", 0),
        ("1." + "0" * 5000, 1_000_000),
        ("0e-9999999999", 0),
        ("999999999999.999999", LIMIT - 1),
    ],
)
def test_amounts_are_read_exactly(amount: int | Decimal | str, micros: int) -> None:
    assert to_micros(amount) == micros


@pytest.mark.parametrize(
    ("amount", "reason"),
    [
        ("0.0000001", "at most six decimals"),
        ("129.9500001", "at most six decimals"),
        (Decimal("1E-7"), "at most six decimals"),
        ("1e-999999", "at most six decimals"),
        ("1e-9999999999", "at most six decimals"),
        ("999999999999.0000000000000000001", "at most six decimals"),  # more than 28 digits
        ("0." + "9" * 5000, "at most six decimals"),
        ("1." + "0" * 5000 + "1", "at most six decimals"),
        ("1000000000000", "below a trillion"),
        (-(10**12), "below a trillion"),
        ("1e999999", "below a trillion"),
        (10**4000, "below a trillion"),
        ("NaN", "finite"),
        ("sNaN", "finite"),
        ("-Infinity", "finite"),
        ("", "a number such as 129.95"),
        ("12,50", "a number such as 129.95"),
        ("kr. 12", "a number such as 129.95"),
    ],
)
def test_what_cannot_be_kept_exactly_is_refused(amount: int | Decimal | str, reason: str) -> None:
    with pytest.raises(MoneyError, match=reason):
        to_micros(amount)


@given(AMOUNTS)
def test_there_and_back_is_the_same_amount(micros: int) -> None:
    amount = from_micros(micros)
    assert amount * MICROS == micros
    for again in (amount, str(amount), f"{amount:f}", f"{amount:E}"):
        assert to_micros(again) == micros


@given(st.lists(AMOUNTS, max_size=20))
def test_sums_of_micros_are_sums_of_amounts(parts: list[int]) -> None:
    with localcontext(prec=60):
        assert from_micros(sum(parts)) == sum(map(from_micros, parts), Decimal(0))


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_an_amount_is_exact_or_refused(amount: Decimal) -> None:
    try:
        micros = to_micros(amount)
    except MoneyError:
        with localcontext(prec=60, Emax=999_999, Emin=-999_999):
            assert abs(amount) >= 10**12 or (amount * MICROS) % 1
    else:
        assert from_micros(micros) == amount


def test_sums_of_millions_of_amounts_fit_into_64_bits() -> None:
    assert 9 * 10**6 * (LIMIT // 10**6) < 2**63
    assert LIMIT == 10**18
