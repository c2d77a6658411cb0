"""Filters and breakdowns of a request: `campaign:spring*,!channel:Direct` as conditions."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from service.domain.dimensions import DETAILS, DIMENSIONS, PRODUCT, PROP_PREFIX
from service.errors import InvalidError
from service.kit.json import clean
from service.kit.nearest import nearest

MOST_CONDITIONS = 50
MOST_DIMENSIONS = 4
"""A breakdown by more would have nearly a row for every fact."""

NAMES = (*DIMENSIONS, *DETAILS, PRODUCT)
"""What every site can be broken down by; a site's own props come on top."""

PROP = re.compile(re.escape(PROP_PREFIX) + "[a-z][a-z0-9_]{0,31}")
"""A prop as a dimension; such a name is safe inside SQL text."""


@dataclass(frozen=True, slots=True)
class Condition:
    """A dimension has one of `values`, or a value that begins with one of `prefixes`.

    Negated: it has none of them. The value '' stands for rows without one.
    """

    name: str
    values: tuple[str, ...] = ()
    prefixes: tuple[str, ...] = ()
    negated: bool = False


Filters = tuple[Condition, ...]
"""Conditions that must all hold: at most two a dimension, what it has before what it has not."""

_Letters = list[tuple[str, bool]]
"""Characters of a text, and whether a backslash takes away their meaning."""

_LETTER = re.compile(r"\\(.)|(.)", re.DOTALL)


def check_dimension(name: str, field: str, props: Sequence[str] = ()) -> str:
    """The dimension itself; InvalidError with the nearest names for an unknown one.

    `props` are the props that the site declares, without `props.`.
    """
    declared = [PROP_PREFIX + prop for prop in props]
    if name in NAMES or (name in declared and PROP.fullmatch(name)):
        return name
    known = (*NAMES, *declared)
    meant = nearest(name, known)
    hint = f" Did you mean {' or '.join(meant)}?" if meant else ""
    if name.startswith(PROP_PREFIX):
        hint += " A prop must be declared by the site before it can be asked for."
    raise InvalidError(
        f"'{name[:100]}' is not a dimension; use one of {', '.join(known)}.{hint}",
        code="unknown_dimension",
        field=field,
        nearest=meant,
    )


def parse_by(text: str | None, props: Sequence[str] = ()) -> tuple[str, ...]:
    """The dimensions of a `by` text, separated by commas, in their order.

    Raises InvalidError for an unknown dimension (`unknown_dimension`), and for dimensions that
    cannot stand together (`invalid_breakdown`): more than `MOST_DIMENSIONS`, one of them twice, or
    `product` with another, because a line of an order has no touches of its own.
    """
    if text is None or not text.strip():
        return ()
    names = tuple(check_dimension(name.strip(), "by", props) for name in text.split(","))
    if len(set(names)) < len(names):
        raise _invalid_by("Name every dimension of a breakdown once.")
    if len(names) > MOST_DIMENSIONS:
        raise _invalid_by(f"A breakdown has at most {MOST_DIMENSIONS} dimensions.")
    if PRODUCT in names and len(names) > 1:
        raise _invalid_by(
            "A breakdown by product goes with no other dimension; use where= for the others,"
            " such as by=product&where=campaign:spring."
        )
    return names


def _invalid_by(message: str) -> InvalidError:
    return InvalidError(message, code="invalid_breakdown", field="by")


def parse(text: str | None, props: Sequence[str] = ()) -> Filters:
    """The filters of a `where` text; InvalidError for what cannot be read.

    Conditions are `dimension:value`, separated by commas. A star at the end of a value stands for
    any rest (`campaign:spring*`), an exclamation mark before the dimension for "not"
    (`!channel:Direct`). A backslash before a comma, a star, a colon, a blank or a backslash makes
    it part of the value. Conditions on different dimensions must all hold, of those on the same
    dimension one, and of those with "not" each. An empty value means rows without a value.
    """
    if text is None or not text.strip():
        return ()
    found: dict[tuple[str, bool], tuple[dict[str, None], dict[str, None]]] = {}
    count = 0
    for said in _split(_letters(text), ","):
        negated, name, value, is_prefix = _condition(said)
        values = found.setdefault((check_dimension(name, "where", props), negated), ({}, {}))
        values[is_prefix][clean(value)] = None
        count += 1
    if count > MOST_CONDITIONS:
        raise _invalid(f"A filter has at most {MOST_CONDITIONS} conditions.")
    return tuple(
        Condition(name, tuple(found[name, negated][0]), tuple(found[name, negated][1]), negated)
        for name, negated in sorted(found, key=lambda key: (_place(key[0]), key))
    )


def _place(name: str) -> int:
    return NAMES.index(name) if name in NAMES else len(NAMES)


def _letters(text: str) -> _Letters:
    return [(kept or plain, bool(kept)) for kept, plain in _LETTER.findall(text)]


def _split(letters: _Letters, separator: str) -> Iterator[_Letters]:
    part: _Letters = []
    for letter in letters:
        if letter == (separator, False):
            yield part
            part = []
        else:
            part.append(letter)
    yield part


def _condition(said: _Letters) -> tuple[bool, str, str, bool]:
    """Whether it is negated, the dimension, the value, and whether that is a prefix."""
    said = _stripped(said)
    negated = said[:1] == [("!", False)]
    if negated:
        said = said[1:]
    if (":", False) not in said:
        raise _invalid(
            f"'{_text(said)[:100]}' is not a condition; write dimension:value, separated by commas,"
            " such as campaign:spring*,!channel:Email (a comma in a value as \\,)."
        )
    colon = said.index((":", False))
    name, value = _text(_stripped(said[:colon])), _stripped(said[colon + 1 :])
    is_prefix = value[-1:] == [("*", False)]
    if value == [("*", False)]:
        raise _invalid(
            f"'{name[:100]}:*' is true of every row; write !{name[:100]}: for those with a value."
        )
    return negated, name, _text(value[:-1] if is_prefix else value), is_prefix


def _stripped(letters: _Letters) -> _Letters:
    meant = [n for n, (letter, kept) in enumerate(letters) if kept or not letter.isspace()]
    return letters[meant[0] : meant[-1] + 1] if meant else []


def _text(letters: _Letters) -> str:
    return "".join(letter for letter, _ in letters)


def _invalid(message: str) -> InvalidError:
    return InvalidError(message, code="invalid_filter", field="where")
