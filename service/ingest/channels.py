"""Which channel brought somebody: GA4's rules, in GA4's order, as one table.

Source of the rules: Google Analytics help, answer 9756891 ("Default channel group"), in the form
of the macro in Velir/dbt-ga4, but with "is email" where the macro has "contains email", as Google
writes it. Added: a channel for AI assistants, and click ids. Everything is compared in lower case.
A site may put rules of its own before these.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import parse_qsl

from service.domain.access import NO_RULES, ChannelRule, SiteRules
from service.domain.dimensions import Dimension
from service.ingest.masking import masked, printable
from service.ingest.sources import canonical, category_of, is_payment, source_of_host

_PAID = re.compile(r"^(.*cp.*|ppc|retargeting|paid.*)$")
_SHOP_CAMPAIGN = re.compile(r"^(.*(([^a-df-z]|^)shop|shopping).*)$")
_EMAIL = re.compile(r"^(email|e-mail|e_mail|e mail)$")
_DISPLAY = frozenset({"display", "banner", "expandable", "interstitial", "cpm"})
_SOCIAL = frozenset(
    {"social", "social-network", "social-media", "sm", "social network", "social media"}
)
_UNSET = frozenset({"(direct)", "(none)", "(not set)"})


class Touch(NamedTuple):
    """What the rules look at: lower-case texts ('' for none) and the category of the source."""

    source: str
    medium: str
    campaign: str
    category: str

    @property
    def paid(self) -> bool:
        """GA4's pattern for paid media; `cpm` matches it as well."""
        return _PAID.match(self.medium) is not None


Rule = tuple[str, Callable[[Touch], bool]]

RULES: tuple[Rule, ...] = (
    ("Direct", lambda t: not (t.source or t.medium or t.campaign)),
    ("Cross-network", lambda t: "cross-network" in t.campaign),
    (
        "Paid Shopping",
        lambda t: t.paid and (t.category == "shopping" or bool(_SHOP_CAMPAIGN.match(t.campaign))),
    ),
    ("Paid Search", lambda t: t.paid and t.category == "search"),
    ("Paid Social", lambda t: t.paid and t.category == "social"),
    ("Paid Video", lambda t: t.paid and t.category == "video"),
    ("Display", lambda t: t.medium in _DISPLAY),
    ("Paid Other", lambda t: t.paid),
    ("AI Assistants", lambda t: t.category == "ai"),
    (
        "Organic Shopping",
        lambda t: t.category == "shopping" or bool(_SHOP_CAMPAIGN.match(t.campaign)),
    ),
    ("Organic Social", lambda t: t.category == "social" or t.medium in _SOCIAL),
    ("Organic Video", lambda t: t.category == "video" or "video" in t.medium),
    ("Organic Search", lambda t: t.category == "search" or t.medium == "organic"),
    ("Referral", lambda t: t.medium in {"referral", "app", "link"}),
    ("Email", lambda t: bool(_EMAIL.match(t.source) or _EMAIL.match(t.medium))),
    ("Affiliates", lambda t: t.medium == "affiliate"),
    ("Audio", lambda t: t.medium == "audio"),
    ("SMS", lambda t: t.source == "sms" or t.medium == "sms"),
    (
        "Mobile Push",
        lambda t: (
            t.medium.endswith("push")
            or "mobile" in t.medium
            or "notification" in t.medium
            or t.source == "firebase"
        ),
    ),
    ("Unassigned", lambda _: True),
)
"""Channel name and condition; the first that holds wins."""

CLICK_IDS: tuple[tuple[str, str], ...] = (
    ("gclid", "google"),
    ("gbraid", "google"),
    ("wbraid", "google"),
    ("msclkid", "bing"),
)
"""Query parameters that only an advertising click carries; fbclid marks unpaid clicks too."""


def _fits(pattern: str, text: str) -> bool:
    if pattern.endswith("*"):
        return text.startswith(pattern[:-1])
    return not pattern or text == pattern


def _is_met(rule: ChannelRule, touch: Touch) -> bool:
    return all(map(_fits, rule[1:], touch[:3]))


