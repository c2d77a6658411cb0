"""A plain recount: from the rows of the log to measures, as docs/reference/projections.md and
docs/reference/measures.md say it, with no SQL, no increments and nothing of the service's code
but its words.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from service.domain.dimensions import Dimension, dimension_id
from service.domain.kinds import Flag, Kind
from service.domain.measures import Measure
from tests.project.log import Placed

GAP = timedelta(minutes=30)
LOOKBACK = timedelta(days=30)

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
    """One addition to a measure, at an instant."""

    at: datetime
    measure: Measure
    currency: str
    dim: int
    value: int


class Visit(NamedTuple):
    started_at: datetime
    dim: Dimension
    hits: int


Visits = dict[int, list[Visit]]


def order(placed: Placed) -> tuple[datetime, int, int]:
    """When it happened; what happened at the same time, as it came in."""
    return placed.row.at, placed.batch, placed.seq


def arrival(placed: Placed) -> tuple[int, int]:
    return placed.batch, placed.seq


def recount(log: Iterable[Placed]) -> list[Added]:
    """Everything that the log of one site adds to any measure."""
    everything = sorted(log, key=order)
    people = [p for p in everything if Flag.BOT not in p.row.flags]
    visits = visits_of(people)
    return [
        *(_one(p, Measure.BOT_HITS) for p in everything if Flag.BOT in p.row.flags),
        *_from_visits(visits),
        *_from_messages(people),
        *_from_leads(people, visits),
        *_from_conversions(people, visits),
        *_from_statements(people),
        *_from_events(people),
    ]


def _one(placed: Placed, measure: Measure, value: int = 1, currency: str = "") -> Added:
    return Added(placed.row.at, measure, currency, dimension_id(placed.row.dim), value)


def _of(people: Sequence[Placed], *kinds: Kind) -> list[Placed]:
    return [p for p in people if p.row.kind in kinds]


# --- Visits and attribution -------------------------------------------------------------------


def visits_of(people: Sequence[Placed]) -> Visits:
    """Each visitor's visits: page views with gaps of at most 30 minutes."""
    views = defaultdict(list)
    for view in _of(people, Kind.PAGE_VIEW):
        if view.row.visitor:
            views[view.row.visitor].append(view.row)
    found: Visits = defaultdict(list)
    for visitor, rows in views.items():
        pieces = [[rows[0]]]
        for before, row in itertools.pairwise(rows):
            if row.at - before.at <= GAP:
                pieces[-1].append(row)
            else:
                pieces.append([row])
        found[visitor] = [Visit(piece[0].at, piece[0].dim, len(piece)) for piece in pieces]
    return found


def credited(own: Dimension, visitor: int, at: datetime, visits: Visits) -> Dimension:
    """Last non-direct touch within 30 days, unless the event itself names its touch."""
    if own.source or own.medium or own.campaign:
        return own
    touches = [v for v in visits.get(visitor, []) if at - LOOKBACK <= v.started_at <= at]
    known = [v for v in touches if v.dim.channel not in ("Direct", "")]
    for candidates in (known, touches):
        if candidates:
            return candidates[-1].dim
    return own


def _from_visits(visits: Visits) -> Iterator[Added]:
    for visit in (v for of_visitor in visits.values() for v in of_visitor):
        dim = dimension_id(visit.dim)
        yield Added(visit.started_at, Measure.VISITS, "", dim, 1)
        if visit.hits == 1:
            yield Added(visit.started_at, Measure.BOUNCES, "", dim, 1)


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


def _from_leads(people: Sequence[Placed], visits: Visits) -> Iterator[Added]:
    for lead in {p.row.data["lead"] for p in people if "lead" in p.row.data}:
        mine = [p for p in people if p.row.data.get("lead") == lead]
        reports, buys = _of(mine, Kind.LEAD), _of(mine, Kind.CONVERSION)
        if not reports:
            continue
        won = reports[0].row
        visitor = next((p.row.visitor for p in reports if p.row.visitor), 0)
        dim = dimension_id(credited(won.dim, visitor, won.at, visits))
        yield Added(won.at, Measure.LEADS, "", dim, 1)
        yield Added(won.at, Measure.LEADS_IDENTIFIED, "", dim, 1)
        if buys:
            yield Added(won.at, Measure.LEADS_CONVERTED, "", dim, 1)
            yield Added(buys[0].row.at, Measure.CUSTOMERS_FROM_LEADS, "", dim, 1)


# --- Conversions and refunds ------------------------------------------------------------------


def _from_conversions(people: Sequence[Placed], visits: Visits) -> Iterator[Added]:
    conversions = _of(people, Kind.CONVERSION)
    first_of_customer: dict[str, Placed] = {}
    touch_of_order: dict[str, Dimension] = {}
    for placed in conversions:
        row = placed.row
        touch = credited(row.dim, row.visitor, row.at, visits)
        if "customer" in row.data:
            first_of_customer.setdefault(row.data["customer"], placed)
        if "order" in row.data:
            touch_of_order.setdefault(row.data["order"], touch)
        yield from _from_conversion(placed, dimension_id(touch), first_of_customer)
    for placed in _of(people, Kind.REFUND):
        row = placed.row
        dim = dimension_id(touch_of_order.get(row.data["order"], row.dim))
        yield Added(row.at, Measure.REFUNDS, row.data["currency"], dim, row.data["value"])
        yield Added(row.at, Measure.REFUND_COUNT, "", dim, 1)


def _from_conversion(
    placed: Placed, dim: int, first_of_customer: dict[str, Placed]
) -> Iterator[Added]:
    at, data = placed.row.at, placed.row.data
    quantity = data.get("quantity", 1)
    yield Added(at, Measure.ORDERS, "", dim, quantity)
    yield Added(at, Measure.GROSS_REVENUE, data["currency"], dim, data["value"])
    if "cost" in data:
        yield Added(at, Measure.COST_OF_GOODS, data["currency"], dim, data["cost"])
        yield Added(at, Measure.ORDERS_WITH_COST, "", dim, quantity)
    if data.get("new") is not False:
        if "customer" not in data:
            yield Added(at, Measure.NEW_CUSTOMERS, "", dim, quantity)
        elif first_of_customer[data["customer"]] is placed:
            yield Added(at, Measure.NEW_CUSTOMERS, "", dim, 1)


# --- Statements, and events that count by themselves ------------------------------------------


def _from_statements(people: Sequence[Placed]) -> Iterator[Added]:
    said = defaultdict(list)
    for placed in sorted(_of(people, *STATEMENTS), key=arrival):
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


# --- Sums -------------------------------------------------------------------------------------

Sums = Counter[tuple[object, int, str, int]]


def summed(added: Iterable[Added], place: object = None) -> Sums:
    """Sums by (place, measure, currency, dimension); `place` maps an instant, default to None."""
    sums: Sums = Counter()
    for at, measure, currency, dim, value in added:
        sums[place(at) if callable(place) else None, int(measure), currency, dim] += value
    return Counter({key: value for key, value in sums.items() if value})
