from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.domain.access import NO_RULES, ChannelRule, SiteRules
from service.domain.dimensions import Dimension, dimension_id
from service.ingest import channels
from service.ingest.channels import (
    RULES,
    Tags,
    channel_of,
    classify,
    from_tags,
    is_own_host,
)
from tests.ingest.patterns import Repeats, repeats

SHOP = "shop.example"


def arrived(
    query: str = "",
    referrer: str = "",
    said: Tags | None = None,
    page: str = SHOP,
    rules: SiteRules = NO_RULES,
) -> Dimension:
    """The dimension of a page view on the shop."""
    return classify(said or Tags(), referrer, page, query, rules)


# --- GA4's table, row by row ------------------------------------------------------------------

ROWS = (
    # channel, source, medium, campaign
    ("Direct", "", "", ""),
    ("Cross-network", "google", "cpc", "pmax cross-network dk"),
    ("Cross-network", "google", "cpc", "Cross-Network"),
    ("Paid Shopping", "amazon", "cpc", ""),
    ("Paid Shopping", "ebay.de", "paid", ""),
    ("Paid Shopping", "google", "ppc", "spring shopping"),
    ("Paid Shopping", "google", "cpc", "shop-dk"),
    ("Paid Shopping", "google", "cpc", "eshop x shop"),
    ("Paid Search", "google", "cpc", ""),
    ("Paid Search", "google", "cpc", "workshop"),  # k is no letter that GA4 leaves out: see below
    ("Paid Search", "bing", "ppc", ""),
    ("Paid Search", "www.google.dk", "paidsearch", ""),
    ("Paid Search", "google", "retargeting", ""),
    ("Paid Search", "google", "cpm", ""),  # cpm matches .*cp.*, and search comes before display
    ("Paid Social", "facebook", "cpc", ""),
    ("Paid Social", "facebook", "cpm", ""),
    ("Paid Social", "instagram", "paid_social", ""),
    ("Paid Social", "l.facebook.com", "paid", ""),
    ("Paid Video", "youtube", "cpv,cpc", ""),
    ("Paid Video", "vimeo", "paid-video", ""),
    ("Display", "newspaper", "cpm", ""),
    ("Display", "newspaper", "banner", ""),
    ("Display", "google", "display", ""),
    ("Display", "facebook", "interstitial", ""),
    ("Display", "", "expandable", ""),
    ("Paid Other", "newspaper", "cpc", ""),
    ("Paid Other", "", "paid", ""),
    ("Paid Other", "criteo", "retargeting", ""),
    ("AI Assistants", "chatgpt.com", "", ""),
    ("AI Assistants", "claude", "referral", ""),
    ("AI Assistants", "perplexity.ai", "organic", ""),
    ("Organic Shopping", "etsy.com", "referral", ""),
    ("Organic Shopping", "igshopping", "social", ""),
    ("Organic Shopping", "newsletter", "email", "shopping guide"),
    ("Organic Social", "facebook", "", ""),
    ("Organic Social", "facebook.com", "referral", ""),
    ("Organic Social", "blog", "social", ""),
    ("Organic Social", "blog", "social-network", ""),
    ("Organic Social", "blog", "social-media", ""),
    ("Organic Social", "blog", "sm", ""),
    ("Organic Social", "blog", "social network", ""),
    ("Organic Social", "blog", "social media", ""),
    ("Organic Video", "youtube", "", ""),
    ("Organic Video", "blog", "product-video", ""),
    ("Organic Search", "google", "organic", ""),
    ("Organic Search", "duckduckgo", "referral", ""),
    ("Organic Search", "somebody", "organic", ""),
    ("Organic Search", "google", "email", ""),  # as GA4 has it: the source decides first
    ("Referral", "partner", "referral", ""),
    ("Referral", "partner", "app", ""),
    ("Referral", "partner", "link", ""),
    ("Email", "newsletter", "email", ""),
    ("Email", "newsletter", "e-mail", ""),
    ("Email", "newsletter", "e_mail", ""),
    ("Email", "newsletter", "e mail", ""),
    ("Email", "email", "", ""),
    ("Affiliates", "partner-ads", "affiliate", ""),
    ("Audio", "spotify", "audio", ""),
    ("SMS", "sms", "", ""),
    ("SMS", "shop", "sms", ""),
    ("Mobile Push", "app", "push", ""),
    ("Mobile Push", "app", "web-push", ""),
    ("Mobile Push", "app", "mobile", ""),
    ("Mobile Push", "app", "in-app notification", ""),
    ("Mobile Push", "firebase", "", ""),
    ("Unassigned", "newsletter", "", ""),
    ("Unassigned", "newsletter", "emails", ""),
    ("Unassigned", "", "", "spring"),
    ("Unassigned", "", "cheap", ""),
)


