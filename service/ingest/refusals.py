"""Why an event is not stored: a closed list of codes, and the exception that carries one."""

from __future__ import annotations

import re
from collections.abc import Collection
from enum import StrEnum
from functools import lru_cache
from typing import Any

from service.kit import json
from service.kit.nearest import nearest

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
    """One event is not acceptable; `message` says what is right.

    With a `field`, which the runner adds for a field's own parser, the message goes on from the
    field's name ("must be a text"); without one it is a sentence.
    """

    def __init__(self, code: RefusalCode, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field


@lru_cache(maxsize=256)
def hint(word: str, words: tuple[str, ...]) -> str:
    """' Did you mean …?' for the closest of `words`, or nothing."""
    found = nearest(word, words, limit=1)
    return f" Did you mean `{found[0]}`?" if found else ""


_HIDDEN = "(hidden)"
_PERSONAL = ("visitor", "customer", "lead", "recipient", "respondent", "text")
# Begins where a run of such characters does, and gives none of them back: linear for any text.
_MAIL_ADDRESS = re.compile(r"(?<![\w.+-])[\w.+-]++(?:@|%40)[\w-]++(?:\.[\w-]++)+")
# In a text that is no JSON: the member's name, and its value up to where it may end.
_MEMBER = re.compile(
    rf'("(?:{"|".join(_PERSONAL)})"\s*:\s*)(?:"(?:[^"\\]|\\.)*"?|[^",}}\]\s]+)', re.DOTALL
)


def clip(text: str) -> str:
    """At most 8 KiB that Postgres can store, without e-mail addresses and ids of people."""
    text = json.clean(text[:PAYLOAD_BYTES])
    text = _MEMBER.sub(rf'\1"{_HIDDEN}"', text)
    if "@" in text or "%40" in text:
        text = _MAIL_ADDRESS.sub("[email]", text)
    return text.encode("utf-8", "replace")[:PAYLOAD_BYTES].decode("utf-8", "ignore")


def _without_people(value: Any) -> Any:
    if isinstance(value, dict):
        return {
            name: _HIDDEN if name in _PERSONAL else _without_people(item)
            for name, item in value.items()
        }
    return [_without_people(item) for item in value] if isinstance(value, list) else value


def payload_of(value: Any, known: Collection[str]) -> str:
    """A refused event as an operator may read it: JSON text, ids of people left out.

    Of an object only the members in `known` are shown: a misspelt `custmer` is a customer too.
    """
    if isinstance(value, dict):
        value = {name: item if name in known else _HIDDEN for name, item in value.items()}
    try:
        return clip(json.dumps(_without_people(value)))
    except (TypeError, ValueError, RecursionError):
        return "(not JSON)"


def pointer(name: str) -> str:
    """A member of the event as a JSON pointer (RFC 6901), at most 64 characters of its name."""
    return "/" + clip(name[:64]).replace("~", "~0").replace("/", "~1")
