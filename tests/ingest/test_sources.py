from __future__ import annotations

import re
import tomllib
from collections import Counter
from datetime import date
from importlib.resources import files

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.ingest import sources
from service.ingest.sources import (
    CATEGORIES,
    Source,
    canonical,
    category_of,
    is_payment,
    source_of_host,
    version,
)

DATA = tomllib.loads((files("service.ingest") / "sources.toml").read_text("utf-8"))
HOSTS = [
    (category, name, host)
    for category in CATEGORIES
    for name, text in DATA[category].items()
    for host in text.split()
]


@pytest.mark.parametrize(
    ("host", "category", "name"),
    [
        # Search engines: the host itself, under any country.
        ("google.com", "search", "google"),
        ("www.google.com", "search", "google"),
        ("www.google.dk", "search", "google"),
        ("google.co.uk", "search", "google"),
        ("www.google.com.mm", "search", "google"),
        ("images.google.de", "search", "google"),
        ("encrypted.google.com", "search", "google"),
        ("com.google.android.googlequicksearchbox", "search", "google"),
        ("www.bing.com", "search", "bing"),
        ("dk.search.yahoo.com", "search", "yahoo"),
        ("r.duckduckgo.com", "search", "duckduckgo"),
        ("www.ecosia.org", "search", "ecosia"),
        ("yandex.ru", "search", "yandex"),
        ("www.yandex.com.tr", "search", "yandex"),
        ("www.startpage.com", "search", "startpage"),
        # Everybody else: whatever is below the host, too.
        ("www.facebook.com", "social", "facebook"),
        ("m.facebook.com", "social", "facebook"),
        ("l.facebook.com", "social", "facebook"),
        ("web.facebook.com", "social", "facebook"),
        ("l.instagram.com", "social", "instagram"),
        ("lnkd.in", "social", "linkedin"),
        ("dk.linkedin.com", "social", "linkedin"),
        ("out.reddit.com", "social", "reddit"),
        ("t.co", "social", "x"),
        ("t.me", "social", "telegram"),
        ("web.whatsapp.com", "social", "whatsapp"),
        ("l.messenger.com", "social", "messenger"),
        ("www.pinterest.dk", "social", "pinterest"),
        ("www.digg.com", "social", "digg"),
        ("m.youtube.com", "video", "youtube"),
        ("youtu.be", "video", "youtube"),
        ("player.vimeo.com", "video", "vimeo"),
        ("www.amazon.co.uk", "shopping", "amazon"),
        ("smile.amazon.de", "shopping", "amazon"),
        ("www.ebay.com.au", "shopping", "ebay"),
        # The longer host is the better answer.
        ("gemini.google.com", "ai", "gemini"),
        ("plus.google.com", "social", "googleplus"),
        ("chat.openai.com", "ai", "chatgpt"),
        ("chatgpt.com", "ai", "chatgpt"),
        ("www.perplexity.ai", "ai", "perplexity"),
        ("copilot.microsoft.com", "ai", "copilot"),
    ],
)
def test_hosts_that_everybody_meets(host: str, category: str, name: str) -> None:
    assert source_of_host(host) == Source(category, name)
    assert category_of(host) == category


@pytest.mark.parametrize(
    "host",
    [
        "mail.google.com",  # webmail is no search engine
        "docs.google.com",
        "com.google.android.gm",
        "outlook.live.com",
        "mail.yahoo.com",
        "edition.cnn.com",
        "www.cnn.com",  # its search page is one, which an origin alone does not tell
        "checkout.stripe.com",  # pays, and sends back
        "notgoogle.com",
        "google.com.evil.example",
        "facebook.com.evil.example",
        "notfacebook.com",
        "com",
        "co.uk",
        "dk",
        "localhost",
        "192.0.2.1",
        "[::1]",
        "",
        ".",
        "..google.com",
        "a." * 200 + "google.com",
        "x" * 300,
    ],
)
def test_hosts_of_nobody_in_the_list(host: str) -> None:
    assert source_of_host(host) is None
    assert category_of(host) == ""


