"""Which detail an event gets (page, country, device, declared props), and its id."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from functools import lru_cache
from typing import Any

from service.domain.dimensions import Detail, detail_id
from service.ingest.context import Context
from service.ingest.masking import masked, printable

Placed = tuple[int, Detail]
"""A detail and its id, 0 for the empty one."""

LABEL_CHARACTERS = 200
"""What an answer is broken down by is a word or a few: longer texts are cut."""

_CACHED_CHARACTERS = 512


def _placed(page: str, country: str, device: str) -> Placed:
    detail = Detail(page, country, device)
    return detail_id(detail), detail


_known = lru_cache(maxsize=16384)(_placed)


def label(value: Any) -> str:
    """A text, number or truth value as something to break answers down by; '' for anything else."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Decimal):
        return format(value, "f")
    if not isinstance(value, int | str):
        return ""
    # Masked before it is cut: half an address is one still.
    return printable(masked(str(value))).strip()[:LABEL_CHARACTERS].rstrip()


def _declared(given: Mapping[str, Any], names: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    labels = ((name, label(given[name])) for name in sorted(names) if name in given)
    return tuple(pair for pair in labels if pair[1])


def detail_of(values: Mapping[str, Any], context: Context) -> Placed:
    """The detail of an event with these parsed fields, and its id."""
    url = values.get("url")
    page = "" if url is None else url.path
    place = _known if len(page) <= _CACHED_CHARACTERS else _placed
    found = place(page, context.visitor_country, context.device)
    if "props" in values and context.site.rules.props:
        props = _declared(values["props"], context.site.rules.props)
        if props:
            detail = found[1]._replace(props=props)
            return detail_id(detail), detail
    return found
