"""Dimensions: what a measure can be broken down by, stored once and referenced by a hash."""

from __future__ import annotations

from hashlib import blake2b
from typing import NamedTuple

DIMENSIONS = ("channel", "source", "medium", "campaign", "content", "term", "survey")
"""Breakdown names, in the order of `Dimension` and of the columns of table `dimension`."""


class Dimension(NamedTuple):
    """One combination of dimension values; '' where a dimension has none."""

    channel: str = ""
    source: str = ""
    medium: str = ""
    campaign: str = ""
    content: str = ""
    term: str = ""
    survey: str = ""


def dimension_id(dimension: Dimension) -> int:
    """The 64-bit signed id of a combination; 0 is kept for the empty one.

    A hash needs no lookup round trip on ingestion, and is the same on every machine.
    """
    if not any(dimension):
        return 0
    text = "\x1f".join(dimension).encode()
    return int.from_bytes(blake2b(text, digest_size=8, person=b"kompas-dim").digest(), signed=True)
