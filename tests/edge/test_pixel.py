"""The pixel: always an image, 200 only for a durable page view."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any
from urllib.parse import quote, urlencode

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from service.domain.kinds import Flag, Kind
from service.edge.gif import GIF
from service.edge.pixel import PATH
from service.ingest.intake import Intake
from service.ingest.writer import Writer
from service.kit.clock import SystemClock
from service.store.secrets import Vault
from tests.edge.conftest import Edge

HEADERS = [
    (b"content-type", b"image/gif"),
    (b"content-length", b"43"),
    (b"cache-control", b"no-store"),
    (b"access-control-allow-origin", b"*"),
    (b"cross-origin-resource-policy", b"cross-origin"),
    (b"x-content-type-options", b"nosniff"),
]
PAGE = "https://shop.example/shoes?utm_source=google&utm_medium=cpc#top"


async def fire(edge: Edge, *, key: str | None = "public", **how: Any) -> httpx.Response:
    """One request; `query` as parameters, the public key as `k`."""
    query = dict(how.pop("query", {"url": PAGE}))
    if key:
        query["k"] = edge.keys[key]
    return await edge.get(f"{PATH}?{urlencode(query)}", key=None, **how)


def code(answer: httpx.Response) -> tuple[int, str | None]:
    assert answer.content == GIF
    return answer.status_code, answer.headers.get("x-kompas-code")


async def test_a_page_view_byte_for_byte(edge: Edge) -> None:
    answer = await fire(edge)
    assert answer.status_code == 200
    assert answer.headers.raw == HEADERS
    assert answer.content == GIF
    assert len(GIF) == 43
    event = await edge.last_event()
    assert event.kind == Kind.PAGE_VIEW
    assert event.data == {"page": "shop.example/shoes"}
    assert event.visitor != 0
    (place,) = await edge.rows("SELECT * FROM dimension WHERE dim_id = :id", id=event.dim_id)
    assert (place.source, place.medium) == ("google", "cpc")


async def test_where_somebody_looked(edge: Edge) -> None:
    """The country is believed of a trusted proxy, the device is the browser's own."""
    how: dict[str, Any] = {
        "headers": {"CF-IPCountry": "DK"},
        "trusted_proxies": (ip_network("10.0.0.0/8"),),
        "country_header": "CF-IPCountry",
    }
    for peer, country in (("10.1.2.3", "DK"), ("203.0.113.9", "")):
        assert code(await fire(edge, peer=peer, **how)) == (200, None)
        event = await edge.last_event()
        (detail,) = await edge.rows(
            "SELECT * FROM detail WHERE detail_id = :id", id=event.detail_id
        )
        assert (detail.page, detail.country, detail.device) == ("/shoes", country, "desktop")
        assert detail.props == {}


async def test_a_server_is_not_where_its_visitors_are(edge: Edge) -> None:
    event = {"kind": "lead", "quantity": 1}
    how: dict[str, Any] = {
        "headers": {"CF-IPCountry": "DK"},
        "peer": "10.1.2.3",
        "trusted_proxies": (ip_network("10.0.0.0/8"),),
        "country_header": "CF-IPCountry",
    }
    for key, country in (("public", "DK"), ("ingest", None)):
        assert (await edge.post("/v1/leads", event, key=key, **how)).status_code == 200
        stored = await edge.last_event()
        found = await edge.rows("SELECT * FROM detail WHERE detail_id = :id", id=stored.detail_id)
        assert [detail.country for detail in found] == ([country] if country else [])


async def test_every_parameter(edge: Edge) -> None:
    query = {
        "url": "https://shop.example/ø", "ref": "https://blog.example/a", "title": "Skø",
        "visitor": "v-1", "customer": "c-1", "consent": "1", "t": "2026-05-17T10:05:03+02:00",
        "source": "s", "medium": "m", "campaign": "c", "content": "n", "term": "e",
        "id": "pixel-1", "site": "shop", "fbclid": "ignored", "utm_source": "ignored",
    }  # fmt: skip
    assert code(await fire(edge, query=query)) == (200, None)
    event = await edge.last_event()
    assert event.occurred_at == datetime(2026, 5, 17, 8, 5, 3, tzinfo=UTC)
    assert event.flags == Flag.CONSENT | Flag.DATED | Flag.SKEWED
    assert event.data["title"] == "Skø"
    assert event.data["customer"]
    (place,) = await edge.rows("SELECT * FROM dimension WHERE dim_id = :id", id=event.dim_id)
    assert (place.source, place.medium, place.campaign) == ("s", "m", "c")
    assert (place.content, place.term) == ("n", "e")
    # The same id again is durable already.
    batches = await edge.rows("SELECT count(*) FROM event")
    assert code(await fire(edge, query=query)) == (200, None)
    assert await edge.rows("SELECT count(*) FROM event") == batches


