from __future__ import annotations

import asyncio

from hypothesis import given
from hypothesis import strategies as st

from service.domain.dimensions import Detail, Dimension, detail_id, dimension_id
from service.domain.events import Receipt, Refusal
from service.ingest import flush
from service.ingest.flush import Known, Part, Pending, Plan, halves, whole
from service.store.append import Appended
from tests.submissions import NAMED, SEEN, row, submission, with_ids

REFUSAL = Refusal(9, "code", "", "", "")

# One request: for each event its rows; and how many refusals.
REQUESTS = st.lists(
    st.tuples(st.lists(st.integers(1, 3), max_size=6), st.integers(0, 3)), min_size=1, max_size=6
)


def pending(*ids: int | None, site_id: int = 1) -> Pending:
    return Pending(with_ids(site_id, *ids), asyncio.get_running_loop().create_future())


def parts_of(requests: list[tuple[list[int], int]]) -> list[Part]:
    parts = []
    for events, refusals in requests:
        rows = [row(n) for n, size in enumerate(events) for _ in range(size)]
        sent = submission(1, rows, refusals=[REFUSAL] * refusals)
        parts.append(whole(Pending(sent, asyncio.get_running_loop().create_future())))
    return parts


def pieces(parts: list[Part]) -> list[Part]:
    smaller = halves(parts)
    if smaller is None:
        return parts
    return [piece for half in smaller for piece in pieces(list(half))]


@given(requests=REQUESTS)
async def test_bisecting_ends_at_single_events_and_loses_nothing(
    requests: list[tuple[list[int], int]],
) -> None:
    parts = [part for part in parts_of(requests) if part.size]
    found = pieces(parts) if parts else []
    assert [row for part in found for row in part.rows] == [r for part in parts for r in part.rows]
    assert sum(len(part.refusals) for part in found) == sum(count for _, count in requests)
    assert len(found) == sum(len(events) + refusals for events, refusals in requests)
    events = [(part.pending, part.rows[0].position) for part in found if part.rows]
    assert len(events) == len(set(events))


async def test_a_batch_per_site_in_the_order_of_their_ids() -> None:
    parts = [whole(pending(1, 2, site_id=site_id)) for site_id in (3, 1, 2, 3)]
    plan = Plan(parts, Known())
    assert [(batch.site_id, len(batch.rows)) for batch in plan.batches] == [(1, 2), (2, 2), (3, 2)]


async def test_receipts_are_written_by_event_when_all_is_committed() -> None:
    first, second = pending(1, 2, None), pending(2, 3)
    plan = Plan([whole(first), whole(second)], Known())
    [batch] = plan.batches
    assert [each.key and each.key.int for each in batch.rows] == [1, 2, None, 3]
    tally = plan.settle([Appended(frozenset({1, 2, 3}))])
    assert first.done.result() == Receipt(2, 1, [])
    assert second.done.result() == Receipt(1, 1, [])
    assert tally.events == {("page_view", "accepted"): 3, ("page_view", "duplicate"): 2}
    assert tally.accepted == 3


async def test_a_receipt_waits_for_every_part_of_its_request() -> None:
    request = pending(1, 2)
    rows = request.submission.rows
    for n in range(2):
        assert not request.done.done()
        Plan([Part(request, rows[n : n + 1], ())], Known()).settle([Appended()])
    assert request.done.result() == Receipt(2, 0, [])


async def test_only_dimensions_that_are_used_and_not_known_are_sent() -> None:
    other = Dimension("Email")
    sent = submission(1, [row(0), row(1, dimension=other)], [NAMED, other, Dimension("Referral")])
    request = Pending(sent, asyncio.get_running_loop().create_future())
    known = Known()
    [batch] = Plan([Part(request, sent.rows[:1], ())], known).batches
    assert batch.dimensions == {dimension_id(NAMED): NAMED}
    known.learn([batch])
    [batch] = Plan([whole(request)], known).batches
    assert batch.dimensions == {dimension_id(other): other}
    known.forget()
    [batch] = Plan([whole(request)], known).batches
    assert len(batch.dimensions) == 2


async def test_what_is_known_is_bounded() -> None:
    known = Known()
    names = {n: Dimension(f"c{n}") for n in range(flush.KNOWN_NAMES + 1)}
    [batch] = Plan([whole(pending(1))], known).batches
    assert (batch.dimensions.keys(), batch.details.keys()) == (
        {dimension_id(NAMED)},
        {detail_id(SEEN)},
    )
    known.learn([batch])
    [batch] = Plan([whole(pending(1))], known).batches
    assert (batch.dimensions, batch.details) == ({}, {})
    batch.dimensions = names
    known.learn([batch])
    [batch] = Plan([whole(pending(1))], known).batches
    assert (len(batch.dimensions), batch.details) == (1, {})


async def test_only_details_of_a_part_are_sent() -> None:
    other = Detail("/cart")
    sent = submission(1, [row(0), row(1, detail=other)], details=[SEEN, other])
    request = Pending(sent, asyncio.get_running_loop().create_future())
    known = Known()
    [batch] = Plan([Part(request, sent.rows[1:], ())], known).batches
    assert batch.details == {detail_id(other): other}
    known.learn([batch])
    [batch] = Plan([whole(request)], known).batches
    assert batch.details == {detail_id(SEEN): SEEN}
    known.forget()
    [batch] = Plan([whole(request)], known).batches
    assert len(batch.details) == 2


async def test_a_complete_batch_can_be_understood_by_itself() -> None:
    other, unused = Dimension("Email"), Dimension("Referral")
    rows = [row(0, 1), row(3, 2), row(3, 2), row(4, dimension=other), row(5, 1)]
    first = submission(1, rows, [NAMED, other, unused], refusals=[REFUSAL])
    second = with_ids(1, None)
    known = Known()
    for sent in (first, second):
        part = whole(Pending(sent, asyncio.get_running_loop().create_future()))
        known.learn(Plan([part], known).batches)
    loop = asyncio.get_running_loop()
    parts = [whole(Pending(sent, loop.create_future())) for sent in (first, second)]
    plan = Plan(parts, known)
    [sparse], [batch] = plan.batches, plan.complete()
    assert sparse.dimensions == {}
    assert batch.dimensions == {dimension_id(NAMED): NAMED, dimension_id(other): other}
    assert batch.details == {detail_id(SEEN): SEEN}
    assert (batch.token, batch.rejected) == (sparse.token, sparse.rejected)
    # The last event of the first is a duplicate; that of the second begins at 0 again.
    assert [each.position for each in batch.rows] == [0, 1, 1, 2, 3]
    assert [each._replace(position=0) for each in batch.rows] == [
        each._replace(position=0) for each in sparse.rows
    ]
    [empty] = Plan([whole(Pending(submission(1, []), loop.create_future()))], known).complete()
    assert (empty.rows, empty.dimensions, empty.details) == ([], {}, {})
