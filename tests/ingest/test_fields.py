from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.ingest import fields
from service.ingest.fields import Page, Parser, is_target, parse_page
from service.ingest.refusals import RefusedError
from tests.ingest.given import NOW, context

REQUEST = context()


@pytest.mark.parametrize(
    ("parse", "value", "expected"),
    [
        (fields.text, "", ""),
        (fields.text, "a\x00b\ud800c\n", "a\ufffdb\ufffdc\n"),
        (fields.name, "\t Ærø ", "Ærø"),
        (fields.identity, "a b", "a b"),
        (fields.identity, 17, "17"),
        (fields.identity, -(10**31), "-1" + "0" * 31),
        (fields.boolean, False, False),
        (fields.amount, 0, 0),
        (fields.amount, "129.95", 129_950_000),
        (fields.amount, Decimal("1E+3"), 1_000_000_000),
        (fields.amount, "0.100000000000000000", 100_000),
        (fields.count, Decimal("7.0"), 7),
        (fields.count, "007", 7),
        (fields.currency, "dkk", "DKK"),
        (fields.group, "brand", "brand"),
        (fields.link, "https://shop.example/a?b=c#d", "shop.example/a"),
        (fields.referrer, "https://www.Google.com./search?q=x", "www.google.com"),
        (fields.referrer, "android-app://com.google.android.gm/", "com.google.android.gm"),
        (fields.referrer, "http://[2001:DB8::1]:8080/x", "[2001:db8::1]"),
        (fields.referrer, "about:blank", ""),
        (fields.referrer, "b'https://x.example/'", ""),
        (
            fields.props,
            {"a": None, "b": [1, {"c": "\x00"}]},
            {"a": None, "b": [1, {"c": "\ufffd"}]},
        ),
        (fields.items, [1, "a", None, {"x": []}], [1, "a", None, {"x": []}]),
    ],
)
def test_what_fields_take(parse: Parser, value: Any, expected: Any) -> None:
    found = parse(value, REQUEST)
    assert found == expected
    assert type(found) is type(expected)


@pytest.mark.parametrize(
    ("address", "page"),
    [
        ("https://shop.example", ("shop.example", "", "/")),
        ("HTTP://SHOP.example:80/A?b=C&d#e", ("shop.example", "b=C&d", "/A")),
        ("https://shop.example:443/", ("shop.example", "", "/")),
        ("https://u:p@shop.example/", ("shop.example", "", "/")),
        ("https://shop.example?a=/b", ("shop.example", "a=/b", "/")),
        ("https://[::1]/a", ("[::1]", "", "/a")),
        (" https://sh\u00f8p.example/\u00e6 ", ("sh\u00f8p.example", "", "/\u00e6")),
        ("https://shop.example/" + "x" * 600, ("shop.example", "", "/" + "x" * 600)),
    ],
)
def test_pages(address: str, page: tuple[str, str, str]) -> None:
    host, query, path = page
    assert parse_page(address) == Page(host, host + path, query, path)


def test_an_unusual_port_is_part_of_a_page() -> None:
    expected = Page("shop.example", "shop.example:8443/a", "", "/a")
    assert parse_page("https://shop.example:8443/a") == expected


@pytest.mark.parametrize(
    "address",
    ["", "shop.example", "//shop.example", "ftp://a", "https:///a", "https://.", "https://a b/",
     "https://a:b/", "https://a:123456/", "https://[::1/", "https://?a", "https://u@p@a/", "javascript:https://a/"],
)  # fmt: skip
def test_what_is_no_page(address: str) -> None:
    assert parse_page(address) is None


def test_userinfo_never_reaches_the_log() -> None:
    assert "anna" not in fields.link("https://anna:pw@shop.example/a", REQUEST)


@settings(deadline=None)
@given(st.text() | st.text().map("https://{}".format))
def test_any_text_is_a_page_or_none(address: str) -> None:
    page = parse_page(address)
    if page is not None:
        assert page.host
        assert page.text.startswith(page.host)
        assert "/" in page.text
        assert "#" not in page.text + page.query
        assert "?" not in page.text
    assert not is_target(address) or page is not None


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("2026-05-20T10:00:00Z", datetime(2026, 5, 20, 10, tzinfo=UTC)),
        ("2026-05-20t10:00:00z", datetime(2026, 5, 20, 10, tzinfo=UTC)),
        ("2026-05-20 10:00:00+02:00", datetime(2026, 5, 20, 8, tzinfo=UTC)),
        ("2026-05-20T10:00:00.1-00:30", datetime(2026, 5, 20, 10, 30, 0, 100_000, tzinfo=UTC)),
        ("2026-05-20T10:00:00.123456789Z", datetime(2026, 5, 20, 10, 0, 0, 123456, tzinfo=UTC)),
        ("2026-05-20", datetime(2026, 5, 19, 22, tzinfo=UTC)),
        ("2026-01-01", datetime(2025, 12, 31, 23, tzinfo=UTC)),
    ],
)
def test_instants(value: str, expected: datetime) -> None:
    found = fields.instant(value, REQUEST)
    assert found == expected
    assert found.utcoffset() == timedelta(0)


@settings(deadline=None)
@given(st.datetimes(datetime(1990, 1, 2), NOW.replace(tzinfo=None)), st.integers(-14 * 60, 14 * 60))
def test_an_instant_is_the_same_in_every_offset(at: datetime, minutes: int) -> None:
    hours, rest = divmod(abs(minutes), 60)
    local = (at + timedelta(minutes=minutes)).isoformat(timespec="microseconds")
    offset = f"{'-' if minutes < 0 else '+'}{hours:02}:{rest:02}"
    assert fields.instant(f"{local}{offset}", REQUEST) == at.replace(tzinfo=UTC)


@pytest.mark.parametrize(
    "value",
    ["2026-05-20T10:00:00", "2026-05-20T10:00Z", "2026-05-20T10:00:60Z", "2026-05-20T24:00:00Z",
     "2026-05-20T10:00:00+24:00", "2026-05-20T10:00:00,5Z", "2026-W21-3T10:00:00Z", "", " ",
     "\u0662026-05-20", "9999-12-31T23:59:59-14:00", "2026-05-20T10:00:00Z ", None, [], 1e9],
)  # fmt: skip
def test_what_is_no_instant(value: Any) -> None:
    with pytest.raises(RefusedError) as caught:
        fields.instant(value, REQUEST)
    assert caught.value.code in {"invalid_time", "time_in_future"}


@settings(deadline=None)
@given(st.decimals(0, 10**11, places=6))
def test_amounts_are_exact(amount: Decimal) -> None:
    micros = int(amount.scaleb(6))
    assert fields.amount(amount, REQUEST) == micros
    assert fields.amount(f"{amount:f}", REQUEST) == micros


def test_ids_are_hashed_by_what_they_are_of() -> None:
    order, customer = fields.hashed("order"), fields.hashed("customer")
    assert order("17", REQUEST) == order(17, REQUEST)
    assert order("17", REQUEST) != customer("17", REQUEST)
