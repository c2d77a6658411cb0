"""Intervals against vectors: our own, and the reference's where they are on this machine."""

from __future__ import annotations

import csv
import json
import random
from collections import defaultdict
from collections.abc import Sequence
from fractions import Fraction
from math import sqrt
from pathlib import Path
from statistics import covariance, fmean, stdev, variance
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.kpi.intervals import (
    Interval,
    Z,
    adjusted_wald,
    daily_total,
    delta,
    difference,
    filled_days,
    wilson,
)

SHARED = Path(__file__).parents[3] / "shared"
VECTORS = SHARED / "answers/vectors.json"
reference = pytest.mark.skipif(
    not VECTORS.is_file(), reason="the reference vectors (../shared) are not on this machine"
)


def vectors(name: str) -> Any:
    return json.loads(VECTORS.read_text())[name]


@reference
def test_wilson_agrees_with_the_reference() -> None:
    rows = vectors("wilson95")
    assert len(rows) > 10
    for row in rows:
        found = wilson(row["k"], row["n"])
        assert found is not None
        assert found.low == pytest.approx(row["low"], abs=1e-12, rel=1e-9)
        assert found.high == pytest.approx(row["high"], abs=1e-12, rel=1e-9)


@reference
def test_adjusted_wald_agrees_with_the_reference() -> None:
    rows = [row for row in vectors("nps").values() if row.get("adj_wald")]
    assert len(rows) >= 4
    for row in rows:
        found = adjusted_wald(row["promoters"], row["detractors"], row["n"])
        assert found is not None
        assert (found.low, found.high) == pytest.approx(row["adj_wald"]["ci95"], rel=1e-12)


# Solved by hand from the definition: the bounds are the two roots of (p - k/n)^2 = z^2 p(1-p)/n.
@pytest.mark.parametrize(("k", "n"), [(1, 2), (3, 10), (99, 100), (1, 1000), (500, 1000)])
def test_wilson_bounds_are_the_roots_of_its_equation(k: int, n: int) -> None:
    found = wilson(k, n)
    assert found is not None
    for bound in (found.low, found.high):
        assert (bound - k / n) ** 2 == pytest.approx(Z * Z * bound * (1 - bound) / n, rel=1e-9)
    assert found.low < k / n < found.high


def test_five_promoters_of_five() -> None:
    found = adjusted_wald(5, 0, 5)
    assert found is not None
    assert found.low == pytest.approx(100 * (0.625 - Z * sqrt((0.8125 - 0.625**2) / 8)))
    assert found.high == 100
    assert found.method == "adjusted_wald"


@pytest.mark.parametrize(("k", "n"), [(0, 0), (-1, 5), (6, 5)])
def test_what_is_no_share_has_no_interval(k: int, n: int) -> None:
    assert wilson(k, n) is None


@pytest.mark.parametrize("counts", [(0, 0, 0), (-1, 0, 5), (0, -1, 5), (3, 3, 5)])
def test_what_is_no_score_has_no_interval(counts: tuple[int, int, int]) -> None:
    assert adjusted_wald(*counts) is None


@given(st.integers(0, 10**9), st.integers(1, 10**9))
def test_an_interval_holds_its_share(k: int, n: int) -> None:
    found = wilson(min(k, n), n)
    assert found is not None
    assert 0 <= found.low <= min(k, n) / n <= found.high <= 1


