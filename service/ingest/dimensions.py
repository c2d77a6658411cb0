"""Which dimensions an event gets, and their ids; answers are cached, because few recur often."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from service.domain.access import SiteRules
from service.domain.dimensions import Dimension, dimension_id
from service.ingest.channels import Tags, classify, from_tags
from service.ingest.masking import masked, printable

Values = Mapping[str, Any]
"""The parsed fields of one event by name; what was left out is absent."""

Placed = tuple[int, Dimension]
"""A dimension and its id, 0 for the empty one."""

Place = Callable[[Values, SiteRules], Placed]

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


def _viewed(tags: Tags, referrer: str, host: str, query: str, rules: SiteRules) -> Placed:
    return _placed(classify(tags, referrer, host, query, rules))


def _said(tags: Tags, rules: SiteRules, medium: str, survey: str, event: str) -> Placed:
    assumed = not tags.medium
    dimension = from_tags(tags._replace(medium=medium) if assumed else tags, rules)
    medium = "" if assumed else dimension.medium
    return _placed(dimension._replace(medium=medium, survey=survey, event=event))


_known_view = lru_cache(maxsize=16384)(_viewed)
_known_tags = lru_cache(maxsize=8192)(_said)


def of_view(values: Values, rules: SiteRules) -> Placed:
    """A page view: its fields, then the tags in its address, then the page before it."""
    page, tags = values["url"], _tags(values)
    place = _known_view if sum(map(len, tags)) + len(page.query) < _CACHED_CHARACTERS else _viewed
    return place(tags, values.get("referrer", ""), page.host, page.query, rules)


def _of_tags(
    tags: Tags, rules: SiteRules, medium: str = "", survey: str = "", event: str = ""
) -> Placed:
    small = sum(map(len, tags)) + len(survey) + len(event) < _CACHED_CHARACTERS
    return (_known_tags if small else _said)(tags, rules, medium, survey, event)


def of_fields(values: Values, rules: SiteRules) -> Placed:
    """Anything that is no visit: what its fields say, or nothing."""
    return _of_tags(_tags(values), rules)


def assuming(medium: str) -> Place:
    """As `of_fields`; without a medium the channel is that of `medium`, which is not stored.

    What was paid for on google is Paid Search, also when nobody wrote `cpc` beside the cost.
    """
    return lambda values, rules: _of_tags(_tags(values), rules, medium)


def of_post(values: Values, rules: SiteRules) -> Placed:
    """A social post: its network is the source."""
    tags = _tags(values)
    named = tags if tags.source else tags._replace(source=values["network"])
    return _of_tags(named, rules, "social")


def of_survey(values: Values, rules: SiteRules) -> Placed:
    """An answer: its fields, and which survey it belongs to."""
    return _of_tags(_tags(values), rules, survey=values["survey"])


def of_search(values: Values, rules: SiteRules) -> Placed:
    """A search volume: nobody came by it, so it has no channel."""
    _, dimension = _of_tags(_tags(values), rules)
    return _placed(dimension._replace(channel=""))


def of_custom(values: Values, rules: SiteRules) -> Placed:
    """A custom event: its fields, and its name."""
    return _of_tags(_tags(values), rules, event=printable(masked(values["name"])).strip())
