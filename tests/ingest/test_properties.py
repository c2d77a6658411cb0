"""Whatever a stranger sends: every event becomes rows or one refusal, and names nobody."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.domain.dimensions import detail_id, dimension_id
from service.domain.events import Submission
from service.domain.kinds import Kind
from service.ingest.kinds import KINDS
from service.ingest.normalise import normalise
from service.ingest.refusals import PAYLOAD_BYTES, RefusalCode
from service.kit import json
from tests.ingest.given import GOOD, browser, context

PATIENT = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""Others use the machine, too: nothing here is about time."""

CODES = {code.value for code in RefusalCode}
FIELDS = sorted({name for rules in KINDS.values() for name in rules.fields})

texts = st.text(max_size=40) | st.sampled_from(
    ["2026-05-01", "2026-05-20T10:00:00Z", "https://shop.example/?utm_medium=cpc", "DKK", "129.95"]
)
numbers = (
    st.integers(-(10**20), 10**20)
    | st.decimals(allow_nan=False, allow_infinity=False, min_value=-(10**14), max_value=10**14)
    | st.sampled_from([Decimal("1E+64"), Decimal("-1E-64"), 0, 1])
)
anything = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=6,
)
members = st.dictionaries(st.sampled_from(FIELDS), anything, max_size=6)
events = st.one_of(
    anything,
    members,
    st.builds(
        lambda kind, others, without: {
            name: value
            for name, value in {"kind": kind.label, **GOOD[kind], **others}.items()
            if name != without
        },
        st.sampled_from(Kind),
        members,
        st.sampled_from(["", *FIELDS]),
    ),
)
requests = st.sampled_from(
    [
        context(),
        browser(),
        browser(kind=Kind.PAGE_VIEW, opted_out=True),
        context(kind=Kind.EMAIL_SENT),
        context(kind=Kind.CONVERSION, repaired=True),
    ]
)


def check(submission: Submission, count: int) -> None:
    stored = {row.position for row in submission.rows}
    refused = [refusal.position for refusal in submission.refusals]
    assert sorted([*stored, *refused]) == list(range(count))
    for row in submission.rows:
        assert row.dim_id == 0 or dimension_id(submission.dimensions[row.dim_id]) == row.dim_id
        assert -(2**63) <= row.visitor < 2**63
        assert row.occurred_at.tzinfo is not None
        assert isinstance(json.loads(row.data.encode())[0], dict)
        assert row.detail_id == 0 or detail_id(submission.details[row.detail_id]) == row.detail_id
    assert submission.details.keys() <= {row.detail_id for row in submission.rows}
    assert submission.dimensions.keys() <= {row.dim_id for row in submission.rows}
    for dimension in submission.dimensions.values():
        "".join(dimension).encode()
    for refusal in submission.refusals:
        assert refusal.code in CODES
        assert len(refusal.payload.encode()) <= PAYLOAD_BYTES
        assert "\x00" not in refusal.payload + refusal.message + refusal.field


@settings(PATIENT, max_examples=200)
@given(st.lists(events, max_size=5), requests)
def test_anything_becomes_rows_or_a_refusal(objects: list[Any], request: Any) -> None:
    check(normalise(objects, request), len(objects))


@settings(PATIENT)
@given(st.binary(max_size=80) | st.text(max_size=80).map(str.encode))
def test_any_line_becomes_rows_or_a_refusal(body: bytes) -> None:
    objects, _ = json.loads_lines(body + b'\n{"kind": "custom", "name": "n"}')
    check(normalise(objects, context()), len(objects))


ANNA = "Zz9-anna"
personal = st.fixed_dictionaries(
    {},
    optional={
        name: st.sampled_from([ANNA, [ANNA], {"name": ANNA}])
        for name in ("visitor", "customer", "lead", "recipient", "respondent", "order", "message")
    },
)


@settings(PATIENT)
@given(st.sampled_from(Kind), personal, members, requests)
def test_no_id_of_a_person_is_kept(
    kind: Kind, ids: dict[str, Any], others: dict[str, Any], request: Any
) -> None:
    event = {"kind": kind.label, **GOOD[kind], **others, **ids}
    submission = normalise([event], request)
    for row in submission.rows:
        assert ANNA not in row.data
    # Orders and messages are what an operator looks for; people are not.
    shown = dict.fromkeys(("order", "message"))
    for refusal in normalise([{**event, **shown}], request).refusals:
        assert ANNA not in str(refusal)
