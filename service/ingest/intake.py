"""The façade that the doors use: normalise, make durable, count; sign and verify mail tokens."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from service import telemetry
from service.domain.access import Site
from service.domain.events import Receipt, Refusal, Submission
from service.domain.kinds import Kind
from service.errors import RetryableError
from service.ingest import bots
from service.ingest.context import Context
from service.ingest.normalise import normalise
from service.ingest.refusals import clip
from service.ingest.tokens import TokenSigner
from service.ingest.writer import Writer
from service.kit.clock import Clock
from service.kit.log import get_logger
from service.store.secrets import Vault

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class RequestFacts:
    """What a door knows about a request besides its events.

    `door` is the route's name for counters and rejections; `kind` the kind that a typed door
    takes (None: each event says its own); `browser` is true for requests of a visitor's own
    browser or mail program (pixel, script, open, click), false for servers; `public` where the
    key is one that everybody can read; `repaired` as the JSON reader answered; `country` an ISO
    3166 code that a proxy told of the visitor, '' for none. `address` and `user_agent` are used
    for verdicts and never stored.
    """

    site: Site
    door: str
    kind: Kind | None = None
    user_agent: str = ""
    address: str = ""
    opted_out: bool = False
    prefetch: bool = False
    browser: bool = False
    repaired: bool = False
    public: bool = False
    country: str = ""


class Intake:
    """Takes events of authenticated requests; started and stopped by the composition root."""

    def __init__(self, writer: Writer, vault: Vault, clock: Clock) -> None:
        self._writer = writer
        self._vault = vault
        self._clock = clock
        self._tokens: TokenSigner | None = None

    async def start(self) -> None:
        """Load the secrets (making the first ones) and compile the bot list."""
        await asyncio.to_thread(bots.prepare)
        await self._vault.salts(self._clock.now().date())
        self._tokens = TokenSigner(await self._vault.signing_keys())

    @property
    def tokens(self) -> TokenSigner:
        """Mints and verifies open and click tokens; RetryableError before `start` is done."""
        if self._tokens is None:
            raise RetryableError("The signing keys are not loaded yet.")
        return self._tokens

    async def take(self, objects: Sequence[Any], facts: RequestFacts) -> Receipt:
        """Store the good events of one request for one site, and say what became of each.

        `objects` are decoded events in the order of the request; a `JsonError` stands for a
        line that could not be decoded. Returns after COMMIT. Raises RetryableError (or its
        child OverloadedError) when nothing could be made durable.
        """
        now = self._clock.now()
        context = Context(
            site=facts.site,
            now=now,
            door=facts.door,
            salts=await self._vault.salts(now.date()),
            kind=facts.kind,
            user_agent=facts.user_agent,
            address=facts.address,
            opted_out=facts.opted_out,
            prefetch=facts.prefetch,
            browser=facts.browser,
            public=facts.public,
            repaired=facts.repaired,
            country=facts.country,
        )
        submission = normalise(objects, context)
        telemetry.CLOCK_SKEWED_EVENTS.inc(submission.corrected)
        if not submission.rows and not submission.refusals:
            return Receipt(0, 0, [])
        return await self._writer.submit(submission)

    async def refuse(self, site_id: int, door: str, code: str, message: str, size: int) -> None:
        """Record the refusal of a whole request of `size` bytes; never raises.

        Nothing of the body is kept: what cannot be read may hold anything.
        """
        refusal = Refusal(-1, code, clip(message), "", f"({size} bytes)" if size else "")
        try:
            await self._writer.submit(Submission(site_id, door, refusals=[refusal]))
        except RetryableError as error:
            telemetry.REJECTIONS.labels(code).inc()
            _log.warning("rejection_not_recorded", door=door, code=code, cause=error.code)
