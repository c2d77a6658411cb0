"""`GET /v1/pixel.gif`: a page view, written as a plain ASGI application because it is the hot door.

A durable page view costs no framework object: one pass over the query, one lookup of the key.
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from starlette.types import Receive, Scope, Send

from service.domain import access
from service.domain.access import Authenticator
from service.domain.kinds import Kind
from service.edge.failures import as_retryable
from service.edge.gif import send_failure, send_gif
from service.edge.headers import RequestHeaders, presented_key
from service.edge.methods import answer_other_method
from service.edge.options import EdgeOptions
from service.edge.query import read_query
from service.edge.sender import facts_of, sender_of
from service.errors import InvalidError
from service.ingest.intake import Intake

PATH = "/v1/pixel.gif"


class Parameter(NamedTuple):
    """A parameter of the address, and the field of the event that it becomes."""

    name: str
    field: str
    about: str


PARAMETERS = (
    Parameter("k", "k", "A public key, if none is in the header."),
    Parameter("url", "url", "The page; left out: what the header Referer says."),
    Parameter("ref", "referrer", "The page before."),
    Parameter("title", "title", "The page's title."),
    Parameter("visitor", "visitor", "Your id of the visitor."),
    Parameter("customer", "customer", "Your id of the customer, when signed in."),
    Parameter("consent", "consent", "`1` when the visitor agreed to be recognised for days."),
    Parameter("t", "occurred_at", "When it happened (RFC 3339); left out: now."),
    Parameter("sent", "sent_at", "When it was sent, by the clock of `t`, which it corrects."),
    Parameter("id", "id", "Your id of the event; the same id counts once."),
    Parameter("source", "source", "Who sent the visitor, if the page's own utm tags do not say."),
    Parameter("medium", "medium", "By which means, such as cpc or email."),
    Parameter("campaign", "campaign", "The campaign's name."),
    Parameter("content", "content", "Which advertisement or link."),
    Parameter("term", "term", "The keyword that was paid for."),
    Parameter("site", "site", "Another site's slug, for admin keys."),
)

_FIELDS = {parameter.name.encode(): parameter.field for parameter in PARAMETERS}
_YES_OR_NO: dict[str, bool] = {"1": True, "true": True, "0": False, "false": False}
_LOST_PLUS = re.compile(r"(?<=:\d\d) (?=\d\d:\d\d$)|(?<=\.\d{3}) (?=\d\d:\d\d$)")


class PixelDoor:
    """The door as an ASGI application."""

    def __init__(self, intake: Intake, authenticator: Authenticator, options: EdgeOptions) -> None:
        self._intake = intake
        self._access = authenticator
        self._options = options

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Record a page view and answer the image: 200 only when it is durable.

        HEAD records nothing. Anything but GET, HEAD and OPTIONS is answered 405.
        """
        if scope["method"] != "GET":
            await _other_method(scope, receive, send)
            return
        try:
            await self._record(scope)
        except Exception as error:
            await send_failure(send, as_retryable(error, PATH))
        else:
            await send_gif(send)

    async def _record(self, scope: Scope) -> None:
        headers = dict(scope["headers"])
        event: dict[str, Any] = read_query(scope["query_string"], _FIELDS)
        key = presented_key(headers, event.pop("k", None))
        principal = await access.authorized(self._access, key, access.Scope.PUBLIC)
        site = principal.site
        if "site" in event:
            site = await access.site_of(self._access, principal, event.pop("site"))
        sender = sender_of(scope, headers, self._options)
        _complete(event, headers)
        facts = facts_of(sender, site, PATH, Kind.PAGE_VIEW)
        receipt = await self._intake.take((event,), facts)
        if receipt.refusals:
            refusal = receipt.refusals[0]
            raise InvalidError(refusal.message, code=refusal.code)


def _complete(event: dict[str, Any], headers: RequestHeaders) -> None:
    """Types that a query cannot express, and the page of a tag that works without scripts."""
    if "url" not in event and b"referer" in headers:
        event["url"] = headers[b"referer"].decode("utf-8", "replace")
    if "consent" in event:
        # Other words go on as they are, and are refused like any other wrong type.
        event["consent"] = _YES_OR_NO.get(event["consent"].lower(), event["consent"])
    for name in ("occurred_at", "sent_at"):
        if " " in event.get(name, ""):
            event[name] = _LOST_PLUS.sub("+", event[name])


async def _other_method(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["method"] == "HEAD":
        await send_gif(send)
    else:
        await answer_other_method(scope, receive, send)
