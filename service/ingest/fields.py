"""What one field of an event may hold: parsers that answer the stored value or refuse.

A parser is called with the decoded JSON value (never null) and the request's context. Messages
are completed with the field's name by the runner (`normalise`), so they begin with "must".
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from functools import lru_cache
from typing import Any, NamedTuple

from service.domain.currencies import CURRENCIES
from service.domain.money import MoneyError, to_micros
from service.ingest.context import Context
from service.ingest.masking import masked, printable
from service.ingest.refusals import RefusalCode as Code
from service.ingest.refusals import RefusedError
from service.kit import json

Parser = Callable[[Any, Context], Any]

TEXT_BYTES = 8192
ID_CHARACTERS = 256
PROPS_KEYS = 64
PROPS_DEPTH = 8
ITEMS = 256
LINKS = 100
TARGET_CHARACTERS = 2048
LARGEST_COUNT = 10**15
"""Keeps sums of thousands of counts within 64 bits."""
LARGEST_ID = 10**32
OLDEST = datetime(1990, 1, 1, tzinfo=UTC)


class Page(NamedTuple):
    """A parsed http(s) address.

    `host` is lower case without port, `text` what the log holds (host, port unless it is the
    usual one, path), `query` has no question mark, `path` is that of `text` in printable form.
    """

    host: str
    text: str
    query: str
    path: str


def text(value: Any, _context: Context) -> str:
    """Any text up to 8 KiB."""
    if not isinstance(value, str):
        raise RefusedError(Code.WRONG_TYPE, "must be a text")
    # Four bytes a character at most: short texts need no encoding to know that they fit.
    if len(value) > TEXT_BYTES // 4 and len(value.encode("utf-8", "replace")) > TEXT_BYTES:
        raise RefusedError(Code.TOO_LONG, f"must be at most {TEXT_BYTES} bytes long")
    return value if value.isprintable() else json.clean(value)


def name(value: Any, context: Context) -> str:
    """A text with something in it, without white space around."""
    stripped = text(value, context).strip()
    if not stripped:
        raise RefusedError(Code.EMPTY, "must not be empty; leave it out instead")
    return stripped


def title(value: Any, context: Context) -> str:
    """A text that is shown to everybody, so without e-mail addresses."""
    return masked(text(value, context))


def identity(value: Any, _context: Context) -> str:
    """An id of the client's: a text of 1 to 256 characters, or a whole number."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < LARGEST_ID:
        return str(value)
    if not isinstance(value, str):
        raise RefusedError(Code.WRONG_TYPE, "must be a text (or a whole number)")
    if not value:
        raise RefusedError(Code.EMPTY, "must not be empty; leave it out instead")
    if len(value) > ID_CHARACTERS:
        raise RefusedError(Code.TOO_LONG, f"must be at most {ID_CHARACTERS} characters long")
    return value


def hashed(person: str) -> Parser:
    """An id that leads to a person: only its keyed hash goes on."""

    def parse(value: Any, context: Context) -> str:
        return context.keyring.text(person, identity(value, context))

    return parse


def own_site(value: Any, context: Context) -> str:
    """The slug of the request's own site; keys that may name another are led there before."""
    if value != context.site.slug:
        raise RefusedError(
            Code.WRONG_SITE, "must be the site of the key; an admin key may name another"
        )
    return context.site.slug


def boolean(value: Any, _context: Context) -> bool:
    """True or false, nothing that resembles them."""
    if not isinstance(value, bool):
        raise RefusedError(Code.WRONG_TYPE, "must be true or false")
    return value


_AMOUNT = re.compile(r"-?[0-9]{1,13}(?:\.[0-9]{1,18})?")


