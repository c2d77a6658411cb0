"""Distinct customers, by the orders of theirs that are counted.

With a model, a customer counts wherever it credits a part of one of their orders.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from sqlalchemy import TextClause, text

from service.domain.dimensions import DETAILS, DIMENSIONS
from service.domain.models import Model
from service.kpi.cells import Slice
from service.kpi.compile import bucket_of
from service.kpi.formula import Distinct, Where
from service.kpi.labels import forms, joins
from service.kpi.run import FEW_FACTS
from service.kpi.visitors import BUCKETS, Cut, Query

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

_TOUCHED = frozenset({*DIMENSIONS, *DETAILS})

# Who has no first order in the row ordered before it: nothing has to be looked up.
_COUNTED = {
    Distinct.CUSTOMERS: "count(*)",
    Distinct.FIRST_TIME_CUSTOMERS: "count(*) FILTER (WHERE p.is_first)",
    Distinct.REPEAT_CUSTOMERS: "count(*) FILTER (WHERE p.orders >= 2)",
    Distinct.RETURNING_CUSTOMERS: "count(*) FILTER (WHERE p.orders >= 2 OR NOT p.is_first)",
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


class Form(NamedTuple):
    """What of a question about customers is part of a statement's text.

    `within`: there is a horizon, of `:horizon` days of 24 hours.
    """

    cut: Cut
    series: bool = False
    model: Model = Model.LAST_NON_DIRECT
    within: bool = False

    @property
    def repeats(self) -> bool:
        """Whether an order may come several times: one of its touches a row."""
        return self.model is not Model.LAST_NON_DIRECT


def query(piece: Slice, where: Where, distinct: tuple[Distinct, ...]) -> Query:
    """The statement that counts some of `TOGETHER`; rows are `bucket, labels …, count, …`."""
    cut = Cut(piece.by, forms(piece.filters), where)
    span = piece.bounds[-1] - piece.bounds[0]
    retained = distinct == (Distinct.RETAINED_CUSTOMERS,)
    form = Form(
        cut,
        piece.is_series,
        piece.model if cut.names & _TOUCHED else Model.LAST_NON_DIRECT,
        retained and piece.horizon is not None,
    )
    heavy = retained or span > FEW_FACTS
    return Query(_statement(form, distinct), {}, heavy)


@lru_cache(maxsize=256)
def _statement(form: Form, distinct: tuple[Distinct, ...]) -> TextClause:
    if distinct == (Distinct.RETAINED_CUSTOMERS,):
        return text(retained_sql(form))
    return text(sql(form, distinct))


def sql(form: Form, distinct: tuple[Distinct, ...]) -> str:
    """Customers with an order in the bucket, by what they ordered there."""
    counts = ", ".join(f"{_COUNTED[one]} AS {one.value}" for one in distinct)
    # A sum of bigint is numeric, which takes twice the time; whether there were two says it all.
    exact = Distinct.ORDERS_OF_CUSTOMERS in distinct
    orders = "sum(o.quantity)" if exact else "sum(least(o.quantity, 2)::integer)"
    return (
        f"SELECT p.bucket, {form.cut.columns}{counts}\nFROM (\n"
        f"{_by_customer(form, orders)}\n) AS p\nGROUP BY {_places(form.cut, 1)}"
    )


def _by_customer(form: Form, orders: str) -> str:
    """Customers of each bucket; each bucket is a span of an index."""
    labels = form.cut.columns.replace("p.", "o.")
    rows = (
        f"SELECT {labels}o.customer, bool_or(o.is_new) AS is_first, {orders} AS orders\n"
        f"FROM (\n{_orders(form)}\n) AS o\nGROUP BY {_places(form.cut, 1)}"
    )
    bucket, source = "b.bucket", f"{BUCKETS}\nCROSS JOIN LATERAL "
    if not form.series:
        bucket, source = "1 AS bucket", ""
    return f"SELECT {bucket}, q.*\nFROM {source}(\n{rows}\n) AS q"


def retained_sql(form: Form) -> str:
    """Customers whose first order ever is in the bucket, and who ordered again.

    What comes after a first order is no first one, so one look-up, or one join, tells.
    """
    bucket = bucket_of("o.occurred_at", form.series)
    labels = form.cut.columns.replace("p.", "o.")
    horizon = "\n      AND n.occurred_at < p.occurred_at + :horizon * interval '24 hours'"
    rows = _orders(form._replace(series=False))
    return (
        f"SELECT p.bucket, {form.cut.columns}count(*) AS retained_customers\nFROM (\n"
        f"SELECT DISTINCT {bucket} AS bucket, {labels}o.customer, o.occurred_at\n"
        f"FROM (\n{rows}\n  AND s.is_new\n) AS o\n) AS p\nWHERE EXISTS (\n"
        "    SELECT FROM conversion AS n\n"
        "    WHERE n.site_id = :site_id AND n.customer = p.customer AND NOT n.refund\n"
        "      AND NOT n.is_new AND n.occurred_at >= :from AND n.occurred_at >= p.occurred_at"
        f"{horizon if form.within else ''})\nGROUP BY {_places(form.cut, 1)}"
    )


def _places(cut: Cut, others: int) -> str:
    return ", ".join(str(place) for place in range(1, 1 + others + len(cut.by)))


def _orders(form: Form) -> str:
    """Orders of customers with an id, once in every row that they count in."""
    start, end = ("b.start_at", "b.end_at") if form.series else (":from", ":to")
    joined = joins("s", form.cut.names, "own_detail")
    columns = f"{form.cut.labels}s.customer, s.is_new, s.quantity, s.occurred_at"
    return (
        f"SELECT {f'DISTINCT {columns}, s.batch_id, s.seq' if form.repeats else columns}\n"
        f"FROM {_source(form.model)} AS s\n{joined}{chr(10) if joined else ''}"
        f"WHERE s.site_id = :site_id AND s.occurred_at >= {start} AND s.occurred_at < {end}\n"
        f"  AND NOT s.refund AND s.customer IS NOT NULL AND {form.cut.condition}"
    )


def _source(model: Model) -> str:
    """The table, or its rows once for each touch."""
    columns = (
        "c.site_id, c.batch_id, c.seq, c.occurred_at, c.refund, c.customer, c.is_new, c.quantity,"
        " c.own_detail"
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