@pytest.mark.parametrize("zone", ["+02:00", " 02:00", "%2B02:00"])
async def test_a_plus_that_was_not_encoded(edge: Edge, zone: str) -> None:
    for at in ("2026-05-17T10:05:03", "2026-05-17T10:05:03.123"):
        where = f"{PATH}?k={edge.keys['public']}&url={quote(PAGE)}&t={at}{zone}"
        assert code(await edge.get(where, key=None)) == (200, None)
        assert (await edge.last_event()).occurred_at.hour == 8


@pytest.mark.parametrize("zone", ["+02:00", " 02:00", "%2B02:00"])
async def test_a_clock_that_is_wrong(edge: Edge, zone: str) -> None:
    """It says: ten seconds ago."""
    said = f"t=2001-01-01T10:05:03{zone}&sent=2001-01-01T10:05:13{zone}"
    before = datetime.now(UTC)
    where = f"{PATH}?k={edge.keys['public']}&url={quote(PAGE)}&{said}"
    assert code(await edge.get(where, key=None)) == (200, None)
    event = await edge.last_event()
    age = timedelta(seconds=10)
    assert before - age <= event.occurred_at <= datetime.now(UTC) - age
    assert event.flags & (Flag.CORRECTED | Flag.SKEWED) == Flag.CORRECTED | Flag.SKEWED


async def test_the_tag_for_browsers_without_scripts(edge: Edge) -> None:
    """Only `k`, and what the browser says by itself."""
    referer = {"Referer": "https://shop.example/from-the-header?a=b"}
    assert code(await fire(edge, query={}, headers=referer)) == (200, None)
    assert (await edge.last_event()).data == {"page": "shop.example/from-the-header"}
    # What the printed tag sends on a page that was opened directly.
    assert code(await fire(edge, query={"url": PAGE, "ref": ""})) == (200, None)


async def test_what_is_not_durable_is_not_2xx(edge: Edge) -> None:
    assert code(await fire(edge, key=None)) == (401, "unauthorized")
    assert code(await fire(edge, key="read")) == (401, "unauthorized")
    assert code(await edge.get(f"{PATH}?url={quote(PAGE)}", key="read")) == (403, "forbidden")
    assert code(await edge.get(f"{PATH}?k=pk_no&url={quote(PAGE)}", key=None))[0] == 401
    assert code(await fire(edge, query={})) == (422, "missing_field")
    assert code(await fire(edge, query={"url": "nonsense"})) == (422, "invalid_url")
    assert (await edge.last_rejection()).code == "invalid_url"
    assert code(await fire(edge, query={"url": PAGE, "consent": "maybe"})) == (422, "wrong_type")
    assert code(await fire(edge, query={"url": PAGE, "t": "yesterday"})) == (422, "invalid_time")
    assert code(await fire(edge, query={"url": PAGE, "site": "blog"})) == (403, "forbidden")
    assert code(await fire(edge, query={"title": "x" * 40_000})) == (414, "query_too_long")
    refused = await fire(edge, query={})
    assert refused.headers["cache-control"] == "no-store"
    assert "X-Kompas-Code" in refused.headers["access-control-expose-headers"]


async def test_other_keys_write_too(edge: Edge) -> None:
    where = f"{PATH}?url={quote(PAGE)}"
    for key in ("ingest", "admin"):
        assert code(await edge.get(where, key=key)) == (200, None)
    assert code(await edge.get(f"{where}&site=blog", key="admin")) == (200, None)
    assert (await edge.last_event()).site_id == edge.blog.id
    assert code(await edge.get(f"{where}&site=nowhere", key="admin")) == (404, "unknown_site")


async def test_a_database_that_is_away(edge: Edge) -> None:
    """503, with the time to wait; the image all the same."""
    clock = SystemClock()
    stopped = Writer(edge.database.engine, clock, None)
    intake = Intake(stopped, Vault(edge.database.engine), clock)
    away = Edge(edge.database, intake, edge.store, edge.shop, edge.blog, edge.keys)
    answer = await fire(away)
    assert code(answer) == (503, "unavailable")
    assert int(answer.headers["retry-after"]) >= 1


async def test_what_nobody_foresaw_is_logged_without_what_was_sent(edge: Edge) -> None:
    class Broken:
        async def principal(self, key: str) -> Any:
            raise LookupError(f"no {key}")

        async def site(self, slug: str) -> Any:
            raise AssertionError(slug)

    broken = Edge(edge.database, edge.intake, Broken(), edge.shop, edge.blog, edge.keys)  # type: ignore[arg-type]  # -- stands for a bug
    with capture_logs() as logged:
        answer = await fire(broken)
    assert code(answer) == (503, "internal")
    assert answer.headers["retry-after"] == "1"
    (line,) = logged
    assert line["error"] == "LookupError"
    assert edge.keys["public"] not in str(line)
    assert "shop.example" not in str(line)


