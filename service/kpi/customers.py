"""Distinct customers, by the orders of theirs that are counted.

Orders of a customer are a chain: each knows the one before it. Where no dimension is asked for,
that one order tells whether another of the same customer was counted already, so nothing is grouped
by customer. With dimensions customers are sorted out of their orders.

With a model, a customer counts wherever it credits a part of one of their orders.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from sqlalchemy import TextClause, text

from service.domain.dimensions import DETAILS, DIMENSIONS
from service.domain.models import Model
from service.kpi.cells import Slice
from service.kpi.formula import Distinct, Where
from service.kpi.labels import aliases, forms, joins
from service.kpi.run import FEW_FACTS
from service.kpi.visitors import BUCKETS, Cut, Query

RETAINED = (Distinct.RETAINED_CUSTOMERS,)
BY_ORDER = (Distinct.FIRST_TIME_CUSTOMERS, Distinct.ORDERS_OF_CUSTOMERS)
"""Counts that add up: a first order is the only one."""
BY_CUSTOMER = (
    Distinct.CUSTOMERS,
    Distinct.FIRST_TIME_CUSTOMERS,
    Distinct.REPEAT_CUSTOMERS,
    Distinct.RETURNING_CUSTOMERS,
)
"""Counts that can be told when all orders of a customer are at hand."""


def _placed(row: str) -> str:
    # A sum of bigint is numeric, which takes several times as long; nearly all orders are one.
    more = f"sum({row}.quantity - 1) FILTER (WHERE {row}.quantity <> 1)"
    return f"count(*) + coalesce({more}, 0)::bigint"


_TOUCHED = frozenset({*DIMENSIONS, *DETAILS})

# Of the orders `s` of a span that begins at {start}. `repeated_at` is the latest start with which
# two orders had been counted before this one, so one order of a customer is the second; whoever
# places two at once is counted with that one. A customer returns with their first order in the
# span if that makes nobody new (or is two), else with the one that follows it.
_FIRST_IN_SPAN = "(s.previous_at IS NULL OR s.previous_at < {start})"
_ALONG = {
    Distinct.CUSTOMERS: f"count(*) FILTER (WHERE {_FIRST_IN_SPAN})",
    Distinct.FIRST_TIME_CUSTOMERS: "count(*) FILTER (WHERE s.is_new)",
    Distinct.REPEAT_CUSTOMERS: (
        "count(*) FILTER (WHERE (s.quantity >= 2 OR s.previous_at >= {start})\n"
        "        AND (s.repeated_at IS NULL OR s.repeated_at < {start}))"
    ),
    Distinct.RETURNING_CUSTOMERS: (
        f"count(*) FILTER (WHERE {_FIRST_IN_SPAN} AND (NOT s.is_new OR s.quantity >= 2)\n"
        "        OR s.follows_new AND s.previous_at >= {start} AND s.repeated_at IS NULL)"
    ),
    Distinct.ORDERS_OF_CUSTOMERS: _placed("s"),
}

# Of customers `p`, and what has to be known of all their orders `o` for it. An order that names
# its customer is one at least. Who returns has an order that is not the first, or two in one.
_COUNTED = {
    Distinct.CUSTOMERS: ("count(*)", ""),
    Distinct.FIRST_TIME_CUSTOMERS: (
        "count(*) FILTER (WHERE p.is_first)",
        "bool_or(o.is_new) AS is_first",
    ),
    Distinct.REPEAT_CUSTOMERS: (
        "count(*) FILTER (WHERE p.orders >= 2)",
        # A sum of bigint is numeric, which takes twice the time.
        "sum(greatest(least(o.quantity, 2), 1)::integer) AS orders",
    ),
    Distinct.RETURNING_CUSTOMERS: (
        "count(*) FILTER (WHERE p.returns)",
        "bool_or(NOT o.is_new OR o.quantity >= 2) AS returns",
    ),
    Distinct.ORDERS_OF_CUSTOMERS: (
        "sum(p.named::integer) + coalesce(sum(p.more) FILTER (WHERE p.more <> 0), 0)::bigint",
        "count(*) AS named, sum(o.quantity - 1) FILTER (WHERE o.quantity <> 1) AS more",
    ),
}
_SUMMED = {
    Distinct.FIRST_TIME_CUSTOMERS: "count(*) FILTER (WHERE p.is_new)",
    Distinct.ORDERS_OF_CUSTOMERS: _placed("p"),
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

    @property
    def start(self) -> str:
        """The SQL of where the bucket begins."""
        return "b.start_at" if self.series else ":from"

    @property
    def end(self) -> str:
        """The SQL of where it ends."""
        return "b.end_at" if self.series else ":to"


def together(piece: Slice, where: Where, wanted: set[Distinct]) -> list[tuple[Distinct, ...]]:
    """The counts of customers among those wanted, by the statement that answers them."""
    parts: tuple[tuple[Distinct, ...], ...]
    if not piece.names_with([where]) or wanted & {*BY_CUSTOMER} - {*BY_ORDER}:
        parts = ((*BY_CUSTOMER, Distinct.ORDERS_OF_CUSTOMERS), RETAINED)
    else:
        parts = (BY_ORDER, RETAINED)
    found = (tuple(one for one in some if one in wanted) for some in parts)
    return [some for some in found if some]


def query(piece: Slice, where: Where, distinct: tuple[Distinct, ...]) -> Query:
    """The statement that counts what goes `together`; rows are `bucket, labels …, count, …`."""
    cut = Cut(piece.by, forms(piece.filters), where)
    form = Form(
        cut,
        piece.is_series,
        piece.model if cut.names & _TOUCHED else Model.LAST_NON_DIRECT,
        distinct == RETAINED and piece.horizon is not None,
    )
    heavy = piece.bounds[-1] - piece.bounds[0] > FEW_FACTS
    return Query(_statement(form, distinct), {}, heavy)


@lru_cache(maxsize=256)
def _statement(form: Form, distinct: tuple[Distinct, ...]) -> TextClause:
    return text(sql(form, distinct))


def sql(form: Form, distinct: tuple[Distinct, ...]) -> str:
    """Each bucket is a span of an index; a customer counts in it by what they ordered there."""
    if not form.cut.names:
        rows = _retained_along(form) if distinct == RETAINED else _along(form, distinct)
    elif distinct == RETAINED:
        rows = _retained(form)
    else:
        rows = _summed(form, distinct) if {*distinct} <= {*BY_ORDER} else _sorted(form, distinct)
    if not form.series:
        return f"SELECT 1 AS bucket, q.*\nFROM (\n{rows}\n) AS q"
    return f"SELECT b.bucket, q.*\nFROM {BUCKETS}\nCROSS JOIN LATERAL (\n{rows}\n) AS q"


# --- Of all dimensions together ------------------------------------------------------------------


def _along(form: Form, distinct: tuple[Distinct, ...]) -> str:
    counts = (f"{_ALONG[one].format(start=form.start)} AS {one.value}" for one in distinct)
    return f"SELECT {', '.join(counts)}\nFROM conversion AS s\nWHERE {_of_customers(form)}"


def _retained_along(form: Form) -> str:
    return f"SELECT count(*) AS retained_customers\nFROM conversion AS n\nWHERE {_second(form)}"


# --- By dimensions -------------------------------------------------------------------------------


def _summed(form: Form, distinct: tuple[Distinct, ...]) -> str:
    """What adds up: by ids before labels are joined, unless an order comes several times."""
    names = [one.value for one in distinct]
    counts = ", ".join(f"{_SUMMED[one]} AS {one.value}" for one in distinct)
    if form.repeats:
        rows = f"SELECT {form.cut.columns}{counts}\nFROM (\n{_orders(form)}\n) AS p"
        return f"{rows}{_grouped(form.cut.by)}"
    ids = tuple(_ID[alias] for alias in aliases(form.cut.names))
    sums = ", ".join(f"sum(s.{name})::bigint AS {name}" for name in names)
    return (
        f"SELECT {form.cut.labels}{sums}\nFROM (\n"
        f"SELECT {', '.join(f'p.{name}' for name in ids)}, {counts}\nFROM conversion AS p\n"
        f"WHERE {_of_customers(form, 'p')}{_grouped(ids)}\n) AS s\n"
        f"{joins('s', form.cut.names, 'own_detail')}\n"
        f"WHERE {form.cut.condition}{_grouped(form.cut.by)}"
    )


_ID = {"d": "dim_id", "x": "detail_id", "o": "own_detail"}
"""The column of an order that a join of labels finds its row by."""


def _sorted(form: Form, distinct: tuple[Distinct, ...]) -> str:
    """Everybody once in each row of labels.

    Grouped by customers first: a planner that can please the labels sorts, which takes longer.
    """
    counts = ", ".join(f"{_COUNTED[one][0]} AS {one.value}" for one in distinct)
    labels = [f"o.label_{n}" for n in range(len(form.cut.by))]
    known = [known for one in distinct if (known := _COUNTED[one][1])]
    people = f"SELECT {', '.join(('o.customer', *labels, *known))}"
    return (
        f"SELECT {form.cut.columns}{counts}\nFROM (\n{people}"
        f"\nFROM (\n{_orders(form)}\n) AS o{_grouped(('customer', *form.cut.by))}\n) AS p"
        f"{_grouped(form.cut.by)}"
    )


def _retained(form: Form) -> str:
    """New customers by what their first order is credited to: nobody has another first one."""
    return (
        f"SELECT {form.cut.columns}count(*) AS retained_customers\n"
        f"FROM (\n{_orders(form)}\n  AND s.is_new\n) AS p\n"
        f"WHERE EXISTS (\n    SELECT FROM conversion AS n WHERE {_second(form)}\n"
        f"      AND n.customer = p.customer){_grouped(form.cut.by)}"
    )


def _grouped(places: tuple[str, ...]) -> str:
    """GROUP BY as many first columns, if any."""
    numbers = ", ".join(str(place) for place, _ in enumerate(places, start=1))
    return f"\nGROUP BY {numbers}" if numbers else ""


# --- Orders --------------------------------------------------------------------------------------


def _of_customers(form: Form, row: str = "s") -> str:
    return (
        f"{row}.site_id = :site_id AND {row}.occurred_at >= {form.start}"
        f" AND {row}.occurred_at < {form.end}\n"
        f"  AND NOT {row}.refund AND {row}.customer IS NOT NULL"
    )


def _second(form: Form) -> str:
    """Holds for orders right after one in the span that was its customer's first."""
    horizon = " AND n.occurred_at < n.previous_at + :horizon * interval '24 hours'"
    return (
        f"n.site_id = :site_id AND n.follows_new\n"
        f"  AND n.previous_at >= {form.start} AND n.previous_at < {form.end}"
        f"{horizon if form.within else ''}"
    )


def _orders(form: Form) -> str:
    """Orders of customers with an id, once in every row that they count in."""
    joined = joins("s", form.cut.names, "own_detail")
    columns = f"{form.cut.labels}s.customer, s.is_new, s.quantity"
    return (
        f"SELECT {f'DISTINCT {columns}, s.batch_id, s.seq' if form.repeats else columns}\n"
        f"FROM {_source(form.model)} AS s\n{joined}\n"
        f"WHERE {_of_customers(form)} AND {form.cut.condition}"
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