@given(st.integers(0, 10**6), st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_score_stays_on_its_scale(promoters: int, passives: int, detractors: int) -> None:
    answers = promoters + passives + detractors
    found = adjusted_wald(promoters, detractors, answers)
    if answers:
        assert found is not None
        assert -100 <= found.low < found.high <= 100


# --- Ratios of sums ---------------------------------------------------------------------------

Pairs = list[tuple[Fraction, Fraction]]


def interval_of(pairs: Sequence[tuple[Fraction | int, Fraction | int]], scale: int = 1) -> Interval:
    found = delta([y for y, _ in pairs], [x for _, x in pairs], scale)
    assert found is not None
    return found


def stated(name: str, *path: str) -> Any:
    """One entry under `uncertainty` of the reference's answers."""
    found = json.loads((SHARED / f"answers/{name}.json").read_text())["uncertainty"]
    for step in path:
        found = found[step]
    return found


def advertising() -> list[dict[str, str]]:
    with (SHARED / "data/ads/Marketing.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def by_day(rows: Sequence[dict[str, str]]) -> Pairs:
    days: dict[str, list[Fraction]] = defaultdict(lambda: [Fraction(0), Fraction(0)])
    for row in rows:
        days[row["C Date"]][0] += Fraction(row["Revenue"])
        days[row["C Date"]][1] += Fraction(row["Mark Spent"])
    return [(y, x) for y, x in days.values()]


@reference
def test_each_campaigns_return_agrees_with_the_reference_with_the_day_as_unit() -> None:
    rows = advertising()
    campaigns = {row["Campaign Name"] for row in rows}
    assert len(campaigns) == 11
    for campaign in campaigns:
        days = by_day([row for row in rows if row["Campaign Name"] == campaign])
        assert len(days) == 28
        expected = stated("ads_marketing", "roas_by_campaign_delta", campaign)
        found = interval_of(days)
        assert (found.low, found.high) == pytest.approx(expected["ci95"], rel=1e-12)


@reference
def test_the_formula_agrees_with_the_reference_on_its_own_units() -> None:
    """For totals the reference took campaign-days and posts as units: 308 and 500 of them."""
    rows = [(Fraction(row["Revenue"]), Fraction(row["Mark Spent"])) for row in advertising()]
    found = interval_of(rows)
    assert (found.low, found.high) == pytest.approx(
        stated("ads_marketing", "roas_total_delta")["ci95"], rel=1e-12
    )
    with (SHARED / "data/social/dataset_Facebook.csv").open(newline="") as file:
        posts = [
            (sum(int(post[name] or 0) for name in ("like", "comment", "share")),
             int(post["Page total likes"]))
            for post in csv.DictReader(file, delimiter=";")
        ]  # fmt: skip
    found = interval_of(posts)
    assert (found.low, found.high) == pytest.approx(
        stated("social_facebook", "C_delta")["ci95"], rel=1e-12
    )
    assert (round(found.low * 100, 4), round(found.high * 100, 4)) == (0.1451, 0.1992)


@reference
def test_with_the_day_as_unit_the_total_varies_less_than_its_rows() -> None:
    """On the same day campaigns differ, and those differences are no chance of the total."""
    days = interval_of(by_day(advertising()))
    assert (days.low, days.high) == pytest.approx((1.3154480469, 1.4886142260), rel=1e-9)


@reference
def test_a_bootstrap_of_days_agrees() -> None:
    pairs = [(float(y), float(x)) for y, x in by_day(advertising())]
    stream = random.Random(20240101)
    ratios = []
    for _ in range(2000):
        drawn = stream.choices(pairs, k=len(pairs))
        ratios.append(sum(y for y, _ in drawn) / sum(x for _, x in drawn))
    ratios.sort()
    found = interval_of(by_day(advertising()))
    assert (found.low, found.high) == pytest.approx((ratios[49], ratios[1949]), abs=0.01)


def textbook(pairs: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The ratio and its standard error, term by term as the source writes them."""
    tops, bottoms = zip(*pairs, strict=True)
    ratio, mean, count = sum(tops) / sum(bottoms), fmean(bottoms), len(pairs)
    spread = (
        variance(tops) - 2 * ratio * covariance(tops, bottoms) + ratio**2 * variance(bottoms)
    ) / (count * mean**2)
    return ratio, sqrt(max(0.0, spread))


days_of_counts = st.lists(
    st.tuples(st.integers(0, 1000), st.integers(1, 1000)), min_size=3, max_size=60
)


@given(days_of_counts, st.sampled_from((1, 100, 1000)))
def test_the_delta_method_is_the_textbooks(pairs: list[tuple[int, int]], scale: int) -> None:
    ratio, error = textbook(pairs)
    found = interval_of(pairs, scale)
    low, high = scale * (ratio - Z * error), scale * (ratio + Z * error)
    # The textbook's terms cancel: where days hardly differ, rounding is all that is left of it.
    assert (found.low, found.high) == pytest.approx((low, high), rel=1e-6, abs=1e-6 * scale * ratio)
    assert found.method == "delta"


@given(days_of_counts, st.integers(1, 10**6), st.integers(1, 10**6))
def test_units_do_not_matter(pairs: list[tuple[int, int]], top: int, bottom: int) -> None:
    """Amounts in millionths, or a ratio turned into per cent, are the same ratio."""
    found = interval_of(pairs)
    other = interval_of([(Fraction(y, top), Fraction(x, bottom)) for y, x in pairs])
    factor = bottom / top
    assert (other.low, other.high) == pytest.approx(
        (found.low * factor, found.high * factor), rel=1e-9, abs=1e-9 * factor
    )


@given(days_of_counts, st.integers(0, 30))
def test_empty_days_are_days(pairs: list[tuple[int, int]], empty: int) -> None:
    """They deviate in nothing, so that only the small correction n / (n - 1) knows of them."""
    found = interval_of(pairs)
    other = interval_of([*pairs, *[(0, 0)] * empty])
    n, m = len(pairs), len(pairs) + empty
    correction = sqrt((m / (m - 1)) / (n / (n - 1)))
    width, other_width = found.high - found.low, other.high - other.low
    assert other_width == pytest.approx(width * correction, rel=1e-9, abs=1e-9)
    assert other_width <= width * (1 + 1e-12) + 1e-12


def test_days_that_all_have_the_same_ratio_leave_no_doubt() -> None:
    third = 10**24
    found = interval_of([(third, 3 * third), (2 * third, 6 * third), (1, 3)])
    assert found.low == found.high == 1 / 3


def test_nothing_is_lost_in_large_sums_of_nearly_equal_days() -> None:
    """A textbook in floats would find 0, or the root of a negative number."""
    large = 10**17
    found = interval_of([(large + 1, large), (large - 1, large), (large, large)])
    assert found.low == found.high == 1  # closer than a double can say
    found = interval_of([(large + 10**10, large), (large - 10**10, large), (large, large)])
    assert found.high - 1 == pytest.approx(Z * 1e-7 / sqrt(3), rel=1e-6)


def test_days_at_many_exchange_rates_have_no_common_unit_and_need_none() -> None:
    stream = random.Random(4)
    rates = [Fraction(1, stream.randrange(10**9, 10**10)) for _ in range(400)]
    pairs = [(rate * stream.randrange(10**12), stream.randrange(1, 10**6)) for rate in rates]
    ratio, error = textbook([(float(y), float(x)) for y, x in pairs])
    found = interval_of(pairs)
    assert (found.low, found.high) == pytest.approx(
        (ratio - Z * error, ratio + Z * error), rel=1e-12
    )


@pytest.mark.parametrize(
    "pairs",
    [
        [],
        [(1, 2)],
        [(1, 2), (2, 3)],
        [(1, 2), (2, 3), (0, 0), (0, 0)],  # two days with anything in them
        [(0, 0)] * 10,
        [(1, 0), (2, 0), (3, 0)],
        [(1, 2), (1, -2), (1, 0)],
    ],
)
def test_what_has_no_ratio_or_too_few_days_has_no_interval(pairs: list[tuple[int, int]]) -> None:
    assert delta([y for y, _ in pairs], [x for _, x in pairs]) is None


def test_a_day_counts_as_filled_when_either_side_has_something() -> None:
    assert filled_days([0, 1, 0, -1], [0, 0, 1, 0]) == 3


# --- Sums -------------------------------------------------------------------------------------


@given(st.lists(st.integers(-(10**9), 10**9), min_size=3, max_size=60), st.sampled_from((1, 100)))
def test_a_total_varies_as_its_days_do(values: list[int], scale: int) -> None:
    found = daily_total([Fraction(value, 10**6) for value in values], scale)
    assert found is not None
    half = Z * sqrt(len(values)) * stdev(values) * scale / 10**6
    assert found.high - found.low == pytest.approx(2 * half, rel=1e-9, abs=1e-9)
    assert (found.high + found.low) / 2 == pytest.approx(
        sum(values) * scale / 10**6, rel=1e-9, abs=half * 1e-9 + 1e-9
    )


def test_two_days_do_not_tell_how_days_differ() -> None:
    assert daily_total([1, 2]) is None


# --- Differences ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("now", "before", "low", "high"),
    [
        ((56, 70), (48, 80), 0.0524, 0.3339),
        ((9, 10), (3, 10), 0.1705, 0.8090),
        ((6, 7), (2, 7), 0.0582, 0.8062),
        ((5, 56), (0, 29), -0.0381, 0.1926),
        ((0, 10), (0, 20), -0.1611, 0.2775),
        ((0, 10), (0, 10), -0.2775, 0.2775),
        ((10, 10), (0, 20), 0.6791, 1.0),
        ((10, 10), (0, 10), 0.6075, 1.0),
    ],
)
def test_the_difference_of_shares_is_newcombes_method_ten(
    now: tuple[int, int], before: tuple[int, int], low: float, high: float
) -> None:
    """The examples of Newcombe 1998, Statistics in Medicine 17, table II."""
    shares = [(k / n, wilson(k, n)) for k, n in (now, before)]
    (first, own), (second, other) = shares
    assert own is not None
    assert other is not None
    found = difference((first, own), (second, other), "newcombe")
    assert (round(found.low, 4), round(found.high, 4)) == (low, high)
    assert found.method == "newcombe"


bounds_of = st.tuples(st.floats(-1e6, 1e6), st.floats(0, 1e6), st.floats(0, 1e6))


@given(bounds_of, bounds_of)
def test_a_difference_turned_round_is_the_same(
    now: tuple[float, float, float], before: tuple[float, float, float]
) -> None:
    (a, b), (c, d) = [
        (value, Interval(value - below, value + above, "any"))
        for value, below, above in (now, before)
    ]
    found, turned = difference((a, b), (c, d), "any"), difference((c, d), (a, b), "any")
    assert (found.low, found.high) == (-turned.high, -turned.low)
    assert found.low <= a - c <= found.high


def test_variances_of_symmetric_intervals_add_up() -> None:
    now, before = (10.0, Interval(7.0, 13.0, "any")), (5.0, Interval(1.0, 9.0, "any"))
    assert difference(now, before, "any") == Interval(0.0, 10.0, "any")


def test_an_estimate_outside_its_own_adjusted_interval_is_its_bound() -> None:
    one = (1.0, Interval(-0.5, 0.9, "any"))
    none = (0.0, Interval(0.1, 0.4, "any"))
    assert difference(one, none, "any").high == 1.0
    assert difference(none, one, "any").low == -1.0
