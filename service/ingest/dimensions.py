"""Which dimensions an event gets, and their ids; answers are cached, because few recur often."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from service.domain.dimensions import Dimension, dimension_id
from service.ingest.channels import Tags, classify, from_tags

Values = Mapping[str, Any]
"""The parsed fields of one event by name; what was left out is absent."""

Placed = tuple[int, Dimension]
"""A dimension and its id, 0 for the empty one."""

Place = Callable[[Values], Placed]

_CACHED_CHARACTERS = 1024
"""Texts of 8 KiB would make the caches weigh 100 MB."""


def _placed(dimension: Dimension) -> Placed:
    return dimension_id(dimension), dimension


def _tags(values: Values) -> Tags:
    get = values.get
    return Tags(
        get("source", ""),
        get("medium", ""),
        get("campaign", ""),
        get("content", ""),
        get("term", ""),
    )


def _viewed(tags: Tags, referrer: str, host: str, query: str) -> Placed:
    return _placed(classify(tags, referrer, host, query))


def _said(tags: Tags, medium: str, survey: str) -> Placed:
    assumed = not tags.medium
    dimension = from_tags(tags._replace(medium=medium) if assumed else tags)
    return _placed(dimension._replace(medium="" if assumed else dimension.medium, survey=survey))


_known_view = lru_cache(maxsize=16384)(_viewed)
_known_tags = lru_cache(maxsize=8192)(_said)


def of_view(values: Values) -> Placed:
    """A page view: its fields, then the tags in its address, then the page before it."""
    page, tags = values["url"], _tags(values)
    place = _known_view if sum(map(len, tags)) + len(page.query) < _CACHED_CHARACTERS else _viewed
    return place(tags, values.get("referrer", ""), page.host, page.query)


def _of_tags(tags: Tags, medium: str = "", survey: str = "") -> Placed:
    small = sum(map(len, tags)) + len(survey) < _CACHED_CHARACTERS
    return (_known_tags if small else _said)(tags, medium, survey)


def of_fields(values: Values) -> Placed:
    """Anything that is no visit: what its fields say, or nothing."""
    return _of_tags(_tags(values))


def assuming(medium: str) -> Place:
    """As `of_fields`; without a medium the channel is that of `medium`, which is not stored.

    What was paid for on google is Paid Search, also when nobody wrote `cpc` beside the cost.
    """
    return lambda values: _of_tags(_tags(values), medium)


def of_post(values: Values) -> Placed:
    """A social post: its network is the source."""
    tags = _tags(values)
    return _of_tags(tags if tags.source else tags._replace(source=values["network"]), "social")


def of_survey(values: Values) -> Placed:
    """An answer: its fields, and which survey it belongs to."""
    return _of_tags(_tags(values), survey=values["survey"])


def of_search(values: Values) -> Placed:
    """A search volume: nobody came by it, so it has no channel."""
    _, dimension = _of_tags(_tags(values))
    return _placed(dimension._replace(channel=""))
