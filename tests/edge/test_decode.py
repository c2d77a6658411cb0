"""Objects, arrays and lines, told apart by their bytes."""

from __future__ import annotations

import json as stdlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.edge.decode import EVENTS, decode
from service.errors import KompasError
from service.kit.json import JsonError


def objects(text: str | bytes, *, lines: bool = True) -> list[Any]:
    body = text.encode() if isinstance(text, str) else text
    return [
        value.code if isinstance(value, JsonError) else value
        for value in decode(body, lines=lines).objects
    ]


A, B = {"a": 1}, {"b": 2}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"a":1}', [A]),
        ('\ufeff {"a":1}\r\n', [A]),
        ('[{"a":1},{"b":2}]', [A, B]),
        ('{\n  "a": 1\n}\n', [A]),
        ('{"a":1}\n{"b":2}', [A, B]),
        ('\ufeff\n{"a":1}\r\n\r\n  \n{"b":2}\r\n', [A, B]),
        ('{"a":1}\nnonsense\n{"b":2}\n', [A, "invalid_json", B]),
        ('{"a":NaN}\n{"b":2}\n', ["not_finite", B]),
        ('{"a":\n{"b":2}\n'.replace(":\n", ":1\n"), ["invalid_json", B]),
        ('{"a":1,"a":1}\n{"b":2}\n[1]\n5\n', ["duplicate_key", B, [1], 5]),
        ("5", [5]),
        ("[]", []),
        ("null", [None]),
    ],
)
def test_what_the_bytes_say(text: str, expected: list[Any]) -> None:
    assert objects(text) == expected


@pytest.mark.parametrize(
    ("text", "lines", "status", "code"),
    [
        ("nonsense", True, 400, "invalid_json"),
        ("\n \n", True, 400, "invalid_json"),
        ('{"a":1', True, 400, "invalid_json"),
        ('{"a":1}\n{"b":2}', False, 400, "invalid_json"),
        ('{\n"a": oops\n}', True, 400, "invalid_json"),
        ('{"a": 1,\n"b": oops}', True, 400, "invalid_json"),
        ('[\n{"a":1},\n{"b":oops}\n]', True, 400, "invalid_json"),
        ("a,b\n1,2\n", True, 400, "invalid_json"),
        ("[" + "0," * EVENTS + "0]", True, 413, "too_many_events"),
        ("{}\n" * (EVENTS + 1), True, 413, "too_many_events"),
        ("{" + "\n" * 1_000_000, True, 400, "invalid_json"),
    ],
)
def test_what_is_refused_as_a_whole(text: str, lines: bool, status: int, code: str) -> None:
    with pytest.raises(KompasError) as caught:
        objects(text, lines=lines)
    assert (caught.value.status, caught.value.code) == (status, code)


def test_a_thousand_events_are_taken() -> None:
    assert len(objects("[" + "0," * (EVENTS - 1) + "0]")) == EVENTS
    assert len(objects("{}\n" * EVENTS)) == EVENTS


def test_a_mistake_says_where_it_is() -> None:
    with pytest.raises(KompasError) as caught:
        objects('{"a": oops}')
    assert caught.value.detail == {"position": 6}
    assert "line 1, column 7" in caught.value.message


def test_repairs_are_told() -> None:
    assert decode(b'{"a":"\\u0000"}', lines=True).repaired
    assert decode(b'{"a":"\\ud800"}\n{}', lines=True).repaired
    assert not decode(b'{"a":"\\ud83d\\ude00"}', lines=True).repaired


events = st.dictionaries(
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=5),
    st.integers(-(10**9), 10**9) | st.booleans() | st.none() | st.sampled_from(["", "x\ny", "{"]),
    max_size=4,
)


@given(st.lists(events, min_size=1, max_size=5), st.sampled_from([None, 2]))
def test_the_same_events_in_every_form(given_events: list[Any], indent: int | None) -> None:
    assert objects(stdlib.dumps(given_events, indent=indent)) == given_events
    assert objects("\n".join(map(stdlib.dumps, given_events))) == given_events


@given(st.binary(), st.booleans())
def test_any_bytes_are_decoded_or_refused(body: bytes, lines: bool) -> None:
    status = 200
    try:
        decode(body, lines=lines)
    except KompasError as error:
        status = error.status
    assert status in {200, 400, 413}
