from __future__ import annotations

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.access import SiteRules
from service.domain.dimensions import Detail, detail_id
from service.domain.kinds import Kind
from service.ingest.details import LABEL_CHARACTERS, label
from service.ingest.normalise import normalise
from tests.ingest.given import SITE, browser, context, good

PLANS = replace(SITE, rules=SiteRules(props=("size", "plan")))
GMAIL = "Mozilla/5.0 (Windows NT 5.1) Firefox/11.0 (via ggpht.com GoogleImageProxy)"


def detail(event: dict[str, Any], request: Any) -> Detail:
    """The detail of an acceptable event."""
    submission = normalise([event], request)
    assert submission.refusals == []
    (row,) = submission.rows
    if not row.detail_id:
        assert submission.details == {}
        return Detail()
    ((found_id, found),) = submission.details.items()
    assert row.detail_id == found_id == detail_id(found)
    return found


@pytest.mark.parametrize(
    ("url", "page"),
    [
        ("https://shop.example/shoes?utm_source=google", "/shoes"),
        ("https://shop.example", "/"),
        ("https://shop.example:8443/a/B#c", "/a/B"),
        ("https://shop.example/of/anna@example.dk/x", "/of/[email]/x"),
        ("https://shop.example/a\x1fDK", "/a DK"),  # the separator of the hash
        ("https://shop.example/" + "x" * 4000, "/" + "x" * 4000),
    ],
)
def test_a_page_is_the_path_of_the_address(url: str, page: str) -> None:
    assert detail(good(Kind.PAGE_VIEW, url=url), context()) == Detail(page)
    assert detail(good(Kind.CONVERSION, url=url), context()) == Detail(page)


def test_a_browser_has_a_country_and_a_device() -> None:
    found = detail(good(Kind.PAGE_VIEW), browser(country="DK"))
    assert found == Detail("/shoes", "DK", "desktop")
    # With DNT, too: neither leads to a person.
    assert detail(good(Kind.LEAD), browser(country="DK", opted_out=True)) == Detail(
        "", "DK", "desktop"
    )


def test_a_mail_service_s_machine_says_nothing_of_the_reader() -> None:
    opened = good(Kind.EMAIL_OPENED)
    request = replace(browser(country="US"), user_agent=GMAIL)
    assert detail(opened, request) == Detail()
    assert detail(opened, browser(country="DK")) == Detail("", "DK", "desktop")


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.label)
def test_every_kind_has_a_detail(kind: Kind) -> None:
    url = "https://shop.example/a"
    assert detail(good(kind, url=url, props={"plan": "pro"}), context(site=PLANS)) == Detail(
        "/a", props=(("plan", "pro"),)
    )


def test_all_days_of_a_statement_have_one_detail() -> None:
    month = {"from": "2026-05-01", "to": "2026-05-03", "date": None, "props": {"plan": "pro"}}
    submission = normalise([good(Kind.AD_SPEND, **month)], context(site=PLANS))
    assert len(submission.rows) == 3
    assert {row.detail_id for row in submission.rows} == submission.details.keys()


@pytest.mark.parametrize(
    ("props", "expected"),
    [
        ({"plan": "pro", "other": "x"}, (("plan", "pro"),)),
        ({"size": 42, "plan": True}, (("plan", "true"), ("size", "42"))),
        ({"plan": False}, (("plan", "false"),)),
        ({"size": Decimal("1E+2")}, (("size", "100"),)),
        ({"size": Decimal("1.50")}, (("size", "1.50"),)),
        ({"plan": ["pro"], "size": {"eu": 42}}, ()),
        ({"plan": None, "size": ""}, ()),
        ({"plan": " anna@example.dk "}, (("plan", "[email]"),)),
        ({"plan": "a\x1fb"}, (("plan", "a b"),)),
        ({"plan": "x" * 300}, (("plan", "x" * 200),)),
        ({}, ()),
    ],
)
def test_declared_props(props: dict[str, Any], expected: tuple[tuple[str, str], ...]) -> None:
    event = {"kind": "lead", "quantity": 1, "props": props}
    assert detail(event, context(site=PLANS)).props == expected
    assert detail(event, context()) == Detail()


@given(st.text() | st.integers() | st.booleans() | st.decimals(allow_nan=False, places=3))
def test_a_label_is_short_printable_and_stays_what_it_is(value: Any) -> None:
    found = label(value)
    assert len(found) <= LABEL_CHARACTERS
    assert found == found.strip()
    assert not set(found) & set(map(chr, [*range(32), 127]))
    assert label(found) == found
