"""Conversions and refunds: who is a new customer, and which touches get the credit.

A statement looks at the new rows and at the stored ones that they, or the visits that have just
changed, can alter: a customer's earliest conversion (it may no longer be the first), the rows of
the same orders (a refund follows its order's credit) and those of visitors with new page views,
and of the people they are known to be.
"""

from __future__ import annotations

from service.domain.kinds import Kind
from service.project.attribution import PEOPLE, TOUCHED, credited
from service.project.rollups import NEW_EVENTS, booked, difference, probed, stored
from service.store.contributions import CONVERSION

_GIVEN = (
    'batch_id, seq, occurred_at, refund, "order", customer, lead, visitor, currency, value,'
    " cost_of_goods, quantity, said_new, units, lines, own_dim, own_detail"
)
_DERIVED = "is_new, order_at, dim_id, detail_id, touch_dims, touch_details, touch_weights"
_COLUMNS = f"{_GIVEN}, {_DERIVED}"

_NEW = f"""
new AS MATERIALIZED (
    SELECT e.batch_id, e.seq, e.occurred_at, e.kind = {int(Kind.REFUND)} AS refund,
           (e.data->>'order')::uuid AS "order", (e.data->>'customer')::uuid AS customer,
           (e.data->>'lead')::uuid AS lead,
           e.visitor, coalesce(e.data->>'currency', '') AS currency,
           coalesce((e.data->>'value')::bigint, 0) AS value,
           CASE WHEN e.kind = {int(Kind.CONVERSION)} THEN (e.data->>'cost')::bigint END
               AS cost_of_goods,
           coalesce((e.data->>'quantity')::bigint, 1) AS quantity,
           (e.data->>'new')::boolean AS said_new,
           (e.data->>'units')::bigint AS units, e.data->'lines' AS lines,
           e.dim_id AS own_dim, e.detail_id AS own_detail
    FROM {NEW_EVENTS} AND e.kind IN ({int(Kind.CONVERSION)}, {int(Kind.REFUND)})
)"""


_KEY = 'batch_id, seq, "order", occurred_at'


_NEAR = "WHERE p.occurred_at >= k.first_at AND p.occurred_at <= k.last_at"
# Only the customers' own index can answer a row comparison: a planner takes the one of times else.
_BY_CUSTOMER = """f.customer = k.person
    AND (f.customer, f.occurred_at) >= (k.person, k.first_at)
    AND (f.customer, f.occurred_at) <= (k.person, k.last_at)"""

_REVISITED = f"""{TOUCHED},{PEOPLE},
revisited AS MATERIALIZED (
    {probed("conversion", _KEY, "touched", "f.visitor = k.visitor AND f.visitor <> 0")} {_NEAR}
    UNION ALL
    {probed("conversion", _KEY, "people", _BY_CUSTOMER)}
    UNION ALL
    {probed("conversion", _KEY, "people", "f.lead = k.person")} {_NEAR}
)"""

_SLICE = f"""
revisited AS MATERIALIZED (
    SELECT {_KEY} FROM conversion
    WHERE site_id = :site_id AND occurred_at > :slice_from AND occurred_at <= :slice_to
)"""

# Found by their keys first: to compare whole rows costs more, when planned and when done.
_OLD = f"""
orders AS MATERIALIZED (
    SELECT "order" FROM new WHERE "order" IS NOT NULL
    UNION
    SELECT "order" FROM revisited WHERE "order" IS NOT NULL
),
customers AS MATERIALIZED (
    SELECT DISTINCT customer FROM new WHERE customer IS NOT NULL AND NOT refund
),
keys AS MATERIALIZED (
    SELECT batch_id, seq FROM revisited
    UNION
    {probed("conversion", "batch_id, seq", "orders", 'f."order" = k."order"')}
    UNION
    SELECT c.* FROM customers AS s CROSS JOIN LATERAL (
        SELECT c.batch_id, c.seq FROM conversion AS c
        WHERE c.site_id = :site_id AND c.customer = s.customer AND NOT c.refund
        ORDER BY c.occurred_at, c.batch_id, c.seq LIMIT 1
    ) AS c
),
old AS MATERIALIZED (
    {probed("conversion", _COLUMNS, "keys", "f.batch_id = k.batch_id AND f.seq = k.seq")}
)"""

_PLACE = ("dim_id", "detail_id", "touch_dims", "touch_details", "touch_weights")
_CREDIT = ("credit", "credit_detail", "touch_dims", "touch_details", "touch_weights")
_OWN = ("own_dim", "own_detail", "NULL", "NULL", "NULL")


def _credit_of_order() -> str:
    return ", ".join(f"first_value({name}) OVER of_order AS order_{name}" for name in _CREDIT)


def _credited_place() -> str:
    """A refund has the credit of its order, or its own place when no order is known."""
    return ", ".join(
        f"CASE WHEN NOT refund THEN {credit} WHEN is_orphan THEN {own} ELSE order_{credit} END"
        f" AS {name}"
        for name, credit, own in zip(_PLACE, _CREDIT, _OWN, strict=True)
    )


# `is_new` can only change for customers with a new conversion; of those all candidates for the
# first place are among the rows.
_FRESH = f"""
affected AS (
    SELECT true AS is_fresh, {_GIVEN}, false AS was_new FROM new
    UNION ALL
    SELECT false, {_GIVEN}, is_new FROM old
),
sales AS (
    SELECT * FROM affected WHERE NOT refund
),
credits AS ({credited("sales", "occurred_at", ("customer", "lead"))}
    UNION ALL
    SELECT *, NULL, NULL, NULL, NULL, NULL FROM affected WHERE refund
),
judged AS (
    SELECT *,
           row_number() OVER (PARTITION BY customer, refund
                              ORDER BY occurred_at, batch_id, seq) = 1 AS is_first,
           bool_or(is_fresh) OVER (PARTITION BY customer, refund) AS is_open,
           "order" IS NULL OR first_value(refund) OVER of_order AS is_orphan,
           first_value(occurred_at) OVER of_order AS ordered_at,
           {_credit_of_order()}
    FROM credits
    WINDOW of_order AS (PARTITION BY "order" ORDER BY refund, occurred_at, batch_id, seq)
),
fresh AS MATERIALIZED (
    SELECT {_GIVEN},
           CASE WHEN refund THEN false
                WHEN customer IS NULL THEN said_new IS NOT FALSE
                WHEN is_open THEN is_first AND said_new IS NOT FALSE
                ELSE was_new END AS is_new,
           CASE WHEN refund AND NOT is_orphan THEN ordered_at END AS order_at,
           {_credited_place()}
    FROM judged
),{stored(CONVERSION, _COLUMNS, "batch_id, seq", renewed=_DERIVED)}"""

CONVERSIONS = booked(f"{_NEW},{_REVISITED},{_OLD},{_FRESH}", difference(CONVERSION))

CONVERSIONS_AGAIN = booked(f"{_NEW},{_SLICE},{_OLD},{_FRESH}", difference(CONVERSION))
"""The same for the stored rows from `slice_from` to `slice_to`."""
