from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import string
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.kinds import Kind
from service.ingest.normalise import normalise
from service.ingest.tokens import LONGEST, TAGS, Purpose, TokenSigner
from service.store.secrets import SigningKey
from tests.ingest.given import browser, data

PAGE = Path(__file__).parents[2] / "docs/reference/tokens.md"
OLD = SigningKey(1, b"o" * 32)
NEW = SigningKey(2, b"n" * 32)
SIGNER = TokenSigner((NEW, OLD))
LINK = "https://shop.example/offer?a=1&b=æ#top"
URL_SAFE = set(string.ascii_letters + string.digits + "-_.")

OPEN = SIGNER.mint_open("shop", "m-1", campaign="newsletter-19")
CLICK = SIGNER.mint_click("shop", "m-1", LINK, campaign="newsletter-19", content="top")


def signed(body: bytes, purpose: str = "open", site: str = "shop", secret: str = "") -> str:
    """A token as somebody with the site's secret can make it, sensible or not."""
    key, _, own = SIGNER.site_secret(site).split(".")
    text = base64.urlsafe_b64encode(body).rstrip(b"=").decode()
    head = f"1.{key}.{site}.{text}"
    mac = hmac.digest((secret or own).encode(), f"{purpose}.{head}".encode(), hashlib.sha256)
    return f"{head}.{base64.urlsafe_b64encode(mac[:16]).rstrip(b'=').decode()}"


def test_a_token_says_what_was_signed() -> None:
    opened = SIGNER.verify(OPEN, Purpose.OPEN)
    assert opened is not None
    assert (opened.site, opened.target) == ("shop", "")
    assert opened.fields == {"message": "m-1", "campaign": "newsletter-19"}
    clicked = SIGNER.verify(CLICK, "click")
    assert clicked is not None
    assert clicked.target == LINK
    assert clicked.fields.keys() == {"message", "campaign", "content", "link"}


def test_claims_are_fields_of_the_event() -> None:
    for token, purpose, kind in (
        (OPEN, Purpose.OPEN, Kind.EMAIL_OPENED),
        (CLICK, Purpose.CLICK, Kind.EMAIL_CLICKED),
    ):
        claims = SIGNER.verify(token, purpose)
        assert claims is not None
        (row,) = normalise([claims.fields], browser(kind=kind)).rows
        assert data(row)["message"] == browser().keyring.text("message", "m-1")
    assert data(row)["link"] == "shop.example/offer"


def test_tokens_are_short_and_fit_into_a_path() -> None:
    assert set(OPEN + CLICK) <= URL_SAFE
    assert len(OPEN) < 110
    assert SIGNER.mint_open("shop", "m-1", campaign="newsletter-19", term="") == OPEN


def test_an_open_is_not_a_click() -> None:
    assert SIGNER.verify(OPEN, Purpose.CLICK) is None
    assert SIGNER.verify(CLICK, Purpose.OPEN) is None
    # Not even when a mailer signs for the other purpose what it must not hold.
    assert SIGNER.verify(signed(b'{"message":"m","link":"https://a.dk"}'), Purpose.OPEN) is None
    assert SIGNER.verify(signed(b'{"message":"m"}', "click"), Purpose.CLICK) is None


@pytest.mark.parametrize("place", range(0, len(OPEN)))
def test_no_character_can_be_changed(place: int) -> None:
    other = "A" if OPEN[place] != "A" else "B"
    assert SIGNER.verify(OPEN[:place] + other + OPEN[place + 1 :], Purpose.OPEN) is None
    assert SIGNER.verify(OPEN[:place] + OPEN[place + 1 :], Purpose.OPEN) is None
    assert SIGNER.verify(OPEN[:place], Purpose.OPEN) is None


def test_the_mac_has_one_spelling() -> None:
    # The last of 22 characters has four bits that base64 would ignore.
    spellings = [OPEN[:-1] + last for last in string.ascii_letters + string.digits + "-_"]
    assert [token for token in spellings if SIGNER.verify(token, Purpose.OPEN)] == [OPEN]


def test_one_sites_secret_signs_nothing_for_another() -> None:
    _, _, secret = SIGNER.site_secret("blog").split(".")
    assert SIGNER.verify(signed(b'{"message":"m"}'), Purpose.OPEN) is not None
    assert SIGNER.verify(signed(b'{"message":"m"}', secret=secret), Purpose.OPEN) is None


