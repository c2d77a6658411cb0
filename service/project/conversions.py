"""Conversions and refunds: who is a new customer, and which touches get the credit.

A statement looks at the new rows and at the stored ones that they, or the visits that have just
changed, can alter: the neighbours of new orders among those of their customer, the rows of the same
orders (a refund follows its order's credit) and those of visitors with new page views, and of the
people they are known to be.

The orders of a customer, by (time, batch, place), are a chain. Each knows of the one before it when
it was placed, when that was the second one (see `store/columns.py`) and whether it was the first.
So an order can change at most two that follow it, and needs the one before: however many a customer
has, three are looked up for each new one.
"""

from __future__ import annotations

from service.domain.kinds import Kind
from service.project.attribution import PEOPLE, TOUCHED, credited
from service.project.rollups import (
    NEW_EVENTS,
    ONE,
    SOMEBODY,
    booked,
    difference,
    found,
    probed,
    stored,
)
from service.store.columns import CHAIN
from service.store.contributions import CONVERSION

_GIVEN = (
    'batch_id, seq, occurred_at, refund, "order", customer, lead, visitor, currency, value,'
    " cost_of_goods, quantity, said_new, units, lines, own_dim, own_detail"
)
_CREDITED = "dim_id, detail_id, touch_dims, touch_details, touch_weights"
_CHAINED = f"is_new, {', '.join(CHAIN)}"
_DERIVED = f"{_CHAINED}, order_at, {_CREDITED}"
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


_OF_PEOPLE = probed(
    "conversion",
    _KEY,
    "people",
    "customer, occurred_at",
    first="k.person, k.first_at",
    last="k.person, k.last_at",
)
_NEAR = "WHERE p.occurred_at >= k.first_at AND p.occurred_at <= k.last_at"
_REVISITED = f"""{TOUCHED},{PEOPLE},
revisited AS MATERIALIZED (
    {probed("conversion", _KEY, "touched", "visitor", where=SOMEBODY)} {_NEAR}
    UNION ALL
    {_OF_PEOPLE}
    UNION ALL
    {probed("conversion", _KEY, "people", "lead", first="k.person")} {_NEAR}
)"""

_SLICE = f"""
revisited AS MATERIALIZED (
    SELECT {_KEY} FROM conversion
    WHERE site_id = :site_id AND occurred_at > :slice_from AND occurred_at <= :slice_to
)"""


# It reads a row or two and those of the same instant, of which the place decides. What is compared
# begins with the customer: together with the bound the other way it is theirs alone.
def _nearest(compared: str, bound: str, direction: str, rows: int) -> str:
    place = ", ".join(f"{name} {direction}" for name in ("occurred_at", "batch_id", "seq"))
    return f"""(SELECT batch_id, seq FROM (
            SELECT f.occurred_at, f.batch_id, f.seq FROM conversion AS f CROSS JOIN {ONE}
            WHERE f.site_id = :site_id AND (f.customer, f.occurred_at, f.batch_id, f.seq)
                  {compared} (k.customer, k.occurred_at, k.batch_id, k.seq)
              AND f.customer {bound} k.customer AND NOT f.refund
            ORDER BY f.customer {direction}, f.occurred_at {direction}
            FETCH FIRST {rows} ROWS WITH TIES
         ) AS f ORDER BY {place} LIMIT {rows})"""


_NEIGHBOURS = f"""
neighbours AS MATERIALIZED (
    SELECT p.batch_id, p.seq FROM new AS k CROSS JOIN LATERAL (
        {_nearest("<", ">=", "DESC", 1)}
        UNION ALL
        {_nearest(">", "<=", "ASC", 2)}
    ) AS p
    WHERE k.customer IS NOT NULL AND NOT k.refund
)"""

_OF_ORDER = f"""SELECT p.* FROM orders AS k CROSS JOIN LATERAL (
        {found("conversion", "f.batch_id, f.seq, true", '"order"', 'k."order"')}
    ) AS p"""
_BY_KEY = f"""SELECT p.* FROM keys AS k CROSS JOIN LATERAL (
        {found("conversion", f"{_COLUMNS}, k.again", "batch_id, seq", "k.batch_id, k.seq")}
        LIMIT 1
    ) AS p"""

