"""Who a referring host or a named source is: search engine, social network and so on."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any, NamedTuple

CATEGORIES = ("search", "ai", "video", "shopping", "social")
"""The sections of sources in `sources.toml`, in the order in which a host is looked up."""

# What `{}` at the end of a pattern stands for, beside two-letter country codes (Matomo's rule).
_GENERIC = frozenset({"com", "org", "net", "info", "biz", "edu", "gov", "mobi", "name"})
_SECOND_LEVEL = frozenset({"com", "org", "net", "co", "it", "edu"})
_PREFIX = re.compile(r"^(?:www\d*|m)\.")
_MOST_LABELS = 8
_LONGEST_HOST = 253
"""What DNS allows; anything longer is nobody's host and would only fill the cache."""


class Source(NamedTuple):
    """A known source: its category (see `CATEGORIES`) and the short name it is stored under."""

    category: str
    name: str


class _Lists(NamedTuple):
    exact: dict[str, Source]
    """Search engines: the host itself, because mail.google.com is none."""
    suffix: dict[str, Source]
    """Everybody else: the host and whatever is below it."""
    names: dict[str, Source]
    aliases: dict[str, str]
    payment: dict[str, Source]
    version: str


@cache
def _lists() -> _Lists:
    data = tomllib.loads((files("service.ingest") / "sources.toml").read_text("utf-8"))
    payment = _hosts_of("payment", data)
    lists = _Lists({}, {}, {}, data["aliases"], payment, data["version"])
    for category in CATEGORIES:
        hosts = lists.exact if category == "search" else lists.suffix
        for host, source in _hosts_of(category, data).items():
            hosts.setdefault(host, source)
        for name in data[category]:
            lists.names.setdefault(name, Source(category, name))
    return lists


def _hosts_of(category: str, data: dict[str, Any]) -> dict[str, Source]:
    entries = data[category].items()
    return {host: Source(category, name) for name, text in entries for host in text.split()}


def version() -> str:
    """The date of the lists; a change of them is a new one."""
    return _lists().version


def _is_code(label: str) -> bool:
    return len(label) == 2 and label.isascii() and label.isalpha()


def _forms(host: str) -> Iterator[str]:
    """The host and the patterns that could stand for it: a handful of dictionary look-ups."""
    yield host
    labels = host.split(".")
    if len(labels) < 2 or len(labels) > _MOST_LABELS:
        return
    ends = [labels]
    if _is_code(labels[-1]) or labels[-1] in _GENERIC:
        ends.append([*labels[:-1], "{}"])
    if len(labels) > 2 and _is_code(labels[-1]) and labels[-2] in _SECOND_LEVEL:
        ends.append([*labels[:-2], "{}"])
    for form in ends:
        yield ".".join(form)
        for place, label in enumerate(form[:-1]):
            if _is_code(label):
                yield ".".join([*form[:place], "{}", *form[place + 1 :]])


def _first(host: str, hosts: dict[str, Source]) -> Source | None:
    return next((hosts[form] for form in _forms(host) if form in hosts), None)


def source_of_host(host: str) -> Source | None:
    """The known source behind a lower-case host name, or None."""
    return _source_of_host(host) if len(host) <= _LONGEST_HOST else None


@lru_cache(maxsize=8192)
def _source_of_host(host: str) -> Source | None:
    lists = _lists()
    bare = _PREFIX.sub("", host)
    found = _first(host, lists.exact) or _first(bare, lists.exact)
    return found or _first_above(host, lists.suffix)


def _first_above(host: str, hosts: dict[str, Source]) -> Source | None:
    """The entry of the host itself, or of one that it is below."""
    labels = host.split(".")
    # Longest first: plus.google.com before google.com. The top-level domain alone is nobody's.
    starts = range(len(labels) - 1 if len(labels) <= _MOST_LABELS else 0)
    found = (_first(".".join(labels[start:]), hosts) for start in starts)
    return next((source for source in found if source), None)


def is_payment(host: str) -> bool:
    """Whether orders are paid at this lower-case host: it sends back whoever came to it."""
    return len(host) <= _LONGEST_HOST and _is_payment(host)


@lru_cache(maxsize=8192)
def _is_payment(host: str) -> bool:
    return _first_above(host, _lists().payment) is not None


def canonical(source: str) -> str:
    """A lower-case source as it is stored: `fb` and `ig` are what people call facebook, instagram.

    Host names stay as they were written, unless the list has an alias for them.
    """
    return _lists().aliases.get(source, source)


def category_of(source: str) -> str:
    """The category of a canonical name or of a host, '' when nobody knows it."""
    found = _lists().names.get(source)
    if found is None and "." in source:
        found = source_of_host(source)
    return "" if found is None else found.category
