from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from service.domain.kinds import EMAIL_KINDS, Flag, Kind
from service.ingest.normalise import MOST_ROWS, PUBLIC_KINDS, normalise
from service.kit.json import JsonError
from tests.ingest.given import (
    GOOD,
    NOW,
    browser,
    context,
    data,
    good,
    refused,
    row,
    rows,
    take,
)

VIEW = good(Kind.PAGE_VIEW)
CURL = "curl/8.4.0"
GMAIL = "Mozilla/5.0 (Windows NT 5.1) Firefox/11.0 (via ggpht.com GoogleImageProxy)"


def seen(event: dict[str, Any], **facts: Any) -> Any:
    """The row of an event sent by a browser."""
    submission = normalise([event], browser(**facts))
    assert submission.refusals == []
    return submission.rows[0]


# --- The request ------------------------------------------------------------------------------


def test_one_bad_event_does_not_keep_the_others_out() -> None:
    error = JsonError("invalid_json", "Expecting value at line 1, column 1.")
    objects = [VIEW, {"kind": "lead"}, good(Kind.LEAD), "text", error, VIEW]
    submission = normalise(objects, context(door="batch"))
    assert (submission.site_id, submission.door) == (7, "batch")
    assert [row.position for row in submission.rows] == [0, 2, 5]
    assert [(r.position, r.code, r.field) for r in submission.refusals] == [
        (1, "missing_field", "/lead"),
        (3, "wrong_type", ""),
        (4, "invalid_json", ""),
    ]
    assert submission.refusals[2].payload == ""
    assert submission.refusals[2].message == "Expecting value at line 1, column 1."


def test_nothing_makes_nothing() -> None:
    submission = normalise([], context())
    assert (submission.rows, submission.refusals, submission.dimensions) == ([], [], {})


def test_members_that_are_null_count_as_left_out() -> None:
    event = {**GOOD[Kind.PAGE_VIEW], "title": None, "visitor": None, "kind": None, "nonsense": None}
    assert row(event, kind=Kind.PAGE_VIEW) == row(VIEW)
    assert refused({**VIEW, "url": None}).code == "missing_field"


def test_a_request_makes_a_bounded_number_of_rows() -> None:
    year = good(Kind.AD_SPEND, date=None, **{"from": "2025-01-01", "to": "2026-01-01"})
    days = 366
    fitting = MOST_ROWS // days
    submission = normalise([*[year] * (fitting + 1), VIEW], context())
    assert len(submission.rows) == fitting * days + 1
    (refusal,) = submission.refusals
    assert (refusal.position, refusal.code, refusal.field) == (fitting, "too_many_rows", "")
    assert submission.rows[-1].position == fitting + 1
    assert len(normalise([VIEW] * (MOST_ROWS + 2), context()).refusals) == 2


# --- The kind and the door --------------------------------------------------------------------


def test_a_typed_door_takes_its_kind_with_or_without_its_name() -> None:
    assert row(GOOD[Kind.LEAD], kind=Kind.LEAD).kind == Kind.LEAD
    assert row(good(Kind.LEAD), kind=Kind.LEAD).kind == Kind.LEAD
    refusal = refused(VIEW, kind=Kind.LEAD)
    assert (refusal.code, refusal.field) == ("wrong_kind", "/kind")
    assert refusal.message == "`kind` must be `lead` at this door."


@pytest.mark.parametrize("kind", EMAIL_KINDS, ids=lambda kind: kind.label)
def test_the_mail_door_takes_every_mail_event(kind: Kind) -> None:
    assert row(good(kind), kind=Kind.EMAIL_SENT).kind == kind
    assert refused(good(kind), kind=Kind.CONVERSION).code == "wrong_kind"