# Found by their keys first: to compare whole rows costs more, when planned and when done. Credit
# is given again to those whose visits or order may say something new, neighbours keep theirs.
_OLD = f"""
orders AS MATERIALIZED (
    SELECT "order" FROM new WHERE "order" IS NOT NULL
    UNION
    SELECT "order" FROM revisited WHERE "order" IS NOT NULL
),{_NEIGHBOURS},
keys AS MATERIALIZED (
    SELECT batch_id, seq, bool_or(again) AS again
    FROM (SELECT batch_id, seq, true AS again FROM revisited
          UNION ALL
          {_OF_ORDER}
          UNION ALL
          SELECT batch_id, seq, false FROM neighbours) AS found
    GROUP BY batch_id, seq
),
old AS MATERIALIZED (
    {_BY_KEY}
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


# Before a customer's first new order nothing changes. From there on all that is asked of the rows
# around is at hand: the first row of those is a customer's first order only if it is new itself.
_CHAIN = f"""
affected AS (
    SELECT true AS is_fresh, true AS again, {_GIVEN}, false AS was_new,
           NULL::timestamptz AS was_previous, NULL::timestamptz AS was_repeated,
           false AS was_following, NULL::bigint AS was_dim, NULL::bigint AS was_detail,
           NULL::bigint[] AS was_touches, NULL::bigint[] AS was_touch_details,
           NULL::bigint[] AS was_weights
    FROM new
    UNION ALL
    SELECT false, again, {_GIVEN}, {_CHAINED}, {_CREDITED} FROM old
),
placed AS (
    SELECT *,
           CASE WHEN refund THEN false
                WHEN customer IS NULL THEN said_new IS NOT FALSE
                WHEN bool_or(is_fresh) OVER w
                THEN row_number() OVER w = 1 AND said_new IS NOT FALSE
                ELSE was_new END AS is_new,
           CASE WHEN customer IS NULL OR refund THEN NULL
                WHEN is_fresh OR lag(is_fresh) OVER w THEN lag(occurred_at) OVER w
                ELSE was_previous END AS previous_at,
           customer IS NOT NULL AND NOT refund
           AND (is_fresh OR coalesce(lag(is_fresh) OVER w, false)
                OR coalesce(lag(is_fresh, 2) OVER w, false)) AS moves
    FROM affected
    WINDOW w AS (PARTITION BY customer, refund ORDER BY occurred_at, batch_id, seq)
),
chained AS (
    SELECT *,
           CASE WHEN NOT moves THEN was_repeated
                WHEN lag(quantity) OVER w >= 2 THEN lag(occurred_at) OVER w
                ELSE lag(previous_at) OVER w END AS repeated_at,
           CASE WHEN moves THEN coalesce(lag(is_new) OVER w, false) ELSE was_following END
               AS follows_new
    FROM placed
    WINDOW w AS (PARTITION BY customer, refund ORDER BY occurred_at, batch_id, seq)
)"""

_FRESH = f"""{_CHAIN},
sales AS (
    SELECT * FROM chained WHERE again AND NOT refund
),
credits AS ({credited("sales", "occurred_at", ("customer", "lead"))}
    UNION ALL
    SELECT *, was_dim, was_detail, was_touches, was_touch_details, was_weights
    FROM chained WHERE refund OR NOT again
),
judged AS (
    SELECT *,
           "order" IS NULL OR first_value(refund) OVER of_order AS is_orphan,
           first_value(occurred_at) OVER of_order AS ordered_at,
           {_credit_of_order()}
    FROM credits
    WINDOW of_order AS (PARTITION BY "order" ORDER BY refund, occurred_at, batch_id, seq)
),
fresh AS MATERIALIZED (
    SELECT {_GIVEN}, {_CHAINED},
           CASE WHEN refund AND NOT is_orphan THEN ordered_at END AS order_at,
           {_credited_place()}
    FROM judged
),{stored(CONVERSION, _COLUMNS, "batch_id, seq", renewed=_DERIVED)}"""

CONVERSIONS = booked(f"{_NEW},{_REVISITED},{_OLD},{_FRESH}", difference(CONVERSION))

CONVERSIONS_AGAIN = booked(f"{_NEW},{_SLICE},{_OLD},{_FRESH}", difference(CONVERSION))
"""The same for the stored rows from `slice_from` to `slice_to`."""