def test_every_key_verifies_and_the_newest_signs() -> None:
    before = TokenSigner((OLD,))
    token = before.mint_open("shop", "m-1")
    assert token.startswith("1.1.shop.")
    assert OPEN.startswith("1.2.shop.")
    assert SIGNER.verify(token, Purpose.OPEN) == before.verify(token, Purpose.OPEN) is not None
    assert before.verify(OPEN, Purpose.OPEN) is None
    renamed = token.replace("1.1.", "1.2.", 1)
    assert SIGNER.verify(renamed, Purpose.OPEN) is None
    assert SIGNER.site_secret("shop").startswith("2.shop.")
    assert SIGNER.site_secret("shop") != before.site_secret("shop").replace("1.", "2.", 1)


NONSENSE = [
    b"", b"x", b"[]", b"1", b"null", b"{}", b'{"message":""}', b'{"message":1}',
    b'{"message":null}', b'{"message":"m","recipient":"anna"}', b'{"message":"m","campaign":1}',
    b'{"message":"m","message":"n"}', b"\xff\xfe", b'{"message":"' + b"x" * 257 + b'"}',
    b'{"message":"m","x":' + b"[" * 500 + b"]" * 500 + b"}",
]  # fmt: skip


@pytest.mark.parametrize("body", NONSENSE)
def test_signed_nonsense_is_still_nonsense(body: bytes) -> None:
    assert SIGNER.verify(signed(body), Purpose.OPEN) is None


@pytest.mark.parametrize(
    "target",
    [
        "javascript:alert(1)", "//evil.example", "/offer", "ftp://shop.example/", "", "https://",
        "https://shop.example/\r\nSet-Cookie: a=b", "https://shop.example/a b",
        "https://shop.example/\u2028", "android-app://com.example/", "httpx://shop.example/",
        "https://shop.example/" + "x" * 2048,
    ],
)  # fmt: skip
def test_a_click_leads_to_a_web_page_and_nowhere_else(target: str) -> None:
    with pytest.raises(ValueError, match="http"):
        SIGNER.mint_click("shop", "m-1", target)
    body = json.dumps({"message": "m-1", "link": target}).encode()
    assert SIGNER.verify(signed(body, "click"), Purpose.CLICK) is None


def test_what_cannot_be_minted() -> None:
    for site in ("", "a.b", "a/b", "æ", "x" * 65):
        with pytest.raises(ValueError, match="slug"):
            SIGNER.mint_open(site, "m-1")
    for message in ("", "x" * 257):
        with pytest.raises(ValueError, match="message"):
            SIGNER.mint_open("shop", message)
    with pytest.raises(ValueError, match="at most 4096"):
        SIGNER.mint_open("shop", "m-1", campaign="c" * LONGEST)
    with pytest.raises(ValueError, match="tags"):
        SIGNER.mint_open("shop", "m-1", recipient="anna")


def test_what_is_too_long_is_not_looked_at() -> None:
    long = signed(json.dumps({"message": "m", "campaign": "c" * LONGEST}).encode())
    assert len(long) > LONGEST
    assert SIGNER.verify(long, Purpose.OPEN) is None
    assert SIGNER.verify("1." * 10_000_000, Purpose.OPEN) is None


pieces = st.sampled_from(["1", "2", "shop", ".", "..", "=", OPEN, CLICK, OPEN[-22:], "%2e", "\x00"])


@settings(deadline=None)
@given(st.text() | st.lists(pieces, max_size=6).map(".".join), st.sampled_from(Purpose))
def test_garbage_never_raises(token: str, purpose: Purpose) -> None:
    assert SIGNER.verify(token, purpose) is None or token in {OPEN, CLICK}


@settings(deadline=None)
@given(
    st.text(min_size=1, max_size=60),
    st.dictionaries(st.sampled_from(TAGS), st.text(min_size=1, max_size=30)),
)
def test_what_is_minted_verifies(message: str, tags: dict[str, str]) -> None:
    claims = SIGNER.verify(SIGNER.mint_open("shop", message, **tags), Purpose.OPEN)
    assert claims is not None
    assert claims.fields.keys() == {"message", *tags}
    if "\x00" not in message + "".join(tags.values()):
        assert claims.fields == {"message": message, **tags}


def test_the_rule_for_mailers_makes_the_same_tokens() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    names: dict[str, Any] = {"site_secret": SIGNER.site_secret("shop")}
    exec(code, names)  # noqa: S102 - the documentation's own example is what is tested
    opened = SIGNER.verify(names["open_token"], Purpose.OPEN)
    assert opened is not None
    assert opened.site == "shop"
    assert opened.fields == {"message": "m-1", "campaign": "newsletter-19"}
    clicked = SIGNER.verify(names["click_token"], Purpose.CLICK)
    assert clicked is not None
    assert clicked.target == "https://shop.example/offer"
    assert SIGNER.verify(names["open_token"], Purpose.CLICK) is None


def test_secrets_do_not_show() -> None:
    assert "m-1" not in repr(SIGNER.verify(OPEN, Purpose.OPEN))
