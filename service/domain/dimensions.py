"""Dimensions: what a measure can be broken down by, stored once and referenced by a hash.

There are two sorts. Those of `Dimension` are few enough in combination that rollups hold sums for
each; those of `Detail` (pages, countries, devices, the client's own) are read from facts.
"""

from __future__ import annotations

from hashlib import blake2b
from typing import NamedTuple

DIMENSIONS = ("channel", "source", "medium", "campaign", "content", "term", "survey", "event")
"""Breakdown names, in the order of `Dimension` and of the columns of table `dimension`."""

DETAILS = {"landing_page": "page", "page": "page", "country": "country", "device": "device"}
"""Breakdown names, and the column of `detail` that has the value: of a visit it is the entry's."""

PRODUCT = "product"
"""Breakdown by the lines of orders."""

PROP_PREFIX = "props."
"""Breakdown by a prop that the site declares: `props.plan`."""


class Dimension(NamedTuple):
    """One combination of dimension values; '' where a dimension has none.

    `event` is the name of a custom event.
    """

    channel: str = ""
    source: str = ""
    medium: str = ""
    campaign: str = ""
    content: str = ""
    term: str = ""
    survey: str = ""
    event: str = ""


class Detail(NamedTuple):
    """Where something happened; '' where nobody knows.

    `page` is the path of the page (of a visit: its landing page), `country` an ISO 3166 code in
    capitals, `device` one of `desktop`, `mobile`, `tablet`, `tv`; `props` are the values of the
    props that the site declares, as (name, value) by name.
    """

    page: str = ""
    country: str = ""
    device: str = ""
    props: tuple[tuple[str, str], ...] = ()


def dimension_id(dimension: Dimension) -> int:
    """The 64-bit signed id of a combination; 0 is kept for the empty one.

    A hash needs no lookup round trip on ingestion, and is the same on every machine.
    """
    if not any(dimension):
        return 0
    # Ids from before there was `event` stay what they were.
    named = dimension if dimension.event else dimension[:-1]
    return _hash("\x1f".join(named), b"kompas-dim")


def detail_id(detail: Detail) -> int:
    """The 64-bit signed id of a detail; 0 is kept for the empty one."""
    if not any(detail):
        return 0
    props = (text for pair in detail.props for text in pair)
    return _hash("\x1f".join((*detail[:3], *props)), b"kompas-detail")


def _hash(text: str, person: bytes) -> int:
    digest = blake2b(text.encode(), digest_size=8, person=person).digest()
    return int.from_bytes(digest, signed=True)
