"""What the log holds for each kind (docs/reference/log.md), and which dimension it gets."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from service.domain.access import ChannelRule, SiteRules
from service.domain.dimensions import Dimension, dimension_id
from service.domain.kinds import EMAIL_KINDS, Kind
from service.ingest.kinds import DOORS, KINDS
from tests.ingest.given import GOOD, NOW, SITE, context, data, good, row, take

RING = context().keyring
UUID_TEXT = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def hashed(person: str, text: str) -> str:
    return RING.text(person, text)


CASES: list[tuple[Kind, dict[str, Any], dict[str, Any]]] = [
    (
        Kind.PAGE_VIEW,
        {"url": "https://User:pw@Shop.Example:8443/a/b?q=anna#top", "title": "A", "referrer": "x"},
        {"page": "shop.example:8443/a/b", "title": "A"},
    ),
    (
        Kind.EMAIL_SENT,
        {"message": "m-1", "recipient": "anna@example.dk", "links": ["https://shop.example/?a=1"]},
        {"message": hashed("message", "m-1"), "recipient": hashed("recipient", "anna@example.dk")},
    ),
    (
        Kind.EMAIL_CLICKED,
        {"message": 17, "link": "https://shop.example/offer?reader=anna"},
        {"message": hashed("message", "17"), "link": "shop.example/offer"},
    ),
    (Kind.LEAD, {"lead": "crm-881"}, {"lead": hashed("lead", "crm-881")}),
    (Kind.CUSTOM, {"name": " brochure "}, {"name": "brochure"}),
    (Kind.CUSTOM, {"name": "n", "value": "1.5", "currency": "dkk"}, {"value": 1500000}),
    (
        Kind.CONVERSION,
        {
            "order": "B-17", "value": "1299.00", "currency": "dkk", "customer": "c-42",
            "new_customer": True, "lead": "l-1", "cost_of_goods": 700,
            "items": [{"sku": "a", "price": Decimal("1.5")}, "b"],
        },
        {
            "order": hashed("order", "B-17"), "quantity": 1, "value": 1299000000,
            "currency": "DKK", "customer": hashed("customer", "c-42"), "new": True,
            "lead": hashed("lead", "l-1"), "cost": 700000000,
            "items": [{"sku": "a", "price": Decimal("1.5")}, "b"],
            "lines": [["a", None, 1500000]],
        },
    ),
    (
        Kind.REFUND,
        {"order": "B-17", "value": Decimal("0.01"), "currency": "DKK"},
        {"order": hashed("order", "B-17"), "value": 10000, "currency": "DKK"},
    ),
    (
        Kind.SURVEY_ANSWER,
        {
            "survey": "csat", "score": 4, "scale": [1, 5], "question": "How was it?",
            "respondent": "r-1", "text": "fine",
        },
        {
            "survey": "csat", "score": 4, "scale": [1, 5], "grade": 1, "question": "How was it?",
            "respondent": hashed("respondent", "r-1"), "text": "fine",
        },
    ),
    (
        Kind.AD_SPEND,
        {"cost": "30590879.82", "impressions": 10, "clicks": "3", "invalid_clicks": 1,
         "viewable": 5, "measurable": 8},
        {"day": "2026-05-01", "cost": 30590879820000, "currency": "DKK", "impressions": 10,
         "clicks": 3, "invalid_clicks": 1, "viewable": 5, "measurable": 8},
    ),
    (
        Kind.SOCIAL_POST,
        {"reach": 5, "impressions": 6},
        {"likes": 120, "comments": 9, "shares": 4, "followers": 5300, "reach": 5,
         "impressions": 6},
    ),
    (
        Kind.SEARCH_VOLUME,
        {"group": "category"},
        {"day": "2026-05-01", "group": "category", "volume": 88},
    ),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "fields", "expected"), CASES, ids=lambda value: str(value)[:30])
def test_what_the_log_holds(kind: Kind, fields: dict[str, Any], expected: dict[str, Any]) -> None:
    found = data(row({**GOOD[kind], "kind": kind.label, **fields}))
    if kind in {Kind.AD_SPEND, Kind.SOCIAL_POST, Kind.SEARCH_VOLUME}:
        assert UUID_TEXT.fullmatch(found.pop("key"))
    for name, value in expected.items():
        assert found[name] == value, name
    if kind is not Kind.CUSTOM:
        assert found.keys() == expected.keys()


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.label)
def test_every_kind_has_its_table_and_takes_the_common_fields(kind: Kind) -> None:
    common = {
        "id": "x", "site": SITE.slug, "visitor": "v-1", "customer": "c-1", "source": "google",
        "medium": "cpc", "campaign": "spring", "content": "red", "consent": True,
        "url": "https://shop.example/", "referrer": "https://www.google.com/",
        "props": {"a": [1, {"b": None}]}, "occurred_at": "2026-05-19T10:00:00+02:00",
    }  # fmt: skip
    # A lead with `lead` may not have `quantity`; every other kind may name a lead.
    event = {**common, **good(kind), "title": None}
    found = row(event)
    assert found.kind == kind
    assert found.visitor == RING.visitor("v-1")
    stored = data(found)
    assert stored["props"] == {"a": [1, {"b": None}]}
    assert stored["customer"] == hashed("customer", "c-1")
    assert stored["page"].startswith("shop.example/")


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.label)
def test_the_least_of_every_kind_is_enough(kind: Kind) -> None:
    assert row(good(kind)).kind == kind
    door = next((door for door, kinds in DOORS.items() if kind in kinds), kind)
    assert row(good(kind), kind=door) == row(good(kind))
    if door is kind:
        assert row(GOOD[kind], kind=kind) == row(good(kind))


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.label)
def test_the_examples_of_the_contract_are_accepted(kind: Kind) -> None:
    june = NOW + timedelta(days=30)
    assert take(dict(KINDS[kind].example), kind=kind, now=june).refusals == []


def placed(event: dict[str, Any], **facts: Any) -> Dimension:
    submission = take(event, **facts)
    (found,) = submission.rows
    if found.dim_id == 0:
        assert submission.dimensions == {}
        return Dimension()
    assert submission.dimensions == {found.dim_id: submission.dimensions[found.dim_id]}
    assert found.dim_id == dimension_id(submission.dimensions[found.dim_id])
    return submission.dimensions[found.dim_id]


def test_a_page_view_takes_its_fields_then_its_link_then_its_referrer() -> None:
    url = "https://shop.example/?utm_source=google&utm_medium=cpc&utm_campaign=spring"
    assert placed(good(Kind.PAGE_VIEW, url=url)) == Dimension(
        "Paid Search", "google", "cpc", "spring"
    )
    assert placed(good(Kind.PAGE_VIEW, url=url, campaign="mine")).campaign == "mine"
    searched = good(Kind.PAGE_VIEW, referrer="https://www.google.com/search?q=x")
    assert placed(searched) == Dimension("Organic Search", "google", "organic")
    assert placed(good(Kind.PAGE_VIEW)).channel == "Direct"
    inner = good(Kind.PAGE_VIEW, referrer="https://www.shop.example:8443/cart")
    assert placed(inner).channel == "Direct"


def test_long_tags_are_placed_like_short_ones() -> None:
    campaign = "c" * 8000
    url = f"https://shop.example/?x={'q' * 7000}&utm_medium=cpc"
    view = placed(good(Kind.PAGE_VIEW, url=url, source="google", campaign=campaign))
    assert (view.channel, view.medium, view.campaign) == ("Paid Search", "cpc", campaign)
    lead = placed(good(Kind.LEAD, source="google", medium="cpc", campaign=campaign))
    assert (lead.channel, lead.campaign) == ("Paid Search", campaign)


def test_events_that_are_no_visits_are_placed_by_what_they_say() -> None:
    assert placed(good(Kind.LEAD)) == Dimension()
    said = placed(good(Kind.CONVERSION, source="FB", medium="CPC", campaign="Spring", term="shoe"))
    assert said == Dimension("Paid Social", "facebook", "cpc", "Spring", "", "shoe")
    # Where a conversion came from is the business of its visitor's visits, not of its own page.
    url = "https://shop.example/thanks?utm_source=google"
    assert placed(good(Kind.CONVERSION, url=url)) == Dimension()


def test_what_a_kind_is_by_nature_decides_its_channel_and_is_not_stored() -> None:
    assert placed(good(Kind.AD_SPEND)) == Dimension("Paid Search", "google")
    assert placed(good(Kind.AD_SPEND, medium="banner")).channel == "Display"
    assert placed(good(Kind.SOCIAL_POST)) == Dimension("Organic Social", "instagram")
    assert placed(good(Kind.SOCIAL_POST, network="Our Forum")).channel == "Organic Social"
    assert placed(good(Kind.SOCIAL_POST, source="agency")).source == "agency"
    for kind in EMAIL_KINDS:
        assert placed(good(kind)) == Dimension("Email", "", "", "newsletter")
    assert placed(good(Kind.EMAIL_SENT, medium="sms")).channel == "SMS"


def test_a_survey_is_a_dimension_and_a_search_has_no_channel() -> None:
    assert placed(good(Kind.SURVEY_ANSWER)) == Dimension(survey="nps")
    answer = placed(good(Kind.SURVEY_ANSWER, source="google", survey="Our own"))
    assert answer == Dimension("Organic Search", "google", survey="Our own")
    assert placed(good(Kind.SEARCH_VOLUME)) == Dimension(term="kompas")
    assert placed(good(Kind.SEARCH_VOLUME, source="google")).channel == ""


def test_a_custom_event_s_name_is_a_dimension() -> None:
    assert placed(good(Kind.CUSTOM)) == Dimension(event="brochure")
    assert placed(good(Kind.CUSTOM, name=" for anna@example.dk\x1f! ")) == Dimension(
        event="for [email] !"
    )
    long = placed(good(Kind.CUSTOM, source="google", medium="cpc", name="n" * 8000))
    assert long == Dimension("Paid Search", "google", "cpc", event="n" * 8000)


def test_a_site_s_own_channels_hold_for_every_kind() -> None:
    rules = SiteRules(channels=(ChannelRule("Partners", source="google"),))
    site = replace(SITE, rules=rules)
    for kind in Kind:
        # A search came by nobody.
        channel = "" if kind is Kind.SEARCH_VOLUME else "Partners"
        event = good(kind, source="google", medium="cpc")
        assert placed(event, site=site).channel == channel
        assert placed(event).channel == ("" if kind is Kind.SEARCH_VOLUME else "Paid Search")
