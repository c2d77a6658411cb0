"""Whether a change is beyond the noise: vectors by plain formulas, and what must always hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction
from math import sqrt
from statistics import stdev, variance

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.measures import Measure
from service.kpi.catalogue import load_catalogue
from service.kpi.cells import Cell
from service.kpi.compute import Figure, figure
from service.kpi.formula import Distinct, Formula, IntervalMethod, Quantity, Term
from service.kpi.intervals import Z
from service.kpi.noise import Noise, Sample, beyond_noise

M = Measure
KPI = replace(load_catalogue().get("ctr"), bounded=True)
UNBOUNDED = replace(KPI, bounded=False)

Amounts = Mapping[Quantity, int | Fraction]


def terms(**weights: int) -> tuple[Term, ...]:
    return tuple(Term(M[name.upper()], Fraction(weight)) for name, weight in weights.items())


CTR = Formula(terms(clicks=1), terms(impressions=1), interval=IntervalMethod.WILSON)
NPS = Formula(
    terms(nps_promoters=1, nps_detractors=-1),
    terms(nps_responses=1),
    scale=100,
    interval=IntervalMethod.NPS,
)
CPC = Formula(terms(spend=1), terms(clicks=1), interval=IntervalMethod.DELTA)
CLICKS = Formula(terms(clicks=1))


def sample(formula: Formula, amounts: Amounts) -> Sample:
    """A window that nobody cut into days."""
    cell = Cell({(quantity, ()): amount for quantity, amount in amounts.items()})
    return Sample(figure(formula, cell, ()), cell, None)


def sample_of_days(formula: Formula, days: Sequence[Amounts]) -> Sample:
    total: dict[Quantity, int | Fraction] = {}
    for amounts in days:
        for quantity, amount in amounts.items():
            total[quantity] = total.get(quantity, 0) + amount
    figures = [sample(formula, amounts).figure for amounts in days]
    return replace(sample(formula, total), days=figures)


def share(clicks: int, impressions: int) -> Sample:
    return sample(CTR, {M.CLICKS: clicks, M.IMPRESSIONS: impressions})


def score(promoters: int, passives: int, detractors: int) -> Sample:
    return sample(NPS, {
        M.NPS_PROMOTERS: promoters,
        M.NPS_DETRACTORS: detractors,
        M.NPS_RESPONSES: promoters + passives + detractors,
    })  # fmt: skip


def clicks(*by_day: int) -> Sample:
    return sample_of_days(CLICKS, [{M.CLICKS: count} for count in by_day])


def prices(*by_day: tuple[int, int]) -> Sample:
    """Spend in millionths, and clicks."""
    return sample_of_days(CPC, [{M.SPEND: spend, M.CLICKS: count} for spend, count in by_day])


def said(noise: Noise | None) -> Noise:
    assert noise is not None
    return noise


# --- Vectors ----------------------------------------------------------------------------------


def test_shares_by_newcombe() -> None:
    """His first example (1998): 56 of 70 against 48 of 80 differ by 0.2, 0.0524 to 0.3339."""
    found = said(beyond_noise(KPI, CTR, share(56, 70), share(48, 80)))
    assert (round(found.change.low, 4), round(found.change.high, 4)) == (0.0524, 0.3339)
    assert (found.beyond, found.method) == (True, "newcombe")
    fifth = said(beyond_noise(KPI, CTR, share(5, 56), share(0, 29)))
    assert not fifth.beyond


def test_scores_by_the_adjusted_variances() -> None:
    """Far from the ends the distances to the bounds are nearly those of the variances' sum."""
    found = said(beyond_noise(UNBOUNDED, NPS, score(500, 300, 200), score(450, 300, 250)))
    assert found.method == "adjusted_wald"

    def adjusted(promoters: int, detractors: int) -> float:
        high, low = (promoters + 0.75) / 1003, (detractors + 0.75) / 1003
        return (high + low - (high - low) ** 2) / 1003

    half = 100 * Z * sqrt(adjusted(500, 200) + adjusted(450, 250))
    assert (found.change.low, found.change.high) == pytest.approx((10 - half, 10 + half), abs=0.1)
    assert found.beyond
    assert not said(beyond_noise(UNBOUNDED, NPS, score(500, 300, 200), score(480, 300, 220))).beyond


def test_one_answer_against_another_says_nothing() -> None:
    """A delighted and an angry customer: 200 points apart, and no change at all beyond chance."""
    assert not said(beyond_noise(UNBOUNDED, NPS, score(1, 0, 0), score(0, 0, 1))).beyond
    assert not said(beyond_noise(UNBOUNDED, NPS, score(10**6, 0, 0), score(1, 0, 0))).beyond
    assert said(beyond_noise(UNBOUNDED, NPS, score(20, 0, 0), score(0, 0, 20))).beyond


