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


# Of touch number t.place of k.touches: what it gets of the whole, as a fraction.
_SHARES = {
    Model.FIRST: ("CASE WHEN t.place = 1 THEN 1 ELSE 0 END", "1"),
    Model.LINEAR: ("1", "k.touches"),
    Model.POSITION_BASED: (
        "CASE WHEN k.touches = 2 OR t.place > 1 THEN 1 ELSE 2 * (k.touches - 2) END",
        "CASE WHEN k.touches = 2 THEN 2 ELSE 5 * (k.touches - 2) END",
    ),
    Model.TIME_DECAY: ("t.weight", "k.weights"),
}

# All that a model gives goes to the last touch first, which then passes on the others' shares.
_BASE = ", ".join(
    f"({_step(model)}, k.dim_id, k.detail_id, 1), ({_step(model)}, r.dim_id, r.detail_id, -1)"
    for model in MOVING
)
_PASSED_ON = ", ".join(
    f"({_step(model)}, {touch}.dim_id, {touch}.detail_id, {sign}, {share}, {whole})"
    for model, (share, whole) in _SHARES.items()
    for touch, sign in (("t", 1), ("k", -1))
)
_MOVES = f"""
    FROM (
        SELECT cardinality(r.touch_dims) AS touches,
               r.touch_dims[cardinality(r.touch_dims)] AS dim_id,
               r.touch_details[cardinality(r.touch_dims)] AS detail_id,
               (SELECT sum(weight) FROM unnest(r.touch_weights) AS weight) AS weights
        OFFSET 0
    ) AS k CROSS JOIN LATERAL (
        SELECT m.*, 1::numeric AS share, 1::numeric AS whole
        FROM (VALUES {_BASE}) AS m(model, dim_id, detail_id, sign)
        UNION ALL
        SELECT m.*
        FROM unnest(r.touch_dims, r.touch_details, r.touch_weights) WITH ORDINALITY
            AS t(dim_id, detail_id, weight, place)
        CROSS JOIN LATERAL (VALUES {_PASSED_ON}) AS m(model, dim_id, detail_id, sign, share, whole)
        WHERE t.place < k.touches AND m.share > 0
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
