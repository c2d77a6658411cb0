"""What each fact adds to which measure, when and where: the one definition of every rollup.

A fact is a row of a fact table, or a row of the log for kinds that need no journey. Its
contributions are rows `(at, measure, currency, dim_id, value)`. Because this is the only place
that says so, three things agree by construction: the differences that projections append, a
rebuild, and the ragged edges of a window (read from facts directly).
"""

from __future__ import annotations

from dataclasses import dataclass

from service.domain.kinds import EMAIL_KINDS, Flag, Kind
from service.domain.measures import Measure as M


@dataclass(frozen=True, slots=True)
class Fact:
    """One source of contributions, read under the row alias `r`.

    `values` is the SELECT body of a lateral subquery over `r`; rows with a NULL `at` or a value
    of 0 add nothing. `edge` is a predicate on `r` that keeps every row which may contribute
    inside `[:lo, :hi)` of site `:site_id`, and is cheap to find.
    """

    name: str
    values: str
    edge: str


Row = tuple[str, M, str, str]
"""SQL for one contribution: at, the measure, currency, value; the dimension is the fact's."""


def _values(*rows: Row, dim: str = "r.dim_id") -> str:
    return "VALUES " + ", ".join(
        f"({at}, {int(measure)}::smallint, {currency}, {dim}, ({value})::bigint)"
        for at, measure, currency, value in rows
    )


def _always(*rows: Row, dim: str = "r.dim_id") -> str:
    """The contributions of a fact of which every row has the same."""
    return _by_case(_values(*rows, dim=dim))


def _case(condition: str, *rows: Row) -> str:
    """Contributions of the rows of a fact for which `condition` holds; others cost one test."""
    return f"SELECT * FROM ({_values(*rows)}) AS v WHERE {condition}"


def _by_case(*cases: str) -> str:
    return f"({' UNION ALL '.join(cases)}) AS c(at, measure, currency, dim_id, value)"


VISIT = Fact(
    name="visit",
    values=_always(
        ("r.started_at", M.VISITS, "''", "1"),
        ("r.started_at", M.BOUNCES, "''", "CASE WHEN r.hits = 1 THEN 1 ELSE 0 END"),
    ),
    edge="r.started_at >= :lo AND r.started_at < :hi",
)


def _happened(column: str) -> str:
    return f"CASE WHEN {column} IS NULL THEN 0 ELSE 1 END"


_EMAIL_EDGE = f"""r.message IN (
    SELECT (e.data->>'message')::uuid FROM event e
    WHERE e.site_id = :site_id AND e.occurred_at >= :lo AND e.occurred_at < :hi
      AND e.kind IN ({", ".join(str(int(kind)) for kind in EMAIL_KINDS)}))"""

# A message counts as delivered when the mailer or its reader shows so, or when it was sent and
# never bounced; a click by a person implies an open by a person (images are often blocked).
_ARRIVED = (
    "coalesce(r.delivered_at, r.opened_at, r.clicked_at, r.unsubscribed_at, r.complained_at)"
    " IS NOT NULL"
)
_DELIVERED = f"{_ARRIVED} OR r.bounced_at IS NULL"
_BOUNCED = f"r.bounced_at IS NOT NULL AND NOT {_ARRIVED}"

MESSAGE = Fact(
    name="message",
    values=_always(
        ("r.sent_at", M.EMAILS_SENT, "''", "1"),
        ("r.sent_at", M.EMAILS_DELIVERED, "''", f"CASE WHEN {_DELIVERED} THEN 1 ELSE 0 END"),
        ("r.sent_at", M.EMAILS_BOUNCED, "''", f"CASE WHEN {_BOUNCED} THEN 1 ELSE 0 END"),
        ("r.sent_at", M.EMAILS_OPENED, "''", _happened("r.opened_at")),
        (
            "r.sent_at",
            M.EMAILS_OPENED_HUMAN,
            "''",
            _happened("coalesce(r.opened_human_at, r.clicked_at)"),
        ),
        ("r.sent_at", M.EMAILS_CLICKED, "''", _happened("r.clicked_at")),
        ("r.sent_at", M.EMAILS_UNSUBSCRIBED, "''", _happened("r.unsubscribed_at")),
        ("r.sent_at", M.EMAILS_COMPLAINED, "''", _happened("r.complained_at")),
        (
            f"CASE WHEN {_DELIVERED} THEN coalesce(r.delivered_at, r.sent_at) END",
            M.EMAILS_DELIVERED_PERIOD,
            "''",
            "1",
        ),
        (f"CASE WHEN {_BOUNCED} THEN r.bounced_at END", M.EMAILS_BOUNCED_PERIOD, "''", "1"),
        ("r.opened_at", M.EMAILS_OPENED_PERIOD, "''", "1"),
        ("least(r.opened_human_at, r.clicked_at)", M.EMAILS_OPENED_HUMAN_PERIOD, "''", "1"),
        ("r.clicked_at", M.EMAILS_CLICKED_PERIOD, "''", "1"),
        ("r.unsubscribed_at", M.EMAILS_UNSUBSCRIBED_PERIOD, "''", "1"),
        ("r.complained_at", M.EMAILS_COMPLAINED_PERIOD, "''", "1"),
        dim="coalesce(r.sent_dim, r.seen_dim)",
    ),
    edge=_EMAIL_EDGE,
)

