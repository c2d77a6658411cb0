"""Filters of a request: `campaign:spring,channel:Email` as conditions on dimensions."""

from __future__ import annotations

import re
from collections.abc import Iterator

from service.domain.dimensions import DIMENSIONS
from service.errors import InvalidError
from service.kit.json import clean
from service.kit.nearest import nearest

MOST_CONDITIONS = 50

Filters = tuple[tuple[str, tuple[str, ...]], ...]
"""(dimension, its values), in the order of `DIMENSIONS`: one of the values of every dimension."""

_PIECE = re.compile(r"(?:\\.|[^\\,:]|\\\Z)+|[,:]", re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)


def check_dimension(name: str, field: str) -> str:
    """The dimension itself; InvalidError with the nearest names for an unknown one."""
    if name not in DIMENSIONS:
        meant = nearest(name, DIMENSIONS)
        hint = f" Did you mean {' or '.join(meant)}?" if meant else ""
        raise InvalidError(
            f"'{name[:100]}' is not a dimension; use one of {', '.join(DIMENSIONS)}.{hint}",
            code="unknown_dimension",
            field=field,
            nearest=meant,
        )
    return name


def parse(text: str | None) -> Filters:
    """The filters of a `where` text; InvalidError for what cannot be read.

    Conditions are `dimension:value`, separated by commas; a comma or a backslash in a value is
    written with a backslash before it, and so may a colon be. Conditions on different dimensions
    must all hold, of those on the same dimension one. An empty value means rows without a value.
    """
    if text is None or not text.strip():
        return ()
    values: dict[str, dict[str, None]] = {}
    count = 0
    for name, value in _conditions(text):
        values.setdefault(check_dimension(name, "where"), {})[clean(value)] = None
        count += 1
    if count > MOST_CONDITIONS:
        raise InvalidError(
            f"A filter has at most {MOST_CONDITIONS} conditions.",
            code="invalid_filter",
            field="where",
        )
    return tuple((name, tuple(values[name])) for name in DIMENSIONS if name in values)


def _conditions(text: str) -> Iterator[tuple[str, str]]:
    name: str | None = None
    said = ""
    for piece in [*_PIECE.findall(text), ","]:
        if piece == ",":
            if name is None:
                raise InvalidError(
                    f"'{said[:100]}' is not a condition; write dimension:value, separated by"
                    " commas, such as campaign:spring,channel:Email (a comma in a value as \\,).",
                    code="invalid_filter",
                    field="where",
                )
            yield name, said.strip()
            name, said = None, ""
        elif piece == ":" and name is None:
            name, said = said.strip(), ""
        else:
            said += _ESCAPE.sub(r"\1", piece)