def exact(value: Any) -> int:
    """Millionths of an amount: a JSON number or a decimal text such as "-129.95"."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal | str):
        raise RefusedError(Code.INVALID_AMOUNT, 'must be a number or a text such as "129.95"')
    if isinstance(value, str) and not _AMOUNT.fullmatch(value):
        raise RefusedError(Code.INVALID_AMOUNT, 'must be a decimal text such as "129.95"')
    try:
        return to_micros(value)
    except MoneyError as error:
        raise RefusedError(Code.INVALID_AMOUNT, str(error)) from error


def amount(value: Any, _context: Context) -> int:
    """Money as millionths, exactly, and not negative."""
    micros = exact(value)
    if micros < 0:
        raise RefusedError(
            Code.NEGATIVE_VALUE, "must be 0 or more; money given back is a `refund` of its own"
        )
    return micros


def whole(value: Any) -> int:
    """A whole number from 0 to 10^15, also as a text of digits."""
    if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) <= 16:
        value = int(value)
    if isinstance(value, Decimal) and value == value.to_integral_value():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise RefusedError(Code.INVALID_COUNT, "must be a whole number")
    if value < 0:
        raise RefusedError(Code.NEGATIVE_VALUE, "must be 0 or more")
    if value > LARGEST_COUNT:
        raise RefusedError(Code.INVALID_COUNT, f"must be at most {LARGEST_COUNT}")
    return value


def count(value: Any, _context: Context) -> int:
    """As `whole`."""
    return whole(value)


def currency(value: Any, _context: Context) -> str:
    """A code of ISO 4217, upper case."""
    code = value.upper() if isinstance(value, str) and value.isascii() else ""
    if code not in CURRENCIES:
        raise RefusedError(
            Code.INVALID_CURRENCY, "must be the three letters of a currency, such as DKK"
        )
    return code


def group(value: Any, _context: Context) -> str:
    """Whose searches are counted."""
    if value not in ("brand", "category"):
        raise RefusedError(Code.UNKNOWN_GROUP, "must be `brand` or `category`")
    return str(value)


_URL = re.compile(
    r"(https?|android-app)://(?:[^/?#@]*@)?(\[[0-9A-Fa-f:.]+\]|[^\s/?#@:\[\]]+)"
    r"(?::([0-9]{1,5})?)?(/[^?#]*)?(?:\?([^#]*))?(?:#.*)?",
    re.IGNORECASE | re.DOTALL,
)
_DEFAULT_PORTS = frozenset({"", "80", "443"})
_CACHED_CHARACTERS = 512
"""Longer addresses are rarely seen twice, and a cache full of them would weigh 100 MB."""


def parse_page(address: str) -> Page | None:
    """The parts of an address, without user, password and fragment; None when it is none."""
    return _known_page(address) if len(address) <= _CACHED_CHARACTERS else _page(address)


def _page(address: str) -> Page | None:
    match = _URL.fullmatch(address.strip())
    if match is None:
        return None
    _, host, port, path, query = match.groups(default="")
    host = host.lower().rstrip(".")
    shown = host if port in _DEFAULT_PORTS else f"{host}:{port}"
    path = masked(path or "/")
    return Page(host, shown + path, query, printable(path)) if host else None


_known_page = lru_cache(maxsize=16384)(_page)


def url(value: Any, context: Context) -> Page:
    """An absolute http or https address."""
    page = parse_page(text(value, context))
    if page is None or value.lstrip()[:4].lower() != "http":
        raise RefusedError(
            Code.INVALID_URL, "must be an absolute address such as https://shop.example/page"
        )
    return page


def link(value: Any, context: Context) -> str:
    """The target of a click, without its query: that may name the reader."""
    return url(value, context).text


def is_target(address: str) -> bool:
    """Whether a reader may be sent to this address: http(s), and safe in a header."""
    return (
        len(address) <= TARGET_CHARACTERS
        and address[:4].lower() == "http"
        and address.isprintable()
        and " " not in address
        and parse_page(address) is not None
    )


def targets(value: Any, _context: Context) -> list[str]:
    """The links of a mail, for which click tokens are minted."""
    if not isinstance(value, list):
        raise RefusedError(Code.WRONG_TYPE, "must be a list of addresses")
    if len(value) > LINKS:
        raise RefusedError(Code.TOO_LONG, f"must have at most {LINKS} addresses")
    if not all(isinstance(item, str) and is_target(item) for item in value):
        raise RefusedError(
            Code.INVALID_URL,
            f"must hold absolute http or https addresses of at most {TARGET_CHARACTERS} characters",
        )
    return value


def referrer(value: Any, context: Context) -> str:
    """The host of the page before; browsers send all kinds of things, so '' where it has none."""
    page = parse_page(text(value, context))
    return "" if page is None else page.host


_INSTANT = re.compile(
    r"\d{4}-\d\d-\d\d[Tt ]\d\d:\d\d:\d\d(?:\.\d{1,9})?([Zz]|[+-]\d\d:\d\d)?", re.ASCII
)
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def bounded(at: datetime, context: Context) -> datetime:
    """A time that an event may have: from 1990 to 24 hours after its receipt."""
    if at > context.latest:
        raise RefusedError(
            Code.TIME_IN_FUTURE, "must not be more than 24 hours ahead of the time of receipt"
        )
    if at < OLDEST:
        raise RefusedError(Code.TIME_TOO_OLD, "must be in 1990 or later")
    return at


def is_date(value: Any) -> bool:
    """Whether this is written as a date, so that no clock said it."""
    return isinstance(value, str) and len(value) == 10 and _DAY.fullmatch(value) is not None


def instant(value: Any, context: Context) -> datetime:
    """As `reading`, or a date: the start of that day in the site's zone; in UTC."""
    return context.start_of(day(value, context)) if is_date(value) else reading(value, context)


