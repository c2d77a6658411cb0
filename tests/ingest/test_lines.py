from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.kinds import Kind
from tests.ingest.given import data, good, refused, row


def stored(*items: Any, **fields: Any) -> Any:
    """The data of an order with these items."""
    return data(row(good(Kind.CONVERSION, items=list(items), **fields)))


@pytest.mark.parametrize(
    ("item", "line"),
    [
        ({"product": "Shoe", "quantity": 2, "value": "99.90"}, ["Shoe", 2, 99_900_000]),
        ({"sku": "S", "name": "Shoe", "quantity": "3", "price": "33.333333"}, ["S", 3, 99_999_999]),
        ({"product": "", "id": 17, "name": "Shoe"}, ["17", None, None]),
        ({"name": " Shoe ", "value": Decimal("0.000001")}, ["Shoe", None, 1]),
        ({"value": 10, "price": 4, "quantity": 2}, ["", 2, 10_000_000]),  # what the line says wins
        ({"product": "a", "price": 5}, ["a", None, 5_000_000]),
        ({"product": "a", "price": 5, "quantity": None}, ["a", None, 5_000_000]),
        ({"product": "Discount", "value": -50}, ["Discount", None, -50_000_000]),
        ({"product": "a", "quantity": 0, "price": 5}, ["a", 0, 0]),
        # No count of pieces: what the line came to is not guessed.
        ({"product": "Cloth", "quantity": Decimal("2.5"), "price": 4}, ["Cloth", None, None]),
        ({"product": "Cloth", "quantity": "2 m", "value": 4}, ["Cloth", None, 4_000_000]),
        ({"product": "a", "quantity": -1}, ["a", None, None]),
        ({"product": "for anna@example.dk"}, ["for [email]", None, None]),
        ({"product": "x" * 300}, ["x" * 200, None, None]),
    ],
)  # fmt: skip
def test_a_line_is_understood(item: dict[str, Any], line: list[Any]) -> None:
    found = stored(item)
    assert found["lines"] == [line]
    assert found.get("units") == line[1]
    assert found["quantity"] == 1


def test_what_says_nothing_stays_in_the_items() -> None:
    found = stored("a shoe", {"colour": "red"}, ["x"], 7, {"product": {"a": 1}})
    assert len(found["items"]) == 5
    assert not found.keys() & {"lines", "units"}
    mixed = stored("a shoe", {"sku": "A", "quantity": 1}, {"sku": "B"}, {"sku": "C", "quantity": 4})
    assert mixed["lines"] == [["A", 1, None], ["B", None, None], ["C", 4, None]]
    assert mixed["units"] == 5
    assert not data(row(good(Kind.CONVERSION))).keys() & {"items", "lines", "units"}


def test_a_day_s_total_may_have_lines() -> None:
    total = stored({"sku": "A", "quantity": 9}, order=None, quantity=4)
    assert (total["quantity"], total["units"]) == (4, 9)


@pytest.mark.parametrize(
    ("items", "code", "field"),
    [
        ([{"value": "12,50"}], "invalid_amount", "/items/0/value"),
        (["a", {"price": "kr 5"}], "invalid_amount", "/items/1/price"),
        ([{"value": 1, "price": True}], "invalid_amount", "/items/0/price"),
        ([{"value": "0.0000001"}], "invalid_amount", "/items/0/value"),
        ([{"value": 10**12}], "invalid_amount", "/items/0/value"),
        ([{"price": 10**6, "quantity": 10**6}], "invalid_amount", "/items"),
        ([{"value": 6 * 10**11}, {"value": -6 * 10**11}], "invalid_amount", "/items"),
    ],
)
def test_an_amount_that_cannot_be_read_refuses_the_order(
    items: list[Any], code: str, field: str
) -> None:
    refusal = refused(good(Kind.CONVERSION, items=items))
    assert (refusal.code, refusal.field) == (code, field)
    assert refusal.message.startswith(f"`{field[1:]}` must ")


@given(st.integers(0, 10**6), st.integers(0, 10**9))
def test_a_price_times_a_quantity_is_exact(quantity: int, micros: int) -> None:
    price = str(Decimal(micros).scaleb(-6))
    if "E" not in price:
        ((_, _, value),) = stored({"sku": "A", "quantity": quantity, "price": price})["lines"]
        assert value == quantity * micros
