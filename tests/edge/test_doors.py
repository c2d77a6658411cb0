"""The JSON doors: answers, hostile bodies, keys, sites."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from service.domain.kinds import Flag, Kind
from service.edge.body import MIB
from service.edge.doors import DOORS
from tests.edge.conftest import Edge, receipt

LEAD = {"lead": "l-1"}
VIEW = {"kind": "page_view", "url": "https://shop.example/"}
ORDER = {"order": "o-1", "value": "10.50", "currency": "DKK"}
SEARCH = {"term": "kompas", "group": "brand", "date": "2026-05-01", "volume": 880}
POST = {"network": "x", "post": "1", "likes": 1, "comments": 1, "shares": 1, "followers": 9}
SPEND = {"source": "google", "date": "2026-05-01", "cost": "1", "currency": "DKK"}

GOOD: dict[str, Any] = {
    "/v1/events": VIEW,
    "/v1/conversions": ORDER,
    "/v1/leads": LEAD,
    "/v1/survey-answers": {"survey": "nps", "score": 9},
    "/v1/ad-spend": SPEND,
    "/v1/emails": {"message": "m-0"},
    "/v1/social-posts": POST,
    "/v1/search-volumes": SEARCH,
}


def test_every_door_is_tried_here() -> None:
    assert set(GOOD) == {door.path for door in DOORS}


@pytest.mark.parametrize("path", GOOD)
async def test_one_event_or_an_array(edge: Edge, path: str) -> None:
    one = await edge.post(path, GOOD[path])
    assert one.status_code == 200, one.text
    assert one.headers["content-type"] == "application/json"
    many = await edge.post(path, [GOOD[path], GOOD[path]], headers={"Content-Type": "text/plain"})
    body = receipt(many)
    assert body["accepted"] + body["duplicates"] == 2
    assert body["rejected"] == []


async def test_the_answer_is_exactly_the_contract(edge: Edge) -> None:
    event = {"kind": "lead", "lead": "l-9", "id": "once"}
    answer = await edge.post("/v1/events", event)
    assert answer.text == '{"accepted":1,"duplicates":0,"rejected":[]}'
    answer = await edge.post("/v1/events", [event, {**event, "id": "twice"}, {"kind": "led"}])
    body = receipt(answer)
    assert answer.status_code == 200
    assert (body["accepted"], body["duplicates"]) == (1, 1)
    (rejected,) = body["rejected"]
    assert (rejected["index"], rejected["code"]) == (2, "unknown_kind")
    assert rejected["field"] == "/kind"
    assert "lead" in rejected["message"]


async def test_nothing_good_is_422_with_both_bodies(edge: Edge) -> None:
    answer = await edge.post("/v1/leads", [{}, 5, {"lead": ""}])
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    body = receipt(answer)
    assert (body["status"], body["code"]) == (422, "all_rejected")
    assert (body["accepted"], body["duplicates"]) == (0, 0)
    assert [rejected["index"] for rejected in body["rejected"]] == [0, 1, 2]
    assert "field" not in body["rejected"][1]
    assert body["rejected"][0]["message"] in body["message"]


async def test_a_refund_comes_through_the_door_of_conversions(edge: Edge) -> None:
    answer = await edge.post("/v1/conversions", {**ORDER, "kind": "refund", "order": "o-7"})
    assert receipt(answer)["accepted"] == 1
    wrong = await edge.post("/v1/conversions", {**LEAD, "kind": "lead"})
    assert receipt(wrong)["rejected"][0]["code"] == "wrong_kind"


async def test_lines(edge: Edge) -> None:
    lines = "\r\n".join([json.dumps(VIEW), '{"kind": oops}', "", json.dumps(VIEW), "[]", '{"a":1'])
    body = receipt(await edge.post("/v1/events", lines))
    assert body["accepted"] == 2
    assert [(r["index"], r["code"]) for r in body["rejected"]] == [
        (1, "invalid_json"),
        (3, "wrong_type"),
        (4, "invalid_json"),
    ]
    typed = await edge.post("/v1/leads", '{"lead":"a"}\n{"lead":"b"}')
    assert (typed.status_code, receipt(typed)["code"]) == (400, "invalid_json")


# --- What a stranger may send -----------------------------------------------------------------


def deep(levels: int) -> str:
    return '{"kind":"lead","lead":"x","props":' + '{"a":' * levels + "1" + "}" * (levels + 1)


def lead(**fields: Any) -> str:
    return json.dumps({"kind": "lead", "lead": "x", **fields})


HOSTILE: dict[str, tuple[str | bytes, int, str]] = {
    "nothing": (b"", 400, "empty_body"),
    "white space": (" \n", 400, "invalid_json"),
    "no JSON": ("hello", 400, "invalid_json"),
    "a form": ("kind=lead&lead=x", 400, "invalid_json"),
    "half an object": ('{"kind":"lead"', 400, "invalid_json"),
    "NaN": ('{"kind":"lead","lead":"x","props":{"a":NaN}}', 400, "not_finite"),
    "Infinity": ('[{"kind":"lead","lead":-Infinity}]', 400, "not_finite"),
    "1e400": ('{"kind":"lead","lead":"x","quantity":1e400}', 400, "number_too_large"),
    "5,000 digits": ('{"kind":"lead","quantity":' + "9" * 5000 + "}", 400, "number_too_long"),
    "duplicate keys": ('{"kind":"lead","lead":"x","lead":"y"}', 400, "duplicate_key"),
    "deep nesting": ("[" * 100_000, 400, "too_deep"),
    "17 levels": ("[" * 17 + "]" * 17, 400, "too_deep"),
    "bad UTF-8": (b'{"kind":"lead","lead":"\xe6"}', 400, "invalid_utf8"),
    "UTF-16": (lead().encode("utf-16"), 400, "invalid_utf8"),
    "a byte order mark": (b"\xef\xbb\xbf" + lead().encode(), 200, ""),
    "a lone surrogate": ('{"kind":"lead","lead":"\\ud800"}', 200, ""),
    "NUL": ('{"kind":"lead","lead":"a\\u0000b"}', 200, ""),
    "NUL in a key": ('{"kind":"lead","lead":"x","props":{"\\u0000":1}}', 200, ""),
    "NUL in a name": ('{"kind":"lead","lead":"x","\\u0000":1}', 422, "unknown_field"),
    "a surrogate as the kind": ('{"kind":"\\udfff"}', 422, "unknown_kind"),
    "keys that become one": (
        '{"kind":"lead","props":{"\\u0000":1,"\\ufffd":2}}',
        400,
        "duplicate_key",
    ),
    "a number bomb": ('{"kind":"lead","lead":"x","props":{"a":1e100000}}', 400, "number_too_large"),
    "an empty array": ("[]", 422, "empty"),
    "1,001 events": ("[" + ",".join([lead()] * 1001) + "]", 413, "too_many_events"),
    "1,001 lines": ((lead() + "\n") * 1001, 413, "too_many_events"),
    "no object": ("5", 422, "wrong_type"),
    "an array of arrays": ("[[]]", 422, "wrong_type"),
    "8 KiB of text": (lead(campaign="x" * 8192), 200, ""),
    "8 KiB and a byte": (lead(campaign="x" * 8193), 422, "too_long"),
    "8 KiB and a byte of Danish": (lead(campaign="ø" * 4097), 422, "too_long"),
    "64 keys": (lead(props={str(n): n for n in range(64)}), 200, ""),
    "65 keys": (lead(props={str(n): n for n in range(65)}), 422, "too_many_props"),
    "8 levels": (deep(7), 200, ""),
    "9 levels": (deep(9), 422, "props_too_deep"),
    "an id of 257": (lead(id="x" * 257), 422, "too_long"),
    "a long integer": ('{"kind":"lead","lead":' + "9" * 32 + "}", 200, ""),
    "seconds since 1970": (lead(occurred_at=1780000000), 422, "invalid_time"),
    "the year 9999": (lead(occurred_at="9999-12-31T23:59:59-23:59"), 422, "invalid_time"),
    "next year": (lead(occurred_at="2999-01-01T00:00:00Z"), 422, "time_in_future"),
    "the year 0": (lead(occurred_at="0000-01-01T00:00:00Z"), 422, "invalid_time"),
    "another site": (lead(site="blog"), 422, "wrong_site"),
    "a nameless site": (lead(site={}), 422, "wrong_site"),
    "more than 5 MiB": (b" " * (5 * MIB + 1), 413, "body_too_large"),
    "gzip": (gzip.compress(lead().encode()), 200, ""),
    "gzip, cut": (gzip.compress(lead().encode())[:-4], 400, "invalid_gzip"),
    "millions of empty objects": (
        gzip.compress(b"[" + b"{}," * 2_000_000 + b"{}]"),
        413,
        "too_many_values",
    ),
    "a number's exponent": (
        '{"kind":"lead","quantity":1e9999999999999999999}',
        400,
        "number_too_large",
    ),
    "a gzip bomb": (gzip.compress(b"[" * (9 * MIB)), 413, "body_too_large"),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_hostile_bodies(edge: Edge, name: str) -> None:
    body, status, code = HOSTILE[name]
    answer = await edge.post("/v1/events", body)
    assert answer.status_code == status, answer.text[:500]
    if status == 200:
        assert receipt(answer)["accepted"] == 1
        return
    found = receipt(answer)
    assert found["message"]
    codes = {rejected["code"] for rejected in found.get("rejected", ())} or {found["code"]}
    assert codes == {code}
    if name == "an empty array":
        return
    # Nothing vanishes: an operator finds it.
    refused = await edge.last_rejection()
    assert (refused.site_id, refused.door, refused.code) == (edge.shop.id, "/v1/events", code)


async def test_the_smaller_limit_of_typed_doors(edge: Edge) -> None:
    body = json.dumps(LEAD) + " " * MIB
    assert (await edge.post("/v1/leads", body)).status_code == 413
    assert (await edge.post("/v1/events", json.dumps(VIEW) + " " * MIB)).status_code == 200


async def test_encodings(edge: Edge) -> None:
    packed = gzip.compress(json.dumps(LEAD).encode())
    for headers in ({"Content-Encoding": "gzip"}, {"Content-Encoding": "GZip"}, {}):
        assert (await edge.post("/v1/leads", packed, headers=headers)).status_code == 200
    other = await edge.post("/v1/leads", b"x", headers={"Content-Encoding": "br"})
    assert (other.status_code, receipt(other)["code"]) == (415, "unsupported_encoding")


async def test_a_client_that_leaves_is_not_answered(edge: Edge) -> None:
    scope = {
        "type": "http", "method": "POST", "path": "/v1/leads", "query_string": b"",
        "headers": [(b"authorization", f"Bearer {edge.keys['ingest']}".encode())],
        "scheme": "http", "client": ("203.0.113.9", 1),
    }  # fmt: skip

    async def receive() -> Any:
        return {"type": "http.disconnect"}

    async def send(_message: Any) -> None:
        raise AssertionError("answered")

    await edge.app()(scope, receive, send)


async def test_a_body_that_trickles_is_cut_off(edge: Edge) -> None:
    async def trickle() -> AsyncIterator[bytes]:
        yield b"{"
        await asyncio.sleep(0.05)
        yield b"}"

    headers = {"Authorization": f"Bearer {edge.keys['ingest']}"}
    transport = httpx.ASGITransport(edge.app(body_seconds=0.01))
    async with httpx.AsyncClient(transport=transport, base_url="http://kompas.test") as client:
        answer = await client.post("/v1/leads", content=trickle(), headers=headers)
    assert (answer.status_code, receipt(answer)["code"]) == (408, "body_timeout")
    assert answer.headers["connection"] == "close"


anything = st.one_of(
    st.binary(max_size=200),
    st.binary(max_size=50).map(gzip.compress),
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["kind", "lead", "url", "site", "links", "props", "id"])
                | st.text(max_size=5),
                inner,
                max_size=5,
            )
        ),
        max_leaves=8,
    ).map(lambda value: json.dumps(value).encode()),
)


@settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(body=anything, path=st.sampled_from(sorted(GOOD)), key=st.sampled_from(["ingest", "admin"]))
async def test_no_bytes_are_answered_5xx(edge: Edge, body: bytes, path: str, key: str) -> None:
    answer = await edge.post(path, body, key=key)
    assert answer.status_code in {200, 400, 413, 422}, answer.text


# --- Keys and sites ---------------------------------------------------------------------------


async def test_keys(edge: Edge) -> None:
    async def status(path: str = "/v1/leads", **how: Any) -> int:
        return (await edge.post(path, LEAD, **how)).status_code

    assert await status(key="ingest") == 200
    assert await status(key="admin") == 200
    assert await status(key="public") == 200
    assert await status(key="read") == 403
    none = await edge.post("/v1/leads", LEAD, key=None)
    assert none.status_code == 401
    assert none.headers["www-authenticate"] == "Bearer"
    public, secret = edge.keys["public"], edge.keys["ingest"]
    assert await status(f"/v1/leads?k={public}", key=None) == 200
    assert await status(f"/v1/leads?k={secret}", key=None) == 401
    for header in ("Bearer None", "Basic QQ==", "Bearer"):
        headers = {"Authorization": header}
        assert await status(f"/v1/leads?k={public}", key=None, headers=headers) == 200
        assert await status(key=None, headers=headers) == 401
    assert await status(key=None, headers={"Authorization": "Bearer sk_unknown"}) == 401
    assert await status(key=None, headers={"Authorization": "Bearer sk_" + "x" * 5000}) == 401
    header_wins = {"Authorization": "Bearer pk_unknown"}
    assert await status(f"/v1/leads?k={public}", key=None, headers=header_wins) == 401


async def test_a_public_key_speaks_for_the_browser_that_sends_it(edge: Edge) -> None:
    async def sent(key: str, **headers: str) -> Any:
        answer = await edge.post("/v1/events", VIEW, key=key, headers=headers)
        assert answer.status_code == 200
        return await edge.last_event()

    assert (await sent("public")).visitor != 0
    assert (await sent("ingest")).visitor == 0
    opted_out = await sent("public", DNT="1")
    assert opted_out.visitor == 0
    assert opted_out.flags & Flag.OPTED_OUT
    bot = {"User-Agent": "Googlebot/2.1 (+http://www.google.com/bot.html)"}
    assert (await sent("public", **bot)).flags & Flag.BOT
    server = await sent("ingest", DNT="1", **bot)
    assert server.flags == 0


async def test_an_admin_key_sends_to_many_sites(edge: Edge) -> None:
    events = [
        {**LEAD, "id": "m1"},
        {**LEAD, "id": "m1", "site": "blog"},
        {**LEAD, "id": "m2", "site": "nowhere"},
        {"site": "blog"},
        {**LEAD, "id": "m3", "site": "shop"},
        "nonsense",
        {**LEAD, "id": "m1", "site": "blog"},
    ]
    body = receipt(await edge.post("/v1/leads", events, key="admin"))
    assert (body["accepted"], body["duplicates"]) == (3, 1)
    assert [(r["index"], r["code"]) for r in body["rejected"]] == [
        (2, "wrong_site"),
        (3, "missing_field"),
        (5, "wrong_type"),
    ]
    sites = await edge.rows("SELECT DISTINCT site_id FROM event WHERE kind = :kind", kind=Kind.LEAD)
    assert {row.site_id for row in sites} >= {edge.shop.id, edge.blog.id}


async def test_the_site_of_a_whole_request(edge: Edge) -> None:
    async def named(slug: str, key: str) -> Any:
        return await edge.post(f"/v1/leads?site={slug}", LEAD, key=key)

    assert (await named("blog", "admin")).status_code == 200
    assert (await edge.last_event()).site_id == edge.blog.id
    assert (await named("shop", "ingest")).status_code == 200
    assert receipt(await named("blog", "ingest"))["code"] == "forbidden"
    for slug in ("nowhere", "%00", "x" * 300):
        unknown = await named(slug, "admin")
        assert (unknown.status_code, receipt(unknown)["code"]) == (404, "unknown_site")


# --- Methods and pages ------------------------------------------------------------------------


async def test_other_methods(edge: Edge) -> None:
    for method in ("GET", "PUT", "DELETE", "HEAD", "BREW"):
        answer = await edge.send(method, "/v1/leads")
        assert answer.status_code == 405
        assert answer.headers["allow"] == "POST, OPTIONS"


async def test_pages_may_read_answers_and_errors(edge: Edge) -> None:
    origin = {"Origin": "https://shop.example"}
    for path in ("/v1/leads", "/v1/events"):
        answer = await edge.post(path, "oops", headers=origin)
        assert answer.headers["access-control-allow-origin"] == "*"
    ask = {**origin, "Access-Control-Request-Method": "POST"}
    listed = {"cors_origins": ("https://shop.example",)}
    preflight = await edge.send("OPTIONS", "/v1/events", key=None, headers=ask, **listed)
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == "https://shop.example"
    stranger = {**ask, "Origin": "https://evil.example"}
    preflight = await edge.send("OPTIONS", "/v1/events", key=None, headers=stranger, **listed)
    assert "access-control-allow-origin" not in preflight.headers