@pytest.mark.parametrize(("channel", "source", "medium", "campaign"), ROWS)
def test_the_first_rule_that_holds_wins(
    channel: str, source: str, medium: str, campaign: str
) -> None:
    assert channel_of(source, medium, campaign) == channel
    assert channel_of(source.upper(), medium.upper(), campaign.upper()) == channel


def test_every_rule_has_a_row_and_every_row_a_rule() -> None:
    names = [name for name, _ in RULES]
    assert len(names) == len(set(names))
    assert {row[0] for row in ROWS} == set(names)


def test_the_order_is_that_of_ga4() -> None:
    assert [name for name, _ in RULES] == [
        "Direct",
        "Cross-network",
        "Paid Shopping",
        "Paid Search",
        "Paid Social",
        "Paid Video",
        "Display",
        "Paid Other",
        "AI Assistants",  # ours
        "Organic Shopping",
        "Organic Social",
        "Organic Video",
        "Organic Search",
        "Referral",
        "Email",
        "Affiliates",
        "Audio",
        "SMS",
        "Mobile Push",
        "Unassigned",
    ]


@pytest.mark.parametrize(
    ("campaign", "shopping"),
    [
        ("shop", True),
        ("spring shop", True),
        ("spring-shop-2", True),
        ("spring shopping", True),
        ("eshopping", True),
        ("eshop", True),
        ("e-shop", True),
        ("workshop", False),
        ("bishop", False),
        ("photoshop", False),
        ("", False),
    ],
)
def test_a_shopping_campaign_is_not_any_word_that_ends_in_shop(
    campaign: str, shopping: bool
) -> None:
    """GA4: `shop` must not follow a letter, other than e (eshop)."""
    assert channel_of("google", "cpc", campaign) == ("Paid Shopping" if shopping else "Paid Search")


# --- Where somebody came from -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("referrer", "channel", "source", "medium"),
    [
        ("", "Direct", "", ""),
        ("www.google.dk", "Organic Search", "google", "organic"),
        ("google.com.mm", "Organic Search", "google", "organic"),
        ("www.bing.com", "Organic Search", "bing", "organic"),
        ("com.google.android.googlequicksearchbox", "Organic Search", "google", "organic"),
        ("mail.google.com", "Referral", "mail.google.com", "referral"),
        ("outlook.live.com", "Referral", "outlook.live.com", "referral"),
        ("www.facebook.com", "Organic Social", "facebook", "referral"),
        ("facebook.com", "Organic Social", "facebook", "referral"),
        ("m.facebook.com", "Organic Social", "facebook", "referral"),
        ("lm.facebook.com", "Organic Social", "facebook", "referral"),
        ("t.co", "Organic Social", "x", "referral"),
        ("www.myspace.com", "Organic Social", "myspace", "referral"),
        ("www.youtube.com", "Organic Video", "youtube", "referral"),
        ("chatgpt.com", "AI Assistants", "chatgpt", "referral"),
        ("www.perplexity.ai", "AI Assistants", "perplexity", "referral"),
        ("gemini.google.com", "AI Assistants", "gemini", "referral"),
        ("www.amazon.de", "Organic Shopping", "amazon", "referral"),
        ("www.blog.example", "Referral", "blog.example", "referral"),
        ("checkout.stripe.com", "Direct", "", ""),  # who has paid comes back
        ("www.paypal.com", "Direct", "", ""),
        ("pay.amazon.com", "Direct", "", ""),
        ("products.mobilepay.dk", "Direct", "", ""),
        ("notstripe.com", "Referral", "notstripe.com", "referral"),
        (SHOP, "Direct", "", ""),
        (f"www.{SHOP}", "Direct", "", ""),
        (f"checkout.{SHOP}", "Direct", "", ""),
    ],
)
def test_a_referrer_names_the_source(referrer: str, channel: str, source: str, medium: str) -> None:
    assert arrived(referrer=referrer) == Dimension(channel, source, medium)


@pytest.mark.parametrize(
    ("host", "page", "own"),
    [
        ("shop.example", "shop.example", True),
        ("www.shop.example", "shop.example", True),
        ("shop.example", "www.shop.example", True),
        ("blog.shop.example", "www.shop.example", True),
        ("shop.example", "blog.shop.example", True),
        ("myshop.example", "shop.example", False),
        ("shop.example.evil", "shop.example", False),
        ("blog.shop.example", "mail.shop.example", False),
        ("", "shop.example", False),
        ("shop.example", "", False),
        ("", "", False),
    ],
)
def test_own_hosts_are_equal_or_below_each_other(host: str, page: str, own: bool) -> None:
    assert is_own_host(host, page) is own


