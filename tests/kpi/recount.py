"""A plain recount in Python: what every measure and distinct count should be.

It knows nothing of facts, rollups, tiers or SQL: it walks over the events of a small world and
says, for each, what it adds to which measure and when.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction

from service.domain.dimensions import Dimension
from service.domain.kinds import Kind
from service.kpi.formula import Formula
from tests.kpi.world import Event

GAP = timedelta(minutes=30)
Keep = Callable[[datetime, Dimension], bool]


@dataclass(frozen=True)
class Added:
    """One addition to a measure."""

    at: datetime
    measure: str
    dim: Dimension
    value: int


@dataclass(frozen=True)
class Sale:
    """One order of a customer."""

    at: datetime
    customer: str
    dim: Dimension
    is_first: bool


@dataclass(frozen=True)
class Visit:
    at: datetime
    visitor: int
    dim: Dimension
    views: int


class Recount:
    """All additions of a list of events, in the order in which they were logged."""

    def __init__(self, events: Sequence[Event]) -> None:
        self.visits = _visits(events)
        self.sales = _sales(events)
        self.added = [
            *(Added(e.at, "page_views", e.dim, 1) for e in events if e.kind is Kind.PAGE_VIEW),
            *_of_visits(self.visits),
            *_of_statements(events),
            *_of_conversions(events, self.sales),
            *_of_messages(events),
            *_of_leads(events),
            *_of_answers(events),
        ]

    def sum(self, measure: str, keep: Keep) -> int:
        return sum(a.value for a in self.added if a.measure == measure and keep(a.at, a.dim))

    def distinct(self, name: str, keep: Keep) -> int:
        if name == "distinct_visitors":
            return len({v.visitor for v in self.visits if keep(v.at, v.dim)})
        mine = [sale for sale in self.sales if keep(sale.at, sale.dim)]
        customers = [sale.customer for sale in mine]
        return {
            "distinct_customers": len(set(customers)),
            "first_time_customers": len({sale.customer for sale in mine if sale.is_first}),
            "repeat_customers": sum(customers.count(name) > 1 for name in set(customers)),
        }[name]

    def side(self, terms: Iterable[object], keep: Keep) -> Fraction:
        total = Fraction(0)
        for term in terms:
            where = dict(term.where)

            def inside(at: datetime, dim: Dimension, where: dict[str, str] = where) -> bool:
                return keep(at, dim) and all(getattr(dim, k) == v for k, v in where.items())

            count = self.distinct if term.label in DISTINCT else self.sum
            total += term.weight * count(term.label, inside)
        return total

    def value(self, formula: Formula, keep: Keep) -> Fraction | None:
        """The formula over the kept additions, in millionths for money; None for 0 below."""
        above = formula.scale * self.side(formula.numerator, keep)
        if not formula.denominator:
            return above
        below = self.side(formula.denominator, keep)
        return above / below if below else None


DISTINCT = {"distinct_visitors", "distinct_customers", "first_time_customers", "repeat_customers"}


def _visits(events: Sequence[Event]) -> list[Visit]:
    views = sorted(
        (event.visitor, event.at, number)
        for number, event in enumerate(events)
        if event.kind is Kind.PAGE_VIEW and event.visitor
    )
    visits: list[list[tuple[int, datetime, int]]] = []
    for one in views:
        if visits and visits[-1][-1][0] == one[0] and one[1] - visits[-1][-1][1] <= GAP:
            visits[-1].append(one)
        else:
            visits.append([one])
    return [Visit(v[0][1], v[0][0], events[v[0][2]].dim, len(v)) for v in visits]


def _of_visits(visits: Iterable[Visit]) -> Iterable[Added]:
    for visit in visits:
        yield Added(visit.at, "visits", visit.dim, 1)
        yield Added(visit.at, "bounces", visit.dim, int(visit.views == 1))


def _of_statements(events: Sequence[Event]) -> Iterable[Added]:
    latest = {event.data["key"]: event for event in events if event.kind is Kind.AD_SPEND}
    for event in latest.values():
        yield Added(event.at, "spend", event.dim, event.data["cost"])
        yield Added(event.at, "impressions", event.dim, event.data["impressions"])
        yield Added(event.at, "clicks", event.dim, event.data["clicks"])


def _sales(events: Sequence[Event]) -> list[Sale]:
    orders = [
        (event.at, number, event)
        for number, event in enumerate(events)
        if event.kind is Kind.CONVERSION and "customer" in event.data
    ]
    seen: set[str] = set()
    sales = []
    for when, _, event in sorted(orders, key=lambda one: one[:2]):
        customer = event.data["customer"]
        sales.append(Sale(when, customer, event.dim, customer not in seen))
        seen.add(customer)
    return sales


def _of_conversions(events: Sequence[Event], sales: list[Sale]) -> Iterable[Added]:
    by_order = {e.data["order"]: e for e in events if e.kind is Kind.CONVERSION}
    for event in events:
        if event.kind is Kind.CONVERSION:
            yield Added(event.at, "orders", event.dim, 1)
            yield Added(event.at, "gross_revenue", event.dim, event.data["value"])
            yield Added(event.at, "cost_of_goods", event.dim, event.data.get("cost", 0))
            yield Added(event.at, "orders_with_cost", event.dim, int("cost" in event.data))
            if "customer" not in event.data:
                yield Added(event.at, "new_customers", event.dim, 1)
        elif event.kind is Kind.REFUND:
            sold = by_order.get(event.data["order"])
            dim = event.dim if sold is None else sold.dim
            yield Added(event.at, "refunds", dim, event.data["value"])
    for sale in sales:
        yield Added(sale.at, "new_customers", sale.dim, int(sale.is_first))


def _of_messages(events: Sequence[Event]) -> Iterable[Added]:
    messages: dict[str, dict[Kind, datetime]] = {}
    dims: dict[str, Dimension] = {}
    for event in events:
        if event.kind in {Kind.EMAIL_SENT, Kind.EMAIL_OPENED, Kind.EMAIL_CLICKED}:
            mine = messages.setdefault(event.data["message"], {})
            mine[event.kind] = min(event.at, mine.get(event.kind, event.at))
            dims[event.data["message"]] = event.dim
    names = {Kind.EMAIL_OPENED: "emails_opened", Kind.EMAIL_CLICKED: "emails_clicked"}
    for message, mine in messages.items():
        sent, dim = mine.get(Kind.EMAIL_SENT), dims[message]
        if sent is not None:
            yield Added(sent, "emails_sent", dim, 1)
            yield Added(sent, "emails_delivered", dim, 1)
            yield Added(sent, "emails_delivered_period", dim, 1)
        for kind, name in names.items():
            if kind in mine:
                yield Added(mine[kind], f"{name}_period", dim, 1)
                if sent is not None:
                    yield Added(sent, name, dim, 1)
        human = [mine[kind] for kind in names if kind in mine]
        if human:
            yield Added(min(human), "emails_opened_human_period", dim, 1)
            if sent is not None:
                yield Added(sent, "emails_opened_human", dim, 1)


def _of_leads(events: Sequence[Event]) -> Iterable[Added]:
    won: dict[str, Event] = {}
    converted: dict[str, datetime] = {}
    for event in events:
        lead = event.data.get("lead")
        if event.kind is Kind.LEAD and (lead not in won or event.at < won[lead].at):
            won[lead] = event
        if event.kind is Kind.CONVERSION and lead:
            converted[lead] = min(event.at, converted.get(lead, event.at))
    for lead, event in won.items():
        yield Added(event.at, "leads", event.dim, 1)
        yield Added(event.at, "leads_identified", event.dim, 1)
        yield Added(event.at, "leads_converted", event.dim, int(lead in converted))
        if lead in converted:
            yield Added(converted[lead], "customers_from_leads", event.dim, 1)


_ANSWERS = {"nps": ("nps_responses", "nps_promoters", "nps_detractors"), "csat": (
    "csat_responses", "csat_positive", "")}  # fmt: skip


def _of_answers(events: Sequence[Event]) -> Iterable[Added]:
    for event in events:
        if event.kind is Kind.SURVEY_ANSWER:
            total, good, bad = _ANSWERS[event.data["survey"]]
            yield Added(event.at, total, event.dim, 1)
            yield Added(event.at, good, event.dim, int(event.data["grade"] == 1))
            yield Added(event.at, bad, event.dim, int(event.data["grade"] == -1))
