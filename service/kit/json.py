"""Strict JSON: what a stranger may send, and how it is written back exactly.

Refused: anything but UTF-8, duplicate keys, NaN and infinities, numbers of more than 32 characters
or far outside any real quantity, nesting deeper than 16. Numbers with a point or an exponent
become `decimal.Decimal`, so amounts stay exact. U+0000 and lone surrogates, which Postgres cannot
store, become U+FFFD.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal, InvalidOperation
from json.encoder import encode_basestring
from math import isfinite
from typing import Any

DEPTH = 16
"""Levels of arrays and objects within each other."""
NUMBER_CHARACTERS = 32
NUMBER_EXPONENT = 64
"""`1e100000` is 8 bytes here and 100 KB in the database; nothing countable has 65 digits."""

_UNSTORABLE_ESCAPE = re.compile(rb"\\u(?:0000|[dD][89a-fA-F])")
_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class JsonError(ValueError):
    """The text is not acceptable JSON.

    `code` is a stable word, `message` says what is wrong and what would be right, `position` the
    offset in characters where that is known.
    """

    def __init__(self, code: str, message: str, position: int | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.position = position


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        seen: set[str] = set()
        double = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value] # add answers None
        raise JsonError("duplicate_key", f"The key {double[:64]!r} occurs twice in one object.")
    return result


def _integer(text: str) -> int:
    if len(text) > NUMBER_CHARACTERS:
        raise JsonError("number_too_long", f"A number may have {NUMBER_CHARACTERS} characters.")
    return int(text)


def _decimal(text: str) -> Decimal:
    if len(text) > NUMBER_CHARACTERS:
        raise JsonError("number_too_long", f"A number may have {NUMBER_CHARACTERS} characters.")
    try:
        number = Decimal(text)
    except InvalidOperation:  # an exponent of twenty digits
        number = Decimal("Infinity")
    if not number.is_finite() or abs(number.adjusted()) > NUMBER_EXPONENT:
        raise JsonError(
            "number_too_large", f"A number's exponent may be at most {NUMBER_EXPONENT}: {text}."
        )
    return number


def _constant(text: str) -> Any:
    raise JsonError("not_finite", f"{text} is no JSON number; use null or leave the member out.")


_decoder = json.JSONDecoder(
    object_pairs_hook=_object, parse_float=_decimal, parse_int=_integer, parse_constant=_constant
)


def _too_deep() -> JsonError:
    return JsonError("too_deep", f"Arrays and objects may be nested {DEPTH} levels deep.")


def _check_depth(value: Any) -> None:
    level = [value] if type(value) is dict or type(value) is list else []
    for _ in range(DEPTH):
        if not level:
            return
        level = [
            item
            for node in level
            for item in (node.values() if type(node) is dict else node)
            if type(item) is dict or type(item) is list
        ]
    if level:
        raise _too_deep()


def clean(text: str) -> str:
    """The text with U+FFFD for everything that Postgres cannot store in a text or jsonb."""
    return text if text.isprintable() else _UNSTORABLE.sub("\ufffd", text)


def _repair(value: Any) -> Any:
    # The depth was checked before, so recursion is bounded.
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, list):
        return [_repair(item) for item in value]
    if isinstance(value, dict):
        return _object([(_repair(name), _repair(item)) for name, item in value.items()])
    return value


def _text(body: bytes) -> str:
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise JsonError(
            "invalid_utf8", "The text is not UTF-8; other encodings are not read.", error.start
        ) from error


def _decode(text: str) -> Any:
    try:
        value = _decoder.decode(text)
    except json.JSONDecodeError as error:
        raise JsonError(
            "invalid_json",
            f"{error.msg} at line {error.lineno}, column {error.colno}.",
            error.pos,
        ) from error
    except RecursionError as error:
        raise _too_deep() from error
    _check_depth(value)
    return value


def loads(body: bytes) -> tuple[Any, bool]:
    """The decoded value, and whether texts were repaired; JsonError for anything not acceptable."""
    value = _decode(_text(body))
    if _UNSTORABLE_ESCAPE.search(body):
        repaired = _repair(value)
        # A surrogate pair has the same escapes and is nothing to repair.
        return repaired, repaired != value
    return value, False


def loads_lines(body: bytes) -> tuple[list[Any], bool]:
    """NDJSON: one value a line, blank lines skipped; a bad line becomes its own `JsonError`.

    The second part says whether any line was repaired. Lines end with LF or CRLF.
    """
    values: list[Any] = []
    any_repaired = False
    for line in body.split(b"\n"):
        if not line.strip():
            continue
        try:
            value, repaired = loads(line)
        except JsonError as error:
            values.append(error)
        else:
            values.append(value)
            any_repaired = any_repaired or repaired
    return values, any_repaired


def dumps(value: Any) -> str:
    """Compact JSON text; a Decimal keeps all its digits.

    Raises TypeError for what is not JSON, ValueError for NaN and infinities.
    """
    write = _WRITERS.get(type(value))
    return _write_other(value) if write is None else write(value)


def _write_object(value: Mapping[str, Any]) -> str:
    # By hand and not by the standard encoder, which makes a Decimal a text or a double.
    members = []
    for name, item in value.items():
        if not isinstance(name, str):
            raise TypeError("names of members are texts")
        write = _WRITERS.get(type(item), _write_other)
        members.append(f"{encode_basestring(name)}:{write(item)}")
    return "{" + ",".join(members) + "}"


def _write_array(value: Sequence[Any]) -> str:
    return "[" + ",".join([_WRITERS.get(type(item), _write_other)(item) for item in value]) + "]"


def _write_decimal(value: Decimal) -> str:
    if not value.is_finite():
        raise ValueError("NaN and infinities are not JSON")
    text = str(value)
    if "E" in text and abs(value.adjusted()) <= NUMBER_CHARACTERS:
        return format(value, "f")
    return text


def _write_float(value: float) -> str:
    if not isfinite(value):
        raise ValueError("NaN and infinities are not JSON")
    return float.__repr__(value)


_CONSTANTS = {None: "null", True: "true", False: "false"}
_WRITERS: dict[type, Callable[[Any], str]] = {
    str: encode_basestring,
    int: int.__repr__,
    float: _write_float,
    Decimal: _write_decimal,
    bool: _CONSTANTS.__getitem__,
    type(None): _CONSTANTS.__getitem__,
    dict: _write_object,
    list: _write_array,
    tuple: _write_array,
}


def _write_other(value: Any) -> str:
    """Of a class derived from one that can be written: enumerations, named tuples."""
    for kind, write in _WRITERS.items():
        if isinstance(value, kind):
            return write(value)
    raise TypeError(f"a {type(value).__name__} is not JSON")