def reading(value: Any, _context: Context) -> datetime:
    """What a client's clock says: RFC 3339 with an offset, in UTC; of any year."""
    if not isinstance(value, str):
        raise RefusedError(
            Code.INVALID_TIME,
            "must be a text such as 2026-05-01T10:00:00+02:00; seconds since 1970 are not taken",
        )
    match = _INSTANT.fullmatch(value)
    if match is None:
        raise RefusedError(
            Code.INVALID_TIME,
            "must be RFC 3339, such as 2026-05-01T10:00:00+02:00 (or a date, in `occurred_at`)",
        )
    if match[1] is None:
        raise RefusedError(
            Code.INVALID_TIME, "must end with its offset (Z or +02:00): it is never guessed"
        )
    try:
        return datetime.fromisoformat(value.upper()).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise RefusedError(Code.INVALID_TIME, "must be a time that exists") from error


def day(value: Any, context: Context) -> date:
    """A date YYYY-MM-DD of the site's calendar, from 1990 to tomorrow."""
    if not isinstance(value, str) or not _DAY.fullmatch(value):
        raise RefusedError(Code.INVALID_DATE, "must be a date such as 2026-05-01")
    try:
        found = date.fromisoformat(value)
    except ValueError as error:
        raise RefusedError(Code.INVALID_DATE, "must be a date that exists") from error
    if found.year < OLDEST.year:
        raise RefusedError(Code.TIME_TOO_OLD, "must be in 1990 or later")
    if found > context.today + timedelta(days=1):
        raise RefusedError(Code.TIME_IN_FUTURE, "must not be later than tomorrow")
    return found


def _object(value: dict[Any, Any], context: Context, depth: int) -> dict[str, Any]:
    if len(value) > PROPS_KEYS:
        raise RefusedError(Code.TOO_MANY_PROPS, f"must have at most {PROPS_KEYS} keys")
    return {text(key, context): _free(item, context, depth) for key, item in value.items()}


def _free(value: Any, context: Context, depth: int) -> Any:
    if isinstance(value, str):
        return text(value, context)
    if isinstance(value, dict | list) and depth >= PROPS_DEPTH:
        raise RefusedError(Code.PROPS_TOO_DEEP, f"must be at most {PROPS_DEPTH} levels deep")
    if isinstance(value, dict):
        return _object(value, context, depth + 1)
    if isinstance(value, list):
        return [_free(item, context, depth + 1) for item in value]
    return value


def props(value: Any, context: Context) -> dict[str, Any]:
    """The client's own data: an object of at most 64 keys (in each level) and 8 levels."""
    if not isinstance(value, dict):
        raise RefusedError(Code.WRONG_TYPE, "must be an object")
    return _object(value, context, 1)


def items(value: Any, context: Context) -> list[Any]:
    """The lines of an order, as the shop describes them: at most 256 objects or texts."""
    if not isinstance(value, list):
        raise RefusedError(Code.WRONG_TYPE, "must be a list of the order's lines")
    if len(value) > ITEMS:
        raise RefusedError(Code.TOO_LONG, f"must have at most {ITEMS} lines")
    return [_free(item, context, 1) for item in value]


def as_given(value: Any, _context: Context) -> Any:
    """A value that is judged together with others, by the kind's own rule."""
    return value
