"""What each fact adds to which measure, when and where: the one definition of every sum.

A fact is a row of a fact table, or a row of the log for kinds that need no journey. Its
contributions are rows `(at, measure, currency, dim_id, value)`, with details and products where a
variant has them. Because this is the only place that says so, three things agree by construction:
the differences that projections append, a rebuild, and what is read from facts directly (the ragged
edges of a window, and questions that no rollup can answer). Distinct people have rollups of their
own (`project/recency.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cache

from service.domain.kinds import EMAIL_KINDS, Flag, Kind
from service.domain.measures import Measure as M
from service.store.facts import (
    Case,
    Fact,
    Row,
    always,
    contributions,
    edge_contributions,
    rest_of_lines,
)

__all__ = ["FACTS", "Fact", "contributions", "edge_contributions", "facts"]

VISIT = Fact(
    name="visit",
    table="visit",
    cases=always(
        ("r.started_at", M.VISITS, "''", "1"),
        ("r.started_at", M.BOUNCES, "''", "CASE WHEN r.hits = 1 THEN 1 ELSE 0 END"),
    ),
    detail="r.detail_id",
    own="r.detail_id",
    edge="r.started_at >= :lo AND r.started_at < :hi",
)

Known = Callable[[str], str]
"""When an outcome happened, as far as it counts: SQL of its column, or NULL."""


def _ever(column: str) -> str:
    return f"r.{column}"


def _before_horizon(origin: str) -> Known:
    until = f"r.{origin} + CAST(:horizon AS integer) * interval '24 hours'"
    return lambda column: f"CASE WHEN r.{column} < {until} THEN r.{column} END"


def _happened(column: str) -> str:
    return f"CASE WHEN {column} IS NULL THEN 0 ELSE 1 END"


# A message counts as delivered when the mailer or its reader shows so, or when it was sent and
# never bounced; a click by a person implies an open by a person (images are often blocked).
_SHOWN = ("delivered_at", "opened_at", "clicked_at", "unsubscribed_at", "complained_at")


def _delivered(known: Known) -> str:
    return f"{_arrived(known)} OR {known('bounced_at')} IS NULL"


def _bounced(known: Known) -> str:
    return f"{known('bounced_at')} IS NOT NULL AND NOT {_arrived(known)}"


def _arrived(known: Known) -> str:
    return f"coalesce({', '.join(map(known, _SHOWN))}) IS NOT NULL"


def _mailed(known: Known) -> tuple[Row, ...]:
    """The cohort view: booked when the message was sent."""
    human = f"coalesce({known('opened_human_at')}, {known('clicked_at')})"
    outcomes = (
        (M.EMAILS_SENT, "1"),
        (M.EMAILS_DELIVERED, f"CASE WHEN {_delivered(known)} THEN 1 ELSE 0 END"),
        (M.EMAILS_BOUNCED, f"CASE WHEN {_bounced(known)} THEN 1 ELSE 0 END"),
        (M.EMAILS_OPENED, _happened(known("opened_at"))),
        (M.EMAILS_OPENED_HUMAN, _happened(human)),
        (M.EMAILS_CLICKED, _happened(known("clicked_at"))),
        (M.EMAILS_UNSUBSCRIBED, _happened(known("unsubscribed_at"))),
        (M.EMAILS_COMPLAINED, _happened(known("complained_at"))),
    )
    return tuple(("r.sent_at", measure, "''", value) for measure, value in outcomes)


_DELIVERED_AT = f"CASE WHEN {_delivered(_ever)} THEN coalesce(r.delivered_at, r.sent_at) END"

# The period view: booked when it happened.
_OUTCOMES: tuple[Row, ...] = (
    (_DELIVERED_AT, M.EMAILS_DELIVERED_PERIOD, "''", "1"),
    (f"CASE WHEN {_bounced(_ever)} THEN r.bounced_at END", M.EMAILS_BOUNCED_PERIOD, "''", "1"),
    ("r.opened_at", M.EMAILS_OPENED_PERIOD, "''", "1"),
    ("least(r.opened_human_at, r.clicked_at)", M.EMAILS_OPENED_HUMAN_PERIOD, "''", "1"),
    ("r.clicked_at", M.EMAILS_CLICKED_PERIOD, "''", "1"),
    ("r.unsubscribed_at", M.EMAILS_UNSUBSCRIBED_PERIOD, "''", "1"),
    ("r.complained_at", M.EMAILS_COMPLAINED_PERIOD, "''", "1"),
)

MESSAGE = Fact(
    name="message",
    table="message",
    cases=always(*_mailed(_ever), *_OUTCOMES),
    dim="coalesce(r.sent_dim, r.seen_dim)",
    edge=f"""r.message IN (
    SELECT (e.data->>'message')::uuid FROM event e
    WHERE e.site_id = :site_id AND e.occurred_at >= :lo AND e.occurred_at < :hi
      AND e.kind IN ({", ".join(str(int(kind)) for kind in EMAIL_KINDS)}))""",
)


# The cohort view books a customer on the day the lead was won, the period view on the day of the
# first conversion. A conversion for a lead that nobody has reported yet waits for its lead.
def _won(known: Known) -> tuple[Row, ...]:
    first = "CASE WHEN r.won_at IS NOT NULL THEN r.converted_at END"
    return (
        ("r.won_at", M.LEADS, "''", "1"),
        ("r.won_at", M.LEADS_IDENTIFIED, "''", "1"),
        ("r.won_at", M.LEADS_CONVERTED, "''", _happened(known("converted_at"))),
        (first, M.CUSTOMERS_FROM_LEADS, "''", "1"),
    )


LEAD = Fact(
    name="lead",
    table="lead",
    cases=always(*_won(_ever)),
    detail="r.detail_id",
    own="r.own_detail",
    credited=True,
    edge="(r.won_at >= :lo AND r.won_at < :hi) OR (r.converted_at >= :lo AND r.converted_at < :hi)",
)


def _of_order(value: str) -> str:
    return f"CASE WHEN r.refund THEN 0 ELSE {value} END"


def _of_refund(value: str) -> str:
    return f"CASE WHEN r.refund THEN {value} ELSE 0 END"


_NEW = "CASE WHEN NOT r.is_new THEN 0 WHEN r.customer IS NULL THEN r.quantity ELSE 1 END"
_WITH_COST = "CASE WHEN r.cost_of_goods IS NULL THEN 0 ELSE r.quantity END"
_ORDERED_AT = "coalesce(r.order_at, r.occurred_at)"
_REFUNDS: tuple[Row, ...] = (
    ("r.occurred_at", M.REFUNDS, "r.currency", _of_refund("r.value")),
    (_ORDERED_AT, M.REFUNDS_BY_ORDER, "r.currency", _of_refund("r.value")),
)

CONVERSION = Fact(
    name="conversion",
    table="conversion",
    cases=always(
        ("r.occurred_at", M.ORDERS, "''", _of_order("r.quantity")),
        ("r.occurred_at", M.GROSS_REVENUE, "r.currency", _of_order("r.value")),
        *_REFUNDS,
        ("r.occurred_at", M.REFUND_COUNT, "''", _of_refund("1")),
        ("r.occurred_at", M.NEW_CUSTOMERS, "''", _NEW),
        ("r.occurred_at", M.COST_OF_GOODS, "r.currency", "coalesce(r.cost_of_goods, 0)"),
        ("r.occurred_at", M.ORDERS_WITH_COST, "''", _WITH_COST),
        ("r.occurred_at", M.UNITS, "''", _of_order("coalesce(r.units, 0)")),
    ),
    detail="r.detail_id",
    own="r.own_detail",
    credited=True,
    edge="""(r.occurred_at >= :lo AND r.occurred_at < :hi)
    OR (r.refund AND r.order_at >= :lo AND r.order_at < :hi)""",
)

_REST_OF_VALUE = _of_order(rest_of_lines("r.value", 2))
_REST_OF_UNITS = _of_order(rest_of_lines("coalesce(r.units, 0)", 1))
_PRODUCTS: tuple[Row, ...] = (
    ("r.occurred_at", M.GROSS_REVENUE, "r.currency", _REST_OF_VALUE),
    ("r.occurred_at", M.UNITS, "''", _REST_OF_UNITS),
    *_REFUNDS,
)


def _number(key: str) -> str:
    return f"coalesce((r.data->>'{key}')::bigint, 0)"


_CURRENCY = "coalesce(r.data->>'currency', '')"


def _when(condition: str, *rows: Row) -> Case:
    return Case(rows, condition)


def _volume(group: str) -> str:
    return f"CASE WHEN r.data->>'group' = '{group}' THEN {_number('volume')} ELSE 0 END"


STATEMENT = Fact(
    name="statement",
    table="statement",
    cases=(
        _when(
            f"r.kind = {int(Kind.AD_SPEND)}",
            ("r.occurred_at", M.SPEND, _CURRENCY, _number("cost")),
            ("r.occurred_at", M.IMPRESSIONS, "''", _number("impressions")),
            ("r.occurred_at", M.CLICKS, "''", _number("clicks")),
            ("r.occurred_at", M.INVALID_CLICKS, "''", _number("invalid_clicks")),
            ("r.occurred_at", M.VIEWABLE_IMPRESSIONS, "''", _number("viewable")),
            ("r.occurred_at", M.MEASURABLE_IMPRESSIONS, "''", _number("measurable")),
        ),
        _when(
            f"r.kind = {int(Kind.SOCIAL_POST)}",
            ("r.occurred_at", M.POSTS, "''", "1"),
            (
                "r.occurred_at",
                M.ENGAGEMENTS,
                "''",
                f"{_number('likes')} + {_number('comments')} + {_number('shares')}",
            ),
            ("r.occurred_at", M.FOLLOWERS, "''", _number("followers")),
            ("r.occurred_at", M.REACH, "''", _number("reach")),
            ("r.occurred_at", M.SOCIAL_IMPRESSIONS, "''", _number("impressions")),
        ),
        _when(
            f"r.kind = {int(Kind.SEARCH_VOLUME)}",
            ("r.occurred_at", M.BRAND_SEARCHES, "''", _volume("brand")),
            ("r.occurred_at", M.CATEGORY_SEARCHES, "''", _volume("category")),
        ),
    ),
    edge="r.occurred_at >= :lo AND r.occurred_at < :hi",
)


def _answer(survey: str, grade: int | None = None) -> str:
    graded = "" if grade is None else f" AND (r.data->>'grade')::int = {grade}"
    return f"CASE WHEN r.data->>'survey' = '{survey}'{graded} THEN 1 ELSE 0 END"


_SURVEY_MEASURES = (
    ("nps", None, M.NPS_RESPONSES),
    ("nps", 1, M.NPS_PROMOTERS),
    ("nps", -1, M.NPS_DETRACTORS),
    ("enps", None, M.ENPS_RESPONSES),
    ("enps", 1, M.ENPS_PROMOTERS),
    ("enps", -1, M.ENPS_DETRACTORS),
    ("csat", None, M.CSAT_RESPONSES),
    ("csat", 1, M.CSAT_POSITIVE),
    ("ces", None, M.CES_RESPONSES),
    ("ces", 1, M.CES_POSITIVE),
    ("awareness_aided", None, M.AIDED_RESPONSES),
    ("awareness_aided", 1, M.AIDED_AWARE),
    ("awareness_unaided", None, M.UNAIDED_RESPONSES),
    ("awareness_unaided", 1, M.UNAIDED_AWARE),
)
_NAMED_SURVEYS = ", ".join(f"'{name}'" for name in sorted({row[0] for row in _SURVEY_MEASURES}))
_CUSTOM_SURVEY = f"CASE WHEN r.data->>'survey' IN ({_NAMED_SURVEYS}) THEN 0 ELSE 1 END"
_BOT = f"(r.flags & {int(Flag.BOT)}) <> 0"


def _by_people(kind: Kind) -> str:
    return f"r.kind = {int(kind)} AND NOT {_BOT}"


# A day's total of conversions (no order id) cannot be followed back to single leads: it counts
# as customers won from leads in the period view, and not at all in the cohort view.
_TOTAL = f"{_by_people(Kind.CONVERSION)} AND coalesce(r.data->>'order', r.data->>'lead') IS NULL"

# The log itself: a window's edge must not see more than the facts and rollups beside it do.
EVENT = Fact(
    name="event",
    table="event",
    cases=(
        _when(_by_people(Kind.PAGE_VIEW), ("r.occurred_at", M.PAGE_VIEWS, "''", "1")),
        _when(_BOT, ("r.occurred_at", M.BOT_HITS, "''", "1")),
        _when(_by_people(Kind.EMAIL_OPENED), ("r.occurred_at", M.EMAIL_OPENS, "''", "1")),
        _when(
            _by_people(Kind.LEAD),
            ("r.occurred_at", M.LEADS, "''", _number("quantity")),
        ),
        _when(_TOTAL, ("r.occurred_at", M.CUSTOMERS_FROM_LEADS, "''", _number("quantity"))),
        _when(
            _by_people(Kind.SURVEY_ANSWER),
            *(("r.occurred_at", m, "''", _answer(s, grade)) for s, grade, m in _SURVEY_MEASURES),
            ("r.occurred_at", M.CUSTOM_RESPONSES, "''", _CUSTOM_SURVEY),
        ),
        _when(
            _by_people(Kind.CUSTOM),
            ("r.occurred_at", M.CUSTOM_EVENTS, "''", "1"),
            ("r.occurred_at", M.CUSTOM_VALUE, _CURRENCY, _number("value")),
        ),
    ),
    detail="r.detail_id",
    own="r.detail_id",
    edge="""r.occurred_at >= :lo AND r.occurred_at < :hi AND r.batch_id NOT IN (
    SELECT b.id FROM batch b WHERE b.site_id = :site_id AND b.projected_at IS NULL)""",
)

FACTS = (VISIT, MESSAGE, LEAD, CONVERSION, STATEMENT, EVENT)


@cache
def facts(
    *, detailed: bool = False, horizon: bool = False, product: bool = False
) -> tuple[Fact, ...]:
    """The facts to read a question from that no rollup answers; without any argument `FACTS`.

    Their contributions have the columns at, measure, currency, dim_id, detail_id, own_id, product,
    value. With `horizon` outcomes of a cohort count when they came within `:horizon` times 24
    hours of their origin. With `product` orders add what their lines say, and nothing else.
    """
    if not (detailed or horizon or product):
        return FACTS
    mailed = _mailed(_before_horizon("sent_at") if horizon else _ever)
    won = _won(_before_horizon("won_at") if horizon else _ever)
    sales = replace(CONVERSION, cases=always(*_PRODUCTS), lines=True) if product else CONVERSION
    # Sendings are found by their own index, whatever the window; outcomes need the log.
    chosen = (
        VISIT,
        replace(MESSAGE, cases=always(*mailed), edge="r.sent_at >= :lo AND r.sent_at < :hi"),
        replace(MESSAGE, name="message_outcome", cases=always(*_OUTCOMES)),
        replace(LEAD, cases=always(*won)),
        sales,
        STATEMENT,
        EVENT,
    )
    return tuple(replace(fact, detailed=True) for fact in chosen)
