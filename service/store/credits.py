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

MOST_MOVED = 10**12
"""A larger count is not moved: in millionths it would leave a bigint no room to be shared."""


def movable(measure: Measure, value: str) -> str:
    """The value of a measure as it is moved, a bigint of millionths."""
    if measure in MONEY:
        return f"({value})::bigint"
    return f"CASE WHEN abs({value}) <= {MOST_MOVED} THEN ({value})::bigint * {MOVED} ELSE 0 END"


def moved_numbers(measures: Iterable[Measure]) -> frozenset[int]:
    """The stored numbers of what models move of these measures."""
    return frozenset(moved(m, model) for m in measures if m in CREDITED for model in MOVING)


def _step(model: Model) -> int:
    """What a measure's number grows by when a model moves it."""
    return moved(Measure.ORDERS, model) - Measure.ORDERS


def _quotient(dividend: str, divisor: str) -> str:
    # Rounded down, not towards zero: a discount's line is below zero.
    return f"{dividend} / {divisor} - CASE WHEN {dividend} % {divisor} < 0 THEN 1 ELSE 0 END"


_WEIGHED = "f.value::numeric * t.weight"
_SHARES = {
    Model.FIRST: "CASE WHEN t.place = 1 THEN f.value ELSE 0 END",
    Model.LINEAR: _quotient("f.value", "k.touches"),
    Model.POSITION_BASED: f"""CASE WHEN k.touches = 2 THEN {_quotient("f.value", "2")}
        WHEN t.place = 1 THEN {_quotient("(f.value * 2)", "5")}
        ELSE {_quotient("f.value", "(5 * (k.touches - 2))")} END""",
    # The product fits no bigint.
    Model.TIME_DECAY: f"""(div({_WEIGHED}, k.weights)
        - CASE WHEN mod({_WEIGHED}, k.weights) < 0 THEN 1 ELSE 0 END)::bigint""",
}
"""What touch number `t.place`, not the last one, gets of `f.value`."""

# All that a model gives goes to the last touch first, which then passes on the others' shares.
_GIVEN = ", ".join(
    f"({_step(model)}, k.dim_id, k.detail_id, f.value),"
    f" ({_step(model)}, r.dim_id, r.detail_id, -f.value)"
    for model in MOVING
)
_PASSED_ON = ", ".join(f"({_step(model)}, {share})" for model, share in _SHARES.items())
_MOVES = f"""(
        SELECT cardinality(r.touch_dims) AS touches,
               r.touch_dims[cardinality(r.touch_dims)] AS dim_id,
               r.touch_details[cardinality(r.touch_dims)] AS detail_id,
               (SELECT sum(weight) FROM unnest(r.touch_weights) AS weight) AS weights
        OFFSET 0
    ) AS k CROSS JOIN LATERAL (
        SELECT g.* FROM (VALUES {_GIVEN}) AS g(model, dim_id, detail_id, value)
        UNION ALL
        SELECT s.model, e.dim_id, e.detail_id, e.sign * s.value
        FROM unnest(r.touch_dims, r.touch_details, r.touch_weights) WITH ORDINALITY
            AS t(dim_id, detail_id, weight, place)
        CROSS JOIN LATERAL (VALUES {_PASSED_ON}) AS s(model, value)
        CROSS JOIN LATERAL (VALUES (t.dim_id, t.detail_id, 1), (k.dim_id, k.detail_id, -1))
            AS e(dim_id, detail_id, sign)
        WHERE t.place < k.touches AND s.value <> 0
    ) AS p"""


def moved_rows(amounts: str, *, detailed: bool) -> str:
    """A SELECT of what the models move of a fact `r`, in the columns of its contributions.

    `amounts` is a SELECT of `at, measure, currency, product, value`, the value as it is moved. A
    fact whose touches all agree costs one test.
    """
    place = "p.dim_id, p.detail_id, r.own_detail, f.product" if detailed else "p.dim_id"
    differ = "r.touch_dims IS NOT NULL" if detailed else "r.dim_id <> ANY (r.touch_dims)"
    return (
        f"SELECT f.at, (p.model + f.measure)::smallint, f.currency, {place}, p.value"
        f" FROM ({amounts}) AS f(at, measure, currency, product, value) CROSS JOIN {_MOVES}"
        f" WHERE f.value <> 0 AND {differ}"
    )