@pytest.mark.parametrize(
    ("said", "name", "category"),
    [
        ("fb", "facebook", "social"),
        ("ig", "instagram", "social"),
        ("insta", "instagram", "social"),
        ("twitter", "x", "social"),
        ("yt", "youtube", "video"),
        ("adwords", "google", "search"),
        ("chatgpt.com", "chatgpt", "ai"),
        ("igshopping", "igshopping", "shopping"),
        ("google", "google", "search"),
        ("myspace", "myspace", "social"),
        ("l.facebook.com", "l.facebook.com", "social"),
        ("nyhedsbrev", "nyhedsbrev", ""),
    ],
)
def test_what_people_write_into_links(said: str, name: str, category: str) -> None:
    assert canonical(said) == name
    assert category_of(name) == category


def test_nothing_has_no_category() -> None:
    """A line without a name would make everything without a source a search engine."""
    assert category_of("") == ""
    assert canonical("") == ""


# --- The list itself --------------------------------------------------------------------------


def test_a_host_belongs_to_one_source() -> None:
    twice = {host: n for host, n in Counter(host for *_, host in HOSTS).items() if n > 1}
    assert twice == {}


def test_a_name_belongs_to_one_category() -> None:
    names = Counter(name for category in CATEGORIES for name in DATA[category])
    assert {name: n for name, n in names.items() if n > 1} == {}


def test_names_are_what_a_source_can_be() -> None:
    for category in CATEGORIES:
        for name in DATA[category]:
            assert name
            assert name == name.strip().lower()
            assert canonical(name) == name, "an alias would hide it"
            assert category_of(name) == category


def test_aliases_lead_to_names() -> None:
    names = {name for category in CATEGORIES for name in DATA[category]}
    assert set(DATA["aliases"].values()) <= names
    assert not set(DATA["aliases"]) & names
    assert set(DATA) == {*CATEGORIES, "aliases", "payment", "version"}


def test_hosts_have_the_form_that_is_looked_up() -> None:
    label = re.compile(r"\{\}|[a-z0-9_]([a-z0-9_-]*[a-z0-9])?")
    for _, _, host in HOSTS:
        labels = host.split(".")
        assert len(labels) > 1
        assert all(label.fullmatch(part) for part in labels), host
        assert host.count("{}") <= 2
        assert not host.startswith("www."), host


@pytest.mark.parametrize("code", ["dk", "co.uk", "com.br"])
def test_every_host_of_the_list_is_found_by_itself(code: str) -> None:
    """With `{}` filled in, as a browser would send it; the longest match may be a better one."""
    for category, name, host in HOSTS:
        sent = re.sub(r"\{\}$", code, host).replace("{}", "dk")
        for variant in (sent, f"www.{sent}"):
            found = source_of_host(variant)
            assert found is not None, variant
            assert found == Source(category, name), variant


def test_the_list_says_its_version() -> None:
    assert version() == DATA["version"]
    assert date.fromisoformat(version()).year >= 2026


@pytest.mark.parametrize(
    ("host", "pays"),
    [
        ("checkout.stripe.com", True),
        ("stripe.com", True),
        ("pay.klarna.com", True),
        ("ssl.ditonlinebetalingssystem.dk", True),
        ("payment.quickpay.net", True),
        ("epayment.nets.eu", True),
        ("www.amazon.com", False),
        ("stripe.com.evil.example", False),
        ("", False),
        ("a." * 200 + "stripe.com", False),
    ],
)
def test_where_orders_are_paid(host: str, pays: bool) -> None:
    assert is_payment(host) is pays


def test_a_payment_provider_is_no_source() -> None:
    """Of what is below it neither: `pay.amazon.com` would otherwise win by being longer."""
    for hosts in DATA["payment"].values():
        for host in hosts.split():
            assert is_payment(host)
            found = source_of_host(host)
            assert found is None or host.startswith(("pay.", "payments.")), host


@settings(deadline=None)
@given(st.text(max_size=300))
def test_any_text_has_an_answer(host: str) -> None:
    found = source_of_host(host)
    assert found is None or found.category in CATEGORIES
    assert category_of(host) in {"", *CATEGORIES}


@given(st.lists(st.sampled_from(["dk", "com", "google", "co", "a"]), min_size=1, max_size=60))
def test_a_look_up_is_a_handful_of_steps(labels: list[str]) -> None:
    """Forms grow with the number of labels, and hosts of many labels have only one."""
    forms = list(sources._forms(".".join(labels)))
    assert len(forms) <= 1 + 3 * (1 + sources._MOST_LABELS)