UTM = "utm_source=Nyhedsbrev&utm_medium=Email&utm_campaign=For%C3%A5r&utm_content=Top&utm_term=sko"


def test_utm_tags_beat_the_referrer_and_keep_the_case_of_names() -> None:
    assert arrived(UTM, "www.google.com") == Dimension(
        "Email", "nyhedsbrev", "email", "Forår", "Top", "sko"
    )


def test_explicit_fields_beat_utm_tags_one_by_one() -> None:
    said = Tags(source="CRM", campaign="Jul")
    assert arrived(UTM, "www.google.com", said) == Dimension(
        "Email", "crm", "email", "Jul", "Top", "sko"
    )
    assert arrived("", "www.google.com", Tags(source="crm", medium="email")).channel == "Email"


def test_a_campaign_alone_leaves_the_referrer_its_say() -> None:
    assert arrived("utm_campaign=x", "www.google.com") == Dimension(
        "Organic Search", "google", "organic", "x"
    )


@pytest.mark.parametrize(
    ("query", "source", "medium"),
    [
        ("utm_source=google&utm_medium=cpc", "google", "cpc"),
        ("UTM_SOURCE=Google&Utm_Medium=CPC", "google", "cpc"),
        ("a=1&utm_source=google&utm_source=bing&utm_medium=cpc", "google", "cpc"),  # the first
        ("utm_source=&utm_source=bing&utm_medium=cpc", "bing", "cpc"),  # of those with a value
        ("utm_source=+google%20&utm_medium=cpc", "google", "cpc"),
        ("utm_source=fb&utm_medium=paid", "facebook", "paid"),
        ("utm_source=%C3%A6ble&utm_medium=x", "æble", "x"),
        ("utm_source=%ff&utm_medium=x", "\ufffd", "x"),
        ("utm_source=(direct)&utm_medium=(none)", "", ""),
        ("utm_source=(not%20set)&utm_medium=(Not+Set)", "", ""),
        ("utm_source", "", ""),
        ("xutm_source=google", "", ""),
        ("utm_id=5", "", ""),
    ],
)
def test_how_utm_tags_are_read(query: str, source: str, medium: str) -> None:
    found = arrived(query)
    assert (found.source, found.medium) == (source, medium)


@pytest.mark.parametrize(
    ("query", "referrer", "expected"),
    [
        ("gclid=abc", "", ("Paid Search", "google", "cpc")),
        ("GCLID=abc", "www.google.com", ("Paid Search", "google", "cpc")),
        ("gbraid=abc", "", ("Paid Search", "google", "cpc")),
        ("wbraid=abc", "", ("Paid Search", "google", "cpc")),
        ("msclkid=abc", "www.bing.com", ("Paid Search", "bing", "cpc")),
        ("gclid=abc&utm_source=google", "", ("Paid Search", "google", "cpc")),
        ("gclid=abc&utm_source=adwords", "", ("Paid Search", "google", "cpc")),
        # What somebody wrote counts more than what a platform appended.
        ("gclid=abc&utm_source=google&utm_medium=display", "", ("Display", "google", "display")),
        ("gclid=abc&utm_source=partner", "", ("Unassigned", "partner", "")),
        ("gclid=", "www.google.com", ("Organic Search", "google", "organic")),
        # Facebook appends it to unpaid links too.
        ("fbclid=abc", "l.facebook.com", ("Organic Social", "facebook", "referral")),
        ("fbclid=abc", "", ("Direct", "", "")),
    ],
)
def test_click_ids_say_that_a_click_was_paid_for(
    query: str, referrer: str, expected: tuple[str, str, str]
) -> None:
    assert arrived(query, referrer)[:3] == expected


def test_an_event_that_is_no_visit_has_its_fields_or_nothing() -> None:
    assert from_tags(Tags()) == Dimension()
    assert from_tags(Tags("Google", "CPC", "Spring")) == Dimension(
        "Paid Search", "google", "cpc", "Spring"
    )
    assert from_tags(Tags(source="(direct)", medium="(none)")) == Dimension("Direct")


# --- What a site decides for itself ------------------------------------------------------------

OWN = SiteRules(
    own_hosts=("pay.example", "forum.vendor.test"),
    channels=(
        ChannelRule("Partners", source="partner*"),
        ChannelRule("Brand Search", source="google", medium="cpc", campaign="brand*"),
        ChannelRule("Never", source="partner-x"),
        ChannelRule("Newsletter", medium="email", campaign="nyt"),
    ),
)


