"""Why an event is not stored: a closed list of codes, and the exception that carries one."""

from __future__ import annotations

import re
from collections.abc import Mapping
from difflib import get_close_matches
from enum import StrEnum
from typing import Any

from service.kit import json

PAYLOAD_BYTES = 8192


class RefusalCode(StrEnum):
    """Stable words: clients and counters rely on them."""

    INVALID_JSON = "invalid_json"
    WRONG_TYPE = "wrong_type"
    UNKNOWN_KIND = "unknown_kind"
    WRONG_KIND = "wrong_kind"
    WRONG_SITE = "wrong_site"
    MISSING_FIELD = "missing_field"
    UNKNOWN_FIELD = "unknown_field"
    CONFLICTING_FIELDS = "conflicting_fields"
    TOO_LONG = "too_long"
    EMPTY = "empty"
    INVALID_URL = "invalid_url"
    INVALID_TIME = "invalid_time"
    TIME_IN_FUTURE = "time_in_future"
    TIME_TOO_OLD = "time_too_old"
    INVALID_DATE = "invalid_date"
    DATE_RANGE_TOO_LONG = "date_range_too_long"
    INVALID_CURRENCY = "invalid_currency"
    INVALID_AMOUNT = "invalid_amount"
    INVALID_COUNT = "invalid_count"
    NEGATIVE_VALUE = "negative_value"
    NOT_A_SCORE = "not_a_score"
    INVALID_SCALE = "invalid_scale"
    UNSUPPORTED_SCALE = "unsupported_scale"
    UNKNOWN_GROUP = "unknown_group"
    TOO_MANY_PROPS = "too_many_props"
    PROPS_TOO_DEEP = "props_too_deep"
    TOO_MANY_ROWS = "too_many_rows"
    NOT_STORABLE = "not_storable"


class RefusedError(Exception):
    """One event is not acceptable; `message` begins with the field and says what is right."""

    def __init__(self, code: RefusalCode, message: str, field: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field


def nearest(word: str, words: Mapping[str, Any]) -> str:
    """' Did you mean …?' for the closest of `words`, or nothing."""
    found = get_close_matches(word[:64].lower(), words, n=1, cutoff=0.6)
    return f" Did you mean `{found[0]}`?" if found else ""


_HIDDEN = "(hidden)"
_PERSONAL = frozenset({"visitor", "customer", "lead", "recipient", "respondent", "text"})
_MAIL_ADDRESS = re.compile(r"[\w.+%-]{1,64}@[\w-]{1,64}(?:\.[\w-]{1,64})+")


def clip(text: str) -> str:
    """At most 8 KiB that Postgres can store, without e-mail addresses."""
    text = json.clean(text[:PAYLOAD_BYTES])
    if "@" in text:
        text = _MAIL_ADDRESS.sub("[email]", text)
    return text.encode("utf-8", "replace")[:PAYLOAD_BYTES].decode("utf-8", "ignore")


def payload_of(value: Any) -> str:
    """A refused event as an operator may read it: JSON text, ids of people left out."""
    if isinstance(value, dict):
        value = {name: _HIDDEN if name in _PERSONAL else item for name, item in value.items()}
    try:
        return clip(json.dumps(value))
    except (TypeError, ValueError, RecursionError):
        return clip(repr(value)[:PAYLOAD_BYTES])
