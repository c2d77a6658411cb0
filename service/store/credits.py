"""What attribution models move: the SQL of the rows that lead from last non-direct to each model.

A fact with several touches has them in the arrays `touch_dims`, `touch_details` and
`touch_weights`, the earliest first; without arrays all models agree. Every touch but the last gets
its share rounded down, the last one the remainder: shares of whole millionths add up exactly.
"""

from __future__ import annotations

from collections.abc import Iterable

from service.domain.measures import MONEY, Measure
from service.domain.models import CREDITED, MOVED, Model, moved

MOVING = tuple(model for model in Model if model is not Model.LAST_NON_DIRECT)

MOST_MOVED = 9 * 10**12
"""A larger count does not fit a bigint in millionths: a total of trillions stays where it is."""


def _step(model: Model) -> int:
    """What a measure's number grows by when a model moves it."""
    return moved(Measure.ORDERS, model) - Measure.ORDERS


_BASE = ", ".join(f"({_step(model)})" for model in MOVING)

# Of the touch number t.place of k.touches: what it gets of the whole, as a fraction.
_SHARES = f"""
    ({_step(Model.FIRST)}, CASE WHEN t.place = 1 THEN 1 ELSE 0 END, 1),
    ({_step(Model.LINEAR)}, 1, k.touches),
    ({_step(Model.POSITION_BASED)},
     CASE WHEN k.touches = 2 THEN 1 WHEN t.place = 1 THEN 2 * (k.touches - 2) ELSE 1 END,
     CASE WHEN k.touches = 2 THEN 2 ELSE 5 * (k.touches - 2) END),
    ({_step(Model.TIME_DECAY)}, t.weight, k.weights)"""

# All that a model gives goes to the last touch first, which then passes on the others' shares.
_MOVES = f"""
    FROM (
        SELECT cardinality(r.touch_dims) AS touches,
               r.touch_dims[cardinality(r.touch_dims)] AS dim_id,
               r.touch_details[cardinality(r.touch_dims)] AS detail_id,
               (SELECT sum(weight) FROM unnest(r.touch_weights) AS weight) AS weights
        OFFSET 0
    ) AS k CROSS JOIN LATERAL (
        SELECT w.model, e.dim_id, e.detail_id, e.sign, 1::numeric AS share, 1::numeric AS whole
        FROM (VALUES {_BASE}) AS w(model)
        CROSS JOIN (VALUES (k.dim_id, k.detail_id, 1), (r.dim_id, r.detail_id, -1))
            AS e(dim_id, detail_id, sign)
        UNION ALL
        SELECT s.model, e.dim_id, e.detail_id, e.sign, s.share, s.whole
        FROM unnest(r.touch_dims, r.touch_details, r.touch_weights) WITH ORDINALITY
            AS t(dim_id, detail_id, weight, place)
        CROSS JOIN LATERAL (VALUES {_SHARES}) AS s(model, share, whole)
        CROSS JOIN LATERAL (VALUES (t.dim_id, t.detail_id, 1), (k.dim_id, k.detail_id, -1))
            AS e(dim_id, detail_id, sign)
        WHERE t.place < k.touches AND s.share > 0
    ) AS p"""

_PART = "div(f.value * p.share, p.whole)"
# Rounded down, not towards zero: a discount's line is below zero.
_ROUNDED = f"({_PART} - CASE WHEN f.value * p.share < {_PART} * p.whole THEN 1 ELSE 0 END)"


def movable(measure: Measure, value: str) -> str:
    """The value of a measure as it is moved: a numeric of millionths."""
    if measure in MONEY:
        return f"({value})::numeric"
    return f"CASE WHEN abs({value}) <= {MOST_MOVED} THEN ({value})::numeric * {MOVED} ELSE 0 END"


def moved_numbers(measures: Iterable[Measure]) -> frozenset[int]:
    """The stored numbers of what models move of these measures."""
    return frozenset(moved(m, model) for m in measures if m in CREDITED for model in MOVING)


def moved_rows(amounts: str, *, detailed: bool) -> str:
    """A SELECT of what the models move of a fact `r`, in the columns of its contributions.

    `amounts` is a SELECT of `at, measure, currency, product, value` (amounts as numeric, counts
    in millionths). A fact whose touches all agree costs one test.
    """
    place = "p.dim_id, p.detail_id, r.own_detail, f.product" if detailed else "p.dim_id"
    differ = "r.touch_dims IS NOT NULL" if detailed else "r.dim_id <> ANY (r.touch_dims)"
    return (
        f"SELECT f.at, (p.model + f.measure)::smallint, f.currency, {place},"
        f" (p.sign * {_ROUNDED})::bigint"
        f" FROM ({amounts}) AS f(at, measure, currency, product, value) CROSS JOIN LATERAL ("
        f" SELECT p.*{_MOVES}) AS p"
        f" WHERE f.value <> 0 AND {differ}"
    )
