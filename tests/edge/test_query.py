"""Query strings, held against the standard library's reader."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.edge.query import LONGEST, QueryTooLongError, read_query

NAMES = {b"k": "k", b"ref": "referrer", b"url": "url"}


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (b"", {}),
        (b"k=a&url=https%3A%2F%2Fx.dk%2F%3Fa%3Db%26c", {"k": "a", "url": "https://x.dk/?a=b&c"}),
        (b"ref=&url=x", {"url": "x"}),
        (b"utm_source=x&fbclid&=&&k=a=b&?", {"k": "a=b"}),
        (b"k=a&k=b", {"k": "b"}),
        (b"ref=r%C3%B8d+gr%C3%B8d", {"referrer": "rød grød"}),
        (b"ref=%E6%zz%4&k=%00", {"referrer": "\ufffd%zz%4", "k": "\0"}),
    ],
)
def test_parameters(query: bytes, expected: dict[str, str]) -> None:
    assert read_query(query, NAMES) == expected


def test_a_query_has_a_limit() -> None:
    assert read_query(b"k=" + b"a" * (LONGEST - 2), NAMES)
    with pytest.raises(QueryTooLongError):
        read_query(b"k=" + b"a" * (LONGEST - 1), NAMES)


@given(st.lists(st.tuples(st.sampled_from(["k", "ref", "x"]), st.text())))
def test_as_the_standard_library_reads_it(pairs: list[tuple[str, str]]) -> None:
    query = urlencode(pairs, errors="replace").encode()
    expected = {NAMES[n.encode()]: v for n, v in parse_qsl(query.decode()) if n.encode() in NAMES}
    assert read_query(query, NAMES) == expected


@given(st.binary())
def test_any_bytes_are_read(query: bytes) -> None:
    assert set(read_query(query, NAMES)) <= set(NAMES.values())
