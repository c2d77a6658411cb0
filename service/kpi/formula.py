"""The closed vocabulary of KPI formulas: measures, distinct counts, weights, filters."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction

from service.domain.measures import MEASURE_BY_LABEL, MONEY, Measure


class Unit(StrEnum):
    """What a value is a number of; ratios are fractions of 1, never per cent."""

    FRACTION = "fraction"
    CURRENCY = "currency"
    COUNT = "count"
    FACTOR = "factor"
    POINTS = "points"


class Direction(StrEnum):
    """Which way is better."""

    UP = "up"
    DOWN = "down"
    NONE = "none"


class KpiKind(StrEnum):
    """How a KPI is computed.

    A sum; a ratio of sums; from other KPIs; from counts of distinct people; or as a ratio whose
    counts are booked at their origin, so that it still grows.
    """

    SIMPLE = "simple"
    RATIO = "ratio"
    DERIVED = "derived"
    DISTINCT = "distinct"
    COHORT = "cohort"


class Additivity(StrEnum):
    """Whether the values of parts (buckets, breakdown rows) sum to the value of the whole."""

    FULL = "full"
    NONE = "none"


class IntervalMethod(StrEnum):
    """Which 95 % interval goes with a value."""

    WILSON = "wilson"
    NPS = "nps"
    DELTA = "delta"
    NONE = "none"


class Status(StrEnum):
    """Whether a KPI should be used."""

    STABLE = "stable"
    EXPERIMENTAL = "experimental"
    DEPRECATED = "deprecated"
    SUPERSEDED = "superseded"
    """An older version of a KPI that has a newer one."""


class Distinct(StrEnum):
    """Counts of distinct people in a window: read from facts, because they do not add up."""

    VISITORS = "distinct_visitors"
    CUSTOMERS = "distinct_customers"
    FIRST_TIME_CUSTOMERS = "first_time_customers"
    """Customers whose first order ever lies in the window."""
    REPEAT_CUSTOMERS = "repeat_customers"
    """Customers with two or more orders in the window."""
    RETURNING_CUSTOMERS = "returning_customers"
    """Customers ordering in the window, but not for the first time, or twice in it."""
    ORDERS_OF_CUSTOMERS = "orders_of_customers"
    """Orders in the window by customers with an id: the orders of those in `distinct_customers`."""
    RETAINED_CUSTOMERS = "retained_customers"
    """Customers whose first order ever lies in the window, and who ordered again later."""
    RESPONDENTS = "distinct_respondents"
    """People who answered a survey in the window, as far as answers name them."""


Quantity = Measure | Distinct
QUANTITY_BY_LABEL: dict[str, Quantity] = {
    **MEASURE_BY_LABEL,
    **{distinct.value: distinct for distinct in Distinct},
}

Where = tuple[tuple[str, str], ...]
"""A filter inside a formula: (dimension, value) pairs that must all hold."""

TermKey = tuple[Quantity, Where]


@dataclass(frozen=True, slots=True)
class Term:
    """`weight` times a quantity, of the rows where `where` holds."""

    quantity: Quantity
    weight: Fraction
    where: Where = ()

    @property
    def key(self) -> TermKey:
        """What has to be read for this term; terms that differ in weight share it."""
        return self.quantity, self.where

    @property
    def label(self) -> str:
        """The quantity's name in the catalogue."""
        return label(self.quantity)


@dataclass(frozen=True, slots=True)
class Requirement:
    """The value is null with `reason` unless the two measures are equal."""

    left: Measure
    right: Measure
    reason: str


@dataclass(frozen=True, slots=True)
class Factor:
    """Another KPI in a product, to the power 1 or -1."""

    kpi: str
    power: int
    formula: Formula


@dataclass(frozen=True, slots=True)
class Formula:
    """`scale * sum(numerator) / sum(denominator)`; an empty denominator means a plain sum.

    With factors it is `weight * product(factor ** power) + plus` instead. Money quantities are in
    millionths of a unit until they are published.
    """

    numerator: tuple[Term, ...] = ()
    denominator: tuple[Term, ...] = ()
    scale: int = 1
    interval: IntervalMethod = IntervalMethod.NONE
    requires: Requirement | None = None
    factors: tuple[Factor, ...] = ()
    weight: Fraction = Fraction(1)
    plus: Fraction = Fraction(0)

    @property
    def terms(self) -> tuple[Term, ...]:
        """Both sides, and those of the factors."""
        inside = (term for factor in self.factors for term in factor.formula.terms)
        return (*self.numerator, *self.denominator, *inside)

    @property
    def keys(self) -> frozenset[TermKey]:
        """Everything that must be read to compute it."""
        required: tuple[TermKey, ...] = ()
        if self.requires is not None:
            required = ((self.requires.left, ()), (self.requires.right, ()))
        own = (*(term.key for term in (*self.numerator, *self.denominator)), *required)
        return frozenset(own).union(*(factor.formula.keys for factor in self.factors))

    @property
    def has_money(self) -> bool:
        """Whether any term is an amount, so that the answer has a currency."""
        return any(is_money(term.quantity) for term in self.terms)

    @property
    def money_power(self) -> int:
        """To which power the value is an amount: 1 for an amount, 0 for a plain number."""
        own = money_side(self.numerator) - money_side(self.denominator)
        return own + sum(factor.power * factor.formula.money_power for factor in self.factors)


