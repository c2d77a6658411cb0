"""Leads: when each was won, by which visits, and when it first became a customer.

The earliest lead event by (time, batch, place) wins the lead and gives its dimensions; its
visitor is that of the earliest lead event that has one, because a form sent without a visitor is
often followed by one with. A conversion may name a lead before its event arrives: the row is
then there without `won_at`, and adds nothing until it is won.
"""

from __future__ import annotations

from service.domain.kinds import Kind
from service.project.attribution import PEOPLE, TOUCHED, credited
from service.project.rollups import (
    NEW_EVENTS,
    SOMEBODY,
    booked,
    difference,
    probed,
    stored,
)
from service.store.contributions import LEAD

_GIVEN = (
    "lead, won_at, won_batch, won_seq, visitor, visitor_at, visitor_batch, visitor_seq,"
    " own_dim, own_detail, converted_at"
)
_COLUMNS = f"{_GIVEN}, dim_id, detail_id, touch_dims, touch_details, touch_weights"


def _of_first(column: str, prefix: str) -> str:
    """`column` of the earliest piece by the three columns `prefix`_at, _batch and _seq."""
    order = f"{prefix}_at, {prefix}_batch, {prefix}_seq"
    return f"(array_agg({column} ORDER BY {order}))[1] AS {column}"


_NAMED = f"""
named AS MATERIALIZED (
    SELECT (e.data->>'lead')::uuid AS lead, e.kind = {int(Kind.LEAD)} AS won,
           e.occurred_at, e.batch_id, e.seq, e.visitor, e.visitor <> 0 AS has_visitor,
           e.dim_id, e.detail_id
    FROM {NEW_EVENTS} AND e.kind IN ({int(Kind.LEAD)}, {int(Kind.CONVERSION)})
      AND e.data->>'lead' IS NOT NULL
)"""

_OLD = f"""{TOUCHED},{PEOPLE},
old AS MATERIALIZED (
    {probed("lead", _COLUMNS, "(SELECT DISTINCT lead FROM named)", "lead")}
    UNION
    {probed("lead", _COLUMNS, "touched", "visitor", where=SOMEBODY)}
    WHERE p.won_at >= k.first_at AND p.won_at <= k.last_at
    UNION
    {probed("lead", _COLUMNS, "people", "lead", first="k.person")}
    WHERE p.won_at >= k.first_at AND p.won_at <= k.last_at
)"""

_SLICE = f"""
old AS MATERIALIZED (
    SELECT {_COLUMNS} FROM lead
    WHERE site_id = :site_id AND won_at > :slice_from AND won_at <= :slice_to
)"""

# NULL sorts last, so a piece that says nothing about a column never wins it.
_FRESH = f"""
pieces AS (
    SELECT {_GIVEN} FROM old
    UNION ALL
    SELECT lead, occurred_at, batch_id, seq, visitor,
           CASE WHEN has_visitor THEN occurred_at END, CASE WHEN has_visitor THEN batch_id END,
           CASE WHEN has_visitor THEN seq END, dim_id, detail_id, NULL
    FROM named WHERE won
    UNION ALL
    SELECT lead, NULL, NULL, NULL, 0, NULL, NULL, NULL, 0, 0, occurred_at FROM named WHERE NOT won
),
merged AS (
    SELECT lead, min(won_at) AS won_at, {_of_first("won_batch", "won")},
           {_of_first("won_seq", "won")}, {_of_first("visitor", "visitor")},
           min(visitor_at) AS visitor_at, {_of_first("visitor_batch", "visitor")},
           {_of_first("visitor_seq", "visitor")}, {_of_first("own_dim", "won")},
           {_of_first("own_detail", "won")}, min(converted_at) AS converted_at
    FROM pieces GROUP BY lead
),
fresh AS MATERIALIZED (
    SELECT {_GIVEN}, credit AS dim_id, credit_detail AS detail_id,
           touch_dims, touch_details, touch_weights
    FROM ({credited("merged", "won_at", ("lead",))}
    ) AS credits
),{stored(LEAD, _COLUMNS, "lead")}"""

LEADS = booked(f"{_NAMED},{_OLD},{_FRESH}", difference(LEAD))

LEADS_AGAIN = booked(f"{_NAMED},{_SLICE},{_FRESH}", difference(LEAD))
"""The same for the stored rows won from `slice_from` to `slice_to`."""
