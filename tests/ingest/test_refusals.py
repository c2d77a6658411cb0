"""Every code of refusal is reached, says what is right, points at the field, and names nobody."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from service.domain.kinds import Kind
from service.ingest.normalise import MOST_ROWS, normalise
from service.ingest.refusals import (
    PAYLOAD_BYTES,
    RefusalCode,
    clip,
    hint,
    payload_of,
    pointer,
)
from service.kit.json import JsonError
from tests.ingest.given import GOOD, context, good, refused

LONG = "x" * 8193
DEEP: Any = "x"
for _ in range(9):
    DEEP = [DEEP]


def view(**fields: Any) -> dict[str, Any]:
    return good(Kind.PAGE_VIEW, **fields)


def order(**fields: Any) -> dict[str, Any]:
    return good(Kind.CONVERSION, **fields)


def spend(**fields: Any) -> dict[str, Any]:
    return good(Kind.AD_SPEND, **fields)


def period(first: object, last: object) -> dict[str, Any]:
    return spend(date=None, **{"from": first, "to": last})


def answer(**fields: Any) -> dict[str, Any]:
    return good(Kind.SURVEY_ANSWER, **fields)


CASES: list[tuple[str, str, Any]] = [
    ("invalid_json", "", JsonError("too_deep", "Too deep.")),
    ("wrong_type", "", "text"),
    ("wrong_type", "", None),
    ("wrong_type", "", [view()]),
    ("wrong_type", "/kind", view(kind=1)),
    ("wrong_type", "/title", view(title=1)),
    ("wrong_type", "/id", view(id=True)),
    ("wrong_type", "/id", view(id=1.5)),
    ("wrong_type", "/id", view(id=10**40)),
    ("wrong_type", "/consent", view(consent="yes")),
    ("wrong_type", "/consent", view(consent=1)),
    ("wrong_type", "/props", view(props="{}")),
    ("wrong_type", "/items", order(items={})),
    ("wrong_type", "/links", good(Kind.EMAIL_SENT, links="https://a.example")),
    ("unknown_kind", "/kind", view(kind="")),
    ("unknown_kind", "/kind", view(kind="Page_View")),
    ("wrong_site", "/site", view(site="other")),
    ("missing_field", "/kind", {}),
    ("missing_field", "/url", {"kind": "page_view"}),
    ("missing_field", "/message", {"kind": "email_sent"}),
    ("missing_field", "/lead", {"kind": "lead"}),
    ("missing_field", "/order", order(order=None)),
    ("missing_field", "/value", order(value=None)),
    ("missing_field", "/currency", order(currency=None)),
    ("missing_field", "/order", good(Kind.REFUND, order=None)),
    ("missing_field", "/survey", answer(survey=None)),
    ("missing_field", "/score", answer(score=None)),
    ("missing_field", "/source", spend(source=None)),
    ("missing_field", "/date", spend(date=None)),
    ("missing_field", "/to", period("2026-05-01", None)),
    ("missing_field", "/from", period(None, "2026-05-01")),
    ("missing_field", "/followers", good(Kind.SOCIAL_POST, followers=None)),
    ("missing_field", "/group", good(Kind.SEARCH_VOLUME, group=None)),
    ("missing_field", "/name", {"kind": "custom"}),
    ("unknown_field", "/cost", view(cost=1)),
    ("unknown_field", "/", view(**{"": 1})),
    ("conflicting_fields", "/quantity", good(Kind.LEAD, quantity=1)),
    ("conflicting_fields", "/quantity", order(quantity=1)),
    ("conflicting_fields", "/from", spend(**{"from": "2026-05-01", "to": "2026-05-02"})),
    ("conflicting_fields", "/to", spend(to="2026-05-02")),
    ("too_long", "/title", view(title=LONG)),
    ("too_long", "/title", view(title="æ" * 4097)),
    ("too_long", "/url", view(url=f"https://shop.example/{LONG}")),
    ("too_long", "/id", view(id="x" * 257)),
    ("too_long", "/items", order(items=[1] * 257)),
    ("too_long", "/links", good(Kind.EMAIL_SENT, links=["https://a.example"] * 101)),
    ("too_long", "/props", view(props={"a": LONG})),
    ("empty", "/id", view(id="")),
    ("empty", "/lead", good(Kind.LEAD, lead="")),
    ("empty", "/source", spend(source=" ")),
    ("empty", "/name", good(Kind.CUSTOM, name="\u2003")),
    ("invalid_url", "/url", view(url="/shoes")),
    ("invalid_url", "/url", view(url="")),
    ("invalid_url", "/url", view(url="android-app://com.example/")),
    ("invalid_url", "/url", view(url="https://")),
    ("invalid_url", "/link", good(Kind.EMAIL_CLICKED, link="mailto:anna@example.dk")),
    ("invalid_url", "/links", good(Kind.EMAIL_SENT, links=["https://a.example/ b"])),
    ("invalid_url", "/links", good(Kind.EMAIL_SENT, links=[1])),
    ("invalid_time", "/occurred_at", view(occurred_at=1779280000)),
    ("invalid_time", "/occurred_at", view(occurred_at="2026-05-20T10:00:00")),
    ("invalid_time", "/occurred_at", view(occurred_at="2026-02-30T10:00:00Z")),
    ("invalid_time", "/occurred_at", view(occurred_at="yesterday")),
    ("invalid_time", "/occurred_at", view(occurred_at="20260520T100000Z")),
    ("time_in_future", "/occurred_at", view(occurred_at="2026-05-21T12:30:00.000001Z")),
    ("time_in_future", "/date", spend(date="2026-05-22")),
    ("time_too_old", "/occurred_at", view(occurred_at="1989-12-31T23:59:59Z")),
    ("invalid_time", "/occurred_at", view(occurred_at="0001-01-01T00:00:00+14:00")),
    ("time_too_old", "/date", spend(date="1989-12-31")),
    ("invalid_date", "/date", spend(date="2026-5-1")),
    ("invalid_date", "/date", spend(date="2026-02-30")),
    ("invalid_date", "/date", spend(date="2026-05-01T00:00:00Z")),
    ("invalid_date", "/date", spend(date=20260501)),
    ("invalid_date", "/to", period("2026-05-02", "2026-05-01")),
    ("date_range_too_long", "/to", period("2025-01-01", "2026-01-02")),
    ("invalid_currency", "/currency", order(currency="kr.")),
    ("invalid_currency", "/currency", order(currency="DK")),
    ("invalid_currency", "/currency", order(currency=208)),
    ("invalid_amount", "/value", order(value="129,95")),
    ("invalid_amount", "/value", order(value="1e3")),
    ("invalid_amount", "/value", order(value="0.0000001")),
    ("invalid_amount", "/value", order(value=10**12)),
    ("invalid_amount", "/value", order(value=True)),
    ("invalid_amount", "/value", order(value=[1])),
    ("invalid_count", "/quantity", order(order=None, quantity="3.5")),
    ("invalid_count", "/quantity", order(order=None, quantity=Decimal("3.5"))),
    ("invalid_count", "/quantity", order(order=None, quantity=10**15 + 1)),
    ("invalid_count", "/clicks", spend(clicks=True)),
    ("invalid_count", "/clicks", spend(clicks="٣")),
    ("negative_value", "/value", order(value="-1")),
    ("negative_value", "/clicks", spend(clicks=-1)),
    ("not_a_score", "/score", answer(score=11)),
    ("not_a_score", "/score", answer(survey="csat", score=0)),
    ("invalid_scale", "/scale", answer(scale="1-5")),
    ("unsupported_scale", "/scale", answer(scale=[1, 5])),
    ("unknown_group", "/group", good(Kind.SEARCH_VOLUME, group="brands")),
    ("unknown_group", "/group", good(Kind.SEARCH_VOLUME, group=["brand"])),
    ("too_many_props", "/props", view(props=dict.fromkeys(map(str, range(65))))),
    ("too_many_props", "/props", view(props={"a": [dict.fromkeys(map(str, range(65)))]})),
    ("props_too_deep", "/props", view(props={"a": DEEP[0]})),
    ("not_storable", "", view(props={"a": float("nan")})),
]


@pytest.mark.parametrize(("code", "field", "event"), CASES, ids=lambda value: str(value)[:40])
def test_refusals(code: str, field: str, event: Any) -> None:
    refusal = refused(event)
    assert (refusal.code, refusal.field) == (code, field), refusal.message
    assert type(refusal.code) is str
    assert refusal.position == 0
    assert refusal.message[0] == "`" if field else refusal.message[0].isupper()
    assert refusal.message[-1] in ".?"
    assert len(refusal.message) < 300


def test_every_code_is_reached() -> None:
    """The closed list: what the table above does not reach is a matter of the whole request."""
    reached = {code for code, _, _ in CASES}
    reached.add(refused(view(), kind=Kind.LEAD).code)
    full = normalise([view()] * (MOST_ROWS + 1), context())
    reached.add(full.refusals[0].code)
    reached.add(refused(spend(), public=True).code)
    assert reached == {code.value for code in RefusalCode}


def test_limits_are_the_last_accepted_value() -> None:
    accepted = [
        view(title="x" * 8192),
        view(title="æ" * 4096),
        view(id="x" * 256),
        view(props={"a": DEEP[0][0]}),
        view(props=dict.fromkeys(map(str, range(64)), 1)),
        view(occurred_at="2026-05-21T12:30:00Z"),
        view(occurred_at="1990-01-01T00:00:00Z"),
        view(occurred_at="1990-01-01"),
        order(value="999999999999.999999"),
        order(order=None, quantity=10**15),
        order(items=[1] * 256),
        spend(date="2026-05-21"),
        period("2025-01-01", "2026-01-01"),
        good(Kind.EMAIL_SENT, links=["https://a.example/" + "x" * 2030] * 100),
    ]
    assert normalise(accepted, context()).refusals == []


# --- What an operator may read ----------------------------------------------------------------

ANNA = "anna-42"
PERSONAL = (
    *("id", "visitor", "customer", "lead", "order", "message", "recipient", "respondent"),
    *("text", "post", "props", "items", "links"),
)


@pytest.mark.parametrize("name", PERSONAL)
@pytest.mark.parametrize("value", [ANNA, [ANNA], {"x": ANNA}], ids=["text", "list", "object"])
def test_a_payload_names_nobody(name: str, value: Any) -> None:
    for event in (view(**{name: value}, consent="?"), [{name: value}], {"props": {name: value}}):
        refusal = refused(event)
        assert ANNA not in refusal.payload
    assert f'"{name}":"(hidden)"' in refused(view(**{name: value}, consent="?")).payload


def test_a_payload_shows_no_query() -> None:
    event = view(url="https://shop.example/a?token=secret", referrer="https://b.example/?q=secret")
    refusal = refused({**event, "consent": "?"})
    assert "secret" not in refusal.payload
    assert "https://shop.example/a" in refusal.payload


def test_a_misspelt_field_is_not_shown_either() -> None:
    refusal = refused(order(custmer=ANNA))
    assert ANNA not in str(refusal)
    assert '"custmer":"(hidden)"' in refusal.payload
    assert '"value":"129.95"' in refusal.payload


def test_of_what_is_no_event_nothing_is_shown() -> None:
    """Nobody can tell what in it is a person's."""
    for value in (JsonError("invalid_json", "No."), [{"customer": ANNA}], ANNA, 7, None):
        assert refused(value).payload == ""


