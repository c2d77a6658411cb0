from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.kinds import Flag, Kind
from service.ingest.normalise import normalise
from service.ingest.statements import LONGEST_DAYS, shares
from tests.ingest.given import NOW, SITE, context, data, good, row, rows


def key(event: dict[str, Any]) -> str:
    return str(data(row(event))["key"])


def over(kind: Kind, first: str, last: str, **fields: Any) -> dict[str, Any]:
    return good(kind, date=None, **{"from": first, "to": last, **fields})


def test_a_period_becomes_days_of_the_sites_calendar() -> None:
    spend = over(Kind.AD_SPEND, "2026-03-28", "2026-03-30", cost="100", clicks=7, campaign="spring")
    found = rows(spend)
    assert [row.position for row in found] == [0, 0, 0]
    assert {row.flags for row in found} == {Flag.DATED}
    # The night to Sunday is an hour shorter: clocks go forward on the 29th.
    assert [row.occurred_at for row in found] == [
        datetime(2026, 3, 27, 23, tzinfo=UTC),
        datetime(2026, 3, 28, 23, tzinfo=UTC),
        datetime(2026, 3, 29, 22, tzinfo=UTC),
    ]
    days = [data(row) for row in found]
    assert [day["day"] for day in days] == ["2026-03-28", "2026-03-29", "2026-03-30"]
    assert [day["cost"] for day in days] == [33_333_333, 33_333_333, 33_333_334]
    assert [day["clicks"] for day in days] == [2, 2, 3]
    assert all("impressions" not in day for day in days)
    assert {day["currency"] for day in days} == {"DKK"}
    assert len({day["key"] for day in days}) == 3


@pytest.mark.parametrize(
    "name", ["impressions", "clicks", "invalid_clicks", "viewable", "measurable"]
)
def test_every_count_of_an_advertisement_is_spread(name: str) -> None:
    spend = over(Kind.AD_SPEND, "2026-05-01", "2026-05-03", cost="1", **{name: 7})
    assert [data(row)[name] for row in rows(spend)] == [2, 2, 3]


def test_a_day_of_a_period_is_the_same_statement_as_that_day_alone() -> None:
    for kind in (Kind.AD_SPEND, Kind.SEARCH_VOLUME):
        month = rows(over(kind, "2026-04-01", "2026-04-30"))
        assert data(month[14])["key"] == key(good(kind, date="2026-04-15"))
        one_day = rows(over(kind, "2026-04-15", "2026-04-15"))
        assert one_day == rows(good(kind, date="2026-04-15"))


@settings(deadline=None)
@given(st.integers(0, 10**18), st.integers(1, LONGEST_DAYS))
def test_shares_sum_to_the_total_exactly(total: int, parts: int) -> None:
    found = shares(total, parts)
    assert len(found) == parts
    assert sum(found) == total
    assert max(found) - min(found) <= 1
    assert min(found) >= 0
    half = sum(found[: parts // 2])
    assert abs(half * parts - total * (parts // 2)) < parts


@settings(deadline=None)
@given(
    st.dates(date(1990, 1, 2), date(2026, 5, 1)),
    st.integers(0, LONGEST_DAYS - 1),
    st.decimals("0", "999999999999", places=6),
    st.integers(0, 10**15),
)
def test_the_days_of_a_period_add_up(first: date, further: int, cost: Any, clicks: int) -> None:
    last = min(first + timedelta(days=further), date(2026, 5, 20))
    fields = {"cost": f"{cost:f}", "clicks": clicks, "impressions": 0}
    found = rows(over(Kind.AD_SPEND, first.isoformat(), last.isoformat(), **fields))
    days = [data(row) for row in found]
    assert [day["day"] for day in days] == [
        (first + timedelta(days=number)).isoformat() for number in range((last - first).days + 1)
    ]
    assert sum(day["cost"] for day in days) == int(cost * 10**6)
    assert sum(day["clicks"] for day in days) == clicks
    assert sum(day["impressions"] for day in days) == 0
    at = [row.occurred_at for row in found]
    assert at == sorted(set(at))
    assert [moment.astimezone(context().zone).date().isoformat() for moment in at] == [
        day["day"] for day in days
    ]


def test_what_is_one_statement() -> None:
    spend = good(Kind.AD_SPEND, medium="cpc", campaign="spring", content="red", term="shoe")
    same = [
        {**spend, "cost": 99, "currency": "EUR"},
        {**spend, "source": " Google ", "medium": "CPC"},
        {**spend, "clicks": 3, "id": "x", "props": {}},
    ]
    other = [
        {**spend, name: "another"} for name in ("source", "medium", "campaign", "content", "term")
    ] + [{**spend, "date": "2026-05-02"}, {**spend, "campaign": "Spring"}]
    assert {key(event) for event in same} == {key(spend)}
    assert len({key(event) for event in [spend, *other]}) == 8


def test_what_is_one_post_and_one_term() -> None:
    post = good(Kind.SOCIAL_POST)
    assert key(post) == key({**post, "likes": 500, "network": "Instagram", "campaign": "x"})
    assert len({key(post), key({**post, "post": "p-2"}), key({**post, "network": "x"})}) == 3
    volume = good(Kind.SEARCH_VOLUME)
    assert key(volume) == key({**volume, "term": " Kompas", "volume": 1})
    others = [{**volume, "group": "category"}, {**volume, "term": "rival"}]
    assert len({key(volume), *map(key, others)}) == 3


def test_no_two_keys_look_alike_by_accident() -> None:
    one = good(Kind.SOCIAL_POST, network="a\x1f", post="b")
    other = good(Kind.SOCIAL_POST, network="a", post="\x1fb")
    assert key(one) != key(other)


def test_keys_mean_nothing_in_another_site() -> None:
    spend = good(Kind.AD_SPEND)
    neighbour = context(site=SITE.__class__(8, "blog", "UTC", "DKK", b"another"))
    (there,) = normalise([spend], neighbour).rows
    assert data(there)["key"] != key(spend)
    assert there.occurred_at == datetime(2026, 5, 1, tzinfo=UTC)


@pytest.mark.parametrize("at", [None, "2026-05-19T10:00:00Z"])
def test_a_post_has_a_moment(at: str | None) -> None:
    post = row(good(Kind.SOCIAL_POST, occurred_at=at))
    assert post.occurred_at == (datetime(2026, 5, 19, 10, tzinfo=UTC) if at else NOW)
    assert "day" not in data(post)
    assert bool(post.flags & Flag.DATED) == bool(at)
