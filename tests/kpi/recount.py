"""A plain recount in Python: what every measure, distinct count and KPI should be.

It knows nothing of facts in tables, rollups, tiers or SQL: it walks over the events of a small
world, says for each what it adds to which measure and when, and sums what a question selects.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from typing import Protocol, TypeVar
from zoneinfo import ZoneInfo

from service.domain.dimensions import DETAILS, PRODUCT, PROP_PREFIX, Detail, Dimension
from service.kpi.formula import Term
from tests.kpi.recount_credits import Visit
from tests.kpi.recount_facts import MONEY, Added, Answer, Facts, Sale, Way
from tests.kpi.world import Event

CASELESS = ("channel", "source", "medium", "country", "device")
DISTINCT = {
    "distinct_visitors",
    "distinct_customers",
    "first_time_customers",
    "repeat_customers",
    "returning_customers",
    "orders_of_customers",
    "retained_customers",
    "distinct_respondents",
}


class Placed(Protocol):
    """Whatever lies in time, and in the dimensions."""

    @property
    def at(self) -> datetime:
        """When it counts."""
        ...

    @property
    def dim(self) -> Dimension:
        """What it is credited to."""
        ...

    @property
    def detail(self) -> Detail:
        """The detail of what it is credited to."""
        ...

    @property
    def own(self) -> Detail:
        """The detail of the event itself."""
        ...

    @property
    def product(self) -> str:
        """The line's product."""
        ...


Keep = Callable[[Placed], bool]
Key = TypeVar("Key", bound=Hashable)
One = TypeVar("One", Added, Visit, Sale, Answer)


def label(one: Placed, name: str) -> str:
    """What something has in a dimension of any sort; '' for nothing."""
    if name == PRODUCT:
        return one.product
    if name.startswith(PROP_PREFIX):
        return dict(one.own.props).get(name.removeprefix(PROP_PREFIX), "")
    holder = one.detail if name in DETAILS else one.dim
    return str(getattr(holder, DETAILS.get(name, name)))


@dataclass(frozen=True)
class Holds:
    """One condition of a filter; how it is written, and what it means."""

    name: str
    value: str
    prefix: bool = False
    negated: bool = False

    @property
    def text(self) -> str:
        """As a request writes it."""
        value = "".join(f"\\{c}" if c in "\\,:*" else c for c in self.value)
        return f"{'!' * self.negated}{self.name}:{value}{'*' * self.prefix}"

    def matches(self, one: Placed) -> bool:
        """Whether the value is the one, negated or not."""
        found, value = label(one, self.name), self.value
        if self.name in CASELESS:
            found, value = found.lower(), value.lower()
        return found.startswith(value) if self.prefix else found == value


Filter = tuple[Holds, ...]


def written(filters: Filter) -> str | None:
    """The `where` text of a filter."""
    return ",".join(condition.text for condition in filters) or None


def passes(filters: Filter, one: Placed) -> bool:
    """One of the conditions of every dimension, and none of the negated ones."""
    wanted: dict[str, bool] = {}
    for condition in filters:
        if condition.negated:
            if condition.matches(one):
                return False
        else:
            before = wanted.get(condition.name, False)
            wanted[condition.name] = before or condition.matches(one)
    return all(wanted.values())


@dataclass
class Recount:
    """All additions of a list of events, in the order in which they were logged.

    `rates` are those into the reporting currency by (currency, day of the site's zone).
    """

    events: Sequence[Event]
    zone: ZoneInfo = field(default_factory=lambda: ZoneInfo("UTC"))
    rates: Mapping[tuple[str, date], Fraction] = field(default_factory=dict)
    lookback: timedelta = timedelta(days=30)
    reporting: str = "DKK"

    def __post_init__(self) -> None:
        self.facts = Facts(self.events, self.lookback)
        self.sales = self.facts.sales(Way())

    def everything(self, way: Way) -> Selection:
        """What was ever added, counted in that way."""
        rows: dict[str, list[Added]] = {}
        for one in self.facts.added(way):
            rows.setdefault(one.measure, []).append(one)
        visits, sales = self.facts.journeys.visits, self.facts.sales(way)
        return Selection(self, way, None, rows, visits, sales, self.facts.answers())

    def converted(self, one: Added) -> Fraction:
        """In the reporting currency, whole units for amounts."""
        value = one.value / 1_000_000 if one.measure in MONEY else one.value
        if one.currency in ("", self.reporting):
            return value
        return value * self.rates[one.currency, one.at.astimezone(self.zone).date()]