def test_mail_addresses_never_show() -> None:
    for text in (
        "anna@example.dk",
        "write to a.b+c%d@mail.example.co.uk now",
        "?u=anna%40example.dk",
    ):
        assert "example" not in clip(text)
        assert "[email]" in clip(text)
    refusal = refused({**GOOD[Kind.PAGE_VIEW], "kind": "lead", "anna@example.dk": 1, "lead": "l"})
    assert "anna" not in str(refusal)


def test_payloads_are_bounded_and_storable() -> None:
    payload = payload_of({"title": "æ\x00\ud800" * 9000}, {"title"})
    assert len(payload.encode()) <= PAYLOAD_BYTES
    assert "\x00" not in payload
    assert "\ud800" not in payload
    assert clip("æ" * 9000) == "æ" * (PAYLOAD_BYTES // 2)
    assert payload_of({"title": float("nan")}, {"title"}) == ""
    looped: list[Any] = []
    looped.append(looped)
    assert payload_of(looped, ()) == ""


def test_pointers_are_those_of_rfc_6901() -> None:
    assert pointer("a/b~c") == "/a~1b~0c"
    assert len(pointer("x" * 1000)) == 65
    assert pointer("anna@example.dk") == "/[email]"


def test_the_nearest_word() -> None:
    words = ("page_view", "lead")
    assert hint("PageView", words) == " Did you mean `page_view`?"
    assert hint("xyz", words) == ""
    assert hint("x" * 100_000, words) == ""
