"""Random logs: few people and things, so that everything meets everything.

Times lie around the hour in which clocks change, often exactly a visit's gap or an attribution's
lookback apart, and rows come in any order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import strategies as st

from service.domain.dimensions import Dimension
from service.domain.kinds import Flag, Kind
from tests.project.log import Row, uid

CHANGES = {
    "Europe/Copenhagen": datetime(2026, 3, 28, 23, tzinfo=UTC),
    "America/St_Johns": datetime(2026, 11, 1, 4, 30, tzinfo=UTC),
    # Midnight occurs twice.
    "America/Havana": datetime(2026, 11, 1, 5, tzinfo=UTC),
    # Midnight does not occur.
    "Africa/Cairo": datetime(2026, 4, 23, 22, tzinfo=UTC),
    # No change, but days begin at a quarter past.
    "Asia/Kathmandu": datetime(2026, 5, 31, 18, 15, tzinfo=UTC),
}
"""A zone, and an instant at which a day begins, less than three hours from its clocks' change."""

DIMENSIONS = (
    Dimension(),
    Dimension("Direct"),
    Dimension("Organic Search", "google", "organic"),
    Dimension("Paid Search", "google", "cpc", "spring"),
    Dimension("Email", "newsletter", "email", "may", content="top"),
)
CURRENCIES = st.sampled_from(("DKK", "EUR"))
AMOUNTS = st.integers(0, 3).map(lambda units: units * 99_950_001)
COUNTS = st.integers(0, 3)
LINES = st.lists(
    st.tuples(
        st.sampled_from(("tea", "cup", "")),
        st.none() | COUNTS,
        st.none() | AMOUNTS | AMOUNTS.map(lambda amount: -amount),
    ),
    max_size=3,
)
AD_COUNTS = ("impressions", "clicks", "invalid_clicks", "viewable", "measurable")
DETAILS = st.sampled_from((0, 0, 11, 12))

_MINUTES = st.integers(-6, 18).map(lambda tens: timedelta(minutes=10 * tens))
_MICROSECONDS = st.integers(-(10**10), 10**10).map(lambda us: timedelta(microseconds=us))
_MONTH = st.builds(
    lambda days, tens: timedelta(days=days, minutes=10 * tens),
    st.sampled_from((-30, 30)),
    st.integers(-2, 2),
)
OFFSETS = st.one_of(_MINUTES, _MINUTES, _MICROSECONDS, _MONTH)

Draw = Callable[[st.SearchStrategy[Any]], Any]


def _maybe(draw: Draw, **members: st.SearchStrategy[Any]) -> dict[str, Any]:
    """Each member or not."""
    return {name: draw(value) for name, value in members.items() if draw(st.booleans())}


def _named(draw: Draw, what: str) -> str:
    return uid(f"{what} {draw(st.integers(1, 2))}")


def _people(draw: Draw) -> dict[str, Any]:
    return {what: _named(draw, what) for what in ("customer", "lead") if draw(st.booleans())}


def _view(draw: Draw) -> dict[str, Any]:
    return {"page": "shop.example/", **_people(draw)}


def _email(draw: Draw) -> dict[str, Any]:
    return {"message": _named(draw, "message")}


def _lead(draw: Draw) -> dict[str, Any]:
    if draw(st.integers(0, 3)):
        return {"lead": _named(draw, "lead")}
    return {"quantity": draw(COUNTS)}


def _conversion(draw: Draw) -> dict[str, Any]:
    paid = {"value": draw(AMOUNTS), "currency": draw(CURRENCIES)}
    extra = _maybe(draw, cost=AMOUNTS, new=st.booleans(), units=COUNTS, lines=LINES)
    people = _people(draw)
    if draw(st.integers(0, 4)) == 0:
        return {**paid, **extra, **people, "quantity": draw(COUNTS)}
    return {**paid, **extra, **people, "quantity": 1, "order": _named(draw, "order")}


def _refund(draw: Draw) -> dict[str, Any]:
    return {"order": _named(draw, "order"), "value": draw(AMOUNTS), "currency": draw(CURRENCIES)}


def _answer(draw: Draw) -> dict[str, Any]:
    surveys = ["nps", "enps", "csat", "ces", "awareness_aided", "awareness_unaided", "exit"]
    said = {"survey": draw(st.sampled_from(surveys)), "grade": draw(st.sampled_from((1, 0, -1)))}
    return {**said, **({"respondent": _named(draw, "person")} if draw(st.booleans()) else {})}


