"""A flush comes out of the spool as it went in, or not at all."""

from __future__ import annotations

import json
import os
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.ingest.spool.payload import Flush, PayloadError, decode, encode
from service.ingest.spool.records import MAGIC
from service.store.append import Batch
from tests.ingest.spool.flushes import NOW, any_flush, flush

EXAMPLES = int(os.environ.get("KOMPAS_EXAMPLES", "0"))
SEARCH = settings(
    deadline=None, max_examples=EXAMPLES or 100, suppress_health_check=[HealthCheck.too_slow]
)


@given(any_flush)
@SEARCH
def test_a_flush_comes_out_as_it_went_in(flush: Flush) -> None:
    payload = encode(flush)
    assert decode(payload) == flush
    assert MAGIC not in payload
    assert not {0xFE, 0xFF} & set(payload)


@pytest.mark.parametrize("text", ["\ud800", "a\x00b", "\U0001f9ed", "\u2028", '"\\'])
def test_every_text_is_kept(text: str) -> None:
    row = flush().batches[0].rows[0]._replace(data=text)
    given = Flush(NOW, [Batch(1, rows=[row])])
    assert decode(encode(given)) == given


def test_events_are_counted_by_their_positions() -> None:
    assert flush(3, rows_of_each=4).events == 3
    assert Flush(NOW, [*flush(2).batches, *flush(1).batches]).events == 3
    assert Flush(NOW, []).events == 0


def _changed(change: Any) -> bytes:
    value = json.loads(encode(flush()))
    change(value)
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b'"\xff"',
        b"[" * 100_000,
        b"1" * 10_000,
        _changed(lambda value: value.update(format=2)),
        _changed(lambda value: value.update(format=None)),
        _changed(lambda value: value.pop("batches")),
        _changed(lambda value: value.update(received_at="yesterday")),
        _changed(lambda value: value.update(received_at=7)),
        _changed(lambda value: value["batches"][0]["rows"][0].pop()),
        _changed(lambda value: value["batches"][0]["rows"][0].append(1)),
        _changed(lambda value: value["batches"][0].update({"token": "x"})),
        _changed(lambda value: value["batches"][0].update(details=[[1]])),
    ],
    ids=lambda payload: payload[:12].decode("latin-1"),
)
def test_anything_else_is_a_payload_error(payload: bytes) -> None:
    with pytest.raises(PayloadError):
        decode(payload)


@given(st.binary(max_size=60))
@SEARCH
def test_no_bytes_raise_anything_else(payload: bytes) -> None:
    with pytest.raises(PayloadError):
        decode(payload)
