"""A plain recount: from the rows of the log to measures, as docs/reference/projections.md and
docs/reference/measures.md say it, with no SQL, no increments and nothing of the service's code
but its words.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from service.domain.dimensions import dimension_id
from service.domain.kinds import Flag, Kind
from service.domain.measures import Measure
from tests.project.credits import Credit, Journeys, Visit
from tests.project.log import Placed

EMAILS = {kind for kind in Kind if kind.name.startswith("EMAIL_")}
STATEMENTS = {Kind.AD_SPEND, Kind.SOCIAL_POST, Kind.SEARCH_VOLUME}
SURVEYS = {
    "nps": (Measure.NPS_RESPONSES, Measure.NPS_PROMOTERS, Measure.NPS_DETRACTORS),
    "enps": (Measure.ENPS_RESPONSES, Measure.ENPS_PROMOTERS, Measure.ENPS_DETRACTORS),
    "csat": (Measure.CSAT_RESPONSES, Measure.CSAT_POSITIVE, None),
    "ces": (Measure.CES_RESPONSES, Measure.CES_POSITIVE, None),
    "awareness_aided": (Measure.AIDED_RESPONSES, Measure.AIDED_AWARE, None),
    "awareness_unaided": (Measure.UNAIDED_RESPONSES, Measure.UNAIDED_AWARE, None),
}


class Added(NamedTuple):
    """One addition to a stored number (a measure, or what a model moves of it), at an instant."""

    at: datetime
    measure: int
    currency: str
    dim: int
    value: int
    detail: int = 0
    own: int = 0


def order(placed: Placed) -> tuple[datetime, int, int]:
    """When it happened; what happened at the same time, as it came in."""
    return placed.row.at, placed.batch, placed.seq


def receipt(placed: Placed) -> tuple[datetime, int, int]:
    return placed.received_at, placed.batch, placed.seq


def recount(log: Iterable[Placed], lookback_days: int = 30) -> list[Added]:
    """Everything that the log of one site adds to any measure."""
    everything = sorted(log, key=order)
    people = [p for p in everything if Flag.BOT not in p.row.flags]
    journeys = Journeys(people, lookback_days)
    return [
        *(_one(p, Measure.BOT_HITS) for p in everything if Flag.BOT in p.row.flags),
        *_from_visits(journeys.visits),
        *_from_messages(people),
        *_from_leads(people, journeys),
        *_from_conversions(people, journeys),
        *_from_statements(people),
        *_from_events(people),
    ]


def _one(placed: Placed, measure: Measure, value: int = 1, currency: str = "") -> Added:
    row = placed.row
    return Added(row.at, measure, currency, dimension_id(row.dim), value, row.detail, row.detail)


def _of(people: Sequence[Placed], *kinds: Kind) -> list[Placed]:
    return [p for p in people if p.row.kind in kinds]


# --- Visits -----------------------------------------------------------------------------------


def _from_visits(visits: Iterable[Visit]) -> Iterator[Added]:
    for visit in visits:
        where = (dimension_id(visit.dim), 1, visit.detail, visit.detail)
        yield Added(visit.started_at, Measure.VISITS, "", *where)
        if visit.hits == 1:
            yield Added(visit.started_at, Measure.BOUNCES, "", *where)


# --- Messages ---------------------------------------------------------------------------------


def _from_messages(people: Sequence[Placed]) -> Iterator[Added]:
    journeys = defaultdict(list)
    for placed in _of(people, *EMAILS):
        journeys[placed.row.data["message"]].append(placed.row)
    for rows in journeys.values():
        # Of what happened at the same time the dimension decides, so that arrival does not.
        rows.sort(key=lambda row: (row.at, dimension_id(row.dim)))
        yield from _from_message(rows)


def _from_message(rows: list) -> Iterator[Added]:
    def first(kind: Kind, *, human: bool = False) -> datetime | None:
        times = [r.at for r in rows if r.kind is kind and not (human and Flag.MACHINE in r.flags)]
        return min(times, default=None)

    sent_rows = [r for r in rows if r.kind is Kind.EMAIL_SENT]
    dim = dimension_id((sent_rows or rows)[0].dim)
    sent = first(Kind.EMAIL_SENT)
    said_delivered, said_bounced = first(Kind.EMAIL_DELIVERED), first(Kind.EMAIL_BOUNCED)
    clicked = first(Kind.EMAIL_CLICKED, human=True)
    shown = (first(Kind.EMAIL_OPENED), clicked, first(Kind.EMAIL_UNSUBSCRIBED),
             first(Kind.EMAIL_COMPLAINED))  # fmt: skip
    arrived = said_delivered is not None or any(at is not None for at in shown)
    bounced = None if arrived else said_bounced
    delivered = said_delivered or (sent if arrived or said_bounced is None else None)
    seen_by_human = [t for t in (first(Kind.EMAIL_OPENED, human=True), clicked) if t]
    outcomes = (
        (delivered, Measure.EMAILS_DELIVERED, Measure.EMAILS_DELIVERED_PERIOD),
        (bounced, Measure.EMAILS_BOUNCED, Measure.EMAILS_BOUNCED_PERIOD),
        (first(Kind.EMAIL_OPENED), Measure.EMAILS_OPENED, Measure.EMAILS_OPENED_PERIOD),
        (
            min(seen_by_human, default=None),
            Measure.EMAILS_OPENED_HUMAN,
            Measure.EMAILS_OPENED_HUMAN_PERIOD,
        ),
        (clicked, Measure.EMAILS_CLICKED, Measure.EMAILS_CLICKED_PERIOD),
        (
            first(Kind.EMAIL_UNSUBSCRIBED),
            Measure.EMAILS_UNSUBSCRIBED,
            Measure.EMAILS_UNSUBSCRIBED_PERIOD,
        ),
        (first(Kind.EMAIL_COMPLAINED), Measure.EMAILS_COMPLAINED, Measure.EMAILS_COMPLAINED_PERIOD),
    )
    if sent:
        yield Added(sent, Measure.EMAILS_SENT, "", dim, 1)
    for at, cohort, period in outcomes:
        if at and sent:
            yield Added(sent, cohort, "", dim, 1)
        if at:
            yield Added(at, period, "", dim, 1)


# --- Leads ------------------------------------------------------------------------------------


def _from_leads(people: Sequence[Placed], journeys: Journeys) -> Iterator[Added]:
    for lead in {p.row.data["lead"] for p in people if "lead" in p.row.data}:
        mine = [p for p in people if p.row.data.get("lead") == lead]
        reports, buys = _of(mine, Kind.LEAD), _of(mine, Kind.CONVERSION)
        if not reports:
            continue
        won = reports[0].row
        visitor = next((p.row.visitor for p in reports if p.row.visitor), 0)
        credit = journeys.credit(won, visitor, [lead])
        yield from _credited(credit, won.at, Measure.LEADS, 1)
        yield from _credited(credit, won.at, Measure.LEADS_IDENTIFIED, 1)
        if buys:
            yield from _credited(credit, won.at, Measure.LEADS_CONVERTED, 1)
            yield from _credited(credit, buys[0].row.at, Measure.CUSTOMERS_FROM_LEADS, 1)


def _credited(
    credit: Credit, at: datetime, measure: Measure, amount: int, currency: str = ""
) -> Iterator[Added]:
    """An amount where last non-direct gives it, and what the other models move of it."""
    yield Added(at, measure, currency, *credit.place(amount))
    for number, place in credit.moves(measure, amount):
        yield Added(at, number, currency, *place)


# --- Conversions and refunds ------------------------------------------------------------------


def _from_conversions(people: Sequence[Placed], journeys: Journeys) -> Iterator[Added]:
    first_of_customer: dict[str, Placed] = {}
    orders: dict[str, tuple[datetime, Credit]] = {}
    for placed in _of(people, Kind.CONVERSION):
        row = placed.row
        names = [row.data[what] for what in ("customer", "lead") if what in row.data]
        credit = journeys.credit(row, row.visitor, names)
        if "customer" in row.data:
            first_of_customer.setdefault(row.data["customer"], placed)
        if "order" in row.data:
            orders.setdefault(row.data["order"], (row.at, credit))
        for measure, amount, currency in _sold(placed, first_of_customer):
            yield from _credited(credit, row.at, measure, amount, currency)
    for placed in _of(people, Kind.REFUND):
        row, paid = placed.row, placed.row.data
        ordered_at, credit = orders.get(paid["order"], (row.at, journeys.own(row)))
        credit = credit.of(row)
        yield from _credited(credit, row.at, Measure.REFUNDS, paid["value"], paid["currency"])
        by_order = Measure.REFUNDS_BY_ORDER
        yield from _credited(credit, ordered_at, by_order, paid["value"], paid["currency"])
        yield from _credited(credit, row.at, Measure.REFUND_COUNT, 1)


def _sold(
    placed: Placed, first_of_customer: dict[str, Placed]
) -> Iterator[tuple[Measure, int, str]]:
    data = placed.row.data
    quantity = data.get("quantity", 1)
    yield Measure.ORDERS, quantity, ""
    yield Measure.GROSS_REVENUE, data["value"], data["currency"]
    yield Measure.UNITS, data.get("units", 0), ""
    if "cost" in data:
        yield Measure.COST_OF_GOODS, data["cost"], data["currency"]
        yield Measure.ORDERS_WITH_COST, quantity, ""
    if data.get("new") is not False:
        if "customer" not in data:
            yield Measure.NEW_CUSTOMERS, quantity, ""
        elif first_of_customer[data["customer"]] is placed:
            yield Measure.NEW_CUSTOMERS, 1, ""


# --- Statements, and events that count by themselves ------------------------------------------


def _from_statements(people: Sequence[Placed]) -> Iterator[Added]:
    said = defaultdict(list)
    for placed in sorted(_of(people, *STATEMENTS), key=receipt):
        said[placed.row.kind, placed.row.data["key"]].append(placed)
    for versions in said.values():
        dated = [p for p in versions if Flag.DATED in p.row.flags]
        at = (dated[-1] if dated else versions[0]).row.at
        last = versions[-1].row
        for measure, currency, value in _figures(last.kind, last.data):
            yield Added(at, measure, currency, dimension_id(last.dim), value)


def _figures(kind: Kind, data: dict) -> list[tuple[Measure, str, int]]:
    if kind is Kind.AD_SPEND:
        return [
            (Measure.SPEND, data["currency"], data["cost"]),
            (Measure.IMPRESSIONS, "", data.get("impressions", 0)),
            (Measure.CLICKS, "", data.get("clicks", 0)),
            (Measure.INVALID_CLICKS, "", data.get("invalid_clicks", 0)),
            (Measure.VIEWABLE_IMPRESSIONS, "", data.get("viewable", 0)),
            (Measure.MEASURABLE_IMPRESSIONS, "", data.get("measurable", 0)),
        ]
    if kind is Kind.SOCIAL_POST:
        return [
            (Measure.POSTS, "", 1),
            (Measure.ENGAGEMENTS, "", data["likes"] + data["comments"] + data["shares"]),
            (Measure.FOLLOWERS, "", data["followers"]),
            (Measure.REACH, "", data.get("reach", 0)),
            (Measure.SOCIAL_IMPRESSIONS, "", data.get("impressions", 0)),
        ]
    brand = data["group"] == "brand"
    return [(Measure.BRAND_SEARCHES if brand else Measure.CATEGORY_SEARCHES, "", data["volume"])]


def _from_events(people: Sequence[Placed]) -> Iterator[Added]:
    for placed in people:
        data = placed.row.data
        match placed.row.kind:
            case Kind.PAGE_VIEW:
                yield _one(placed, Measure.PAGE_VIEWS)
            case Kind.EMAIL_OPENED:
                yield _one(placed, Measure.EMAIL_OPENS)
            case Kind.LEAD if "lead" not in data:
                yield _one(placed, Measure.LEADS, data["quantity"])
            case Kind.CONVERSION if "order" not in data and "lead" not in data:
                yield _one(placed, Measure.CUSTOMERS_FROM_LEADS, data["quantity"])
            case Kind.SURVEY_ANSWER:
                yield from _from_answer(placed)
            case Kind.CUSTOM:
                yield _one(placed, Measure.CUSTOM_EVENTS)
                yield _one(
                    placed, Measure.CUSTOM_VALUE, data.get("value", 0), data.get("currency", "")
                )


def _from_answer(placed: Placed) -> Iterator[Added]:
    data = placed.row.data
    if data["survey"] not in SURVEYS:
        yield _one(placed, Measure.CUSTOM_RESPONSES)
        return
    answered, positive, negative = SURVEYS[data["survey"]]
    yield _one(placed, answered)
    if data["grade"] == 1:
        yield _one(placed, positive)
    if data["grade"] == -1 and negative:
        yield _one(placed, negative)


def answered(log: Iterable[Placed]) -> set[tuple[object, ...]]:
    """Who answered surveys, as the rows of a fact table without the site."""
    return {
        (
            placed.batch,
            placed.seq,
            placed.row.at,
            UUID(placed.row.data["respondent"]),
            dimension_id(placed.row.dim),
            placed.row.detail,
        )
        for placed in log
        if placed.row.kind is Kind.SURVEY_ANSWER
        and Flag.BOT not in placed.row.flags
        and "respondent" in placed.row.data
    }


# --- Sums -------------------------------------------------------------------------------------

Sums = Counter[tuple[object, ...]]


def summed(
    added: Iterable[Added],
    place: Callable[[datetime], object] | None = None,
    *,
    detailed: bool = False,
) -> Sums:
    """Sums by (place, number, currency, dimension), and detail and own detail when `detailed`.

    `place` maps an instant; by default everything is in one place, None.
    """
    sums: Sums = Counter()
    for one in added:
        details = (one.detail, one.own) if detailed else ()
        where = None if place is None else place(one.at)
        sums[where, int(one.measure), one.currency, one.dim, *details] += one.value
    return Counter({key: value for key, value in sums.items() if value})