def test_ratios_of_sums_by_the_variances_of_their_days() -> None:
    now = [(5_000_000, 3), (7_000_000, 4), (9_000_000, 6), (4_000_000, 2), (6_000_000, 4)]
    before = [(9_000_000, 3), (9_500_000, 4), (8_000_000, 3), (12_000_000, 5)]

    def plain(days: list[tuple[int, int]]) -> tuple[float, float]:
        ratio = sum(y for y, _ in days) / sum(x for _, x in days)
        # Residuals sum to zero, so that their sample variance is the whole of equation 11.
        error = variance([y - ratio * x for y, x in days])
        return ratio / 1e6, error * len(days) / sum(x for _, x in days) ** 2 / 1e12

    (value, spread), (earlier, other) = plain(now), plain(before)
    found = said(beyond_noise(UNBOUNDED, CPC, prices(*now), prices(*before)))
    half = Z * sqrt(spread + other)
    change = value - earlier
    assert (found.change.low, found.change.high) == pytest.approx((change - half, change + half))
    assert (found.beyond, found.method) == (True, "delta")


def test_sums_by_the_variance_of_their_days() -> None:
    now, before = (12, 15, 11, 14, 18, 13, 12), (10, 12, 9, 11, 14, 8, 10)
    found = said(beyond_noise(UNBOUNDED, CLICKS, clicks(*now), clicks(*before)))
    half = Z * sqrt(7 * stdev(now) ** 2 + 7 * stdev(before) ** 2)
    assert (found.change.low, found.change.high) == pytest.approx((21 - half, 21 + half))
    assert (found.beyond, found.method) == (True, "daily_totals")
    assert not said(beyond_noise(UNBOUNDED, CLICKS, clicks(*now), clicks(*now[::-1]))).beyond


# --- When nothing can be said -----------------------------------------------------------------


def test_nothing_is_said_without_two_values() -> None:
    empty = share(0, 0)
    assert empty.figure.value is None
    assert beyond_noise(KPI, CTR, share(5, 10), empty) is None
    assert beyond_noise(KPI, CTR, empty, share(5, 10)) is None


def test_nothing_is_said_about_shares_above_one_or_split_counts() -> None:
    assert beyond_noise(KPI, CTR, share(12, 10), share(5, 10)) is None
    split = sample(CTR, {M.CLICKS: Fraction(5, 2), M.IMPRESSIONS: 10})
    assert beyond_noise(KPI, CTR, share(5, 10), split) is None


def test_nothing_is_said_about_a_share_of_sums_above_one() -> None:
    above = prices((2_000_000, 1), (5_000_000, 4), (9_000_000, 5))
    below = prices((200_000, 1), (500_000, 4), (900_000, 5))
    assert beyond_noise(KPI, CPC, above, below) is None
    assert beyond_noise(UNBOUNDED, CPC, above, below) is not None


def test_nothing_is_said_about_totals_of_unequal_windows() -> None:
    assert beyond_noise(UNBOUNDED, CLICKS, clicks(1, 2, 3, 4, 5), clicks(1, 2, 3)) is None
    assert beyond_noise(UNBOUNDED, CLICKS, clicks(1, 2, 3, 4), clicks(1, 2, 3)) is not None
    # Ratios do not grow with the length of the window.
    long, short = [(5, 3), (7, 4), (9, 7), (2, 9), (1, 3), (4, 4)], [(5, 3), (7, 4), (9, 7)]
    assert beyond_noise(UNBOUNDED, CPC, prices(*long), prices(*short)) is not None


def test_nothing_is_said_from_fewer_than_three_days_or_none_at_hand() -> None:
    assert beyond_noise(UNBOUNDED, CLICKS, clicks(1, 2), clicks(7, 8)) is None
    assert beyond_noise(UNBOUNDED, CLICKS, clicks(1, 2, 4), clicks(7, 8)) is None
    days = clicks(1, 2, 4)
    assert beyond_noise(UNBOUNDED, CLICKS, days, replace(days, days=None)) is None
    two, three = prices((5, 3), (7, 4)), prices((5, 3), (7, 4), (9, 7))
    assert beyond_noise(UNBOUNDED, CPC, two, three) is None


def test_nothing_is_said_where_no_day_differs() -> None:
    assert beyond_noise(UNBOUNDED, CLICKS, clicks(3, 3, 3), clicks(5, 5, 5)) is None
    assert said(beyond_noise(UNBOUNDED, CLICKS, clicks(3, 3, 3), clicks(5, 5, 6))).beyond
    # The same price every day.
    flat, other = prices((2, 1), (4, 2), (6, 3)), prices((3, 1), (6, 2), (9, 3))
    assert beyond_noise(UNBOUNDED, CPC, flat, other) is None


