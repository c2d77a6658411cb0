"""The doors that take events as JSON: a table, and the one runner behind every row."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any, NamedTuple

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service.domain import access
from service.domain.access import Authenticator, Principal, Site
from service.domain.events import Receipt, Refusal
from service.domain.kinds import Kind
from service.edge.body import MIB, BodyTimeoutError, DisconnectedError, read_body, unpack
from service.edge.cors import Cors
from service.edge.decode import Decoded, decode
from service.edge.headers import RequestHeaders, presented_key
from service.edge.mails import addresses, base_url
from service.edge.options import EdgeOptions
from service.edge.query import read_query
from service.edge.sender import facts_of, sender_of
from service.edge.sites import take_by_site
from service.errors import InvalidError, KompasError, RequestError
from service.ingest.intake import Intake, RequestFacts
from service.kit.http import MethodNotAllowedError, json_response, problem

METHODS = "POST, OPTIONS"


class Door(NamedTuple):
    """One address: the kind that it takes (None: each event says its own), its limit in bytes,
    and whether one object per line may come as well."""

    path: str
    kind: Kind | None
    summary: str
    limit: int = MIB
    lines: bool = False


DOORS = (
    Door("/v1/events", None, "Send events of any kind", 5 * MIB, lines=True),
    Door("/v1/conversions", Kind.CONVERSION, "Send conversions, and refunds of them"),
    Door("/v1/leads", Kind.LEAD, "Send leads"),
    Door("/v1/survey-answers", Kind.SURVEY_ANSWER, "Send answers to surveys"),
    Door("/v1/ad-spend", Kind.AD_SPEND, "State what advertising cost"),
    Door("/v1/emails", Kind.EMAIL_SENT, "Send e-mail events, and get addresses to track them"),
    Door("/v1/social-posts", Kind.SOCIAL_POST, "State the counts of social posts"),
    Door("/v1/search-volumes", Kind.SEARCH_VOLUME, "State how often terms were searched for"),
)

_PARAMETERS = {b"k": "k", b"site": "site"}
# From here on a thread decodes, so that a large body does not keep the others waiting; two threads,
# because each may take some 20 MiB to unpack and read what comes.
_LARGE = 128 * 1024
_DECODERS = ThreadPoolExecutor(max_workers=2, thread_name_prefix="decode")


class EventDoor:
    """A row of the table as an ASGI application."""

    def __init__(
        self, door: Door, intake: Intake, authenticator: Authenticator, options: EdgeOptions
    ) -> None:
        self._door = door
        self._intake = intake
        self._access = authenticator
        self._options = options
        self._cors = Cors(options.cors_origins)
        self._signs = door.kind is Kind.EMAIL_SENT

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request with its receipt or a problem document."""
        headers = dict(scope["headers"])
        if scope["method"] == "OPTIONS":
            response = Response(status_code=204, headers=self._cors.preflight(headers, METHODS))
        else:
            try:
                response = await self._post(scope, headers, receive)
            except DisconnectedError:
                return
            except BodyTimeoutError as error:
                # Nothing else would end a connection that trickles.
                response = problem(error, headers={"Connection": "close"})
            except KompasError as error:
                response = problem(error)
            response.headers.update(self._cors.answer(headers))
        await response(scope, receive, send)

    async def _post(self, scope: Scope, headers: RequestHeaders, receive: Receive) -> Response:
        if scope["method"] != "POST":
            raise MethodNotAllowedError(METHODS)
        query = read_query(scope["query_string"], _PARAMETERS)
        key = presented_key(headers, query.get("k"))
        principal = await access.authorized(self._access, key, access.Scope.PUBLIC)
        site = await access.site_of(self._access, principal, query.get("site"))
        base = base_url(self._options, scope, headers) if self._signs else ""
        decoded = await self._decoded(headers, receive, principal, site)
        facts = self._facts(scope, headers, principal, site, decoded.repaired)
        receipt = await self._take(decoded.objects, facts, principal)
        if not self._signs or not principal.allows(access.Scope.INGEST):
            return answer(receipt)
        tokens = self._intake.tokens
        mails = addresses(decoded.objects, receipt, tokens, site.slug, base)
        return answer(receipt, {"mails": mails})

    async def _decoded(
        self, headers: RequestHeaders, receive: Receive, principal: Principal, site: Site
    ) -> Decoded:
        body = b""
        try:
            body = await read_body(headers, receive, self._door.limit, self._options.body_seconds)
            if len(body) < _LARGE:
                decoded = self._decode(body, headers)
            else:
                loop = asyncio.get_running_loop()
                decoded = await loop.run_in_executor(_DECODERS, self._decode, body, headers)
        except RequestError as error:
            size = len(body)
            await self._intake.refuse(site.id, self._door.path, error.code, error.message, size)
            raise
        return decoded

    def _decode(self, body: bytes, headers: RequestHeaders) -> Decoded:
        encoding = headers.get(b"content-encoding", b"").decode("latin-1")
        return decode(unpack(body, encoding), lines=self._door.lines)

    def _facts(
        self,
        scope: Scope,
        headers: RequestHeaders,
        principal: Principal,
        site: Site,
        repaired: bool,
    ) -> RequestFacts:
        if principal.allows(access.Scope.INGEST):
            # A server speaks for its visitors: its own address and user agent are not theirs.
            return RequestFacts(site, self._door.path, self._door.kind, repaired=repaired)
        sender = sender_of(scope, headers, self._options)
        facts = facts_of(sender, site, self._door.path, self._door.kind, repaired)
        return replace(facts, public=True)

    async def _take(self, objects: list[Any], facts: RequestFacts, principal: Principal) -> Receipt:
        if access.Scope.ADMIN in principal.scopes:
            return await take_by_site(self._intake, self._access, objects, facts)
        return await self._intake.take(objects, facts)


def answer(receipt: Receipt, more: Mapping[str, Any] | None = None) -> Response:
    """200 with what became of the events, or 422 when there is no good one among them."""
    rejected = [_rejected(refusal) for refusal in sorted(receipt.refusals)]
    counts = {"accepted": receipt.accepted, "duplicates": receipt.duplicates}
    members = {**counts, "rejected": rejected, **(more or {})}
    if receipt.accepted or receipt.duplicates:
        return json_response(members)
    return problem(_none_good(receipt.refusals), members=members)


def _rejected(refusal: Refusal) -> dict[str, Any]:
    entry = {"index": refusal.position, "code": refusal.code, "message": refusal.message}
    return {**entry, "field": refusal.field} if refusal.field else entry


def _none_good(refusals: Sequence[Refusal]) -> InvalidError:
    if not refusals:
        return InvalidError("The array has no events; send at least one.", code="empty")
    first = min(refusals).message
    if len(refusals) == 1:
        return InvalidError(f"The event was refused: {first}", code="all_rejected")
    return InvalidError(
        f"All {len(refusals)} events were refused, the first: {first}", code="all_rejected"
    )
