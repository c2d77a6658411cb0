"""The lines of an order, as far as they can be understood: product, quantity, value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from service.domain.money import LIMIT
from service.ingest.details import label
from service.ingest.fields import exact, whole
from service.ingest.refusals import RefusalCode as Code
from service.ingest.refusals import RefusedError

PRODUCT_MEMBERS = ("product", "sku", "id", "name")
"""Where a line's product is looked for; the first that says something counts."""


class Line(NamedTuple):
    """A line as the log holds it; `value` is in millionths, None where nothing says it."""

    product: str
    quantity: int | None
    value: int | None


def lines_of(items: Sequence[Any]) -> dict[str, Any]:
    """`lines` and `units` of an order; neither where the items say nothing of the kind.

    Refused, with the place in the items: amounts that cannot be read exactly, and lines of a
    trillion and above.
    """
    lines = [
        line
        for place, item in enumerate(items)
        if isinstance(item, dict) and any(line := _line(item, place))
    ]
    if sum(abs(line.value or 0) for line in lines) >= LIMIT:
        raise RefusedError(Code.INVALID_AMOUNT, "must sum to less than a trillion", "items")
    quantities = [line.quantity for line in lines if line.quantity is not None]
    data: dict[str, Any] = {"lines": [list(line) for line in lines]} if lines else {}
    return {**data, "units": sum(quantities)} if quantities else data


def _line(item: Mapping[str, Any], place: int) -> Line:
    named = (label(item.get(name)) for name in PRODUCT_MEMBERS)
    quantity = _quantity(item.get("quantity"))
    return Line(next(filter(None, named), ""), quantity, _value(item, quantity, place))


def _quantity(value: Any) -> int | None:
    # Shops write all kinds of things into their lines: what is no count of pieces stays there.
    with suppress(RefusedError):
        return None if value is None else whole(value)
    return None


def _value(item: Mapping[str, Any], quantity: int | None, place: int) -> int | None:
    """The line's total, or the price of one times the quantity; one where none is said."""
    total, price = (_amount(item, name, place) for name in ("value", "price"))
    if total is not None or price is None:
        return total
    if item.get("quantity") is None:
        return price
    return None if quantity is None else price * quantity


def _amount(item: Mapping[str, Any], name: str, place: int) -> int | None:
    # Below zero is a discount's line.
    value = item.get(name)
    if value is None:
        return None
    try:
        return exact(value)
    except RefusedError as error:
        raise RefusedError(error.code, error.message, "items", str(place), name) from error