def test_the_mail_door_means_sent_and_the_order_door_takes_refunds() -> None:
    assert row(GOOD[Kind.EMAIL_SENT], kind=Kind.EMAIL_SENT).kind == Kind.EMAIL_SENT
    assert row(good(Kind.REFUND), kind=Kind.CONVERSION).kind == Kind.REFUND
    assert row(GOOD[Kind.CONVERSION], kind=Kind.CONVERSION).kind == Kind.CONVERSION
    assert refused(good(Kind.CONVERSION), kind=Kind.REFUND).code == "wrong_kind"


def test_an_unknown_kind_or_field_names_the_nearest() -> None:
    refusal = refused({"kind": "pageview"})
    assert (refusal.code, refusal.field) == ("unknown_kind", "/kind")
    assert (
        refusal.message == "`kind` must be a kind of event that exists. Did you mean `page_view`?"
    )
    refusal = refused({**VIEW, "titel": "x"})
    assert (refusal.code, refusal.field) == ("unknown_field", "/titel")
    assert refusal.message == "`titel` is no field of a `page_view`. Did you mean `title`?"
    assert refused({**VIEW, "~/x": 1}).field == "/~0~1x"
    assert refused({**VIEW, "links": []}).code == "unknown_field"


def test_an_event_may_name_the_site_of_its_key_and_no_other() -> None:
    assert row({**VIEW, "site": "shop"}) == row(VIEW)
    for other in ("blog", 7, ["shop"]):
        refusal = refused({**VIEW, "site": other})
        assert (refusal.code, refusal.field) == ("wrong_site", "/site")


# --- Ids --------------------------------------------------------------------------------------


def key_of(event: dict[str, Any], **facts: Any) -> Any:
    return row(event, **facts).key


def test_a_canonical_uuid_is_stored_as_it_is() -> None:
    text = "0199f3c4-7b2a-7d1e-8a53-2f6f0f0a4b11"
    assert key_of({**VIEW, "id": text}) == UUID(text)
    assert key_of({**VIEW, "id": text.upper()}) == UUID(text)


@pytest.mark.parametrize(
    "text", ["0199f3c47b2a7d1e8a532f6f0f0a4b11", "B-17", "\u0660" * 36, "x" * 36]
)
def test_other_ids_are_hashed_for_the_site(text: str) -> None:
    key = key_of({**VIEW, "id": text})
    assert key == context().keyring.uuid("event", text)
    assert key != UUID(int=0)


def test_an_id_is_one_whatever_the_kind() -> None:
    assert key_of({**VIEW, "id": "1"}) == key_of(good(Kind.LEAD, id=1))


def test_an_order_identifies_a_conversion_without_an_id() -> None:
    order = good(Kind.CONVERSION)
    assert key_of(order) == context().keyring.uuid("order", "B-17")
    assert key_of(order) != key_of({**order, "order": "B-18"})
    assert key_of(order) != key_of({**order, "id": "B-17"})
    assert key_of({**order, "id": "a"}) != key_of({**order, "id": "b"})
    assert key_of(good(Kind.REFUND)) is None
    total = {"kind": "conversion", "quantity": 3, "value": 1, "currency": "DKK"}
    assert key_of(total) is None
    assert key_of(VIEW) is None


def test_all_rows_of_one_statement_have_its_key() -> None:
    month = good(Kind.AD_SPEND, date=None, id="x", **{"from": "2026-05-01", "to": "2026-05-03"})
    assert {found.key for found in rows(month)} == {context().keyring.uuid("event", "x")}


# --- Time -------------------------------------------------------------------------------------


def test_an_event_happened_now_unless_it_says_when() -> None:
    assert row(VIEW).occurred_at is NOW
    assert row(VIEW).flags == 0
    dated = row({**VIEW, "occurred_at": "2026-05-20T14:29:59.5+02:00"})
    assert dated.occurred_at == datetime(2026, 5, 20, 12, 29, 59, 500000, tzinfo=UTC)
    assert dated.flags == Flag.DATED
    day = row({**VIEW, "occurred_at": "2026-05-01"})
    assert day.occurred_at == datetime(2026, 4, 30, 22, tzinfo=UTC)


