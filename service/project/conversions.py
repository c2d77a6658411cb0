"""Conversions and refunds: who is a new customer, and which dimensions get the credit.

A statement looks at the new rows and at the stored ones that they, or the visits that have just
changed, can alter: a customer's earliest conversion (it may no longer be the first), the rows of
the same orders (a refund follows its order's credit) and those of visitors with new page views.
"""

from __future__ import annotations

from service.domain.kinds import Kind
from service.project.attribution import TOUCHED, credited
from service.project.rollups import NEW_EVENTS, booked, difference, probed, stored
from service.store.contributions import CONVERSION

_COLUMNS = (
    'batch_id, seq, occurred_at, refund, "order", customer, visitor, currency, value,'
    " cost_of_goods, quantity, said_new, is_new, own_dim, dim_id"
)

_NEW = f"""
new AS MATERIALIZED (
    SELECT e.batch_id, e.seq, e.occurred_at, e.kind = {int(Kind.REFUND)} AS refund,
           (e.data->>'order')::uuid AS "order", (e.data->>'customer')::uuid AS customer,
           e.visitor, coalesce(e.data->>'currency', '') AS currency,
           coalesce((e.data->>'value')::bigint, 0) AS value,
           CASE WHEN e.kind = {int(Kind.CONVERSION)} THEN (e.data->>'cost')::bigint END
               AS cost_of_goods,
           coalesce((e.data->>'quantity')::bigint, 1) AS quantity,
           (e.data->>'new')::boolean AS said_new,
           false AS is_new, e.dim_id AS own_dim, e.dim_id
    FROM {NEW_EVENTS} AND e.kind IN ({int(Kind.CONVERSION)}, {int(Kind.REFUND)})
)"""

_OLD = f"""
revisited AS MATERIALIZED (
    {probed("conversion", _COLUMNS, "touched", "f.visitor = k.visitor AND f.visitor <> 0")}
    WHERE p.occurred_at >= k.first_at AND p.occurred_at <= k.last_at
),
orders AS MATERIALIZED (
    SELECT "order" FROM new WHERE "order" IS NOT NULL
    UNION
    SELECT "order" FROM revisited WHERE "order" IS NOT NULL
),
customers AS MATERIALIZED (
    SELECT DISTINCT customer FROM new WHERE customer IS NOT NULL AND NOT refund
),
old AS MATERIALIZED (
    SELECT * FROM revisited
    UNION
    {probed("conversion", _COLUMNS, "orders", 'f."order" = k."order"')}
    UNION
    SELECT c.* FROM customers AS s CROSS JOIN LATERAL (
        SELECT {_COLUMNS} FROM conversion AS c
        WHERE c.site_id = :site_id AND c.customer = s.customer AND NOT c.refund
        ORDER BY c.occurred_at, c.batch_id, c.seq LIMIT 1
    ) AS c
)"""

# `is_new` can only change for customers with a new conversion; of those all candidates for the
# first place are among the rows.
_FRESH = f"""
affected AS (
    SELECT true AS is_fresh, {_COLUMNS} FROM new
    UNION ALL
    SELECT false, {_COLUMNS} FROM old
),
credits AS ({credited("affected", "occurred_at")}
),
judged AS (
    SELECT *,
           row_number() OVER (PARTITION BY customer, refund
                              ORDER BY occurred_at, batch_id, seq) = 1 AS is_first,
           bool_or(is_fresh) OVER (PARTITION BY customer, refund) AS is_open,
           first_value(refund) OVER of_order AS is_orphan,
           first_value(credit) OVER of_order AS order_credit
    FROM credits
    WINDOW of_order AS (PARTITION BY "order" ORDER BY refund, occurred_at, batch_id, seq)
),
fresh AS MATERIALIZED (
    SELECT batch_id, seq, occurred_at, refund, "order", customer, visitor, currency, value,
           cost_of_goods, quantity, said_new,
           CASE WHEN refund THEN false
                WHEN customer IS NULL THEN said_new IS NOT FALSE
                WHEN is_open THEN is_first AND said_new IS NOT FALSE
                ELSE is_new END AS is_new,
           own_dim,
           CASE WHEN NOT refund THEN credit
                WHEN "order" IS NULL OR is_orphan THEN own_dim
                ELSE order_credit END AS dim_id
    FROM judged
),{stored(CONVERSION, _COLUMNS, "batch_id, seq", renewed="is_new, dim_id")}"""

CONVERSIONS = booked(f"{_NEW},{TOUCHED},{_OLD},{_FRESH}", difference(CONVERSION))