@dataclass(frozen=True)
class Selection:
    """Some of the additions, visits, orders of customers and answers: what a figure is made of.

    `start` is the first instant of the window that it was cut to.
    """

    recount: Recount
    way: Way
    start: datetime | None
    rows: Mapping[str, Sequence[Added]]
    visits: Sequence[Visit]
    sales: Sequence[Sale]
    answers: Sequence[Answer]

    def where(self, keep: Keep) -> Selection:
        """What is to be kept."""
        rows = {name: [one for one in some if keep(one)] for name, some in self.rows.items()}
        visits = [visit for visit in self.visits if keep(visit)]
        sales = [sale for sale in self.sales if keep(sale)]
        answers = [answer for answer in self.answers if keep(answer)]
        return replace(self, rows=rows, visits=visits, sales=sales, answers=answers)

    def filtered(self, conditions: Filter) -> Selection:
        """What passes a filter."""
        return self.where(lambda one: passes(conditions, one)) if conditions else self

    def within(self, start: datetime, end: datetime) -> Selection:
        """What lies in a window."""
        return replace(self.where(lambda one: start <= one.at < end), start=start)

    def split(self, key: Callable[[Placed], Key]) -> dict[Key, Selection]:
        """Parts by a key."""
        rows: dict[Key, dict[str, list[Added]]] = {}
        for name, some in self.rows.items():
            for part, mine in _parts(some, key).items():
                rows.setdefault(part, {})[name] = mine
        visits, sales = _parts(self.visits, key), _parts(self.sales, key)
        answers = _parts(self.answers, key)
        return {
            part: replace(
                self,
                rows=rows.get(part, {}),
                visits=visits.get(part, []),
                sales=sales.get(part, []),
                answers=answers.get(part, []),
            )
            for part in {*rows, *visits, *sales, *answers}
        }

    def buckets(self, edges: Sequence[datetime]) -> list[Selection]:
        """Consecutive windows, the empty ones too."""
        parts = self.split(lambda one: bisect_right(edges, one.at) - 1)
        nothing = replace(self, rows={}, visits=[], sales=[], answers=[])
        return [
            replace(parts.get(number, nothing), start=start)
            for number, (start, _) in enumerate(pairwise(edges))
        ]

    def labelled(self, by: Sequence[str]) -> dict[tuple[str, ...], Selection]:
        """Parts by the values of dimensions."""
        return self.split(lambda one: tuple(label(one, name) for name in by))

    # --- Figures -------------------------------------------------------------------------

    def amount(self, term: Term) -> Fraction:
        """A term's quantity without its weight, amounts in whole units."""
        mine = self.filtered(tuple(Holds(name, value) for name, value in term.where))
        if term.label in DISTINCT:
            return Fraction(mine.distinct(term.label))
        by_order = self.way.by_order and term.label == "refunds"
        rows = mine.rows.get("refunds_by_order" if by_order else term.label, ())
        return sum((self.recount.converted(one) for one in rows), Fraction(0))

    def side(self, terms: Iterable[Term]) -> Fraction:
        """One side of a formula."""
        return sum((term.weight * self.amount(term) for term in terms), Fraction(0))

    def distinct(self, name: str) -> int:
        """How many people; a customer counts by the orders that are selected."""
        if name == "distinct_visitors":
            return len({visit.visitor for visit in self.visits})
        if name == "distinct_respondents":
            return len({answer.respondent for answer in self.answers})
        by_customer: dict[str, list[Sale]] = {}
        for sale in self.sales:
            by_customer.setdefault(sale.customer, []).append(sale)
        return sum(COUNTED[name](sales, self) for sales in by_customer.values())


def _parts(some: Iterable[One], key: Callable[[Placed], Key]) -> dict[Key, list[One]]:
    found: dict[Key, list[One]] = {}
    for one in some:
        found.setdefault(key(one), []).append(one)
    return found


# --- Customers ---------------------------------------------------------------------------------


def _ever(sales: Sequence[Sale], selection: Selection) -> list[Sale]:
    return [sale for sale in selection.recount.sales if sale.customer == sales[0].customer]


def _orders(sales: Sequence[Sale], _selection: Selection) -> int:
    once = {sale.number: sale.quantity for sale in sales}
    return sum(once.values())


def _ordered_again(sales: Sequence[Sale]) -> bool:
    """Twice or more; an order that names its customer is one at least, whatever it says."""
    once = {sale.number: max(1, sale.quantity) for sale in sales}
    return sum(once.values()) > 1


def _is_first_time(sales: Sequence[Sale], _selection: Selection) -> int:
    return int(any(sale.is_new for sale in sales))


def _is_repeat(sales: Sequence[Sale], _selection: Selection) -> int:
    return int(_ordered_again(sales))


def _is_returning(sales: Sequence[Sale], selection: Selection) -> int:
    return int(not _is_first_time(sales, selection) or _ordered_again(sales))


def _is_retained(sales: Sequence[Sale], selection: Selection) -> int:
    first = next((sale for sale in sales if sale.is_new), None)
    if first is None:
        return 0
    ever, horizon = _ever(sales, selection), selection.way.horizon
    later = [sale for sale in ever if sale.number > first.number]
    given = None if horizon is None else timedelta(hours=24 * horizon)
    return int(any(given is None or sale.at < first.at + given for sale in later))


COUNTED: dict[str, Callable[[Sequence[Sale], Selection], int]] = {
    "distinct_customers": lambda _sales, _selection: 1,
    "first_time_customers": _is_first_time,
    "repeat_customers": _is_repeat,
    "returning_customers": _is_returning,
    "orders_of_customers": _orders,
    "retained_customers": _is_retained,
}
"""Whether, or how often, a customer counts who has the given orders in the selection."""
