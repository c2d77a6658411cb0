"""Events of several sites in one request, which only an admin key may send."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from service import telemetry
from service.domain.access import Authenticator, Site
from service.domain.events import Receipt, Refusal
from service.errors import RetryableError
from service.ingest.intake import Intake, RequestFacts

Indexed = list[tuple[int, Any]]


async def take_by_site(
    intake: Intake, authenticator: Authenticator, objects: list[Any], facts: RequestFacts
) -> Receipt:
    """Store each event in the site that its `site` names, else in the request's; one receipt.

    An unknown site's events stay with the request's site, whose rules refuse them. Each site's
    part is durable by itself: RetryableError is raised when nothing could be stored; events of
    a later part that could not are refused as `unavailable`, and may be sent again alone.
    """
    groups = await _by_site(authenticator, objects, facts.site)
    accepted = duplicates = 0
    refusals: list[Refusal] = []
    for number, (site, events) in enumerate(groups):
        try:
            part = await intake.take([event for _, event in events], replace(facts, site=site))
        except RetryableError as error:
            if number == 0:
                raise
            part = _unavailable(events, error)
        accepted += part.accepted
        duplicates += part.duplicates
        refusals += [item._replace(position=events[item.position][0]) for item in part.refusals]
    return Receipt(accepted, duplicates, refusals)


async def _by_site(
    authenticator: Authenticator, objects: list[Any], own: Site
) -> list[tuple[Site, Indexed]]:
    groups: dict[int, tuple[Site, Indexed]] = {}
    known: dict[str, Site | None] = {own.slug: own}
    for index, event in enumerate(objects):
        slug = event.get("site") if isinstance(event, dict) else None
        site = own
        if isinstance(slug, str):
            if slug not in known:
                known[slug] = await authenticator.site(slug)
            site = known[slug] or own
        groups.setdefault(site.id, (site, []))[1].append((index, event))
    return list(groups.values())


def _unavailable(events: Indexed, error: RetryableError) -> Receipt:
    telemetry.REJECTIONS.labels(error.code).inc(len(events))
    refusals = [Refusal(place, error.code, error.message, "", "") for place in range(len(events))]
    return Receipt(0, 0, refusals)
