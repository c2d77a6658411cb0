"""What `kompas serve` prints at the first start: the keys, a pixel tag, a first question."""

# ruff: noqa: E501 - lines that are copied and pasted must not be broken

from __future__ import annotations

import socket

from service.store.access import FirstStart

_FIRST = """\
The site 'default' is new. Its keys are shown this once; only their hashes are kept.
  public key (websites, write only)    {public}
  secret key (ingest, read, admin)     {secret}

Put this on every page (without scripts only the second line works, and knows no referrer):
  <script>new Image().src="{url}/v1/pixel.gif?k={public}&url="+encodeURIComponent(location.href)+"&ref="+encodeURIComponent(document.referrer)</script>
  <noscript><img src="{url}/v1/pixel.gif?k={public}" alt="" width="1" height="1" referrerpolicy="no-referrer-when-downgrade"></noscript>

Send an order, and ask for the revenue of today:
  curl -s {url}/v1/conversions -H 'Authorization: Bearer {secret}' -d '{{"order":"A-1001","value":"499.95","currency":"{currency}","campaign":"spring"}}'
  curl -s '{url}/v1/kpis/revenue?window=today' -H 'Authorization: Bearer {secret}'
"""
_ANY_ADDRESS = frozenset({"0.0.0.0", "::"})  # noqa: S104 -- compared with, not bound to


def address_of(listener: socket.socket) -> str:
    """The service's URL as this machine reaches it."""
    host, port = listener.getsockname()[:2]
    if host in _ANY_ADDRESS:
        host = "localhost"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def introduction(first: FirstStart, url: str) -> str:
    """The keys, shown this once, and lines to copy; '' when there is no new key to show."""
    if first.public_key is None:
        return ""
    return _FIRST.format(
        url=url, public=first.public_key, secret=first.secret_key, currency=first.currency
    )
