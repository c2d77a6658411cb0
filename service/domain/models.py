"""Attribution models: how the credit for a conversion or a lead is shared among its touches.

The numbers are stored as part of `rollup_*.measure`: never reuse or change one.
"""

from __future__ import annotations

from enum import IntEnum

from service.domain.measures import Measure


class Model(IntEnum):
    """One rule of sharing; see `docs/decisions/0013-attribution.md`."""

    LAST_NON_DIRECT = 0
    LAST = 1
    FIRST = 2
    LINEAR = 3
    POSITION_BASED = 4
    TIME_DECAY = 5

    @property
    def label(self) -> str:
        """The name used in the contract, for example `time_decay`."""
        return self.name.lower()


MODEL_BY_LABEL = {model.label: model for model in Model}

CREDITED = frozenset(
    {
        Measure.LEADS,
        Measure.LEADS_IDENTIFIED,
        Measure.LEADS_CONVERTED,
        Measure.CUSTOMERS_FROM_LEADS,
        Measure.ORDERS,
        Measure.GROSS_REVENUE,
        Measure.REFUNDS,
        Measure.REFUNDS_BY_ORDER,
        Measure.REFUND_COUNT,
        Measure.NEW_CUSTOMERS,
        Measure.COST_OF_GOODS,
        Measure.ORDERS_WITH_COST,
        Measure.UNITS,
    }
)
"""Measures that belong to the touches that brought them; all others to where they happened."""

MOVED = 1_000_000
"""Counts that a model moves are in millionths, because a touch may get a third of an order."""

_STEP = 1000


def moved(measure: Measure, model: Model) -> int:
    """The stored number of what a model moves, compared with last non-direct.

    A measure under a model is the measure itself plus these rows: positive where the model gives
    more, negative where it gives less, so that they sum to 0 over all dimensions. Amounts are in
    millionths of the currency as always, counts in millionths (`MOVED`).
    """
    return _STEP * model + measure


def unmoved(number: int) -> tuple[Measure, Model]:
    """The measure and the model of a stored number."""
    return Measure(number % _STEP), Model(number // _STEP)