def label(quantity: Quantity) -> str:
    """The name of a measure or distinct count in catalogue formulas."""
    return quantity.label if isinstance(quantity, Measure) else quantity.value


def is_money(quantity: Quantity) -> bool:
    """Whether a quantity is in millionths of a currency unit."""
    return quantity in MONEY


def money_side(terms: Iterable[Term]) -> bool:
    """Whether a side of a formula is an amount (sides are never mixed)."""
    return any(is_money(term.quantity) for term in terms)


_M = Measure
_EMAIL = frozenset(m for m in Measure if m.name.startswith("EMAILS_"))
_COHORT = range(_M.EMAILS_DELIVERED, _M.EMAILS_COMPLAINED + 1)

BOOKED_AT_ORIGIN: frozenset[Quantity] = frozenset(
    {*map(Measure, _COHORT), _M.LEADS_CONVERTED, Distinct.RETAINED_CUSTOMERS}
)
"""Outcomes counted when and where that began of which they are the outcome: they still grow."""

_MAILED = range(_M.EMAILS_SENT, _M.EMAIL_OPENS + 1)
_STATED = (*range(_M.SPEND, _M.SOCIAL_IMPRESSIONS + 1), _M.BRAND_SEARCHES, _M.CATEGORY_SEARCHES)

WITHOUT_DETAILS: frozenset[Quantity] = frozenset(
    measure for measure in Measure if measure in {*_MAILED, *_STATED}
)
"""What is not known to have happened on a page, in a country or on a device."""

OF_PRODUCTS: frozenset[Quantity] = frozenset(
    {_M.GROSS_REVENUE, _M.REFUNDS, _M.REFUNDS_BY_ORDER, _M.UNITS}
)
"""What the lines of orders have a part in."""

_SOLD = frozenset({_M.ORDERS, _M.GROSS_REVENUE})

EVIDENCE: dict[Quantity, frozenset[Measure]] = {
    _M.PAGE_VIEWS: frozenset({_M.VISITS}),
    _M.BOUNCES: frozenset({_M.VISITS}),
    **dict.fromkeys((_EMAIL - {_M.EMAILS_SENT}) | {_M.EMAIL_OPENS}, _EMAIL),
    _M.LEADS_IDENTIFIED: frozenset({_M.LEADS}),
    _M.LEADS_CONVERTED: _SOLD,
    _M.CUSTOMERS_FROM_LEADS: _SOLD,
    _M.GROSS_REVENUE: _SOLD,
    _M.REFUNDS: _SOLD,
    _M.REFUNDS_BY_ORDER: _SOLD,
    _M.REFUND_COUNT: _SOLD,
    _M.NEW_CUSTOMERS: _SOLD,
    _M.COST_OF_GOODS: _SOLD,
    _M.ORDERS_WITH_COST: _SOLD,
    _M.SPEND: frozenset({_M.IMPRESSIONS, _M.CLICKS}),
    _M.ENGAGEMENTS: frozenset({_M.POSTS}),
    _M.FOLLOWERS: frozenset({_M.POSTS}),
    _M.NPS_PROMOTERS: frozenset({_M.NPS_RESPONSES}),
    _M.NPS_DETRACTORS: frozenset({_M.NPS_RESPONSES}),
    _M.ENPS_PROMOTERS: frozenset({_M.ENPS_RESPONSES}),
    _M.ENPS_DETRACTORS: frozenset({_M.ENPS_RESPONSES}),
    _M.CSAT_POSITIVE: frozenset({_M.CSAT_RESPONSES}),
    _M.CES_POSITIVE: frozenset({_M.CES_RESPONSES}),
    _M.AIDED_AWARE: frozenset({_M.AIDED_RESPONSES}),
    _M.UNAIDED_AWARE: frozenset({_M.UNAIDED_RESPONSES}),
    Distinct.VISITORS: frozenset({_M.VISITS}),
    Distinct.RESPONDENTS: frozenset(m for m in Measure if m.name.endswith("_RESPONSES")),
    **dict.fromkeys(set(Distinct) - {Distinct.VISITORS, Distinct.RESPONDENTS}, _SOLD),
}
"""What shows, beside a quantity's own rows, that a site counts it: then 0 means 0, and not
"nobody told us". A site that sells and never had a refund has refunds of 0; one that never sent
an order has none to speak of."""


def evidence(quantity: Quantity) -> frozenset[Measure]:
    """Measures of which one row ever is enough for the quantity to be known to the site."""
    own = frozenset({quantity}) if isinstance(quantity, Measure) else frozenset()
    return own | EVIDENCE.get(quantity, frozenset())