def channel_of(source: str, medium: str, campaign: str, own: tuple[ChannelRule, ...] = ()) -> str:
    """The channel of a tagged touch: by the first of the site's `own` rules that is met, else by
    `RULES`."""
    source, medium = source.lower(), medium.lower()
    touch = Touch(source, medium, campaign.lower(), category_of(source))
    for rule in own:
        if _is_met(rule, touch):
            return rule.channel
    return next(name for name, holds in RULES if holds(touch))


class Tags(NamedTuple):
    """What somebody said about a touch, in an event's fields or in a link; '' for nothing."""

    source: str = ""
    medium: str = ""
    campaign: str = ""
    content: str = ""
    term: str = ""


NO_TAGS = Tags()


def _link_tags(query: str) -> tuple[Tags, str]:
    """The utm parameters of a query string, and the source of a click id (first one wins)."""
    lowered = query.lower()
    if "utm_" not in lowered and not any(name in lowered for name, _ in CLICK_IDS):
        return NO_TAGS, ""
    found: dict[str, str] = {}
    for name, value in parse_qsl(query, errors="replace"):
        found.setdefault(name.lower(), value)
    tags = Tags(*(found.get(f"utm_{name}", "") for name in Tags._fields))
    clicked = next((source for name, source in CLICK_IDS if found.get(name)), "")
    return tags, clicked


def _clean(text: str) -> str:
    text = masked(text.strip())
    if text.lower() in _UNSET:
        return ""
    return printable(text).strip()


def is_own_host(host: str, page_host: str) -> bool:
    """Whether two host names are one site: equal without www., or one below the other."""
    host, page_host = host.removeprefix("www."), page_host.removeprefix("www.")
    return (
        host == page_host or host.endswith("." + page_host) or page_host.endswith("." + host)
    ) and "" not in (host, page_host)


def _is_below(host: str, hosts: tuple[str, ...]) -> bool:
    return any(host == own or host.endswith("." + own) for own in hosts)


def _brings_nobody(referrer_host: str, page_host: str, rules: SiteRules) -> bool:
    """Whether the page before is no source: the site's own, or where its orders are paid."""
    return (
        is_own_host(referrer_host, page_host)
        or _is_below(referrer_host, rules.own_hosts)
        or is_payment(referrer_host)
    )


def classify(
    said: Tags, referrer_host: str, page_host: str, query: str, rules: SiteRules = NO_RULES
) -> Dimension:
    """The dimension of a page view: what was `said`, then utm tags, click ids, the referrer.

    Hosts are lower-case without port ('' for none), `query` is the page's query string. Source
    and medium are stored in lower case, campaign, content and term as they were written.
    """
    linked, clicked = _link_tags(query) if query else (NO_TAGS, "")
    referrer = "" if _brings_nobody(referrer_host, page_host, rules) else referrer_host
    merged = (
        said if linked is NO_TAGS else Tags(*(a or b for a, b in zip(said, linked, strict=True)))
    )
    return _remembered(merged, clicked, referrer, rules.channels)


def from_tags(tags: Tags, rules: SiteRules = NO_RULES) -> Dimension:
    """The dimension of an event that is no visit: its explicit fields alone, or the empty one."""
    return _remembered(tags, "", "", rules.channels) if any(tags) else Dimension()


def _remembered(
    tags: Tags, clicked: str, referrer_host: str, own: tuple[ChannelRule, ...]
) -> Dimension:
    # Real tags are short and come again; long ones would fill the memory and never be asked for.
    if sum(map(len, tags)) + len(referrer_host) > _CACHED_CHARACTERS:
        return _verdict(tags, clicked, referrer_host, own)
    return _cached_verdict(tags, clicked, referrer_host, own)


def _verdict(
    tags: Tags, clicked: str, referrer_host: str, own: tuple[ChannelRule, ...]
) -> Dimension:
    source, medium, campaign, content, term = (_clean(text) for text in tags)
    source, medium = canonical(source.lower()), medium.lower()
    if clicked and not medium and source in {"", clicked}:
        source, medium = clicked, "cpc"
    if referrer_host and not source and not medium:
        known = source_of_host(referrer_host)
        source = known.name if known else referrer_host.removeprefix("www.")
        medium = "organic" if known and known.category == "search" else "referral"
    channel = channel_of(source, medium, campaign, own)
    return Dimension(channel, source, medium, campaign, content, term)


_CACHED_CHARACTERS = 512
_cached_verdict = lru_cache(maxsize=16384)(_verdict)