def test_a_browser_that_reports_another_day_has_a_wrong_clock() -> None:
    def at(hours: float) -> dict[str, Any]:
        return {**VIEW, "occurred_at": (NOW - timedelta(hours=hours)).isoformat()}

    assert seen(at(24)).flags == Flag.DATED
    assert seen(at(24.1)).flags == Flag.DATED | Flag.SKEWED
    assert row(at(24.1)).flags == Flag.DATED


def test_a_statement_about_days_is_dated_by_them() -> None:
    found = row(good(Kind.AD_SPEND, occurred_at="2026-05-19"))
    assert found.occurred_at == datetime(2026, 4, 30, 22, tzinfo=UTC)
    assert found.flags == Flag.DATED
    assert row(good(Kind.AD_SPEND)).flags == Flag.DATED
    post = row(good(Kind.SOCIAL_POST))
    assert (post.occurred_at, post.flags) == (NOW, 0)


# --- Visitors: decision 9 ---------------------------------------------------------------------


def test_who_agreed_is_recognised_for_days() -> None:
    agreed = {**VIEW, "visitor": "v-1", "consent": True}
    later = context(now=NOW + timedelta(days=1))
    assert row(agreed).visitor == normalise([agreed], later).rows[0].visitor
    assert row(agreed).visitor == context().keyring.visitor("v-1")
    assert row(agreed).flags == Flag.CONSENT
    assert row({**agreed, "consent": False}).flags == 0


def test_who_did_not_agree_is_known_for_a_local_day() -> None:
    event = {**VIEW, "visitor": "v-1"}
    tonight = NOW.replace(hour=21, minute=59)
    known = row(event).visitor
    assert known == normalise([event], context(now=tonight)).rows[0].visitor
    past_midnight = context(now=tonight + timedelta(minutes=1))
    assert known != normalise([event], past_midnight).rows[0].visitor
    assert known not in {
        0,
        context().keyring.visitor("v-1"),
        row({**VIEW, "visitor": "v-2"}).visitor,
    }
    yesterday = row({**event, "occurred_at": "2026-05-19T10:00:00Z"}).visitor
    assert yesterday not in {0, known}


def test_a_browser_is_known_for_a_day_by_address_and_user_agent() -> None:
    first = seen(VIEW).visitor
    assert first == seen({**VIEW, "url": "https://shop.example/other"}).visitor
    other = context(browser=True, user_agent="another", address="203.0.113.7")
    third = context(browser=True, user_agent=browser().user_agent, address="203.0.113.8")
    numbers = {first, *(normalise([VIEW], one).rows[0].visitor for one in (other, third))}
    assert len(numbers) == 3
    assert 0 not in numbers
    assert seen({**VIEW, "occurred_at": "2026-05-19T10:00:00Z"}).visitor not in {0, first}
    # The same moment said aloud is the same visitor.
    assert seen({**VIEW, "occurred_at": NOW.isoformat()}).visitor == first
    # A visitor id is never taken for an address.
    agent = browser().user_agent
    assert seen({**VIEW, "visitor": f"203.0.113.7\x1f{agent}"}).visitor != first


def test_a_server_is_nobody() -> None:
    assert row(VIEW, address="203.0.113.7", user_agent="Shop/1.0").visitor == 0
    assert row({**VIEW, "consent": True}).visitor == 0


def test_a_mail_program_is_not_the_visitor() -> None:
    for kind in (Kind.EMAIL_OPENED, Kind.EMAIL_CLICKED):
        assert seen(good(kind)).visitor == 0
        assert seen(good(kind, visitor="v-1", consent=True)).visitor != 0
    assert seen(good(Kind.LEAD)).visitor == seen(VIEW).visitor


