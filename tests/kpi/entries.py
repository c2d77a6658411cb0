"""Entries of a catalogue, sound ones and ways to spoil them."""

from __future__ import annotations

import copy
from typing import Any

from service.kpi.definition import Entry, Kpi
from service.kpi.rules import problems_of
from service.kpi.rules.sets import built

SOUND: dict[str, Any] = {
    "id": "cost_per_post",
    "title": {"en": "Cost per post", "da": "Pris pr. opslag"},
    "about": {"en": "Spend per post.", "da": "Forbrug pr. opslag."},
    "edge": {"en": "No posts: no value.", "da": "Ingen opslag: ingen værdi."},
    "unit": "currency",
    "direction": "down",
    "kind": "ratio",
    "additivity": "none",
    "numerator": {"spend": 1},
    "denominator": {"posts": 1},
    "breakdowns": ["campaign"],
    "default_window": "last_30_days",
    "source": "a book",
    "owner": "brand",
    "version": 1,
    "status": "stable",
}
SHARE: dict[str, Any] = {
    **SOUND,
    "unit": "fraction",
    "numerator": {"bounces": 1},
    "denominator": {"visits": 1},
    "interval": "wilson",
    "bounded": True,
}
SCORE: dict[str, Any] = {
    **SOUND,
    "unit": "points",
    "numerator": {"nps_promoters": 1, "nps_detractors": -1},
    "denominator": {"nps_responses": 1},
    "scale": 100,
    "interval": "nps",
}
SUM: dict[str, Any] = {**SOUND, "kind": "simple", "additivity": "full", "denominator": {}}
DISTINCT: dict[str, Any] = {
    **SOUND,
    "unit": "count",
    "kind": "distinct",
    "numerator": {"distinct_visitors": 1},
    "denominator": {},
}
VIEWS: dict[str, Any] = {
    **{key: value for key, value in SHARE.items() if key not in {"numerator", "denominator"}},
    "kind": "cohort",
    "views": {
        "cohort": {"numerator": {"leads_converted": 1}, "denominator": {"leads_identified": 1}},
        "period": {"numerator": {"customers_from_leads": 1}, "denominator": {"leads": 1}},
    },
    "default_view": "cohort",
}
DERIVED: dict[str, Any] = {
    **{key: value for key, value in SOUND.items() if key not in {"numerator", "denominator"}},
    "id": "doubled",
    "kind": "derived",
    "factors": {"price": 1},
    "weight": 2,
}
# No key for an empty side: that is how the shipped files write sums.
for plain in (SUM, DISTINCT):
    del plain["denominator"]


def entry(base: dict[str, Any], **changes: Any) -> Entry:
    """A sound entry with some keys changed, or left out where the change is None."""
    data = {**copy.deepcopy(base), **changes}
    data = {key: value for key, value in data.items() if value is not None}
    return Entry("brand.toml", str(data.get("id", "?")), data)


def told(*entries: Entry) -> list[str]:
    """Every problem as it is told."""
    return [str(problem) for problem in problems_of(entries)]


def kpi_of(odd: Entry) -> Kpi:
    """The definition of an entry; a derived one is of the sound entry."""
    return built([BESIDE, odd])[-1][1]


def view(**changes: Any) -> dict[str, Any]:
    """Two views, of which the period one is changed."""
    views = copy.deepcopy(VIEWS["views"])
    period = {**views["period"], **changes}
    return {**views, "period": {key: value for key, value in period.items() if value is not None}}


BESIDE = entry(SOUND, id="price")
