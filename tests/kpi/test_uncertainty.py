"""Which interval a value gets, and what is flagged: by formula, cell and days, without SQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.measures import Measure
from service.kpi.catalogue import load_catalogue
from service.kpi.cells import Cell
from service.kpi.compute import Figure, figure
from service.kpi.formula import Distinct, Formula, IntervalMethod, Quantity, Term
from service.kpi.intervals import adjusted_wald, delta, wilson
from service.kpi.uncertainty import Flag, flags, interval

M = Measure
ONE = Fraction(1)
SHARE_KPI = replace(load_catalogue().get("ctr"), bounded=True)
OTHER_KPI = replace(SHARE_KPI, bounded=False)


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
CPM = replace(CPC, denominator=terms(impressions=1), scale=1000)
ROMI = Formula(terms(gross_revenue=1, spend=-1), terms(spend=1), interval=IntervalMethod.DELTA)
ENGAGEMENT = Formula(terms(engagements=1), terms(followers=1), interval=IntervalMethod.DELTA)
CLICKS = Formula(terms(clicks=1))


def cell(amounts: Mapping[Quantity, int | Fraction]) -> Cell:
    return Cell({(quantity, ()): amount for quantity, amount in amounts.items()})


def computed(formula: Formula, amounts: Mapping[Quantity, int | Fraction]) -> Figure:
    return figure(formula, cell(amounts), ())


def days_of(formula: Formula, *by_day: Mapping[Quantity, int]) -> list[Figure]:
    return [computed(formula, amounts) for amounts in by_day]


def whole(formula: Formula, by_day: Sequence[Mapping[Quantity, int]]) -> Figure:
    """The figure of the window that the days make up."""
    total: dict[Quantity, int] = {}
    for amounts in by_day:
        for quantity, amount in amounts.items():
            total[quantity] = total.get(quantity, 0) + amount
    return computed(formula, total)


# --- Shares and scores ------------------------------------------------------------------------


def test_a_share_has_wilsons_interval() -> None:
    found = interval(CTR, Cell(), computed(CTR, {M.CLICKS: 3, M.IMPRESSIONS: 7}), None)
    assert found == wilson(3, 7)


def test_a_share_above_one_has_no_interval_and_is_flagged() -> None:
    above = computed(CTR, {M.CLICKS: 70, M.IMPRESSIONS: 69})
    assert above.value == Fraction(70, 69)
    assert interval(CTR, Cell(), above, None) is None
    assert flags(SHARE_KPI, CTR, above) == [Flag.ABOVE_ONE]
    assert flags(OTHER_KPI, CTR, above) == []
    exactly = computed(CTR, {M.CLICKS: 70, M.IMPRESSIONS: 70})
    assert interval(CTR, Cell(), exactly, None) == wilson(70, 70)
    assert flags(SHARE_KPI, CTR, exactly) == []


@pytest.mark.parametrize(
    "amounts",
    [
        {M.CLICKS: Fraction(5, 2), M.IMPRESSIONS: 7},
        {M.CLICKS: 2, M.IMPRESSIONS: Fraction(15, 2)},
    ],
)
def test_parts_of_counts_that_a_model_split_have_no_interval(
    amounts: Mapping[Quantity, int | Fraction],
) -> None:
    split = computed(CTR, amounts)
    assert split.value is not None
    assert interval(CTR, Cell(), split, None) is None


def test_a_score_has_the_adjusted_wald_interval() -> None:
    amounts: dict[Quantity, int | Fraction] = {
        M.NPS_PROMOTERS: 9, M.NPS_DETRACTORS: 2, M.NPS_RESPONSES: 15,
    }  # fmt: skip
    assert interval(NPS, cell(amounts), computed(NPS, amounts), None) == adjusted_wald(9, 2, 15)
    del amounts[M.NPS_DETRACTORS]
    assert interval(NPS, cell(amounts), computed(NPS, amounts), None) == adjusted_wald(9, 0, 15)
    amounts[M.NPS_PROMOTERS] = Fraction(17, 2)
    assert interval(NPS, cell(amounts), computed(NPS, amounts), None) is None


@pytest.mark.parametrize("formula", [CTR, NPS, CPC])
def test_without_a_value_there_is_neither_interval_nor_flag(formula: Formula) -> None:
    nothing = computed(formula, {})
    assert nothing.value is None
    assert interval(formula, Cell(), nothing, [nothing] * 9) is None
    assert flags(SHARE_KPI, formula, nothing, [nothing] * 9) == []


def test_a_sum_is_exact() -> None:
    found = computed(CLICKS, {M.CLICKS: 7})
    days = days_of(CLICKS, {M.CLICKS: 1}, {M.CLICKS: 4}, {M.CLICKS: 2})
    assert interval(CLICKS, Cell(), found, days) is None
    assert flags(OTHER_KPI, CLICKS, found, days) == []


# --- Ratios of sums ---------------------------------------------------------------------------

THREE_DAYS: list[Mapping[Quantity, int]] = [
    {M.SPEND: 5_500_000, M.CLICKS: 3, M.IMPRESSIONS: 500},
    {M.SPEND: 7_000_000, M.CLICKS: 9, M.IMPRESSIONS: 700},
    {M.SPEND: 2_250_000, M.CLICKS: 2, M.IMPRESSIONS: 90},
]


def test_a_ratio_of_sums_has_the_delta_interval_of_its_days() -> None:
    spend = [Fraction(11, 2), Fraction(7), Fraction(9, 4)]
    found = interval(CPC, Cell(), whole(CPC, THREE_DAYS), days_of(CPC, *THREE_DAYS))
    assert found == delta(spend, [3, 9, 2])
    found = interval(CPM, Cell(), whole(CPM, THREE_DAYS), days_of(CPM, *THREE_DAYS))
    assert found == delta(spend, [500, 700, 90], 1000)
    assert found is not None
    assert found.method == "delta"


def test_days_without_anything_are_days_of_the_window() -> None:
    days = [*THREE_DAYS, {}, {}]
    found = interval(CPC, Cell(), whole(CPC, days), days_of(CPC, *days))
    assert found == delta([Fraction(11, 2), 7, Fraction(9, 4), 0, 0], [3, 9, 2, 0, 0])


def test_a_return_may_be_negative_and_a_price_may_not() -> None:
    days: list[Mapping[Quantity, int]] = [
        {M.SPEND: 1_000_000, M.GROSS_REVENUE: 0, M.CLICKS: 1},
        {M.SPEND: 9_000_000, M.GROSS_REVENUE: 30_000_000, M.CLICKS: 50},
        {M.SPEND: 90_000_000, M.GROSS_REVENUE: 2_000_000, M.CLICKS: 1},
    ]
    romi = interval(ROMI, Cell(), whole(ROMI, days), days_of(ROMI, *days))
    cpc = interval(CPC, Cell(), whole(CPC, days), days_of(CPC, *days))
    assert romi is not None
    assert cpc is not None
    assert romi.low < -1
    assert cpc.low == 0


def test_a_share_of_sums_ends_at_one_and_has_no_interval_above() -> None:
    days: list[Mapping[Quantity, int]] = [
        {M.ENGAGEMENTS: 99, M.FOLLOWERS: 100},
        {M.ENGAGEMENTS: 5, M.FOLLOWERS: 50},
        {M.ENGAGEMENTS: 150, M.FOLLOWERS: 120},
    ]
    value, parts = whole(ENGAGEMENT, days), days_of(ENGAGEMENT, *days)
    found = interval(ENGAGEMENT, Cell(), value, parts, bounded=True)
    unbounded = interval(ENGAGEMENT, Cell(), value, parts)
    assert found is not None
    assert unbounded is not None
    assert found.high == 1 < unbounded.high
    assert found.low == unbounded.low
    days.append({M.ENGAGEMENTS: 50, M.FOLLOWERS: 20})
    above, parts = whole(ENGAGEMENT, days), days_of(ENGAGEMENT, *days)
    assert interval(ENGAGEMENT, Cell(), above, parts, bounded=True) is None
    assert Flag.ABOVE_ONE in flags(SHARE_KPI, ENGAGEMENT, above, parts)


def test_without_its_days_a_ratio_of_sums_has_no_interval() -> None:
    value, days = whole(CPC, THREE_DAYS), days_of(CPC, *THREE_DAYS)
    assert interval(CPC, Cell(), value, None) is None
    assert interval(CPC, Cell(), value, days[:2]) is None
    for bottom in (Fraction(2), None):
        unknown = Figure(None, "missing_fx_rate", None, bottom)
        assert interval(CPC, Cell(), value, [*days, unknown]) is None


def test_people_do_not_add_up_over_days() -> None:
    people = (Term(Distinct.CUSTOMERS, ONE),)
    per_customer = Formula(terms(gross_revenue=1), people, interval=IntervalMethod.DELTA)
    by_day: list[Mapping[Quantity, int]] = [
        {M.GROSS_REVENUE: 5_000_000 * day, Distinct.CUSTOMERS: 3} for day in range(1, 9)
    ]
    value, days = whole(per_customer, by_day), days_of(per_customer, *by_day)
    assert interval(per_customer, Cell(), value, days) is None
    assert Flag.FEW_DAYS not in flags(OTHER_KPI, per_customer, value, days)


amounts_of_days = st.lists(
    st.fixed_dictionaries({
        M.SPEND: st.integers(0, 10**12), M.CLICKS: st.integers(0, 10**6),
    }), min_size=3, max_size=40,
)  # fmt: skip


@given(amounts_of_days)
def test_an_interval_holds_its_value(by_day: list[Mapping[Quantity, int]]) -> None:
    value = whole(CPC, by_day)
    found = interval(CPC, Cell(), value, days_of(CPC, *by_day))
    if found is not None:
        assert value.value is not None
        slack = 1e-9 * float(value.value)
        assert found.low - slack <= float(value.value) <= found.high + slack
        assert found.low >= 0


# --- Flags ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("answers", "small"), [(1, True), (29, True), (30, False)])
def test_under_thirty_cases_a_sample_is_small(answers: int, small: bool) -> None:
    value = computed(CTR, {M.CLICKS: 1, M.IMPRESSIONS: answers})
    assert (Flag.SMALL_SAMPLE in flags(SHARE_KPI, CTR, value)) is small
    price = computed(CPC, {M.SPEND: 10**9, M.CLICKS: answers})
    assert (Flag.SMALL_SAMPLE in flags(OTHER_KPI, CPC, price)) is small


def test_an_amount_is_no_number_of_cases() -> None:
    value = computed(ROMI, {M.SPEND: 5_000_000, M.GROSS_REVENUE: 9_000_000})
    assert flags(OTHER_KPI, ROMI, value) == []


@pytest.mark.parametrize(
    ("count", "expected"), [(1, [Flag.FEW_DAYS]), (6, [Flag.FEW_DAYS]), (7, [])]
)
def test_under_seven_days_with_anything_in_them_the_interval_is_rough(
    count: int, expected: list[Flag]
) -> None:
    by_day: list[Mapping[Quantity, int]] = [
        *({M.SPEND: 10**6 * day, M.CLICKS: 100} for day in range(count)), {}, {},
    ]  # fmt: skip
    value, days = whole(CPC, by_day), days_of(CPC, *by_day)
    assert flags(OTHER_KPI, CPC, value, days) == expected
    assert flags(OTHER_KPI, CPC, value) == []  # nobody looked at the days