def test_opting_out_wins_over_everything() -> None:
    event = {**VIEW, "visitor": "v-1", "consent": True, "customer": "c-1", "lead": "l-1"}
    found = seen(event, opted_out=True)
    assert (found.visitor, found.flags) == (0, Flag.OPTED_OUT)
    assert data(found) == {"page": "shop.example/shoes"}
    assert row(event, opted_out=True).visitor == 0
    # What was bought, and by whom, is the shop's own record.
    order = good(Kind.CONVERSION, customer="c-1", lead="l-1")
    assert data(row(order, opted_out=True)) == data(row(order))
    assert "lead" in data(row(good(Kind.LEAD), opted_out=True))
    # Both opted out at the same address: nothing tells that they are one.
    assert seen(VIEW, opted_out=True).visitor == 0


# --- Flags ------------------------------------------------------------------------------------


def flags_of(event: dict[str, Any], user_agent: str, *, by_browser: bool = True) -> int:
    sender = context(browser=by_browser, user_agent=user_agent, address="203.0.113.7")
    return normalise([event], sender).rows[0].flags


def test_bots_are_flagged_in_a_browsers_place_only() -> None:
    assert flags_of(VIEW, CURL) == Flag.BOT
    assert flags_of(VIEW, "") == Flag.BOT
    assert flags_of(good(Kind.LEAD), CURL) == Flag.BOT
    assert flags_of(VIEW, CURL, by_browser=False) == 0
    assert seen(VIEW).flags == 0


@pytest.mark.parametrize("kind", [Kind.EMAIL_OPENED, Kind.EMAIL_CLICKED], ids=lambda k: k.label)
def test_machines_are_told_from_readers(kind: Kind) -> None:
    event = good(kind)
    assert flags_of(event, CURL) == Flag.BOT | Flag.MACHINE
    assert flags_of(event, "Mozilla/5.0") == Flag.MACHINE
    assert flags_of(event, GMAIL) == 0
    assert flags_of({**event, "machine": True}, GMAIL) == Flag.MACHINE
    assert flags_of({**event, "machine": False}, CURL) == Flag.BOT | Flag.MACHINE
    assert flags_of({**event, "machine": True}, "mailer", by_browser=False) == Flag.MACHINE
    assert flags_of(event, "mailer", by_browser=False) == 0


def test_repaired_texts_are_noted() -> None:
    assert row(VIEW, repaired=True).flags == Flag.REPAIRED


def test_flags_are_plain_numbers_that_the_log_can_store() -> None:
    found = seen({**VIEW, "consent": True, "occurred_at": "2020-01-01"}, repaired=True)
    assert type(found.flags) is int
    assert type(found.kind) is int
    assert found.flags == Flag.CONSENT | Flag.DATED | Flag.SKEWED | Flag.REPAIRED


def test_equal_requests_make_equal_submissions() -> None:
    assert take(VIEW) == take(dict(VIEW))


@pytest.mark.parametrize(
    ("event", "door", "kind"),
    [
        ({"kind": "lead"}, None, Kind.LEAD),
        ({"kind": "refund"}, Kind.CONVERSION, Kind.REFUND),
        ({}, Kind.LEAD, Kind.LEAD),
        ({"kind": "nothing"}, None, 0),
        ({"kind": []}, None, 0),
        ("text", None, 0),
    ],
)
def test_a_refusal_says_the_kind_where_there_is_one(event: Any, door: Any, kind: int) -> None:
    assert take(event, kind=door).refusals[0].kind == kind


@pytest.mark.parametrize("kind", Kind)
def test_what_a_public_key_may_send(kind: Kind) -> None:
    """It stands in every page: it must not replace a shop's figures, nor speak for its mailer."""
    found = take(good(kind), public=True)
    if kind in PUBLIC_KINDS:
        assert len(found.rows) == 1
    else:
        assert [refusal.code for refusal in found.refusals] == ["secret_key_needed"]


def test_no_mail_address_is_stored() -> None:
    seen = {
        "kind": "page_view",
        "url": "https://shop.example/user/anna@example.dk/x?utm_source=anna%40example.dk",
        "title": "Hello anna@example.dk",
        "campaign": "for anna@example.dk",
    }
    found = take(seen)
    assert "anna" not in str(found.rows) + str(found.dimensions)
    assert '"page":"shop.example/user/[email]/x"' in found.rows[0].data
