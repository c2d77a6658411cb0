"""`GET /v1/open/{token}.gif` and `GET /v1/click/{token}`: what the readers of a mail do."""

from __future__ import annotations

import asyncio
from urllib.parse import quote

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from service import telemetry
from service.domain.access import Authenticator
from service.domain.kinds import Kind
from service.edge.failures import as_retryable
from service.edge.gif import send_failure, send_gif
from service.edge.methods import answer_other_method
from service.edge.options import EdgeOptions
from service.edge.sender import facts_of, sender_of
from service.errors import InvalidError, KompasError, NotFoundError
from service.ingest.intake import Intake
from service.ingest.tokens import Claims, Purpose
from service.kit.http import problem
from service.kit.log import get_logger

OPEN = "/v1/open/{token}.gif"
CLICK = "/v1/click/{token}"

# What a URL may hold as it is (RFC 3986); everything else, line ends included, is escaped.
_SAFE = ":/?#[]@!$&'()*+,;=%~"
_log = get_logger(__name__)


class Reader:
    """What both doors share: tokens, and the event that a request becomes."""

    purpose: Purpose
    kind: Kind
    door: str

    def __init__(self, intake: Intake, authenticator: Authenticator, options: EdgeOptions) -> None:
        self._intake = intake
        self._access = authenticator
        self._options = options

    def claims(self, scope: Scope) -> Claims:
        """What the token of the path says; NotFoundError `unknown_token` for any other text."""
        claims = self._intake.tokens.verify(scope["path_params"]["token"], self.purpose)
        if claims is None:
            raise NotFoundError("This address was not made here.", code="unknown_token")
        return claims

    async def record(self, scope: Scope, claims: Claims) -> None:
        """Store the event. Raises KompasError when it is not durable."""
        site = await self._access.site(claims.site)
        if site is None:
            raise NotFoundError("The site of this address is gone.", code="unknown_site")
        sender = sender_of(scope, dict(scope["headers"]), self._options)
        facts = facts_of(sender, site, self.door, self.kind)
        receipt = await self._intake.take((dict(claims.fields),), facts)
        if receipt.refusals:
            refusal = receipt.refusals[0]
            raise InvalidError(refusal.message, code=refusal.code)


class OpenDoor(Reader):
    """The open pixel: 200 when the open is durable, 404 for a token that is not ours."""

    purpose = Purpose.OPEN
    kind = Kind.EMAIL_OPENED
    door = OPEN

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer the image; HEAD records nothing."""
        if scope["method"] not in ("GET", "HEAD"):
            await answer_other_method(scope, receive, send)
            return
        try:
            claims = self.claims(scope)
            if scope["method"] == "GET":
                await self.record(scope, claims)
        except Exception as error:
            await send_failure(send, as_retryable(error, self.door))
        else:
            await send_gif(send)


class ClickDoor(Reader):
    """The link of a mail: always on to the signed target, whether or not it could be recorded."""

    purpose = Purpose.CLICK
    kind = Kind.EMAIL_CLICKED
    door = CLICK

    def __init__(self, intake: Intake, authenticator: Authenticator, options: EdgeOptions) -> None:
        super().__init__(intake, authenticator, options)
        # The event loop keeps only weak references to its tasks.
        self._recording: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """302 to the target, 404 for a token that is not ours; HEAD records nothing."""
        if scope["method"] not in ("GET", "HEAD"):
            await answer_other_method(scope, receive, send)
            return
        try:
            claims = self.claims(scope)
        except KompasError as error:
            response = problem(error)
        else:
            if scope["method"] == "GET":
                await self._try_to_record(scope, claims)
            response = _redirect(claims.target)
        await response(scope, receive, send)

    async def _try_to_record(self, scope: Scope, claims: Claims) -> None:
        task = asyncio.create_task(self._record_or_count(scope, claims))
        self._recording.add(task)
        task.add_done_callback(self._recording.discard)
        # A slow database goes on with it behind the reader's back.
        await asyncio.wait({task}, timeout=self._options.click_seconds)

    async def _record_or_count(self, scope: Scope, claims: Claims) -> None:
        try:
            await self.record(scope, claims)
        except Exception as error:
            found = as_retryable(error, self.door)
            # A refusal was counted, and has its row; the others leave only this.
            if not isinstance(found, InvalidError):
                telemetry.EVENTS.labels(self.kind.label, "rejected").inc()
                _log.warning("click_not_recorded", code=found.code)


def _redirect(target: str) -> Response:
    headers = {
        "Location": quote(target, safe=_SAFE),
        "Cache-Control": "no-store",
        "Referrer-Policy": "no-referrer",
    }
    return Response(status_code=302, headers=headers)
