from __future__ import annotations

import json as standard
from contextlib import suppress
from decimal import Decimal
from enum import IntEnum, StrEnum
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.kit.json import DEPTH, JsonError, clean, dumps, loads, loads_lines

storable = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]))
numbers = st.integers(-(10**30), 10**30) | st.decimals(
    allow_nan=False, allow_infinity=False, min_value=-(10**9), max_value=10**9, places=9
)
values = st.recursive(
    st.none() | st.booleans() | numbers | storable,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(storable, inner, max_size=3),
    max_leaves=8,
)


@settings(deadline=None)
@given(values)
def test_what_is_written_is_read_back_exactly(value: Any) -> None:
    found, repaired = loads(dumps(value).encode())
    assert found == value
    assert not repaired
    # The standard reader agrees about everything but the precision of numbers.
    assert standard.loads(dumps(value), parse_float=Decimal) == value


@settings(deadline=None)
@given(st.binary(max_size=200) | st.text(alphabet='[]{}",:\\u0dD8 1eE.-nulrt\x00').map(str.encode))
def test_any_bytes_are_a_value_or_a_json_error(body: bytes) -> None:
    with suppress(JsonError):
        dumps(loads(body)[0]).encode()
    values, _ = loads_lines(body)
    assert all(value.message for value in values if isinstance(value, JsonError))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("129.95", Decimal("129.95")),
        ("1e2", Decimal("1E+2")),
        ("-0", 0),
        ("99999999999999999999999999999999", 10**32 - 1),
        ("1e64", Decimal("1E+64")),
        ('"\\ud83d\\ude00"', "😀"),
        ('"\\\\u0000"', "\\u0000"),
        ("\ufeff[1]", [1]),
        (" \r\n[]\t", []),
        ("[" * DEPTH + "]" * DEPTH, None),
    ],
)
def test_what_is_read(text: str, value: Any) -> None:
    found, repaired = loads(text.encode())
    assert not repaired
    if value is not None:
        assert found == value
        assert type(found) is type(value)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"", "invalid_json"),
        (b"{", "invalid_json"),
        (b"[1] x", "invalid_json"),
        (b"{'a': 1}", "invalid_json"),
        (b'"a\nb"', "invalid_json"),
        (b"\xff", "invalid_utf8"),
        (b'"\xed\xa0\x80"', "invalid_utf8"),
        ("{}".encode("utf-16"), "invalid_utf8"),
        (b"NaN", "not_finite"),
        (b"[-Infinity]", "not_finite"),
        (b'{"a": 1, "b": {"c": 1, "c": 2}}', "duplicate_key"),
        (b'{"a\\u0000": 1, "a\\ufffd": 2}', "duplicate_key"),
        (b"1" * 33, "number_too_long"),
        (b"1" * 5000, "number_too_long"),
        (b"0." + b"1" * 31, "number_too_long"),
        (b"1e65", "number_too_large"),
        (b"1e-100000", "number_too_large"),
        (b"1e9999999999999999999", "number_too_large"),
        (b"-0e-9999999999999999999", "number_too_large"),
        (b"[" * 17 + b"]" * 17, "too_deep"),
        (b'{"a":' * 17 + b"1" + b"}" * 17, "too_deep"),
        (b"[" * 100_000 + b"]" * 100_000, "too_deep"),
    ],
)
def test_what_is_refused(body: bytes, code: str) -> None:
    with pytest.raises(JsonError) as caught:
        loads(body)
    assert caught.value.code == code
    assert caught.value.message


def test_where_a_mistake_is() -> None:
    with pytest.raises(JsonError, match=r"line 2, column 3") as caught:
        loads(b"[1,\n  x]")
    assert caught.value.position == 6
    with pytest.raises(JsonError) as caught:
        loads(b'"ab\xff"')
    assert caught.value.position == 3


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('"a\\u0000b"', "a\ufffdb"),
        ('"\\ud800"', "\ufffd"),
        ('"\\udE00\\ud83d"', "\ufffd\ufffd"),
        (
            '{"k\\u0000": ["\\uDFFF", {"x": "\\ud83d\\ude00"}]}',
            {"k\ufffd": ["\ufffd", {"x": "😀"}]},
        ),
    ],
)
def test_what_postgres_cannot_store_is_repaired(text: str, value: Any) -> None:
    found, repaired = loads(text.encode())
    assert repaired
    assert found == value
    dumps(found).encode()


def test_lines_stand_for_themselves() -> None:
    body = b'{"a": 1}\r\n\n  \n{"b": }\n"\\u0000"\n[' + b"x" * 9000
    values, repaired = loads_lines(body)
    assert repaired
    assert values[0] == {"a": 1}
    assert values[2] == "\ufffd"
    bad, long = values[1], values[3]
    assert isinstance(bad, JsonError)
    assert bad.code == "invalid_json"
    assert isinstance(long, JsonError)
    assert loads_lines(b"") == ([], False)
    assert loads_lines(b'"a"\n') == (["a"], False)


def test_decimals_keep_their_digits() -> None:
    value = {"a": [Decimal("1.10"), Decimal("1E+3"), Decimal("0.000001")], "b": (1, "é\n")}
    assert dumps(value) == '{"a":[1.10,1000,0.000001],"b":[1,"é\\n"]}'
    assert dumps(Decimal("1E-60")) == "1E-60"
    assert dumps(Decimal("1E+64")) == "1E+64"


@pytest.mark.parametrize(
    "value", [float("nan"), [float("inf")], Decimal("NaN"), {"a": [Decimal("-Infinity")]}]
)
def test_what_is_not_finite_is_not_written(value: Any) -> None:
    with pytest.raises(ValueError, match=r"not JSON|JSON compliant"):
        dumps(value)


@pytest.mark.parametrize(
    "value", [{1, 2}, object(), b"x", {"a": Decimal(1), "b": {1: 2, "c": b""}}]
)
def test_what_is_no_json_is_not_written(value: Any) -> None:
    with pytest.raises(TypeError):
        dumps(value)


@settings(deadline=None)
@given(st.text())
def test_cleaned_texts_can_be_stored(text: str) -> None:
    cleaned = clean(text)
    cleaned.encode()
    assert "\x00" not in cleaned
    assert len(cleaned) == len(text)
    assert clean(cleaned) == cleaned


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)  # fmt: skip


@given(VALUES)
def test_what_has_no_decimals_is_written_as_everybody_does(value: Any) -> None:
    assert dumps(value) == standard.dumps(value, ensure_ascii=False, separators=(",", ":"))


@given(st.decimals(allow_nan=False, allow_infinity=False))
def test_a_decimal_is_written_with_all_its_digits(value: Decimal) -> None:
    written = dumps({"a": [value]})
    assert Decimal(written[6:-2]).as_tuple() == value.as_tuple() or abs(value.adjusted()) <= 32
    assert Decimal(written[6:-2]) == value
    assert ("E" in written) <= (abs(value.adjusted()) > 32)


def test_words_of_enumerations_are_written_as_what_they_are() -> None:
    assert dumps({Word.ONE: [Word.ONE, Figure.TWO]}) == '{"one":["one",2]}'


class Word(StrEnum):
    ONE = "one"


class Figure(IntEnum):
    TWO = 2