def test_nothing_is_said_about_people_or_what_is_derived() -> None:
    visitors = Formula((Term(Distinct.VISITORS, Fraction(1)),))
    days = [{Distinct.VISITORS: count} for count in (5, 9, 7, 8)]
    people = sample_of_days(visitors, days)
    assert beyond_noise(UNBOUNDED, visitors, people, people) is None
    figures = [Figure(Fraction(2), None, None, None)] * 5
    derived = Sample(figures[0], Cell(), figures)
    assert beyond_noise(UNBOUNDED, Formula(), derived, derived) is None
    # A ratio that has no interval of its own has no variance either.
    mean = replace(CPC, interval=IntervalMethod.NONE)
    value = sample_of_days(mean, [{M.SPEND: 5, M.CLICKS: 3}, {M.SPEND: 6, M.CLICKS: 3}] * 3)
    assert beyond_noise(UNBOUNDED, mean, value, value) is None


def test_nothing_is_said_when_a_day_has_no_rate() -> None:
    days = clicks(1, 2, 4, 7)
    assert days.days is not None
    broken = replace(days, days=[*days.days[:3], Figure(None, "missing_fx_rate", None, None)])
    assert beyond_noise(UNBOUNDED, CLICKS, days, broken) is None


# --- What always holds ------------------------------------------------------------------------

shares = st.integers(1, 10**6).flatmap(lambda n: st.integers(0, n).map(lambda k: share(k, n)))
scores = st.tuples(st.integers(0, 500), st.integers(0, 500), st.integers(1, 500)).map(
    lambda counts: score(*counts)
)
totals = st.lists(st.integers(0, 1000), min_size=5, max_size=6).map(lambda days: clicks(*days))
ratios = st.lists(
    st.tuples(st.integers(0, 10**9), st.integers(1, 1000)), min_size=3, max_size=20
).map(lambda days: prices(*days))

PAIRS = st.one_of(
    st.tuples(st.just(CTR), shares, shares),
    st.tuples(st.just(NPS), scores, scores),
    st.tuples(st.just(CLICKS), totals, totals),
    st.tuples(st.just(CPC), ratios, ratios),
)


@given(PAIRS)
def test_a_change_turned_round_is_as_much_beyond(
    case: tuple[Formula, Sample, Sample],
) -> None:
    formula, now, before = case
    found = beyond_noise(UNBOUNDED, formula, now, before)
    turned = beyond_noise(UNBOUNDED, formula, before, now)
    if found is None or turned is None:
        assert found is turned
        return
    assert found.beyond == turned.beyond
    assert (found.change.low, found.change.high) == (-turned.change.high, -turned.change.low)
    now_value, before_value = now.figure.value, before.figure.value
    assert now_value is not None
    assert before_value is not None
    change = float(now_value) - float(before_value)
    assert found.change.low <= change <= found.change.high


@given(PAIRS)
def test_the_same_window_twice_is_no_change(case: tuple[Formula, Sample, Sample]) -> None:
    formula, now, _ = case
    found = beyond_noise(UNBOUNDED, formula, now, now)
    assert found is None or not found.beyond


@given(st.integers(2, 400), st.fractions(0, 1), st.fractions(0, 1), st.integers(2, 50))
def test_more_of_the_same_makes_a_share_more_certain(
    count: int, now: Fraction, before: Fraction, times: int
) -> None:
    (k, m) = (round(part * count) for part in (now, before))
    few = said(beyond_noise(KPI, CTR, share(k, count), share(m, count)))
    n = count * times
    many = said(beyond_noise(KPI, CTR, share(k * times, n), share(m * times, n)))
    assert many.beyond >= few.beyond
    assert many.change.high - many.change.low < few.change.high - few.change.low


@given(st.integers(0, 50), st.integers(1, 50), st.integers(0, 50), st.integers(2, 50))
def test_more_of_the_same_makes_a_score_more_certain(
    promoters: int, passives: int, detractors: int, times: int
) -> None:
    counts = (promoters, passives, detractors)
    few = said(beyond_noise(UNBOUNDED, NPS, score(*counts), score(*counts[::-1])))
    larger = score(*(count * times for count in counts))
    turned = score(*(count * times for count in counts[::-1]))
    assert said(beyond_noise(UNBOUNDED, NPS, larger, turned)).beyond >= few.beyond


@given(totals, totals)
def test_more_days_of_the_same_make_a_change_of_sums_more_certain(
    now: Sample, before: Sample
) -> None:
    assert now.days is not None
    assert before.days is not None

    def repeated(one: Sample) -> Sample:
        days = [int(day.numerator or 0) for day in one.days or ()]
        return clicks(*(days * 9))

    if len(now.days) == len(before.days):
        few = beyond_noise(UNBOUNDED, CLICKS, now, before)
        many = beyond_noise(UNBOUNDED, CLICKS, repeated(now), repeated(before))
        assert (few is None) == (many is None)
        assert few is None or many is None or many.beyond >= few.beyond
