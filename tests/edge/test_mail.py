"""Mails: signed addresses, opens, clicks."""

from __future__ import annotations

import asyncio
from ipaddress import ip_network
from typing import Any
from urllib.parse import urlsplit

import pytest
from structlog.testing import capture_logs

from service import telemetry
from service.domain.kinds import Flag, Kind
from service.edge.gif import GIF
from service.ingest.intake import Intake
from service.ingest.writer import Writer
from service.kit.clock import SystemClock
from service.store.secrets import Vault
from tests.edge.conftest import Edge, receipt

OFFER = "https://shop.example/offer?a=1&b=ø#top"
MAIL = {"message": "m-1", "campaign": "newsletter-19", "links": [OFFER, "http://b.example"]}


async def sent(edge: Edge, *mails: Any, **how: Any) -> Any:
    answer = await edge.post("/v1/emails", list(mails), **how)
    assert answer.status_code == 200, answer.text
    return receipt(answer)


def path(address: str) -> str:
    return urlsplit(address).path


async def test_a_mail_is_answered_with_its_addresses(edge: Edge) -> None:
    body = await sent(edge, {**MAIL, "id": "mail-1"}, public_url="https://stats.example/")
    assert body["accepted"] == 1
    (mail,) = body["mails"]
    assert (mail["index"], mail["message"]) == (0, "m-1")
    assert mail["open"].startswith("https://stats.example/v1/open/")
    assert mail["open"].endswith(".gif")
    assert len(mail["click"]) == 2
    assert all(link.startswith("https://stats.example/v1/click/") for link in mail["click"])
    event = await edge.last_event()
    assert event.kind == Kind.EMAIL_SENT
    assert "links" not in event.data
    # Sent again: a duplicate with the same addresses.
    again = await sent(edge, {**MAIL, "id": "mail-1"}, public_url="https://stats.example")
    assert again["duplicates"] == 1
    assert again["mails"] == body["mails"]


async def test_only_mails_that_were_taken_have_addresses(edge: Edge) -> None:
    opened = {"kind": "email_opened", "message": "m-1"}
    body = await sent(edge, {"message": ""}, opened, "x", {"message": 7}, {**MAIL, "links": ["no"]})
    assert body["accepted"] == 2
    assert [mail["index"] for mail in body["mails"]] == [3]
    assert body["mails"][0]["message"] == "7"
    assert body["mails"][0]["click"] == []
    assert [(r["index"], r["code"]) for r in body["rejected"]] == [
        (0, "empty"), (2, "wrong_type"), (4, "invalid_url"),
    ]  # fmt: skip


async def test_the_address_of_the_request_itself(edge: Edge) -> None:
    async def base(peer: str = "203.0.113.9", **headers: str) -> str:
        proxies = (ip_network("10.0.0.0/8"),)
        body = await sent(
            edge, {"message": "m"}, headers=headers, peer=peer, trusted_proxies=proxies
        )
        return str(body["mails"][0]["open"].partition("/v1/")[0])

    assert await base() == "http://kompas.test"
    assert await base(Host="stats.example:8443") == "http://stats.example:8443"
    assert await base(Host="[::1]:80") == "http://[::1]:80"
    https = {"X-Forwarded-Proto": "https"}
    assert await base(**https) == "http://kompas.test"
    assert await base("10.0.0.1", **https) == "https://kompas.test"
    assert await base("10.0.0.1", **{"X-Forwarded-Proto": "javascript"}) == "http://kompas.test"
    for wrong in ("evil.example/x?", "a b", "", "user@host"):
        answer = await edge.post("/v1/emails", {"message": "m"}, headers={"Host": wrong})
        assert (answer.status_code, receipt(answer)["code"]) == (400, "invalid_host")


async def test_a_public_key_gets_nothing_signed(edge: Edge) -> None:
    answer = await edge.post("/v1/emails", MAIL, key="public")
    assert answer.status_code == 422
    assert "mails" not in receipt(answer)
    assert (await edge.last_rejection()).code == "secret_key_needed"


async def test_mails_of_several_sites(edge: Edge) -> None:
    body = await sent(edge, {"message": "a"}, {"message": "b", "site": "blog"}, key="admin")
    for mail, site in zip(body["mails"], (edge.shop, edge.blog), strict=True):
        assert (await edge.get(path(mail["open"]), key=None)).status_code == 200
        assert (await edge.last_event()).site_id == site.id


async def test_long_tags_and_links_still_lead_the_reader(edge: Edge) -> None:
    long = "https://shop.example/" + "ø" * 1900
    mail = {"message": "m", "campaign": "c" * 5000, "links": [OFFER, long]}
    (made,) = (await sent(edge, mail))["mails"]
    assert (await edge.get(path(made["open"]), key=None)).status_code == 200
    assert (await edge.get(path(made["click"][0]), key=None)).status_code == 302
    assert made["click"][1] == long


async def addresses(edge: Edge) -> tuple[str, str]:
    (mail,) = (await sent(edge, MAIL))["mails"]
    return path(mail["open"]), path(mail["click"][0])


