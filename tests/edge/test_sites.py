"""A request for several sites of which one part fails."""

from __future__ import annotations

from typing import Any

import pytest

from service.domain.events import Receipt
from service.domain.kinds import Kind
from service.edge.sites import take_by_site
from service.errors import OverloadedError
from service.ingest.intake import RequestFacts
from tests.edge.conftest import Edge


class Filling:
    """An intake in which there is room for one site's events only."""

    def __init__(self, edge: Edge, room: int) -> None:
        self._take = edge.intake.take
        self._room = room

    async def take(self, objects: Any, facts: RequestFacts) -> Receipt:
        self._room -= 1
        if self._room < 0:
            raise OverloadedError("Too many events wait to be stored.")
        return await self._take(objects, facts)


async def test_what_was_stored_is_acknowledged_and_the_rest_told(edge: Edge) -> None:
    facts = RequestFacts(edge.shop, "/v1/leads", Kind.LEAD)
    events = [{"lead": "a"}, {"lead": "b", "site": "blog"}, {"lead": "c"}, {}]
    filling: Any = Filling(edge, 1)
    receipt = await take_by_site(filling, edge.store, events, facts)
    assert receipt.accepted == 2
    told = [(refusal.position, refusal.code) for refusal in receipt.refusals]
    assert told == [(3, "missing_field"), (1, "overloaded")]


async def test_nothing_stored_is_retryable(edge: Edge) -> None:
    filling: Any = Filling(edge, 0)
    facts = RequestFacts(edge.shop, "/v1/leads", Kind.LEAD)
    with pytest.raises(OverloadedError):
        await take_by_site(filling, edge.store, [{"lead": "a"}], facts)
