"""What each event of a site adds to which measure, by plain counting."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from fractions import Fraction
from typing import NamedTuple

from service.domain.dimensions import Detail, Dimension, dimension_id
from service.domain.kinds import STATEMENT_KINDS, Flag, Kind
from service.domain.models import Model
from tests.kpi.recount_credits import Credit, Journeys, Place
from tests.kpi.world import Event

LND = Model.LAST_NON_DIRECT
MONEY = {"gross_revenue", "refunds", "refunds_by_order", "cost_of_goods", "spend", "custom_value"}
MILLION = 1_000_000
NO_DETAIL = Detail()


@dataclass(frozen=True)
class Way:
    """In which way to count.

    The model, the days that cohorts are given, whether by the lines of orders, and whether refunds
    count when the order was placed.
    """

    model: Model = LND
    horizon: int | None = None
    product: bool = False
    by_order: bool = False


class Added(NamedTuple):
    """One addition to a measure; amounts in millionths of their currency."""

    at: datetime
    measure: str
    value: Fraction
    dim: Dimension
    detail: Detail = NO_DETAIL
    own: Detail = NO_DETAIL
    currency: str = ""
    product: str = ""


class Sale(NamedTuple):
    """One order of a customer in one of its places, and whether it is the first: a new customer."""

    number: int
    at: datetime
    customer: str
    quantity: int
    is_new: bool
    dim: Dimension
    detail: Detail
    own: Detail
    product: str = ""


class Answer(NamedTuple):
    """One answer to a survey of somebody who is named."""

    at: datetime
    respondent: str
    dim: Dimension
    detail: Detail
    own: Detail
    product: str = ""


@dataclass(frozen=True)
class Sold:
    """A conversion with its credit."""

    event: Event
    credit: Credit
    is_new: bool

    @property
    def quantity(self) -> int:
        """1 for an order; a total says how many."""
        return int(self.event.data.get("quantity", 1))

    @property
    def products(self) -> set[str]:
        """What its lines are of."""
        return {product for product, _, _ in self.event.data.get("lines", [])} or {""}


class Facts:
    """The people and things of a list of events, in the order in which they were logged."""

    def __init__(self, events: Sequence[Event], lookback: timedelta) -> None:
        self.everything = list(events)
        numbered = [one for one in enumerate(events) if not one[1].flags & Flag.BOT]
        self.logged = [event for _, event in numbered]
        self.by_time = [e for _, e in sorted(numbered, key=lambda one: (one[1].at, one[0]))]
        self.journeys = Journeys(events, lookback)
        self.sold = self._sold()

    def of(self, *kinds: Kind) -> list[Event]:
        """By time, then by arrival."""
        return [event for event in self.by_time if event.kind in kinds]

    def _sold(self) -> list[Sold]:
        seen: set[str] = set()
        found = []
        for event in self.of(Kind.CONVERSION):
            data, customer = event.data, event.data.get("customer")
            people = (customer, data.get("lead"))
            own = Place(event.dim, event.detail)
            credit = self.journeys.credit(own, event.at, event.visitor, people)
            is_new = customer not in seen and data.get("new") is not False
            found.append(Sold(event, credit, is_new))
            if customer is not None:
                seen.add(customer)
        return found

    def sales(self, way: Way) -> list[Sale]:
        """Orders of customers with an id, by time: wherever they have credit, or a line."""
        return [
            Sale(
                number,
                sold.event.at,
                sold.event.data["customer"],
                sold.quantity,
                sold.is_new,
                *place,
                sold.event.detail,
                product,
            )
            for number, sold in enumerate(self.sold)
            if "customer" in sold.event.data
            for place in sold.credit.places(way.model)
            for product in (sold.products if way.product else {""})
        ]

    def answers(self) -> list[Answer]:
        """Answers that name who gave them."""
        return [
            Answer(event.at, event.data["respondent"], event.dim, event.detail, event.detail)
            for event in self.of(Kind.SURVEY_ANSWER)
            if "respondent" in event.data
        ]

    def added(self, way: Way) -> Iterator[Added]:
        """Everything that is added to any measure."""
        yield from (
            Added(e.at, "bot_hits", Fraction(1), e.dim, e.detail, e.detail)
            for e in self.everything
            if e.flags & Flag.BOT
        )
        for visit in self.journeys.visits:
            place = (visit.dim, visit.detail, visit.detail)
            yield Added(visit.at, "visits", Fraction(1), *place)
            yield Added(visit.at, "bounces", Fraction(visit.views == 1), *place)
        yield from self._messages(way)
        yield from self._leads(way)
        yield from self._lines() if way.product else self._conversions(way)
        yield from self._refunds(way)
        yield from self._statements()
        for event in self.logged:
            yield from _by_itself(event)

    # --- Sales ---------------------------------------------------------------------------

    def _conversions(self, way: Way) -> Iterator[Added]:
        for sold in self.sold:
            data, quantity = sold.event.data, sold.quantity
            new = (1 if "customer" in data else quantity) if sold.is_new else 0
            amounts = {
                "orders": quantity,
                "gross_revenue": data["value"],
                "new_customers": new,
                "units": data.get("units", 0),
                "cost_of_goods": data.get("cost", 0),
                "orders_with_cost": quantity if "cost" in data else 0,
            }
            for measure, amount in amounts.items():
                counted = (sold.event.at, measure, amount)
                yield from _shared(way.model, sold.credit, sold.event, counted)

    def _lines(self) -> Iterator[Added]:
        """Every line by its product; what lines leave of the value has none."""
        for sold in self.sold:
            event, data, place = sold.event, sold.event.data, sold.credit.place
            rest = data["value"]
            for product, quantity, value in data.get("lines", []):
                rest -= value or 0
                for measure, amount, currency in (
                    ("gross_revenue", value or 0, data["currency"]),
                    ("units", quantity or 0, ""),
                ):
                    yield Added(
                        event.at, measure, Fraction(amount), *place, event.detail, currency, product
                    )
            yield Added(
                event.at, "gross_revenue", Fraction(rest), *place, event.detail, data["currency"]
            )

    def _refunds(self, way: Way) -> Iterator[Added]:
        first: dict[str, Sold] = {}
        for sold in self.sold:
            if "order" in sold.event.data:
                first.setdefault(sold.event.data["order"], sold)
        for event in self.of(Kind.REFUND):
            order = first.get(event.data["order"])
            own = Credit(Place(event.dim, event.detail), event.at, ())
            credit = own if order is None else order.credit
            value, ordered = event.data["value"], event.at if order is None else order.event.at
            counted = [(event.at, "refunds", value), (ordered, "refunds_by_order", value)]
            if not way.product:
                counted.append((event.at, "refund_count", 1))
            for one in counted:
                yield from _shared(way.model, credit, event, one)

    # --- Leads ---------------------------------------------------------------------------

    def _leads(self, way: Way) -> Iterator[Added]:
        reports: dict[str, list[Event]] = defaultdict(list)
        converted: dict[str, datetime] = {}
        for event in self.of(Kind.LEAD, Kind.CONVERSION):
            name = event.data.get("lead")
            if name and event.kind is Kind.LEAD:
                reports[name].append(event)
            elif name:
                converted.setdefault(name, event.at)
        for name, mine in reports.items():
            won = mine[0]
            visitor = next((report.visitor for report in mine if report.visitor), 0)
            own = Place(won.dim, won.detail)
            credit = self.journeys.credit(own, won.at, visitor, (name,))
            became = converted.get(name)
            in_time = became is not None and _before(became, won.at, way.horizon)
            for counted in (
                (won.at, "leads", 1),
                (won.at, "leads_identified", 1),
                (won.at, "leads_converted", int(in_time)),
                (became or won.at, "customers_from_leads", int(became is not None)),
            ):
                yield from _shared(way.model, credit, won, counted)

    # --- E-mail --------------------------------------------------------------------------

    def _messages(self, way: Way) -> Iterator[Added]:
        journeys: dict[str, list[Event]] = defaultdict(list)
        for event in self.by_time:
            if event.kind.name.startswith("EMAIL_"):
                journeys[event.data["message"]].append(event)
        for events in journeys.values():
            events.sort(key=lambda event: (event.at, dimension_id(event.dim)))
            sent = [event for event in events if event.kind is Kind.EMAIL_SENT]
            dim = (sent or events)[0].dim
            for name, when in outcomes(events).items():
                yield Added(when, f"{name}_period", Fraction(1), dim)
            if sent:
                yield Added(sent[0].at, "emails_sent", Fraction(1), dim)
                early = [e for e in events if _before(e.at, sent[0].at, way.horizon)]
                for name in outcomes(early):
                    yield Added(sent[0].at, name, Fraction(1), dim)

    # --- Statements ----------------------------------------------------------------------

    def _statements(self) -> Iterator[Added]:
        said: dict[tuple[Kind, str], list[Event]] = defaultdict(list)
        for event in self.logged:
            if event.kind in STATEMENT_KINDS:
                said[event.kind, event.data["key"]].append(event)
        for versions in said.values():
            dated = [event for event in versions if event.flags & Flag.DATED]
            at = (dated[-1] if dated else versions[0]).at
            last = versions[-1]
            for measure, value in stated(last).items():
                currency = last.data["currency"] if measure == "spend" else ""
                yield Added(at, measure, Fraction(value), last.dim, currency=currency)


def _shared(
    model: Model, credit: Credit, event: Event, counted: tuple[datetime, str, int]
) -> Iterator[Added]:
    """An amount (when, of what, how much) as the model shares it; counts are in millionths."""
    at, measure, amount = counted
    money = measure in MONEY
    unit = 1 if money or model is LND else MILLION
    currency = event.data["currency"] if money else ""
    for place, part in credit.parts(model, amount * unit):
        yield Added(at, measure, Fraction(part, unit), *place, event.detail, currency)


def _before(at: datetime, origin: datetime, horizon: int | None) -> bool:
    return horizon is None or at < origin + timedelta(hours=24 * horizon)


def outcomes(events: Sequence[Event]) -> dict[str, datetime]:
    """When a message first had each of its outcomes; events by time."""

    def first(kind: Kind, *, person: bool = False) -> datetime | None:
        times = (e.at for e in events if e.kind is kind and not (person and e.flags & Flag.MACHINE))
        return next(times, None)

    clicked = first(Kind.EMAIL_CLICKED, person=True)
    by_reader = {
        "emails_opened": first(Kind.EMAIL_OPENED),
        "emails_clicked": clicked,
        "emails_unsubscribed": first(Kind.EMAIL_UNSUBSCRIBED),
        "emails_complained": first(Kind.EMAIL_COMPLAINED),
    }
    said, bounced = first(Kind.EMAIL_DELIVERED), first(Kind.EMAIL_BOUNCED)
    arrived = said is not None or any(by_reader.values())
    delivered = (said or first(Kind.EMAIL_SENT)) if arrived or bounced is None else None
    humans = [at for at in (first(Kind.EMAIL_OPENED, person=True), clicked) if at]
    found = {
        **by_reader,
        "emails_delivered": delivered,
        "emails_bounced": None if arrived else bounced,
        "emails_opened_human": min(humans, default=None),
    }
    return {name: at for name, at in found.items() if at is not None}


_SPENT = {
    "cost": "spend",
    "impressions": "impressions",
    "clicks": "clicks",
    "invalid_clicks": "invalid_clicks",
    "viewable": "viewable_impressions",
    "measurable": "measurable_impressions",
}


def stated(event: Event) -> dict[str, int]:
    """The figures of a statement."""
    data = event.data
    if event.kind is Kind.AD_SPEND:
        return {measure: data[name] for name, measure in _SPENT.items() if name in data}
    if event.kind is Kind.SOCIAL_POST:
        return {
            "posts": 1,
            "engagements": data["likes"] + data["comments"] + data["shares"],
            "followers": data["followers"],
            "reach": data.get("reach", 0),
            "social_impressions": data.get("impressions", 0),
        }
    return {f"{data['group']}_searches": data["volume"]}


_SURVEYS = {
    "nps": ("nps_responses", "nps_promoters", "nps_detractors"),
    "enps": ("enps_responses", "enps_promoters", "enps_detractors"),
    "csat": ("csat_responses", "csat_positive", ""),
    "ces": ("ces_responses", "ces_positive", ""),
    "awareness_aided": ("aided_responses", "aided_aware", ""),
    "awareness_unaided": ("unaided_responses", "unaided_aware", ""),
}


def _by_itself(event: Event) -> Iterator[Added]:
    """What needs no journey."""
    data = event.data

    def one(measure: str, value: int = 1, currency: str = "") -> Added:
        place = (event.dim, event.detail, event.detail)
        return Added(event.at, measure, Fraction(value), *place, currency)

    match event.kind:
        case Kind.PAGE_VIEW:
            yield one("page_views")
        case Kind.EMAIL_OPENED:
            yield one("email_opens")
        case Kind.LEAD if "lead" not in data:
            yield one("leads", data["quantity"])
        case Kind.CONVERSION if "order" not in data and "lead" not in data:
            yield one("customers_from_leads", data["quantity"])
        case Kind.CUSTOM:
            yield one("custom_events")
            yield one("custom_value", data.get("value", 0), data.get("currency", ""))
        case Kind.SURVEY_ANSWER if data["survey"] not in _SURVEYS:
            yield one("custom_responses")
        case Kind.SURVEY_ANSWER:
            total, good, bad = _SURVEYS[data["survey"]]
            yield one(total)
            graded = {1: good, -1: bad}.get(data["grade"])
            if graded:
                yield one(graded)
