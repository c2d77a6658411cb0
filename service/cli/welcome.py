"""What `kompas serve` prints when it is ready."""

# ruff: noqa: E501 - lines that are copied and pasted must not be broken

from __future__ import annotations

from service.store.access import FirstStart

_FIRST = """\
Kompas is ready on {url}

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
_AGAIN = "Kompas is ready on {url}"


def welcome(first: FirstStart | None, url: str) -> str:
    """The keys, a pixel tag and a curl line at the first start; one line later on."""
    if first is None or first.public_key is None:
        return _AGAIN.format(url=url)
    return _FIRST.format(
        url=url, public=first.public_key, secret=first.secret_key, currency=first.currency
    )
