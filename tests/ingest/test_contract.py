"""The schemas of the contract and the rules of ingestion are the same tables: both must agree."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Any

import pytest
from jsonschema import Draft202012Validator, FormatChecker

from service.domain.kinds import Kind
from service.ingest.contract import any_event_schema, event_schema
from service.ingest.kinds import COMMON, COUNT, KINDS
from service.kit import json
from tests.ingest.given import GOOD, good, take
from tests.ingest.test_refusals import CASES

BY_KIND = {
    kind: Draft202012Validator(event_schema(kind), format_checker=FormatChecker()) for kind in Kind
}
ANY = Draft202012Validator(any_event_schema(), format_checker=FormatChecker())

# What a schema of this size does not say: it depends on the clock, the site, the other fields, or
# on nesting; the text of the description does.
NOT_SAID = {
    "wrong_site", "time_in_future", "time_too_old", "invalid_time", "date_range_too_long",
    "not_a_score", "invalid_scale", "unsupported_scale", "too_many_props", "props_too_deep",
    "not_storable", "invalid_json", "empty",
}  # fmt: skip


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.label)
def test_schemas_are_schemas(kind: Kind) -> None:
    schema = event_schema(kind)
    Draft202012Validator.check_schema(schema)
    assert schema["additionalProperties"] is False
    assert schema["title"] == kind.label
    assert schema["properties"].keys() >= {field.name for field in COMMON}
    assert "kind" not in schema["required"]
    for name, member in schema["properties"].items():
        assert member["description"][-1] == ".", name
        assert member.keys() & {"type", "const", "enum"}, name
    json.dumps(schema)


def test_a_kinds_own_fields_come_first() -> None:
    names = list(event_schema(Kind.CONVERSION)["properties"])
    assert names[:4] == ["order", "quantity", "value", "currency"]


@pytest.mark.parametrize("kind", Kind, ids=lambda kind: kind.label)
def test_examples_and_the_least_are_valid(kind: Kind) -> None:
    schema = event_schema(kind)
    assert schema["examples"] == [dict(KINDS[kind].example)]
    for event in (*schema["examples"], GOOD[kind], good(kind)):
        BY_KIND[kind].validate(event)
        ANY.validate({**event, "kind": kind.label})
    # An event of one kind is none of another.
    ANY.validate(good(kind, id="x", props={}))
    assert not ANY.is_valid(GOOD[kind])


def is_said(code: str, field: str, event: Any) -> bool:
    """Whether a schema can know. It counts characters, not bytes, and JSON has no larger ids."""
    return (
        isinstance(event, dict)
        and code not in NOT_SAID
        and (code, field) not in {("too_long", "/props"), ("invalid_date", "/to")}
        and event.get("title") != "æ" * 4097
        and event.get("id") != 10**40
    )


@pytest.mark.parametrize(
    ("code", "field", "event"),
    [case for case in CASES if is_said(*case)],
    ids=lambda value: str(value)[:40],
)
def test_what_the_rules_refuse_the_schema_refuses(code: str, field: str, event: Any) -> None:
    given = {name: value for name, value in event.items() if value is not None}
    assert not ANY.is_valid(_plain(given)), (code, field)


def _plain(value: Any) -> Any:
    """JSON as the validator's library knows it."""
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, list) else value


ACCEPTED: list[tuple[Kind, dict[str, Any]]] = [
    (Kind.CONVERSION, {"value": 129.95}),
    (Kind.CONVERSION, {"value": "0.000001", "items": ["a", {"b": 1}], "new_customer": False}),
    (Kind.CONVERSION, {"order": 17, "id": 3}),
    (Kind.CONVERSION, {"items": [{"value": -5, "quantity": "2 m"}, {"price": "0.5"}, 7, None]}),
    (Kind.CONVERSION, {"items": [{"value": None, "product": {"a": 1}}]}),
    (Kind.AD_SPEND, {"clicks": "12", "occurred_at": "2026-05-01"}),
    (Kind.PAGE_VIEW, {"url": "HTTPS://Shop.example", "occurred_at": "2026-05-01T10:00:00Z"}),
    (Kind.SURVEY_ANSWER, {"survey": "awareness_aided", "score": True}),
    (Kind.SURVEY_ANSWER, {"scale": [0, 10], "score": "9"}),
    (Kind.EMAIL_SENT, {"links": ["https://shop.example/"], "machine": True}),
]


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("0", True), ("9" * 15, True), ("1" + "0" * 15, True), ("0" * 15 + "7", True),
        ("1" + "0" * 14 + "1", False), ("2" + "0" * 15, False), ("0" * 17, False), ("", False),
    ],
)  # fmt: skip
def test_counts_as_texts_have_the_same_bound_in_both(text: str, fits: bool) -> None:
    assert bool(re.search(str(COUNT["pattern"]), text)) is fits
    assert (take(good(Kind.AD_SPEND, clicks=text)).refusals == []) is fits


@pytest.mark.parametrize(("kind", "fields"), ACCEPTED)
def test_what_the_rules_accept_the_schema_accepts(kind: Kind, fields: dict[str, Any]) -> None:
    event = good(kind, **fields)
    ANY.validate(event)
    decoded, _ = json.loads(json.dumps(_decimals(event)).encode())
    assert take(decoded).refusals == []


def _decimals(event: dict[str, Any]) -> dict[str, Any]:
    return {n: Decimal(str(v)) if isinstance(v, float) else v for n, v in event.items()}
