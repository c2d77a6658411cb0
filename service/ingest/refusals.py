"""Why an event is not stored: a closed list of codes, and the exception that carries one."""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum
from functools import lru_cache
from typing import Any

from service.ingest.masking import masked
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
    SECRET_KEY_NEEDED = "secret_key_needed"  # noqa: S105 -- a code, not a secret
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
    field's name ("must be a text"); without one it is a sentence. `inside` leads on from the field
    to a member of it.
    """

    def __init__(
        self, code: RefusalCode, message: str, field: str | None = None, *inside: str
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field
        self.inside = inside


@lru_cache(maxsize=256)
def hint(word: str, words: tuple[str, ...]) -> str:
    """' Did you mean …?' for the closest of `words`, or nothing."""
    found = nearest(word, words, limit=1)
    return f" Did you mean `{found[0]}`?" if found else ""


_HIDDEN = "(hidden)"
_PERSONAL = (
    *("id", "visitor", "customer", "lead", "order", "message"),
    *("recipient", "respondent", "post", "text", "props", "items", "links"),
)
_OF_AN_ADDRESS = frozenset({"url", "referrer", "link"})


def clip(text: str) -> str:
    """At most 8 KiB that Postgres can store, without e-mail addresses."""
    text = masked(json.clean(text[:PAYLOAD_BYTES]))
    return text.encode("utf-8", "replace")[:PAYLOAD_BYTES].decode("utf-8", "ignore")


def _shown(name: str, value: Any, known: Collection[str]) -> Any:
    if name in _PERSONAL or name not in known:
        return _HIDDEN
    if name in _OF_AN_ADDRESS and isinstance(value, str):
        return value.partition("?")[0]
    return value


def payload_of(value: Any, known: Collection[str]) -> str:
    """A refused event as an operator may read it: JSON text, ids of people left out.

    Only members in `known` are shown (a misspelt `custmer` is a customer too), addresses without
    their query. What is no event at all is not shown: nobody can tell what in it is a person's.
    """
    if not isinstance(value, dict):
        return ""
    try:
        return clip(json.dumps({name: _shown(name, item, known) for name, item in value.items()}))
    except (TypeError, ValueError, RecursionError):
        return ""


def pointer(name: str) -> str:
    """A member of the event as a JSON pointer (RFC 6901), at most 64 characters of its name."""
    return "/" + clip(name[:64]).replace("~", "~0").replace("/", "~1")
