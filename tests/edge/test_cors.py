"""Which pages may read an answer."""

from __future__ import annotations

from service.edge.cors import Cors

SHOP = {b"origin": b"https://shop.example"}


def test_every_page() -> None:
    every = Cors(("*",))
    assert every.answer({}) == {"Access-Control-Allow-Origin": "*"}
    assert every.answer(SHOP)["Access-Control-Allow-Origin"] == "*"
    assert every.answer(SHOP)["Access-Control-Expose-Headers"] == "Retry-After"


def test_listed_pages_only() -> None:
    listed = Cors(("https://shop.example", "https://blog.example"))
    answer = listed.answer(SHOP)
    assert answer["Access-Control-Allow-Origin"] == "https://shop.example"
    assert answer["Vary"] == "Origin"
    for stranger in ({}, {b"origin": b"https://shop.example.evil.example"}, {b"origin": b"null"}):
        assert listed.answer(stranger) == {"Vary": "Origin"}
        assert "Access-Control-Allow-Headers" not in listed.preflight(stranger, "POST")


def test_a_preflight_allows_what_browsers_send() -> None:
    allowed = Cors(("*",)).preflight(SHOP, "POST, OPTIONS")
    assert allowed["Access-Control-Allow-Methods"] == allowed["Allow"] == "POST, OPTIONS"
    assert "authorization" in allowed["Access-Control-Allow-Headers"].lower()
    assert "Access-Control-Allow-Credentials" not in allowed
