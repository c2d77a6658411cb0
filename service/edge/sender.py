"""Who sent a request: used for verdicts in memory, never stored, never logged."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
from typing import NamedTuple

from starlette.types import Scope

from service.domain.access import Site
from service.domain.kinds import Kind
from service.edge.headers import RequestHeaders
from service.edge.options import EdgeOptions, Network
from service.ingest.intake import RequestFacts

_PURPOSES = frozenset((b"sec-purpose", b"purpose", b"x-moz"))
"""Headers in which browsers say why they fetch."""

Fields = Iterable[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Sender:
    """A visitor's browser or a reader's mail program.

    `opted_out` by DNT or Sec-GPC; `prefetch` says that it fetched ahead, for nobody yet;
    `country` as `country_of`.
    """

    user_agent: str = field(repr=False)
    address: str = field(repr=False)
    opted_out: bool
    prefetch: bool
    country: str = ""


class _Hop(NamedTuple):
    address: str
    trusted: bool


def sender_of(scope: Scope, headers: RequestHeaders, options: EdgeOptions) -> Sender:
    """The sender of a request with these headers."""
    return Sender(
        user_agent=headers.get(b"user-agent", b"").decode("latin-1"),
        address=address_of(scope, options.trusted_proxies),
        opted_out=headers.get(b"dnt") == b"1" or headers.get(b"sec-gpc") == b"1",
        prefetch=_fetched_ahead(headers),
        country=country_of(scope, headers, options),
    )


def _fetched_ahead(headers: RequestHeaders) -> bool:
    # Nearly always no such header is there, which one call of a set's own is enough to see.
    if _PURPOSES.isdisjoint(headers):
        return False
    return any(headers.get(name, b"").startswith(b"prefetch") for name in _PURPOSES)


def facts_of(
    sender: Sender, site: Site, door: str, kind: Kind | None, repaired: bool = False
) -> RequestFacts:
    """What a door hands on about a request that a browser or mail program sent by itself."""
    return RequestFacts(
        site=site,
        door=door,
        kind=kind,
        user_agent=sender.user_agent,
        address=sender.address,
        opted_out=sender.opted_out,
        prefetch=sender.prefetch,
        browser=True,
        repaired=repaired,
        country=sender.country,
    )


def country_of(scope: Scope, headers: RequestHeaders, options: EdgeOptions) -> str:
    """The visitor's ISO 3166 code in capitals, as a trusted proxy says; '' when nobody knows.

    Proxies say `XX` for what they cannot tell, and `T1` for Tor.
    """
    if options.country_header is None or not from_proxy(scope, options.trusted_proxies):
        return ""
    said = headers.get(options.country_header.lower().encode(), b"").decode("latin-1").strip()
    is_code = len(said) == 2 and said.isascii() and said.isalpha()
    return said.upper() if is_code and said.upper() != "XX" else ""


def address_of(scope: Scope, proxies: Sequence[Network]) -> str:
    """The client's address: the peer's, or what trusted proxies say; '' for a local socket.

    From the right, the first address of `X-Forwarded-For` that is not a trusted proxy's own:
    everything to the left of it is whatever the client wrote.
    """
    peer = _peer(scope)
    if not from_proxy(scope, proxies):
        return peer
    nearest = peer
    for text in reversed(_forwarded(scope["headers"])):
        hop = _hop(text, proxies)
        if hop is None:
            break
        nearest = hop.address
        if not hop.trusted:
            break
    return nearest


def from_proxy(scope: Scope, proxies: Sequence[Network]) -> bool:
    """Whether the peer is a trusted proxy."""
    return bool(proxies) and _is_trusted(_peer(scope), proxies)


def _peer(scope: Scope) -> str:
    client = scope.get("client")
    return str(client[0]) if client else ""


def _forwarded(headers: Fields) -> list[str]:
    values = [value.decode("latin-1") for name, value in headers if name == b"x-forwarded-for"]
    return ",".join(values).split(",") if values else []


def _is_trusted(address: str, proxies: Sequence[Network]) -> bool:
    hop = _hop(address, proxies)
    return hop is not None and hop.trusted


def _hop(text: str, proxies: Sequence[Network]) -> _Hop | None:
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ip_address(text)
    except ValueError:
        return None
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    return _Hop(str(address), any(address in network for network in proxies))
