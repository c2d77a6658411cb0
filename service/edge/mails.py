"""What `POST /v1/emails` answers beside its receipt: addresses that track one mail."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from starlette.types import Scope as Request

from service.domain.events import Receipt
from service.domain.kinds import Kind
from service.edge.headers import RequestHeaders
from service.edge.options import EdgeOptions
from service.edge.sender import from_proxy
from service.errors import RequestError
from service.ingest.tokens import TAGS, TokenSigner

_HOST = re.compile(r"[A-Za-z0-9_.-]{1,253}(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]{2,45}\](?::[0-9]{1,5})?")


def base_url(options: EdgeOptions, scope: Request, headers: RequestHeaders) -> str:
    """Where the reader's mail program will reach this service.

    Raises RequestError (`invalid_host`) when only the request says so, and its Host is none.
    """
    if options.public_url:
        return options.public_url.rstrip("/")
    host = headers.get(b"host", b"").decode("latin-1")
    if not _HOST.fullmatch(host):
        raise RequestError("The Host header names no host.", code="invalid_host")
    scheme = scope["scheme"]
    if from_proxy(scope, options.trusted_proxies):
        told = headers.get(b"x-forwarded-proto", b"").decode("latin-1").lower()
        scheme = told if told in ("http", "https") else scheme
    return f"{scheme}://{host}"


def addresses(
    objects: Sequence[Any], receipt: Receipt, tokens: TokenSigner, site: str, base: str
) -> list[dict[str, Any]]:
    """`index`, `message`, `open` and `click` (in the order of `links`) of every mail sent.

    Refused ones have none; a mail that is sent again gets the same. `site` is the slug for mails
    that name none, `base` as `base_url`.
    """
    refused = {refusal.position for refusal in receipt.refusals}
    return [
        {"index": index, **_addresses(event, tokens, site, base)}
        for index, event in enumerate(objects)
        if index not in refused and event.get("kind") in (None, Kind.EMAIL_SENT.label)
    ]


def _addresses(event: dict[str, Any], tokens: TokenSigner, site: str, base: str) -> dict[str, Any]:
    site = event.get("site") or site
    message = str(event["message"])
    tags = {tag: event[tag] for tag in TAGS if event.get(tag)}

    def click(link: str) -> str:
        token = _fitting(lambda tags: tokens.mint_click(site, message, link, **tags), tags)
        # A link that no token has room for still leads the reader where it should.
        return f"{base}/v1/click/{token}" if token else link

    opened = _fitting(lambda tags: tokens.mint_open(site, message, **tags), tags)
    return {
        "message": message,
        "open": f"{base}/v1/open/{opened}.gif",
        "click": [click(link) for link in event.get("links") or ()],
    }


def _fitting(mint: Callable[[dict[str, str]], str], tags: dict[str, str]) -> str | None:
    """A token with the tags, or without them if it would be too long (the mail's own event has
    them), or None."""
    for held in (tags, {}):
        with suppress(ValueError):
            return mint(held)
    return None