def _ad_spend(draw: Draw) -> dict[str, Any]:
    said = {"key": _named(draw, "ad"), "cost": draw(AMOUNTS), "currency": draw(CURRENCIES)}
    return {**said, **_maybe(draw, **dict.fromkeys(AD_COUNTS, COUNTS))}


def _social_post(draw: Draw) -> dict[str, Any]:
    said = {name: draw(COUNTS) for name in ("likes", "comments", "shares", "followers")}
    return {"key": _named(draw, "post"), **said, **_maybe(draw, reach=COUNTS, impressions=COUNTS)}


def _search_volume(draw: Draw) -> dict[str, Any]:
    group = draw(st.sampled_from(("brand", "category")))
    return {"key": _named(draw, "term"), "group": group, "volume": draw(COUNTS)}


def _custom(draw: Draw) -> dict[str, Any]:
    paid = {"value": draw(AMOUNTS), "currency": draw(CURRENCIES)}
    return {"name": "download", **(paid if draw(st.booleans()) else {})}


DATA: dict[Kind, Callable[[Draw], dict[str, Any]]] = {
    Kind.PAGE_VIEW: _view,
    **{kind: _email for kind in Kind if kind.name.startswith("EMAIL_")},
    Kind.LEAD: _lead,
    Kind.CONVERSION: _conversion,
    Kind.REFUND: _refund,
    Kind.SURVEY_ANSWER: _answer,
    Kind.AD_SPEND: _ad_spend,
    Kind.SOCIAL_POST: _social_post,
    Kind.SEARCH_VOLUME: _search_volume,
    Kind.CUSTOM: _custom,
}
# What has journeys and credits is drawn more often than what is only counted.
_OFTEN = (Kind.PAGE_VIEW, Kind.PAGE_VIEW, Kind.PAGE_VIEW, Kind.CONVERSION, Kind.LEAD, Kind.REFUND)
KINDS = st.sampled_from((*_OFTEN, *_OFTEN, *DATA))

_LOOKBACKS = st.sampled_from((None, None, None, 1, 30, 60))

_VERDICTS = (
    *(Flag(0), Flag(0), Flag.DATED, Flag.DATED | Flag.CONSENT, Flag.CONSENT),
    *(Flag.MACHINE, Flag.BOT),
)


@st.composite
def rows(draw: Draw, around: datetime) -> Row:
    """A row of any kind, near `around`."""
    kind = draw(KINDS)
    flags = draw(st.sampled_from(_VERDICTS))
    visitor = draw(st.integers(0, 3))
    if visitor == 0 and draw(st.booleans()):
        flags |= Flag.OPTED_OUT
    at = around + draw(OFFSETS)
    dim = draw(st.sampled_from(DIMENSIONS))
    return Row(kind, at, dim, visitor, flags, DATA[kind](draw), draw(DETAILS))


@dataclass(frozen=True)
class Batch:
    """Rows of one of the sites, received `minute` minutes after others.

    After it: the site's new lookback in days, if it gets one; `limit` events to project, None: not
    yet; and facts a slice to credit again if the lookback has changed, None: not yet.
    """

    site: int
    rows: list[Row]
    minute: int
    lookback: int | None
    limit: int | None
    slice_rows: int | None


@dataclass(frozen=True)
class Stream:
    """Batches in the order of their ids, committed in the order `commits`; a zone a site."""

    zones: tuple[str, ...]
    batches: list[Batch]
    commits: list[int]
    slice_rows: int
    rebuild_events: int


@st.composite
def streams(draw: Draw) -> Stream:
    """One or two sites with up to 40 rows in up to 8 batches."""
    zones = tuple(draw(st.lists(st.sampled_from(list(CHANGES)), min_size=1, max_size=2)))
    batches = []
    for _ in range(draw(st.integers(1, 8))):
        site = draw(st.integers(0, len(zones) - 1))
        around = CHANGES[zones[site]]
        content = draw(st.lists(rows(around), min_size=1, max_size=8))
        limit, slice_rows = (
            draw(st.none() | st.integers(1, 12)),
            draw(st.none() | st.integers(1, 4)),
        )
        minute = draw(st.integers(0, 3))
        batches.append(Batch(site, content, minute, draw(_LOOKBACKS), limit, slice_rows))
    commits = draw(st.permutations(range(len(batches))))
    return Stream(zones, batches, commits, draw(st.integers(1, 9)), draw(st.integers(1, 40)))