async def test_who_looked(edge: Edge) -> None:
    async def visitor(peer: str = "10.1.1.1", forwarded: str = "", **headers: str) -> int:
        sent = {**headers, **({"X-Forwarded-For": forwarded} if forwarded else {})}
        proxies = (ip_network("10.0.0.0/8"),)
        answer = await fire(edge, headers=sent, peer=peer, trusted_proxies=proxies)
        assert answer.status_code == 200
        return int((await edge.last_event()).visitor)

    first = await visitor(forwarded="198.51.100.1")
    assert first != 0
    assert await visitor(forwarded="192.0.2.1, 198.51.100.1") == first
    assert await visitor(peer="198.51.100.1", forwarded="192.0.2.1") == first
    assert await visitor(forwarded="198.51.100.2") != first
    assert await visitor(forwarded="198.51.100.1", **{"User-Agent": "Other/1.0 Firefox"}) != first
    for signal in ({"DNT": "1"}, {"Sec-GPC": "1"}):
        assert await visitor(forwarded="198.51.100.1", **signal) == 0
        assert (await edge.last_event()).flags & Flag.OPTED_OUT


async def test_a_bot_is_flagged(edge: Edge) -> None:
    bot = {"User-Agent": "Googlebot/2.1 (+http://www.google.com/bot.html)"}
    assert code(await fire(edge, headers=bot)) == (200, None)
    assert (await edge.last_event()).flags & Flag.BOT


async def test_a_page_fetched_ahead_is_flagged(edge: Edge) -> None:
    assert code(await fire(edge, headers={"Sec-Purpose": "prefetch;prerender"})) == (200, None)
    assert (await edge.last_event()).flags & Flag.BOT


async def test_nothing_of_the_sender_is_stored(edge: Edge) -> None:
    headers = {"User-Agent": "UniqueBrowser/77.1", "Cookie": "session=chocolate"}
    await fire(edge, headers=headers, peer="198.51.100.77")
    await fire(edge, query={"url": "wrong"}, headers=headers, peer="198.51.100.77")
    for table in ("event", "rejection", "dimension", "batch"):
        rows = str(await edge.rows(f"SELECT {table}::text FROM {table}"))
        for trace in ("UniqueBrowser", "198.51.100.77", "chocolate"):
            assert trace not in rows


async def test_other_methods(edge: Edge) -> None:
    (before,) = await edge.rows("SELECT count(*) AS n FROM event")
    head = await edge.send("HEAD", PATH, key=None)
    assert head.status_code == 200
    assert head.headers.raw == HEADERS
    preflight = await edge.send("OPTIONS", PATH, key=None, headers={"Origin": "https://a.example"})
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == "*"
    for method in ("POST", "DELETE", "BREW"):
        refused = await edge.send(method, PATH, key=None)
        assert refused.status_code == 405
        assert refused.headers["allow"] == "GET, HEAD, OPTIONS"
        assert refused.headers["content-type"] == "application/problem+json"
    assert await edge.rows("SELECT count(*) AS n FROM event") == [before]


async def test_middleware_may_add_headers(edge: Edge) -> None:
    """Which it does in place: the next answer must not have them twice."""

    app = edge.app()

    async def adding(scope: Any, receive: Any, send: Any) -> None:
        async def noting(message: Any) -> None:
            message.get("headers", []).append((b"x-request-id", b"1"))
            await send(message)

        await app(scope, receive, noting)

    transport = httpx.ASGITransport(adding)
    async with httpx.AsyncClient(transport=transport, base_url="http://kompas.test") as client:
        for _ in range(2):
            assert len((await client.get(PATH)).headers.get_list("x-request-id")) == 1


values = st.text(max_size=20) | st.sampled_from(["1", PAGE, "2026-05-01", "shop", "blog", ""])
names = st.sampled_from(["url", "ref", "t", "consent", "visitor", "id", "site", "term", "x", "k"])


@settings(
    deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    query=st.binary(max_size=100).map(lambda raw: quote(raw, safe="&=%+?/"))
    | st.dictionaries(names, values).map(lambda pairs: urlencode(pairs, errors="replace")),
    key=st.sampled_from(["ingest", "admin", None]),
    referer=st.sampled_from([b"", b"\xff", PAGE.encode(), b"about:blank"]),
)
async def test_no_query_is_answered_5xx(
    edge: Edge, query: str, key: str | None, referer: bytes
) -> None:
    headers: Any = [(b"referer", referer), (b"user-agent", b"\xe6Firefox")]
    if key:
        headers.append((b"authorization", b"Bearer " + edge.keys[key].encode()))
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": "http", "method": "GET", "path": PATH, "query_string": query.encode(),
        "headers": headers, "client": ("203.0.113.9", 1), "scheme": "http",
    }  # fmt: skip
    await edge.app()(scope, send, send)
    assert sent[0]["status"] in {200, 401, 403, 404, 414, 422}
    assert sent[1]["body"] == GIF
