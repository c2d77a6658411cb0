"""Distinct customers, by the orders of theirs that are counted.

With a model, a customer counts wherever it credits a part of one of their orders.
"""

from __future__ import annotations

from datetime import timedelta
from functools import lru_cache

from sqlalchemy import TextClause, text

from service.domain.dimensions import DETAILS, DIMENSIONS, PRODUCT
from service.domain.models import Model
from service.kpi.cells import Slice
from service.kpi.compile import bucket_of
from service.kpi.formula import Distinct, Where
from service.kpi.labels import forms, joins
from service.kpi.visitors import Cut, Query

TOGETHER = (
    (
        Distinct.CUSTOMERS,
        Distinct.FIRST_TIME_CUSTOMERS,
        Distinct.REPEAT_CUSTOMERS,
        Distinct.RETURNING_CUSTOMERS,
        Distinct.ORDERS_OF_CUSTOMERS,
    ),
    (Distinct.RETAINED_CUSTOMERS,),
)
"""Counts that one statement answers together."""

LONGEST_OF_FACTS = timedelta(days=31)
"""A span up to which orders are read without looking at how many there are."""

_TOUCHED = frozenset({*DIMENSIONS, *DETAILS})

_ORDERED_BEFORE = """EXISTS (
    SELECT FROM conversion AS b
    WHERE b.site_id = :site_id AND b.customer = p.customer AND NOT b.refund
      AND b.occurred_at < (CAST(:starts AS timestamptz[]))[p.bucket])"""

# Whose first order ever is in the row has none before it: nothing has to be looked up.
_COUNTED = {
    Distinct.CUSTOMERS: "count(*)",
    Distinct.FIRST_TIME_CUSTOMERS: "count(*) FILTER (WHERE p.is_first)",
    Distinct.REPEAT_CUSTOMERS: "count(*) FILTER (WHERE p.orders >= 2)",
    Distinct.RETURNING_CUSTOMERS: "count(*) FILTER (WHERE CASE WHEN p.orders >= 2 THEN true"
    f" WHEN p.is_first THEN false ELSE {_ORDERED_BEFORE} END)",
    Distinct.ORDERS_OF_CUSTOMERS: "sum(p.orders)::bigint",
}

# Of the touches of an order, which the model gives a part of it.
_CREDITED = {
    Model.LAST: "t.place = cardinality(c.touch_dims)",
    Model.FIRST: "t.place = 1",
    Model.LINEAR: "true",
    Model.POSITION_BASED: "true",
    Model.TIME_DECAY: "true",
}


def query(piece: Slice, where: Where, distinct: tuple[Distinct, ...]) -> Query:
    """The statement that counts some of `TOGETHER`; rows are `bucket, labels …, count, …`."""
    cut = Cut(piece.by, forms(piece.filters), where)
    model = piece.model if cut.names & _TOUCHED else Model.LAST_NON_DIRECT
    retained = distinct == (Distinct.RETAINED_CUSTOMERS,)
    within = retained and piece.horizon is not None
    statement = _statement(cut, piece.is_series, model, distinct, within)
    heavy = retained or piece.bounds[-1] - piece.bounds[0] > LONGEST_OF_FACTS
    return Query(statement, {}, heavy)


@lru_cache(maxsize=256)
def _statement(
    cut: Cut, series: bool, model: Model, distinct: tuple[Distinct, ...], within: bool
) -> TextClause:
    if distinct == (Distinct.RETAINED_CUSTOMERS,):
        return text(retained_sql(cut, series, model, within=within))
    return text(sql(cut, series, model, distinct))