async def test_an_open(edge: Edge) -> None:
    opened, _ = await addresses(edge)
    answer = await edge.get(opened, key=None)
    assert answer.status_code == 200
    assert answer.content == GIF
    assert answer.headers["cache-control"] == "no-store"
    event = await edge.last_event()
    assert event.kind == Kind.EMAIL_OPENED
    assert not event.flags & (Flag.BOT | Flag.MACHINE)
    assert event.visitor == 0
    proxy = {"User-Agent": "Mozilla/5.0 (compatible; proofpoint scanner)"}
    assert (await edge.get(opened, key=None, headers=proxy)).status_code == 200
    assert (await edge.last_event()).flags & Flag.MACHINE


async def test_a_click(edge: Edge) -> None:
    _, click = await addresses(edge)
    answer = await edge.get(click, key=None)
    assert answer.status_code == 302
    assert answer.headers["location"] == "https://shop.example/offer?a=1&b=%C3%B8#top"
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert answer.headers["cache-control"] == "no-store"
    assert "set-cookie" not in answer.headers
    event = await edge.last_event()
    assert event.kind == Kind.EMAIL_CLICKED
    assert event.data["link"] == "shop.example/offer"


async def test_head_records_nothing(edge: Edge) -> None:
    opened, click = await addresses(edge)
    before = await edge.rows("SELECT count(*) FROM event")
    assert (await edge.send("HEAD", opened, key=None)).status_code == 200
    assert (await edge.send("HEAD", click, key=None)).headers["location"].startswith("https://shop")
    assert await edge.rows("SELECT count(*) FROM event") == before
    for address in (opened, click):
        refused = await edge.post(address, None, key=None)
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD, OPTIONS")


async def test_forged_tokens(edge: Edge) -> None:
    opened, click = (address.rsplit("/", 1)[1] for address in await addresses(edge))
    before = await edge.rows("SELECT count(*) FROM event")
    changed = click[:-2] + ("A" if click[-2] != "A" else "B") + click[-1]
    for token in ("x", "1.1.shop.e30.AAAA", changed, opened[:-4], "%00", "é"):
        answer = await edge.get(f"/v1/click/{token}", key=None)
        assert answer.status_code == 404
        assert receipt(answer)["code"] == "unknown_token"
        assert "location" not in answer.headers
    for token in ("x.gif", f"{click}.gif", "%00.gif"):
        answer = await edge.get(f"/v1/open/{token}", key=None)
        assert answer.status_code == 404
        assert answer.content == GIF
        assert answer.headers["x-kompas-code"] == "unknown_token"
    assert await edge.rows("SELECT count(*) FROM event") == before


async def test_the_token_of_a_site_that_is_gone(edge: Edge) -> None:
    tokens = edge.intake.tokens
    opened = await edge.get(f"/v1/open/{tokens.mint_open('gone', 'm')}.gif", key=None)
    assert opened.headers["x-kompas-code"] == "unknown_site"
    click = tokens.mint_click("gone", "m", "https://shop.example")
    assert (await edge.get(f"/v1/click/{click}", key=None)).status_code == 302


@pytest.fixture
async def away(edge: Edge) -> Edge:
    """The doors in front of a writer that takes nothing."""
    clock = SystemClock()
    intake = Intake(Writer(edge.database.engine, clock), Vault(edge.database.engine), clock)
    await intake.start()
    return Edge(edge.database, intake, edge.store, edge.shop, edge.blog, edge.keys)


def unrecorded() -> float:
    labels = {"kind": "email_clicked", "outcome": "rejected"}
    return telemetry.REGISTRY.get_sample_value("kompas_events_total", labels) or 0


async def test_a_reader_is_led_on_when_nothing_can_be_recorded(edge: Edge, away: Edge) -> None:
    opened, click = await addresses(edge)
    before = unrecorded()
    with capture_logs() as logged:
        answer = await away.get(click, key=None)
    assert answer.status_code == 302
    assert unrecorded() == before + 1
    assert [line["event"] for line in logged] == ["click_not_recorded"]
    refused = await away.get(opened, key=None)
    assert (refused.status_code, refused.headers["x-kompas-code"]) == (503, "unavailable")
    assert refused.headers["retry-after"]


async def test_a_reader_does_not_wait_for_a_slow_database(edge: Edge) -> None:
    """The click is recorded after the reader went on."""
    _, click = await addresses(edge)
    (before,) = await edge.rows("SELECT count(*) AS n FROM event")
    async with edge.database.engine.begin() as blocking:
        await blocking.exec_driver_sql("LOCK TABLE batch IN ACCESS EXCLUSIVE MODE")
        answer = await edge.get(click, key=None, click_seconds=0.01)
        assert answer.status_code == 302
    for _ in range(200):
        (after,) = await edge.rows("SELECT count(*) AS n FROM event")
        if after.n > before.n:
            break
        await asyncio.sleep(0.01)
    assert after.n == before.n + 1
