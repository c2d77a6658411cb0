from __future__ import annotations

from decimal import ROUND_HALF_EVEN, Context, Decimal, localcontext
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.kpi.numbers import amount, count, ratio


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Fraction(5, 2), "2.5"),
        (Fraction(10_345, 100_000), "0.10345"),
        (Fraction(0), "0"),
        (Fraction(-1, 8), "-0.125"),
        (Fraction(50), "50"),
        (Fraction(1, 3), "0.33333333333333333"),
        (Fraction(-2, 3), "-0.66666666666666667"),
        (Fraction(1, 2**30), "9.3132257461547852E-10"),
        (Fraction(123_456_789_012_345, 1), "123456789012345"),
        (Fraction(100_000_000_000_000_000_003, 1000), "100000000000000000"),
    ],
)
def test_ratios(value: Fraction, text: str) -> None:
    assert ratio(value) == Decimal(text)
    assert "E+" not in str(ratio(value))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Fraction(10_025, 100), "100.25"),
        (Fraction(50), "50"),
        (Fraction(-3), "-3"),
        (Fraction(30_590_879_820_001, 1_000_000), "30590879.820001"),
        (Fraction(10**24 + 1, 1_000_000), "1000000000000000000.000001"),
        (Fraction(1, 7), "0.14285714285714286"),
    ],
)
def test_amounts_are_exact(value: Fraction, text: str) -> None:
    assert str(amount(value)) == text


def test_counts_are_integers() -> None:
    assert count(Fraction(7)) == 7
    assert isinstance(count(Fraction(7)), int)
    assert count(Fraction(7, 2)) == Decimal("3.5")


@given(st.integers(-(10**20), 10**20), st.integers(0, 12))
def test_an_amount_loses_nothing(numerator: int, places: int) -> None:
    value = Fraction(numerator, 10**places)
    assert Fraction(amount(value)) == value


@given(st.fractions())
def test_a_ratio_is_within_half_a_unit_of_its_17th_digit(value: Fraction) -> None:
    published = ratio(value)
    assert abs(Fraction(published) - value) <= abs(value) * Fraction(1, 10**16)


def test_what_a_model_split_is_published_to_the_last_millionth() -> None:
    third = Fraction(333_333_333_333_333_333, 10**6)
    assert count(third) == Decimal("333333333333.333333")


def by_division(value: Fraction) -> tuple[Decimal, bool]:
    """The decimal of a fraction, by division with more digits than any end needs; does it end?"""
    with localcontext(Context(prec=1000)):
        divided = Decimal(value.numerator) / Decimal(value.denominator)
        return divided, Fraction(divided) == value


def rounded(value: Fraction) -> Decimal:
    context = Context(prec=17, rounding=ROUND_HALF_EVEN)
    return context.divide(Decimal(value.numerator), Decimal(value.denominator))


PUBLISHED = st.one_of(
    st.fractions(),
    st.fractions(max_denominator=10**30),
    st.builds(Fraction, st.integers(-(10**30), 10**30), st.sampled_from([1, 10**6, 10**12, 7])),
    st.builds(Fraction, st.integers(-(10**18), 10**18), st.integers(1, 10**9)),
)


@given(PUBLISHED)
def test_numbers_are_those_of_the_definition(value: Fraction) -> None:
    exact, ends = by_division(value)
    assert amount(value) == (exact if ends else rounded(value))
    is_short = ends and len(exact.normalize().as_tuple().digits) <= 15
    assert ratio(value) == (exact if is_short else rounded(value))
    assert count(value) == (value if value.denominator == 1 else amount(value))
    assert all("E+" not in str(number) for number in (amount(value), ratio(value)))
