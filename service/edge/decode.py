"""From bytes to events: an object, an array or lines of objects, as the bytes themselves say."""

from __future__ import annotations

import re
from itertools import islice
from typing import Any, NamedTuple

from service.errors import RequestError, TooLargeError
from service.kit import json
from service.kit.json import JsonError

EVENTS = 1000
"""Events of one request."""
SEPARATORS = 250_000
"""Commas of one request: eight kilobytes of gzip can hold millions of empty objects, and reading
them would take seconds and a gigabyte before anybody could count events."""

_LINE = re.compile(rb"[^\s][^\n]*")
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


class Decoded(NamedTuple):
    """Events in the order of the request; a `JsonError` stands for a line that is no JSON."""

    objects: list[Any]
    repaired: bool


def decode(body: bytes, *, lines: bool) -> Decoded:
    """The events of a body; `lines` where one object per line may come as well.

    Raises RequestError with the code and position of the JSON's mistake, TooLargeError
    (`too_many_events`).
    """
    if body.count(b",") > SEPARATORS:
        raise TooLargeError(
            f"A request may have {EVENTS} events, and {SEPARATORS} values in all.",
            code="too_many_values",
            limit=SEPARATORS,
        )
    try:
        value, repaired = json.loads(body)
    except JsonError as error:
        found = _lines(body) if lines else []
        if not found:
            raise _not_json(error) from error
        value, repaired = json.loads_lines(b"\n".join(found))
    objects = value if isinstance(value, list) else [value]
    if len(objects) > EVENTS:
        raise TooLargeError(
            f"A request may have {EVENTS} events; send the others in further requests.",
            code="too_many_events",
            limit=EVENTS,
        )
    return Decoded(objects, repaired)


def _not_json(error: JsonError) -> RequestError:
    where = {} if error.position is None else {"position": error.position}
    return RequestError(error.message, code=error.code, **where)


def _lines(body: bytes) -> list[bytes]:
    """The lines that are not blank, or none when the body does not look like NDJSON."""
    body = body.removeprefix(_BYTE_ORDER_MARK)
    # Lazily, and one more than is taken: millions of lines are not even split.
    lines = [match[0].rstrip() for match in islice(_LINE.finditer(body), EVENTS + 1)]
    if len(lines) < 2 or not lines[0].startswith(b"{"):
        return []
    # An object written over several lines does not end on its first, nor begin on its second.
    whole = lines[0].endswith(b"}")
    next_one = lines[1].startswith(b"{") and lines[0][-1:] not in b"[{,:"
    return lines if whole or next_one else []