# The cohort view books a customer on the day the lead was won, the period view on the day of the
# first conversion. A conversion for a lead that nobody has reported yet waits for its lead.
LEAD = Fact(
    name="lead",
    values=_always(
        ("r.won_at", M.LEADS, "''", "1"),
        ("r.won_at", M.LEADS_IDENTIFIED, "''", "1"),
        ("r.won_at", M.LEADS_CONVERTED, "''", _happened("r.converted_at")),
        (
            "CASE WHEN r.won_at IS NOT NULL THEN r.converted_at END",
            M.CUSTOMERS_FROM_LEADS,
            "''",
            "1",
        ),
    ),
    edge=f"""r.lead IN (
    SELECT (e.data->>'lead')::uuid FROM event e
    WHERE e.site_id = :site_id AND e.occurred_at >= :lo AND e.occurred_at < :hi
      AND e.kind IN ({int(Kind.LEAD)}, {int(Kind.CONVERSION)}))""",
)

CONVERSION = Fact(
    name="conversion",
    values=_always(
        ("r.occurred_at", M.ORDERS, "''", "CASE WHEN r.refund THEN 0 ELSE r.quantity END"),
        (
            "r.occurred_at",
            M.GROSS_REVENUE,
            "r.currency",
            "CASE WHEN r.refund THEN 0 ELSE r.value END",
        ),
        ("r.occurred_at", M.REFUNDS, "r.currency", "CASE WHEN r.refund THEN r.value ELSE 0 END"),
        ("r.occurred_at", M.REFUND_COUNT, "''", "CASE WHEN r.refund THEN 1 ELSE 0 END"),
        (
            "r.occurred_at",
            M.NEW_CUSTOMERS,
            "''",
            "CASE WHEN NOT r.is_new THEN 0 WHEN r.customer IS NULL THEN r.quantity ELSE 1 END",
        ),
        ("r.occurred_at", M.COST_OF_GOODS, "r.currency", "coalesce(r.cost_of_goods, 0)"),
        (
            "r.occurred_at",
            M.ORDERS_WITH_COST,
            "''",
            "CASE WHEN r.cost_of_goods IS NULL THEN 0 ELSE r.quantity END",
        ),
    ),
    edge="r.occurred_at >= :lo AND r.occurred_at < :hi",
)


def _number(key: str) -> str:
    return f"coalesce((r.data->>'{key}')::bigint, 0)"


_CURRENCY = "coalesce(r.data->>'currency', '')"


def _volume(group: str) -> str:
    return f"CASE WHEN r.data->>'group' = '{group}' THEN {_number('volume')} ELSE 0 END"


STATEMENT = Fact(
    name="statement",
    values=_by_case(
        _case(
            f"r.kind = {int(Kind.AD_SPEND)}",
            ("r.occurred_at", M.SPEND, _CURRENCY, _number("cost")),
            ("r.occurred_at", M.IMPRESSIONS, "''", _number("impressions")),
            ("r.occurred_at", M.CLICKS, "''", _number("clicks")),
        ),
        _case(
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
        _case(
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
    values=_by_case(
        _case(_by_people(Kind.PAGE_VIEW), ("r.occurred_at", M.PAGE_VIEWS, "''", "1")),
        _case(_BOT, ("r.occurred_at", M.BOT_HITS, "''", "1")),
        _case(
            _by_people(Kind.LEAD),
            ("r.occurred_at", M.LEADS, "''", _number("quantity")),
        ),
        _case(_TOTAL, ("r.occurred_at", M.CUSTOMERS_FROM_LEADS, "''", _number("quantity"))),
        _case(
            _by_people(Kind.SURVEY_ANSWER),
            *(("r.occurred_at", m, "''", _answer(s, grade)) for s, grade, m in _SURVEY_MEASURES),
            ("r.occurred_at", M.CUSTOM_RESPONSES, "''", _CUSTOM_SURVEY),
        ),
        _case(
            _by_people(Kind.CUSTOM),
            ("r.occurred_at", M.CUSTOM_EVENTS, "''", "1"),
            ("r.occurred_at", M.CUSTOM_VALUE, _CURRENCY, _number("value")),
        ),
    ),
    edge="""r.occurred_at >= :lo AND r.occurred_at < :hi AND r.batch_id NOT IN (
    SELECT b.id FROM batch b WHERE b.site_id = :site_id AND b.projected_at IS NULL)""",
)

FACTS = (VISIT, MESSAGE, LEAD, CONVERSION, STATEMENT, EVENT)


def contributions(fact: Fact, rows: str, sign: int = 1) -> str:
    """A SELECT of the contributions of `rows` (a table or CTE with the fact's columns).

    Columns: at, measure, currency, dim_id, value (times `sign`); nothing that adds nothing.
    """
    value = "c.value" if sign > 0 else "-c.value"
    return (
        f"SELECT c.at, c.measure, c.currency, c.dim_id, {value} AS value"
        f" FROM {rows} AS r CROSS JOIN LATERAL {fact.values}"
        " WHERE c.at IS NOT NULL AND c.value <> 0"
    )


def edge_contributions(fact: Fact) -> str:
    """A SELECT of everything that falls inside `[:lo, :hi)`, from facts instead of rollups."""
    return (
        f"{contributions(fact, fact.name)}"
        f" AND r.site_id = :site_id AND ({fact.edge}) AND c.at >= :lo AND c.at < :hi"
    )
