"""What the doors are told by the composition root."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network

Network = IPv4Network | IPv6Network


@dataclass(frozen=True, slots=True)
class EdgeOptions:
    """`public_url` is where browsers and mail programs reach the service, without a trailing
    slash (None: as the request itself was addressed); `trusted_proxies` are those whose
    `X-Forwarded-For` and `X-Forwarded-Proto` are believed, and whose header `country_header`
    (None: no header) tells the visitor's country.

    `body_seconds` is the deadline of a request's body; `click_seconds` is how long a reader who
    clicked waits at most for the click to be recorded.
    """

    public_url: str | None = None
    cors_origins: tuple[str, ...] = ("*",)
    trusted_proxies: tuple[Network, ...] = ()
    country_header: str | None = None
    body_seconds: float = 60.0
    click_seconds: float = 2.0
