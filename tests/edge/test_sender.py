"""Whose address counts, and who does not want to be known."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.domain.access import Site
from service.domain.kinds import Kind
from service.edge.options import EdgeOptions
from service.edge.sender import Sender, address_of, country_of, facts_of, sender_of
from service.ingest.intake import RequestFacts

PROXIES = tuple(map(ip_network, ("10.0.0.0/8", "::1/128")))


def scope(peer: str | None, *forwarded: str) -> dict[str, Any]:
    headers = [(b"x-forwarded-for", text.encode()) for text in forwarded]
    return {"client": (peer, 4711) if peer else None, "headers": headers}


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("203.0.113.9", [], "203.0.113.9"),
        (None, ["198.51.100.1"], ""),
        ("203.0.113.9", ["198.51.100.1"], "203.0.113.9"),  # not a proxy of ours: not believed
        ("10.1.2.3", [], "10.1.2.3"),
        ("10.1.2.3", ["198.51.100.1"], "198.51.100.1"),
        ("::ffff:10.1.2.3", ["198.51.100.1"], "198.51.100.1"),
        ("::1", ["2001:DB8::5"], "2001:db8::5"),
        ("10.1.2.3", ["[2001:db8::5]:443"], "2001:db8::5"),
        ("10.1.2.3", ["198.51.100.1:80"], "198.51.100.1"),
        # What the client wrote itself stands to the left of what the first proxy added.
        ("10.1.2.3", ["192.0.2.66, 198.51.100.1"], "198.51.100.1"),
        ("10.1.2.3", ["192.0.2.66", "198.51.100.1, 10.9.9.9"], "198.51.100.1"),
        ("10.1.2.3", ["10.0.0.7, 10.0.0.8"], "10.0.0.7"),
        ("10.1.2.3", ["nonsense, 10.0.0.8"], "10.0.0.8"),
        ("10.1.2.3", ["nonsense"], "10.1.2.3"),
        ("10.1.2.3", [""], "10.1.2.3"),
    ],
)
def test_the_rightmost_address_that_is_not_a_proxy(
    peer: str | None, forwarded: list[str], address: str
) -> None:
    assert address_of(scope(peer, *forwarded), PROXIES) == address


def test_without_proxies_the_header_means_nothing() -> None:
    assert address_of(scope("10.1.2.3", "198.51.100.1"), ()) == "10.1.2.3"


@given(st.lists(st.text(st.characters(codec="latin-1")) | st.ip_addresses().map(str)))
def test_an_address_is_one_or_the_peer(forwarded: list[str]) -> None:
    headers = [(b"x-forwarded-for", text.encode("latin-1")) for text in forwarded]
    ip_address(address_of({"client": ("10.1.2.3", 1), "headers": headers}, PROXIES))


@pytest.mark.parametrize(
    ("headers", "opted_out"),
    [
        ({}, False),
        ({b"dnt": b"1"}, True),
        ({b"sec-gpc": b"1"}, True),
        ({b"dnt": b"0", b"sec-gpc": b"0"}, False),
    ],
)
def test_signals_of_the_browser(headers: dict[bytes, bytes], opted_out: bool) -> None:
    found = sender_of(scope("203.0.113.9"), {b"user-agent": b"Firefox", **headers}, EdgeOptions())
    assert found.opted_out is opted_out
    assert found.user_agent == "Firefox"


@pytest.mark.parametrize(
    ("headers", "prefetch"),
    [
        ({}, False),
        ({b"sec-purpose": b"prefetch;prerender"}, True),
        ({b"purpose": b"prefetch"}, True),
        ({b"x-moz": b"prefetch"}, True),
        ({b"purpose": b"preview", b"x-moz": b""}, False),
    ],
)
def test_what_browsers_say_when_they_fetch_ahead(
    headers: dict[bytes, bytes], prefetch: bool
) -> None:
    assert sender_of(scope("203.0.113.9"), headers, EdgeOptions()).prefetch is prefetch


def test_all_that_is_known_of_a_sender_is_handed_on() -> None:
    site = Site(7, "shop", "Europe/Copenhagen", "DKK", b"s")
    sender = Sender("Firefox", "203.0.113.9", opted_out=True, prefetch=True, country="DK")
    found = facts_of(sender, site, "/v1/leads", Kind.LEAD, repaired=True)
    assert found == RequestFacts(
        site, "/v1/leads", Kind.LEAD, "Firefox", "203.0.113.9", True, True, True, True, country="DK"
    )


def test_a_sender_does_not_show_itself() -> None:
    """Neither in a log line nor in a traceback."""
    found = sender_of(scope("203.0.113.9"), {b"user-agent": b"Firefox"}, EdgeOptions())
    assert "203" not in repr(found)
    assert "Firefox" not in repr(found)


@pytest.mark.parametrize(
    ("peer", "header", "said", "country"),
    [
        ("10.1.2.3", "CF-IPCountry", b"DK", "DK"),
        ("10.1.2.3", "CF-IPCountry", b" dk ", "DK"),
        ("10.1.2.3", "CF-IPCountry", b"XX", ""),
        ("10.1.2.3", "CF-IPCountry", b"xx", ""),
        ("10.1.2.3", "CF-IPCountry", b"T1", ""),
        ("10.1.2.3", "CF-IPCountry", b"DNK", ""),
        ("10.1.2.3", "CF-IPCountry", b"D", ""),
        ("10.1.2.3", "CF-IPCountry", b"\xc6\xd8", ""),
        ("10.1.2.3", "CF-IPCountry", b"", ""),
        ("203.0.113.9", "CF-IPCountry", b"DK", ""),  # anybody can write a header
        ("10.1.2.3", None, b"DK", ""),
        ("10.1.2.3", "X-Country", b"DK", ""),
    ],
)
def test_a_country_is_what_a_trusted_proxy_says(
    peer: str, header: str | None, said: bytes, country: str
) -> None:
    options = EdgeOptions(trusted_proxies=PROXIES, country_header=header)
    headers = {b"cf-ipcountry": said}
    assert country_of(scope(peer), headers, options) == country
    assert sender_of(scope(peer), headers, options).country == country
