"""What rules have in common: how a problem is told, and what a value may look like."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal

from service.kit.nearest import nearest

Found = tuple[str, str]
"""The path of the key that has a problem ('' for the whole entry), and the problem."""

Problems = Iterator[Found]

MOST_CHARACTERS = 300
_MOST_LISTED = 100
_LARGEST = 15
_FINEST = 15


def unknown(what: str, name: object, names: Sequence[str]) -> str:
    """That there is no such name, and which ones may have been meant, or else which there are."""
    said = str(name)[:100]
    meant = nearest(said, names)
    hint = f"meant {' or '.join(meant)}?" if meant else f"there is {_listed(names)}"
    return f"{what} '{said}' does not exist; {hint}"


def _listed(names: Sequence[str]) -> str:
    more = len(names) - _MOST_LISTED
    return ", ".join(names[:_MOST_LISTED]) + (f" and {more} more" if more > 0 else "")


def is_number(value: object) -> bool:
    """Whether it is a number with at most 15 digits before and 15 after the point."""
    if isinstance(value, bool) or not isinstance(value, int | Decimal):
        return False
    number = Decimal(value)
    exponent = number.as_tuple().exponent
    return isinstance(exponent, int) and exponent >= -_FINEST and number.adjusted() < _LARGEST


def is_line(text: object) -> bool:
    """Whether it is one line of text of a bearable length."""
    if not isinstance(text, str) or not text.strip() or len(text) > MOST_CHARACTERS:
        return False
    return text.replace("\xa0", " ").isprintable()


def path(view: str, key: str) -> str:
    """The path of a key of a view; an entry without views has one named ''."""
    return f"views.{view}.{key}" if view else key