@pytest.mark.parametrize(
    ("source", "medium", "campaign", "channel"),
    [
        ("partner", "cpc", "", "Partners"),
        ("Partner-X", "", "", "Partners"),  # the first that is met
        ("google", "cpc", "Brand DK", "Brand Search"),
        ("google", "cpc", "dk brand", "Paid Search"),
        ("google", "organic", "brand", "Organic Search"),
        ("", "email", "Nyt", "Newsletter"),
        ("", "email", "nyt 2", "Email"),
        ("", "", "", "Direct"),
    ],
)
def test_a_site_s_own_rules_come_first(
    source: str, medium: str, campaign: str, channel: str
) -> None:
    said = Tags(source, medium, campaign)
    general = channel_of(source, medium, campaign)
    for _ in range(2):  # what was answered for one site is not answered to another
        assert arrived(said=said, rules=OWN).channel == channel
        assert arrived(said=said).channel == general
    if any(said):
        assert from_tags(said, OWN).channel == channel
        assert from_tags(said).channel == general


@pytest.mark.parametrize(
    ("referrer", "channel"),
    [
        ("pay.example", "Direct"),
        ("www.pay.example", "Direct"),
        ("mypay.example", "Referral"),
        ("forum.vendor.test", "Direct"),
        ("vendor.test", "Referral"),  # what is above an own host is not the site's
        ("www.google.com", "Organic Search"),
    ],
)
def test_own_hosts_are_no_source(referrer: str, channel: str) -> None:
    assert arrived(referrer=referrer, rules=OWN).channel == channel
    assert arrived(referrer="pay.example").channel == "Referral"


# --- What holds for everything ----------------------------------------------------------------

TEXT = st.text(st.characters(blacklist_categories=["Cs"]), max_size=12) | st.sampled_from(
    [
        "google",
        "Facebook",
        "cpc",
        "organic",
        "(direct)",
        "(none)",
        "a\x1fb",
        "\x00",
        "email",
        "Ⅷ",
        "İ",
    ]
)
HOSTS = st.sampled_from(["", SHOP, "www.google.com", "mail.google.com", "t.co", "blog.example"])
SOME_TAGS = st.builds(Tags, TEXT, TEXT, TEXT, TEXT, TEXT)
QUERIES = st.one_of(
    st.just(UTM),
    st.text(max_size=20),
    st.sampled_from(["gclid=1", "utm_source=%1f", "utm_medium=%00", "utm_source=a&UTM_SOURCE=b"]),
)


@settings(deadline=None)
@given(SOME_TAGS, QUERIES, HOSTS)
def test_whatever_comes_has_a_channel_and_an_unambiguous_id(
    said: Tags, query: str, referrer: str
) -> None:
    found = arrived(query, referrer, said)
    assert found.channel in {name for name, _ in RULES}
    # A separator inside a text could make two combinations one.
    assert not any("\x1f" in text or "\x00" in text for text in found)
    assert dimension_id(found)
    assert all(text == text.strip() for text in found)
    assert found.survey == ""
    # Stored values are a touch of the same channel: what is read back says the same.
    assert channel_of(found.source, found.medium, found.campaign) == found.channel


@settings(deadline=None)
@given(SOME_TAGS, HOSTS)
def test_letter_case_of_source_and_medium_does_not_matter(said: Tags, referrer: str) -> None:
    shouted = said._replace(source=said.source.upper(), medium=said.medium.upper())
    again = said._replace(source=shouted.source.lower(), medium=shouted.medium.lower())
    assert arrived(said=shouted, referrer=referrer) == arrived(said=again, referrer=referrer)


def test_long_texts_are_judged_like_short_ones() -> None:
    """They are left out of the cache, not out of the answer."""
    long = "x" * 4000
    found = arrived(f"utm_source=google&utm_medium=cpc&utm_content={long}")
    assert found == Dimension("Paid Search", "google", "cpc", "", long)
    assert from_tags(Tags("a" * 4000, "cpc")).channel == "Paid Other"


def test_patterns_cannot_be_made_slow() -> None:
    """Texts are 8 KiB at most and matched from their beginning: 8192 squared steps at worst."""
    assert repeats(channels._PAID) == Repeats(depth=1, in_a_row=2)
    assert repeats(channels._SHOP_CAMPAIGN) == Repeats(depth=1, in_a_row=2)
    assert repeats(channels._EMAIL) == Repeats(0, 0)
