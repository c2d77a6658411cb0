"""The rules of docs/reference/projections.md, one by one, each with what it must come to."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy.ext.asyncio import AsyncEngine

from service.domain.access import Site
from service.domain.dimensions import Dimension, dimension_id
from service.domain.kinds import Flag, Kind
from service.domain.models import unmoved
from service.kit.clock import SystemClock
from service.project.runner import Runner
from tests.project.facts import rollup
from tests.project.log import NO_FLAGS, NOWHERE, Row, append, uid

NOON = datetime(2026, 5, 10, 12, tzinfo=UTC)
DIRECT = Dimension("Direct")
GOOGLE = Dimension("Organic Search", "google", "organic")
SPRING = Dimension("Paid Search", "google", "cpc", "spring")
MAIL = Dimension("Email", "newsletter", "email", "may")
DATED = Flag.DATED
SHORT = {DIRECT: "direct", GOOGLE: "google", SPRING: "spring", MAIL: "mail", NOWHERE: ""}
NAMES = {dimension_id(dim): name for dim, name in SHORT.items()}

HUGE = 10**18 - 1
"""The largest amount that is accepted."""


def after(**parts: float) -> datetime:
    return NOON + timedelta(**parts)


def view(
    at: datetime,
    dim: Dimension = DIRECT,
    visitor: int = 1,
    flags: Flag = NO_FLAGS,
    detail: int = 0,
) -> Row:
    return Row(Kind.PAGE_VIEW, at, dim, visitor, flags, {"page": "shop.example/"}, detail)


def login(
    at: datetime,
    visitor: int = 1,
    flags: Flag = Flag.CONSENT,
    what: str = "customer",
    name: str = "a",
) -> Row:
    return Row(Kind.CUSTOM, at, DIRECT, visitor, flags, {"name": "login", what: uid(name)})


def mail(kind: Kind, at: datetime, dim: Dimension = MAIL, flags: Flag = NO_FLAGS) -> Row:
    return Row(kind, at, dim, flags=flags, data={"message": uid("message")})


def lead(at: datetime, dim: Dimension = NOWHERE, visitor: int = 0) -> Row:
    return Row(Kind.LEAD, at, dim, visitor, data={"lead": uid("lead")})


def order(at: datetime, dim: Dimension = NOWHERE, visitor: int = 0, **data: Any) -> Row:
    paid = {"order": uid("order"), "quantity": 1, "value": 100, "currency": "DKK"}
    return Row(Kind.CONVERSION, at, dim, visitor, data={**paid, **data})


def total(at: datetime, quantity: int, **data: Any) -> Row:
    paid = {"quantity": quantity, "value": 100, "currency": "DKK"}
    return Row(Kind.CONVERSION, at, data={**paid, **data})


def huge(at: datetime) -> Row:
    return replace(total(at, 10**15), visitor=1)


def refund(at: datetime, dim: Dimension = NOWHERE) -> Row:
    data = {"order": uid("order"), "value": 30, "currency": "DKK"}
    return Row(Kind.REFUND, at, dim, data=data)


def spend(at: datetime, cost: int, flags: Flag = NO_FLAGS, dim: Dimension = SPRING) -> Row:
    return Row(
        Kind.AD_SPEND, at, dim, 0, flags, {"key": uid("ad"), "cost": cost, "currency": "DKK"}
    )


@dataclass(frozen=True)
class Case:
    """`batches`, projected one by one, come to `sums`: of each `label@dimension`, per quarter
    hours (minutes after noon) or in all.
    """

    name: str
    batches: list[list[Row]]
    sums: dict[str, int | dict[int, int]]


CASES = [
    Case(
        "a gap of exactly 30 minutes is inside a visit",
        [[view(NOON), view(after(minutes=30))]],
        {"visits@direct": 1, "bounces@direct": 0, "page_views@direct": 2},
    ),
    Case(
        "a longer gap is not",
        [[view(NOON), view(after(minutes=30, microseconds=1))]],
        {"visits@direct": 2, "bounces@direct": 2},
    ),
    Case(
        "a late view joins two visits, which take the entry of the first",
        [[view(NOON, GOOGLE)], [view(after(minutes=50), SPRING)], [view(after(minutes=25))]],
        {"visits@google": 1, "visits@spring": 0, "bounces@google": 0, "bounces@spring": 0},
    ),
    Case(
        "a late view becomes the entry",
        [[view(NOON, GOOGLE)], [view(after(minutes=-20), SPRING)]],
        {"visits@spring": {-30: 1}, "visits@google": 0},
    ),
    Case(
        "bots and people without an id make no visits",
        [[view(NOON, flags=Flag.BOT), view(NOON, visitor=0)]],
        {"visits@direct": 0, "page_views@direct": 1, "bot_hits@direct": 1},
    ),
    Case(
        "an order goes to the last visit that is not direct, within exactly 30 days",
        [[view(NOON, GOOGLE), view(after(days=29))], [order(after(days=30), visitor=1)]],
        {"orders@google": 1, "gross_revenue@google": 100},
    ),
    Case(
        "later than that to the direct one",
        [
            [view(NOON, GOOGLE), view(after(days=29))],
            [order(after(days=30, microseconds=1), visitor=1)],
        ],
        {"orders@google": 0, "orders@direct": 1},
    ),
    Case(
        "an order that names its campaign goes there",
        [[view(NOON, GOOGLE)], [order(after(hours=1), MAIL, visitor=1)]],
        {"orders@mail": 1, "orders@google": 0},
    ),
    Case(
        "a late visit takes the credit, of the refund too",
        [
            [order(after(hours=1), visitor=1)],
            [refund(after(hours=2))],
            [view(NOON, GOOGLE)],
        ],
        {"orders@google": 1, "orders@": 0, "refunds@google": 30, "refunds@": 0},
    ),
    Case(
        "a refund before its order",
        [[refund(NOON, GOOGLE)], [order(after(hours=1), MAIL)]],
        {"refunds@mail": {0: 30}, "refunds@google": 0, "refund_count@mail": 1},
    ),
    Case(
        "the first order of a customer makes a new customer, whenever it comes in",
        [
            [order(after(hours=1), MAIL, customer=uid("a"))],
            [order(NOON, SPRING, customer=uid("a"), order=uid("other"))],
        ],
        {"new_customers@spring": 1, "new_customers@mail": 0},
    ),
    Case(
        "and no other does, in whatever order they come in",
        [
            [order(after(hours=2), MAIL, customer=uid("a"), order=uid("third"))],
            [order(NOON, SPRING, customer=uid("a"), order=uid("first"))],
            [order(after(hours=1), GOOGLE, customer=uid("a"), order=uid("second"))],
        ],
        {"new_customers@spring": 1, "new_customers@mail": 0, "new_customers@google": 0},
    ),
    Case(
        "a late visit moves the credit of a customer's second order, and makes nobody new",
        [
            [order(NOON, MAIL, customer=uid("a"), order=uid("first"))],
            [order(after(hours=1), visitor=1, customer=uid("a"), order=uid("second"))],
            [view(NOON, GOOGLE)],
        ],
        {"new_customers@mail": 1, "new_customers@google": 0, "orders@google": 1},
    ),
    Case(
        "a visit that begins at the very moment of the order has its credit",
        [[view(NOON, GOOGLE), order(NOON, visitor=1)]],
        {"orders@google": 1},
    ),
    Case(
        "unless the shop knows better",
        [[order(NOON, MAIL, customer=uid("a"), new=False)], [order(after(hours=1), new=False)]],
        {"new_customers@mail": 0, "new_customers@": 0},
    ),
    Case(
        "orders without a customer are customers of their own",
        [[total(NOON, 7), order(NOON)]],
        {"new_customers@": 8, "orders@": 8, "customers_from_leads@": 7},
    ),
    Case(
        "an order without an id that names its lead is that lead's",
        [[lead(NOON)], [total(after(hours=1), 1, lead=uid("lead"))]],
        {"customers_from_leads@": {60: 1}, "leads_converted@": {0: 1}},
    ),
    Case(
        "a lead reported after its conversion",
        [[order(NOON, lead=uid("lead"))], [lead(after(hours=1), MAIL)]],
        {
            "leads@mail": {60: 1},
            "leads_converted@mail": {60: 1},
            "customers_from_leads@mail": {0: 1},
        },
    ),
    Case(
        "a lead is won by its first report, and known by the visitor of any",
        [[view(NOON, GOOGLE)], [lead(after(hours=2), visitor=1)], [lead(after(hours=1))]],
        {"leads@google": {60: 1}, "leads_identified@google": 1},
    ),
    Case(
        "a late visit takes the credit of a lead",
        [[lead(after(hours=1), visitor=1)], [view(NOON, GOOGLE)]],
        {"leads@google": {60: 1}, "leads@": 0},
    ),
    Case(
        "a message is delivered when nobody says that it bounced",
        [
            [mail(Kind.EMAIL_SENT, NOON)],
            [mail(Kind.EMAIL_OPENED, after(hours=1), NOWHERE, Flag.MACHINE)],
        ],
        {
            "emails_delivered@mail": {0: 1},
            "emails_opened@mail": {0: 1},
            "emails_opened_period@mail": {60: 1},
            "emails_opened_human@mail": 0,
        },
    ),
    Case(
        "a bounce, a click: it arrived after all",
        [
            [mail(Kind.EMAIL_BOUNCED, after(minutes=15)), mail(Kind.EMAIL_SENT, NOON)],
            [mail(Kind.EMAIL_CLICKED, after(hours=1))],
        ],
        {
            "emails_delivered@mail": {0: 1},
            "emails_delivered_period@mail": {0: 1},
            "emails_bounced@mail": 0,
            "emails_bounced_period@mail": 0,
            "emails_opened_human@mail": {0: 1},
            "emails_opened_human_period@mail": {60: 1},
            "emails_clicked_period@mail": {60: 1},
        },
    ),
    Case(
        "a bounce alone: both views",
        [[mail(Kind.EMAIL_BOUNCED, after(minutes=15)), mail(Kind.EMAIL_SENT, NOON)]],
        {
            "emails_delivered@mail": 0,
            "emails_bounced@mail": {0: 1},
            "emails_bounced_period@mail": {15: 1},
        },
    ),
    Case(
        "a login says who a visitor is, also after the order",
        [
            [view(NOON, GOOGLE)],
            [order(after(hours=1), customer=uid("a")), refund(after(hours=2))],
            [login(after(hours=3))],
        ],
        {"orders@google": 1, "orders@": 0, "new_customers@google": 1, "refunds@google": 30},
    ),
    Case(
        "but not without consent",
        [
            [view(NOON, GOOGLE)],
            [order(after(hours=1), customer=uid("a"))],
            [login(NOON, flags=DATED)],
        ],
        {"orders@google": 0, "orders@": 1},
    ),
    Case(
        "a visit that comes in late is found through the login of another day",
        [[login(NOON), order(after(hours=1), customer=uid("a"))], [view(NOON, GOOGLE)]],
        {"orders@google": 1, "orders@": 0},
    ),
    Case(
        "the visits of all visitors that a customer is count, the latest first",
        [
            [login(NOON, 1), login(NOON, 2), order(after(hours=2), customer=uid("a"))],
            [view(NOON, SPRING, 2)],
            [view(after(hours=1), GOOGLE, 1)],
        ],
        {
            "orders@google": 1,
            "first:orders@spring": 1_000_000,
            "first:orders@google": -1_000_000,
            "linear:gross_revenue@spring": 50,
        },
    ),
    Case(
        "a lead is known as its visitors too, and its order with it",
        [
            [lead(after(hours=1)), order(after(hours=2), lead=uid("lead"))],
            [view(NOON, GOOGLE), login(NOON, what="lead", name="lead")],
        ],
        {"leads@google": {60: 1}, "leads_converted@google": 1, "orders@google": 1},
    ),
    Case(
        "twenty visitors are a person",
        [
            [view(NOON, GOOGLE), order(after(hours=1), customer=uid("a"))],
            [login(NOON, visitor) for visitor in range(1, 21)],
        ],
        {"orders@google": 1},
    ),
    Case(
        "twenty-one are nobody, and what was credited before is not any more",
        [
            [view(NOON, GOOGLE), order(after(hours=1), customer=uid("a"))],
            [login(NOON, visitor) for visitor in range(1, 21)],
            [login(NOON, 21)],
        ],
        {"orders@google": 0, "orders@": 1},
    ),
    Case(
        "a visitor who is twenty-one people is a shared machine",
        [
            [view(NOON, GOOGLE), order(after(hours=1), customer=uid("0"))],
            [login(NOON, name=str(name)) for name in range(20)],
            [login(NOON, name="20")],
        ],
        {"orders@google": 0, "orders@": 1},
    ),
    Case(
        "every model by itself; the last touch gets what cannot be shared",
        [
            [view(NOON, GOOGLE), view(after(days=7), SPRING), view(after(days=14), MAIL)],
            [view(after(days=14, hours=1)), order(after(days=14, hours=1), visitor=1)],
        ],
        {
            "gross_revenue@mail": 100,
            "last:gross_revenue@direct": 100,
            "last:gross_revenue@mail": -100,
            "first:gross_revenue@google": 100,
            "linear:gross_revenue@mail": 25 - 100,
            "linear:gross_revenue@direct": 25,
            "position_based:gross_revenue@google": 40,
            "position_based:gross_revenue@spring": 10,
            "position_based:gross_revenue@mail": 10 - 100,
            "position_based:gross_revenue@direct": 40,
            "position_based:orders@direct": 400_000,
            "time_decay:gross_revenue@google": 9,
            "time_decay:gross_revenue@direct": 36 + 1,
        },
    ),
    Case(
        "what names its campaign has no touches",
        [
            [view(NOON, GOOGLE), view(after(hours=1), SPRING)],
            [order(after(hours=2), MAIL, visitor=1)],
        ],
        {"orders@mail": 1, "first:orders@google": 0, "last:orders@mail": 0},
    ),
    Case(
        "a refund is shared as its order is, and booked at both times",
        [
            [view(NOON, GOOGLE), view(after(hours=1), SPRING), order(after(hours=2), visitor=1)],
            [refund(after(hours=4))],
        ],
        {
            "refunds@spring": {240: 30},
            "refunds_by_order@spring": {120: 30},
            "linear:refunds@google": {240: 15},
            "linear:refunds_by_order@google": {120: 15},
        },
    ),
    Case(
        "a refund without its order is booked when it happened",
        [[refund(after(hours=4), MAIL)]],
        {"refunds_by_order@mail": {240: 30}},
    ),
    Case(
        "pieces are what the lines say",
        [[order(NOON, units=3, lines=[["tea", 3, None]]), order(NOON, order=uid("other"))]],
        {"units@": 3, "orders@": 2},
    ),
    Case(
        "counts too large for millionths stay where they are",
        [[view(NOON, GOOGLE), view(after(hours=1), SPRING)], [huge(after(hours=2))]],
        {"orders@spring": 10**15, "linear:orders@spring": 0, "linear:gross_revenue@google": 50},
    ),
    Case(
        "every open counts in its own view",
        [
            [mail(Kind.EMAIL_SENT, NOON)],
            [mail(Kind.EMAIL_OPENED, after(hours=1)), mail(Kind.EMAIL_OPENED, after(hours=2))],
            [mail(Kind.EMAIL_OPENED, after(hours=3), flags=Flag.BOT)],
        ],
        {"email_opens@mail": {60: 1, 120: 1}, "emails_opened@mail": 1},
    ),
    Case(
        "the newest statement counts, on the day that was last said",
        [
            [spend(NOON, 10, Flag.DATED)],
            [spend(after(hours=1), 20, Flag.DATED, MAIL)],
            [spend(after(hours=5), 30)],
        ],
        {"spend@mail": 0, "spend@spring": {60: 30}},
    ),
    Case(
        "undated statements count when the first came in",
        [[spend(NOON, 10)], [spend(after(hours=1), 20)]],
        {"spend@spring": {0: 20}},
    ),
    Case(
        "sums that no bigint holds",
        [[order(NOON, value=HUGE, order=uid(str(n))) for n in range(40)]],
        {"gross_revenue@": 40 * HUGE, "orders@": 40},
    ),
]


def _label(number: int) -> str:
    """`orders`, or `linear:orders` for what that model moves."""
    measure, model = unmoved(number)
    return f"{model.label}:{measure.label}" if model else measure.label


async def booked(engine: AsyncEngine, site: Site) -> dict[str, Counter[int]]:
    """`label@dimension` to sums by quarter hour, in minutes after noon."""
    found: dict[str, Counter[int]] = defaultdict(Counter)
    sums = await rollup(engine, site.id, "rollup_quarter")
    for (bucket, measure, _, dim), value in sums.items():
        minute = (bucket - NOON) // timedelta(minutes=1)
        found[f"{_label(measure)}@{NAMES[dim]}"][minute] += value
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_rule(
    engine: AsyncEngine, new_site: Callable[..., Awaitable[Site]], case: Case
) -> None:
    site = await new_site()
    runner = Runner(engine, SystemClock())
    for rows in case.batches:
        await append(engine, site.id, rows)
        await runner.run_once()
    found = await booked(engine, site)
    for name, expected in case.sums.items():
        sums = found[name]
        assert (dict(sums) if isinstance(expected, dict) else sums.total()) == expected, name