def sql(cut: Cut, series: bool, model: Model, distinct: tuple[Distinct, ...]) -> str:
    """Customers with an order in the bucket, by what they ordered there and before."""
    counts = ", ".join(f"{_COUNTED[one]} AS {one.value}" for one in distinct)
    groups = ", ".join(str(place) for place in range(1, 3 + len(cut.by)))
    rows = _orders(cut, series, model)
    return (
        f"SELECT p.bucket, {cut.columns}{counts}\nFROM (\n"
        f"SELECT q.bucket, {cut.columns.replace('p.', 'q.')}q.customer,"
        " bool_or(q.is_new) AS is_first, sum(q.quantity) AS orders\n"
        f"FROM (\n{rows}\n) AS q\nGROUP BY {groups}\n) AS p\n"
        f"GROUP BY {_places(cut)}"
    )


def retained_sql(cut: Cut, series: bool, model: Model, *, within: bool) -> str:
    """Customers whose first order ever is in the bucket, and who ordered again.

    What comes after a first order is none, so one look-up, or one join, tells. `within` a horizon:
    `:horizon` days of 24 hours.
    """
    horizon = "\n      AND n.occurred_at < p.occurred_at + :horizon * interval '24 hours'"
    return (
        f"SELECT p.bucket, {cut.columns}count(*) AS retained_customers\nFROM (\n"
        f"SELECT DISTINCT q.bucket, {cut.columns.replace('p.', 'q.')}q.customer, q.occurred_at\n"
        f"FROM (\n{_orders(cut, series, model)}\n  AND s.is_new\n) AS q\n) AS p\nWHERE EXISTS (\n"
        "    SELECT FROM conversion AS n\n"
        "    WHERE n.site_id = :site_id AND n.customer = p.customer AND NOT n.refund\n"
        "      AND NOT n.is_new AND n.occurred_at >= :from AND n.occurred_at >= p.occurred_at"
        f"{horizon if within else ''})\nGROUP BY {_places(cut)}"
    )


def _places(cut: Cut) -> str:
    return ", ".join(str(place) for place in range(1, 2 + len(cut.by)))


def _orders(cut: Cut, series: bool, model: Model) -> str:
    """Orders of customers with an id, once in every row that they count in."""
    joined = joins("s", cut.names, "own_detail")
    # An order has many touches and lines, of which several may be of the same row.
    once = model is not Model.LAST_NON_DIRECT or PRODUCT in cut.names
    key = ", s.batch_id, s.seq" if once else ""
    return (
        f"SELECT {'DISTINCT ' if once else ''}{bucket_of('s.occurred_at', series)} AS bucket,"
        f" {cut.labels}s.customer, s.is_new, s.quantity, s.occurred_at{key}\n"
        f"FROM {_source(cut, model)} AS s\n{joined}{chr(10) if joined else ''}"
        "WHERE s.site_id = :site_id AND s.occurred_at >= :from AND s.occurred_at < :to\n"
        f"  AND NOT s.refund AND s.customer IS NOT NULL AND {cut.condition}"
    )


def _source(cut: Cut, model: Model) -> str:
    """The table, or its rows once for each touch or each product."""
    columns = (
        "c.site_id, c.batch_id, c.seq, c.occurred_at, c.refund, c.customer, c.is_new, c.quantity,"
        " c.own_detail"
    )
    if PRODUCT in cut.names:
        return (
            f"(\n    SELECT {columns}, c.dim_id, c.detail_id, coalesce(l.line->>0, '') AS product\n"
            "    FROM conversion AS c LEFT JOIN LATERAL jsonb_array_elements(c.lines) AS l (line)"
            " ON true\n)"
        )
    if model is Model.LAST_NON_DIRECT:
        return "conversion"
    return (
        f"(\n    SELECT {columns}, t.dim_id, t.detail_id\n"
        "    FROM conversion AS c CROSS JOIN LATERAL (\n"
        "        SELECT c.dim_id, c.detail_id WHERE c.touch_dims IS NULL\n"
        "        UNION ALL\n"
        "        SELECT t.dim_id, t.detail_id\n"
        "        FROM unnest(c.touch_dims, c.touch_details) WITH ORDINALITY"
        f" AS t (dim_id, detail_id, place)\n        WHERE {_CREDITED[model]}\n    ) AS t\n)"
    )
